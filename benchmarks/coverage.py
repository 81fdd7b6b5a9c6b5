"""Simulate studies whose truth is known: coverage of intervals, false differences, true ones that are found.

``python -m benchmarks.coverage [--repetitions 1000] [PART ...]`` prints the tables of docs/statistics.md (about an hour
on one core for all parts at 1,000). Scores are normal, so that every true value has a closed form or an integral.
Each class of a drawn data set is a repetition of one and the same study, so that one pass over the draws of patients
computes all of them; all have the same patients, a share of which has the class.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from pipeline.metrics.registry import METRICS, Metric, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.comparisons import compare
from pipeline.uncertainty.metric_intervals import metric_intervals, total_intervals
from pipeline.uncertainty.support import Support, support

DRAWS = 500
POSITIVES, IMAGES, AUROCS = (5, 10, 30, 100), (1, 4), (0.7, 0.9, 0.99)
OWN = 0.3
"""Standard deviation of what is an image's own; that of a patient is 1."""
KEYS = ("auroc", "average_precision", "sensitivity", "specificity", "precision", "f1", "mcc")
BLOCK = 100
"""Repetitions in memory at once."""


def signal_of(auroc: float) -> float:
    """Return the mean score of a positive that gives `auroc`, that of a negative being 0."""
    return float(norm.ppf(auroc) * np.sqrt(2 * (1 + OWN**2)))


def truths(auroc: float, prevalence: float) -> dict[str, float]:
    """Return what each metric of `KEYS` is in an endless sample, decisions being at the midpoint of the two means."""
    scale, signal = np.sqrt(1 + OWN**2), signal_of(auroc)
    sensitivity = float(norm.cdf(signal / 2 / scale))
    tp, fp = prevalence * sensitivity, (1 - prevalence) * (1 - sensitivity)
    fn, tn = prevalence - tp, 1 - prevalence - fp

    def precision_at(x: float) -> float:
        hits = prevalence * norm.sf((x - signal) / scale)
        return hits / (hits + (1 - prevalence) * norm.sf(x / scale))

    average = quad(lambda x: precision_at(x) * norm.pdf((x - signal) / scale) / scale, signal - 9, signal + 9)[0]
    return {
        "auroc": auroc,
        "average_precision": float(average),
        "sensitivity": sensitivity,
        "specificity": sensitivity,
        "precision": tp / (tp + fp),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
    }


def study(
    rng: np.random.Generator,
    repetitions: int,
    positives: int,
    negatives: int,
    images: int,
    signals: np.ndarray,
    own_sd: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw targets [N, R], logits [S, N, R] and patients [N].

    Parameters
    ----------
    signals : float [S, R]
        Mean score of a positive, of each seed.
    own_sd : float
        Standard deviation of what one seed alone makes of a patient.
    """
    patients = positives + negatives
    of = np.repeat(np.arange(patients), images)
    ill = rng.random((patients, repetitions)) < positives / patients  # how many have it is chance, too
    shared = rng.normal(size=(patients, repetitions))[of] + OWN * rng.normal(size=(len(of), repetitions))
    own = own_sd * rng.normal(size=(len(signals), patients, repetitions))[:, of]
    return ill[of], signals[:, None] * ill[of] + shared + own, of


def evaluated(
    key: str, targets: np.ndarray, logits: np.ndarray, patients: np.ndarray, midpoint: float = 0.0
) -> tuple[Metric, np.ndarray, np.ndarray, Support]:
    """Return a metric with its values [S, R + 1], draws and support."""
    counts, index = patient_draws(patients.astype(str), DRAWS, 0)
    thresholds = np.full((len(logits), targets.shape[1]), 0.5)
    scored = Scored("multilabel", targets, logits - midpoint, thresholds, groups=index, n_groups=counts.shape[1])
    metric = METRICS[key]
    return (
        metric,
        measure(metric, Weighted(scored))[0],
        metric_draws(scored, {key: metric}, counts)[key],
        support(metric, scored),
    )


def interval_coverage(repetitions: int) -> Iterator[str]:
    """Cover the value of a class, of one trained network."""
    yield "| positive patients, mean | images each | AUROC | " + " | ".join(KEYS) + " | none (auroc) |"
    yield "| --- " * (len(KEYS) + 4) + "|"
    for positives in POSITIVES:
        for images in IMAGES:
            for auroc in AUROCS:
                rng = np.random.default_rng([positives, images, round(100 * auroc)])
                negatives = max(20, 3 * positives)
                want = truths(auroc, positives / (positives + negatives))
                held: dict[str, list[np.ndarray]] = {key: [] for key in KEYS}
                for _ in range(0, repetitions, BLOCK):
                    signals = np.full((1, BLOCK), signal_of(auroc))
                    targets, logits, of = study(rng, BLOCK, positives, negatives, images, signals)
                    for key in KEYS:
                        metric, values, draws, rests_on = evaluated(key, targets, logits, of, signal_of(auroc) / 2)
                        # The guard of few patients is lifted, to see what it guards from.
                        open_to_all = rests_on._replace(refused=[""] * len(rests_on.refused))
                        low, high = (x[0, :-1] for x in metric_intervals(metric, values, draws, open_to_all, 0.95))
                        inside = np.where(np.isnan(low), np.nan, (low <= want[key]) & (want[key] <= high))
                        held[key].append(inside)
                shares = {key: np.concatenate(parts) for key, parts in held.items()}
                cells = " | ".join(f"{np.nanmean(shares[key]):.3f}" for key in KEYS)
                yield f"| {positives} | {images} | {auroc} | {cells} | {np.isnan(shares['auroc']).mean():.3f} |"


def total_coverage(repetitions: int) -> Iterator[str]:
    """Cover what a configuration is expected to reach: mean over seeds, on other patients and under other seeds."""
    yield "| seeds | SD of the seeds' AUROC | patients | total interval |"
    yield "| --- | --- | --- | --- |"
    for seeds in (2, 3, 5):
        for seed_sd in (0.0, 0.15, 0.4):
            rng, inside = np.random.default_rng([seeds, round(100 * seed_sd)]), []
            scale = np.sqrt(2 * (1 + OWN**2 + 0.3**2) + seed_sd**2)
            want = norm.cdf(1.2 / scale)
            for _ in range(0, repetitions, BLOCK):
                signals = 1.2 + seed_sd * rng.normal(size=(seeds, BLOCK))
                targets, logits, of = study(rng, BLOCK, 40, 80, 2, signals, 0.3)
                low, high = total_intervals(*evaluated("auroc", targets, logits, of), 0.95)
                inside.append((low[:-1] <= want) & (want <= high[:-1]))
            of_seeds = norm.pdf(1.2 / scale) / scale * seed_sd
            yield f"| {seeds} | {of_seeds:.3f} | 120 | {np.concatenate(inside).mean():.3f} |"


def macro_coverage(repetitions: int) -> Iterator[str]:
    """Cover a mean over classes, of a multi-label study with a tail of rare ones."""
    yield "| classes | positive patients of each | coverage | without an interval |"
    yield "| --- | --- | --- | --- |"
    tails = {
        "14, even": [40] * 14,
        "14, tail": [120, 90, 70, 50, 40, 30, 25, 20, 16, 14, 12, 11, 8, 5],
        "6, half below 10": [80, 40, 20, 8, 6, 4],
        "20, long tail": [60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4, 4, 3, 3, 2, 2, 2, 1, 1, 1],
    }
    for name, counts in tails.items():
        rng, held = np.random.default_rng(len(name)), []
        aurocs = np.linspace(0.7, 0.95, len(counts))
        signals = np.array([signal_of(a) for a in aurocs])[None]
        for _ in range(repetitions):
            ill = np.stack([rng.permutation(300) < n for n in counts], axis=1)
            scores = signals * ill + rng.normal(size=ill.shape) + OWN * rng.normal(size=ill.shape)
            metric, values, draws, rests_on = evaluated("auroc", ill, scores[None], np.arange(300))
            low, high = (x[0, -1] for x in metric_intervals(metric, values, draws, rests_on, 0.95))
            held.append(np.nan if np.isnan(low) else float(low <= aurocs.mean() <= high))
        none = np.isnan(held).mean()
        share = "—" if none == 1 else f"{np.nanmean(held):.3f}"
        yield f"| {name} | {', '.join(map(str, counts))} | {share} | {none:.3f} |"


def comparison_errors(repetitions: int) -> Iterator[str]:
    """Compare two configurations of 150 patients: false differences, and true ones of 0.04 that are found."""
    yield "| seeds of each | patients | false differences at 5 % | true difference of 0.04 found |"
    yield "| --- | --- | --- | --- |"
    for patients in (150, 600):
        for seeds in (1, 2, 3, 5):
            rng, found = np.random.default_rng([patients, seeds]), {0.0: [], 0.04: []}
            for gain, shares in found.items():
                better = signal_of(0.82 + gain)
                for _ in range(0, repetitions, BLOCK):
                    means = np.array([[signal_of(0.82)], [better]])
                    signals = np.repeat(means, seeds, axis=0) + 0.05 * rng.normal(size=(2 * seeds, BLOCK))
                    targets, logits, of = study(rng, BLOCK, patients // 3, patients * 2 // 3, 1, signals, 0.4)
                    models = {"a": logits[:seeds], "b": logits[seeds:]}
                    names = [str(r) for r in range(BLOCK)]
                    table = compare("multilabel", models, targets, of.astype(str), draws=DRAWS, classes=names)
                    shares.append((table.loc[table["class"] != "macro", "p"] < 0.05).to_numpy())
            yield (
                f"| {seeds} | {patients} | "
                + " | ".join(f"{np.concatenate(x).mean():.3f}" for x in found.values())
                + " |"
            )


def family_errors(repetitions: int) -> Iterator[str]:
    """Compare many configurations that are alike: how often any pair is called different after Holm's correction."""
    yield "| configurations | pairs | any false difference |"
    yield "| --- | --- | --- |"
    for n in (2, 6, 20):
        rng, wrong = np.random.default_rng(n), []
        for _ in range(repetitions):
            signals = signal_of(0.82) + 0.05 * rng.normal(size=(3 * n, 1))
            targets, logits, of = study(rng, 1, 50, 100, 1, signals, 0.4)
            models = {str(i): logits[3 * i : 3 * i + 3] for i in range(n)}
            wrong.append(compare("multilabel", models, targets, of.astype(str), draws=200)["distinguishable"].any())
        yield f"| {n} | {len(list(combinations(range(n), 2)))} | {np.mean(wrong):.3f} |"


PARTS = {
    "intervals": interval_coverage,
    "total": total_coverage,
    "macro": macro_coverage,
    "comparisons": comparison_errors,
    "families": family_errors,
}


def main() -> None:
    """Print the tables that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--repetitions", type=int, default=1000, help="simulated studies per row; default: %(default)s")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(PARTS)}")
    n = options.repetitions
    for name in options.parts or PARTS:
        error = 1.96 * np.sqrt(0.95 * 0.05 / n)
        print(f"\n{name}: {n} repetitions a row, Monte-Carlo error of a share of .95: ± {error:.3f}\n", flush=True)
        for line in PARTS[name](n):
            print(line, flush=True)


if __name__ == "__main__":
    main()
