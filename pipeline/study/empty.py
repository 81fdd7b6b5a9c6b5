"""Cells of a table that say that nothing is recorded."""

from __future__ import annotations

NOT_KNOWN = frozenset({"", "na", "n/a", "nan", "null", "unknown", "unk", "?"})
"""What is no answer in any column, in small letters: R writes ``NA``, pandas ``nan``, databases ``NULL``."""
EMPTY = NOT_KNOWN | {"none", "u", "-"}
"""Where a number, a sex or a view is asked for; of an implant ``none`` is an answer, and of a receptor ``-``."""


def is_empty(text: str, words: frozenset[str] = EMPTY) -> bool:
    """Whether a cell says that nothing is recorded, in one of `words`."""
    return text.strip().casefold() in words
