"""The record of a search: every trial with its values and its score. It lies in git beside the reports."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.study.files import REPORTS, intact, write_json

RECORD = REPORTS / "search.json"
FOLDS = "folds"
"""Key of the file under which the records of all folds stand."""
State = Literal["finished", "failed"]


class Measure(NamedTuple):
    """A metric that trials may be compared by.

    Parameters
    ----------
    name : str
        In a sentence.
    column : str
        As in metrics.csv.
    higher_is_better : bool
    """

    name: str
    column: str
    higher_is_better: bool = True


MEASURES = {
    "auroc": Measure("macro AUROC", "auroc"),
    "macro_f1": Measure("macro F1", "f1"),
    "qwk": Measure("quadratic weighted kappa", "qwk"),
    "dice": Measure("Dice", "dice"),
    "mae": Measure("mean absolute error", "mae", higher_is_better=False),
    "rmse": Measure("root mean squared error", "rmse", higher_is_better=False),
}
"""By the values of ``train.select``."""


@dataclass(frozen=True)
class Trial:
    """One set of values.

    Parameters
    ----------
    number : int
        From 0 on.
    values : dict
        Key of params.yaml to its value.
    state : {"finished", "failed"}
    score : float, optional
        Mean over the seeds, None of a trial that failed.
    by_seed : dict
        Training seed to its score.
    origin : {"params.yaml", "sampler"}
        Whether the values are those that stood there when the search began.
    from_cache : bool
        Whether nothing was trained for it.
    same_as : int, optional
        Earlier trial with equal values.
    seconds : float
        Of its training runs, as they were recorded.
    collapsed : bool
        Whether a training run has learned nothing.
    reason : str
        Why it failed.
    """

    number: int
    values: dict[str, Any]
    state: State
    score: float | None = None
    by_seed: dict[str, float] = field(default_factory=dict)
    origin: Literal["params.yaml", "sampler"] = "sampler"
    from_cache: bool = False
    same_as: int | None = None
    seconds: float = 0.0
    collapsed: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Record:
    """A search.

    Parameters
    ----------
    about : dict
        What decides its trials, see `pipeline.searching.about.about_search`: dataset, model, loss, seeds, over, seed,
        batch, what they are compared by; digests of the settings, the weights, the data and the split; of a search
        within a fold its number, fold.
    versions : dict
        Of the sampler's package.
    trials : list of Trial
    asked : int
        How many there are to be.
    evaluated_before : bool
        Whether the study's test part had been evaluated, for this configuration, when a trial began.
    optimism : dict
        See `pipeline.searching.scores.optimism_of`; empty until the search is complete.
    """

    about: dict[str, Any]
    versions: dict[str, str]
    trials: list[Trial] = field(default_factory=list)
    asked: int = 0
    evaluated_before: bool = False
    optimism: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> list[Trial]:
        """The trials that have a score."""
        return [trial for trial in self.trials if trial.score is not None]

    @property
    def metric(self) -> str:
        """What trials are compared by, as ``train.select`` calls it."""
        return str(self.about.get("metric", "auroc"))

    @property
    def measure(self) -> Measure:
        """The same with its name and direction."""
        return MEASURES[self.metric]

    @property
    def ranked(self) -> list[Trial]:
        """The trials that have a score, the best first, of equals the earliest."""
        sign = -1 if self.measure.higher_is_better else 1
        return sorted(self.finished, key=lambda trial: (sign * (trial.score or 0.0), trial.number))

    @property
    def best(self) -> Trial | None:
        """The trial of the best score, the earliest of equals."""
        return next(iter(self.ranked), None)

    @property
    def digest(self) -> str:
        """Of what the search is about."""
        return digest(self.about)

    @property
    def fold(self) -> int | None:
        """Number of the fold within which it was made; None of a study without folds."""
        return self.about.get("fold")


def digest(content: Any) -> str:
    """Digest what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_record(path: Path = RECORD, fold: int | None = None) -> Record | None:
    """Read the record of a search, or of the one within a fold; None where there is none.

    Raises
    ------
    ArtifactError
        If the file is damaged.
    """
    return read_records(path).get(fold)


def read_records(path: Path = RECORD) -> dict[int | None, Record]:
    """Read all records of a file: by the numbers of folds, or under None that of a study without folds.

    Raises
    ------
    ArtifactError
        If the file is damaged.
    """
    if not path.exists():
        return {}
    with intact(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        records = [_record_of(each) for each in content.get(FOLDS, [content])]
        return {record.fold: record for record in records}


def _record_of(content: dict[str, Any]) -> Record:
    trials = [Trial(**trial) for trial in content["trials"]]
    return Record(**{key: of for key, of in content.items() if key not in ("trials", "digest")}, trials=trials)


def write_record(record: Record, path: Path = RECORD) -> None:
    """Write a record, complete or not at all; that of a fold beside those of the others."""
    others = read_records(path) if record.fold is not None else {}
    write_records({**others, record.fold: record}, path)


def write_records(records: Mapping[int | None, Record], path: Path = RECORD) -> None:
    """Write the records of all folds in their order, or the one of a study without folds."""
    contents = [
        {"digest": record.digest, **asdict(record), "trials": [asdict(trial) for trial in record.trials]}
        for _, record in sorted(records.items(), key=lambda item: item[0] or 0)
    ]
    write_json(path, contents[0] if set(records) == {None} else {FOLDS: contents})


def with_trials(record: Record, trials: Sequence[Trial]) -> list[Trial]:
    """Return the record's trials and these, in the order of their numbers."""
    new = {trial.number: trial for trial in (*record.trials, *trials)}
    return [new[number] for number in sorted(new)]
