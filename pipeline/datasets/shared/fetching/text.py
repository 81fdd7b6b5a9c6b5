"""How sizes, errors and lines of progress are written."""

from __future__ import annotations

import sys


def binary(count: int) -> str:
    """Write a number of bytes in the largest binary unit that it fills, with one decimal."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def short(error: object) -> str:
    """First line of an error's text, its class where there is none."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def tail(otherwise: str) -> str:
    """Write the sentence that ends a message, with what separates it; nothing where there is none."""
    return f". {otherwise}" if otherwise else ""


def say(text: str, shown: bool) -> None:
    """Print a line to stderr if it is to be shown."""
    if shown:
        print(text, file=sys.stderr, flush=True)
