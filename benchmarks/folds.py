"""How often the intervals of a cross-validation hold the truth, in drawn studies.

Each study has patients with one to four images, one label, five folds and two seeds. A network's output is that of
the label, of the patient, and noise. The networks of a fold and seed have an ability of their own, drawn around the
mean of the method, and a scale and shift of their own, which no ranking within folds may notice. The truth is the
expected AUROC of the method, over patients, training sets and seeds.

``python -m benchmarks.folds --studies 500``
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import norm

from pipeline.study.predictions import Predictions
from pipeline.variants.folds import Fold, nadeau_bengio, out_of_fold

FOLDS, SEEDS = 5, 2
LABEL, PATIENT, NOISE = 1.3, 0.6, 0.8


def study(rng: np.random.Generator, patients: int, of_fold: float, of_seed: float) -> list[Fold]:
    """Draw one study: the predictions of every fold."""
    sizes = rng.integers(1, 5, patients)
    patient = np.repeat(np.arange(patients), sizes)
    label = (rng.random(len(patient)) < 0.3).astype(np.uint8)
    effect = rng.normal(0, PATIENT, patients)[patient]
    fold_of = rng.permutation(np.arange(patients) % FOLDS)[patient]
    folds = []
    for number in range(FOLDS):
        here = np.flatnonzero(fold_of == number)
        others = np.flatnonzero(fold_of != number)[:60]
        shift, scale, ability = rng.normal(0, 2), np.exp(rng.normal(0, 0.5)), rng.normal(0, of_fold)
        logits = {}
        abilities = LABEL + ability + rng.normal(0, of_seed, SEEDS)
        for part, rows in (("val", others), ("test", here)):
            noise = rng.normal(0, NOISE, (SEEDS, len(rows)))
            outputs = abilities[:, None] * label[rows] + effect[rows] + noise
            logits[part] = (shift + scale * outputs)[..., None].astype(np.float32)
        content = {
            f"{part}_{name}": values
            for part, rows in (("val", others), ("test", here))
            for name, values in (
                ("rows", rows),
                ("logits", logits[part]),
                ("targets", label[rows, None]),
                ("patients", np.array([f"p{i}" for i in patient[rows]])),
            )
        }
        folds.append(Fold(number + 1, Predictions("multilabel", np.arange(SEEDS), np.array(["a"]), **content)))
    return folds


def truth(of_fold: float, of_seed: float) -> float:
    """Return the expected AUROC over patients, training sets and seeds, by integration over the ability."""
    spread = np.hypot(of_fold, of_seed)
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    values = norm.cdf((LABEL + spread * nodes) / np.sqrt(2 * (PATIENT**2 + NOISE**2)))
    return float((weights * values).sum() / weights.sum())


def main() -> None:
    """Print one line per setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--draws", type=int, default=500)
    options = parser.parse_args()
    heads = (
        "patients | SD of ability over folds, seeds | truth | mean | over patients and seeds | over folds, corrected"
    )
    print(f"| {heads} | plain t over folds |\n|{' --- |' * 7}")
    for patients in (60, 150, 400):
        for of_fold, of_seed in ((0.0, 0.0), (0.0, 0.2), (0.2, 0.2)):
            rng, held, means = np.random.default_rng(patients), np.zeros(3), []
            expected = truth(of_fold, of_seed)
            for _ in range(options.studies):
                found = out_of_fold(study(rng, patients, of_fold, of_seed), draws=options.draws)
                row = found.metrics.query("seed == 'mean' and `class` == 'a' and metric == 'auroc'").iloc[0]
                means.append(row["value"])
                corrected, plain = (nadeau_bengio(found.folds, share) for share in (1 / (FOLDS - 1), 0.0))
                held += [
                    row["ci_low"] <= expected <= row["ci_high"],
                    corrected.low <= expected <= corrected.high,
                    plain.low <= expected <= plain.high,
                ]
            rates = " | ".join(f"{rate:.3f}" for rate in held / options.studies)
            setting = f"{patients} | {of_fold:g}, {of_seed:g}"
            print(f"| {setting} | {expected:.4f} | {np.mean(means):.4f} | {rates} |", flush=True)


if __name__ == "__main__":
    main()
