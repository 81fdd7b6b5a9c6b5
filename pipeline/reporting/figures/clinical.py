"""Figures of the page about clinical use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from pipeline.reporting import english
from pipeline.reporting.figures.style import COLOURS, FAINT, INK, figure, save, styled

MOST_CURVES = 9
"""Classes whose decision curves are drawn."""
_COLUMNS = 3


class Curve(NamedTuple):
    """The decision curve of a class: rows of decision_curve.csv, ascending in the threshold."""

    name: str
    table: pd.DataFrame

    @property
    def title(self) -> str:
        """What is written above the panel."""
        return f"{english.readable(self.name)} ({self.table['n_positive'].iloc[0]} positive)"


def net_benefit(curves: Sequence[Curve], interval_name: str, path: Path) -> Path | None:
    """Draw decision curves beside acting on all and on none, one panel per class; None without any."""
    if not curves:
        return None
    columns = min(_COLUMNS, len(curves))
    lines = math.ceil(len(curves) / columns)
    with styled():
        drawn = figure(max(5.6, 4.3 * columns), 0.8 + 3.2 * lines)
        panels = drawn.subplots(lines, columns, squeeze=False)
        for axes in panels.flat[len(curves) :]:
            axes.set_visible(False)
        for axes, curve in zip(panels.flat, curves):
            _one(axes, curve, interval_name)
        for axes in panels[:, 0]:
            axes.set_ylabel("net benefit per image")
        for column in range(columns):
            visible = [axes for axes in panels[:, column] if axes.get_visible()]
            visible[-1].set_xlabel("threshold probability")
        handles, labels = panels.flat[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=4)
        return save(drawn, path)


def _one(axes: Axes, curve: Curve, interval_name: str) -> None:
    table = curve.table
    at, value = table["threshold"].to_numpy(), table["net_benefit"].to_numpy()
    low, high = (table[name].fillna(table["net_benefit"]).to_numpy() for name in ("ci_low", "ci_high"))
    axes.fill_between(at, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label=interval_name)
    axes.plot(at, value, color=COLOURS[0], label="model")
    axes.plot(at, table["treat_all"], color=COLOURS[1], linestyle=(0, (5, 1.5)), label="act on all")
    axes.axhline(0, color=INK, linewidth=1.2, label="act on none")
    # Beyond the last threshold that an image reaches the model acts on none.
    used = at[np.abs(value) > 1e-12]
    last = max(0.3, float(used.max()) if len(used) else 0.3)
    top = max(float(np.nanmax(high)), float(table["treat_all"].iloc[0]), 0.01)
    axes.set_xlim(0, min(1, last + 0.02))
    axes.set_ylim(max(-0.35 * top, float(np.nanmin(low)) - 0.1 * top) if np.nanmin(low) < 0 else -0.1 * top, 1.08 * top)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_title(curve.title)


def risk_coverage(table: pd.DataFrame, interval_name: str, path: Path) -> Path | None:
    """Draw the error of what is kept against the share that is kept, of all images or as mean over classes.

    Parameters
    ----------
    table : DataFrame
        risk_coverage.csv.
    interval_name : str
        What the intervals are called.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None where nothing was decided.
    """
    whole = table[table["class"].isin(["macro", "overall"])].sort_values("coverage")
    if whole.empty or whole["error"].isna().all():
        return None
    with styled():
        drawn = figure(8.2, 4.6)
        axes = drawn.subplots()
        others = [rows for name, rows in table.groupby("class", sort=False) if name not in ("macro", "overall")]
        for i, rows in enumerate(others):
            axes.plot(rows["coverage"], rows["error"], color=FAINT, linewidth=0.9, label="one class" if not i else None)
        at, error = whole["coverage"], whole["error"]
        low, high = (whole[name].fillna(error) for name in ("ci_low", "ci_high"))
        axes.fill_between(at, low, high, color=COLOURS[0], alpha=0.2, linewidth=0, label=interval_name)
        axes.plot(at, error, color=COLOURS[0], label="mean over classes" if others else "all classes")
        axes.axhline(error.iloc[-1], color=INK, linewidth=1.2, linestyle=(0, (5, 1.5)), label="order by chance")
        axes.set(xlabel="share of the images that is kept", ylabel="error of what is kept", xlim=(0, 1.0))
        axes.set_ylim(0, None)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=None if axis is axes.yaxis else 0))
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        return save(drawn, path)
