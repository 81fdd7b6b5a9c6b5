"""English from numbers: lists, plurals and signs that are right for 0, 1, 2 and n items."""

from __future__ import annotations

import re
from collections.abc import Iterable

_IRREGULAR = {"class": "classes", "epoch": "epochs", "is": "are", "has": "have", "this": "these", "was": "were"}


def plural(word: str, number: int) -> str:
    """Inflect the last word of `word` for `number` items.

    Parameters
    ----------
    word : str
        Singular noun, or one of the verbs is, has, was.
    number : int
        How many; only 1 takes the singular.
    """
    if number == 1:
        return word
    *lead, last = word.split(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    else:
        last += "s"
    return " ".join([*lead, last])


def count(word: str, number: int) -> str:
    """Write `number` with thousands separated, and `word` in the form that goes with it."""
    return f"{number:,} {plural(word, number)}" if number else f"no {plural(word, 0)}"


def listing(items: Iterable[object], last: str = "and") -> str:
    """Join items as in a sentence: ``a``, ``a and b``, ``a, b, and c``; the empty string for none."""
    words = [str(item) for item in items]
    if len(words) <= 2:
        return f" {last} ".join(words)
    return f"{', '.join(words[:-1])}, {last} {words[-1]}"


def seeds(numbers: Iterable[int]) -> str:
    """Name training seeds: ``seed 12``, ``seeds 12 and 22``."""
    numbers = list(numbers)
    return f"{plural('seed', len(numbers))} {listing(numbers)}"


def readable(name: str) -> str:
    """Return a class name as it stands in a sentence."""
    return re.sub(r"(?<=[^\W_])_(?=[^\W_])", " ", name)


def signed(value: float, digits: int = 3) -> str:
    """Write a difference with its sign; zero at the printed precision carries none."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(f"{abs(value):.{digits}f}") == 0 else text


def capital(sentence: str) -> str:
    """Return `sentence` with its first letter in upper case, the rest as it is."""
    return sentence[:1].upper() + sentence[1:]
