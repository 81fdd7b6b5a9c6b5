"""What evaluations and ensembles of segmentation write, and how it is read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.segmenting import intervals
from pipeline.segmenting.intervals import FEW, NONE, Interval, Means
from pipeline.segmenting.scores import DICE, FALSE_ALARM, HD95, Scores
from pipeline.study.files import intact, made_by, replaced
from pipeline.study.predictions import METRIC_COLUMNS

MACRO = "macro"
MEAN = "mean"
THRESHOLD = "threshold"
SCORES = list(Scores._fields)


def probabilities_file(folder: Path, part: str) -> Path:
    """File of the probabilities of a configuration in a part: uint8 [S, N, K, H, W], in 255ths."""
    return folder / f"probabilities_{part}.npy"


def save_probabilities(path: Path, probabilities: np.ndarray) -> None:
    """Write them, complete or not at all."""
    with replaced(path, probabilities.nbytes) as partial:
        np.save(partial, probabilities)


def open_probabilities(folder: Path, part: str) -> np.ndarray:
    """Open them, memory-mapped and read-only."""
    path = made_by(probabilities_file(folder, part), "evaluate")
    with intact(path):
        opened: np.ndarray = np.load(path, mmap_mode="r")
        if opened.dtype != np.uint8 or opened.ndim != 5:
            raise ValueError(f"{opened.dtype} {list(opened.shape)}")
    return opened


def image_table(
    values: np.ndarray, rows: np.ndarray, classes: list[str], names: list[str], part: str, column: str = "seed"
) -> pd.DataFrame:
    """Return a line for each training run (or ensemble), image and class with its scores.

    Parameters
    ----------
    values : float64 [S, N, K, 5]
        In the order of `Scores`.
    rows : int64 [N]
        Positions in images.npy.
    classes, names : list of str [K], [S]
        Names of classes, and of runs or ensembles.
    part, column : str
        Of the split, and what the column of `names` is called.
    """
    runs, n, k = values.shape[:3]
    about = {
        column: np.repeat(names, n * k),
        "part": part,
        "row": np.tile(np.repeat(rows, k), runs),
        "class": np.tile(classes, runs * n),
    }
    scores = values.reshape(-1, len(SCORES))
    return pd.DataFrame({**about, **{name: scores[:, m] for m, name in enumerate(SCORES)}})


def all_means(values: np.ndarray, patients: np.ndarray, diagonal: float, draws: int, seed: int) -> dict[str, Means]:
    """Average each score of [S, N, K, 5] over the images; distances as shares of the images' diagonal."""
    return {
        name: intervals.means(values[..., m] / (diagonal if name == HD95 else 1), patients, draws, seed)
        for m, name in enumerate(SCORES)
        if name != FALSE_ALARM or not np.isnan(values[0, ..., m]).all()
    }


def metric_rows(
    of: dict[str, Means],
    classes: list[str],
    seeds: list[str],
    part: str,
    diagonal: float,
    confidence: float,
    seed: int,
    model: str,
    loss: str,
) -> pd.DataFrame:
    """Return the means of every score as rows of metrics.csv: by seed, and of the mean over the seeds.

    Intervals of distances end at the `diagonal` of the images, in pixels, beyond which there is none.
    """
    tables = []
    for metric, found in of.items():
        for s, name in enumerate([*seeds, MEAN]):
            if name == MEAN:
                numbers = intervals.of_mean(found, confidence, seed)
            else:
                numbers = intervals.of_run(found, s, confidence)
            if metric == HD95:
                numbers = Interval(*(diagonal * each for each in numbers))
            tables.append(_rows(numbers, found, [*classes, MACRO]).assign(seed=name, metric=metric))
    table = pd.concat(tables, ignore_index=True).assign(part=part, model=model, loss=loss)
    return table.reindex(columns=METRIC_COLUMNS)


def _rows(numbers: Interval, found: Means, names: list[str]) -> pd.DataFrame:
    notes = np.where(np.isnan(numbers.value), NONE, np.where(np.isnan(numbers.low), FEW, ""))
    return pd.DataFrame(
        {
            "class": names,
            "value": numbers.value,
            "ci_low": numbers.low,
            "ci_high": numbers.high,
            "n": found.images,
            "n_positive": found.images,
            "note": notes,
        }
    )


def threshold_rows(thresholds: np.ndarray, classes: list[str], seeds: list[str], n: int, **about: str) -> pd.DataFrame:
    """Return the thresholds, int [S, K] of 255, as rows of metrics.csv, in [0, 1]."""
    content: list[dict[str, Any]] = [
        {"seed": name, "part": "val", "class": each, "metric": THRESHOLD, "value": thresholds[s, k] / 255, "n": n}
        for s, name in enumerate(seeds)
        for k, each in enumerate(classes)
    ]
    note = "no interval: chosen on validation"
    return pd.DataFrame(content).assign(note=note, **about).reindex(columns=METRIC_COLUMNS)


def seeds_of(metrics: pd.DataFrame) -> list[str]:
    """Return the training seeds of a configuration's metrics, in their order."""
    return list(dict.fromkeys(seed for seed in metrics["seed"] if seed != MEAN))


def levels(thresholds: Sequence[float]) -> NDArray[np.int64]:
    """Return thresholds of probabilities as those of bytes, of 255."""
    return np.rint(255 * np.array(thresholds)).astype(np.int64)


def thresholds_of(metrics: pd.DataFrame, seed: str, classes: Sequence[str]) -> NDArray[np.int64]:
    """Return the thresholds that validation has chosen under a seed, of 255, int64 [K]."""
    return levels([value_of(metrics, "val", seed, name, THRESHOLD) for name in classes])


def value_of(metrics: pd.DataFrame, part: str, seed: str, name: str = MACRO, metric: str = DICE) -> float:
    """Look up a value in rows of metrics.csv; NaN where there is none."""
    of = metrics[
        (metrics["part"] == part)
        & (metrics["seed"].astype(str) == seed)
        & (metrics["class"] == name)
        & (metrics["metric"] == metric)
    ]
    return float(of["value"].iloc[0]) if len(of) else float("nan")
