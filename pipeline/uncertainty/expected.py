"""What to expect of a configuration, a model trained with a loss under any seed: one row per metric and class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.metrics.registry import Metric
from pipeline.uncertainty.metric_intervals import total_intervals
from pipeline.uncertainty.support import Support
from pipeline.uncertainty.variance import components, over_seeds

COLUMNS = [
    "metric",
    "class",
    "n_seeds",
    "mean",
    "sd",
    "low",
    "high",
    "seed_low",
    "seed_high",
    "total_low",
    "total_high",
    "var_seed",
    "var_case",
    "var_seed_case",
    "icc_seed",
    "note",
]


def configuration_table(
    metric: Metric,
    names: Sequence[str],
    values: np.ndarray,
    draws: np.ndarray,
    confidence: float,
    support: Support,
) -> pd.DataFrame:
    """Summarise the seeds of a configuration on the test part.

    Parameters
    ----------
    metric : Metric
        What was measured.
    names : sequence of str [C]
        Classes, and aggregates of them.
    values : float [S, C]
        Of each seed; NaN where undefined.
    draws : float [B, S, C]
        The same under draws of patients (`bootstrap.metric_draws`).
    confidence : float
        In (0, 1).
    support : Support
        What each column rests on.

    Returns
    -------
    DataFrame
        `COLUMNS`. mean, sd, low (lowest seed) and high over the seeds. seed_low and seed_high: t-interval over the
        seeds for the expected value on this very test part. total_low and total_high: interval for the expected value
        on other patients under other seeds (`metric_intervals.total_intervals`). var_...: `variance.components`. One
        seed has a mean and nothing else.
    """
    table = over_seeds(names, values, confidence).rename(columns={"ci_low": "seed_low", "ci_high": "seed_high"})
    bottom, top = {"share": (0.0, 1.0), "correlation": (-1.0, 1.0)}.get(metric.scale, (0.0, support.end))
    table = table.assign(seed_low=table["seed_low"].clip(lower=bottom), seed_high=table["seed_high"].clip(upper=top))
    parts = components(names, values, draws)
    low = high = np.full(len(names), np.nan)
    if len(values) > 1:
        low, high = total_intervals(metric, values, draws, support, confidence)
    blank = np.array([bool(text) for text in support.refused])
    table = table.assign(
        metric=metric.name,
        total_low=np.where(blank, np.nan, low),
        total_high=np.where(blank, np.nan, high),
        note=["; ".join(filter(None, pair)) for pair in zip(support.refused, parts["note"])],
        **{
            name: np.where(blank, np.nan, parts[name]) for name in ("var_seed", "var_case", "var_seed_case", "icc_seed")
        },
    )
    return table[COLUMNS]
