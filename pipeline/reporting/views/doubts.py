"""Facts that cast doubt on a study's numbers: shortcut probes, signs of failure, and leaks between parts."""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.checking.gates import TOO_FEW_TO_TELL
from pipeline.checking.probes import MARGIN, alarm
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.reporting.views.shared import Noted


class Probe(NamedTuple):
    """A shortcut probe beside a configuration."""

    name: str
    score: Estimate
    difference: float
    close: bool


class Probes(NamedTuple):
    """All shortcut probes beside a configuration; see ``pages/shared/doubts.md``.

    Parameters
    ----------
    key : str
        The configuration.
    reached : float
        Its test macro AUROC.
    rows : list of Probe
        Empty where no probe was scored.
    complete : bool
        Whether no number is missing.
    points : float
        Margin by which a configuration must exceed a probe, in points of AUROC.
    noted : list
        For `formats.reasons`.
    """

    key: str
    reached: float
    rows: list[Probe]
    complete: bool
    points: float
    noted: Noted

    @property
    def close(self) -> list[Probe]:
        """The probes that the configuration does not exceed by the margin."""
        return [probe for probe in self.rows if probe.close]


def probes(study: StudyResults, results: Results) -> Probes:
    """Set a configuration against what is predicted from far less than the image."""
    reached, rows = results.get("auroc"), []
    for probe in study.probes:
        score = probe.get("auroc")
        close = alarm(reached.value, score.value, probe.loss) is not None
        rows.append(Probe(probe.loss, score, reached.value - score.value, close))
    complete = all(e.exists for e in (reached, *(row.score for row in rows)))
    noted = [(row.name, "AUROC", row.score) for row in rows]
    return Probes(results.key, reached.value, rows, complete, 100 * MARGIN, noted)


class Sign(NamedTuple):
    """A sign that a training run or its labels are not what they should be."""

    run: str
    kind: str
    sentence: str


def signs(study: StudyResults) -> list[Sign]:
    """Return the signs of failure of all training runs."""
    return [sign for sign in _recorded(study) if sign.kind != _UNTOLD]


def untold(study: StudyResults) -> list[Sign]:
    """Return the training runs of which too few validation images tell whether they learned: no signs of failure."""
    return [sign for sign in _recorded(study) if sign.kind == _UNTOLD]


_UNTOLD = TOO_FEW_TO_TELL.replace("_", " ")


def _recorded(study: StudyResults) -> list[Sign]:
    if not study.has_signs:
        return []
    rows = study.signs[["cell", "gate", "sentence"]].astype("str").to_numpy().tolist()
    return [Sign(run, gate.replace("_", " "), sentence) for run, gate, sentence in rows]


def signs_of(study: StudyResults, results: Results) -> list[Sign]:
    """Return those of the training runs of one configuration, and those that name one of them."""
    mine = {f"{results.key} seed {seed}" for seed in results.seeds}
    return [sign for sign in signs(study) if sign.run in mine or _names(sign.sentence, mine)]


def untold_of(study: StudyResults, results: Results) -> list[Sign]:
    """Return those of `untold` that are about one configuration."""
    mine = {f"{results.key} seed {seed}" for seed in results.seeds}
    return [sign for sign in untold(study) if sign.run in mine]


def _names(sentence: str, runs: set[str]) -> bool:
    """Whether a sentence names one of `runs`: of two training runs with the same numbers it names the first."""
    return any(re.search(rf"{re.escape(run)}(?!\d)", sentence) for run in runs)


class Shared(NamedTuple):
    """What lies in two parts of the split although it must not."""

    what: str
    number: int


def shared_between_parts(study: StudyResults) -> list[Shared]:
    """Return what the audit of the split found in two parts; nothing for a bare table, which has no audit."""
    if not study.recorded:
        return []
    audited = _AUDITED if study.patients_known else _AUDITED[1:]
    found = [(what.removesuffix("s"), study.audit.get(f"{what}_in_two_parts")) for what in audited]
    return [Shared(what, number) for what, number in found if number]


_AUDITED = ("patients", "groups", "duplicates")
