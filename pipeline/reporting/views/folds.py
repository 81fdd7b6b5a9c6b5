"""Facts of the page about cross-validation: every image scored by networks that have not seen its patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting import page, terms
from pipeline.reporting.figures import folds as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import nested, shared
from pipeline.study.files import write_csv
from pipeline.uncertainty.comparisons import compare_measured
from pipeline.variants.folds import Fold, FoldSpread, OutOfFold, nadeau_bengio

DIGITS = 6


class Row(NamedTuple):
    """A configuration on the test set of one fold, and over all folds: there every image is one of the test set."""

    results: Results
    validation: float
    scores: Results
    spread: FoldSpread
    values: np.ndarray


class Pair(NamedTuple):
    """Two configurations: the difference over images, and that over folds."""

    first: str
    second: str
    difference: Estimate
    p: float
    p_holm: float
    spread: FoldSpread


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
    folds: list[FoldRow]
    moving: list[Moving]
    chosen: Row
    planned: int
    deals: int
    lacking: list[int]


def whole(results: Results, of: OutOfFold) -> Results:
    """Return the out-of-fold numbers of a configuration as those of its test set."""
    return Results(results.model, results.loss, (), of.metrics.assign(part="test"))


def facts_of(study: StudyResults) -> Folded | None:
    """Return what the page says; None unless two folds have results."""
    folds, scored = study.folds, study.out_of_fold
    if not scored:
        return None
    split = study.params.split
    share = 1 / (split.folds - 1)
    confidence = study.params.evaluate.confidence
    rows = [
        Row(r, float(of.validation.mean()), whole(r, of), nadeau_bengio(of.folds, share, confidence), of.folds)
        for r in study.configurations
        if (of := scored.get(r.key)) is not None
    ]
    numbers = sorted({fold.number for every in folds.values() for fold in every})
    deals = sorted({(number - 1) // split.folds for number in numbers})
    wanted = [deal * split.folds + i + 1 for deal in deals for i in range(split.folds)]
    chosen = max(rows, key=lambda row: row.validation if math.isfinite(row.validation) else -1.0)
    return Folded(
        rows,
        _pairs(study, rows, scored, share),
        _fold_rows(folds, rows, numbers),
        _moving(scored[chosen.results.key].right),
        chosen,
        split.folds,
        len(deals),
        [number for number in wanted if number not in numbers],
    )


def _pairs(study: StudyResults, rows: list[Row], scored: dict[str, OutOfFold], share: float) -> list[Pair]:
    complete = max(len(row.values) for row in rows)
    keys = [row.results.key for row in rows if len(row.values) == complete]  # the same images
    if len(keys) < 2:
        return []
    evaluate = study.params.evaluate
    tested = compare_measured(
        {key: scored[key].measured for key in keys},
        confidence=evaluate.confidence,
        margin=evaluate.margin,
        seed=evaluate.seed,
    )
    by_pair = {(row["first"], row["second"]): row for row in tested.to_dict("records")}
    pairs = []
    for first, second in combinations(keys, 2):
        row = by_pair[first, second]
        spread = nadeau_bengio(scored[first].folds - scored[second].folds, share, evaluate.confidence)
        low, high = np.clip((row["ci_low"], row["ci_high"]), -1, 1)  # no two AUROC differ by more
        difference = Estimate(row["difference"], float(low), float(high), note=row["note"])
        pairs.append(Pair(first, second, difference, row["p"], row["p_holm"], spread))
    return pairs


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
    """Return every out-of-fold number: model, loss, then the columns of metrics.csv."""
    parts = []
    for results in study.configurations:
        if (of := study.out_of_fold.get(results.key)) is not None:
            parts.append(of.metrics.assign(model=results.model, loss=results.loss))
    order = ["model", "loss", "seed", "class", "metric", "value", "ci_low", "ci_high", "n", "n_positive", "note"]
    return pd.concat(parts, ignore_index=True)[order].round(DIGITS)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write folds.md, its tables and its figure into `folder`; nothing where the study has no folds."""
    found = facts_of(study) if study.recorded else None
    if found is None:
        return []
    out, figure = folder / "folds.md", folder / "figures" / "folds.png"
    drawn = figures.by_fold(found.rows, [row.number for row in found.folds], study.interval_name, figure)
    write_csv(folder / "folds.csv", table(study))
    key = found.chosen.results.key
    write_csv(folder / "folds_images.csv", images_of(study, study.out_of_fold[key]))
    page.write(
        out,
        "folds.md",
        study=study,
        banner_facts=shared.banner(study),
        folded=found,
        nested=nested.facts_of(study),
        decided=decisions(study, found.rows),
        classes=classes(study, found.chosen),
        pictured=drawn is not None,
    )
    return [out, folder / "folds.csv", folder / "folds_images.csv", *([drawn] if drawn else [])]
