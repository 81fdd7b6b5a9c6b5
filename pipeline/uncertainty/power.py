"""How many training seeds it takes to see a difference between two configurations.

Each configuration is trained under seeds of its own and scored on the same images; the standard deviation is that over
seeds. What the sample of patients adds to the uncertainty does not shrink with seeds and is not counted here: a
difference seen with enough seeds is one on this test part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from pipeline.uncertainty import student

COLUMNS = ["delta", "sd", "seeds_normal", "seeds_exact", "power_exact"]


def seeds_needed_normal(sd: float, delta: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Seeds per configuration by the usual formula, which takes the standard deviation for known.

    Parameters
    ----------
    sd : float
        Standard deviation over seeds, in units of the metric, the same for both configurations; at least 0.
    delta : float
        Difference to be seen, not 0.
    power : float
        Probability of seeing it, in (alpha, 1).
    alpha : float
        Two-sided level, in (0, 1).

    Returns
    -------
    int
        2 (z(1 - alpha / 2) + z(power))^2 (sd / delta)^2, rounded up: 15.7 (sd / delta)^2 with the default values.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    For few seeds too low, as the standard deviation must then be estimated: `seeds_needed` is exact.
    """
    _check(sd, delta, alpha)
    if not alpha < power < 1:
        raise ValueError(f"power {power} must be between alpha ({alpha}) and 1")
    return max(1, math.ceil(2 * (ndtri(1 - alpha / 2) + ndtri(power)) ** 2 * (sd / delta) ** 2))


def power_of(seeds: int, sd: float, delta: float, alpha: float = 0.05) -> float:
    """Probability that a two-sample t-test of two configurations finds their difference.

    Parameters
    ----------
    seeds : int
        Of each configuration, at least 2.
    sd, delta, alpha : float
        As for `seeds_needed_normal`.

    Returns
    -------
    float
        In [alpha, 1], from the noncentral t distribution with 2 (seeds - 1) degrees of freedom.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Cohen, "Statistical power analysis for the behavioral sciences", 2nd ed., 1988, chapter 2.
    """
    from scipy.stats import nct  # not at the top: scipy.stats takes half a second

    _check(sd, delta, alpha)
    if seeds < 2:
        raise ValueError(f"seeds {seeds}; a t-test needs 2 at least")
    if sd == 0:
        return 1.0
    freedom, shift = 2 * (seeds - 1), abs(delta) / sd * math.sqrt(seeds / 2)
    critical = student.quantile(1 - alpha / 2, freedom)
    if shift > critical + 38:  # within 1e-300 of 1; the distribution's series fails out there
        return 1.0
    return float(nct.sf(critical, freedom, shift) + nct.cdf(-critical, freedom, shift))


def seeds_needed(sd: float, delta: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Fewest seeds per configuration with which a two-sample t-test has the power asked for.

    Parameters
    ----------
    sd, delta, power, alpha : float
        As for `seeds_needed_normal`.

    Returns
    -------
    int
        At least 2.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    low = max(2, seeds_needed_normal(sd, delta, power, alpha))
    # The exact number lies one or two above the formula's; below it only at powers where the t-test gains from its
    # second tail, which the formula leaves out.
    while low > 2 and power_of(low - 1, sd, delta, alpha) >= power:
        low -= 1
    while power_of(low, sd, delta, alpha) < power:
        low += 1
    return low


def seeds_table(sd: float, deltas: Sequence[float], power: float = 0.8, alpha: float = 0.05) -> pd.DataFrame:
    """Tabulate the seeds needed for several differences.

    Parameters
    ----------
    sd : float
        Standard deviation over seeds, in units of the metric; NaN (a single seed) leaves the numbers empty.
    deltas : sequence of float
        Differences to be seen.
    power, alpha : float
        As for `seeds_needed_normal`.

    Returns
    -------
    DataFrame
        `COLUMNS`, one row per difference; seeds as Int64, of each of the two configurations. power_exact: what
        seeds_exact gives.
    """
    rows = []
    for delta in deltas:
        row = {"delta": delta, "sd": sd, "seeds_normal": pd.NA, "seeds_exact": pd.NA, "power_exact": np.nan}
        if not np.isnan(sd):
            exact = seeds_needed(sd, delta, power, alpha)
            row |= {
                "seeds_normal": seeds_needed_normal(sd, delta, power, alpha),
                "seeds_exact": exact,
                "power_exact": power_of(exact, sd, delta, alpha),
            }
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).astype({"seeds_normal": "Int64", "seeds_exact": "Int64"})


def _check(sd: float, delta: float, alpha: float) -> None:
    """Refuse arguments out of range."""
    if not (sd >= 0 and math.isfinite(sd)) or delta == 0 or not math.isfinite(delta) or not 0 < alpha < 1:
        raise ValueError(f"sd {sd}, delta {delta}, alpha {alpha}: sd must be at least 0, delta not 0, alpha in (0, 1)")
