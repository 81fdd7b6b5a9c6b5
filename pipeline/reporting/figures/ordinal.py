"""Figure of the page about grades: how far decisions are off, by true grade."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps

from pipeline.reporting.english import readable
from pipeline.reporting.figures.style import INK, figure, save, styled

if TYPE_CHECKING:
    from pipeline.reporting.views.ordinal import Distances

_LABELLED = 0.06
"""Least share that has room for its number."""


def distances(apart: Distances, path: Path) -> Path:
    """Draw one bar per true grade, cut by how many grades the decision is below (blue) or above (red)."""
    rows, farthest = apart.rows[::-1], max(apart.off)
    colours = {d: colormaps["RdBu_r"](0.5 + 0.42 * d / max(1, farthest)) for d in apart.off} | {0: (0.82, 0.82, 0.82)}
    with styled():
        drawn = figure(10, 1.8 + 0.55 * len(rows))
        axes = drawn.subplots()
        left = np.zeros(len(rows))
        for d in apart.off:
            shares = np.nan_to_num([row.shares[apart.off.index(d)] for row in rows])
            if not shares.any():
                continue
            what = "right" if d == 0 else f"{abs(d)} {'above' if d > 0 else 'below'}"
            axes.barh(range(len(rows)), 100 * shares, left=100 * left, color=colours[d], edgecolor="white", label=what)
            for y, share in enumerate(shares):
                if share >= _LABELLED:
                    dark = abs(d) > 0.6 * farthest
                    x = 100 * (left[y] + share / 2)
                    text = f"{100 * share:.0f}"
                    axes.text(x, y, text, ha="center", va="center", fontsize=11, color="white" if dark else INK)
            left += shares
        axes.set_yticks(range(len(rows)), [f"{readable(row.name)} ({row.n:,})" for row in rows])
        axes.set(xlim=(0, 100), xlabel="test images of the grade, %", ylabel="true grade (images)")
        axes.grid(False)
        drawn.legend(loc="outside upper center", ncols=len(apart.off), fontsize=10, handlelength=1.0, columnspacing=1.0)
        return save(drawn, path)
