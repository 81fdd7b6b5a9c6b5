"""The metrics as functions of `Weighted` sums, for any number of weightings at once, and a few of bare arrays.

What a metric cannot say is NaN, never 0: `registry.reasons` says why.
"""

from __future__ import annotations

import numpy as np

from pipeline.metrics.ranks import average_ranks
from pipeline.metrics.scored import Scored, Weighted, ratio
from pipeline.metrics.thresholds import MAX_F1
from pipeline.study.unknown import known_of


def auroc(sums: Weighted) -> np.ndarray:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, a tie counting half.

    Hanley & McNeil, Radiology 143(1), 1982, doi:10.1148/radiology.143.1.7063747.

    Examples
    --------
    Of four pairs, only the positive at 1 and the negative at 2 are in the wrong order.

    >>> truth, logit = [1, 0, 1, 0], [3, 2, 1, 0]
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> auroc(sums).item()
    0.75
    """
    return sums.ranks[0]


def average_precision(sums: Weighted) -> np.ndarray:
    """Average precision: the precision at the score of each positive, averaged over the positives; ties are one cut.

    Not interpolated, as in scikit-learn. Without a negative it would be 1 whatever the scores, and is undefined here.

    Examples
    --------
    The precision is 1/1 at the first positive and 2/3 at the second.

    >>> truth, logit = [1, 0, 1, 0], [3, 2, 1, 0]
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> round(average_precision(sums).item(), 4)
    0.8333
    """
    return sums.ranks[1]


def oracle_f1(sums: Weighted) -> np.ndarray:
    """Highest F1 of any threshold, chosen on the scored images themselves (anew under each weighting).

    What no honest threshold can reach: it bounds F1, and is not a result. Lipton et al., ECML PKDD 2014,
    doi:10.1007/978-3-662-44851-9_15.

    Examples
    --------
    Calling the upper three positive has 2 TP, 1 FP and no FN.

    >>> truth, logit = [1, 0, 1, 0], [3, 2, 1, 0]
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> oracle_f1(sums).item()
    0.8
    """
    return sums.ranks[2]


def f1(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """F1 = 2 TP / (2 TP + FP + FN).

    Without a positive it would be 0 whatever the scores as soon as anything is called positive, and is undefined here.

    Examples
    --------
    >>> truth, logit = [1, 1, 0, 1, 1, 0, 0, 0], [1, 1, 1, -1, -1, -1, -1, -1]  # 2 TP, 1 FP, 2 FN, 3 TN
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> round(f1(sums, "zero").item(), 4)  # 4 / 7
    0.5714
    """
    tp, fp, fn, _ = sums.counts(point)
    return ratio(2 * tp, np.where(sums.positives > 0, 2 * tp + fp + fn, 0))


def sensitivity(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Sensitivity (recall) = TP / (TP + FN).

    Examples
    --------
    >>> truth, logit = [1, 1, 0, 1, 1, 0, 0, 0], [1, 1, 1, -1, -1, -1, -1, -1]  # 2 TP, 1 FP, 2 FN, 3 TN
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> sensitivity(sums, "zero").item()  # 2 / 4
    0.5
    """
    tp, _, fn, _ = sums.counts(point)
    return ratio(tp, tp + fn)


def specificity(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Specificity = TN / (TN + FP).

    Examples
    --------
    >>> truth, logit = [1, 1, 0, 1, 1, 0, 0, 0], [1, 1, 1, -1, -1, -1, -1, -1]  # 2 TP, 1 FP, 2 FN, 3 TN
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> specificity(sums, "zero").item()  # 3 / 4
    0.75
    """
    _, fp, _, tn = sums.counts(point)
    return ratio(tn, tn + fp)


def precision(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Precision (positive predictive value) = TP / (TP + FP).

    Without a positive it would be 0, without a negative 1, whatever the scores, and is undefined here.

    Examples
    --------
    >>> truth, logit = [1, 1, 0, 1, 1, 0, 0, 0], [1, 1, 1, -1, -1, -1, -1, -1]  # 2 TP, 1 FP, 2 FN, 3 TN
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> round(precision(sums, "zero").item(), 4)  # 2 / 3
    0.6667
    """
    tp, fp, _, _ = sums.counts(point)
    return ratio(tp, np.where((sums.positives > 0) & (sums.negatives > 0), tp + fp, 0))


def mcc(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Matthews correlation coefficient of each class; undefined where a margin of the 2 x 2 table is 0.

    Matthews, Biochim Biophys Acta 405(2), 1975, doi:10.1016/0005-2795(75)90109-9.

    Examples
    --------
    >>> truth, logit = [1, 1, 0, 1, 1, 0, 0, 0], [1, 1, 1, -1, -1, -1, -1, -1]  # 2 TP, 1 FP, 2 FN, 3 TN
    >>> sums = Weighted(Scored("multilabel", np.c_[truth], np.c_[logit][None]))
    >>> round(mcc(sums, "zero").item(), 4)  # (2 * 3 - 1 * 2) / sqrt(3 * 4 * 4 * 5)
    0.2582
    """
    tp, fp, fn, tn = sums.counts(point)
    return ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn)) * np.sqrt((tn + fp) * (tn + fn)))


def log_loss(sums: Weighted) -> np.ndarray:
    """Mean cross-entropy in nats, of each class (multi-label) or of the softmax (multiclass).

    From the logits: comparable whatever loss was trained.

    Examples
    --------
    >>> logit = [np.log(4), -np.log(4)]  # probabilities 0.8 and 0.2
    >>> sums = Weighted(Scored("multilabel", np.c_[[1, 0]], np.c_[logit][None]))
    >>> round(log_loss(sums).item(), 4)  # -ln 0.8
    0.2231
    """
    return sums.loss


def brier(sums: Weighted) -> np.ndarray:
    """Mean squared error of the probability: of each class, in [0, 1], or summed over the classes, in [0, 2].

    Brier, Monthly Weather Review 78(1), 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Examples
    --------
    >>> logit = [np.log(4), -np.log(4)]  # probabilities 0.8 and 0.2
    >>> sums = Weighted(Scored("multilabel", np.c_[[1, 0]], np.c_[logit][None]))
    >>> round(brier(sums).item(), 4)  # 0.2 squared
    0.04
    """
    return sums.squares


def calibration_error(sums: Weighted) -> np.ndarray:
    """Expected calibration error in `ECE_BINS` bins of equal mass: mean of |frequency - mean probability|, in [0, 1].

    Multi-label: of the probability of each class. Multiclass: of the class decided for (top-1). The bins are cut once
    (`calibration.equal_mass_bins`) and stay as they are when images are weighted, so that a repeated row counts twice
    in its bin but moves no edge. The error of a finite sample is above 0 even for a perfect forecast.

    Naeini, Cooper & Hauskrecht, AAAI 2015; equal mass: Nguyen & O'Connor, EMNLP 2015, arXiv 1508.05154.

    Examples
    --------
    Each image has a bin of its own, where probability and truth differ by 0.2.

    >>> logit = [np.log(4), -np.log(4)]  # probabilities 0.8 and 0.2
    >>> sums = Weighted(Scored("multilabel", np.c_[[1, 0]], np.c_[logit][None]))
    >>> round(calibration_error(sums).item(), 4)
    0.2
    """
    return sums.calibration


def accuracy(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Share of the images whose class was decided right.

    Examples
    --------
    >>> truth, decided = np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]]
    >>> sums = Weighted(Scored("multiclass", truth, decided[None]))
    >>> accuracy(sums).item()  # 3 / 4
    0.75
    """
    tp = sums.counts(point)[0].sum(axis=-1)
    return ratio(tp, np.broadcast_to(sums.total, tp.shape))


def balanced_accuracy(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Mean sensitivity over the classes that have a positive.

    Examples
    --------
    >>> truth, decided = np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]]
    >>> sums = Weighted(Scored("multiclass", truth, decided[None]))
    >>> round(balanced_accuracy(sums).item(), 4)  # (2 / 3 + 1 / 1) / 2
    0.8333
    """
    return macro(sensitivity(sums, point))


def multiclass_mcc(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Matthews correlation of all classes together (R_K); undefined where the truth or the decisions are one class.

    Gorodkin, Comput Biol Chem 28(5-6), 2004, doi:10.1016/j.compbiolchem.2004.09.006.

    Examples
    --------
    >>> truth, decided = np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]]
    >>> sums = Weighted(Scored("multiclass", truth, decided[None]))
    >>> round(multiclass_mcc(sums).item(), 4)  # (1 * 2 - 1 * 0) / sqrt(2 * 1 * 3 * 2)
    0.5774
    """
    tp, fp, fn, _ = sums.counts(point)
    called, true, total = tp + fp, tp + fn, np.broadcast_to(sums.total, tp.shape[:2])
    # Sums over the off-diagonal, not differences of squares, so that one class only gives exactly 0.
    spread_called = (called * (called.sum(axis=-1, keepdims=True) - called)).sum(axis=-1)
    spread_true = (true * (true.sum(axis=-1, keepdims=True) - true)).sum(axis=-1)
    covariance = tp.sum(axis=-1) * total - (called * true).sum(axis=-1)
    return ratio(covariance, np.sqrt(spread_called) * np.sqrt(spread_true))


def kappa(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Cohen's kappa of truth and decisions; undefined where both are one and the same class.

    Cohen, Educ Psychol Meas 20(1), 1960, doi:10.1177/001316446002000104.

    Examples
    --------
    Three of four agree, and by chance 3/4 x 2/4 + 1/4 x 2/4 = 1/2 would.

    >>> truth, decided = np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]]
    >>> sums = Weighted(Scored("multiclass", truth, decided[None]))
    >>> kappa(sums).item()
    0.5
    """
    expected = chance_disagreement(sums, point)
    observed = sums.counts(point)[1].sum(axis=-1) * np.broadcast_to(sums.total, expected.shape)
    return ratio(expected - observed, expected)


def chance_disagreement(sums: Weighted, point: str) -> np.ndarray:
    """Disagreement of truth and decisions [B, S] if they were independent, times the squared weight of the images.

    Not 1 minus the agreement, so that one and the same class on both sides gives exactly 0.
    """
    tp, fp, fn, _ = sums.counts(point)
    called, true = tp + fp, tp + fn
    return (called * (true.sum(axis=-1, keepdims=True) - true)).sum(axis=-1)


def quadratic_kappa(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Cohen's kappa of grades with quadratic weights; undefined where truth and decisions are one and the same grade.

    1 minus the mean squared distance of decisions over that which the same decisions, shuffled, would have. Cohen,
    Psychol Bull 70(4), 1968, doi:10.1037/h0026256.

    Examples
    --------
    Squared distances are 0, 0, 1 and 0; of all pairs of a truth and a decision 7/4 on average.

    >>> truth, decided = np.eye(3)[[0, 0, 1, 2]], np.eye(3)[[0, 0, 2, 2]]
    >>> sums = Weighted(Scored("multiclass", truth, decided[None], ordered=True))
    >>> round(quadratic_kappa(sums).item(), 4)  # 1 - (1 / 4) / (7 / 4)
    0.8571
    """
    expected = chance_distance(sums, point)
    return ratio(expected - sums.distances[1], expected)


def chance_distance(sums: Weighted, point: str) -> np.ndarray:
    """Mean squared distance of truth and decisions [B, S] if they were independent, in grades.

    A sum over pairs of different grades, so that one and the same grade on both sides gives exactly 0.
    """
    tp, fp, fn, _ = sums.counts(point)
    grades = np.arange(tp.shape[-1])
    apart = (grades[:, None] - grades) ** 2
    total = np.broadcast_to(sums.total, tp.shape[:2])
    return ratio((((tp + fn) @ apart) * (tp + fp)).sum(axis=-1), total**2)


def grades_off(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Mean absolute error of decisions, in grades.

    Examples
    --------
    >>> truth, decided = np.eye(3)[[0, 0, 1, 2]], np.eye(3)[[0, 2, 2, 2]]
    >>> sums = Weighted(Scored("multiclass", truth, decided[None], ordered=True))
    >>> grades_off(sums).item()  # (0 + 2 + 1 + 0) / 4
    0.75
    """
    return sums.distances[0]


def within_one(sums: Weighted, point: str = MAX_F1) -> np.ndarray:
    """Share of the images whose decision is right or off by one grade.

    Examples
    --------
    >>> truth, decided = np.eye(3)[[0, 0, 1, 2]], np.eye(3)[[0, 2, 2, 2]]
    >>> sums = Weighted(Scored("multiclass", truth, decided[None], ordered=True))
    >>> within_one(sums).item()  # 3 / 4
    0.75
    """
    return sums.distances[2]


def macro(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of what is defined; NaN where nothing is.

    Parameters
    ----------
    values : float [..., K]
        NaN where undefined.

    Returns
    -------
    float64 [...]

    Examples
    --------
    >>> macro(np.array([1.0, np.nan, 0.5])).item()
    0.75
    """
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1))


def class_auroc(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """AUROC of each class from bare arrays; see `auroc`.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth.
    scores : float [N, K]
        Finite; the larger, the more positive.
    weights : float [B, N] or None
        Weights of the images.

    Returns
    -------
    float64 [K], or [B, K] with weights
        NaN for a class without a positive or a negative.

    Examples
    --------
    >>> class_auroc(np.c_[[1, 0, 1, 0]], np.c_[[3, 2, 1, 0]]).item()
    0.75
    """
    values = auroc(Weighted(Scored("multilabel", targets, np.asarray(scores)[None]), weights, curves=False))[:, 0]
    return values[0] if weights is None else values


def rank_auroc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUROC of each class by mid-ranks: `class_auroc` without what weights need, for many calls.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth.
    scores : float [N, K]
        Finite.

    Returns
    -------
    float64 [K]
        NaN for a class without a positive or a negative.

    Examples
    --------
    >>> rank_auroc(np.c_[[1, 0, 1, 0]], np.c_[[3, 2, 1, 0]]).item()
    0.75
    """
    targets = np.asarray(targets)
    known = known_of(targets)
    truth = targets.astype(bool) if known is None else targets == 1
    absent = ~truth if known is None else known & ~truth
    positives, negatives = truth.sum(axis=0).astype(float), absent.sum(axis=0).astype(float)
    # Ranks are those among the known: NaN are left out, and have the rank NaN.
    ranks = average_ranks(scores) if known is None else np.nan_to_num(average_ranks(np.where(known, scores, np.nan)))
    wins = (ranks * truth).sum(axis=0) - positives * (positives + 1) / 2
    pairs = positives * negatives
    return np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def confusion(targets: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Count the images of each true class (row) that each model decided for each class (column); multiclass.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth, one 1 per row.
    logits : float [S, N, K]
        Finite; the largest decides, the first among equals.

    Returns
    -------
    int64 [S, K, K]
        Each model's matrix sums to N.

    Raises
    ------
    ValueError
        As `Scored`, or if a logit is not finite.

    Examples
    --------
    >>> confusion(np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]][None])[0].tolist()
    [[2, 1], [0, 1]]
    """
    scored = Scored("multiclass", targets, logits)
    if scored.broken.any():
        raise ValueError("a logit is not finite")
    return np.einsum("nk,snl->skl", scored.truth.astype(np.int64), scored.decisions().astype(np.int64))
