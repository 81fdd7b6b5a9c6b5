"""Simulate studies whose truth is known: coverage of intervals, false differences, true ones that are found.

``python -m benchmarks.coverage [--repetitions 1000] [PART ...]`` simulates what ``--results`` does not hold yet and
prints the tables; ``--write`` puts them into docs/statistics.md. It can be stopped and started again.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from benchmarks.shared import simulated
from benchmarks.shared.simulated import KEYS, SINGLE_LABEL, Shares

POSITIVES, IMAGES, AUROCS = (5, 10, 30, 100), (1, 4), (0.7, 0.9, 0.99)
SEEDS = (1, 2, 3, 5)
PAGE = Path("docs/statistics.md")
START, END = "<!-- simulated: python -m benchmarks.coverage --write -->", "<!-- end of what is simulated -->"
COLUMNS = ["part", "row", "block", "name", "held", "given", "repetitions"]
TAILS = {
    "14, even": [40] * 14,
    "14, tail": [120, 90, 70, 50, 40, 30, 25, 20, 16, 14, 12, 11, 8, 5],
    "6, half below 10": [80, 40, 20, 8, 6, 4],
    "20, long tail": [60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1],
}
SHARES = {"3": (0.5, 0.3, 0.2), "7, tail": (0.4, 0.2, 0.15, 0.1, 0.08, 0.04, 0.03)}


@dataclass(frozen=True)
class Part:
    """A table: its title, what stands above it, the names of its columns, and a simulation for each row.

    Parameters
    ----------
    rows : mapping of tuple of str to callable
        Cells that name the row, and (rng, n) to `Shares`.
    block : int
        Repetitions that are simulated, and noted, at once.
    """

    title: str
    text: str
    head: Sequence[str]
    names: Mapping[str, str]
    rows: Mapping[tuple[str, ...], Callable[[np.random.Generator, int], Shares]] = field(repr=False)
    block: int = 100
    missing: str = ""


def _named(*keys: str) -> dict[str, str]:
    names = simulated.metric_names()
    return {key: names[key] for key in keys}


PARTS = {
    "intervals": Part(
        "Intervals of one class, of one trained network",
        "Share of simulated studies whose 95 % interval holds the truth, of those that have one. Three patients "
        "without the class for each with it, at least 20. Below 10 patients with it there is no interval, so that "
        "rows of 5 are of few studies or none.",
        ("positive patients, mean", "images each", "AUROC"),
        _named(*KEYS),
        {
            (str(p), str(i), str(a)): partial(simulated.of_one_class, positives=p, images=i, auroc=a)
            for p in POSITIVES
            for i in IMAGES
            for a in AUROCS
        },
        missing="no interval",
    ),
    "total": Part(
        "The interval of a mean over seeds",
        "40 patients with the class on average, 80 without, two images each; networks differ by what a seed makes of a "
        "patient, too. The spread is that of the signal; 0.15 is an SD of 0.03 of the AUROC, 0.4 one of 0.08.",
        ("seeds", "spread of the seeds"),
        {"total interval": "total interval"},
        {
            (str(s), str(sd)): partial(simulated.of_seeds, seeds=s, seed_sd=sd)
            for s in SEEDS[1:]
            for sd in (0.0, 0.15, 0.4)
        },
    ),
    "decisions": Part(
        "The interval of a mean over seeds of decisions",
        "Sensitivity, one image a patient, 20 patients without the class. Seeds have an SD of 0.3 of the signal, and "
        "each network makes something of its own of a patient. Beside Wilson's interval, the one of the reports, that "
        "of the log-odds.",
        ("seeds", "patients with the class, mean", "true share"),
        {"sensitivity": "Wilson's", "log-odds": "log-odds"},
        {
            (str(s), str(p), str(share)): partial(simulated.of_decisions, seeds=s, positives=p, share=share)
            for s in SEEDS[1:]
            for p in (15, 40, 100)
            for share in (0.8, 0.95, 0.99)
        },
        missing="no interval",
    ),
    "macro": Part(
        "Means over the classes of a multi-label study",
        "300 patients; AUROCs of the classes from 0.7 to 0.95, the rarest class the highest. A mean has no interval "
        "where more than half of its classes have none.",
        ("classes", "positive patients of each, mean"),
        _named("auroc", "average_precision", "sensitivity", "f1"),
        {
            (name, ", ".join(map(str, counts))): partial(simulated.of_means, counts=counts)
            for name, counts in TAILS.items()
        },
        block=20,
        missing="no interval",
    ),
    "single-label": Part(
        "Single-label studies",
        "AUROC and F1 are means over the classes.",
        ("classes", "patients", "images each", "signal"),
        _named(*SINGLE_LABEL),
        {
            (name, str(p), str(i), str(s)): partial(
                simulated.of_single_label, patients=p, images=i, shares=shares, signal=s
            )
            for name, shares in SHARES.items()
            for p in (100, 400)
            for i in IMAGES
            for s in (1.0, 2.5)
        },
        block=20,
        missing="no interval",
    ),
    "configurations": Part(
        "Comparisons of two configurations",
        "One image per patient, a third with the class; the seeds of a configuration have an SD of about 0.01 AUROC, "
        "and each network makes something of its own of a patient. The earlier test counts the interaction of seed and "
        "patient twice, once in the variance over seeds and once in the bootstrap. With one seed of each there is no "
        "test of configurations, only one of two trained networks: the report says so, and the row shows why.",
        ("patients", "seeds of each", "true difference"),
        {"found": "found", "found by the earlier test": "found by the earlier test"},
        {
            (str(p), str(s), str(gain)): partial(simulated.of_configurations, patients=p, seeds=s, gain=gain)
            for p in (150, 600)
            for s in SEEDS
            for gain in (0.0, 0.04)
        },
    ),
    "networks": Part(
        "Trained networks and ensembles against a configuration",
        "No true difference, and no spread over seeds: what an ensemble, or a single network, is compared with.",
        ("patients", "seeds of the other side"),
        {"found": "false differences"},
        {(str(p), str(s)): partial(simulated.of_networks, patients=p, seeds=s) for p in (150, 600) for s in SEEDS},
    ),
    "assumed": Part(
        "A configuration trained once, its spread over seeds being stated",
        "No true difference between the configurations; `evaluate.seed_sd` is the true SD.",
        ("patients", "seeds of the other side"),
        {"found": "false differences"},
        {(str(p), str(s)): partial(simulated.of_assumed, patients=p, seeds=s) for p in (150, 600) for s in SEEDS},
    ),
    "equivalence": Part(
        "Equivalence",
        'The true difference is the margin, 0.05, so that every "equivalent" is false. Where the standard error is not '
        "small beside the margin, equivalence can hardly be shown, and is hardly ever shown falsely.",
        ("patients", "seeds of each"),
        {"found": "false equivalence"},
        {(str(p), str(s)): partial(simulated.at_the_margin, patients=p, seeds=s) for p in (600, 1500) for s in SEEDS},
    ),
    "families": Part(
        "Families of comparisons",
        "Configurations of 3 seeds that are all alike; 150 patients, 200 draws. Share of studies in which any pair is "
        "called different.",
        ("configurations", "pairs"),
        {"any, after Holm": "any, after Holm", "any, without": "any, without a correction"},
        {
            (str(n), str(len(list(combinations(range(n), 2))))): partial(
                simulated.of_family, patients=150, configurations=n
            )
            for n in (2, 6, 20)
        },
        block=50,
    ),
    "studies": Part(
        "A whole study as one family",
        "Values with a normal error, so that every p is exact and only the correction is tried: configurations of 3 "
        "seeds and 3 classes, ensembles that share their members' errors, compared with the best configuration and its "
        "best training run by validation. In the lower rows the first configuration is better in one class, by 6 "
        "errors of a training run, so that the way to the classes is open. Share of studies in which anything is "
        "called different that is not; and, of the comparisons that hold the better class, the share found. Three "
        "families are what stood here before: configurations, ensembles and classes, each corrected by itself.",
        ("configurations", "better in one class by", "comparisons"),
        {
            "one family": "any false, one family",
            "three families": "any false, three families",
            "found, one family": "found, one family",
            "found, three families": "found, three families",
        },
        {
            (str(n), str(gain), str(4 * len(list(combinations(range(n), 2))) + 2 * (n + 2))): partial(
                simulated.of_study, configurations=n, gain=gain
            )
            for gain in (0.0, 6.0)
            for n in (2, 6, 20)
        },
        block=20,
    ),
    "seeds": Part(
        "Seeds of one configuration, in pairs",
        "Networks that are equally good; 150 patients. Share of studies in which any pair of seeds is called "
        "different.",
        ("seeds", "pairs"),
        {"any, after Holm": "any, after Holm"},
        {(str(s), str(s * (s - 1) // 2)): partial(simulated.of_seed_pairs, seeds=s) for s in SEEDS[1:]},
    ),
    "suits": Part(
        "Whether a seed suits a class",
        "6 classes, 100 patients, 199 exchanges. In the lower rows one seed is better by 0.5 of the signal in every "
        "class, so that it suits none.",
        ("seeds", "better everywhere by"),
        {"suits any class": '"suits" any class, after Holm', "interaction": "interaction"},
        {(str(s), str(b)): partial(simulated.of_suits, seeds=s, better=b) for b in (0.0, 0.5) for s in SEEDS[1:]},
        block=20,
    ),
}


def simulate(name: str, repetitions: int, results: Path) -> None:
    """Simulate what is lacking of a part, and append it to `results`, block by block."""
    part = PARTS[name]
    done = set(read(results).query("part == @name")[["row", "block"]].itertuples(index=False, name=None))
    for cells, simulation in part.rows.items():
        row = " | ".join(cells)
        for block in range(-(-repetitions // part.block)):
            if (row, block) in done:
                continue
            rng = np.random.default_rng([crc32(f"{name}: {row}".encode()), block])
            shares = simulation(rng, part.block)
            lines = [
                [name, row, block, key, np.nansum(values), np.isfinite(values.astype(float)).sum(), len(values)]
                for key, values in shares.items()
            ]
            pd.DataFrame(lines, columns=COLUMNS).to_csv(results, mode="a", header=not results.exists(), index=False)


def read(results: Path) -> pd.DataFrame:
    """Read the blocks that are done; none without the file."""
    return pd.read_csv(results, dtype={"row": str}) if results.exists() else pd.DataFrame(columns=COLUMNS)


def share(held: float, given: float) -> str:
    """Write a share with the 95 % error of the simulation, by the normal formula at the share, at least one count."""
    if given < 50:
        return "—"
    p = held / given
    near = min(max(p, 1 / given), 1 - 1 / given)
    return f"{p:.3f} ± {1.96 * np.sqrt(near * (1 - near) / given):.3f}"


def table(name: str, results: pd.DataFrame) -> list[str]:
    """Return the lines of the table of a part."""
    part = PARTS[name]
    columns = ["held", "given", "repetitions"]
    summed = results[results["part"] == name].groupby(["row", "name"])[columns].sum()
    lines = [f"### {part.title}", "", part.text, ""]
    if not len(summed):
        return [*lines, "Not simulated yet.", ""]
    head = [*part.head, *part.names.values(), *([part.missing] if part.missing else []), "studies"]
    lines += ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for cells in part.rows:
        row = " | ".join(cells)
        if row not in summed.index.get_level_values(0):
            continue
        of_row = summed.loc[row]
        shown = [share(*of_row.loc[key, ["held", "given"]]) if key in of_row.index else "—" for key in part.names]
        first = of_row.loc[next(iter(part.names))]
        without = [f"{1 - first['given'] / first['repetitions']:.3f}"] if part.missing else []
        lines.append("| " + " | ".join([*cells, *shown, *without, f"{first['repetitions']:.0f}"]) + " |")
    return [*lines, ""]


def main() -> None:
    """Simulate the parts that are named, or all, and print or write their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--repetitions", type=int, default=1000, help="simulated studies per row; default: %(default)s")
    parser.add_argument("--results", type=Path, default=Path("tmp/coverage.csv"), help="default: %(default)s")
    parser.add_argument("--write", action="store_true", help=f"put all tables into {PAGE}")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(PARTS)}")
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for name in options.parts or (PARTS if options.repetitions else ()):
        simulate(name, options.repetitions, options.results)
        print("\n".join(table(name, read(options.results))), flush=True)
    if options.write:
        tables = [line for name in PARTS for line in table(name, read(options.results))]
        before, rest = PAGE.read_text().split(START)
        PAGE.write_text("\n".join([before + START, "", *tables, END]) + rest.split(END)[1])


if __name__ == "__main__":
    main()
