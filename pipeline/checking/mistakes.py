"""Wrong decisions: which, how many seeds share them, what else is in the image; and what a probability is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pipeline.metrics.calibration import ECE_BINS
from pipeline.metrics.thresholds import probabilities
from pipeline.study.predictions import Predictions
from pipeline.study.unknown import known_of
from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.intervals import wilson
from pipeline.uncertainty.metric_intervals import share_interval
from pipeline.uncertainty.multiplicity import holm
from pipeline.uncertainty.support import MIN_PATIENTS

POSITIVE, NEGATIVE, CONFUSED = "false positive", "false negative", "wrong class"


EACH = 3
"""Errors of a kind that are listed of every class."""


_BIN_IMAGES = 50
"""Images that a point of a reliability curve rests on, if bins can be merged so."""


_PAIR_COLUMNS = [
    "called",
    "present",
    "n_false",
    "n_both",
    "expected",
    "lift",
    "share_low",
    "share_high",
    "prevalence",
    "patients",
    "more",
    "p",
    "p_holm",
]


@dataclass(frozen=True)
class Decisions:
    """What the seeds of one configuration decide on the test part.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Multi-label: positive at or above the threshold of the seed and class; multiclass: the largest probability.
    classes : tuple of str [K]
        Class names.
    seeds : tuple of int [S]
        Training seeds whose logits are finite.
    rows : int64 [N]
        Positions in images.npy.
    patients : str [N]
        Patient of each image.
    truth : bool [N, K]
        Labels.
    probabilities : float64 [S, N, K]
        In [0, 1].
    thresholds : float64 [S, K]
        Chosen on validation; NaN where none was, and for multiclass.
    known : bool [N, K] or None
        Which labels are known; None: all.
    """

    task: str
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: np.ndarray
    patients: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray
    known: np.ndarray | None = None

    @classmethod
    def of(cls, predictions: Predictions, seeds: Sequence[int], threshold: Callable[[int, str], float]) -> Decisions:
        """Decide on every test image as `seeds` do, of those whose logits are finite.

        Parameters
        ----------
        predictions : Predictions
            Of these seeds and maybe others.
        seeds : sequence of int
            In the order in which they are to stand.
        threshold : callable
            From a seed and the name of a class to what validation chose; NaN where nothing.
        """
        trained, classes = predictions.seeds.tolist(), tuple(predictions.classes.tolist())
        finite = [seed for seed in seeds if np.isfinite(predictions.test_logits[trained.index(seed)]).all()]
        thresholds = [[threshold(seed, name) for name in classes] for seed in finite]
        return cls(
            task=predictions.task,
            classes=classes,
            seeds=tuple(finite),
            rows=predictions.test_rows,
            patients=predictions.test_patients,
            truth=predictions.test_targets == 1,
            known=known_of(predictions.test_targets),
            probabilities=probabilities(
                predictions.test_logits[[trained.index(seed) for seed in finite]], predictions.task
            ),
            thresholds=np.array(thresholds, dtype=np.float64).reshape(len(finite), len(classes)),
        )

    @cached_property
    def absent(self) -> np.ndarray:
        """Bool [N, K]: known not to be there."""
        return ~self.truth if self.known is None else self.known & ~self.truth

    @cached_property
    def mean(self) -> np.ndarray:
        """Float64 [N, K]: mean probability over seeds."""
        return self.probabilities.mean(axis=0)

    @cached_property
    def decided(self) -> np.ndarray:
        """Bool [K]: every seed can decide on the class."""
        complete = np.isfinite(self.thresholds).all(axis=0)
        return np.ones_like(complete) if self.task == "multiclass" else complete

    @cached_property
    def called(self) -> np.ndarray:
        """Bool [S, N, K]: called positive; False where a class is not decided."""
        if self.task == "multiclass":
            return self.probabilities.argmax(axis=-1)[..., None] == np.arange(len(self.classes))
        return (self.probabilities >= self.thresholds[:, None, :]) & self.decided

    @cached_property
    def mostly_called(self) -> np.ndarray:
        """Bool [N, K]: called positive by more than half of the seeds."""
        return 2 * self.called.sum(axis=0) > len(self.seeds)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Bool [S, N, K]: decided against the label."""
        wrong = (self.called != self.truth) & self.decided
        return wrong if self.known is None else wrong & self.known


def confident_errors(decisions: Decisions, each: int = EACH) -> pd.DataFrame:
    """Find the errors of which the mean over seeds is surest.

    Parameters
    ----------
    decisions : Decisions
        Of a configuration.
    each : int
        Most errors per class and kind.

    Returns
    -------
    DataFrame
        class, kind, place (index in the test part), decided (class called instead; multiclass), probability (mean over
        seeds: of the class, for multiclass of the one decided), low, high (over seeds), threshold (mean over seeds),
        wrong (seeds that err). Multi-label: of every class the false positives with the highest and the false negatives
        with the lowest mean probability among the images that more than half of the seeds decide wrongly. Multiclass:
        of every true class the images whose highest mean probability is of another class, the highest first. Copies of
        one image count once.
    """
    errors: list[dict[str, Any]] = []
    for k in range(len(decisions.classes)):
        if decisions.task == "multiclass":
            decided = decisions.mean.argmax(axis=1)
            cases = [(CONFUSED, decisions.truth[:, k] & (decided != k), decided)]
        else:
            column = np.full(len(decisions.rows), k)
            mostly = 2 * decisions.wrong[:, :, k].sum(axis=0) > len(decisions.seeds)
            cases = [
                (POSITIVE, mostly & decisions.absent[:, k], column),
                (NEGATIVE, mostly & decisions.truth[:, k], column),
            ]
        for kind, wrong, decided_for in cases:
            places = np.flatnonzero(wrong)
            surest = decisions.mean[places, decided_for[places]] * (1 if kind == NEGATIVE else -1)
            places = places[np.argsort(surest, kind="stable")]
            _, first = np.unique(decisions.rows[places], return_index=True)
            errors += [
                _error(decisions, kind, k, place, int(decided_for[place])) for place in places[np.sort(first)][:each]
            ]
    columns = ["class", "kind", "place", "decided", "probability", "low", "high", "threshold", "wrong"]
    return pd.DataFrame(errors, columns=columns)


def _error(decisions: Decisions, kind: str, k: int, place: int, decided: int) -> dict[str, Any]:
    over_seeds = decisions.probabilities[:, place, decided]
    return {
        "class": decisions.classes[k],
        "kind": kind,
        "place": int(place),
        "decided": decisions.classes[decided],
        "probability": over_seeds.mean(),
        "low": over_seeds.min(),
        "high": over_seeds.max(),
        "threshold": decisions.thresholds[:, k].mean(),
        "wrong": int(decisions.wrong[:, place, k].sum()),
    }


def shared_errors(decisions: Decisions, draws: int, confidence: float, seed: int) -> pd.DataFrame:
    """Count the errors that all seeds make, and those that one makes alone.

    Parameters
    ----------
    decisions : Decisions
        Of two seeds or more.
    draws, confidence, seed : int, float, int
        Of the bootstrap over patients.

    Returns
    -------
    DataFrame
        kind, n (errors of any seed: an image and a class, for multiclass an image), a_seed (mean number of errors of
        one seed), patients (with such an error), and for "every" (seed) and "one" (seed alone) the share of n with
        its interval: every, every_low, every_high, one, one_low, one_high. NaN where there is no error, and intervals
        of fewer than `MIN_PATIENTS` patients.
    """
    counts, index = patient_draws(decisions.patients, draws, seed)
    if decisions.task == "multiclass":
        kinds = {CONFUSED: decisions.wrong.any(axis=2, keepdims=True)}
    else:
        kinds = {
            POSITIVE: decisions.wrong & decisions.absent,
            NEGATIVE: decisions.wrong & decisions.truth,
            "all errors": decisions.wrong,
        }
    rows = []
    for kind, errors in kinds.items():
        times = errors.sum(axis=0)
        by_patient = {
            name: np.bincount(index, hit.sum(axis=1), counts.shape[1])
            for name, hit in (("any", times > 0), ("every", times == len(decisions.seeds)), ("one", times == 1))
        }
        n, patients = int(by_patient["any"].sum()), int((by_patient["any"] > 0).sum())
        row = {"kind": kind, "n": n, "a_seed": times.sum() / len(decisions.seeds), "patients": patients}
        below = counts @ by_patient["any"]
        for name in ("every", "one"):
            above = counts @ by_patient[name]
            shares = np.divide(above, below, out=np.full(draws, np.nan), where=below > 0)
            row[name] = by_patient[name].sum() / n if n else math.nan
            low, high = share_interval(row[name], shares, patients, confidence)
            enough = patients >= MIN_PATIENTS
            row |= {
                f"{name}_low": float(low) if enough else math.nan,
                f"{name}_high": float(high) if enough else math.nan,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def co_occurrence(decisions: Decisions, confidence: float) -> pd.DataFrame:
    """Ask of the false positives of each finding whether another finding is on them more or less often than elsewhere.

    Parameters
    ----------
    decisions : Decisions
        Of a multi-label configuration; called is what more than half of the seeds call.
    confidence : float
        Of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        One row per ordered pair of two classes: called, present; n_false (images without `called` that are called it),
        n_both (those of them with `present`), expected (n_both if it were as frequent among them as among all images
        without `called`), lift (n_both / expected), share_low, share_high (Wilson's interval of n_both / n_false),
        prevalence (of `present` among all images without `called`), patients (that have such an image). p: Fisher's
        exact test, two-sided, of false call against `present`, on one image per patient, the first without `called`;
        NaN where one of the four margins is empty. more: whether `present` is more frequent on the false positives of
        that test. p_holm: p adjusted for all pairs tested.

    Notes
    -----
    Images of one patient resemble each other, so that a test on all images would find too much. Which image stands for
    the patient depends neither on the decisions nor on `present`, so that the test on one image each stays exact.
    """
    rows = []
    for a in np.flatnonzero(decisions.decided):
        without = np.flatnonzero(decisions.absent[:, a])
        absent, false, first = _false_calls(decisions, without, a)
        for b in (b for b in range(len(decisions.classes)) if b != a):
            if decisions.known is not None:
                absent, false, first = _false_calls(decisions, without[decisions.known[without, b]], a)
            n_false = int(false.sum())
            present = decisions.truth[absent, b]
            n_both = int((false & present).sum())
            prevalence = present.mean() if len(absent) else math.nan
            expected = n_false * prevalence
            lift = n_both / expected if expected > 0 else math.nan
            low, high = wilson(n_both, n_false, confidence)
            more, p = _fisher(false[first], present[first])
            counted = [n_false, n_both, expected, lift, float(low), float(high), prevalence, len(first)]
            rows.append([decisions.classes[a], decisions.classes[b], *counted, more, p])
    table = pd.DataFrame(rows, columns=_PAIR_COLUMNS[:-1])
    return table.assign(p_holm=holm(table["p"].to_numpy(np.float64)))


def _false_calls(decisions: Decisions, absent: np.ndarray, a: np.intp) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images `absent` without class `a`, which of them are called it, and the first of each patient."""
    return (
        absent,
        decisions.mostly_called[absent, a],
        np.unique(decisions.patients[absent], return_index=True)[1],
    )


def _fisher(first: np.ndarray, second: np.ndarray) -> tuple[bool, float]:
    """Say whether two bool [N] are together more often than expected, and test it; p is NaN where one is constant."""
    if first.all() or second.all() or not first.any() or not second.any():
        return False, math.nan
    from scipy.stats import fisher_exact  # not at the top: scipy.stats takes half a second

    table = [[int((f & s).sum()) for s in (second, ~second)] for f in (first, ~first)]
    return bool(second[first].mean() > second[~first].mean()), float(fisher_exact(table).pvalue)


def reliability_curve(table: pd.DataFrame, name: str, calibrated: bool) -> pd.DataFrame:
    """Read a reliability curve, the seeds pooled and neighbouring bins merged until they hold enough images.

    Parameters
    ----------
    table : DataFrame
        reliability.csv.
    name : str
        Class, or "overall".
    calibrated : bool
        After or before calibration.

    Returns
    -------
    DataFrame
        n (images, mean over seeds), probability and frequency (means over the images and seeds), one row per bin.
    """
    rows = table[(table["class"] == name) & (table["calibrated"] == calibrated)]
    seeds = rows["seed"].nunique()
    in_bin = rows["n"].sum() / max(seeds, 1) / ECE_BINS
    merged = next((m for m in (1, 3) if m * in_bin >= _BIN_IMAGES), 5)
    weighted = pd.DataFrame(
        {
            "n": rows["n"],
            "probability": rows["mean_probability"] * rows["n"],
            "frequency": rows["frequency"] * rows["n"],
        }
    )
    sums = weighted.groupby(rows["bin"] // merged).sum()
    means = sums[["probability", "frequency"]].div(sums["n"], axis=0)
    return means.assign(n=sums["n"] / max(seeds, 1)).reset_index(drop=True)
