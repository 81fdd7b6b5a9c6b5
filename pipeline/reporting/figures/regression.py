"""Figures of the page about regression: predicted against true values, and their differences (Bland-Altman)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.reporting.figures.style import COLOURS, FAINT, INK, figure, save, styled

_MOST_POINTS = 5000
"""Images that are drawn of many: every n-th, in the order of the truth."""


def agreement(truth: np.ndarray, predicted: np.ndarray, limits: Sequence[float], name: str, path: Path) -> Path:
    """Draw both panels.

    Parameters
    ----------
    truth, predicted : float [N]
        Of the test images; predictions are the mean over seeds.
    limits : (float, float, float)
        Bias and limits of agreement, means over seeds.
    name : str
        What is predicted, with its unit.
    path : Path
        Receives the figure.
    """
    order = np.argsort(truth, kind="stable")
    order = order[:: max(1, -(-len(order) // _MOST_POINTS))]
    x, y = truth[order], predicted[order]
    point = {"s": 16, "alpha": 0.5, "linewidths": 0, "color": COLOURS[0]}
    with styled():
        drawn = figure(13, 5.6)
        left, right = drawn.subplots(1, 2)
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        left.plot(ends, ends, color=FAINT, linewidth=1.4, zorder=1)
        left.scatter(x, y, **point)
        left.set(xlabel=f"true {name}", ylabel="predicted, mean over seeds", title="prediction and truth")
        left.set_aspect("equal", adjustable="datalim")
        right.scatter((x + y) / 2, y - x, **point)
        for value, style, label in zip(limits, ("-", "--", "--"), ("bias", "95 % limits", "")):
            if np.isfinite(value):
                right.axhline(value, color=INK, linestyle=style, linewidth=1.6, label=label or None)
        right.axhline(0, color=FAINT, linewidth=1.0, zorder=1)
        right.set(xlabel=f"mean of predicted and true {name}", ylabel="predicted − true", title="Bland-Altman")
        right.legend(loc="best")
        return save(drawn, path)
