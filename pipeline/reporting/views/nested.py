"""Facts about searches of settings within folds: what each found, and what they reach on images that none has seen."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting import page
from pipeline.reporting.results import FoldSearch, Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import search, shared
from pipeline.searching.record import Record
from pipeline.study.files import write_csv
from pipeline.variants.folds import FoldSpread, common_seeds, nadeau_bengio
from pipeline.variants.settings import as_variant, folds_of_study

SHOWN = 5
"""Trials of each fold on the page; search.csv has all."""


class FoldRow(NamedTuple):
    """The search within a fold.

    Parameters
    ----------
    number : int
        Of the fold.
    s : search.Facts
        What its record says, beside the settings that the fold has now.
    evaluated_before : bool
        Whether the fold had been tested, for this configuration, when a trial began.
    beside : list of str
        Settings of its own that this search has not found.
    tested : float
        Macro AUROC of the fold's tested images, mean over the study's seeds; NaN where the fold has no results.
    """

    number: int
    s: search.Facts
    evaluated_before: bool
    beside: list[str]
    tested: float

    @property
    def highest(self) -> float:
        """The best trial's score."""
        return search.score(self.s.best)

    @property
    def used(self) -> bool:
        """Whether the fold is trained as the best trial of its own search was."""
        return self.s.applied and self.s.same_settings and self.s.same_split


class Optimism(NamedTuple):
    """How much too high the best scores are, measured on images that the searches have not seen.

    Parameters
    ----------
    tested : Estimate
        Out-of-fold macro AUROC of the configuration.
    difference : Estimate
        Mean of the best scores less that; its interval is that of `tested`, the best scores being what they are.
    spread : FoldSpread
        The difference in each fold: mean, SD, and the interval for new training sets.
    foreseen : float
        Mean over folds of what the bootstrap within each validation set had estimated; NaN where one has not.
    """

    tested: Estimate
    difference: Estimate
    spread: FoldSpread
    foreseen: float


class Nested(NamedTuple):
    """What ``pages/nested.md`` tells, and ``pages/folds.md`` of it.

    Parameters
    ----------
    key : str
        The configuration that was searched.
    record : Record
        Of the first fold: what it is about, but for the fold, is the same in all.
    rows : list of FoldRow
        By fold.
    counted : search.Counted
        The trials of all folds.
    lacking : list of int
        Folds of the study without a finished trial.
    unused : list of int
        Folds that are not trained as the best trial of their own search was.
    mean : float
        Of the best scores.
    corrected : float
        Mean of the corrected ones; NaN where one is missing.
    optimism : Optimism or None
        None unless all folds that have results are trained as their own searches found, by AUROC.
    results : Results or None
        Of the configuration, out of fold.
    seeds : int
        Number of training seeds under which the folds were tested.
    """

    key: str
    record: Record
    rows: list[FoldRow]
    counted: search.Counted
    lacking: list[int]
    unused: list[int]
    mean: float
    corrected: float
    optimism: Optimism | None
    results: Results | None
    seeds: int

    @property
    def comparable(self) -> bool:
        """Whether scores are of the metric that the folds are tested by here."""
        return self.record.metric == "auroc"

    @property
    def heads(self) -> list[str]:
        """Heads of columns, one per fold."""
        return [f"Fold {row.number}" for row in self.rows]

    @property
    def of_all(self) -> bool:
        """Whether a setting was searched that other configurations have, too."""
        return any(setting.key.startswith("train.") for setting in self.rows[0].s.settings)

    @property
    def whole(self) -> bool:
        """Whether the out-of-fold numbers are those of search and training together."""
        return not self.lacking and not self.unused


def facts_of(study: StudyResults) -> Nested | None:
    """Return what the searches within folds have found; None where there is none."""
    first = next(iter(study.searches.values()), None)
    if first is None:
        return None
    record = first.record
    key = f"{record.about['model']}-{record.about['loss']}"
    scored = study.out_of_fold.get(key)
    tested = dict(zip([fold.number for fold in study.folds[key]], scored.folds.tolist())) if scored else {}
    rows = [
        row for number, of in study.searches.items() if (row := _row(study, number, of, tested.get(number, math.nan)))
    ]
    if not rows:
        return None
    numbers = [row.number for row in rows]
    lacking = [number for number in folds_of_study(study.params) if number not in numbers]
    unused = [row.number for row in rows if not row.used]
    highest = np.array([row.highest for row in rows])
    corrected = np.array([row.s.luck.corrected.value if row.s.luck else np.nan for row in rows])
    results = next((r for r in study.configurations if r.key == key), None)
    whole = None
    if results is not None and scored is not None:
        whole = Results(results.model, results.loss, (), scored.metrics.assign(part="test"))
    counted = search.Counted(*(sum(values) for values in zip(*(row.s.counted for row in rows))))
    found = Nested(
        key,
        record,
        rows,
        counted,
        lacking,
        unused,
        float(highest.mean()),
        float(corrected.mean()),
        None,
        whole,
        len(common_seeds(study.folds[key])) if scored else len(results.seeds) if results is not None else 0,
    )
    return found._replace(optimism=_optimism(study, found)) if found.whole and found.comparable else found


def _row(study: StudyResults, number: int, of: FoldSearch, tested: float) -> FoldRow | None:
    params = as_variant(study.params.model_copy(update={"search": None}), of.variant)
    found = search.facts(study, of.record, params, of.split)
    if found is None:
        return None
    own = {} if of.variant is None else study.params.variants[of.variant].found
    beside = [f"`{key}`" for key in own if key not in of.record.about["over"]]
    return FoldRow(number, found, of.record.evaluated_before, beside, tested)


def _optimism(study: StudyResults, nested: Nested) -> Optimism | None:
    """Compare the best scores with what was reached out of fold, over the folds that have results."""
    rows = [row for row in nested.rows if math.isfinite(row.tested)]
    if not rows or nested.results is None:
        return None
    tested = nested.results.get("auroc")
    mean = float(np.mean([row.highest for row in rows]))
    difference = Estimate(mean - tested.value, mean - tested.high, mean - tested.low, tested.n, note=tested.note)
    split, confidence = study.params.split, study.params.evaluate.confidence
    apart = np.array([row.highest - row.tested for row in rows])
    luck = [row.s.luck.optimism if row.s.luck else math.nan for row in rows]
    return Optimism(
        tested, difference, nadeau_bengio(apart, 1 / (split.folds - 1), confidence, (-1, 1)), float(np.mean(luck))
    )


def table(study: StudyResults) -> pd.DataFrame:
    """Return every trial of every fold as a row; see `pipeline.reporting.views.search.table`."""
    parts = [search.table(of.record).assign(fold=number) for number, of in study.searches.items()]
    whole = pd.concat(parts, ignore_index=True)
    return whole[["fold", *whole.columns.drop("fold")]]


def settings_of(nested: Nested) -> list[tuple[str, str, str, list[str]]]:
    """Return of each setting its key, its range, its value before, and that of the best trial of every fold."""
    first = nested.rows[0].s.settings
    return [
        (setting.key, setting.range, setting.before, [row.s.settings[place].best for row in nested.rows])
        for place, setting in enumerate(first)
    ]


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write search.md and search.csv into `folder`; nothing where no fold was searched."""
    found = facts_of(study) if study.searches else None
    if found is None:
        return []
    out = folder / "search.md"
    write_csv(folder / "search.csv", table(study))
    page.write(
        out,
        "nested.md",
        study=study,
        banner_facts=shared.banner(study),
        n=found,
        settings=settings_of(found),
        shown=SHOWN,
    )
    return [out, folder / "search.csv"]
