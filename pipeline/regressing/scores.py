"""Metrics of a predicted number, all functions of sums over images, and their intervals over patients and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.metrics.scored import ratio
from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.intervals import nested_error, spread, t_interval
from pipeline.uncertainty.support import MIN_PATIENTS

NORMAL = 1.959963984540054
"""Standard deviations on either side that hold 95 % of a normal distribution."""
METRICS = ("mae", "rmse", "r2", "bias", "loa_low", "loa_high", "ccc", "coverage", "spread")
"""In the order of tables; see `measured`."""
LOWER_IS_BETTER = frozenset({"mae", "rmse"})
_SCALES = {"mae": "loss", "rmse": "loss", "r2": "below 1", "ccc": "correlation", "coverage": "share", "spread": "loss"}
"""Where a metric lies, as `intervals.t_interval` has it; "below 1": 1 minus it is a loss. The others are unbounded."""
NO_SPREAD = "the loss predicts no spread"
_ONE_SEED = "one seed: the interval is over patients only"


class Sums(NamedTuple):
    """Sums over the images of each group, float64 [F, S, G], from which every metric follows."""

    of: np.ndarray

    @classmethod
    def over(
        cls, values: np.ndarray, spreads: np.ndarray, targets: np.ndarray, groups: np.ndarray, n_groups: int
    ) -> Sums:
        """Add up what `measured` needs, of values and spreads [S, N], targets [N] and groups [N]."""
        # Sums of squares of numbers far from 0 cancel: the middle of the truth is taken off both sides.
        middle = targets.mean()
        y, p = np.broadcast_to(targets - middle, values.shape), values - middle
        error = values - targets
        inside = np.where(np.isnan(spreads), np.nan, np.abs(error) <= NORMAL * spreads)
        each = [np.ones_like(p), error, np.abs(error), error**2, y, y**2, p, p**2, y * p, inside, spreads]
        sums = np.zeros((len(each), len(values), n_groups))
        for f, s in np.ndindex(sums.shape[:2]):
            sums[f, s] = np.bincount(groups, each[f][s], n_groups)
        return cls(sums)

    def measured(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Compute all `METRICS` under weights of the groups [B, G], None for one weighting of ones: [B, S, M].

        ========== ===============================================================================================
        mae, rmse  Mean absolute error, root of the mean squared error.
        r2         1 - sum of squared errors / sum of squared deviations of the truth from its mean: 0 for that mean.
        bias       Mean of predicted - true, and loa_low, loa_high: bias -+ 1.96 SD of the differences, between which
                   95 % of them lie if they are normal (Bland & Altman, Lancet 327, 1986, 307-310).
        ccc        Concordance correlation, 2 s_yp / (s_y^2 + s_p^2 + (mean difference)^2), of moments over n (Lin,
                   Biometrics 45(1), 1989, 255-268).
        coverage   Share of the images whose truth lies within 1.96 predicted spreads: 0.95 if these are right.
        spread     Mean predicted spread.
        ========== ===============================================================================================
        """
        w = np.ones((1, self.of.shape[-1])) if weights is None else np.asarray(weights, dtype=np.float64)
        n, e, a, e2, y, y2, p, p2, yp, inside, sd = np.einsum("fsg,bg->fbs", self.of, w, optimize=True)
        mae, mse, bias = ratio(a, n), ratio(e2, n), ratio(e, n)
        of_truth, of_values = y2 - ratio(y**2, n), p2 - ratio(p**2, n)
        around = np.sqrt(np.maximum(ratio(e2 - ratio(e**2, n), n - 1), 0))
        covariance = yp - ratio(y * p, n)
        ccc = ratio(2 * covariance, of_truth + of_values + ratio(e**2, n))
        r2 = 1 - ratio(e2, np.where(of_truth > 1e-12 * np.maximum(y2, 1e-300), of_truth, 0))
        limits = bias - NORMAL * around, bias + NORMAL * around
        return np.stack([mae, np.sqrt(mse), r2, bias, *limits, ccc, ratio(inside, n), ratio(sd, n)], axis=-1)


def interval(metric: str, value: Any, error: Any, freedom: Any, confidence: float) -> tuple[float, float]:
    """Return the interval of one value from its standard error, on the scale on which it is unbounded."""
    scale = _SCALES.get(metric)
    if scale == "below 1":
        low, high = t_interval(1 - np.asarray(value), np.asarray(error), freedom, confidence, "loss")
        return 1 - float(high), 1 - float(low)
    if scale is None:  # far above 0 on the scale of a correlation, which there is the identity
        from pipeline.uncertainty import student

        reach = float(student.quantile((1 + confidence) / 2, freedom) * error)
        return (value - reach, value + reach) if reach > 0 else (np.nan, np.nan)
    low, high = t_interval(np.asarray(value), np.asarray(error), freedom, confidence, scale)  # type: ignore[arg-type]  # of the table above
    return float(low), float(high)


class Scores(NamedTuple):
    """What `scores` returns.

    Parameters
    ----------
    rows : DataFrame
        seed (and "mean"), part, class ("overall"), metric, value, ci_low, ci_high, n, n_positive (empty), note.
    values : float64 [S, M]
        On the test part.
    draws : float64 [B, S, M]
        The same under draws of patients.
    """

    rows: pd.DataFrame
    values: np.ndarray
    draws: np.ndarray


def scores(
    names: Sequence[str],
    sides: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]],
    *,
    draws: int,
    confidence: float,
    seed: int,
    with_mean: bool = True,
) -> Scores:
    """Score S models on validation and test; the test part has patient-bootstrap intervals.

    Parameters
    ----------
    names : sequence of str [S]
        Training seeds, or names of combinations.
    sides : dict of str to (values [S, N], spreads [S, N], targets [N], patients [N])
        "val" and "test".
    draws, confidence, seed
        Of the bootstrap.
    with_mean : bool
        Whether the models are seeds of one configuration: rows "mean", whose interval allows for other patients and
        other seeds; of one seed, for other patients.
    """
    rows: list[dict[str, Any]] = []
    for side, (values, spreads, targets, patients) in sides.items():
        counts, index = patient_draws(patients, draws if side == "test" else 1, seed)
        sums = Sums.over(values, spreads, targets, index, counts.shape[1])
        once = sums.measured()[0]
        n_patients = counts.shape[1]
        refused = f"fewer than {MIN_PATIENTS} patients ({n_patients})" if n_patients < MIN_PATIENTS else ""
        drawn = sums.measured(counts) if side == "test" else None
        for m, metric in enumerate(METRICS):
            missing = "values are not finite"
            if metric in ("coverage", "spread") and np.isnan(spreads).all():
                missing = NO_SPREAD
            series = [(name, once[s, m], slice(s, s + 1)) for s, name in enumerate(names)]
            series += [("mean", once[:, m].mean(), slice(None))] if with_mean else []
            for name, value, which in series:
                low = high = np.nan
                note = "" if np.isfinite(value) else missing
                if drawn is not None and not note:
                    note = refused or (_ONE_SEED if name == "mean" and len(names) == 1 else "")
                    if not refused:
                        low, high = _interval_of(metric, once[which, m], drawn[:, which, m], n_patients, confidence)
                about = {"seed": name, "part": side, "class": "overall", "metric": metric}
                size = {"n": len(targets), "n_positive": np.nan, "note": note}
                rows.append({**about, "value": value, "ci_low": low, "ci_high": high, **size})
        if drawn is not None:
            result = once, drawn
    return Scores(pd.DataFrame(rows), *result)


def _interval_of(
    metric: str, values: np.ndarray, drawn: np.ndarray, patients: int, confidence: float
) -> tuple[float, float]:
    """Return the interval of the mean of `values` [S] from their draws [B, S]."""
    freedom = float(max(patients - 1, 1))
    if len(values) == 1:
        return interval(metric, values[0], spread(drawn)[0], freedom, confidence)
    error, together = nested_error(values, drawn, freedom)
    return interval(metric, values.mean(), error, together, confidence)
