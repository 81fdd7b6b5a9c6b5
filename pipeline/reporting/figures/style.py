"""What all figures share: colours, marks, sizes, how they are saved, and parts that several pages draw."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as MarkerPath
from matplotlib.textpath import TextPath
from matplotlib.ticker import AutoLocator
from PIL import Image

from pipeline.reporting import roc
from pipeline.reporting.results import Results
from pipeline.reporting.values import Estimate
from pipeline.study.files import write_bytes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette (jfly.uni-koeln.de/color) without yellow, which is too pale for lines on white."""
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
INK, FAINT, BAND = "#222222", "#9A9A9A", "#DAE1E7"
DPI = 130
PADDING = 0.12
"""Inches around what is drawn."""
_GREYS = 32
"""Shades of a figure that shows grey images: noise compresses badly, and more are not seen at this size."""

_STYLE: dict[Any, Any] = {
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "lines.linewidth": 2.0,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "figure.facecolor": "white",
    "text.parse_math": False,  # the name of a class may hold $, which is no formula
}


_VECTOR: ContextVar[tuple[Path, str, list[Path]] | None] = ContextVar("vector", default=None)
_FONTS: dict[Any, Any] = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "figure"}
"""Fonts as journals take them: TrueType, embedded in PDF; as outlines in SVG, which embeds none."""


@contextmanager
def vector(folder: Path, suffix: str) -> Iterator[list[Path]]:
    """Have `save` write figures below `folder` as PDF or SVG, and no PNG anywhere; others than below it are left out.

    Parameters
    ----------
    folder : Path
        What pages are rendered into. Figures that are private lie elsewhere, and are not written.
    suffix : str
        ``.pdf`` or ``.svg``.

    Yields
    ------
    list of Path
        What has been written.
    """
    written: list[Path] = []
    token = _VECTOR.set((folder, suffix, written))
    try:
        yield written
    finally:
        _VECTOR.reset(token)


def styled() -> AbstractContextManager[None]:
    """Return the context in which every figure is drawn."""
    return matplotlib.rc_context(_STYLE)


def figure(width: float, height: float) -> Figure:
    """Return an empty figure of `width` x `height` inches, outside pyplot's global state."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn


def save(drawn: Figure, path: Path, greys: bool = False, every_colour: bool = False) -> Path:
    """Write a PNG without the metadata that changes with versions.

    Parameters
    ----------
    drawn : Figure
        Laid out here.
    path : Path
        Receives it.
    greys : bool
        For a figure made of grey images.
    every_colour : bool
        For one made of colour images: a palette that is to hold few colours shifts their hues.
    """
    asked = _VECTOR.get()
    if asked is not None:
        folder, suffix, written = asked
        if path.is_relative_to(folder):
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path.with_suffix(suffix))
            # No date and no version, so that the same figure has the same bytes.
            about = {"CreationDate": None, "Producer": None} if suffix == ".pdf" else {"Date": None, "Creator": None}
            with matplotlib.rc_context(_FONTS):
                drawn.savefig(written[-1], metadata=about, bbox_inches="tight", pad_inches=PADDING)
        return path
    write_bytes(path, png(drawn, greys, every_colour))
    return path


def png(drawn: Figure, greys: bool, every_colour: bool) -> bytes:
    """Lay a figure out and return it as the content of a PNG file; see `save`."""
    # Laid out and measured once: saving would do both anew in each of its passes.
    layout = drawn.get_layout_engine()
    if layout is not None:
        layout.execute(drawn)
    drawn.set_layout_engine(None)  # "none" would leave one that has saving draw twice
    drawn.set_dpi(DPI)
    box = drawn.get_tightbbox().padded(PADDING)
    pixels = BytesIO()
    drawn.savefig(pixels, format="rgba", dpi=DPI, bbox_inches=box)
    sides = math.floor(DPI * box.width), math.floor(DPI * box.height)
    picture = Image.frombuffer("RGBA", sides, pixels.getvalue()).convert("RGB")
    # Reports live in git: few colours make a file of a third of the size that looks the same.
    if not every_colour:
        palette = _grey_palette() if greys else None
        picture = picture.quantize(128, palette=palette, dither=Image.Dither.NONE)
    content = BytesIO()
    picture.save(content, "png", compress_level=7)  # a fifth of the time of level 9, files 6 % larger
    return content.getvalue()


def glyph(character: str) -> MarkerPath:
    """Return a character as a marker, around its middle; ``$★$`` would be a formula, which no text here is."""
    outline = TextPath((0, 0), character)
    points = outline.vertices - np.array(outline.get_extents().corners()).mean(axis=0)
    points[outline.codes == MarkerPath.CLOSEPOLY] = 0  # where they are means nothing, but counts for the size
    return MarkerPath(points, outline.codes)


def named(name: str) -> str:
    """Return a name as the label of a legend, which leaves out labels that begin with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def _grey_palette() -> Image.Image:
    """Return an image whose palette holds even greys and the colours of lines, which few pixels have."""
    levels = np.linspace(0, 255, _GREYS).round().astype(int)
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS[:-1]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for entry in [*((g, g, g) for g in levels), *colours] for value in entry])
    return palette


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the series at `index`; the three repeat with different periods."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[(index // len(COLOURS)) % len(DASHES)] if index >= len(COLOURS) else DASHES[index % 3],
    }


def series_line(index: int) -> dict[str, Any]:
    """Colour and dash alone of the series at `index`, for lines without marks."""
    return {k: v for k, v in look(index).items() if k != "marker"}


def series_mark(index: int) -> dict[str, Any]:
    """Colour and marker alone, for marks without a line."""
    return {k: v for k, v in look(index).items() if k != "linestyle"}


def whole_ticks(axes: Axes) -> None:
    """Put the ticks of the x axis at whole numbers, as of epochs."""
    locator = AutoLocator()
    locator.set_params(integer=True)
    axes.xaxis.set_major_locator(locator)


def widen(axes: Axes, least: float = 0.06) -> None:
    """Give the x axis at least a span of `least`: a closer view makes differences look large that are none."""
    low, high = axes.get_xlim()
    if high - low < least:
        middle = (low + high) / 2
        axes.set_xlim(middle - least / 2, middle + least / 2)


def auroc_rows(axes: Axes, names: Sequence[str], label: str, chance: bool = True) -> None:
    """Lay out axes that show the AUROC of a model on each row, the first on top, with a line at chance if asked for."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(label)
    low, high = axes.get_xlim()
    if chance:
        axes.axvline(0.5, color=FAINT, linewidth=1.2, linestyle=(0, (5, 1.5)))
        low = min(low, 0.48)
    axes.set_xlim(low, min(high, 1.0))
    widen(axes)


def mark(axes: Axes, estimate: Estimate, y: float, colour: str, marker: str, size: float = 9) -> None:
    """Mark a number at height `y`, and its interval, if it has one, as a bar."""
    if math.isfinite(estimate.low):
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
    axes.plot(estimate.value, y, marker, color=colour, markersize=size)


def epochs(axes: Axes, results: Results, column: str, order: Sequence[int]) -> None:
    """Draw a column of the history, one line per seed in the looks of `order`; a mark where the weights were kept."""
    history = results.history
    for seed in results.seeds:
        index = order.index(seed)
        rows = history[history["seed"] == seed]
        axes.plot(rows["epoch"], rows[column], **series_line(index))
        best = rows[rows["epoch"] == results.run(seed).get("best_epoch")]
        axes.plot(
            best["epoch"],
            best[column],
            markersize=10,
            markeredgecolor="white",
            linestyle="",
            zorder=5,
            **series_mark(index),
        )
    whole_ticks(axes)


def seed_legend(drawn: Figure, order: Sequence[int], best: bool = False) -> None:
    """Put the legend of seeds below a figure; `best` = say what the mark of `epochs` means."""
    keys = [Line2D([], [], markersize=9, label=f"seed {seed}", **look(i)) for i, seed in enumerate(order)]
    title = "marker: epoch whose weights are kept" if best else None
    drawn.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 8), title=title, title_fontsize=12)


def roc_line(axes: Axes, sensitivity: np.ndarray, **style: Any) -> None:
    """Draw a curve that `roc.curve` has read, from the corner on."""
    axes.plot(np.insert(roc.GRID, 0, 0), np.insert(sensitivity, 0, 0), **style)


def roc_frame(axes: Axes) -> None:
    """Set the square frame of ROC curves, with the line of chance."""
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, zorder=0)
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1)
