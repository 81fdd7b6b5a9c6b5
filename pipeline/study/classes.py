"""Names of classes beside the names that tables and pages give to something else: they never mean both.

Tables of the study have rows for means over classes ("macro") beside those of the classes, and columns of their own
beside one per class. A class that is called like one of them (macro- and micro-adenoma) is told apart by `MARK`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MARK = " (class)"
"""What a class bears that is called as something else."""
SAMPLE_COLUMNS = [
    "row",
    "sample_id",
    "patient_id",
    "group_id",
    "duplicate_of",
    "width",
    "height",
    "official_split",
]
"""Leading columns of samples.csv; then one 0/1 column per class, then the data set's own columns."""
SPLIT_COLUMNS = ("part", "copies", "augmented")
"""Columns of split.csv, which is joined to samples.csv."""
RESERVED = frozenset(
    {
        *("macro", "micro", "overall", "none of these"),  # rows of tables beside the classes
        *SAMPLE_COLUMNS,
        *SPLIT_COLUMNS,
        *("age", "sex", "view", "study_date"),  # columns of samples.csv that subgroups and splits are made of
    }
)
"""Names, as `fold` has them, that tables of the study give to something other than a class."""


def fold(name: str) -> str:
    """Return `name` without what spelling may change: case, white space, and the form of its Unicode characters."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def told_apart(name: str) -> str:
    """Return what tables and pages call the class `name`: that, with `MARK` if it would be taken for something else.

    Two names never become one: what bears the mark already, and would be in `RESERVED` without, gets another.

    Examples
    --------
    >>> [told_apart(name) for name in ("Mass", "macro", "Macro (class)")]
    ['Mass', 'macro (class)', 'Macro (class) (class)']
    """
    plain = fold(name)
    while plain.endswith(MARK):
        plain = plain.removesuffix(MARK)
    return name + MARK if plain in RESERVED else name


def remarks(classes: Iterable[str]) -> list[str]:
    """Return one sentence for every class that is not called as the data call it."""
    return [
        f"class '{name.removesuffix(MARK)}' of the data is called '{name}', as tables and pages mean something else by "
        "its name"
        for name in classes
        if name.endswith(MARK) and told_apart(name.removesuffix(MARK)) == name
    ]
