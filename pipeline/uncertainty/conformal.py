"""Prediction sets that hold the truth as often as promised, by a quantile of a held-out part.

Split conformal prediction: an image's set holds every label whose score is at most the score that the share `target` of
the held-out images (plus one) had for their true label. If these and the new images are exchangeable, sets hold the
truth with a probability of at least `target`, whatever the model. The images of one patient are not exchangeable with
those of another, and a validation part that also chose the epoch is a little too easy: what coverage is reached has to
be measured on the test part.

Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005; Angelopoulos & Bates, "Conformal prediction: a
gentle introduction", Found Trends Mach Learn 16(4), 2023, arXiv:2107.07511.
"""

from __future__ import annotations

import numpy as np


def conformal_quantile(scores: np.ndarray, target: float) -> float:
    """The score below or at which a new one lies with a probability of at least `target`.

    Parameters
    ----------
    scores : float [n]
        Of the true labels of a held-out part; the larger, the stranger.
    target : float
        In (0, 1).

    Returns
    -------
    float
        The ceil((n + 1) target)-th smallest; infinity, so that every set holds the label, where n is too small
        (fewer than 9 for 90 %).

    Examples
    --------
    >>> conformal_quantile(np.arange(1, 20) / 20, 0.9)  # the 18th of 19
    0.9
    >>> conformal_quantile(np.arange(8), 0.9)
    inf
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    rank = int(np.ceil((len(ordered) + 1) * target - 1e-9))
    return float(ordered[rank - 1]) if rank <= len(ordered) else float("inf")


def lac_scores(probabilities: np.ndarray) -> np.ndarray:
    """One minus the probability of each label.

    The smallest sets on average; hard classes can be left out of them (Sadinle, Lei & Wasserman, "Least ambiguous
    set-valued classifiers", J Am Stat Assoc 114(525), 2019, doi:10.1080/01621459.2017.1395341).
    """
    return 1 - np.asarray(probabilities, dtype=np.float64)


def aps_scores(probabilities: np.ndarray) -> np.ndarray:
    """Summed probability of the labels at least as likely, each label its own included.

    Sets adapt their size to the image (Romano, Sesia & Candes, "Classification with valid and adaptive coverage",
    NeurIPS 2020, arXiv:2006.02544; without the randomisation, so that sets are a little too large and reproducible).

    Parameters
    ----------
    probabilities : float [..., K]
        Of exclusive classes.

    Returns
    -------
    float64 [..., K]

    Examples
    --------
    >>> aps_scores(np.array([0.5, 0.2, 0.3])).round(4).tolist()
    [0.5, 1.0, 0.8]
    """
    p = np.asarray(probabilities, dtype=np.float64)
    order = np.argsort(-p, axis=-1, kind="stable")
    summed = np.cumsum(np.take_along_axis(p, order, axis=-1), axis=-1)
    scores = np.empty_like(p)
    np.put_along_axis(scores, order, summed, axis=-1)
    return scores


def prediction_sets(
    held_out: np.ndarray, labels: np.ndarray, new: np.ndarray, target: float, *, by_class: bool = False
) -> np.ndarray:
    """Fit the quantile on a held-out part and return the sets of new images.

    Parameters
    ----------
    held_out : float [n, K]
        Scores (`lac_scores`, `aps_scores`) of every label.
    labels : int [n]
        True label of each.
    new : float [N, K]
        Scores of the new images.
    target : float
        Coverage, in (0, 1).
    by_class : bool
        A quantile for each label, from the images that have it, so that the coverage holds for each of them (Mondrian;
        Vovk, "Conditional validity of inductive conformal predictors", Mach Learn 92, 2013,
        doi:10.1007/s10994-013-5355-6), and not for their mixture only.

    Returns
    -------
    bool [N, K]
        Whether a label is in the set. It may be empty.
    """
    true = held_out[np.arange(len(labels)), labels]
    if by_class:
        limit = np.array([conformal_quantile(true[labels == k], target) for k in range(held_out.shape[1])])
    else:
        limit = np.full(held_out.shape[1], conformal_quantile(true, target))
    return new <= limit + 1e-12
