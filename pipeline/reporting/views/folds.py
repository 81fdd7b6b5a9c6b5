"""Facts of the page about cross-validation: every image scored by networks that have not seen its patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.ensembling.sets import asked, one_family, questions
from pipeline.reporting import page, terms
from pipeline.reporting.figures import folds as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import ENSEMBLE, Estimate, Outcome, outcome
from pipeline.reporting.views import nested, shared
from pipeline.reporting.views.ensembles import NEGLIGIBLE
from pipeline.study.files import write_csv
from pipeline.study.runs import runs
from pipeline.uncertainty.comparisons import compare_measured
from pipeline.variants.folds import Fold, FoldSpread, OutOfFold, nadeau_bengio

DIGITS = 6


class Row(NamedTuple):
    """A configuration or an ensemble, and its numbers over all folds: there every image is one of the test set."""

    results: Results
    validation: float
    scores: Results
    spread: FoldSpread
    values: np.ndarray


class Pair(NamedTuple):
    """Two configurations, or an ensemble and a configuration: the difference over images, and that over folds."""

    first: str
    second: str
    difference: Estimate
    p: float
    p_holm: float
    spread: FoldSpread
    outcome: Outcome


class Made(NamedTuple):
    """An ensemble as it was made in a fold.

    Parameters
    ----------
    number : int
        Of the fold.
    validation, tested : float
        Its macro AUROC there.
    members : list of (str, list of (int, float or None))
        Of each configuration with a member the seeds, and their weights where members have one.
    everything : bool
        Whether all training runs of the fold are members, with equal say.
    spared : int
        Members of a negligible weight, which are left out.
    """

    number: int
    validation: float
    tested: float
    members: list[tuple[str, list[tuple[int, float | None]]]]
    everything: bool
    spared: int


@dataclass(frozen=True)
class Combined:
    """Ensembles over folds.

    Parameters
    ----------
    rows : list of Row
        Those that lead the page.
    best : Row or None
        The highest mean validation AUROC over folds.
    pairs : list of Pair
        Each of them minus the chosen configuration; none where the two were not tested on the same folds.
    made : list of Made
        The best one, fold by fold.
    followed, sets : int
        Ensembles that every fold has, and the sets of training runs that they combine.
    others : list of str
        Those that some fold has not.
    """

    rows: list[Row]
    best: Row | None
    pairs: list[Pair]
    made: list[Made]
    followed: int
    sets: int
    others: list[str]

    @property
    def tied(self) -> list[Results]:
        """Those whose mean on validation is that of the best one to all digits; the first of them is called best."""
        return _tied(self.rows, self.best)

    @property
    def weighted(self) -> bool:
        """Whether the members of the best one have weights."""
        return any(weight is not None for of in self.made for _, seeds in of.members for _, weight in seeds)

    @property
    def gain(self) -> Pair | None:
        """Of `pairs` that of the best ensemble."""
        return next((pair for pair in self.pairs if self.best and pair.first == self.best.results.key), None)


class FoldRow(NamedTuple):
    """A fold: what was tested, and the macro AUROC of each configuration there."""

    number: int
    images: int
    groups: int
    aurocs: list[float]


class Moving(NamedTuple):
    """A class: images always decided right, sometimes, never; and the number of decisions about each."""

    name: str
    images: int
    always: int
    sometimes: int
    never: int
    runs: int


@dataclass(frozen=True)
class Folded:
    """The cross-validation; see ``pages/folds.md``.

    Parameters
    ----------
    rows : list of Row
        Configurations in the study's order.
    pairs : list of Pair
        All pairs of them.
    combined : Combined
        Ensembles of their training runs.
    family : int
        Tests that p is corrected for in the first place: all pairs of configurations, and that with the best ensemble.
    folds : list of FoldRow
        Every tested fold.
    moving : list of Moving
        Of the chosen configuration.
    chosen : Row
        The highest mean validation AUROC over folds.
    planned, deals : int
        Folds of one deal, and deals that have results.
    lacking : list of int
        Numbers of folds of these deals without results.
    """

    rows: list[Row]
    pairs: list[Pair]
    combined: Combined
    family: int
    folds: list[FoldRow]
    moving: list[Moving]
    chosen: Row
    planned: int
    deals: int
    lacking: list[int]

    @property
    def tied(self) -> list[Results]:
        """The configurations whose mean on validation is that of the chosen one to all digits."""
        return _tied(self.rows, self.chosen)


def _tied(rows: list[Row], best: Row | None) -> list[Results]:
    return [row.results for row in rows if best is not None and abs(row.validation - best.validation) <= 1e-12]


def whole(results: Results, of: OutOfFold) -> Results:
    """Return the out-of-fold numbers of a configuration as those of its test set."""
    return Results(results.model, results.loss, (), of.metrics.assign(part="test"))


def _ensemble(name: str, of: OutOfFold) -> Results:
    """Return the out-of-fold numbers of an ensemble, which has no seeds, as those of its test set."""
    metrics = of.metrics[of.metrics["seed"] == "mean"]
    return Results(ENSEMBLE, name, (), metrics.assign(part="test"))


def facts_of(study: StudyResults) -> Folded | None:
    """Return what the page says; None unless two folds have results."""
    folds, scored = study.folds, study.out_of_fold
    if not scored:
        return None
    split = study.params.split
    share = 1 / (split.folds - 1)
    confidence = study.params.evaluate.confidence
    rows = [
        Row(r, float(of.validation.mean()), whole(r, of), nadeau_bengio(of.folds, share, confidence, (0, 1)), of.folds)
        for r in study.configurations
        if (of := scored.get(r.key)) is not None
    ]
    numbers = sorted({fold.number for every in folds.values() for fold in every})
    deals = sorted({(number - 1) // split.folds for number in numbers})
    wanted = [deal * split.folds + i + 1 for deal in deals for i in range(split.folds)]
    chosen = max(rows, key=lambda row: row.validation if math.isfinite(row.validation) else -1.0)
    ensembles = study.ensembles_over_folds
    combined = [
        Row(r, float(of.validation.mean()), r, nadeau_bengio(of.folds, share, confidence, (0, 1)), of.folds)
        for name, of in ensembles.leading.items()
        for r in [_ensemble(name, of)]
    ]
    best = next((row for row in combined if row.results.loss == ensembles.best), None)
    tested = _tested(study, rows, chosen, combined, best)
    pairs = {
        family: [_pair(row, study, share) for row in of.to_dict("records")] for family, of in tested.groupby("family")
    }
    return Folded(
        rows,
        pairs.get("recipes", []),
        Combined(
            combined,
            best,
            pairs.get("ensembles", []),
            _made(study, best),
            len(ensembles.followed),
            len({of.members for of in ensembles.followed.values()}),
            ensembles.others,
        ),
        int((tested["p"].notna() & (tested["tier"] == 1)).sum()),
        _fold_rows(folds, rows, numbers),
        _moving(scored[chosen.results.key].right),
        chosen,
        split.folds,
        len(deals),
        [number for number in wanted if number not in numbers],
    )


def _tested(study: StudyResults, rows: list[Row], chosen: Row, ensembles: list[Row], best: Row | None) -> pd.DataFrame:
    """Test every pair of configurations, and every ensemble against the chosen one, in one family.

    Only what was tested on the same images is compared: configurations with the most folds, and ensembles of the same.
    """
    over, scored = study.ensembles_over_folds, study.out_of_fold
    complete = max(len(row.values) for row in rows)
    keys = [row.results.key for row in rows if len(row.values) == complete]
    numbers = [fold.number for fold in study.folds[chosen.results.key]]
    same = [
        row.results
        for row in ensembles
        if chosen.results.key in keys and numbers == [fold.number for fold in over.followed[row.results.loss].folds]
    ]
    measured = {key: scored[key].measured for key in keys} | {of.key: over.leading[of.loss].measured for of in same}
    sides = keys, [chosen.results.key] if same else [], [of.key for of in same]
    evaluate = study.params.evaluate
    tested = compare_measured(
        measured,
        confidence=evaluate.confidence,
        margin=evaluate.margin,
        seed=evaluate.seed,
        pairs={pair for pairs in asked(*sides).values() for pair in pairs},
    )
    tested = questions(tested, *sides)
    return one_family(tested, tested.iloc[:0], None if best is None else best.results.key, study.alpha)[0]


def _pair(row: dict[Any, Any], study: StudyResults, share: float) -> Pair:
    """Read a tested pair; an ensemble comes first."""
    first, second = row["first"], row["second"]
    difference = Estimate(row["difference"], row["ci_low"], row["ci_high"], note=row["note"])
    found = outcome(row["p_holm"], bool(row["distinguishable"]), bool(row["equivalent"]), False)
    values = {key: of.folds for key, of in study.out_of_fold.items()}
    values |= {f"{ENSEMBLE}-{name}": of.folds for name, of in study.ensembles_over_folds.leading.items()}
    if row["family"] == "ensembles":
        first, second, difference = second, first, difference.turned()
    spread = nadeau_bengio(values[first] - values[second], share, study.params.evaluate.confidence, (-1, 1))
    return Pair(first, second, difference, row["p"], row["p_holm"], spread, found)


def _made(study: StudyResults, best: Row | None) -> list[Made]:
    """Return how the best ensemble was made in every fold."""
    if best is None:
        return []
    of = study.ensembles_over_folds.followed[best.results.loss]
    table = []
    for fold, about, tested, validation in zip(of.folds, of.described, of.tested, of.validation):
        members = about["members"]
        kept = [m for m in members if m["weight"] is None or m["weight"] >= NEGLIGIBLE]
        by_name: dict[str, list[tuple[int, float | None]]] = {}
        for m in kept:
            by_name.setdefault(f"{m['model']}-{m['loss']}", []).append((m["seed"], m["weight"]))
        equal = all(m["weight"] is None for m in members) and len(members) == len(runs(study.params))
        spared = len(members) - len(kept)
        table.append(Made(fold.number, float(validation), float(tested), [*by_name.items()], equal, spared))
    return table


def _fold_rows(folds: dict[str, list[Fold]], rows: list[Row], numbers: list[int]) -> list[FoldRow]:
    table = []
    for number in numbers:
        values, of = [], None
        for row in rows:
            places = [fold.number for fold in folds[row.results.key]]
            values.append(float(row.values[places.index(number)]) if number in places else math.nan)
            of = folds[row.results.key][places.index(number)].predictions if number in places else of
        assert of is not None
        table.append(FoldRow(number, len(of.test_rows), len(set(of.test_patients.tolist())), values))
    return table


def _moving(right: pd.DataFrame) -> list[Moving]:
    rows = []
    for name, of in right.groupby("class", sort=False):
        usable = of[of["runs"] > 0]
        always, never = (usable["right"] == usable["runs"]).sum(), (usable["right"] == 0).sum()
        most = int(usable["runs"].max()) if len(usable) else 0
        rows.append(Moving(str(name), len(usable), int(always), int(len(usable) - always - never), int(never), most))
    return rows


def decisions(study: StudyResults, rows: Sequence[Row]) -> tuple[list[str], list[list[Estimate]]]:
    """Return labels of the metrics of decisions, and their values of each row."""
    kappa = ("kappa",) if study.task == "multiclass" else ()
    metrics = (*study.graded, *terms.DECISIONS[study.task], *kappa)
    return [terms.LABELS[m] for m in metrics], [[row.scores.get(m) for m in metrics] for row in rows]


def classes(study: StudyResults, chosen: Row) -> tuple[list[str], list[tuple[str, list[Estimate]]]]:
    """Return labels of metrics, and of every class its name and their values, of the chosen configuration."""
    specificity = ("specificity",) if study.task == "multilabel" else ()
    metrics = (*terms.RANKING, "f1", "sensitivity", *specificity)
    return [terms.LABELS[m] for m in metrics], [
        (name, [chosen.scores.get(m, name) for m in metrics]) for name in study.classes
    ]


def images_of(study: StudyResults, of: OutOfFold) -> pd.DataFrame:
    """Return the images, by the names that pages may show, of which some decisions are right and others wrong."""
    names = dict(zip(study.samples["row"].tolist(), study.samples["sample_id"].tolist()))
    moving = of.right[(of.right["right"] > 0) & (of.right["right"] < of.right["runs"])]
    table = moving.assign(image=[names.get(row, "") for row in moving["row"]])
    return table[["image", "class", "runs", "right"]]


def table(study: StudyResults) -> pd.DataFrame:
    """Return every out-of-fold number: model, loss, then the columns of metrics.csv; ensembles have no seed."""
    parts = []
    for results in study.configurations:
        if (of := study.out_of_fold.get(results.key)) is not None:
            parts.append(of.metrics.assign(model=results.model, loss=results.loss))
    for name, of in study.ensembles_over_folds.leading.items():
        parts.append(_ensemble(name, of).metrics.assign(model=ENSEMBLE, loss=name))
    order = ["model", "loss", "seed", "class", "metric", "value", "ci_low", "ci_high", "n", "n_positive", "note"]
    return pd.concat(parts, ignore_index=True)[order].round(DIGITS)


def members_of(study: StudyResults) -> pd.DataFrame:
    """Return every ensemble of every fold, one row per member.

    Returns
    -------
    DataFrame
        ensemble, fold, validation_auroc, auroc (of the ensemble, in the fold), model, loss, seed, weight (empty where
        all members count alike, or the method has no single number for each).
    """
    rows = []
    for name, of in study.ensembles_over_folds.followed.items():
        for fold, about, tested, validation in zip(of.folds, of.described, of.tested, of.validation):
            values = {"ensemble": name, "fold": fold.number, "validation_auroc": validation, "auroc": tested}
            rows += [{**values, **{k: m[k] for k in ("model", "loss", "seed", "weight")}} for m in about["members"]]
    return pd.DataFrame(rows).round(DIGITS)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write folds.md, its tables and its figure into `folder`; nothing where the study has no folds."""
    found = facts_of(study) if study.recorded else None
    if found is None:
        return []
    out, figure = folder / "folds.md", folder / "figures" / "folds.png"
    shown = [*found.rows, *found.combined.rows]
    drawn = figures.by_fold(shown, [row.number for row in found.folds], study.interval_name, figure)
    write_csv(folder / "folds.csv", table(study))
    key = found.chosen.results.key
    write_csv(folder / "folds_images.csv", images_of(study, study.out_of_fold[key]))
    tables = [folder / "folds.csv", folder / "folds_images.csv"]
    if found.combined.rows:
        tables.append(folder / "folds_ensembles.csv")
        write_csv(tables[-1], members_of(study))
    page.write(
        out,
        "folds.md",
        study=study,
        banner_facts=shared.banner(study),
        folded=found,
        nested=nested.facts_of(study),
        decided=decisions(study, shown),
        classes=classes(study, found.chosen),
        pictured=drawn is not None,
        negligible=NEGLIGIBLE,
    )
    return [out, *tables, *([drawn] if drawn else [])]
