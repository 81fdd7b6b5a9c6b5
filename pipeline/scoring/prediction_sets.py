"""Conformal prediction sets of a configuration: fitted on validation, their coverage measured on the test part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from pipeline.metrics.scored import Scored
from pipeline.scoring.quantities import COLUMNS as QUANTITIES
from pipeline.scoring.quantities import Quantity, quantity_table
from pipeline.uncertainty.conformal import aps_scores, lac_scores, prediction_sets
from pipeline.uncertainty.ratios import Drawn, ratio_draws
from pipeline.uncertainty.support import n_patients, n_patients_of

TARGET = 0.9
"""Coverage that is promised."""
COLUMNS = ["method", "target", *QUANTITIES]
LAC, APS, BY_CLASS = "lac", "aps", "class_wise"
_NOT_FINITE = "logits are not finite"


def conformal_table(
    val: Scored, test: Scored, classes: Sequence[str], counts: np.ndarray, confidence: float, target: float = TARGET
) -> pd.DataFrame:
    """Fit prediction sets on validation and measure them on the test part.

    Parameters
    ----------
    val, test : Scored
        Both parts, their logits calibrated; the test part grouped by patient.
    classes : sequence of str [K]
        Class names.
    counts : int [B, P]
        Draws of patients.
    confidence : float
        Of the intervals, in (0, 1).
    target : float
        Coverage that is promised, in (0, 1).

    Returns
    -------
    DataFrame
        `COLUMNS`. method: "lac" (one quantile of one minus the probability), "aps" (multiclass: sets that adapt their
        size), "class_wise" (a quantile for each class, or for presence and for absence of a multi-label class).
        Multiclass: coverage, size (mean), empty, single and several (shares of the images) of "overall", and coverage
        of every class among its own images. Multi-label, where the set of a class holds "present", "absent", both or
        nothing: coverage, coverage_present, coverage_absent, size, single, both and empty of every class and "macro".
    """
    multilabel = test.task == "multilabel"
    methods = [LAC, BY_CLASS] if multilabel else [LAC, APS, BY_CLASS]
    tables = []
    for method in methods:
        sets = np.stack([_sets(v, t, val, method, target) for v, t in zip(_likely(val), _likely(test))])
        found = (_binary if multilabel else _exclusive)(sets, val, test, counts)
        table = quantity_table(found, test, classes, confidence, macro=multilabel)
        if method == BY_CLASS:
            table["note"] = _with_few(table, _few(val, classes, target))
        tables.append(table.assign(method=method, target=target))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _few(val: Scored, classes: Sequence[str], target: float) -> dict[str, str]:
    """Say of which classes validation has too few images for a quantile of their own, so that every set holds them."""
    needed = int(np.ceil(target / (1 - target) - 1e-9))
    sides = {"present": val.truth.sum(axis=0), "absent": val.absent.sum(axis=0)}
    texts = {}
    for k, name in enumerate(classes):
        held = [
            f"every set holds '{side if val.task == 'multilabel' else name}': {n[k]} such validation "
            f"{'image' if n[k] == 1 else 'images'}, {needed} {'is' if needed == 1 else 'are'} needed"
            for side, n in sides.items()
            if n[k] < needed and (side == "present" or val.task == "multilabel")
        ]
        texts[name] = ", ".join(held)
    return texts


def _with_few(table: pd.DataFrame, few: dict[str, str]) -> list[str]:
    """Return the notes of a table of class-wise sets with what `_few` says."""
    return ["; ".join(filter(None, (note, few.get(name, "")))) for note, name in zip(table["note"], table["class"])]


def _likely(part: Scored) -> np.ndarray:
    """Probability of every label: [S, N, K] for exclusive classes, [S, N, K, 2] (absent, present) for others."""
    p = part.probabilities
    return np.stack([1 - p, p], axis=-1) if part.task == "multilabel" else p


def _sets(val: np.ndarray, test: np.ndarray, held: Scored, method: str, target: float) -> np.ndarray:
    """Return the sets of one model: bool [N, K], or [N, K, 2] (absent, present)."""
    scores = aps_scores if method == APS else lac_scores
    fitted, new, by_class, truth = scores(val), scores(test), method == BY_CLASS, held.truth
    if val.ndim == 2:
        return prediction_sets(fitted, truth.argmax(axis=1), new, target, by_class=by_class)
    one_by_one = [
        prediction_sets(fitted[r, k], truth[r, k].astype(int), new[:, k], target, by_class=by_class)
        for k, r in ((k, held.rows_of(k)) for k in range(truth.shape[1]))
    ]
    return np.stack(one_by_one, axis=1)


def _shares(val: Scored, test: Scored, counts: np.ndarray, above: np.ndarray, below: np.ndarray) -> Drawn:
    """Divide sums of [S, N, C] over images; `below` [N, C]."""
    tops = test.by_group(above, 1)
    bottoms = test.by_group(below[:, None])
    found = ratio_draws(tops, bottoms, counts)
    return Drawn(np.where((val.broken | test.broken)[:, None], np.nan, found.values), found.draws)


def _exclusive(sets: np.ndarray, val: Scored, test: Scored, counts: np.ndarray) -> Iterator[Quantity]:
    """Yield what is measured of sets [S, N, K] of exclusive classes."""
    everyone, every = np.array([float(n_patients(test))]), np.ones((len(test.truth), 1))
    held = (sets & test.truth).any(axis=-1, keepdims=True)
    size = sets.sum(axis=-1, keepdims=True)
    yield Quantity("coverage", _shares(val, test, counts, held, every), everyone, undefined=_NOT_FINITE)
    sizes = _shares(val, test, counts, size, every)
    yield Quantity("size", sizes, everyone, "loss", undefined=_NOT_FINITE, end=float(test.shape[1]))
    for name, which in (("empty", size == 0), ("single", size == 1), ("several", size > 1)):
        yield Quantity(name, _shares(val, test, counts, which, every), everyone, undefined=_NOT_FINITE)
    of_class = _shares(val, test, counts, sets & test.truth, test.truth)
    positives = (test.class_counts[:, 0] > 0).sum(axis=0).astype(float)
    yield Quantity("coverage", of_class, positives, undefined=f"no image of the class, or {_NOT_FINITE}")


def _binary(sets: np.ndarray, val: Scored, test: Scored, counts: np.ndarray) -> Iterator[Quantity]:
    """Yield what is measured of sets [S, N, K, 2] of presence and absence."""
    everyone, every = n_patients_of(test), test.everything
    absent, present = np.moveaxis(sets, -1, 0)
    held = np.where(test.truth, present, absent) & every
    with_positive, with_negative = (test.class_counts > 0).sum(axis=0).astype(float)
    yield Quantity("coverage", _shares(val, test, counts, held, every), everyone, undefined=_NOT_FINITE)
    for name, side, patients in (("present", test.truth, with_positive), ("absent", test.absent, with_negative)):
        of_side = _shares(val, test, counts, held & side, side)
        yield Quantity(f"coverage_{name}", of_side, patients, undefined=f"no such image, or {_NOT_FINITE}")
    size = absent.astype(int) + present
    sizes = _shares(val, test, counts, size * every, every)
    yield Quantity("size", sizes, everyone, "loss", undefined=_NOT_FINITE, end=2.0)
    for name, which in (("single", size == 1), ("both", size == 2), ("empty", size == 0)):
        yield Quantity(name, _shares(val, test, counts, which & every, every), everyone, undefined=_NOT_FINITE)
