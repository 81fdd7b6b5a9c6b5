"""The facts of the pages of seeds: what the training seed changes, and whether that is more than noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.reporting import page
from pipeline.reporting.figures import seeds as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import LABELS
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import seed_noise
from pipeline.reporting.views.seed_noise import DIGITS, UNTESTED, Noise, Overlap, OverSeeds, Suits, Tested
from pipeline.reporting.views.shared import Banner, Classes, Noted, banner, classes

COLUMNS = {
    "multilabel": ("log_loss", "auroc", "average_precision", "f1", "mcc"),
    "multiclass": ("log_loss", "auroc", "average_precision", "accuracy", "balanced_accuracy", "f1", "mcc"),
}
"""Metrics of the whole test set, by task."""
_MACRO = ("auroc", "average_precision", "f1")


class Run(NamedTuple):
    """A training run: its metrics on the whole test set, and the epoch whose weights it kept, of how many."""

    seed: int
    values: list[float]
    best_epoch: float | None
    epochs: float | None


@dataclass(frozen=True)
class Overall:
    """The whole test set by seed.

    Parameters
    ----------
    labels : list of str
        Of the metrics that any seed has.
    runs : list of Run
        One per seed.
    means : list of Estimate
        Over the seeds.
    sds : list of float
        Likewise; NaN where fewer than two seeds have a value.
    has_epochs, has_f1 : bool
        Whether epochs are recorded, and whether F1 is shown.
    noted : list
        For `formats.reasons`.
    """

    labels: list[str]
    runs: list[Run]
    means: list[Estimate]
    sds: list[float]
    has_epochs: bool
    has_f1: bool
    noted: Noted


@dataclass(frozen=True)
class ClassRow:
    """Test AUROC of a class by seed.

    Parameters
    ----------
    name : str
        The class.
    values : list of float
        One per seed; NaN where one has none.
    mean : Estimate
        Over the seeds.
    sd : float
        Likewise.
    best : list of int
        Seeds with the highest value as printed: several where they are tied, none without a value.
    test : Tested
        Of its seeds.
    """

    name: str
    values: list[float]
    mean: Estimate
    sd: float
    best: list[int]
    test: Tested

    @property
    def highest(self) -> float:
        """The highest value."""
        return max(self._known, default=math.nan)

    @property
    def span(self) -> float:
        """Highest minus lowest; NaN for fewer than two values."""
        return max(self._known) - min(self._known) if len(self._known) > 1 else math.nan

    @property
    def _known(self) -> list[float]:
        return [v for v in self.values if math.isfinite(v)]


class Tie(NamedTuple):
    """Seeds that share the highest AUROC with another one, and the classes."""

    others: tuple[int, ...]
    classes: list[str]


class Lead(NamedTuple):
    """A seed, the classes in which it alone has the highest AUROC, and those where it shares it."""

    seed: int
    alone: list[str]
    ties: list[Tie]


class Drawn(NamedTuple):
    """Which figures there are."""

    strip: bool
    roc: bool
    curves: bool


@dataclass(frozen=True)
class SeedPage:
    """What the page of a configuration shows.

    Parameters
    ----------
    study, results : StudyResults, Results
        The study, and the configuration in it.
    banner : Banner
        What a reader must know first.
    drawn : Drawn
        Its figures.
    overall : Overall
        The whole test set by seed.
    rows : list of ClassRow
        Test AUROC by class and seed.
    judged : bool
        Whether the seeds were compared on the same patients.
    macro : Tested
        That comparison in macro AUROC.
    over_seeds : OverSeeds or None
        None with fewer than two values, or where a training run learned nothing: one failure is no normal deviation.
    noise : Noise or None
        None where either number is not known.
    overlap : Overlap or None
        Where seeds were not compared and the table has intervals by class and seed.
    suits : Suits or None
        None where that was not asked.
    leads : list of Lead
        One per seed; empty with fewer than two seeds, or without classes.
    table : Classes
        The test set class by class, means over seeds.
    """

    study: StudyResults
    results: Results
    banner: Banner
    drawn: Drawn
    overall: Overall
    rows: list[ClassRow]
    judged: bool
    macro: Tested
    over_seeds: OverSeeds | None
    noise: Noise | None
    overlap: Overlap | None
    suits: Suits | None
    leads: list[Lead]
    table: Classes

    digits = DIGITS

    @property
    def failing(self) -> bool:
        """Whether one of the training runs learned nothing."""
        return self.results.key in self.study.failing

    @property
    def tested(self) -> list[ClassRow]:
        """Classes whose seeds were compared."""
        return [row for row in self.rows if row.test.exists]

    @property
    def apart(self) -> list[ClassRow]:
        """Those in which seeds differ."""
        return [row for row in self.tested if row.test.differ]

    @property
    def p(self) -> float:
        """The smallest adjusted p value of a class."""
        return min((row.test.p for row in self.tested), default=math.nan)

    @property
    def led(self) -> int:
        """In how many classes any seed has a value."""
        return sum(bool(row.best) for row in self.rows)

    @property
    def not_tested(self) -> list[str]:
        """Classes whose seeds were not compared although those of others were."""
        return [row.name for row in self.rows if self.tested and not row.test.exists and row.test is not UNTESTED]

    @property
    def untested(self) -> dict[str, list[str]]:
        """Classes whose seeds were not compared, by the reason."""
        reasons: dict[str, list[str]] = {}
        for row in self.rows:
            if self.judged and not row.test.exists and row.test is not UNTESTED:
                reasons.setdefault(row.test.note or UNTESTED.note, []).append(row.name)
        return reasons

    @property
    def noted(self) -> Noted:
        """AUROC by class, for `formats.reasons`."""
        return [(row.name, LABELS["auroc"], row.mean) for row in self.rows]


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write seeds/README.md, and seeds/<model>-<loss>.md with its figures for every configuration, into `folder`."""
    front = folder / "seeds" / "README.md"
    written = [page.write(front, "seeds/README.md", study=study, facts=banner(study), digits=DIGITS)]
    for results in study.configurations:
        pictures = folder / "figures"
        drawn = [
            figures.strip(results, study.classes, study.interval_name, pictures / f"seeds-{results.key}.png"),
            figures.roc_seeds(results, study.classes, pictures / f"roc-{results.key}.png"),
            figures.training_curves(results, pictures / f"curves-{results.key}.png"),
        ]
        shown = facts(study, results, Drawn(*(path is not None for path in drawn)))
        target = folder / "seeds" / f"{results.key}.md"
        written += [page.write(target, "seeds/configuration.md", page=shown), *(path for path in drawn if path)]
    return written


def facts(study: StudyResults, results: Results, drawn: Drawn) -> SeedPage:
    """Collect what the page of `results` shows."""
    several, mean, sd = len(results.seeds) > 1, results.get("auroc"), results.sd("auroc")
    tested = seed_noise.tested(results)
    rows = [_class_row(results, name, tested.get(name, UNTESTED)) for name in study.classes]
    macro = tested.get("macro", UNTESTED)
    judged = not results.spread.empty
    se = macro.sampling_se if judged else seed_noise.se_of_intervals(results)
    failed = any(run.get("collapsed") for run in results.runs)
    return SeedPage(
        study,
        results,
        banner(study, results),
        drawn,
        _overall(study, results),
        rows,
        judged,
        macro,
        seed_noise.over_seeds(mean.value, sd, len(results.seeds)) if math.isfinite(sd) and not failed else None,
        Noise(sd, se) if math.isfinite(sd) and math.isfinite(se) else None,
        None if judged else seed_noise.overlap(study, results),
        seed_noise.suits(results),
        _leads(results.seeds, rows) if several else [],
        classes(study, results),
    )


def _class_row(results: Results, name: str, test: Tested) -> ClassRow:
    values = results.values("auroc", name).tolist()
    printed = {s: round(v, DIGITS) for s, v in zip(results.seeds, values) if math.isfinite(v)}
    best = [s for s, v in printed.items() if v == max(printed.values())]
    return ClassRow(name, values, results.get("auroc", name), results.sd("auroc", name), best, test)


def _overall(study: StudyResults, results: Results) -> Overall:
    metrics = [m for m in ("loss", *COLUMNS[study.task], *study.graded) if np.isfinite(results.values(m)).any()]
    names = {m: f"Macro {LABELS[m]}" if m in _MACRO else LABELS[m] for m in (*COLUMNS[study.task], *study.graded)}
    names["loss"] = f"Loss ({results.loss})"
    runs = [
        Run(
            seed,
            [results.get(m, None, seed).value for m in metrics],
            results.run(seed).get("best_epoch"),
            results.run(seed).get("epochs"),
        )
        for seed in results.seeds
    ]
    return Overall(
        [names[m] for m in metrics],
        runs,
        [results.get(m) for m in metrics],
        [results.sd(m) for m in metrics],
        bool(results.runs),
        "f1" in metrics,
        [("the mean", names[m], results.get(m)) for m in metrics],
    )


def _leads(seeds: Sequence[int], rows: Sequence[ClassRow]) -> list[Lead]:
    """Return the classes in which each seed has the highest AUROC; ties with whom they are shared."""
    if not rows:
        return []
    leads = []
    for seed in seeds:
        shared: dict[tuple[int, ...], list[str]] = {}
        for row in rows:
            if seed in row.best and len(row.best) > 1:
                shared.setdefault(tuple(s for s in row.best if s != seed), []).append(row.name)
        alone = [row.name for row in rows if row.best == [seed]]
        leads.append(Lead(seed, alone, [Tie(others, names) for others, names in shared.items()]))
    return leads
