"""The figures of the reports, in one style: safe for colour-blind readers, readable at half size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from pipeline.reporting import roc, tables
from pipeline.reporting.sections import PARTS
from pipeline.reporting.study import Augmented, Examples, Results, StudyResults

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette (jfly.uni-koeln.de/color) without yellow, which is too pale for lines on white."""
MARKERS = "osD^vPX"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
INK, FAINT, _BAND = "#222222", "#9A9A9A", "#DAE1E7"
DPI = 130
_MOST_PAIRED = 20
"""Classes in the heat map of pairs; with more of them its counts cannot be read."""
_GREYS = 32
"""Shades of a figure that shows grey images: noise compresses badly, and more are not seen at this size."""

_STYLE = {
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
}


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
    path.parent.mkdir(parents=True, exist_ok=True)
    # Laid out once: saving would do it anew in each of its passes.
    drawn.get_layout_engine().execute(drawn)
    drawn.set_layout_engine("none")
    buffer = BytesIO()
    drawn.savefig(buffer, dpi=DPI, bbox_inches="tight", pad_inches=0.12)
    # Reports live in git: few colours make a file of a third of the size that looks the same.
    with Image.open(buffer) as opened:
        picture = opened.convert("RGB")
        if not every_colour:
            palette = _grey_palette() if greys else None
            picture = picture.quantize(128, palette=palette, dither=Image.Dither.NONE)
        picture.save(path, optimize=True)
    return path


def _save_images(drawn: Figure, path: Path, study: StudyResults) -> Path:
    """Write a figure made of the images of the study."""
    colour = study.images.ndim == 4
    return save(drawn, path, greys=not colour, every_colour=colour)


def _grey_palette() -> Image.Image:
    """Return an image whose palette holds even greys and the colours of lines, which few pixels have."""
    levels = np.linspace(0, 255, _GREYS).round().astype(int)
    colours = [tuple(bytes.fromhex(colour[1:])) for colour in COLOURS[:-1]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for entry in [*((g, g, g) for g in levels), *colours] for value in entry])
    return palette


def look(index: int) -> dict[str, object]:
    """Colour, marker and dash of the series at `index`; the three repeat with different periods."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "linestyle": DASHES[(index // len(COLOURS)) % len(DASHES)] if index >= len(COLOURS) else DASHES[index % 3],
    }


def _line(index: int) -> dict[str, object]:
    return {k: v for k, v in look(index).items() if k != "marker"}


def _dot(index: int) -> dict[str, object]:
    return {k: v for k, v in look(index).items() if k != "linestyle"}


def forest(study: StudyResults, path: Path) -> Path | None:
    """Draw the main result: test macro AUROC of every recipe and ensemble with its interval and its seeds.

    Returns
    -------
    Path or None
        None where nothing has a test AUROC.
    """
    rows = [r for r in (*study.recipes, *study.ensembles) if math.isfinite(r.get("auroc").value)]
    if not rows:
        return None
    chosen = study.chosen
    with styled():
        drawn = figure(10, 1.5 + 0.52 * len(rows))
        axes = drawn.subplots()
        for y, row in enumerate(rows):
            estimate = row.get("auroc")
            colour = COLOURS[1] if row in study.ensembles else COLOURS[0]
            if math.isfinite(estimate.low):
                axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=3, solid_capstyle="butt")
            axes.plot(row.values("auroc"), [y] * len(row.seeds), "|", color=INK, markersize=13, markeredgewidth=1.6)
            axes.plot(estimate.value, y, "D" if row in study.ensembles else "o", color=colour, markersize=10)
            text = tables.estimated(estimate) if math.isfinite(estimate.low) else tables.number(estimate.value)
            axes.annotate(text, (1.02, y), xycoords=("axes fraction", "data"), va="center", annotation_clip=False)
        labels = [f"{r.key}  ★" if chosen is not None and r.key == chosen.key else r.key for r in rows]
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel("macro AUROC, test part")
        bounded = any(math.isfinite(r.get("auroc").low) for r in rows)
        name = f"mean [{study.interval_name}]" if bounded else "mean"
        _widen(axes)
        axes.annotate(name, (1.02, 1.02), xycoords="axes fraction", color="#666666", annotation_clip=False)
        keys = [
            Line2D(
                [],
                [],
                color=COLOURS[0],
                marker="o",
                markersize=9,
                linewidth=3,
                label=f"mean of seeds, {study.interval_name}" if bounded else "mean of seeds",
            ),
            Line2D([], [], color=INK, marker="|", markersize=12, markeredgewidth=1.6, linestyle="", label="one seed"),
        ]
        if any(r in study.ensembles for r in rows):
            keys.insert(1, Line2D([], [], color=COLOURS[1], marker="D", markersize=9, linewidth=3, label="ensemble"))
        if chosen is not None:
            keys.append(
                Line2D([], [], linestyle="", marker="$★$", color=INK, markersize=10, label="chosen on validation")
            )
        drawn.legend(handles=keys, loc="outside lower center", ncols=len(keys), columnspacing=1.2, handletextpad=0.5)
        return save(drawn, path)


def _widen(axes: Axes, least: float = 0.06) -> None:
    """Give the x axis at least a span of `least`: a closer view makes differences look large that are none."""
    low, high = axes.get_xlim()
    if high - low < least:
        middle = (low + high) / 2
        axes.set_xlim(middle - least / 2, middle + least / 2)


def validation_curves(study: StudyResults, path: Path) -> Path | None:
    """Draw validation AUROC by epoch, a panel a recipe; losses differ in scale and are drawn on the seed pages."""
    shown = [r for r in study.recipes if r.history is not None and not r.history.empty]
    if not shown:
        return None
    columns = min(len(shown), 3 if len(shown) != 4 else 2)
    lines = math.ceil(len(shown) / columns)
    order = sorted({seed for r in shown for seed in r.seeds})
    with styled():
        drawn = figure(max(5.2, 4.6 * columns), 0.7 + 3.1 * lines)
        panels = drawn.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes in panels.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, row in zip(panels.flat, shown):
            _epochs(axes, row, "val_auroc", order)
            axes.set_title(row.key)
        for axes in panels[:, 0]:
            axes.set_ylabel("validation AUROC")
        for column in range(columns):
            visible = [a for a in panels[:, column] if a.get_visible()]
            visible[-1].set_xlabel("epoch")
            visible[-1].tick_params(labelbottom=True)
        _seed_legend(drawn, order, best=True)
        return save(drawn, path)


def training_curves(results: Results, path: Path) -> Path | None:
    """Draw losses and validation AUROC by epoch for every seed, the epoch whose weights were kept marked."""
    if results.history is None or results.history.empty:
        return None
    order = list(results.seeds)
    with styled():
        drawn = figure(12, 4.3)
        panels = drawn.subplots(1, 3)
        titles = ("training loss", "validation loss", "validation AUROC")
        for axes, column, title in zip(panels, ("train_loss", "val_loss", "val_auroc"), titles):
            _epochs(axes, results, column, order)
            axes.set(title=title, xlabel="epoch")
        _seed_legend(drawn, order, best=True)
        return save(drawn, path)


def _epochs(axes: Axes, results: Results, column: str, order: Sequence[int]) -> None:
    history = results.history
    for seed in results.seeds:
        index = order.index(seed)
        rows = history[history["seed"] == seed]
        axes.plot(rows["epoch"], rows[column], **_line(index))
        best = rows[rows["epoch"] == results.run(seed).get("best_epoch")]
        axes.plot(
            best["epoch"], best[column], markersize=10, markeredgecolor="white", linestyle="", zorder=5, **_dot(index)
        )
    axes.xaxis.get_major_locator().set_params(integer=True)


def _seed_legend(drawn: Figure, order: Sequence[int], best: bool = False) -> None:
    keys = [Line2D([], [], markersize=9, label=f"seed {seed}", **look(i)) for i, seed in enumerate(order)]
    title = "marker: epoch whose weights are kept" if best else None
    drawn.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 8), title=title, title_fontsize=12)


def strip(results: Results, classes: Sequence[str], interval_name: str, path: Path) -> Path | None:
    """Draw test AUROC of every class: each seed, their mean, and the mean's interval."""
    rows = [None, *(c for c in classes if math.isfinite(results.get("auroc", c).value))]
    rows = [c for c in rows if math.isfinite(results.get("auroc", c).value)]
    if not rows:
        return None
    with styled():
        drawn = figure(10, 1.6 + 0.42 * len(rows))
        axes = drawn.subplots()
        axes.use_sticky_edges = False
        # Seeds that agree would hide one another on one line.
        offsets = np.linspace(-0.22, 0.22, len(results.seeds)) if len(results.seeds) > 1 else np.zeros(1)
        intervals = False
        for y, name in enumerate(rows):
            estimate = results.get("auroc", name)
            if math.isfinite(estimate.low):
                intervals = True
                axes.barh(y, estimate.high - estimate.low, 0.72, estimate.low, color=_BAND, zorder=1)
            axes.plot([estimate.value] * 2, [y - 0.36, y + 0.36], color=INK, linewidth=2.4, zorder=2)
            for index, (seed, offset) in enumerate(zip(results.seeds, offsets)):
                value = results.get("auroc", name, seed).value
                axes.plot(value, y + offset, markersize=8, markeredgecolor="white", zorder=3, **_dot(index))
        axes.set_yticks(range(len(rows)), [_class_label(results, c) for c in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel("AUROC, test part")
        if rows[0] is None:
            axes.get_yticklabels()[0].set_fontweight("bold")
            axes.axhline(0.5, color=FAINT, linewidth=1)
        keys = [
            Line2D([], [], linestyle="", markersize=9, label=f"seed {s}", **_dot(i))
            for i, s in enumerate(results.seeds)
        ]
        keys.append(
            Line2D([], [], color=INK, linestyle="", marker="|", markersize=14, markeredgewidth=2.4, label="mean")
        )
        if intervals:
            keys.append(Patch(color=_BAND, label=f"{interval_name} of the mean"))
        drawn.legend(
            handles=keys, loc="outside lower center", ncols=min(len(keys), 7), columnspacing=1.2, handletextpad=0.4
        )
        return save(drawn, path)


def _class_label(results: Results, name: str | None) -> str:
    if name is None:
        return "macro average"
    positives = results.get("auroc", name).n_positive
    return f"{name} ({positives:,.0f})" if math.isfinite(positives) else name


def roc_recipes(study: StudyResults, path: Path) -> Path | None:
    """Draw the macro-average ROC curve of every recipe and ensemble."""
    shown = [r for r in (*study.recipes, *study.ensembles) if r.roc is not None]
    if not shown:
        return None
    with styled():
        drawn = figure(10.5, 5.6)
        axes = drawn.subplots()
        for index, row in enumerate(shown):
            label = f"{row.key} ({row.get('auroc').value:.3f})"
            _roc(axes, roc.mean(row.roc, (0, 1)), label=label, **_line(index))
        _roc_frame(axes)
        axes.legend(title="macro AUROC in brackets", loc="center left", bbox_to_anchor=(1.02, 0.5), alignment="left")
        return save(drawn, path)


def roc_seeds(results: Results, classes: Sequence[str], path: Path) -> Path | None:
    """Draw the macro-average curve of every seed, and every class averaged over seeds."""
    if results.roc is None:
        return None
    with styled():
        drawn = figure(13.5, 5.4)
        left, right = drawn.subplots(1, 2)
        for index, seed in enumerate(results.seeds):
            label = f"seed {seed} ({results.get('auroc', None, seed).value:.3f})"
            _roc(left, roc.mean(results.roc[index], 0), label=label, **_line(index))
        left.legend(loc="lower right", title="macro AUROC in brackets")
        left.set_title("macro average, a line a seed")
        known = [(results.get("auroc", c).value, k, c) for k, c in enumerate(classes)]
        known = sorted([item for item in known if math.isfinite(item[0])], key=lambda item: (-item[0], item[1]))
        colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.88, max(len(known), 1)))
        for place, ((value, k, name), colour) in enumerate(zip(known, colours)):
            line = {"color": colour, "linestyle": DASHES[place % 3]}
            _roc(right, roc.mean(results.roc[:, k], 0), label=f"{name} ({value:.3f})", **line)
        right.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), title="AUROC in brackets", alignment="left")
        right.set_title("classes, mean of the seeds")
        _roc_frame(left)
        _roc_frame(right)
        return save(drawn, path)


def _roc(axes: Axes, sensitivity: np.ndarray, **style: object) -> None:
    axes.plot(np.insert(roc.GRID, 0, 0), np.insert(sensitivity, 0, 0), **style)


def _roc_frame(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, zorder=0)
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), box_aspect=1)


def class_shares(study: StudyResults, path: Path) -> Path:
    """Draw the share of every class in every part that is used."""
    samples = study.samples
    parts = [p for p in list(PARTS)[:3] if (samples["part"] == p).any()]
    with styled():
        drawn = figure(10, 1.7 + 0.4 * len(study.classes))
        axes = drawn.subplots()
        for index, part in enumerate(parts):
            rows = samples[samples["part"] == part]
            shares = 100 * rows[list(study.classes)].mean().to_numpy()
            label = f"{PARTS[part]} (n = {len(rows):,})"
            places = np.arange(len(shares)) + 0.22 * (index - (len(parts) - 1) / 2)
            axes.plot(shares, places, markersize=9, linestyle="", markeredgecolor="white", label=label, **_dot(index))
        axes.set_yticks(range(len(study.classes)), study.classes)
        axes.set_ylim(len(study.classes) - 0.5, -0.5)
        axes.set_xlim(0, 1.03 * axes.dataLim.x1 or 1)
        axes.set_xlabel("images of the part with this class, %")
        drawn.legend(loc="outside lower center", ncols=len(parts))
        return save(drawn, path)


def class_pairs(study: StudyResults, counts: np.ndarray, path: Path) -> Path | None:
    """Draw how many images have two classes, coloured by the share among the images of the row's class.

    Parameters
    ----------
    study : StudyResults
        Gives the names of the classes.
    counts : int [K, K]
        Images with both classes; on the diagonal images with the class.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None for one class or more than can be read.
    """
    n = len(study.classes)
    if not 2 <= n <= _MOST_PAIRED:
        return None
    own = np.diag(counts)
    shares = np.where(np.eye(n, dtype=bool), np.nan, 100 * counts / np.maximum(own, 1)[:, None])
    with styled():
        drawn = figure(4.2 + 0.6 * n, 3.2 + 0.5 * n)
        axes = drawn.subplots()
        colours = matplotlib.colormaps["Blues"].with_extremes(bad="#EFEFEF")
        top = max(float(np.nanmax(shares)), 1.0)
        shown = axes.imshow(shares, cmap=colours, vmin=0, vmax=top, aspect="auto")
        for i in range(n):
            for j in range(n):
                dark = i != j and shares[i, j] > 0.55 * top
                axes.text(
                    j,
                    i,
                    f"{counts[i, j]:,}",
                    ha="center",
                    va="center",
                    fontsize=11,
                    color="white" if dark else INK,
                    fontweight="bold" if i == j else "normal",
                )
        axes.set_xticks(range(n), study.classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(n), study.classes)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        bar = drawn.colorbar(shown, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("% of the row's images that also\nhave the column's class")
        bar.outline.set_visible(False)
        return save(drawn, path)


def sample_images(study: StudyResults, picks: dict[str, list[int]], path: Path) -> Path | None:
    """Draw images of every class with the boxes of that class.

    Parameters
    ----------
    study : StudyResults
        Gives images and boxes.
    picks : dict
        Title to rows of the images, the same number for most titles.
    path : Path
        Receives the figure.

    Returns
    -------
    Path or None
        None without an image.
    """
    picks = {title: rows for title, rows in picks.items() if rows}
    if not picks:
        return None
    most = max(map(len, picks.values()))
    blocks = min(max(9 // most, 1), len(picks))
    lines = math.ceil(len(picks) / blocks)
    wide, high = most + 0.3, 1.32
    boxes = study.boxes
    with styled():
        drawn = figure(0.9 * (blocks * wide - 0.3), 0.9 * lines * high)
        axes = drawn.subplots()
        for place, (title, rows) in enumerate(picks.items()):
            left, top = (place // lines) * wide, (place % lines) * high
            axes.text(left, top + 0.27, title, fontsize=10.5, va="bottom")
            for column, row in enumerate(rows):
                corner = (left + column, top + 0.3)
                _thumbnail(axes, study.images[row], corner)
                if boxes is not None:
                    side = np.array(study.images.shape[2:0:-1])
                    for box in boxes[(boxes["row"] == row) & (boxes["class"] == title)].itertuples():
                        at = corner + 0.97 * np.array([box.x, box.y]) / side
                        width, height = 0.97 * np.array([box.width, box.height]) / side
                        axes.add_patch(Rectangle(at, width, height, fill=False, edgecolor=COLOURS[4], linewidth=1.3))
        axes.set(xlim=(0, blocks * wide - 0.3), ylim=(lines * high, 0), aspect="equal")
        axes.axis("off")
        return _save_images(drawn, path, study)


def _thumbnail(axes: Axes, pixels: np.ndarray, corner: tuple[float, float], size: float = 0.97) -> None:
    left, top = corner
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(left, left + size, top + size, top))


def before_after(study: StudyResults, examples: Examples, path: Path) -> Path:
    """Draw images without and with CLAHE, and below them how often each grey level occurs."""
    names = _names(study)
    n = len(examples.rows)
    with styled():
        drawn = figure(1.5 * n + 1.1, 4.6)
        panels = drawn.subplots(3, n, squeeze=False, gridspec_kw={"height_ratios": (1, 1, 0.55)})
        for column, row in enumerate(examples.rows):
            pair = (examples.before[column], examples.after[column])
            for line, (pixels, label) in enumerate(zip(pair, ("without", "with CLAHE"))):
                axes, below = panels[line, column], panels[2, column]
                axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                if column == 0:
                    axes.set_ylabel(label)
                shares, edges = np.histogram(pixels, bins=32, range=(0, 256))
                below.stairs(shares / shares.sum(), edges, color=COLOURS[line], linewidth=1.6, label=label)
            panels[0, column].set_title(names[row], fontsize=9, fontweight="normal", loc="center")
            below.set(xlim=(0, 256), yticks=[], xticks=(0, 255))
            below.tick_params(labelsize=10)
            below.set_xlabel("grey level", fontsize=11)
        panels[2, 0].set_ylabel("share")
        handles, labels = panels[2, 0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside lower center", ncols=2)
        return _save_images(drawn, path, study)


def augmented_images(study: StudyResults, augmented: Augmented, path: Path) -> Path:
    """Draw training images, an image a line: as prepared, then as augmentation drew them."""
    names = _names(study)
    lines, columns, height, width = augmented.images.shape[:4]
    most = max(8, round(18 * height / width))  # letters that go beside an image
    with styled():
        drawn = figure(1.5 * columns + 0.4, 1.5 * lines * height / width + 0.4)
        panels = drawn.subplots(lines, columns, squeeze=False)
        for line, row in enumerate(augmented.rows):
            for axes, pixels in zip(panels[line], augmented.images[line]):
                axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.spines[:].set_visible(False)
            name = names[row]
            panels[line, 0].set_ylabel(name if len(name) <= most else f"…{name[1 - most :]}", fontsize=9)
        for column, axes in enumerate(panels[0]):
            title = f"draw {column}" if column else "as prepared"
            axes.set_title(title, fontsize=11, loc="center", fontweight="normal" if column else "bold")
        return _save_images(drawn, path, study)


def _names(study: StudyResults) -> pd.Series:
    """Return the name of the file of every row."""
    return study.samples.drop_duplicates("row").set_index("row")["sample_id"]
