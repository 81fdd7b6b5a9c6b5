"""Resampling of patients (and of training seeds), and the intervals that follow from it.

The unit drawn is the patient, not the image: images of one patient resemble each other, and an interval that takes
them for independent is too narrow. A draw is kept as the number of times each patient was drawn, which is a weight of
each of the patient's images, so that nothing is copied and `metrics.Weighted` computes all draws at once.

Field & Welsh, "Bootstrapping clustered data", J R Stat Soc B 69(3), 2007, doi:10.1111/j.1467-9868.2007.00593.x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import t as student
from threadpoolctl import threadpool_limits

from pipeline.statistics.metrics import Metric, Scored, Weighted, measure

MIN_PATIENTS = 10
"""Fewer patients with a positive (or a negative) than this carry no interval: the bootstrap of so few is too narrow."""

MAX_JACKKNIFE_GROUPS = 200
"""Groups that a jackknife leaves out one by one. Its third moment is then known to about 0.002 of acceleration."""

_CHUNK_BYTES = 2**19
"""Weights of one chunk of draws. They are read once a class and model, and are read fastest from the second cache."""

_DRAW_BYTES = 2**25
"""Random numbers held at once while drawing."""


def patient_draws(patients: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many patients as there are, with replacement, `draws` times.

    Parameters
    ----------
    patients : str [N]
        Patient of each image.
    draws : int
        B, at least 1.
    seed : int
        The same seed and patients give the same draws, so that values of different models can be compared draw by draw.

    Returns
    -------
    counts : uint16 [B, P]
        How often each patient was drawn; every row sums to P. Patients are in sorted order.
    index : int64 [N]
        Column of `counts` of each image.

    Raises
    ------
    ValueError
        If there is no image or no draw.
    """
    patients = np.asarray(patients)
    if patients.ndim != 1 or not len(patients) or draws < 1:
        raise ValueError(f"{draws} draws of patients {patients.shape}; expected at least 1 draw of [N], N > 0")
    distinct, index = np.unique(patients, return_inverse=True)
    n = len(distinct)
    rng = np.random.default_rng(seed)
    counts = np.empty((draws, n), dtype=np.uint16)
    step = max(1, _DRAW_BYTES // (8 * n))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        # Row r's patients are shifted by r * n, so that one bincount counts every row apart.
        drawn = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
    return counts, index.astype(np.int64)


@threadpool_limits.wrap(limits=1, user_api="blas")
def metric_draws(scored: Scored, metrics: Mapping[str, Metric], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Compute metrics under every draw.

    Parameters
    ----------
    scored : Scored
        The predictions, grouped by patient as `patient_draws` indexes them.
    metrics : mapping of str to Metric
        What to compute.
    counts : int [B, P]
        From `patient_draws`.

    Returns
    -------
    dict of float64 [B, S, C]
        Under the keys of `metrics`; NaN where a draw leaves a metric undefined. A macro value is over the classes
        that the draw leaves defined.
    """
    # One BLAS thread: the products are small, and on a busy machine threads that wait for each other made them 100
    # times slower (0.1 against 14 s at 25,596 images). It also makes the last bit independent of the thread count.
    step = int(np.clip(_CHUNK_BYTES // (8 * scored.n_groups), 16, 1024))
    parts: dict[str, list[np.ndarray]] = {key: [] for key in metrics}
    curves = any(metric.needs == "curve" for metric in metrics.values())
    for start in range(0, len(counts), step):
        weights = np.ascontiguousarray(counts[start : start + step].T, dtype=np.float64)
        sums = Weighted(scored, weights.T, curves)
        for key, metric in metrics.items():
            parts[key].append(measure(metric, sums))
    return {key: np.concatenate(values) for key, values in parts.items()}


def jackknife_counts(n_patients: int, seed: int = 0, max_groups: int = MAX_JACKKNIFE_GROUPS) -> np.ndarray:
    """Leave out one patient, or one random group of patients, at a time.

    Parameters
    ----------
    n_patients : int
        P, at least 2.
    seed : int
        Of the division into groups, which differ in size by one patient at most.
    max_groups : int
        With no more patients than this, each is a group of its own.

    Returns
    -------
    uint16 [J, P]
        Weights as from `patient_draws`: 0 for the patients left out, 1 for the rest. J = min(P, max_groups).

    Raises
    ------
    ValueError
        If there are fewer than 2 patients or groups.

    Notes
    -----
    The acceleration of a BCa interval falls as the skewness of a group's influence over the root of the number of
    groups; the influence of m patients is less skewed by the root of m, so that groups and single patients agree.
    """
    if min(n_patients, max_groups) < 2:
        raise ValueError(f"{n_patients} patients in at most {max_groups} groups; a jackknife needs 2 at least")
    n_groups = min(n_patients, max_groups)
    group = np.arange(n_patients) % n_groups
    if n_groups < n_patients:
        group = np.random.default_rng(seed).permutation(group)
    return (group != np.arange(n_groups)[:, None]).astype(np.uint16)


def intervals(
    draws: np.ndarray,
    confidence: float,
    method: Literal["percentile", "bca"] = "percentile",
    *,
    value: np.ndarray | None = None,
    jackknife: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Intervals from bootstrap draws, linear between draws. Undefined draws are left out and counted.

    Parameters
    ----------
    draws : float [B, ...]
        A statistic under each draw; NaN where undefined.
    confidence : float
        In (0, 1).
    method : {"percentile", "bca"}
        "bca" corrects the percentiles for bias and for an error that changes with the value.
    value : float [...]
        For "bca": the statistic on the whole sample.
    jackknife : float [J, ...]
        For "bca": the statistic under `jackknife_counts`; NaN where undefined.

    Returns
    -------
    low, high : float64 [...]
        NaN where fewer than half of the draws are defined: what is left would describe the lucky draws only. For
        "bca" the same holds for the jackknife, and for a value that is itself undefined.
    defined : int64 [...]
        Draws that the interval rests on.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1), the method is unknown, or "bca" lacks its arrays or their shapes differ.

    Notes
    -----
    Efron, "Better bootstrap confidence intervals", J Am Stat Assoc 82(397), 1987,
    doi:10.1080/01621459.1987.10478410. Draws equal to the value count half towards the bias, so that a statistic with
    few distinct values is not taken for a biased one; a value beyond all draws counts as half a draw within them.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}; allowed: between 0 and 1")
    draws = np.asarray(draws, dtype=np.float64)
    ordered = np.sort(draws, axis=0)  # NaN last
    defined = (~np.isnan(draws)).sum(axis=0)
    tail = (1 - confidence) / 2
    if method == "percentile":
        levels = np.broadcast_to(np.reshape([tail, 1 - tail], (2,) + (1,) * (draws.ndim - 1)), (2, *draws.shape[1:]))
    elif method == "bca":
        if value is None or jackknife is None:
            raise ValueError("method 'bca' needs value and jackknife")
        levels = _bca_levels(draws, defined, np.asarray(value, float), np.asarray(jackknife, float), tail)
    else:
        raise ValueError(f"method {method!r}; allowed: 'percentile', 'bca'")
    enough = 2 * defined >= len(draws)
    low, high = (np.where(enough, _quantile(ordered, defined, level), np.nan) for level in levels)
    return low, high, defined


def _quantile(ordered: np.ndarray, defined: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return a quantile of each column of `ordered` [B, ...], of which the first `defined` [...] are numbers.

    The level [...] is that of each column; NaN gives NaN.
    """
    last = np.maximum(defined - 1, 0)
    at = np.nan_to_num(level) * last
    left = np.floor(at).astype(np.int64)
    low, high = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (left, np.minimum(left + 1, last)))
    return np.where(np.isnan(level), np.nan, low + (at - left) * (high - low))


def _bca_levels(
    draws: np.ndarray, defined: np.ndarray, value: np.ndarray, jackknife: np.ndarray, tail: float
) -> np.ndarray:
    """Return the levels [2, ...] that take the place of `tail` and 1 - `tail`; NaN where they cannot be had."""
    if value.shape != draws.shape[1:] or jackknife.shape[1:] != value.shape:
        raise ValueError(f"draws {draws.shape}, value {value.shape}, jackknife {jackknife.shape}; they do not fit")
    # The same sum in another order differs in its last bits: that is a tie, too.
    near = 1e-12 * np.maximum(1, np.abs(value))
    equal = (np.abs(draws - value) <= near).sum(axis=0)
    below = (draws < value - near).sum(axis=0) + equal / 2
    total = np.maximum(defined, 1)
    bias = ndtri(np.clip(below / total, 0.5 / total, 1 - 0.5 / total))
    acceleration = _acceleration(jackknife)
    levels = []
    for z in (ndtri(tail), -ndtri(tail)):
        shifted = bias + z
        shrink = 1 - acceleration * shifted
        # Beyond the pole of the transformation nothing lies on that side of the value but the extreme draw.
        moved = np.where(shrink > 0, shifted / np.where(shrink > 0, shrink, 1), np.copysign(np.inf, shifted))
        levels.append(ndtr(bias + moved))
    return np.where(np.isnan(value) | np.isnan(acceleration), np.nan, np.stack(levels))


def _acceleration(jackknife: np.ndarray) -> np.ndarray:
    """Return the acceleration [...] of jackknife values [J, ...]; 0 where they do not differ, NaN where too few."""
    known = ~np.isnan(jackknife)
    n = known.sum(axis=0)
    mean = np.where(known, jackknife, 0).sum(axis=0) / np.maximum(n, 1)
    influence = np.where(known, mean - jackknife, 0)
    # Third moments of numbers near 1e-5 lose nothing, but those of rounding errors would be noise over noise.
    influence = np.where(np.abs(influence) > 1e-14, influence, 0)
    squares = (influence**2).sum(axis=0)
    spread = 6 * np.where(squares > 0, squares, 1) ** 1.5
    return np.where((2 * n >= len(jackknife)) & (n > 1), (influence**3).sum(axis=0) / spread, np.nan)


def nested_draws(draws: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw training seeds within every draw of patients, and average over the seeds drawn.

    Parameters
    ----------
    draws : float [B, S, ...]
        A statistic of S >= 2 trainings under each draw of patients; NaN where undefined.
    seed : int
        Of the drawing.

    Returns
    -------
    float64 [B, ...]
        The mean over the trainings drawn; NaN where one of them is undefined.

    Raises
    ------
    ValueError
        If there is one training only: nothing then says how much another one would differ.

    Notes
    -----
    S - 1 seeds are drawn with replacement, not S: the variance of a mean of S drawn from S is too small by the factor
    (S - 1) / S, a half for two seeds; that of S - 1 is right (Rao & Wu, "Resampling inference with complex survey
    data", J Am Stat Assoc 83(401), 1988, doi:10.1080/01621459.1988.10478591). The trainings drawn share the patients
    drawn, as they do the test part. What a seed and a patient have in common is then counted three times (Owen, "The
    pigeonhole bootstrap", Ann Appl Stat 1(2), 2007, doi:10.1214/07-AOAS122): the spread errs on the wide side.
    """
    draws = np.asarray(draws, dtype=np.float64)
    n_draws, n_seeds = draws.shape[:2]
    if n_seeds < 2:
        raise ValueError("one training seed; resampling seeds needs 2 at least")
    chosen = np.random.default_rng(seed).integers(0, n_seeds, size=(n_draws, n_seeds - 1))
    return draws[np.arange(n_draws)[:, None], chosen].mean(axis=1)


def nested_intervals(
    values: np.ndarray,
    draws: np.ndarray,
    confidence: float,
    *,
    patients: np.ndarray | int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Total interval of what a recipe is expected to reach: over the seeds and over the patients.

    Parameters
    ----------
    values : float [S, ...]
        A statistic of S trainings on the whole sample.
    draws : float [B, S, ...]
        The same under draws of patients (`metric_draws`).
    confidence : float
        In (0, 1).
    patients : int [...] or None
        Patients that a value rests on; None for many.
    seed : int
        Of `nested_draws`.

    Returns
    -------
    low, high : float64 [...]
        Around the mean over seeds; NaN where it is undefined, or fewer than half of the nested draws are defined.
    standard_error : float64 [...]
        Standard deviation of the nested draws.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1), the shapes do not fit, or there is one training only.

    Notes
    -----
    Percentiles of nested draws cannot reach beyond the S values at hand where seeds make most of the difference, and
    with three seeds miss the truth several times too often. The interval is therefore the standard deviation of the
    nested draws times the t distribution, with the degrees of freedom of Satterthwaite (Biometrics Bulletin 2(6),
    1946, doi:10.2307/3002019): S - 1 for the variance over seeds, `patients` - 1 for the variance over patients.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}; allowed: between 0 and 1")
    values, draws = np.asarray(values, dtype=np.float64), np.asarray(draws, dtype=np.float64)
    if draws.shape[1:] != values.shape:
        raise ValueError(f"values {values.shape} and draws {draws.shape}; expected [S, ...] and [B, S, ...]")
    error = spread(nested_draws(draws, seed))
    of_patients = spread(draws.mean(axis=1)) ** 2
    of_seeds = np.maximum(error**2 - of_patients, 0)
    freedom_patients = np.inf if patients is None else np.maximum(np.asarray(patients) - 1, 1)
    below = of_seeds**2 / (len(values) - 1) + of_patients**2 / freedom_patients
    freedom = np.divide(error**4, below, out=np.full(error.shape, np.inf), where=below > 0)
    reach = student.ppf((1 + confidence) / 2, freedom) * error
    mean = values.mean(axis=0)
    return mean - reach, mean + reach, np.where(np.isnan(mean), np.nan, error)


def spread(draws: np.ndarray) -> np.ndarray:
    """Standard deviation over the defined draws.

    Parameters
    ----------
    draws : float [B, ...]
        NaN where undefined.

    Returns
    -------
    float64 [...]
        With ddof 1; NaN where fewer than half of the draws (or than 2) are defined.
    """
    defined = ~np.isnan(draws)
    n = defined.sum(axis=0)
    mean = np.where(defined, draws, 0).sum(axis=0) / np.maximum(n, 1)
    squares = (np.where(defined, draws - mean, 0) ** 2).sum(axis=0)
    enough = (2 * n >= len(draws)) & (n > 1)
    return np.where(enough, np.sqrt(squares / np.maximum(n - 1, 1)), np.nan)


def wilson(successes: np.ndarray | int, n: np.ndarray | int, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Interval of Wilson for a share, such as an accuracy, of images taken for independent.

    It ignores that images of one patient resemble each other, so that with several images a patient it is too narrow:
    a reference beside the patient bootstrap, as published work mostly states it, and not a replacement. It suits
    shares only; for MCC or F1, which are none, use the bootstrap.

    Parameters
    ----------
    successes : int [...]
        Images that were right, 0 to `n`.
    n : int [...]
        Images.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float64 [...]
        In [0, 1]; NaN where n = 0.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1) or successes lie outside [0, n].

    Notes
    -----
    Wilson, "Probable inference, the law of succession, and statistical inference", J Am Stat Assoc 22(158), 1927,
    doi:10.1080/01621459.1927.10502953.
    """
    k, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}; allowed: between 0 and 1")
    if ((k < 0) | (k > n)).any():
        raise ValueError("successes outside 0 to n")
    z = ndtri((1 + confidence) / 2)
    some = n > 0
    size = np.where(some, n, 1)
    centre = (k + z**2 / 2) / (size + z**2)
    reach = z * np.sqrt(k * (size - k) / size + z**2 / 4) / (size + z**2)
    # At the ends the formula is exactly 0 or 1 but for rounding.
    low = np.where(k == 0, 0, centre - reach)
    high = np.where(k == n, 1, centre + reach)
    return np.where(some, low, np.nan), np.where(some, high, np.nan)


def refusals(scored: Scored) -> list[str]:
    """Say for each class whether its patients are too few for an interval.

    Parameters
    ----------
    scored : Scored
        Predictions grouped by patient.

    Returns
    -------
    list of str [K]
        "" or, for instance, "fewer than 10 positive patients (7)". A patient with both kinds of image counts twice.
    """
    positive, negative = (scored.class_counts > 0).sum(axis=0)
    texts = []
    for with_positive, with_negative in zip(positive.tolist(), negative.tolist()):
        few = [
            f"fewer than {MIN_PATIENTS} {kind} patients ({n})"
            for kind, n in (("positive", with_positive), ("negative", with_negative))
            if n < MIN_PATIENTS
        ]
        texts.append(", ".join(few))
    return texts
