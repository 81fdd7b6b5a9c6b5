"""Classes that are grades: in which order they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipeline.datasets import DatasetError


def in_order(found: Iterable[str], stated: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """Return the grades that occur, the lowest first: as stated, or by the numbers that their names begin with.

    Parameters
    ----------
    found : iterable of str
        Names of classes that occur.
    stated : sequence of str or None
        All grades in their order; None for that of numbers.
    where : str
        Key that states them, for messages.

    Raises
    ------
    DatasetError
        If some class is not among those stated, or none are stated and names do not begin with different numbers.

    Examples
    --------
    >>> in_order(["10 severe", "2 mild", "0"], None, "class_names")
    ('0', '2 mild', '10 severe')
    """
    names = sorted(set(found))
    if stated is not None:
        if missing := [name for name in names if name not in stated]:
            raise DatasetError(f"{where}: {list(stated)} lacks '{missing[0]}'; must list every grade, the lowest first")
        return tuple(stated)
    numbers = [re.match(r"[+-]?[0-9]+([.][0-9]+)?", name) for name in names]
    values = [float(match[0]) for match in numbers if match]
    if len(set(values)) < len(names):
        raise DatasetError(
            f"{where}: empty, and the classes {names} do not each begin with a number of their own; with task: ordinal "
            "it must list them, the lowest first"
        )
    return tuple(name for _, name in sorted(zip(values, names)))
