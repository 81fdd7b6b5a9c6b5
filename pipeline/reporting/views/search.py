"""Facts of the page about a search of settings: its trials, what the best score is worth, whether it is used."""

from __future__ import annotations

import math
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pandas as pd
from pydantic import ValidationError

from pipeline.learning.weights import FILES
from pipeline.reporting import page
from pipeline.reporting.formats import DASH
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import shared
from pipeline.searching.about import settings_digest
from pipeline.searching.applying import as_yaml
from pipeline.searching.record import Measure, Record, Trial
from pipeline.settings import Params
from pipeline.settings.search import Search, as_word, held_values
from pipeline.study.files import write_csv

SHOWN = 10
"""Trials on the page; search.csv has all."""
DIGITS = 6


class Counted(NamedTuple):
    """How many trials there are, and what became of them."""

    made: int
    asked: int
    finished: int
    failed: int
    cached: int
    repeated: int
    collapsed: int


class Searched(NamedTuple):
    """A setting that was searched."""

    key: str
    range: str
    before: str
    best: str
    now: str


class Row(NamedTuple):
    """A trial of the table."""

    trial: Trial
    score: float
    values: list[str]
    notes: list[str]


class Luck(NamedTuple):
    """The best score and what is left of it; see `pipeline.uncertainty.optimism.Corrected`."""

    best: float
    corrected: Estimate
    optimism: float
    favoured: float
    of: dict[str, Any]


class Facts(NamedTuple):
    """What ``pages/search.md`` tells.

    Parameters
    ----------
    key : str
        The configuration that was searched.
    measure : Measure
        What trials are compared by.
    unit : str
        Of scores; empty where they have none.
    counted : Counted
        The trials.
    settings : list of Searched
        What was searched.
    rows : list of Row
        The best trials, the best first.
    best : Trial
        The trial of the best score.
    start : Trial or None
        The trial that had the values of params.yaml when the search began.
    luck : Luck or None
        None until the search is complete, or where nothing could be corrected.
    applied : bool
        Whether params.yaml has the values of the best trial.
    held : int or None
        Number of the trial whose values params.yaml has.
    same_settings : bool
        Whether all other settings of training are those of the trials.
    same_split : bool
        Whether the search chose by the validation set that the study has now.
    results : Results or None
        Of the configuration in the study.
    validation : Estimate
        Its score on validation, which has chosen: without an interval.
    """

    key: str
    measure: Measure
    unit: str
    counted: Counted
    settings: list[Searched]
    rows: list[Row]
    best: Trial
    start: Trial | None
    luck: Luck | None
    applied: bool
    held: int | None
    same_settings: bool
    same_split: bool
    results: Results | None
    validation: Estimate


def counted(record: Record) -> Counted:
    """Count the trials of a search."""
    finished = record.finished
    return Counted(
        len(record.trials),
        max(record.asked, len(record.trials)),
        len(finished),
        len(record.trials) - len(finished),
        sum(trial.from_cache and trial.same_as is None for trial in finished),
        sum(trial.same_as is not None for trial in finished),
        sum(trial.collapsed for trial in finished),
    )


def facts(study: StudyResults, record: Record, params: Params | None = None, split: str | None = None) -> Facts | None:
    """Return what a record says, beside the study; None where no trial has finished.

    Of a search within a fold, `params` are the sections as they are there, and `split` is the digest of its split.
    """
    params = study.params if params is None else params
    best = record.best
    if best is None:
        return None
    ranges = record.about["over"]
    now = held_values(_search(record), params)
    start = next((trial for trial in record.trials if trial.origin == "params.yaml"), None)
    settings = [
        Searched(
            key, _range(of), _shown(start.values[key]) if start else DASH, _shown(best.values[key]), _shown(now[key])
        )
        for key, of in ranges.items()
    ]
    ranked = record.ranked
    held = next((trial.number for trial in ranked if _same(trial.values, now)), None)
    rows = [
        Row(trial, score(trial), [_shown(trial.values[key]) for key in ranges], _notes(trial))
        for trial in ranked[:SHOWN]
    ]
    key, target = f"{record.about['model']}-{record.about['loss']}", study.dataset.target
    results = next((results for results in study.configurations if results.key == key), None)
    validation = Estimate() if results is None else results.get(record.measure.column, part="val")
    return Facts(
        key,
        record.measure,
        target.unit if target else "",
        counted(record),
        settings,
        rows,
        best,
        start,
        luck(record),
        held is not None and score(next(t for t in ranked if t.number == held)) == score(best),
        held,
        _same_settings(params, record),
        record.about.get("split") == (study.audit.get("sha256") if split is None else split),
        results,
        Estimate(validation.value, note=validation.note),
    )


def _search(record: Record) -> Search:
    about = record.about
    return Search(model=about["model"], loss=about["loss"], over=about["over"])


def _same_settings(params: Params, record: Record) -> bool:
    try:
        return settings_digest(params, _search(record)) == record.about["settings"]
    except (KeyError, ValidationError):  # a range that cannot be beside what params.yaml has now
        return False


def luck(record: Record) -> Luck | None:
    """Return what the best score is worth; None where that has not been computed, or could not be."""
    of = record.optimism
    if of.get("corrected") is None:
        return None
    low, high = (math.nan if of[key] is None else of[key] for key in ("low", "high"))
    corrected = Estimate(of["corrected"], low, high, note=of["refused"])
    best = record.best
    favoured = of["chosen"].get(str(best.number), 0.0) if best is not None else 0.0
    highest = of["highest" if record.measure.higher_is_better else "lowest"]
    return Luck(highest, corrected, of["optimism"], favoured, of)


def score(trial: Trial) -> float:
    """Return the score of a trial that has one."""
    assert trial.score is not None
    return trial.score


def _same(values: dict[str, Any], others: dict[str, Any]) -> bool:
    return all(_plain(key, value) == _plain(key, others[key]) for key, value in values.items())


def _plain(key: str, value: Any) -> str:
    """Write a value so that equal ones are equal: a whole number may have been read as either, a path is not shown."""
    if key.endswith(FILES) and value:
        return PurePath(value).name
    return as_word(float(value) if isinstance(value, int) and not isinstance(value, bool) else value)


def _shown(value: Any) -> str:
    return as_yaml(value) or "empty"


def _range(of: Any) -> str:
    if isinstance(of, list):
        return ", ".join(map(_shown, of))
    how = ", on a logarithmic scale" if of.get("log") else f", in steps of {as_yaml(of['step'])}" if of["step"] else ""
    return f"{as_yaml(of['low'])} to {as_yaml(of['high'])}{how}"


def _notes(trial: Trial) -> list[str]:
    notes = ["values before the search"] if trial.origin == "params.yaml" else []
    notes += [f"same as trial {trial.same_as}"] if trial.same_as is not None else []
    return notes + (["collapsed"] if trial.collapsed else [])


def table(record: Record) -> pd.DataFrame:
    """Return every trial as a row: number, values, state, score, score of each seed, and what became of it."""
    rows = [
        {
            "trial": trial.number,
            **{key: _shown(value) for key, value in trial.values.items()},
            "state": trial.state,
            "score": trial.score,
            **{f"score_seed{seed}": trial.by_seed.get(str(seed)) for seed in record.about["seeds"]},
            "origin": trial.origin,
            "from_cache": trial.from_cache,
            "same_as": trial.same_as,
            "collapsed": trial.collapsed,
            "seconds": trial.seconds,
            "reason": trial.reason,
        }
        for trial in record.trials
    ]
    return pd.DataFrame(rows).astype({"same_as": "Int64"}).round(DIGITS)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write search.md and search.csv into `folder`; nothing where no settings were searched, or within folds alone."""
    record = study.searched
    found = facts(study, record) if record is not None else None
    if record is None or found is None:
        return []
    out = folder / "search.md"
    write_csv(folder / "search.csv", table(record))
    page.write(
        out, "search.md", study=study, banner_facts=shared.banner(study), record=record, about=record.about, s=found
    )
    return [out, folder / "search.csv"]
