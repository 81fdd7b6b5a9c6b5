"""Signs that a training run learned nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.study.unknown import sides

CONSTANT = 1e-6
"""Range below which values count as one."""
TOO_FEW = 0.75
"""AUROC that pure noise must not reach by two standard errors, for more than constancy to be a sign: a model that ranks
three of four pairs rightly has learned something, and would be called one that has not."""
LEARNED = 0.2
"""Share of the way from chance to perfection, an AUROC of 0.6, below which a training run has learned nothing. What an
interval reaches cannot be excluded: to be within noise is no evidence for nothing."""
_Z = 2.0
"""Standard errors, both of what noise reaches and of what a run may really be worth."""


def too_few(targets: np.ndarray) -> str | None:
    """Say why predictions of so few images cannot tell a model that learned from one that did not, or return None.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth; NaN where it is not known.

    Returns
    -------
    str or None
        "12 images, on which the AUROC of noise reaches 0.847: too few to tell".
    """
    positives, negatives = sides(targets)
    if not ((positives > 0) & (negatives > 0)).any():
        return None  # no AUROC at all, which has a sign of its own
    # Of single-label classes one follows from the others: the two AUROCs of two classes are one number.
    bound = (targets.sum(1) == 1).all()
    reached = _noise_reaches(targets, bound=int(bound))
    if reached <= TOO_FEW:
        return None
    return f"{_images(targets)} images, on which the AUROC of noise reaches {min(reached, 1):.3f}: too few to tell"


def unclear(targets: np.ndarray, auroc: float) -> str | None:
    """Say why an AUROC tells neither that a training run learned nor that it did not, or return None.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth; NaN where it is not known.
    auroc : float
        Macro AUROC, NaN if undefined.

    Returns
    -------
    str or None
        What `too_few` says, or, of an AUROC that noise reaches but whose interval reaches one of a run that learned,
        "45 images, AUROC 0.560: noise reaches 0.606, and so few images allow for 0.666 as well: too few to tell".
    """
    if few := too_few(targets):
        return few
    if not np.isfinite(auroc):
        return None
    noise = _noise_reaches(targets)
    highest = auroc + noise - 0.5
    if auroc > noise or highest < 0.5 + LEARNED / 2:
        return None
    return (
        f"{_images(targets)} images, AUROC {auroc:.3f}: noise reaches {noise:.3f}, and so few images allow for "
        f"{highest:.3f} as well: too few to tell"
    )


def collapse_sign(history: Sequence[float], auroc: float, targets: np.ndarray, probabilities: np.ndarray) -> str | None:
    """Name the sign by which a training run shows that it learned nothing, or return None.

    Parameters
    ----------
    history : sequence of float
        Of each epoch the validation metric that chose among them, NaN where undefined; 1 is its best value.
    auroc : float
        Validation macro AUROC of the weights that were kept, NaN if undefined.
    targets : 0/1 [N, K]
        Validation truth; NaN where it is not known.
    probabilities : float [N, K]
        Validation predictions of the weights that were kept.

    Returns
    -------
    str or None
        The first that holds of

        - "undefined ...": the AUROC, or the metric in every epoch;
        - "constant predictions": of all images alike, in every class;
        - "constant validation metric": over two epochs or more, unless it is perfect;
        - "chance ...": the AUROC is within what noise reaches, and so is all that its interval allows for, see
          `unclear`;
        - "one class ...": predicted for every image of single-label data with several classes;
        - "accuracy ...": the decisions on single-label data are no better than always saying the most frequent class,
          and no better than chance in the mean over the classes. As many images as it takes to exclude that they are
          better by `LEARNED` are needed for these two.

        The first two alone where there are too few images to tell (`too_few`).

    Notes
    -----
    Chance level of the AUROC is 0.5 plus two standard errors of a macro AUROC of pure noise. A class with p positives
    and q negatives has the variance (p + q + 1) / (12 p q) under the null (Mann & Whitney 1947,
    doi:10.1214/aoms/1177730491); classes are taken as independent, which errs towards not calling a run collapsed.

    Accuracy alone is no sign: a model trained for rare classes gives up accuracy for them. So the mean sensitivity
    (balanced accuracy) must be at chance too: decisions that do not depend on the truth and choose class k for a share
    q_k of the images have the mean 1/C over C classes present, and the variance sum_k q_k (1 - q_k) / n_k / C^2 with
    n_k images of class k; two standard errors are granted. What the mean sensitivity may really be is bounded by the
    Wilson bound of each class, put together as Zou & Donner do (MOVER, 2008, doi:10.1002/sim.3095).

    A loss above that of the best constant predictor is no sign either: overconfident and rebalanced models have one
    and still rank well.
    """
    metric = np.asarray(history, dtype=np.float64)
    if not np.isfinite(auroc):
        return "undefined validation AUROC"
    if len(metric) and np.isnan(metric).all():
        return "undefined validation metric"
    if np.ptp(probabilities, axis=0).max() < CONSTANT:
        return "constant predictions"
    if too_few(targets):
        return None
    if len(metric) > 1 and np.ptp(metric) < CONSTANT and metric.max() < 1 - CONSTANT:
        return f"constant validation metric: {metric[0]:.3f} in all {len(metric)} epochs"
    chance = _noise_reaches(targets)
    if auroc <= chance and not unclear(targets, auroc):
        return f"chance: validation AUROC {auroc:.3f}, noise reaches {chance:.3f}"
    if (targets.sum(1) == 1).all() and np.allclose(probabilities.sum(1), 1, atol=1e-3):
        return _sign_of_decisions(targets.argmax(1), probabilities.argmax(1), targets.shape[1])
    return None


def _images(targets: np.ndarray) -> int:
    """Count the images with a known label."""
    return int(((targets == 0) | (targets == 1)).any(axis=1).sum())


def _noise_reaches(targets: np.ndarray, bound: int = 0) -> float:
    """Return the highest macro AUROC that is taken for chance; at least one class has positives and negatives.

    `bound` is the number of classes that do not count as independent of the others.
    """
    positives, negatives = (side.astype(float) for side in sides(targets))
    both = (positives > 0) & (negatives > 0)
    variance = (positives[both] + negatives[both] + 1) / (12 * positives[both] * negatives[both])
    independent = max(1, both.sum() - bound)
    return float(0.5 + _Z * np.sqrt(variance.sum() / both.sum() / independent))


def _sign_of_decisions(truth: np.ndarray, chosen: np.ndarray, classes: int) -> str | None:
    """Judge the classes chosen for images of several classes, int [N] each."""
    counts = np.bincount(truth, minlength=classes)
    present = counts > 0
    if present.sum() < 2:
        return None
    right, majority = chosen == truth, counts.max() / len(truth)
    hits = np.bincount(truth[right], minlength=classes)
    sensitivity = hits[present] / counts[present]
    balanced = float(sensitivity.mean())
    above = _wilson_bound(sensitivity, counts[present]) - sensitivity
    by_chance = 1 / present.sum()
    if balanced + np.sqrt((above**2).sum()) / present.sum() >= by_chance + LEARNED * (1 - by_chance):
        return None  # too few to tell
    if len(np.unique(chosen)) == 1:
        return "one class predicted for every image"
    share = np.bincount(chosen, minlength=classes)[present] / len(truth)
    chance = (share.sum() + _Z * np.sqrt((share * (1 - share) / counts[present]).sum())) / present.sum()
    if right.mean() <= majority and balanced <= chance:
        return (
            f"accuracy {right.mean():.3f}: the most frequent class alone has {majority:.3f}; "
            f"balanced accuracy {balanced:.3f}, noise reaches {chance:.3f}"
        )
    return None


def _wilson_bound(shares: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the upper Wilson bound of `shares` of `images`, each float [K]."""
    z2 = _Z**2
    spread = _Z * np.sqrt(shares * (1 - shares) / images + z2 / (4 * images**2))
    return (shares + z2 / (2 * images) + spread) / (1 + z2 / images)
