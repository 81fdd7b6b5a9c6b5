"""Multi-label losses, and those of both tasks, in float64 from their papers' formulas, as plainly as they are printed.

Each takes logits z and targets t, float64 [N, K], the draws in which each class is positive, all draws, and the
settings of the loss. None guards against overflow or a class that is never drawn.
"""

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    return np.exp(z) / np.exp(z).sum(1, keepdims=True)


def bce(z, t, *, positives, total, pos_weight_cap=None):
    n = np.asarray(positives, float)
    weight = np.ones(len(n)) if pos_weight_cap is None else np.minimum(pos_weight_cap, (total - n) / n)
    p = sigmoid(z)
    return -(weight * t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def focal(z, t, *, positives, total, alpha=1.0, gamma=2.0, balanced_alpha=None):
    p = np.where(t == 1, sigmoid(z), 1 - sigmoid(z))
    a = 1.0 if balanced_alpha is None else np.where(t == 1, balanced_alpha, 1 - balanced_alpha)
    return (-alpha * a * (1 - p) ** gamma * np.log(p)).mean()


def asl(z, t, *, positives, total, gamma_negative=4.0, gamma_positive=1.0, margin=0.05):
    p = sigmoid(z)
    shifted = np.maximum(p - margin, 0)
    return np.where(
        t == 1, -((1 - p) ** gamma_positive) * np.log(p), -(shifted**gamma_negative) * np.log(1 - shifted)
    ).mean()


def zlpr(z, t, *, positives, total, temperature=1.0):
    of_images = [
        np.log(1 + np.exp(-row[labels == 1] / temperature).sum())
        + np.log(1 + np.exp(row[labels == 0] / temperature).sum())
        for row, labels in zip(z, t)
    ]
    return np.mean(of_images)


def hill(z, t, *, positives, total, lam=1.5):
    p = sigmoid(z)
    return np.where(t == 1, -np.log(p), (lam - p) * p**2).mean()


def two_way(z, t, *, positives, total, temperature=4.0):
    def one_way(z, t):
        values = []
        for row, labels in zip(z, t):
            if (labels == 1).any():
                lowest = temperature * np.log(np.exp(-row[labels == 1] / temperature).sum())
                values.append(np.log(1 + np.exp(row[labels == 0]).sum() * np.exp(lowest)))
        return np.mean(values)

    return one_way(z, t) + one_way(z.T, t.T)


def effective_number_weights(counts, beta):
    """Equation 1 and the normalisation of arXiv 1901.05555: the weights sum to the number of classes."""
    inverse = (1 - beta) / (1 - beta ** np.asarray(counts, float))
    return inverse / inverse.sum() * len(inverse)


def both_values(positives, total, beta):
    """Weights of "present" and of "absent", normalised together."""
    weights = effective_number_weights([*positives, *(total - np.asarray(positives))], beta)
    return weights[: len(positives)], weights[len(positives) :]


def class_balanced(z, t, *, positives, total, beta=0.9999, gamma=0.0):
    present, absent = both_values(positives, total, beta)
    p = np.where(t == 1, sigmoid(z), 1 - sigmoid(z))
    return (np.where(t == 1, present, absent) * -((1 - p) ** gamma) * np.log(p)).mean()


def class_balanced_multiclass(z, t, *, positives, total, beta=0.9999, gamma=0.0):
    p = softmax(z)[t == 1]
    return (effective_number_weights(positives, beta)[t.argmax(1)] * -((1 - p) ** gamma) * np.log(p)).mean()


def focal_multiclass(z, t, *, positives, total, alpha=1.0, gamma=2.0):
    p = softmax(z)[t == 1]
    return (-alpha * (1 - p) ** gamma * np.log(p)).mean()


def logit_adjusted(z, t, *, positives, total, tau=1.0):
    share = np.asarray(positives) / total
    return bce(z + tau * np.log(share / (1 - share)), t, positives=positives, total=total)


def logit_adjusted_multiclass(z, t, *, positives, total, tau=1.0):
    return -np.log(softmax(z + tau * np.log(np.asarray(positives) / total))[t == 1]).mean()


def ldam(z, t, *, positives, total, max_margin=0.5, scale=30.0, drw=0.2, reweighted=False):
    present = np.asarray(positives) ** -0.25
    absent = (total - np.asarray(positives)) ** -0.25
    c = max_margin / max(present.max(), absent.max())
    value = np.where(
        t == 1, np.log(1 + np.exp(-scale * (z - c * present))), np.log(1 + np.exp(scale * (z + c * absent)))
    )
    if reweighted:
        value = value * np.where(t == 1, *both_values(positives, total, 0.9999))
    return value.mean()


def ldam_multiclass(z, t, *, positives, total, max_margin=0.5, scale=30.0, drw=0.2, reweighted=False):
    margins = np.asarray(positives) ** -0.25
    margins = margins * max_margin / margins.max()
    weights = effective_number_weights(positives, 0.9999) if reweighted else np.ones(len(margins))
    values = []
    for row, y in zip(z, t.argmax(1)):
        own = np.exp(scale * (row[y] - margins[y]))
        others = np.exp(scale * np.delete(row, y)).sum()
        values.append(-weights[y] * np.log(own / (own + others)))
    return np.mean(values)


REFERENCES = {
    "asl": asl,
    "bce": bce,
    "class_balanced": class_balanced,
    "focal": focal,
    "hill": hill,
    "ldam": ldam,
    "logit_adjusted": logit_adjusted,
    "two_way": two_way,
    "zlpr": zlpr,
}

SETTINGS = {
    "asl": [
        {},
        {"gamma_negative": 2.0, "gamma_positive": 0.0, "margin": 0.2},
        {"gamma_negative": 0.5, "gamma_positive": 0.5, "margin": 0.0},
        {"gamma_negative": 0.5, "margin": 0.1},
        {"gamma_negative": 0.0, "gamma_positive": 0.0, "margin": 0.2},
    ],
    "bce": [{}, {"pos_weight_cap": 10.0}, {"pos_weight_cap": 1.5}],
    "class_balanced": [{}, {"beta": 0.9, "gamma": 2.0}, {"beta": 0.0}],
    "focal": [{}, {"alpha": 0.25, "gamma": 0.5}, {"gamma": 0.0}, {"balanced_alpha": 0.25}],
    "hill": [{}, {"lam": 1.0}, {"lam": 2.0}],
    "ldam": [{}, {"scale": 1.0}, {"max_margin": 2.0, "scale": 3.0, "drw": 0.0}],
    "logit_adjusted": [{}, {"tau": 0.5}],
    "two_way": [{}, {"temperature": 1.0}, {"temperature": 0.5}],
    "zlpr": [{}, {"temperature": 0.5}, {"temperature": 2.0}],
}

REFERENCES_SHARED_MULTICLASS = {
    "class_balanced": class_balanced_multiclass,
    "focal": focal_multiclass,
    "ldam": ldam_multiclass,
    "logit_adjusted": logit_adjusted_multiclass,
}

SETTINGS_SHARED_MULTICLASS = {kind: SETTINGS[kind] for kind in REFERENCES_SHARED_MULTICLASS} | {
    "focal": [{}, {"alpha": 0.25, "gamma": 0.5}, {"gamma": 0.0}]
}
