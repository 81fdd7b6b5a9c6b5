"""What takes the place of figures where nobody looks at them: half of what a report takes is to lay them out.

Tests that are marked ``pictures``, and those of the pages of single kinds of figures, have them drawn.
"""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BLANK = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a4944415478"
    "9c63f80f0001010100b138f6140000000049454e44ae426082"
)
"""A PNG of one pixel."""


class Nothing:
    """A figure, and everything in it: whatever is asked of it does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __getattr__(self, name: str) -> "Nothing":
        if name.startswith("__"):  # a protocol that it has not
            raise AttributeError(name)
        return self

    def __call__(self, *_: Any, **__: Any) -> "Nothing":
        return self

    def __getitem__(self, key: object) -> "Nothing":
        return self

    def __mul__(self, other: object) -> "Nothing":
        return self

    __rmul__ = __add__ = __radd__ = __sub__ = __rsub__ = __truediv__ = __mul__

    def __iter__(self) -> Any:
        return iter(())

    def subplots(self, rows: int = 1, columns: int = 1, squeeze: bool = True, **_: Any) -> Any:
        """Return as many of them as there would be axes."""
        panels = np.full((rows, columns), self, object)
        return (self if panels.size == 1 else panels.squeeze()) if squeeze else panels

    def get_xlim(self) -> tuple[float, float]:
        """Return limits to compute with."""
        return 0.0, 1.0

    get_ylim = get_xlim

    def get_legend_handles_labels(self) -> tuple[list[object], list[str]]:
        """Return no entries."""
        return [], []


def empty_figures(patch: pytest.MonkeyPatch, style: ModuleType) -> None:
    """Have all figures of this process be nothing, in files of one pixel."""
    patch.setattr(style, "png", lambda *_: BLANK)
    patch.setattr(style, "Figure", Nothing)
    patch.setattr(style, "FigureCanvasAgg", Nothing)


def empty_figures_in(folder: Path) -> None:
    """Have a copy of the project draw nothing, and write figures of one pixel."""
    with (folder / "pipeline/reporting/figures/style.py").open("a") as style:
        style.write(f"\n\n{inspect.getsource(Nothing)}\n\nFigure = FigureCanvasAgg = Nothing\n")
        style.write(f"\n\ndef png(*_: object) -> bytes:\n    return {BLANK!r}\n")
