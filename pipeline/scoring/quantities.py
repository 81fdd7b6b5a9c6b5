"""Rows of tables that hold a quantity of a class, the mean over seeds, with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.metrics.registry import Scale
from pipeline.metrics.scored import Scored
from pipeline.uncertainty.ratios import Drawn, expected_interval
from pipeline.uncertainty.support import MIN_PATIENTS, class_refusals, mean_refusal, n_patients

COLUMNS = ["class", "metric", "value", "ci_low", "ci_high", "n", "n_positive", "n_seeds", "note"]


class Quantity(NamedTuple):
    """A statistic of each class, or of all of them together.

    Parameters
    ----------
    name : str
        As it stands in the table.
    of : Drawn
        [S, C] and [B, S, C].
    patients : float64 [C]
        That it rests on.
    scale : {"share", "correlation", "loss"} or None
        See `ratios.expected_interval`.
    proportion : bool
        Likewise.
    undefined : str
        Why a value may be missing.
    end : float
        See `ratios.expected_interval`.
    """

    name: str
    of: Drawn
    patients: np.ndarray
    scale: Scale | None = "share"
    proportion: bool = True
    undefined: str = ""
    end: float = np.inf


def quantity_table(
    quantities: Iterable[Quantity], scored: Scored, classes: Sequence[str], confidence: float, *, macro: bool
) -> pd.DataFrame:
    """Lay out quantities with their intervals.

    Parameters
    ----------
    quantities : iterable of Quantity
        C = K, or 1 for one value of all classes ("overall"; without `macro`).
    scored : Scored
        What they were measured on, grouped by patient.
    classes : sequence of str [K]
        Class names.
    confidence : float
        In (0, 1).
    macro : bool
        Whether the mean over the classes that have a value has a row, too.

    Returns
    -------
    DataFrame
        `COLUMNS`. No interval where patients are too few (`support`); note says why.
    """
    positives = scored.truth.sum(axis=0)
    rows = []
    for name, of, patients, scale, proportion, undefined, end in quantities:
        overall = of.values.shape[1] == 1 and not macro
        names = ["overall"] if overall else list(classes)
        everyone = n_patients(scored)
        few = f"fewer than {MIN_PATIENTS} patients ({everyone})" if everyone < MIN_PATIENTS else ""
        refused = [few] if overall else class_refusals(scored)
        counted = [int(positives.sum())] if overall else positives.tolist()
        images = [scored.n_images] if overall else scored.n_known.tolist()
        if macro:
            kept = ~np.isnan(of.values).any(axis=0)
            of = Drawn(_with_mean(of.values, kept), _with_mean(of.draws, kept))
            patients = np.append(np.broadcast_to(patients, len(names)), float(everyone))
            refused, names = [*refused, mean_refusal(scored, refused)], [*names, "macro"]
            counted, images = [*counted, int(positives.sum())], [*images, scored.n_images]
        value, low, high = expected_interval(of, patients, confidence, scale, proportion=proportion, end=end)
        for c, of_class in enumerate(names):
            blank = bool(refused[c]) or np.isnan(value[c])
            note = undefined if np.isnan(value[c]) else refused[c] or _still(value[c], low[c])
            about = {"class": of_class, "metric": name, "n": images[c], "n_positive": counted[c]}
            limits = {"ci_low": np.nan if blank else low[c], "ci_high": np.nan if blank else high[c]}
            rows.append(about | limits | {"value": value[c], "n_seeds": len(of.values), "note": note})
    return pd.DataFrame(rows, columns=COLUMNS)


def _with_mean(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Append to `values` [..., K] their mean over the classes that are `kept`."""
    mean = values[..., kept].mean(axis=-1, keepdims=True) if kept.any() else np.full((*values.shape[:-1], 1), np.nan)
    return np.concatenate([values, mean], axis=-1)


def _still(value: float, low: float) -> str:
    return f"no interval: every draw gives {value:.4g}" if np.isnan(low) else ""
