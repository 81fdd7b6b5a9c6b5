"""Log-odds, log-loss and logistic regression: the one place of each.

The log-loss comes in two forms. From the logits it is exact however large they are. From probabilities that are clipped
first it has an upper limit, which depends on the clip: a caller states its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.special import expit, logsumexp

from pipeline.metrics.thresholds import probabilities
from pipeline.study.unknown import known_of


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
        Truth, one 1 per row for multiclass; NaN where it is not known.
    task : {"multilabel", "multiclass"}
        Decides between sigmoid and softmax.
    clip : (float, float)
        Lowest and highest value returned.

    Returns
    -------
    float64 [N, K] (multi-label) or [N] (multiclass)
        Multi-label: of the class where it is present, of its absence elsewhere; of the known labels alone, in one row,
        where some are not known.
    """
    targets, likely = np.asarray(targets), probabilities(logits, task)
    if (known := known_of(targets)) is not None:
        targets, likely = targets[known], likely[known]
    truth = targets.astype(bool)
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
    if clip is None and (known := known_of(np.asarray(targets))) is not None:
        return float(log_losses(np.asarray(logits)[known], np.asarray(targets)[known], task).mean())
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
    truth = np.asarray(truth)
    if len(np.unique(truth)) < n_classes:
        return None
    if n_classes == 2:
        weights, intercepts = next(fit_logistics(features[None], truth[None], (penalty,)))
        return weights, intercepts
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(axis=0), features.std(axis=0)
    varies = spread > 1e-12
    scale = np.where(varies, spread, 1.0)
    model = LogisticRegression(C=penalty, solver="newton-cholesky", max_iter=200, tol=1e-6)
    model.fit(np.where(varies, (features - mean) / scale, 0.0), truth)
    weights = np.where(varies, model.coef_, 0.0) / scale
    return weights, model.intercept_ - weights @ mean


def fit_logistics(
    features: np.ndarray, truth: np.ndarray, penalties: Iterable[float], known: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Fit P logistic regressions at once, of two classes, each as `fit_logistic` does.

    Parameters
    ----------
    features : float [P, N, F]
        Finite.
    truth : 0/1 [P, N]
        Both must occur in each row.
    penalties : iterable of float
        Inverse strengths C. Each fit starts where the one before it ended, so that an order from strong to weak is the
        quickest; where it ends does not depend on it.
    known : bool [P, N] or None
        Which rows each is fitted on; None: all. `truth` is 0 in the others.

    Yields
    ------
    weights float64 [P, F], intercepts float64 [P]
        For each penalty.

    Notes
    -----
    The loss is strictly convex, so that there is one optimum. Newton's method, its step halved until the loss falls,
    finds it to rounding (Boyd & Vandenberghe, Convex Optimization, 2004, section 9.5). A thousand fits of a few hundred
    rows by scikit-learn take seconds for checks and copies; all together in one product, tenths of them.
    """
    values, target = np.asarray(features, dtype=np.float64), np.asarray(truth).astype(np.float64)
    if known is None:
        mean, spread = values.mean(axis=1, keepdims=True), values.std(axis=1, keepdims=True)
        negatives = (1 - target).sum(axis=1)
    else:
        counted, n = known[..., None], known.sum(axis=1)[:, None, None]
        mean = np.where(counted, values, 0).sum(axis=1, keepdims=True) / n
        spread = np.sqrt((np.where(counted, values - mean, 0) ** 2).sum(axis=1, keepdims=True) / n)
        negatives = (known & (target == 0)).sum(axis=1)
    varies = spread > 1e-12
    scale = np.where(varies, spread, 1.0)
    design = np.concatenate([np.where(varies, (values - mean) / scale, 0.0), np.ones((*target.shape, 1))], axis=2)
    if known is not None:  # a row of zeros has the same loss whatever the coefficients
        design *= known[..., None]
    at = np.zeros((len(design), design.shape[2]))
    at[:, -1] = np.log(target.sum(axis=1) / negatives)
    for penalty in penalties:
        ridge = np.append(np.full(design.shape[2] - 1, 1 / penalty), 0.0)
        at = logistic_optimum(design, target, ridge, at)
        weights = np.where(varies[:, 0], at[:, :-1], 0.0) / scale[:, 0]
        yield weights, at[:, -1] - (weights * mean[:, 0]).sum(axis=1)


_STEPS, _HALVINGS, _CLOSE = 100, 40, 1e-10


def logistic_optimum(
    design: np.ndarray, target: np.ndarray, ridge: np.ndarray | float = 0.0, start: np.ndarray | None = None
) -> np.ndarray:
    """Minimise the log-loss of P logistic models that share nothing, by Newton's method.

    Parameters
    ----------
    design : float64 [P, N, F]
        Finite, of moderate size; a constant column is an intercept.
    target : float64 [P, N]
        In [0, 1].
    ridge : float64 [F] or float
        Strength of an L2 penalty of each coefficient, at least 0. Without one the optimum must be finite.
    start : float64 [P, F] or None
        Where to begin; None is 0.

    Returns
    -------
    float64 [P, F]
        Coefficients: minima of sum log(1 + exp(z)) - target z + ridge c^2 / 2 with z = design c.
    """
    ridge = np.broadcast_to(np.asarray(ridge, dtype=np.float64), design.shape[2:])
    at = np.zeros((len(design), design.shape[2])) if start is None else start.copy()
    moving = np.arange(len(at))
    for _ in range(_STEPS):
        if not len(moving):
            break
        x, y = (design, target) if len(moving) == len(at) else (design[moving], target[moving])
        here = at[moving]
        logits = _products(x, here)
        likely = expit(logits)
        gradient = ridge * here - ((y - likely)[:, None] @ x)[:, 0]
        curvature = (x * (likely * (1 - likely))[..., None]).swapaxes(1, 2) @ x
        # Where all is fitted the intercept alone has no curvature left; what is added moves no optimum.
        curvature += np.diag(ridge + 1e-12 * x.shape[1])
        step = -np.linalg.solve(curvature, gradient[..., None])[..., 0]
        before, length = _penalised_loss(logits, y, ridge, here), np.ones((len(here), 1))
        for _ in range(_HALVINGS):
            there = here + length * step
            worse = _penalised_loss(_products(x, there), y, ridge, there) > before + 1e-12 * np.maximum(before, 1)
            if not worse.any():
                break
            length[worse] /= 2
        at[moving] = here + length * step
        moving = moving[np.abs(step).max(axis=1) > _CLOSE * np.maximum(1, np.abs(here).max(axis=1))]
    return at


def _products(design: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    return (design @ coefficients[..., None])[..., 0]


def _penalised_loss(logits: np.ndarray, target: np.ndarray, ridge: np.ndarray, at: np.ndarray) -> np.ndarray:
    return (np.logaddexp(0, logits) - target * logits).sum(axis=1) + (ridge * at**2).sum(axis=1) / 2
