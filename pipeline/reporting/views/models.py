"""The facts of the page about models: scores and losses by set, settings, training, confusion, grids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pipeline.reporting import page
from pipeline.reporting.figures import models as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import PARTS
from pipeline.reporting.values import Estimate, Sample
from pipeline.reporting.views import grid, grid_tables
from pipeline.reporting.views.grid import Grid
from pipeline.reporting.views.grid_tables import Grids, called
from pipeline.reporting.views.model_settings import (
    ModelSettings,
    Trained,
    model_settings,
    trained,
    without_macs,
    without_runs,
)
from pipeline.reporting.views.shared import Banner, Noted, banner
from pipeline.study.unknown import shares

MOST = 12
"""Configurations that tables and figures show one by one; of more, a grid is represented by its best on validation."""


class Spread(NamedTuple):
    """Mean over seeds and SD; NaN where either does not exist."""

    mean: float
    sd: float


@dataclass(frozen=True)
class ScoreRow:
    """A configuration: a metric on every set, and the difference between training and test set.

    `interval`, `balanced` and `auroc` go with the leading metric: its test estimate, balanced accuracy on the test
    set, and AUROC on the validation set.
    """

    results: Results
    train: Spread
    val: Spread
    test: Spread
    difference: Spread
    interval: Estimate
    balanced: Estimate
    auroc: Estimate

    def has(self, column: str) -> bool:
        """Whether there is something to show in a column."""
        value = getattr(self, column)
        if isinstance(value, Spread):
            return math.isfinite(value.mean)
        return value.bounded if column == "interval" else value.exists


@dataclass(frozen=True)
class Scores:
    """A table of `ScoreRow`, the columns that are shown, and the remarks on single numbers."""

    rows: list[ScoreRow]
    columns: list[str]
    noted: Noted


class Constant(NamedTuple):
    """Scores of always predicting the most frequent class of the test set."""

    name: str
    accuracy: float
    balanced: float


class MatrixRow(NamedTuple):
    """A true class: images by predicted class, their shares, and all."""

    name: str
    counts: list[int]
    shares: list[float]

    @property
    def total(self) -> int:
        """Images of the class."""
        return sum(self.counts)


@dataclass(frozen=True)
class Confusion:
    """Confusion matrices.

    Parameters
    ----------
    having, pictured : int
        Configurations that have one, and those in the figure.
    drawn : bool
        Whether there is a figure.
    most_classes : int
        Classes that a figure can have.
    subject : Results or None
        The configuration whose counts are listed.
    rows : list of MatrixRow
        Its counts, summed over seeds; empty where it has none.
    """

    having: int
    pictured: int
    drawn: bool
    most_classes: int
    subject: Results | None
    rows: list[MatrixRow]


@dataclass(frozen=True)
class Page:
    """What the page about models shows.

    Parameters
    ----------
    study : StudyResults
        For its task, settings and what is recorded.
    banner : Banner
        What a reader must know first.
    metric, name : str
        The leading metric, and what it is called in a sentence.
    sizes : list of (str, Sample)
        Sets and their sizes, where recorded.
    constant : Constant or None
        Of single-label data; None where the labels of the test set are not recorded.
    left_out : int
        Configurations that only the tables of grids show.
    scores, losses : Scores
        The leading metric, and the loss; no rows where there is none.
    settings : list of ModelSettings
        Empty for a bare table.
    without_runs, without_macs : list of str
        Models without training runs, and those whose runs did not record MACs.
    trained : list of Trained
        Configurations whose training is recorded.
    curves : int
        Configurations in the figure of curves; 0 without a figure.
    shown : int
        Configurations in the tables.
    confusion : Confusion or None
        None where no configuration has a matrix.
    errors_page : bool
        Whether there is a page about errors.
    grids : Grids
        All grids.
    grid_drawn : bool
        Whether there is a figure of them.
    """

    study: StudyResults
    banner: Banner
    metric: str
    name: str
    sizes: list[tuple[str, Sample]]
    constant: Constant | None
    left_out: int
    scores: Scores
    losses: Scores
    settings: list[ModelSettings]
    without_runs: list[str]
    without_macs: list[str]
    trained: list[Trained]
    curves: int
    shown: int
    confusion: Confusion | None
    errors_page: bool
    grids: Grids
    grid_drawn: bool

    @property
    def several_seeds(self) -> bool:
        """Whether a configuration in the tables has more than one seed."""
        return any(len(row.results.seeds) > 1 for row in self.scores.rows)

    @property
    def has_training_values(self) -> bool:
        """Whether any configuration in the tables has the leading metric on the training set."""
        return any(row.has("train") for row in self.scores.rows)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write models.md and its figures; return what was written, nothing where no configuration has a score."""
    metric = grid.leading(study)
    if not any(r.get(metric, part=part).exists for r in study.configurations for part in grid.PARTS):
        return []
    found = grid.grids(study)
    shown = _shown(study, found)
    curved, matrices = highest(study, shown, MOST), _matrices(study, shown)
    pictures = folder / "figures"
    panels = [(grid.titled(g, found), g, grid.best(study, g)) for g in found]
    curves = figures.curves(curved, pictures / "models-curves.png")
    confusion = figures.confusions(matrices, study.classes, pictures / "models-confusion.png")
    heat = figures.heat(study, panels, metric, f"validation {called(metric)}", pictures / "models-grid.png")
    settings = model_settings(study)
    facts = Page(
        study,
        banner(study),
        metric,
        called(metric),
        _sizes(study.configurations[0], metric),
        _constant(study.configurations[0]),
        len(study.configurations) - len(shown),
        _scores(study, shown, metric),
        _losses(study, shown),
        settings,
        without_runs(study, settings),
        without_macs(study, settings),
        [trained(r) for r in shown if r.runs],
        len(curved) if curves else 0,
        len(shown),
        _confusion(study, shown, matrices, confusion is not None),
        (folder / "errors.md").exists(),
        grid_tables.tables(study, found),
        heat is not None,
    )
    written = page.write(folder / "models.md", "models.md", page=facts)
    return [written, *(path for path in (curves, confusion, heat) if path is not None)]


def _shown(study: StudyResults, found: Sequence[Grid]) -> list[Results]:
    """Return all configurations if they are few, else those in no grid and the best of every grid."""
    if len(study.configurations) <= MOST or not found:
        return list(study.configurations)
    inside = {p.results.key for g in found for p in g.points}
    best = {p.results.key for g in found for p in grid.best(study, g)}
    return [r for r in study.configurations if r.key not in inside or r.key in best]


def highest(study: StudyResults, shown: Sequence[Results], most: int) -> list[Results]:
    """Return the `most` configurations with the highest leading metric on validation, in the order of `shown`."""

    def value(results: Results) -> float:
        score = results.get(grid.leading(study), part="val")
        return score.value if score.exists else -math.inf

    kept = {r.key for r in sorted(shown, key=value, reverse=True)[:most]}
    return [r for r in shown if r.key in kept]


def _matrices(study: StudyResults, shown: Sequence[Results]) -> list[Results]:
    """Return the configurations whose confusion matrices are drawn: fewer of many classes, which need more room."""
    k = len(study.classes)
    return highest(study, [r for r in shown if not r.confusion.empty], MOST if k <= 4 else 4 if k <= 6 else 2)


def _sizes(results: Results, metric: str) -> list[tuple[str, Sample]]:
    """Return the sizes of the sets that are recorded."""
    sizes = []
    parts: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
    for part in parts:
        if results.has_predictions and part != "train":
            sizes.append((PARTS[part], results.sample(part)))
        elif math.isfinite(n := results.get(metric, part=part).n):
            sizes.append((PARTS[part], Sample(n, math.nan)))
    return sizes


def _constant(results: Results) -> Constant | None:
    if not results.has_predictions:
        return None
    share = np.nan_to_num(shares(results.predictions.test_targets))
    largest = int(share.argmax())
    return Constant(str(results.predictions.classes[largest]), float(share[largest]), 1 / int((share > 0).sum()))


def _row(results: Results, metric: str, first: str, second: str) -> ScoreRow:
    """Return a metric on every set, and `first` minus `second`: the mean over seeds of each seed's own difference."""
    train, val, test = (
        Spread(results.get(metric, part=part).value, results.sd(metric, part=part)) for part in grid.PARTS
    )
    gaps = results.values(metric, part=first) - results.values(metric, part=second)
    if not results.seeds:
        gaps = np.array([results.get(metric, part=first).value - results.get(metric, part=second).value])
    difference = Spread(float(gaps.mean()), float(gaps.std(ddof=1)) if len(gaps) > 1 else math.nan)
    return ScoreRow(
        results,
        train,
        val,
        test,
        difference,
        results.get(metric),
        results.get("balanced_accuracy"),
        results.get("auroc", part="val"),
    )


def _columns(study: StudyResults, rows: Sequence[ScoreRow], columns: Sequence[str]) -> list[str]:
    """Leave out, of a bare table, the columns that it has no number for."""
    return [c for c in columns if study.recorded or any(row.has(c) for row in rows)]


def _scores(study: StudyResults, shown: Sequence[Results], metric: str) -> Scores:
    rows = [_row(r, metric, "train", "test") for r in shown]
    columns = ["train", "val", "test", "interval", "difference", *(["balanced", "auroc"] if metric != "auroc" else [])]
    name = called(metric)
    noted = [(r.key, f"test {name}", r.get(metric)) for r in shown]
    others = [(r.key, f"{PARTS[p]} {name}", r.get(metric, part=p)) for p in ("train", "val") for r in shown]
    noted += [other for other in others if not other[2].exists]
    if metric != "auroc":
        noted += [(r.key, "balanced accuracy", r.get("balanced_accuracy")) for r in shown if r.has_predictions]
    return Scores(rows, _columns(study, rows, columns), noted)


def _losses(study: StudyResults, shown: Sequence[Results]) -> Scores:
    every = [(r.key, f"{PARTS[p]} loss", r.get("loss", part=p)) for r in shown for p in grid.PARTS]
    missing = [noted for noted in every if not noted[2].exists]
    if len(missing) == len(every):
        return Scores([], [], [])
    rows = [_row(r, "loss", "test", "train") for r in shown]
    return Scores(
        rows, _columns(study, rows, ["train", "val", "test", "difference"]), missing if study.recorded else []
    )


def _confusion(
    study: StudyResults, shown: Sequence[Results], matrices: Sequence[Results], drawn: bool
) -> Confusion | None:
    having = sum(not r.confusion.empty for r in shown)
    if not having:
        return None
    subject = study.subject
    rows = []
    if subject is not None and not subject.confusion.empty:
        counts = figures.matrix(subject, study.classes)
        shares = figures.shares(counts)
        rows = [MatrixRow(c, counts[i].tolist(), shares[i].tolist()) for i, c in enumerate(study.classes)]
    return Confusion(having, len(matrices), drawn, figures.MOST_CLASSES, subject, rows)
