"""Facts of the page about clinical use: predictive values, net benefit, subgroup gaps, abstention, prediction sets."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pipeline.reporting import page
from pipeline.reporting.figures import clinical as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.terms import LABELS
from pipeline.reporting.values import ENSEMBLE, Estimate
from pipeline.reporting.views.shared import Noted, banner

ALL = ("macro", "overall")
"""Values of the whole part."""
SHOWN_THRESHOLDS = (0.05, 0.1, 0.2, 0.5)
"""Threshold probabilities whose net benefit is tabulated."""
SPECIFICITIES = {"90_specificity": 0.9, "95_specificity": 0.95}
_LISTED_GAPS = 15
_SETS = {"lac": "one quantile", "aps": "adaptive (APS)", "class_wise": "class-wise"}


Cell = Mapping[Hashable, Any]
"""A row of a table of `pipeline.scoring.clinical`."""
Points = dict[str, dict[tuple[str, str], Cell]]
"""Rows of operating.csv by operating point, then by class and metric."""


class Row(NamedTuple):
    """A row of a table: what it is about, positives, and its numbers in the order of the heads."""

    name: str
    positives: float
    estimates: list[Estimate]


@dataclass(frozen=True)
class Table:
    """A table of estimates.

    Parameters
    ----------
    heads : tuple of str
        Of the estimates.
    rows : list of Row
        Those that have a number.
    """

    heads: tuple[str, ...]
    rows: list[Row]

    @property
    def noted(self) -> Noted:
        """For `formats.reasons`."""
        return [(row.name, head, e) for row in self.rows for head, e in zip(self.heads, row.estimates)]


class Decision(NamedTuple):
    """A class at the threshold of the study: its prevalence, whether it is stated, and what is derived from it."""

    name: str
    positives: float
    prevalence: float
    stated: bool
    estimates: list[Estimate]


class Benefit(NamedTuple):
    """The decision curve of a class in short.

    Parameters
    ----------
    name : str
        The class.
    positives : float
        Images that have it.
    prevalence : float
        Share of them.
    useful : list of (float, float)
        Ranges of threshold probabilities in which both intervals lie above 0: those of the net benefit and of the
        difference from acting on all.
    estimates : list of Estimate
        Net benefit at `SHOWN_THRESHOLDS`.
    """

    name: str
    positives: float
    prevalence: float
    useful: list[tuple[float, float]]
    estimates: list[Estimate]

    @property
    def judged(self) -> bool:
        """Whether there are intervals, so that a range can be told."""
        return bool(self.useful) or any(e.bounded for e in self.estimates)


class Gap(NamedTuple):
    """A difference between two subgroups."""

    variable: str
    first: str
    second: str
    group: str
    metric: str
    estimate: Estimate
    p: float
    differs: bool
    n_classes: int

    @property
    def tested(self) -> bool:
        """Whether there is a test."""
        return math.isfinite(self.p)


@dataclass(frozen=True)
class Gaps:
    """Differences between subgroups: of the means over classes, and the single classes that differ most clearly."""

    overall: list[Gap]
    classes: list[Gap]
    n_classes_tested: int
    n_classes_apart: int

    @property
    def tested(self) -> int:
        """Tests of means over classes."""
        return sum(gap.tested for gap in self.overall)

    @property
    def apart(self) -> list[Gap]:
        """Means over classes that differ."""
        return [gap for gap in self.overall if gap.differs]

    @property
    def noted(self) -> Noted:
        """For `formats.reasons`."""
        return [(f"{g.variable} {g.first} − {g.second}", g.metric, g.estimate) for g in self.overall]


class Sets(NamedTuple):
    """The prediction sets of a method: what it is called, and its measures of the whole part."""

    method: str
    estimates: list[Estimate]


@dataclass(frozen=True)
class Clinical:
    """What clinical.md shows.

    Parameters
    ----------
    specificity : Table or None
        Sensitivity at fixed specificity, and the specificity reached.
    missed : dict of float to int
        For each specificity aimed at, the classes whose interval of what is reached lies below it.
    ratios : Table
        Sensitivity, specificity and likelihood ratios at the threshold of the study.
    predictive : list of Decision
        Predictive values.
    benefits : list of Benefit
        Decision curves in short.
    drawn : list of str
        Classes in the figure of the curves.
    gaps : Gaps or None
        Where the data set has subgroups.
    selective : dict of str to Table
        By share of the validation images that is kept.
    areas : Table
        Error of all images and area under the risk-coverage curve.
    sets : list of Sets
        Of all classes together.
    set_heads : tuple of str
        Of their estimates.
    set_classes : Table
        By class: single-label, coverage by method; multi-label, those of the class-wise sets.
    target : float
        Coverage that is promised.
    """

    specificity: Table | None
    missed: dict[float, int]
    ratios: Table
    predictive: list[Decision]
    benefits: list[Benefit]
    drawn: list[str]
    gaps: Gaps | None
    selective: dict[str, Table]
    areas: Table
    sets: list[Sets]
    set_heads: tuple[str, ...]
    set_classes: Table
    target: float

    @property
    def own_prevalence(self) -> list[str]:
        """Classes without a stated prevalence."""
        return [row.name for row in self.predictive if not row.stated]

    @property
    def noted_predictive(self) -> Noted:
        """For `formats.reasons`."""
        return [(row.name, head, e) for row in self.predictive for head, e in zip(("PPV", "NPV"), row.estimates)]


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write clinical.md about the chosen configuration and clinical-ensemble.md about the chosen ensemble.

    Each with its figures; nothing where they were not measured.
    """
    about = {"clinical": study.subject, "clinical-ensemble": study.chosen_ensemble}
    measured = {
        name: results
        for name, results in about.items()
        if study.recorded and results is not None and "operating" in results.clinical
    }
    return [path for name, results in measured.items() for path in _render(study, results, folder, name, [*measured])]


def _render(study: StudyResults, results: Results, folder: Path, name: str, pages: Sequence[str]) -> list[Path]:
    facts = view(study, results)
    curves = figures.net_benefit(
        [_curve(study, results, name) for name in facts.drawn],
        study.interval_name,
        folder / "figures" / f"{name}-net-benefit.png",
    )
    abstention = figures.risk_coverage(
        results.clinical["risk_coverage"], study.interval_name, folder / "figures" / f"{name}-risk-coverage.png"
    )
    written = page.write(
        folder / f"{name}.md",
        "clinical.md",
        study=study,
        results=results,
        banner=banner(study),
        facts=facts,
        pictures={"curves": curves, "abstention": abstention},
        thresholds=SHOWN_THRESHOLDS,
        methods=_SETS,
        name=name,
        of_ensemble=results.model == ENSEMBLE,
        other=next((other for other in pages if other != name), ""),
    )
    return [written, *(path for path in (curves, abstention) if path is not None)]


def view(study: StudyResults, results: Results) -> Clinical:
    """Return what the page says of `results`."""
    tables = results.clinical
    operating, conformal = tables["operating"], tables["conformal"]
    of_point: Points = {
        str(point): {(row["class"], row["metric"]): row for row in rows.to_dict("records")}
        for point, rows in operating.groupby("point", sort=False)
    }
    own = next(point for point in of_point if point not in SPECIFICITIES)
    decided = of_point[own]
    names = [name for name in study.classes if (name, "sensitivity") in decided]
    multilabel = study.task == "multilabel"
    whole = {
        str(method): {row["metric"]: _estimate(row) for row in rows.to_dict("records")}
        for method, rows in conformal[conformal["class"].isin(ALL)].groupby("method", sort=False)
    }
    shown = ("coverage", "coverage_present", "coverage_absent") if multilabel else ("coverage",)
    shown = (*shown, *(("single", "both", "empty") if multilabel else ("size", "single", "several", "empty")))
    return Clinical(
        _specificity(of_point, names),
        {
            aim: sum(
                decision[name, "specificity"]["ci_high"] < aim
                for decision in [of_point.get(point, {})]
                for name in names
                if (name, "specificity") in decision
            )
            for point, aim in SPECIFICITIES.items()
        },
        Table(
            ("Sensitivity", "Specificity", "LR+", "LR−"),
            [
                Row(
                    name,
                    decided[name, "sensitivity"]["n_positive"],
                    [_of(decided, name, m) for m in ("sensitivity", "specificity", "lr_positive", "lr_negative")],
                )
                for name in names
            ],
        ),
        [
            Decision(
                name,
                decided[name, "ppv"]["n_positive"],
                decided[name, "ppv"]["prevalence"],
                decided[name, "ppv"]["prevalence_from"] == "stated",
                [_of(decided, name, metric) for metric in ("ppv", "npv")],
            )
            for name in names
        ],
        _benefits(tables["decision_curve"], names),
        _drawn(tables["decision_curve"], names),
        _gaps(tables["subgroup_gaps"]) if len(tables.get("subgroup_gaps", ())) else None,
        _selective(tables["selective"], multilabel),
        _table(tables["selective"], {"error": "Error", "aurc": "AURC"}),
        [Sets(method, [of.get(metric, Estimate()) for metric in shown]) for method, of in whole.items()],
        tuple(_HEADS[metric] for metric in shown),
        _set_classes(conformal, names, multilabel),
        float(conformal["target"].iloc[0]),
    )


_HEADS = {
    "coverage": "Coverage",
    "coverage_present": "Coverage, present",
    "coverage_absent": "Coverage, absent",
    "size": "Mean size",
    "single": "One label",
    "several": "Several",
    "both": "Both labels",
    "empty": "Empty",
}


def _estimate(row: Cell) -> Estimate:
    """Read a row of a table of `pipeline.scoring.clinical`."""
    value, low, high, n, positives = (float(row[key]) for key in ("value", "ci_low", "ci_high", "n", "n_positive"))
    return Estimate(value, low, high, n, positives, row["note"] if isinstance(row["note"], str) else "")


def _of(decided: dict[tuple[str, str], Cell], name: str, metric: str) -> Estimate:
    row = decided.get((name, metric))
    return Estimate() if row is None else _estimate(row)


def _table(table: pd.DataFrame, metrics: dict[str, str], names: Sequence[str] | None = None) -> Table:
    """Return one row per class, one column per metric."""
    by_class: dict[str, dict[str, Estimate]] = {}
    for row in table[table["metric"].isin(list(metrics))].to_dict("records"):
        by_class.setdefault(row["class"], {})[row["metric"]] = _estimate(row)
    rows = []
    for name in names or list(by_class):
        if name in by_class:
            found = [by_class[name].get(metric, Estimate()) for metric in metrics]
            rows.append(Row(name, found[0].n_positive, found))
    ordered = [row for row in rows if row.name in ALL] + [row for row in rows if row.name not in ALL]
    return Table(tuple(metrics.values()), ordered)


def _specificity(of_point: Points, names: Sequence[str]) -> Table | None:
    points = [point for point in SPECIFICITIES if point in of_point]
    if not points:
        return None
    heads = [
        head for point in points for head in (f"Sensitivity at {100 * SPECIFICITIES[point]:g} %", "Specificity reached")
    ]
    rows = []
    for name in names:
        found = [_of(of_point[point], name, side) for point in points for side in ("sensitivity", "specificity")]
        rows.append(Row(name, found[0].n_positive, found))
    return Table(tuple(heads), rows)


def _benefits(table: pd.DataFrame, names: Sequence[str]) -> list[Benefit]:
    rows = []
    for name in names:
        curve = table[table["class"] == name].sort_values("threshold")
        first = curve.iloc[0]
        note = first["note"] if isinstance(first["note"], str) else ""
        estimates = []
        for threshold in SHOWN_THRESHOLDS:
            at = curve[(curve["threshold"] - threshold).abs() < 1e-9].iloc[0]
            still = "no draw changes it: no image reaches the threshold" if math.isnan(at["ci_low"]) else ""
            estimates.append(
                Estimate(at["net_benefit"], at["ci_low"], at["ci_high"], at["n"], at["n_positive"], note or still)
            )
        n, positives = float(first["n"]), float(first["n_positive"])
        rows.append(Benefit(name, positives, positives / n, _useful(curve), estimates))
    return rows


def _useful(curve: pd.DataFrame) -> list[tuple[float, float]]:
    """Return the ranges of thresholds in which the model is above acting on none and on all, interval and all."""
    above = (curve["ci_low"] > 0) & (curve["over_all_low"] > 0)
    ranges: list[tuple[float, float]] = []
    before = False
    for threshold, now in zip(curve["threshold"].tolist(), above.tolist()):
        if now and before:
            ranges[-1] = (ranges[-1][0], threshold)
        elif now:
            ranges.append((threshold, threshold))
        before = now
    return ranges


def _drawn(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the classes with intervals, at most as many as the figure holds, those with the most positives."""
    bounded = table[table["ci_low"].notna()].groupby("class")["n_positive"].first()
    ranked = sorted((name for name in names if name in bounded), key=lambda name: -bounded[name])
    kept = ranked[: figures.MOST_CURVES]
    return [name for name in names if name in kept]


def _curve(study: StudyResults, results: Results, name: str) -> figures.Curve:
    table = results.clinical["decision_curve"]
    return figures.Curve(name, table[table["class"] == name].sort_values("threshold"))


def _gaps(table: pd.DataFrame) -> Gaps:
    found = [
        Gap(
            str(row["variable"]),
            str(row["first"]),
            str(row["second"]),
            str(row["class"]),
            LABELS[row["metric"]],
            Estimate(
                row["difference"],
                row["ci_low"],
                row["ci_high"],
                row["n_first"] + row["n_second"],
                note=row["note"] if isinstance(row["note"], str) else "",
            ),
            float(row["p_holm"]),
            bool(row["distinguishable"]),
            int(row["n_classes"]),
        )
        for row in table.to_dict("records")
    ]
    of_classes = [gap for gap in found if gap.group not in ALL]
    ranked = sorted((gap for gap in of_classes if gap.tested), key=lambda gap: gap.p)
    return Gaps(
        [gap for gap in found if gap.group in ALL and (gap.n_classes or gap.tested)],
        [gap for gap in ranked if gap.differs][:_LISTED_GAPS],
        len(ranked),
        sum(gap.differs for gap in ranked),
    )


def _selective(table: pd.DataFrame, multilabel: bool) -> dict[str, Table]:
    found = {}
    for kept in ("90", "80"):
        metrics = {
            f"coverage_{kept}": "Kept",
            f"accuracy_{kept}": "Accuracy of what is kept",
            f"gain_{kept}": "Gain",
        }
        if multilabel:
            metrics[f"kept_positives_{kept}"] = "Positives kept"
        found[kept] = _table(table, metrics)
    return found


def _set_classes(table: pd.DataFrame, names: Sequence[str], multilabel: bool) -> Table:
    if multilabel:
        metrics = {
            metric: _HEADS[metric] for metric in ("coverage_present", "coverage_absent", "single", "both", "empty")
        }
        return _table(table[table["method"] == "class_wise"], metrics, names)
    rows = []
    coverage = table[(table["metric"] == "coverage") & ~table["class"].isin(ALL)]
    methods = list(dict.fromkeys(coverage["method"]))
    for name in names:
        of_class = {row["method"]: _estimate(row) for row in coverage[coverage["class"] == name].to_dict("records")}
        found = [of_class[method] for method in methods]
        rows.append(Row(name, found[0].n_positive, found))
    return Table(tuple(_SETS[method] for method in methods), rows)
