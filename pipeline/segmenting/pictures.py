"""Which external images are shown: of each structure the best, the median and the worst, as of the test part."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.segmenting.ensembles import ENSEMBLE
from pipeline.segmenting.results import MEAN, SCORES, value_of
from pipeline.segmenting.scores import DICE, KINDS, MOST, three_of
from pipeline.study.predictions import read_metrics
from pipeline.study.runs import Run
from pipeline.study.trainings import evaluation_folder

if TYPE_CHECKING:
    from pipeline.segmenting.elsewhere import External, Scored


def pictured(
    scored: list[Scored], of: External, probabilities: Callable[[Scored, Run, np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """Return the images that are shown of the configuration that validation chooses, with both masks.

    Parameters
    ----------
    scored : list of Scored
        With the scores of every external image.
    of : External
        The images.
    probabilities : callable
        Returns uint8 [n, K, H, W] of a configuration, one of its training runs, and rows.

    Returns
    -------
    dict
        model, loss, seed, names and kinds [n], rows [n], dice [n], images [n, ...], truth and found bool [n, H, W].
    """
    configurations = [each for each in scored if each.model != ENSEMBLE]
    chosen = max(configurations, key=lambda each: np.nan_to_num(_validated(each, MEAN), nan=-1))
    best = max(range(len(chosen.runs)), key=lambda s: np.nan_to_num(_validated(chosen, chosen.labels[s]), nan=-1))
    dice = np.concatenate(chosen.there, 1)[best, ..., SCORES.index(DICE)]
    known = (~np.isnan(dice)).sum(0)
    most = sorted((k for k in range(len(of.compared)) if known[k]), key=lambda k: -known[k])[:MOST]
    shown = [(k, kind, place) for k in most for kind, place in zip(KINDS, three_of(dice[:, k]))]
    rows = of.rows[[place for _, _, place in shown]]
    at = chosen.thresholds[best] if chosen.thresholds is not None else np.zeros(len(of.compared), np.int64)
    found = probabilities(chosen, chosen.runs[best], rows) >= at[:, None, None] if len(rows) else None
    truth = of.truth(rows) if len(rows) else None
    empty = np.zeros((0, *of.images.shape[1:3]), bool)
    return {
        "model": chosen.model,
        "loss": chosen.loss,
        "seed": int(chosen.labels[best]),
        "names": np.array([of.compared[k] for k, _, _ in shown], dtype=str),
        "kinds": np.array([kind for _, kind, _ in shown], dtype=str),
        "rows": rows,
        "dice": np.array([dice[place, k] for k, _, place in shown]),
        "images": of.images[rows],
        "truth": empty if truth is None else np.stack([truth[i, k] for i, (k, _, _) in enumerate(shown)]),
        "found": empty if found is None else np.stack([found[i, k] for i, (k, _, _) in enumerate(shown)]),
    }


def _validated(each: Scored, seed: str) -> float:
    """Return the mean Dice on validation of a configuration, under a seed or as the mean over all."""
    return value_of(read_metrics(evaluation_folder(each.runs[0].configuration) / "metrics.csv"), "val", seed)
