"""Time the bootstrap, DeLong's test and the exchange of seeds on as many images as the test part of ChestX-ray14 has.

The predictions are drawn in the run, with the prevalence of ChestX-ray14, several images per patient and ties. A loop
over scikit-learn is timed for a few draws and scaled to all; those draws also check that the numbers are equal. Run
with ``OMP_NUM_THREADS=1 python -m benchmarks.statistics`` (about a minute).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from threadpoolctl import threadpool_limits

from pipeline.metrics.registry import METRICS
from pipeline.metrics.scored import Scored
from pipeline.metrics.thresholds import probabilities
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.delong import delong, delong_pairs
from pipeline.uncertainty.seed_suits_class import seed_suits_class

IMAGES, PATIENTS, DRAWS, SEEDS = 25_596, 2_797, 2_000, 3
PREVALENCE = (0.128, 0.042, 0.182, 0.239, 0.068, 0.063, 0.022, 0.104, 0.071, 0.036, 0.043, 0.017, 0.045, 0.0034)
LOOPED = 2
"""Draws of the loop over scikit-learn."""
ROUNDS = 5
EXCHANGES, HALVINGS = 999, 200
REFERENCES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "auroc": lambda truth, logits, weights: roc_auc_score(truth, logits, sample_weight=weights),
    "average_precision": lambda truth, logits, weights: average_precision_score(truth, logits, sample_weight=weights),
    "f1": lambda truth, logits, weights: f1_score(
        truth, probabilities(logits, "multilabel") >= 0.5, sample_weight=weights
    ),
}


def predictions() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw targets uint8 [N, K], logits float32 [S, N, K] on a grid of 1,000 steps a unit, and patients int [N]."""
    rng = np.random.default_rng(0)
    patients = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, IMAGES - PATIENTS)]))
    targets = (rng.random((IMAGES, len(PREVALENCE))) < PREVALENCE).astype(np.uint8)
    shared = 1.5 * targets - 1 + rng.normal(size=targets.shape) + 0.5 * rng.normal(size=(PATIENTS, 1))[patients]
    logits = shared + 0.4 * rng.normal(size=(SEEDS, *targets.shape))
    return targets, np.round(logits, 3).astype(np.float32), patients


def timed(run: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Time a run; return the median over rounds of seconds on the clock, and of seconds of the processor."""
    seconds = []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = np.median(seconds, axis=0)
    return float(wall), float(cpu)


def loop(
    metric: str, targets: np.ndarray, logits: np.ndarray, counts: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, float]:
    """Compute a metric with scikit-learn under a few draws; return it [LOOPED, K], and seconds for all draws."""
    truths, scores = targets.T.copy(), logits.T.astype(np.float64).copy()
    cpu = time.process_time()
    values = [
        [REFERENCES[metric](truth, score, draw[index]) for truth, score in zip(truths, scores, strict=True)]
        for draw in counts[:LOOPED]
    ]
    return np.array(values), (time.process_time() - cpu) * len(counts) / LOOPED


@threadpool_limits.wrap(limits=1)
def main() -> None:
    """Measure and print rows of markdown tables."""
    targets, logits, patients = predictions()
    distinct = len(np.unique(logits[0, :, 0]))
    print(
        f"{IMAGES:,} images of {PATIENTS:,} patients, {len(PREVALENCE)} classes, "
        f"{distinct:,} distinct scores per class\n"
    )
    counts, index = patient_draws(patients, DRAWS, 0)
    wall, cpu = timed(lambda: patient_draws(patients, DRAWS, 0))
    print("| | s, clock | s, processor | x loop over scikit-learn | largest difference |")
    print("| --- | --- | --- | --- | --- |")
    print(f"| {DRAWS:,} draws of patients | {wall:.2f} | {cpu:.2f} | | |")
    for name in REFERENCES:

        def run(name: str = name) -> np.ndarray:
            """Prepare and draw: both belong to the time."""
            scored = Scored("multilabel", targets, logits[:1], np.full((1, len(PREVALENCE)), 0.5), index, PATIENTS)
            return metric_draws(scored, {name: METRICS[name]}, counts)[name]

        wanted, naive = loop(name, targets, logits[0], counts, index)
        off = np.abs(run()[:LOOPED, 0, :-1] - wanted).max()
        wall, cpu = timed(run)
        print(f"| {name} under {DRAWS:,} draws | {wall:.2f} | {cpu:.2f} | {naive / cpu:.0f} | {off:.0e} |")
    wall, cpu = timed(lambda: delong_pairs(delong(targets, logits[:2])))
    print(f"| DeLong, 2 models x {len(PREVALENCE)} classes | {wall:.2f} | {cpu:.2f} | | |")
    scored = Scored("multilabel", targets, logits, None, index, PATIENTS)
    names = [str(k) for k in range(len(PREVALENCE))]
    wall, cpu = timed(
        lambda: seed_suits_class(scored, names, range(SEEDS), exchanges=EXCHANGES, halvings=HALVINGS), rounds=1
    )
    print(f"| {EXCHANGES} exchanges of {SEEDS} seeds, {HALVINGS} halvings | {wall:.2f} | {cpu:.2f} | | |")
    print(f"\nThe loop was timed for {LOOPED} draws and scaled to {DRAWS:,}; its ratio is one of processor times.")


if __name__ == "__main__":
    main()
