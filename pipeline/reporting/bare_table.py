"""Read a bare metrics table: whatever program wrote it, the pages that it allows are rendered from it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.reporting.results import AVERAGED, Results, StudyResults
from pipeline.reporting.values import ENSEMBLE, MEAN, NO_INTERVAL, ReportError
from pipeline.study.predictions import METRIC_COLUMNS

_REQUIRED = ["model", "loss", "seed", "part", "class", "metric", "value"]
_NUMBERS = ["value", "ci_low", "ci_high", "n", "n_positive"]
_KEY = ["model", "loss", "seed", "part", "class", "metric"]
_BOUNDS = {
    **dict.fromkeys((*AVERAGED, "accuracy", "balanced_accuracy", "within_one"), (0.0, 1.0)),
    **dict.fromkeys(("mcc", "kappa", "qwk"), (-1.0, 1.0)),
}


def tidy(metrics: pd.DataFrame) -> pd.DataFrame:
    """Give an ensemble, which is one prediction, the seed "mean", and every empty seed a text."""
    metrics = metrics.copy()
    metrics["seed"] = metrics["seed"].fillna("")
    metrics.loc[(metrics["model"] == ENSEMBLE) & (metrics["seed"] == ""), "seed"] = MEAN
    return metrics


def seeds_of(metrics: pd.DataFrame) -> tuple[int, ...]:
    """Return the training seeds of a tidy table, ascending."""
    return tuple(sorted(int(s) for s in metrics["seed"].unique() if s != MEAN))


def with_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Add the mean over seeds of every number that has no row for it; it gets no interval, and the note says why."""
    group = ["model", "loss", "part", "class", "metric"]
    present = set(metrics.loc[metrics["seed"] == MEAN, group].itertuples(index=False, name=None))
    rows = metrics[metrics["seed"] != MEAN]
    known = pd.Series(
        [key in present for key in rows[group].itertuples(index=False, name=None)], rows.index, dtype=bool
    )
    lacking = rows[~known]
    if lacking.empty:
        return metrics
    # A mean over the seeds that happen to have a value would compare unlike things: one missing, and there is none.
    means = lacking.groupby(group, sort=False, as_index=False).agg(
        value=("value", lambda v: v.mean(skipna=False)), n=("n", "first"), n_positive=("n_positive", "first")
    )
    means = means.assign(seed=MEAN, ci_low=np.nan, ci_high=np.nan, note=NO_INTERVAL)
    return pd.concat([metrics, means[METRIC_COLUMNS]], ignore_index=True)


def from_metrics(path: Path) -> StudyResults:
    """Read a bare metrics table.

    Parameters
    ----------
    path : Path
        CSV with the columns model, loss, seed, part, class, metric, value, and where known ci_low, ci_high, n,
        n_positive, note. Means over seeds are computed where the table has none.

    Raises
    ------
    ReportError
        Naming the column or the line that is wrong.
    """
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False)
    except FileNotFoundError:
        raise ReportError(f"{path}: no such file") from None
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ReportError(f"{path}: not a CSV table: {error}") from None
    metrics = with_means(tidy(_checked(table, path)))
    loaded = [
        Results(str(model), str(loss), () if model == ENSEMBLE else seeds_of(rows), rows)
        for (model, loss), rows in metrics.groupby(["model", "loss"], sort=False)
    ]
    keys = [r.key for r in loaded]
    for key in sorted({k for k in keys if keys.count(k) > 1}):
        raise ReportError(f"{path}: two pairs of model and loss are both written '{key}'; rename one")
    overall = metrics[metrics["class"] == "overall"]
    return StudyResults(
        title=path.stem,
        task="multiclass" if (overall["metric"] == "accuracy").any() else "multilabel",
        classes=tuple(c for c in metrics["class"].unique() if c not in ("macro", "overall")),
        configurations=tuple(r for r in loaded if r.model != ENSEMBLE),
        ensembles=tuple(r for r in loaded if r.model == ENSEMBLE),
    )


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    lacking = [c for c in _REQUIRED if c not in table]
    if lacking:
        raise ReportError(f"{path}: no column {', '.join(lacking)}; it needs {', '.join(_REQUIRED)}")
    if table.empty:
        raise ReportError(f"{path}: a header and no rows")
    for column in METRIC_COLUMNS:
        if column not in table:
            table[column] = ""
    table = table[METRIC_COLUMNS].apply(lambda c: c.str.strip())

    def refuse(bad: Iterable[bool], column: str, must: str) -> None:
        for line, wrong, text in zip(range(2, len(table) + 2), bad, table[column]):
            if wrong:
                raise ReportError(f"{path}, line {line}, column {column}: '{text}' must {must}")

    for column in ("model", "loss"):
        name = re.compile(r"[A-Za-z0-9_+.-]*[A-Za-z0-9_+]")
        refuse([not name.fullmatch(t) for t in table[column]], column, "consist of letters, digits, and _ + . -")
    ensemble = table["model"] == ENSEMBLE
    numbered = table["seed"].str.fullmatch(r"\d+") | (table["seed"] == MEAN) | (ensemble & (table["seed"] == ""))
    refuse(~numbered, "seed", f"be a whole number or '{MEAN}'")
    refuse(~table["part"].isin(["train", "val", "test"]), "part", "be train, val, or test")
    for column in ("class", "metric"):
        refuse(table[column] == "", column, "be a name")
    again = table.duplicated(_KEY).tolist()
    if any(again):
        place = again.index(True)
        repeated = ", ".join(table[column].iloc[place] for column in _KEY)
        raise ReportError(f"{path}, line {place + 2}: a second row for {repeated}")
    for column in _NUMBERS:
        numeric = pd.to_numeric(table[column], errors="coerce")
        empty = table[column].str.lower().isin(["", "nan"])
        refuse(~empty & ~np.isfinite(numeric), column, "be a number or empty")
        table[column] = numeric
    for metric, (low, high) in _BOUNDS.items():
        outside = (table["metric"] == metric) & ((table["value"] < low) | (table["value"] > high))
        refuse(outside, "value", f"be between {low:g} and {high:g} for {metric}")
    refuse(table["ci_low"] > table["ci_high"], "ci_low", "be at most ci_high")
    return table[METRIC_COLUMNS]
