"""Where the weights came from that training runs started from, with licence and checksum as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pipeline.learning.seen import UNKNOWN
from pipeline.reporting.results import StudyResults

UNKNOWN_LICENCE = "licence not recorded"
TRAINED_ON = "trained on"
_LABELS = {"sha256": "SHA-256"}


class InitialWeights(NamedTuple):
    """What `learning.networks.origin.origin` recorded.

    Parameters
    ----------
    package : str
        Name and version of the package that held them, empty if none did.
    hub : str
        Name or address under which timm fetched them, empty if it did not.
    facts : tuple of (str, str)
        Everything recorded, in its order: file, SHA-256, licence and what else is known.
    """

    package: str
    hub: str
    facts: tuple[tuple[str, str], ...]

    @property
    def in_words(self) -> str:
        """All of it in one line; empty for random weights. That no licence is recorded is said."""
        words = [f"{_LABELS.get(name, name)} {value}" for name, value in self.facts]
        if words and "licence" not in dict(self.facts):
            words.append(UNKNOWN_LICENCE)
        return ", ".join(words)

    @property
    def details(self) -> str:
        """What stands in parentheses behind package, hub or file in a sentence; names of the user's files do not."""
        left_out = {"package", "hub"} | (set() if self.package else {"file"})
        words = [f"{_LABELS.get(name, name)} {value}" for name, value in self.facts if name not in left_out]
        if "licence" not in dict(self.facts):
            words.append(UNKNOWN_LICENCE)
        return ", ".join(words)

    @property
    def untold(self) -> bool:
        """Whether test images may be among those that they were trained on: of a file that says nothing of them."""
        told = dict(self.facts)
        return "file" in told and not self.package and told.get(TRAINED_ON, UNKNOWN) == UNKNOWN


def of_run(run: Mapping[str, Any]) -> InitialWeights:
    """Read the record of a training run.

    Parameters
    ----------
    run : mapping
        Of run.json; ``weights`` is None for random ones.
    """
    recorded = {name: str(value) for name, value in (run.get("weights") or {}).items() if value is not None}
    return InitialWeights(recorded.get("package", ""), recorded.get("hub", ""), tuple(recorded.items()))


def untold(study: StudyResults) -> list[str]:
    """Return the models of a study that may have begun with weights that had learned from its test images."""
    runs = [(results.model, run) for results in study.configurations for run in results.runs]
    return list(dict.fromkeys(model for model, run in runs if of_run(run).untold))


def of_model(study: StudyResults, name: str) -> InitialWeights | None:
    """Return what all training runs of a model started from; None if none recorded it or they differ."""
    runs = [run for results in study.configurations if results.model == name for run in results.runs]
    found = {of_run(run) for run in runs if run.get("weights")}
    return found.pop() if len(found) == 1 else None
