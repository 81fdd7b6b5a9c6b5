"""The number that a regression predicts of each image."""

from __future__ import annotations

from dataclasses import dataclass

COLUMN = "target"
"""Column of samples.csv with it, and its key in what a data set says of an image."""


@dataclass(frozen=True)
class Target:
    """What is predicted, and its unit ("" for none)."""

    name: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name
