"""Resampling of patients, and the intervals that follow from it.

The unit drawn is the patient, not the image: images of one patient resemble each other, and an interval that takes
them for independent is too narrow. A draw is kept as the number of times each patient was drawn, which is a weight of
each of the patient's images, so that nothing is copied and `metrics.Weighted` computes all draws at once.

Field & Welsh, "Bootstrapping clustered data", J R Stat Soc B 69(3), 2007, doi:10.1111/j.1467-9868.2007.00593.x.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.statistics.metrics import Metric, Scored, Weighted, measure

MIN_PATIENTS = 10
"""Fewer patients with a positive (or a negative) than this carry no interval: the bootstrap of so few is too narrow."""

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
    for start in range(0, len(counts), step):
        weights = np.ascontiguousarray(counts[start : start + step].T, dtype=np.float64)
        sums = Weighted(scored, weights.T)
        for key, metric in metrics.items():
            parts[key].append(measure(metric, sums))
    return {key: np.concatenate(values) for key, values in parts.items()}


def intervals(draws: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Percentile intervals, linear between draws. Undefined draws are left out and counted.

    Parameters
    ----------
    draws : float [B, ...]
        A statistic under each draw; NaN where undefined.
    confidence : float
        In (0, 1).

    Returns
    -------
    low, high : float64 [...]
        NaN where fewer than half of the draws are defined: what is left would describe the lucky draws only.
    defined : int64 [...]
        Draws that the interval rests on.

    Raises
    ------
    ValueError
        If `confidence` is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}; allowed: between 0 and 1")
    ordered = np.sort(draws, axis=0)  # NaN last
    defined = (~np.isnan(draws)).sum(axis=0)
    enough = 2 * defined >= len(draws)

    def quantile(q: float) -> np.ndarray:
        at = q * np.maximum(defined - 1, 0)
        left = np.floor(at).astype(np.int64)
        right = np.minimum(left + 1, np.maximum(defined - 1, 0))
        low, high = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in (left, right))
        return np.where(enough, low + (at - left) * (high - low), np.nan)

    tail = (1 - confidence) / 2
    return quantile(tail), quantile(1 - tail), defined


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
