"""How far the best score of a search is from the truth, as it is and corrected, in drawn searches.

The trials of a search differ in their quality. Their outputs are noise around the truth, 60 % of whose variance the
trials have in common and half of whose variance the two images of a patient; so what a trial is worth in other patients
is known, by a closed form, or for masks by many more images.

``python -m benchmarks.search --searches 100``
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from pipeline.searching.measures import best_places, of_classes, of_masks, of_numbers
from pipeline.segmenting.probabilities import LEVELS, dice_curves
from pipeline.uncertainty.optimism import Measured, corrected_best

SHARED, OF_PATIENT = 0.6, 0.5
IMAGES = 2
"""Of a patient; one of AUROC."""
GRADES = np.array([0.4, 0.25, 0.15, 0.12, 0.08])
CLASSES = np.array([0.6, 0.3, 0.1])
PIXELS = 120
"""Of a mask."""


class Search(NamedTuple):
    """A drawn search: what was measured, and what a trial is worth in other patients, by its number."""

    measured: Measured
    truth: Callable[[int], float]


def patients_of(n: int, images: int = IMAGES) -> np.ndarray:
    """Return the patient of each image."""
    return np.repeat(np.arange(n), images).astype(str)


def noise(rng: np.random.Generator, trials: int, patients: int, images: int = IMAGES, *shape: int) -> np.ndarray:
    """Draw standard normal noise [T, N, ...] that the trials, and the images of a patient, have in common in part."""
    shares = SHARED * OF_PATIENT, SHARED * (1 - OF_PATIENT), (1 - SHARED) * OF_PATIENT, (1 - SHARED) * (1 - OF_PATIENT)
    sizes = (1, patients, 1), (1, patients, images), (trials, patients, 1), (trials, patients, images)
    every = sum(np.sqrt(share) * rng.normal(size=(*size, *shape)) for share, size in zip(shares, sizes))
    return np.asarray(every).reshape(trials, patients * images, *shape)


def of_auroc(rng: np.random.Generator, trials: int, patients: int, spread: float, classes: int = 1) -> Search:
    """Draw scores of normal distributions, `spread` the SD of their separations around 1; an image for each patient."""
    separations = rng.normal(1.0, spread, trials)
    truth = (rng.random((patients, classes)) < 0.35).astype(np.uint8)
    scores = separations[:, None, None] * truth + noise(rng, trials, patients, 1, classes)
    measured = of_classes("auroc", "multilabel", truth, scores, patients_of(patients, 1))
    return Search(measured, lambda trial: float(norm.cdf(separations[trial] / np.sqrt(2))))


def of_f1(rng: np.random.Generator, trials: int, patients: int, spread: float) -> Search:
    """Draw logits of three classes, of which the right one is higher."""
    separations = rng.normal(1.5, spread, trials)
    truth = np.eye(3, dtype=np.uint8)[rng.choice(3, patients * IMAGES, p=CLASSES)]
    logits = separations[:, None, None] * truth + noise(rng, trials, patients, IMAGES, 3)

    def expected(trial: int) -> float:
        right = quad(lambda x: norm.pdf(x) * norm.cdf(x + separations[trial]) ** 2, -8, 8)[0]
        wrong = (1 - right) / 2
        called = CLASSES * right + (1 - CLASSES) * wrong
        return float(np.mean(2 * CLASSES * right / (called + CLASSES)))

    return Search(of_classes("macro_f1", "multiclass", truth, logits, patients_of(patients)), expected)


def of_grades(rng: np.random.Generator, trials: int, patients: int, spread: float) -> Search:
    """Draw grades that are decided for by a number around them, whose SD is that of the trial."""
    sd = 0.7 * np.exp(rng.normal(0, spread, trials))
    grades = rng.choice(len(GRADES), patients * IMAGES, p=GRADES)
    numbers = grades + sd[:, None] * noise(rng, trials, patients)
    logits = -((numbers[..., None] - np.arange(len(GRADES))) ** 2)
    truth = np.eye(len(GRADES), dtype=np.uint8)[grades]

    def expected(trial: int) -> float:
        places = np.arange(len(GRADES))
        cuts = np.concatenate([[-np.inf], places[:-1] + 0.5, [np.inf]])
        table = GRADES[:, None] * np.diff(norm.cdf((cuts - places[:, None]) / sd[trial]))
        apart = (places[:, None] - places) ** 2
        return float(1 - (table * apart).sum() / (np.outer(GRADES, table.sum(0)) * apart).sum())

    return Search(of_classes("qwk", "multiclass", truth, logits, patients_of(patients), ordered=True), expected)


def of_errors(metric: str, rng: np.random.Generator, trials: int, patients: int, spread: float) -> Search:
    """Draw predicted numbers with normal errors, whose SD is that of the trial."""
    sd = np.exp(rng.normal(0, spread, trials))
    truth = rng.normal(50, 10, patients * IMAGES)
    values = truth + sd[:, None] * noise(rng, trials, patients)
    factor = np.sqrt(2 / np.pi) if metric == "mae" else 1.0
    return Search(of_numbers(metric, truth, values, patients_of(patients)), lambda trial: float(factor * sd[trial]))


def of_dice(rng: np.random.Generator, trials: int, patients: int, spread: float) -> Search:
    """Draw masks in a row of pixels, whose logits have a shift of the image and noise of the pixel."""
    separations = rng.normal(1.5, spread, trials)

    def curves(trials: int, patients: int, separation: np.ndarray) -> np.ndarray:
        n = patients * IMAGES
        truth = np.arange(PIXELS) < rng.integers(10, 70, n)[:, None]
        common = rng.normal(size=(n, PIXELS))
        made = []
        for shift, of in zip(noise(rng, trials, patients), separation):
            own = rng.normal(size=(n, PIXELS))
            pixel = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own
            logits = of * (2.0 * truth - 1) + shift[:, None] + 1.5 * pixel
            bytes_ = np.rint(255 / (1 + np.exp(-logits))).astype(np.uint8)
            made.append(dice_curves(bytes_[:, None, None], truth[:, None, None]))
        return np.stack(made)

    drawn = curves(trials, patients, separations)

    def expected(trial: int) -> float:
        place = best_places(drawn[trial, :, 0, 1:].mean(0)) + 1
        return float(curves(1, 1500, separations[[trial]])[0, :, 0, place].mean())

    assert drawn.shape[-1] == LEVELS
    return Search(of_masks(drawn, patients_of(patients)), expected)


SEARCHES: dict[str, Callable[[np.random.Generator, int, int, float], Search]] = {
    "auroc": of_auroc,
    "auroc, three classes": lambda *given: of_auroc(*given, classes=3),
    "macro_f1": of_f1,
    "qwk": of_grades,
    "mae": lambda *given: of_errors("mae", *given),
    "rmse": lambda *given: of_errors("rmse", *given),
    "dice": of_dice,
}
SETTINGS = [
    ("auroc", 20, 60, 0.0),
    ("auroc", 20, 60, 0.2),
    ("auroc", 50, 150, 0.1),
    ("auroc", 10, 100, 0.5),
    ("auroc, three classes", 12, 60, 0.1),
    ("macro_f1", 20, 60, 0.0),
    ("macro_f1", 20, 60, 0.2),
    ("qwk", 20, 60, 0.0),
    ("qwk", 20, 60, 0.1),
    ("mae", 20, 60, 0.0),
    ("mae", 20, 60, 0.1),
    ("rmse", 20, 60, 0.0),
    ("rmse", 20, 60, 0.1),
    ("dice", 20, 60, 0.0),
    ("dice", 20, 60, 0.1),
]
"""Metric, trials, patients, and how much the trials differ."""


class Off(NamedTuple):
    """By how much a best score was off the truth of its trial, as it is and corrected; whether the interval held it."""

    best: float
    corrected: float
    held: bool


def off(search: Search, draws: int, seed: int) -> Off:
    """Choose the best trial of a search, and compare its score with the truth."""
    of = search.measured
    sign = 1 if of.higher_is_better else -1
    truth = search.truth(int(np.argmax(sign * of.whole.mean(axis=1))))
    found = corrected_best(of, range(len(of.whole)), draws=draws, seed=seed)
    return Off(found.best - truth, found.corrected - truth, found.low <= truth <= found.high)


def main() -> None:
    """Print one line per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    print("| metric | trials | patients | spread of trials | best − truth | corrected − truth | interval holds it |")
    print(f"|{' --- |' * 7}")
    for name, trials, patients, spread in SETTINGS:
        rng = np.random.default_rng(patients)
        many = [
            off(SEARCHES[name](rng, trials, patients, spread), options.draws, seed) for seed in range(options.searches)
        ]
        best, corrected, held = np.array(many, dtype=float).T
        error = corrected.std(ddof=1) / np.sqrt(len(many))
        numbers = f"{best.mean():+.3f} | {corrected.mean():+.3f} ± {error:.3f} | {held.mean():.2f}"
        print(f"| {name} | {trials} | {patients} | {spread:g} | {numbers} |".replace("-", "−"), flush=True)


if __name__ == "__main__":
    main()
