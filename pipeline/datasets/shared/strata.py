"""Strata of a target: ranges of equal share, by which images of a regression are divided and counted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

STRATA = 5


class Strata:
    """Ranges between the quantiles of a target; fewer where many images share a value.

    Parameters
    ----------
    values : sequence of float
        The target of every image of the data set.

    Examples
    --------
    >>> strata = Strata([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    >>> strata.names
    ('below 2.8', '2.8 to 4.6', '4.6 to 6.4', '6.4 to 8.2', '8.2 and above')
    >>> strata.of(2.8)
    '2.8 to 4.6'
    """

    def __init__(self, values: Sequence[float]) -> None:
        cuts = np.quantile(np.asarray(values, np.float64), np.arange(1, STRATA) / STRATA)
        digits = 3
        while len({f"{cut:.{digits}g}" for cut in cuts}) < len(set(cuts.tolist())):
            digits += 1
        # Cut where the names say.
        self._cuts = sorted({float(f"{cut:.{digits}g}") for cut in cuts} - {float(np.min(values))})
        named = [f"{cut:.{digits}g}" for cut in self._cuts]
        between = [f"{low} to {high}" for low, high in pairwise(named)]
        self.names = (f"below {named[0]}", *between, f"{named[-1]} and above") if named else ("all",)

    def of(self, value: float) -> str:
        """Return the name of the stratum of a value."""
        return self.names[int(np.searchsorted(self._cuts, value, side="right"))]
