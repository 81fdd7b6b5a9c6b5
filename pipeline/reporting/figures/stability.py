"""Figure of the page about stability: how often seeds disagree by class, and how wide their probabilities lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from pipeline.reporting.english import readable
from pipeline.reporting.figures.style import BAND, COLOURS, FAINT, INK, figure, save, styled
from pipeline.reporting.results import StudyResults

if TYPE_CHECKING:
    from pipeline.reporting.views.stability import Stable

_LEAST = 1e-4
"""Probability at which the axis begins; smaller ones are drawn there."""
_MOST_CLASSES = 40
"""Classes of the left panel, those with the most disagreement; the page has a table of all."""
_MOST_POINTS = 1500
"""Lines that are drawn of many images: every n-th by rank of the mean probability."""


def stability(study: StudyResults, stable: Stable, path: Path) -> Path:
    """Draw the share of images decided differently by two seeds, and the range of every probability over seeds."""
    with styled():
        drawn = figure(13.5, max(4.6, 1.4 + 0.36 * min(len(stable.rows), _MOST_CLASSES)))
        left, right = drawn.subplots(1, 2)
        rows = sorted(stable.rows, key=lambda row: row.of.flips.value)[-_MOST_CLASSES:]
        for y, row in enumerate(rows):
            flips = row.of.flips
            if np.isfinite(flips.low):
                left.plot([100 * flips.low, 100 * flips.high], [y, y], color=INK, linewidth=1.6, zorder=2)
            left.plot(100 * flips.value, y, "o", color=COLOURS[0], markersize=8, markeredgecolor="white", zorder=4)
            if np.isfinite(row.of.flips_at_one_threshold):
                left.plot(100 * row.of.flips_at_one_threshold, y, "d", color=COLOURS[1], markersize=7, zorder=3)
        left.set_yticks(range(len(rows)), [f"{readable(row.name)} ({row.positives:,})" for row in rows])
        left.set_ylim(-0.7, len(rows) - 0.3)
        left.set_xlim(left=0)
        left.grid(False, axis="y")
        left.set(xlabel="images that two seeds decide differently, %", title="decisions")
        left.plot([], [], "o", color=COLOURS[0], label=f"own thresholds, {study.interval_name}")
        if study.task == "multilabel":
            left.plot([], [], "d", color=COLOURS[1], label="one threshold")
        left.legend(loc="lower right")

        made = stable.made
        kept = np.flatnonzero(made.decided)
        mean, low, high = (f(made.probabilities[:, :, kept], axis=0).ravel() for f in (np.mean, np.min, np.max))
        votes = made.called[:, :, kept].sum(axis=0).ravel()
        divided = (votes > 0) & (votes < len(made.seeds))
        order = np.argsort(mean, kind="stable")
        order = order[:: max(1, -(-len(order) // _MOST_POINTS))]
        x = np.maximum(mean[order], _LEAST)
        ends = [np.maximum(of[order], _LEAST) for of in (low, high)]
        for here, colour, label, size in (
            (~divided[order], FAINT, "all seeds decide alike", 3),
            (divided[order], COLOURS[1], "they do not", 5),
        ):
            right.vlines(x[here], ends[0][here], ends[1][here], color=colour, linewidth=0.5, alpha=0.5, zorder=size)
            right.plot([], [], color=colour, linewidth=3, label=label)
        right.plot([_LEAST, 1], [_LEAST, 1], color=BAND, linewidth=1.2, zorder=1)
        right.set(
            xscale="log",
            yscale="log",
            xlim=(_LEAST, 1.05),
            ylim=(_LEAST, 1.05),
            xlabel="mean probability over seeds",
            ylabel=f"lowest to highest of {len(made.seeds)} seeds",
            title="probabilities of image and class",
        )
        for axis in (right.xaxis, right.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(NullFormatter())
        right.legend(loc="upper left")
        return save(drawn, path)
