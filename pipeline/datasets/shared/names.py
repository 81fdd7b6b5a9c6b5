"""Names of classes: spellings of one name, names that the study's own columns and means have, and joining by hand."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pipeline.datasets import DatasetError
from pipeline.study.classes import RESERVED, fold

_MISSING = frozenset({"nan", "none", "null", "<na>", "nat"})
"""What programs write for a missing value; not ``NA``, which is a name as good as another for a patient."""


def joined(given: Iterable[str], label_map: Mapping[str, str], where: str, key: str) -> dict[str, str]:
    """Return the class that each spelling of a label stands for.

    Parameters
    ----------
    given : iterable of str
        Labels as they stand in the data set, repeated as often as they occur.
    label_map : mapping of str to str
        Label to class. A key that no label equals stands for those that differ from it in spelling only.
    where : str
        What holds the labels, for the message.
    key : str
        Key of `label_map` in params.yaml.

    Returns
    -------
    dict of str to str
        Every label of `given`; white space around a name is no part of it.

    Raises
    ------
    DatasetError
        If two labels differ only in case, white space or Unicode form and `label_map` does not join them, or a key of
        `label_map` is no label.
    """
    counts = Counter(given)
    known = {fold(label) for label in counts}
    for label in label_map:
        if fold(label) not in known:
            raise DatasetError(
                f"{key}: '{label}' is no label of {where}; it must be one of: {', '.join(sorted(map(repr, counts)))}"
            )
    folded = {fold(label): target for label, target in label_map.items()}
    classes = {label: label_map.get(label, folded.get(fold(label), label)) for label in counts}
    spellings: dict[str, dict[str, int]] = {}
    for label, name in classes.items():
        seen = spellings.setdefault(fold(name), {})
        seen[name] = seen.get(name, 0) + counts[label]
    for several in spellings.values():
        if len(several) > 1:
            # A target of the map, or else the most frequent spelling, is what the others are advised to become.
            best = max(several, key=lambda n: (n in label_map.values(), several[n], n == n.strip()))
            listed = ", ".join(f"{name!r} ({n})" for name, n in sorted(several.items(), key=lambda item: -item[1]))
            raise DatasetError(
                f"{where}: {listed} differ only in case, spaces or the form of a character; give them one spelling, or "
                f"join them in params.yaml with {key}: {{{_quoted(fold(best))}: {_quoted(best.strip())}}}"
            )
    return {label: name.strip() for label, name in classes.items()}


def _quoted(name: str) -> str:
    """Return `name` as a YAML scalar of one line."""
    return name if name.replace(" ", "").replace("_", "").isalpha() and fold(name) not in _WORDS else f"'{name}'"


_WORDS = _MISSING | {"yes", "no", "true", "false", "on", "off", "y", "n", "~"}
"""What YAML may read as something other than text."""


def check_classes(classes: Sequence[str], key: str) -> None:
    """Refuse names of classes that could not be told from other things in tables and on pages.

    Parameters
    ----------
    classes : sequence of str
        As every table of the study is to have them.
    key : str
        What names them in params.yaml, for the message.

    Raises
    ------
    DatasetError
        If a name is empty or has control characters, is `RESERVED`, or differs from another only in spelling.
    """
    for name in classes:
        if not name.strip() or name != name.strip() or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
            raise DatasetError(f"class {name!r}: a name must be one line of text without spaces around it ({key})")
        if fold(name) in RESERVED:
            raise DatasetError(
                f"class '{name}': tables of the study use this name for something else; give the class another one, "
                f"with {key}: {{{name}: another name}} for example. Reserved: {', '.join(sorted(RESERVED))}"
            )
    joined(classes, {}, "classes", key)


def stands_for_none(patient: str) -> bool:
    """Whether an id is empty or what programs write for a missing one."""
    return not patient.strip() or patient.strip().casefold() in _MISSING


def check_patient(patient: str, where: str) -> None:
    """Refuse ids that stand for a missing one: they would make one patient of all images without.

    Raises
    ------
    DatasetError
        Naming the place and the value.
    """
    if stands_for_none(patient):
        raise DatasetError(
            f"{where} is '{patient}', which programs write for a missing value; expected the id of a patient "
            "(an image of an unknown patient needs an id that no other has)"
        )
