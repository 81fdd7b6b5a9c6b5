"""Progress of a transfer on stderr."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from pipeline.datasets.shared.fetching.text import binary, say

_LINE_EVERY = 10.0
"""Seconds between two progress lines where stderr is no terminal."""


class Meter:
    """Progress of one file: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, name: str, shown: bool) -> None:
        self._name, self._shown = name, shown
        self._bar: tqdm | None = None
        self._done = self._total = 0
        self._last: float | None = None

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, offset: int, total: int | None) -> None:
        """Set the position after a connection was made."""
        self._done, self._total = offset, total or 0
        if not self._shown:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(desc=self._name, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr)
            self._bar.total = total
            self._bar.n = self._bar.initial = offset
            self._bar.refresh()
        elif self._last is None:
            self._last = time.monotonic()
            self._print()

    def advance(self, count: int) -> None:
        """Count bytes that were written."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._last is not None and time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            self._print()

    def say(self, text: str) -> None:
        """Print a line beside the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            say(text, self._shown)

    def _print(self) -> None:
        of = f" of {binary(self._total)}" if self._total else ""
        say(f"{self._name}: {binary(self._done)}{of}", True)
