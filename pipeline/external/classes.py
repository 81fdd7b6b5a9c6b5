"""Which class of an external set is which class of the study, and what becomes of images that have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipeline.datasets import Task

NO_FINDING = "No Finding"
"""Stands in a mapping for the images without a label, of a multi-label set that has no class of this name."""
Unmapped = Literal["exclude", "negative"]
NO_CLASS = "none of its labels is mapped to a class of the study"
SEVERAL = "its labels are mapped to several classes of the study"
UNMAPPED = "it has a label that is not mapped to a class of the study"
NOT_KNOWN = "a label that its class hangs on is not known"


class Mapped(NamedTuple):
    """What `ClassMap.apply` returns.

    Parameters
    ----------
    targets : uint8 [N, K]
        In the study's classes; what is not in `ClassMap.shared` is 0 and means nothing for a multi-label study.
        Float32 with NaN where labels of a multi-label study are not known.
    reasons : list of str [N]
        Why an image is not used; "" where it is.
    """

    targets: np.ndarray
    reasons: list[str]


@dataclass(frozen=True)
class ClassMap:
    """How the labels of an external set are read.

    A single-label study uses the images whose labels are mapped to exactly one of its classes; other labels of such an
    image, of a multi-label set, are left aside.

    A multi-label study knows, of each image, the classes to which any of theirs is mapped, and nothing of the others.
    An image of a multi-label set is negative for each mapped class whose labels it lacks, whatever else it has. Of a
    single-label set images of a class that is not mapped are excluded, as nobody has said whether they show a mapped
    class, too; ``unmapped: negative`` says that they do not.

    Parameters
    ----------
    task, theirs_task : {"multilabel", "multiclass"}
        Of the study and of the set.
    ours, theirs : tuple of str
        Classes of the study and of the set, in their order.
    pairs : mapping of str to str or None
        Theirs to ours, see `pipeline.external.settings.ExternalSet`.
    unmapped : {"exclude", "negative"}
        What becomes of images of a class that is not mapped.
    """

    task: Task
    theirs_task: Task
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    pairs: Mapping[str, str | None]
    unmapped: Unmapped

    @classmethod
    def of(
        cls,
        task: Task,
        ours: Sequence[str],
        theirs_task: Task,
        theirs: Sequence[str],
        pairs: Mapping[str, str | None],
        unmapped: Unmapped | None = None,
    ) -> ClassMap:
        """Fill in what the settings leave open: equal names are the same class, and the rule for the others."""
        if not pairs:
            pairs = {name: name for name in theirs if name in ours}
        both = task == theirs_task == "multilabel"
        return cls(
            task, theirs_task, tuple(ours), tuple(theirs), pairs, unmapped or ("negative" if both else "exclude")
        )

    @property
    def shared(self) -> tuple[str, ...]:
        """Classes of the study to which any of theirs is mapped, in the study's order."""
        return tuple(name for name in self.ours if name in self.pairs.values())

    @property
    def only_here(self) -> tuple[str, ...]:
        """Classes of the study that the set does not have."""
        return tuple(name for name in self.ours if name not in self.shared)

    @property
    def only_there(self) -> tuple[str, ...]:
        """Classes of the set that are not mapped."""
        return tuple(name for name in self.theirs if name not in self.pairs)

    def theirs_of(self, name: str) -> list[str]:
        """Return which of theirs are mapped to class `name` of the study."""
        return [their for their, ours in self.pairs.items() if ours == name]

    def apply(self, labels: np.ndarray) -> Mapped:
        """Read labels.

        Parameters
        ----------
        labels : 0/1 [N, T]
            Of the set, in its classes; NaN where a label is not known. One of the study's classes is known to be absent
            where all that are mapped to it are.
        """
        place = {name: k for k, name in enumerate(self.theirs)}
        labels, unknown = np.asarray(labels) == 1, np.isnan(np.asarray(labels, dtype=np.float64))
        targets = np.zeros((len(labels), len(self.ours)), np.uint8)
        open_labels = np.zeros(targets.shape, bool)
        listed = np.zeros(len(labels), bool)
        hidden = unknown.any(axis=1) & ~labels.any(axis=1)  # whether it has any class is not known
        for their, ours in self.pairs.items():
            has = labels[:, place[their]] if their in place else ~labels.any(axis=1) & ~hidden
            listed |= has
            if ours is not None:
                targets[has, self.ours.index(ours)] = 1
                open_labels[:, self.ours.index(ours)] |= unknown[:, place[their]] if their in place else hidden
        open_labels &= targets == 0
        if self.task == "multiclass":
            number = [int(n) for n in targets.sum(axis=1)]
            if open_labels.any():
                undecided = np.asarray(open_labels.any(axis=1))
                texts = [NO_CLASS if n == 0 else SEVERAL if n > 1 else "" for n in number]
                return Mapped(targets, [NOT_KNOWN if out else text for text, out in zip(texts, undecided)])
            return Mapped(targets, [NO_CLASS if n == 0 else SEVERAL if n > 1 else "" for n in number])
        if open_labels.any():
            targets = np.where(open_labels, np.float32(np.nan), targets.astype(np.float32))
        if self.unmapped == "negative":
            return Mapped(targets, [""] * len(labels))
        other = labels[:, [place[name] for name in self.only_there]].any(axis=1)
        lacking = other if self.theirs_task == "multilabel" else ~listed
        return Mapped(targets, [UNMAPPED if out else "" for out in np.asarray(lacking, dtype=bool)])


def mapping_problems(
    where: str,
    task: Task,
    ours: Sequence[str] | None,
    theirs_task: Task,
    theirs: Sequence[str] | None,
    pairs: Mapping[str, str | None],
    unmapped: Unmapped | None,
) -> list[str]:
    """Name what cannot be in a mapping, one line each.

    Parameters
    ----------
    where : str
        Key path of the set, as ``external.nih``.
    task, theirs_task, pairs, unmapped
        As for `ClassMap.of`.
    ours, theirs : sequence of str or None
        As for `ClassMap.of`; None where they are not known yet.
    """
    lines = []
    if task == "multiclass" and unmapped == "negative":
        lines.append(
            f"{where}.unmapped: 'negative' says that an image has none of the study's classes, and the study is "
            "single-label; must be exclude"
        )
    for their, our in pairs.items():
        if our is None and task == "multiclass":
            lines.append(
                f"{where}.classes: '{their}' stands for none of the study's classes, and the study is single-label; "
                "must name a class, or be left out"
            )
        if ours is not None and our is not None and our not in ours:
            lines.append(f"{where}.classes: '{their}: {our}': '{our}' is no class of the study; {_one_of(ours)}")
    if theirs is not None:
        lines += unknown_classes(where, theirs_task, theirs, pairs)
    if pairs and not any(pairs.values()):
        lines.append(f"{where}.classes: names no class of the study; must map at least one class of the set to one")
    if not pairs and ours is not None and theirs is not None and not set(ours) & set(theirs):
        lines.append(
            f"{where}.classes: missing, and no class of the set ({', '.join(theirs)}) has the name of one of the study "
            f"({', '.join(ours)}); must map theirs to ours"
        )
    return lines


def unknown_classes(where: str, theirs_task: Task, theirs: Sequence[str], pairs: Mapping[str, str | None]) -> list[str]:
    """Name what is mapped and is no class of the set, one line each; arguments as for `mapping_problems`."""
    known = {*theirs, NO_FINDING} if theirs_task == "multilabel" else set(theirs)
    return [
        f"{where}.classes: '{their}' is no class of the set; {_one_of(theirs)}" for their in pairs if their not in known
    ]


def _one_of(names: Sequence[str]) -> str:
    return f"must be one of {', '.join(names)}"
