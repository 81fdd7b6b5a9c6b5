"""Simulate studies whose true differences are known: of the claims said to be false with a probability, so many are.

``python -m benchmarks.claims [--repetitions 2000]`` prints the table of docs/statistics.md (about five minutes on one
core). Two configurations are trained under some seeds and compared on some patients, by `comparisons.compare`, and
"the one with the higher AUROC is better" is claimed every time. True differences are normal around 0 with a standard
deviation of 0.5, 1, 2 or 4 standard errors of the comparison, which the simulation knows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from scipy.stats import norm

from benchmarks.shared.simulated import OWN, study
from pipeline.uncertainty.claims import false_claim
from pipeline.uncertainty.comparisons import compare

AUROC = 0.82
SEED_SD, OWN_SD = 0.05, 0.4
"""As in `coverage.comparison_errors`: of a seed's signal, and of what one network alone makes of a patient."""
SPREADS = (0.5, 1.0, 2.0, 4.0)
SIZES = ((98, 3), (150, 1), (150, 3), (600, 3), (600, 5))
BINS = ((0.0, 0.05), (0.05, 0.15), (0.15, 0.3), (0.3, 0.5))
BLOCK = 100
DRAWS = 300


def compared(
    rng: np.random.Generator, patients: int, seeds: int, sd: float, repetitions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return p [R], and the true and the observed differences [R] of the AUROC, of `repetitions` studies.

    Parameters
    ----------
    rng : Generator
        Draws everything.
    patients, seeds : int
        Of a study.
    sd : float
        Standard deviation of the true differences, in AUROC.
    repetitions : int
        A multiple of `BLOCK`.
    """
    found = []
    # What the AUROC is expected to be, from the mean of the signal: a network's own noise and its seed dampen it.
    # With one seed the claim is about the two networks, of which no seed makes anything else.
    of_seeds = SEED_SD if seeds > 1 else 0.0
    damped = np.sqrt((2 * (1 + OWN**2 + OWN_SD**2) + of_seeds**2) / (2 * (1 + OWN**2)))
    for _ in range(0, repetitions, BLOCK):
        difference = sd * rng.normal(size=BLOCK)
        wanted = np.clip([AUROC - difference / 2, AUROC + difference / 2], 0.51, 0.995)
        means = norm.ppf(wanted) * np.sqrt(2 * (1 + OWN**2)) * damped
        signals = np.repeat(means, seeds, axis=0) + of_seeds * rng.normal(size=(2 * seeds, BLOCK))
        truth = wanted[1] - wanted[0]
        targets, logits, of = study(rng, BLOCK, patients // 3, patients - patients // 3, 1, signals, OWN_SD)
        models = {"b": logits[seeds:], "a": logits[:seeds]}
        names = [str(r) for r in range(BLOCK)]
        table = compare("multilabel", models, targets, of.astype(str), draws=DRAWS, classes=names)
        rows = table[table["class"] != "macro"]
        found.append((rows["p"].to_numpy(), truth, rows["difference"].to_numpy()))
    p, truths, seen = (np.concatenate(part) for part in zip(*found))
    return p, truths, seen


def calibration(repetitions: int) -> Iterator[str]:
    """Set what is said beside what is so."""
    heads = " | ".join(f"said {low:g} to {high:g}: mean, false" for low, high in BINS)
    columns = "patients | seeds of each | spread of true differences | claims false | said, sceptical | said, flat"
    yield f"| {columns} | {heads} |"
    yield "| --- " * (6 + len(BINS)) + "|"
    for patients, seeds in SIZES:
        rng = np.random.default_rng([patients, seeds])
        _, _, seen = compared(rng, patients, seeds, 0.0, 1000)
        error = float(np.nanstd(seen))
        every = []
        for spread in SPREADS:
            p, truth, seen = compared(rng, patients, seeds, spread * error, repetitions)
            kept = np.isfinite(p)
            said = false_claim(p[kept])
            every.append((said.sceptical, said.flat, (np.sign(truth) != np.sign(seen))[kept]))
            yield _row(patients, seeds, f"{spread:g} errors", *every[-1])
        yield _row(patients, seeds, "all four", *(np.concatenate(part) for part in zip(*every)))


def _row(patients: int, seeds: int, spread: str, sceptical: np.ndarray, flat: np.ndarray, false: np.ndarray) -> str:
    cells = []
    for low, high in BINS:
        here = (sceptical > low) & (sceptical <= high)
        cells.append(f"{sceptical[here].mean():.3f}, {false[here].mean():.3f}" if here.sum() >= 50 else "—")
    return (
        f"| {patients} | {seeds} | {spread} | {false.mean():.3f} | {sceptical.mean():.3f} | {flat.mean():.3f} | "
        + " | ".join(cells)
        + " |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000, help="studies per row; default: %(default)s")
    options = parser.parse_args()
    if options.repetitions % BLOCK or options.repetitions < BLOCK:
        parser.error(f"--repetitions {options.repetitions}: must be a multiple of {BLOCK}")
    print(
        f"{options.repetitions} studies a row; Monte-Carlo error of a share of .10 of them: "
        f"± {1.96 * np.sqrt(0.09 / options.repetitions):.3f}\n"
    )
    for line in calibration(options.repetitions):
        print(line, flush=True)


if __name__ == "__main__":
    main()
