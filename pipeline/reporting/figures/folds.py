"""Figure of the page about cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.lines import Line2D

from pipeline.reporting.figures.style import COLOURS, auroc_rows, figure, mark, save, styled

if TYPE_CHECKING:
    from pipeline.reporting.views.folds import Row


def by_fold(rows: Sequence[Row], numbers: Sequence[int], interval_name: str, path: Path) -> Path | None:
    """Draw the macro AUROC of every configuration in each fold, and over all with its interval; None without any."""
    shown = [row for row in rows if row.scores.get("auroc").exists]
    if not shown:
        return None
    with styled():
        drawn = figure(9.6, 1.9 + 0.62 * len(shown))
        axes = drawn.subplots()
        for y, row in enumerate(shown):
            inside = [value for value in row.values if math.isfinite(value)]
            axes.plot(inside, [y + 0.2] * len(inside), "|", color=COLOURS[1], markersize=15, markeredgewidth=2.5)
            mark(axes, row.scores.get("auroc"), y - 0.12, COLOURS[0], "o")
        auroc_rows(axes, [row.results.key for row in shown], "macro AUROC, tested on patients outside of training")
        keys = [
            Line2D([], [], color=COLOURS[0], marker="o", markersize=9, linewidth=3, label="all folds"),
            Line2D(
                [],
                [],
                color=COLOURS[1],
                marker="|",
                markersize=15,
                markeredgewidth=2.5,
                linewidth=0,
                label=f"each of {len(numbers)} folds",
            ),
        ]
        drawn.legend(
            handles=keys, loc="outside lower center", ncols=2, title=f"bars: {interval_name}", title_fontsize=12
        )
        return save(drawn, path)
