"""What is gained by leaving the least certain images to a person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.metrics.scored import Scored
from pipeline.metrics.selective import aurc, cut_for_coverage
from pipeline.scoring.quantities import Quantity, quantity_table
from pipeline.uncertainty.ratios import Drawn, expected_interval, linear_draws, ratio_draws
from pipeline.uncertainty.support import MIN_PATIENTS, class_refusals, mean_refusal, n_patients, n_patients_of

COVERAGES = {"90": 0.9, "80": 0.8}
"""Shares of the images that are kept, by the name that metrics carry."""
GRID = np.arange(1, 11) / 10
"""Coverages of the curve."""
CURVE_COLUMNS = ["class", "coverage", "error", "ci_low", "ci_high", "n", "n_seeds"]
_NO_DECISION = "no decision under a seed: no threshold, or logits that are not finite"


def certainty(raw: Scored, calibrated: Scored) -> tuple[np.ndarray, np.ndarray]:
    """Return how certain each decision is, and whether it is wrong.

    Parameters
    ----------
    raw, calibrated : Scored
        The same images as trained, with their thresholds, and calibrated.

    Returns
    -------
    certain : float64 [S, N, C]
        Calibrated probability that the decision is right; C = K for multi-label, where each class is decided by
        itself, and 1 for multiclass.
    wrong : bool [S, N, C]
        False where the label is not known: what it is divided by says so.
    """
    likely, called = calibrated.probabilities, raw.decisions()
    if raw.task == "multilabel":
        return np.where(called, likely, 1 - likely), (called != raw.truth) & raw.everything
    return np.take_along_axis(likely, raw.logits.argmax(axis=-1)[..., None], -1), ~(called & raw.truth).any(
        axis=-1, keepdims=True
    )


def selection_tables(
    val: tuple[Scored, Scored],
    test: tuple[Scored, Scored],
    classes: Sequence[str],
    counts: np.ndarray,
    confidence: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the error of the images that are kept.

    Parameters
    ----------
    val, test : (Scored, Scored)
        Each part as trained (with thresholds) and calibrated; the test part grouped by patient.
    classes : sequence of str [K]
        Class names.
    counts : int [B, P]
        Draws of patients.
    confidence : float
        Of the intervals, in (0, 1).

    Returns
    -------
    quantities : DataFrame
        `quantities.COLUMNS`, by class (and "macro", their mean) for multi-label, "overall" for multiclass. error: of
        all images. aurc: area under the risk-coverage curve. coverage_90: share of the test images whose certainty
        reaches the cut that keeps 90 % of the validation images; accuracy_90: share of these that are right; gain_90:
        by how much that exceeds the accuracy of all images; kept_positives_90: share of the positives that are kept
        (multi-label); the same for 80.
    curve : DataFrame
        `CURVE_COLUMNS`: error at each coverage of `GRID`, the cuts being those of the test images themselves.
    """
    certain, wrong = certainty(*test)
    of_val, _ = certainty(*val)
    raw = test[0]
    blank = raw.undecided() | raw.broken[:, None] if raw.task == "multilabel" else raw.broken[:, None]
    n = len(raw.truth)
    rows, rows_of_val = ([part.rows_of(c) for c in range(certain.shape[2])] for part in (raw, val[0]))
    n_columns = certain.shape[2]
    everyone = n_patients_of(raw) if raw.task == "multilabel" else np.full(n_columns, float(n_patients(raw)))
    truth = raw.truth if raw.task == "multilabel" else np.ones((n, 1), dtype=bool)

    def drawn(above: np.ndarray, below: np.ndarray) -> Drawn:
        """Divide sums of [S, N, C] over images."""
        tops, bottoms = (raw.by_group(x, 1) for x in (above, below))
        found = ratio_draws(tops, bottoms, counts)
        return Drawn(np.where(blank, np.nan, found.values), found.draws)

    every = np.broadcast_to(raw.everything if raw.task == "multilabel" else truth, wrong.shape)
    right = drawn(~wrong & every, every)
    areas = [[aurc(certain[s, r, c], wrong[s, r, c]) for c, r in enumerate(rows)] for s in range(len(certain))]
    influence = np.zeros((n, len(certain), n_columns))
    for s, of_seed in enumerate(areas):
        for c, area in enumerate(of_seed):
            influence[rows[c], s, c] = area.influence
    value = np.where(blank, np.nan, [[a.value for a in of_seed] for of_seed in areas])
    of_patients = linear_draws(value, raw.by_group(influence), counts)
    quantities = [
        Quantity("error", Drawn(1 - right.values, 1 - right.draws), everyone, undefined=_NO_DECISION),
        Quantity("aurc", of_patients, everyone, proportion=False, undefined=_NO_DECISION),
    ]
    for name, coverage in COVERAGES.items():
        cuts = [[cut_for_coverage(one[r, c], coverage) for c, r in enumerate(rows_of_val)] for one in of_val]
        kept = (certain >= np.array(cuts)[:, None]) & every
        accuracy = drawn(kept & ~wrong, kept)
        carriers = (raw.by_group(kept, 1) > 0).sum(axis=0).min(axis=0).astype(float)  # patients with an image kept
        nothing = f"no image is as certain as the cut of validation; {_NO_DECISION}"
        quantities += [
            Quantity(f"coverage_{name}", drawn(kept, every), everyone, undefined=_NO_DECISION),
            Quantity(f"accuracy_{name}", accuracy, carriers, undefined=nothing),
            Quantity(f"gain_{name}", accuracy.minus(right), carriers, None, undefined=nothing, end=1.0),
        ]
        if raw.task == "multilabel":
            positives = (raw.class_counts[:, 0] > 0).sum(axis=0).astype(float)
            of_positives = drawn(kept & truth, np.broadcast_to(truth, kept.shape))
            quantities.append(
                Quantity(f"kept_positives_{name}", of_positives, positives, undefined=f"no positive; {_NO_DECISION}")
            )
    macro = raw.task == "multilabel"
    table = quantity_table(quantities, raw, classes, confidence, macro=macro)
    return table, _curve(certain, wrong, blank, raw, classes, counts, confidence)


def _curve(
    certain: np.ndarray,
    wrong: np.ndarray,
    blank: np.ndarray,
    raw: Scored,
    classes: Sequence[str],
    counts: np.ndarray,
    confidence: float,
) -> pd.DataFrame:
    """Return the error at each coverage of `GRID`: of every column and, for multi-label, of their mean."""
    columns = range(certain.shape[2])
    curves, carriers = [], []
    for c in columns:
        here = certain[:, raw.rows_of(c), c]
        ordered = np.sort(here, axis=1)[:, ::-1]
        last = np.maximum(np.ceil(GRID * here.shape[1] - 1e-9).astype(int), 1) - 1
        cuts = ordered[:, last] if here.shape[1] else np.full((len(here), len(GRID)), np.nan)  # [S, points]
        kept = certain[:, :, c, None] >= cuts[:, None]
        if raw.known is not None:
            kept &= raw.known[:, c, None]
        lost, held = (raw.by_group(x, 1) for x in (kept & wrong[:, :, c, None], kept))
        found = ratio_draws(lost, held, counts)
        curves.append(Drawn(np.where(blank[:, c, None], np.nan, found.values), found.draws))
        carriers.append((held > 0).sum(axis=0).min(axis=0))
    names = list(classes) if raw.task == "multilabel" else ["overall"]
    images = [*raw.n_known.tolist(), raw.n_images] if raw.task == "multilabel" else [raw.n_images]
    refused = class_refusals(raw) if raw.task == "multilabel" else [""]
    known = [c for c in columns if not np.isnan(curves[c].values).any()]
    if raw.task == "multilabel" and known:
        mean = Drawn(*(np.mean([getattr(curves[c], part) for c in known], axis=0) for part in Drawn._fields))
        curves, names, refused = [*curves, mean], [*names, "macro"], [*refused, mean_refusal(raw, refused)]
        carriers.append(np.min([carriers[c] for c in known], axis=0))
    tables = []
    for name, n, of, few, patients in zip(names, images, curves, refused, carriers):
        value, low, high = expected_interval(of, patients, confidence, "share", proportion=True, curve=True)
        low, high = (np.where(bool(few) | (patients < MIN_PATIENTS), np.nan, end) for end in (low, high))
        content = [name, GRID, value, low, high, n, len(certain)]
        tables.append(pd.DataFrame(dict(zip(CURVE_COLUMNS, content))))
    return pd.concat(tables, ignore_index=True)
