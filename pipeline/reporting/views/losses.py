"""The facts of the page of losses: every loss against the baseline loss, within each model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.reporting import page
from pipeline.reporting.figures import losses as figures
from pipeline.reporting.results import Results, StudyResults, highest
from pipeline.reporting.terms import LABELS, RANKING
from pipeline.reporting.values import Estimate, Sample, exists
from pipeline.reporting.views.loss_differences import Difference, differences
from pipeline.reporting.views.shared import Banner, Noted, banner

DECIDED = {
    "multilabel": ("f1", "sensitivity", "specificity", "mcc"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "precision", "mcc", "kappa"),
}
"""Metrics of decisions, by task."""
PROBABILITIES = ("brier", "ece", "log_loss")
"""Metrics of probabilities; lower is better."""
_LABELS = LABELS | {"precision": "Precision", "kappa": "Kappa", "brier": "Brier score", "ece": "ECE"}
CHOSEN, FAILED = "★", "†"
"""Marks of the loss that validation chooses, and of a mean with a training run that learned nothing."""


class Setting(NamedTuple):
    """A loss as params.yaml defines it; without options it has its defaults."""

    loss: str
    kind: str
    options: dict[str, Any]


@dataclass(frozen=True)
class LossRow:
    """A configuration in the tables of its model.

    Parameters
    ----------
    results : Results
        Its loss and its numbers.
    chosen : bool
        Whether it has the highest validation AUROC with this model.
    failed : list of int
        Seeds under which it learned nothing.
    ranking, decisions, probabilities : list of Estimate
        As the labels of `Model`.
    """

    results: Results
    chosen: bool
    failed: list[int]
    ranking: list[Estimate]
    decisions: list[Estimate]
    probabilities: list[Estimate]

    @property
    def loss(self) -> str:
        """Its loss."""
        return self.results.loss

    @property
    def validation(self) -> Estimate:
        """Mean validation AUROC."""
        return self.results.get("auroc", part="val")

    @property
    def sd(self) -> float:
        """SD of test AUROC over seeds."""
        return self.results.sd("auroc")


class ClassRow(NamedTuple):
    """A class: its positives in the test set, and the difference of every loss from the baseline."""

    name: str
    positives: float
    differences: list[Difference]


@dataclass(frozen=True)
class Model:
    """A model with its losses, the baseline first where it has results.

    Parameters
    ----------
    name : str
        The model.
    sample : Sample
        Size of the test set.
    has_baseline : bool
        Whether the baseline has results.
    rows : list of LossRow
        One per loss.
    ranking, decisions, probabilities : list of str
        Labels of the metrics that any loss has.
    noted : list
        For `formats.reasons`.
    compared : list of Difference
        Macro AUROC against the baseline.
    classes : list of ClassRow
        Empty where classes were not compared.
    """

    name: str
    sample: Sample
    has_baseline: bool
    rows: list[LossRow]
    ranking: list[str]
    decisions: list[str]
    probabilities: list[str]
    noted: Noted
    compared: list[Difference]
    classes: list[ClassRow]

    @property
    def validated(self) -> bool:
        """Whether any loss has a validation AUROC."""
        return any(row.validation.exists for row in self.rows)

    @property
    def without_sd(self) -> list[str]:
        """Losses without an SD over seeds; all of them where no loss has one."""
        return [row.loss for row in self.rows if not math.isfinite(row.sd)]

    @property
    def failures(self) -> int:
        """How many training runs learned nothing."""
        return sum(len(row.failed) for row in self.rows)

    @property
    def tested_classes(self) -> list[Difference]:
        """Differences of single classes that were tested."""
        return [d for row in self.classes for d in row.differences if d.tested]

    @property
    def noted_differences(self) -> Noted:
        """Differences in macro AUROC, for `formats.reasons`."""
        return [(d.loss, "difference", d.estimate) for d in self.compared]

    @property
    def noted_classes(self) -> Noted:
        """Differences of single classes, for `formats.reasons`."""
        return [(d.group, d.loss, d.estimate) for row in self.classes for d in row.differences]


class Directions(NamedTuple):
    """Losses of a model that differ from the baseline, and those that are equivalent to it."""

    model: str
    above: list[str]
    below: list[str]
    equivalent: list[str]


@dataclass(frozen=True)
class Page:
    """What the page of losses shows.

    Parameters
    ----------
    study : StudyResults
        For its title, task, settings and what is recorded.
    banner : Banner
        What a reader must know first.
    base : str
        The baseline loss.
    drawn : bool
        Whether there is a figure.
    settings : list of Setting
        Empty where they are not recorded.
    models : list of Model
        Those with results.
    """

    study: StudyResults
    banner: Banner
    base: str
    drawn: bool
    settings: list[Setting]
    models: list[Model]

    @property
    def several(self) -> list[Model]:
        """Models with more than one loss."""
        return [m for m in self.models if len(m.rows) > 1]

    @property
    def sizes(self) -> list[int]:
        """How many losses those have, ascending, each number once."""
        return sorted({len(m.rows) for m in self.several})

    @property
    def compared(self) -> list[Difference]:
        """Every difference in macro AUROC."""
        return [d for m in self.several for d in m.compared]

    @property
    def tested(self) -> list[Difference]:
        """Those that were tested."""
        return [d for d in self.compared if d.tested]

    @property
    def untested(self) -> list[Difference]:
        """Those that could not be tested."""
        return [d for d in self.compared if not d.tested]

    @property
    def notes(self) -> list[str]:
        """Why not, each reason once."""
        return list(dict.fromkeys(d.estimate.note for d in self.untested))

    @property
    def tested_classes(self) -> list[Difference]:
        """Differences of single classes that were tested."""
        return [d for m in self.several for d in m.tested_classes]

    @property
    def family(self) -> int:
        """Comparisons that lead the family of the whole study, for which p values are corrected."""
        return self.study.leading_comparisons

    @property
    def class_family(self) -> int:
        """Comparisons of single classes in the same family, below those of the means."""
        table = self.study.class_comparisons
        return int(table["p"].notna().sum()) if exists(table) else 0

    @property
    def varying(self) -> list[Difference]:
        """Tested differences whose error includes the variation over training seeds."""
        return [d for d in self.tested if d.seeds == "vary"]

    @property
    def fixed(self) -> list[Difference]:
        """Tested differences that are about these training runs alone."""
        return [d for d in self.tested if d.seeds == "fixed"]

    @property
    def lacking(self) -> list[str]:
        """Models without results of the baseline."""
        return [m.name for m in self.several if not m.has_baseline]

    @property
    def margin(self) -> float:
        """The equivalence margin; NaN where nothing is tested."""
        return next((d.margin for d in self.tested), math.nan)

    @property
    def directions(self) -> list[Directions]:
        """Which losses differ from the baseline or are equivalent to it, model by model."""
        return [
            Directions(
                m.name,
                [d.loss for d in m.compared if d.apart and d.estimate.value > 0],
                [d.loss for d in m.compared if d.apart and d.estimate.value <= 0],
                [d.loss for d in m.compared if d.equivalent],
            )
            for m in self.several
        ]


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write losses.md and its figure into `folder`; nothing where no model has two losses."""
    models = by_model(study)
    if not any(len(configurations) > 1 for configurations in models.values()):
        return []
    base = study.losses[0]
    compared = differences(study, study.comparisons, models, base, ("macro",))
    by_class = differences(study, study.class_comparisons, models, base, study.classes)
    facts = [
        _model(study, name, configurations, base, [d for d in compared if d.model == name], by_class)
        for name, configurations in models.items()
    ]
    drawn = _draw(study, facts, base, folder / "figures" / "losses.png")
    shown = Page(study, banner(study), base, drawn is not None, _settings(study), facts)
    written = page.write(folder / "losses.md", "losses.md", page=shown)
    return [written, *([drawn] if drawn else [])]


def by_model(study: StudyResults) -> dict[str, list[Results]]:
    """Return the configurations of each model that has results, losses in the order of the study."""
    order = study.losses
    models = dict.fromkeys(r.model for r in study.configurations)
    return {
        m: sorted((r for r in study.configurations if r.model == m), key=lambda r: order.index(r.loss)) for m in models
    }


def _settings(study: StudyResults) -> list[Setting]:
    if not study.recorded:
        return []
    settings = []
    for name in study.losses:
        options = dict(study.params.losses[name] or {})
        settings.append(Setting(name, str(options.pop("kind", name)), options))
    return settings


def _model(
    study: StudyResults,
    name: str,
    configurations: Sequence[Results],
    base: str,
    compared: list[Difference],
    by_class: Sequence[Difference],
) -> Model:
    """Collect what is shown of a model; `by_class` may hold other models, too."""
    chosen = highest(configurations)
    metrics = [
        [m for m in group if any(r.get(m).exists for r in configurations)]
        for group in (RANKING, (*study.graded, *DECIDED[study.task]), PROBABILITIES)
    ]
    labels = _LABELS | ({"f1": "Macro F1"} if study.task == "multiclass" else {})
    ranking, decisions, probabilities = ([labels[m] for m in group] for group in metrics)
    rows = [
        LossRow(
            r,
            chosen is not None and r.key == chosen.key,
            [run["seed"] for run in r.runs if run.get("collapsed")],
            *([r.get(m) for m in group] for group in metrics),
        )
        for r in configurations
    ]
    apart = [d for d in by_class if d.model == name]
    classes = [
        ClassRow(c, configurations[0].get("auroc", c).n_positive, [d for d in apart if d.group == c])
        for c in study.classes
        if apart
    ]
    return Model(
        name,
        configurations[0].sample(),
        any(r.loss == base for r in configurations),
        rows,
        ranking,
        decisions,
        probabilities,
        [(r.loss, labels[m], r.get(m)) for r in configurations for group in metrics for m in group],
        compared,
        classes,
    )


def _draw(study: StudyResults, models: Sequence[Model], base: str, path: Path) -> Path | None:
    panels, margin = [], math.nan
    for model in models:
        if len(model.rows) < 2:
            continue
        compared = {d.loss: (d.estimate, d.outcome) for d in model.compared}
        margin = next((d.margin for d in model.compared if d.tested), margin)
        lines = [
            figures.Line(
                " ".join([row.loss, *([CHOSEN] if row.chosen else []), *([FAILED] if row.failed else [])]),
                row.results.get("auroc"),
                row.results.values("auroc"),
                *compared.get(row.loss, ()),
            )
            for row in model.rows
        ]
        middle = next((line.estimate.value for line, row in zip(lines, model.rows) if row.loss == base), math.nan)
        panels.append(figures.Panel(model.name, tuple(lines), middle))
    return figures.forest(
        panels,
        path,
        baseline=base,
        margin=margin,
        interval_name=study.interval_name,
        keys={CHOSEN: "best on validation", FAILED: "a training run learned nothing"},
    )
