"""Resampling of patients (and of training seeds), and the intervals that follow from it.

The unit drawn is the patient, not the image: images of one patient resemble each other, and an interval that takes
them for independent is too narrow. A draw is kept as the number of times each patient was drawn, which is a weight of
each of the patient's images, so that nothing is copied and `scored.Weighted` computes all draws at once.

Field & Welsh, "Bootstrapping clustered data", J R Stat Soc B 69(3), 2007, doi:10.1111/j.1467-9868.2007.00593.x.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.metrics.registry import Metric, measure
from pipeline.metrics.scored import Scored, Weighted

_CHUNK_BYTES = 2**19
"""Weights of one chunk of draws. They are read once per class and model, and are read fastest from the second cache."""


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
        patient = rng.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts[start : start + rows] = np.bincount(patient.ravel(), minlength=rows * n).reshape(rows, n)
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
        Under the keys of `metrics`; NaN where a draw leaves a metric undefined. A macro value is that of the classes
        which are in the mean on the whole sample, and undefined where a draw loses one of them: the mean over the
        others would be another quantity.
    """
    # One BLAS thread: the products are small, and on a busy machine threads that wait for each other made them 100
    # times slower (0.1 against 14 s at 25,596 images). It also makes the last bit independent of the thread count.
    step = int(np.clip(_CHUNK_BYTES // (8 * scored.n_groups), 16, 1024))
    parts: dict[str, list[np.ndarray]] = {key: [] for key in metrics}
    curves = any(metric.needs == "curve" for metric in metrics.values())
    whole = Weighted(scored, None, curves)
    fixed = {
        key: ~np.isnan(measure(metric, whole)[0, :, :-1])
        for key, metric in metrics.items()
        if metric.aggregate == "macro"
    }
    for start in range(0, len(counts), step):
        weights = np.ascontiguousarray(counts[start : start + step].T, dtype=np.float64)
        sums = Weighted(scored, weights.T, curves)
        for key, metric in metrics.items():
            values = measure(metric, sums)
            if key in fixed:
                lost = (fixed[key] & np.isnan(values[..., :-1])).any(axis=-1)
                values[..., -1] = np.where(lost, np.nan, values[..., -1])
            parts[key].append(values)
    return {key: np.concatenate(values) for key, values in parts.items()}


def nested_draws(draws: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw training seeds within every draw of patients, and average over the seeds drawn.

    Parameters
    ----------
    draws : float [B, S, ...]
        A statistic of S >= 2 training runs under each draw of patients; NaN where undefined.
    seed : int
        Of the drawing.

    Returns
    -------
    float64 [B, ...]
        The mean over the training runs drawn; NaN where one of them is undefined.

    Raises
    ------
    ValueError
        If there is one training only: nothing then says how much another one would differ.

    Notes
    -----
    S - 1 seeds are drawn with replacement, not S: the variance of a mean of S drawn from S is too small by the factor
    (S - 1) / S, a half for two seeds; that of S - 1 is right (Rao & Wu, "Resampling inference with complex survey
    data", J Am Stat Assoc 83(401), 1988, doi:10.1080/01621459.1988.10478591). The training runs drawn share the
    patients drawn, as they do the test part. What a seed and a patient have in common is then counted three times
    (Owen, "The pigeonhole bootstrap", Ann Appl Stat 1(2), 2007, doi:10.1214/07-AOAS122): the spread errs on the wide
    side.
    """
    draws = np.asarray(draws, dtype=np.float64)
    n_draws, n_seeds = draws.shape[:2]
    if n_seeds < 2:
        raise ValueError("one training seed; resampling seeds needs 2 at least")
    chosen = np.random.default_rng(seed).integers(0, n_seeds, size=(n_draws, n_seeds - 1))
    return draws[np.arange(n_draws)[:, None], chosen].mean(axis=1)
