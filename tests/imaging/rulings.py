"""Where decoders differ: who is right by the standard, and why."""

from __future__ import annotations

from typing import NamedTuple


class Ruling(NamedTuple):
    """Who is right about a file ("drawn": the values that were stored), and the reason."""

    right: str
    why: str


RULINGS: dict[str, Ruling] = {}
