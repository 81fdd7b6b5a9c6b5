"""Ensembles of segmentation: means of probabilities, and what all of the best agree on; chosen on validation."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.ensembling.settings import EnsembleSections
from pipeline.segmenting import intervals, results
from pipeline.segmenting.evaluation import PARTS, masks_of
from pipeline.segmenting.intervals import Means
from pipeline.segmenting.probabilities import Probabilities, averaged, best_thresholds, dice_curves, macro
from pipeline.segmenting.results import MACRO, MEAN, SCORES
from pipeline.segmenting.scores import DICE, score_all
from pipeline.study.files import ENSEMBLES, null, read_table, write_csv, write_json
from pipeline.study.parts import Part, read_parts
from pipeline.study.predictions import METRIC_COLUMNS, read_metrics
from pipeline.study.prepared import open_masks, read_dataset
from pipeline.study.runs import Run, configurations
from pipeline.study.trainings import evaluation_folder

ENSEMBLE = "ensemble"
COMPARED = ["family", "first", "second", "class", "difference", "low", "high", "confidence", "n", "patients"]


class Member(NamedTuple):
    """A training run: its probabilities by part (memory-mapped), its thresholds, and its Dice on validation."""

    run: Run
    probabilities: dict[str, Probabilities]
    thresholds: np.ndarray
    val_dice: float


class Found(NamedTuple):
    """An ensemble: its masks by part, bool [N, K, H, W], thresholds (none of masks), and Dice on validation."""

    members: list[Member]
    masks: dict[str, np.ndarray]
    thresholds: np.ndarray | None
    val_dice: float


def ensemble_segmentation(params: EnsembleSections) -> None:
    """Write the ensembles' metrics and members, and differences between configurations and from the chosen one."""
    settings, masks, parts = params.evaluate, open_masks(), read_parts(PARTS)
    classes = list(read_dataset().classes)
    diagonal = math.hypot(*masks.shape[1:3])
    truth = {name: masks_of(masks, part) for name, part in parts.items()}
    members = sorted(_members(params, classes), key=lambda each: -np.nan_to_num(each.val_dice, nan=-1))
    top, made, skipped = min(params.top_k, len(members)), {}, {}
    for name, chosen, combined in (
        ("mean_all", members, _mean),
        (f"mean_top{top}", members[:top], _mean),
        (f"and_top{top}", members[:top], _agreed),
    ):
        if len(chosen) < 2:
            skipped[name] = "one member only"
        elif name == f"mean_top{top}" and top == len(members):
            skipped[name] = "the same as mean_all"
        else:
            made[name] = combined(chosen, truth["val"])
    tables, lines, means = [], [], {}
    for name, found in made.items():
        for part, of in parts.items():
            values = score_all(found.masks[part], truth[part])[None]
            lines.append(results.image_table(values, of.rows, classes, [name], part, "ensemble"))
            averaged = results.all_means(values, of.patients, diagonal, settings.bootstrap, settings.seed)
            about = part, diagonal, settings.confidence, settings.seed
            tables.append(results.metric_rows(averaged, classes, [], *about, ENSEMBLE, name))
            if part == "test":
                means[name] = averaged[DICE]
    best = max(made, key=lambda name: made[name].val_dice, default=None)
    content = {
        "ensembles": {name: _described(name, found) for name, found in made.items()},
        "skipped": skipped,
        "chosen": best,
    }
    write_json(ENSEMBLES / "members.json", content)
    none = pd.DataFrame(columns=METRIC_COLUMNS)
    write_csv(ENSEMBLES / "metrics.csv", pd.concat(tables, ignore_index=True) if tables else none)
    columns = ["ensemble", "part", "row", "class", *SCORES]
    write_csv(ENSEMBLES / "images.csv", pd.concat(lines, ignore_index=True) if lines else pd.DataFrame(columns=columns))
    write_csv(ENSEMBLES / "comparisons.csv", _compared(params, parts["test"], classes, best, means))
    if best is not None:
        print(f"ensembles: {len(made)}; validation chooses {best}, Dice {made[best].val_dice:.3f}")


def _members(params: EnsembleSections, classes: list[str]) -> list[Member]:
    """Open the probabilities of every training run of the study that was evaluated."""
    members = []
    for configuration in configurations(params):
        folder = evaluation_folder(configuration)
        if not (folder / "metrics.csv").exists():
            continue
        metrics = read_metrics(folder / "metrics.csv")
        opened = {name: results.open_probabilities(folder, name) for name in PARTS}
        for s, seed in enumerate(results.seeds_of(metrics)):
            thresholds = results.thresholds_of(metrics, seed, classes)
            run, of = Run(*configuration, int(seed)), {name: opened[name][s] for name in PARTS}
            members.append(Member(run, of, thresholds, results.value_of(metrics, "val", seed)))
    return members


def _mean(members: list[Member], val_truth: np.ndarray) -> Found:
    """Average the probabilities of pixels, and choose thresholds anew."""
    means = {name: averaged([member.probabilities[name] for member in members]) for name in PARTS}
    thresholds, dice = best_thresholds(dice_curves(means["val"], val_truth))
    masks = {name: each >= thresholds[:, None, None] for name, each in means.items()}
    return Found(members, masks, thresholds, macro(dice))


def _agreed(members: list[Member], val_truth: np.ndarray) -> Found:
    """Take the pixels that all members find, each at its own threshold: the bitwise AND of their masks."""
    masks = {
        name: np.logical_and.reduce([m.probabilities[name] >= m.thresholds[:, None, None] for m in members])
        for name in PARTS
    }
    curves = dice_curves(masks["val"].astype(np.uint8), val_truth)
    return Found(members, masks, None, macro(np.array([_known_mean(curves[:, k, 1]) for k in range(curves.shape[1])])))


def _known_mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _described(name: str, found: Found) -> dict[str, Any]:
    """Return the entry of an ensemble in members.json."""
    return {
        "method": "bitwise AND of masks" if found.thresholds is None else "mean of probabilities",
        "val_dice": null(found.val_dice),
        "thresholds": None if found.thresholds is None else [int(t) / 255 for t in found.thresholds],
        "members": [{**m.run._asdict(), "val_dice": null(m.val_dice)} for m in found.members],
    }


def _compared(
    params: EnsembleSections, test: Part, classes: list[str], best: str | None, ensembles: dict[str, Means]
) -> pd.DataFrame:
    """Compare the Dice of every pair of configurations, and of the chosen ensemble with the chosen configuration.

    The intervals are simultaneous (Bonferroni over the comparisons of all classes together): one without 0 says that
    the two differ.
    """
    settings = params.evaluate
    of: dict[str, Means] = {}
    validation: dict[str, float] = {}
    for configuration in configurations(params):
        folder = evaluation_folder(configuration)
        if (folder / "images.csv").exists():
            table = read_table(folder / "images.csv", ("class", "part"))
            values = table[table["part"] == "test"][DICE].to_numpy(np.float64)
            stacked = values.reshape(-1, len(test.rows), len(classes))
            of[str(configuration)] = intervals.means(stacked, test.patients, settings.bootstrap, settings.seed)
            validation[str(configuration)] = results.value_of(read_metrics(folder / "metrics.csv"), "val", MEAN)
    pairs = [("configurations", one, other, of[one], of[other]) for one, other in combinations(of, 2)]
    if best is not None and of:
        chosen = max(validation, key=lambda name: np.nan_to_num(validation[name], nan=-1))
        pairs.append((ENSEMBLE, f"{ENSEMBLE}-{best}", chosen, ensembles[best], of[chosen]))
    confidence = 1 - (1 - settings.confidence) / max(1, len(pairs))
    rows = []
    for family, first, second, one, other in pairs:
        found = intervals.difference(one, other, confidence, settings.seed)
        for k, name in enumerate([*classes, MACRO]):
            if name != MACRO and len(classes) == 1:
                continue
            numbers = found.value[k], found.low[k], found.high[k]
            rows.append([family, first, second, name, *numbers, confidence, one.images[k], one.patients[k]])
    return pd.DataFrame(rows, columns=COMPARED)
