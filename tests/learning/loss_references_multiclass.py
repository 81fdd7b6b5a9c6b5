"""Closed forms of the single-label losses in float64, a sample and a class at a time, straight from their papers.

A reference takes logits and one-hot targets [N, K], float64, how many of `total` draws are of each class, and the
loss's settings by their keys in params.yaml. `SETTINGS` are the settings under which to try each kind, for any K.
"""

import math

import numpy as np


def probabilities(row):
    powers = [math.exp(z - max(row)) for z in row]
    return [x / sum(powers) for x in powers]


def mean_over_samples(of_one):
    """Reference of a loss whose batch value is the mean of `of_one(p, y)`: probabilities of a sample, its class."""

    def reference(z, t, *, positives=None, total=None, **settings):
        return float(np.mean([of_one(probabilities(row), int(np.argmax(hot)), **settings) for row, hot in zip(z, t)]))

    return reference


def cross_entropy(p, y, class_weights=None):
    return -(class_weights[y] if class_weights else 1.0) * math.log(p[y])


def smoothed(p, y, epsilon):
    return [epsilon / len(p) + (1 - epsilon if k == y else 0) for k in range(len(p))]


def label_smoothing(p, y, epsilon=0.1):
    return -sum(q * math.log(x) for q, x in zip(smoothed(p, y, epsilon), p))


def ls_focal(p, y, alpha=1.0, gamma=2.0, epsilon=0.2):
    return -alpha * sum(q * (1 - x) ** gamma * math.log(x) for q, x in zip(smoothed(p, y, epsilon), p))


def focal(p, y, alpha=1.0, gamma=2.0):
    return -alpha * (1 - p[y]) ** gamma * math.log(p[y])


def hinge(p, y):
    return max(0.0, 1 + max(x for k, x in enumerate(p) if k != y) - p[y])


def entropy_regularized(p, y, beta=0.1):
    return -math.log(p[y]) - beta * -sum(x * math.log(x) for x in p)


def negative_entropy(p, y, entropy_weight=0.001):
    return entropy_regularized(p, y, entropy_weight)


def calibrated(of_one):
    """Reference of the mean of `of_one` plus beta times the gap between accuracy and mean confidence."""

    def reference(z, t, *, positives=None, total=None, beta=1.0, **settings):
        right = [int(np.argmax(row)) == int(np.argmax(hot)) for row, hot in zip(z, t)]
        confidence = [max(probabilities(row)) for row in z]
        gap = abs(sum(right) / len(right) - sum(confidence) / len(confidence))
        return mean_over_samples(of_one)(z, t, **settings) + beta * gap

    return reference


def balanced_softmax(z, t, *, positives, total=None):
    values = []
    for row, hot in zip(z, t):
        powers = [max(n, 1) * math.exp(x) for n, x in zip(positives, row)]
        values.append(-math.log(powers[int(np.argmax(hot))] / sum(powers)))
    return sum(values) / len(values)


def coral(p, y):
    total = 0.0
    for cut in range(1, len(p)):
        total -= math.log(sum(p[cut:]) if y >= cut else sum(p[:cut]))
    return total


def cumulative_link(p, y):
    below = [sum(p[:k]) for k in range(len(p) + 1)]
    return -math.log(below[y + 1] - below[y])


def soft_ordinal(p, y, distance="squared", alpha=1.0):
    far = [alpha * (abs(k - y) ** 2 if distance == "squared" else abs(k - y)) for k in range(len(p))]
    shares = [math.exp(-d) for d in far]
    return -sum(q / sum(shares) * math.log(x) for q, x in zip(shares, p))


def corn(z, t, *, positives=None, total=None):
    """Task by task, as the paper's algorithm has it: among the images that reach a class, which go beyond it."""
    rows, ys = [probabilities(row) for row in z], [int(np.argmax(hot)) for hot in t]
    value, pairs = 0.0, 0
    for k in range(len(rows[0]) - 1):
        for p, y in zip(rows, ys):
            if y < k:
                continue
            beyond, here = sum(p[k + 1 :]) / sum(p[k:]), p[k] / sum(p[k:])
            value -= math.log(beyond if y > k else here)
            pairs += 1
    return value / pairs


REFERENCES = {
    "ce": mean_over_samples(cross_entropy),
    "label_smoothing": mean_over_samples(label_smoothing),
    "ls_focal": mean_over_samples(ls_focal),
    "kl": mean_over_samples(cross_entropy),
    "hinge": mean_over_samples(hinge),
    "entropy_regularized": mean_over_samples(entropy_regularized),
    "calibrated_ce": calibrated(cross_entropy),
    "calibrated_kl": calibrated(cross_entropy),
    "calibrated_focal": calibrated(focal),
    "calibrated_hinge": calibrated(hinge),
    "calibrated_negative_entropy": calibrated(negative_entropy),
    "balanced_softmax": balanced_softmax,
    "coral": mean_over_samples(coral),
    "corn": corn,
    "cumulative_link": mean_over_samples(cumulative_link),
    "soft_ordinal": mean_over_samples(soft_ordinal),
}

SETTINGS = {
    "ce": [{}],
    "label_smoothing": [{}, {"epsilon": 0.2}, {"epsilon": 0.0}],
    "ls_focal": [{}, {"alpha": 0.25, "gamma": 0.5, "epsilon": 0.1}, {"gamma": 0.0}],
    "kl": [{}],
    "hinge": [{}],
    "entropy_regularized": [{}, {"beta": 0.5}],
    "calibrated_ce": [{}, {"beta": 10.0}],
    "calibrated_kl": [{}, {"beta": 0.3}],
    "calibrated_focal": [{}, {"alpha": 0.5, "gamma": 1.0, "beta": 2.0}],
    "calibrated_hinge": [{}, {"beta": 0.3}],
    "calibrated_negative_entropy": [{}, {"entropy_weight": 0.1, "beta": 0.5}],
    "balanced_softmax": [{}],
    "coral": [{}],
    "corn": [{}],
    "cumulative_link": [{}],
    "soft_ordinal": [{}, {"distance": "absolute"}, {"alpha": 3.0}],
}

BATCH_LEVEL = frozenset(kind for kind in REFERENCES if kind.startswith("calibrated_"))
"""Losses of which the value of a batch is not the mean of the values of its samples."""
