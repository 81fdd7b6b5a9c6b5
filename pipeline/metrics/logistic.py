"""Log-odds, log-loss and logistic regression: the one place of each.

The log-loss comes in two forms. From the logits it is exact however large they are. From probabilities that are clipped
first it has an upper limit, which depends on the clip: a caller states its own.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from pipeline.metrics.thresholds import probabilities


def log_odds(logits: np.ndarray, task: str) -> np.ndarray:
    """Return the log-odds of each class against the rest.

    Parameters
    ----------
    logits : float [..., K]
        Finite.
    task : {"multilabel", "multiclass"}
        Multi-label logits are log-odds as they are; multiclass ones are set against the others of their image.

    Returns
    -------
    float64 [..., K]
        They order the images like the probabilities, without their rounding to 0 and 1.
    """
    values = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        return values
    rest = [logsumexp(np.delete(values, k, axis=-1), axis=-1) for k in range(values.shape[-1])]
    return values - np.stack(rest, axis=-1)


def log_losses(logits: np.ndarray, targets: np.ndarray, task: str) -> np.ndarray:
    """Return the negative log-likelihood of the truth, image by image, from the logits and without a clip.

    Parameters
    ----------
    logits : float [..., K]
        Finite. Multi-label takes any shape.
    targets : float, bool or int [..., K]
        Truth: 0/1 (one 1 per image for multiclass), or a probability of being true.
    task : {"multilabel", "multiclass"}
        Cross-entropy of the sigmoid, or of the softmax over the last axis.

    Returns
    -------
    float [..., K] (multi-label) or [...] (multiclass)
        In nats, at least 0.
    """
    if task == "multilabel":
        return np.logaddexp(0, logits) - targets * logits
    return logsumexp(logits, axis=-1) - (logits * targets).sum(axis=-1)


def truth_probabilities(
    logits: np.ndarray, targets: np.ndarray, task: str, clip: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """Return the probability that is given to what is true.

    Parameters
    ----------
    logits : float [N, K]
        Finite.
    targets : 0/1 [N, K]
        Truth, one 1 per row for multiclass.
    task : {"multilabel", "multiclass"}
        Decides between sigmoid and softmax.
    clip : (float, float)
        Lowest and highest value returned.

    Returns
    -------
    float64 [N, K] (multi-label) or [N] (multiclass)
        Multi-label: of the class where it is present, of its absence elsewhere.
    """
    truth, likely = np.asarray(targets).astype(bool), probabilities(logits, task)
    return np.clip(likely[truth] if task == "multiclass" else np.where(truth, likely, 1 - likely), *clip)


def mean_log_loss(logits: np.ndarray, targets: np.ndarray, task: str, clip: tuple[float, float] | None = None) -> float:
    """Return the mean log-loss in nats, over images and (multi-label) classes.

    Parameters
    ----------
    logits, targets, task
        As for `log_losses`, [N, K].
    clip : (float, float) or None
        Clip of `truth_probabilities`, from which the loss is then computed; None computes it from the logits.
    """
    if clip is None:
        return float(log_losses(logits, targets, task).mean())
    return float(-np.log(truth_probabilities(logits, targets, task, clip)).mean())


def fit_logistic(
    features: np.ndarray, truth: np.ndarray, penalty: float, n_classes: int = 2
) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit a logistic regression with an L2 penalty on standardised features, and give it in their own units.

    Parameters
    ----------
    features : float [N, F]
        Finite. A feature that does not vary has weight 0.
    truth : int [N]
        Classes 0..n_classes-1.
    penalty : float
        Inverse strength C, scikit-learn's meaning.
    n_classes : int
        Two have one row, the log-odds of class 1; more have one row each, for a softmax.

    Returns
    -------
    (weights float64 [R, F], intercepts float64 [R]) or None
        R = 1 or n_classes. None if `truth` lacks a class: there is nothing to fit then.
    """
    from sklearn.linear_model import LogisticRegression

    truth = np.asarray(truth)
    if len(np.unique(truth)) < n_classes:
        return None
    mean, spread = features.mean(axis=0), features.std(axis=0)
    varies = spread > 1e-12
    scale = np.where(varies, spread, 1.0)
    model = LogisticRegression(C=penalty, solver="newton-cholesky", max_iter=200, tol=1e-6)
    model.fit(np.where(varies, (features - mean) / scale, 0.0), truth)
    weights = np.where(varies, model.coef_, 0.0) / scale
    return weights, model.intercept_ - weights @ mean
