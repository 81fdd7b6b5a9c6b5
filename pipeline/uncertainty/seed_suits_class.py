"""Whether training seed X suits class Y, or the best seed of a class is the luck of this sample of patients.

Three answers from the same predictions: seeds are exchanged within patients, which is what they would be if no seed
suited a class more than another; patients are halved, and the best seed of one half is looked for in the other; and the
value that made a seed the best is set beside its value on the half that did not choose it.

Bandos, Rockette & Gur, "A permutation test sensitive to differences in areas for comparing ROC curves from a paired
design", Stat Med 24(18), 2005, doi:10.1002/sim.2149, for two models and one image per patient; here for S and several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.metrics.ranks import average_ranks
from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws
from pipeline.uncertainty.multiplicity import AGGREGATES, holm
from pipeline.uncertainty.support import support

COLUMNS = [
    "class",
    "n_seeds",
    "best_seed",
    "range",
    "range_by_chance",
    "p",
    "p_holm",
    "suits",
    "replication",
    "chance",
    "spearman",
    "winners_gap",
    "halvings",
    "note",
]


_BLOCK_BYTES = 2**26
"""Weights of exchanged patients held at once."""


class Interaction(NamedTuple):
    """Whether seeds and classes interact at all, over all classes together.

    Parameters
    ----------
    variance : float
        Of AUROC, left after the mean of each seed and of each class: sum of squares over (S - 1) (K - 1).
    by_chance : float
        Its mean over the exchanges.
    p : float
        Of a variance as large, where each class is measured in standard deviations of its own exchanges. Otherwise a
        class with ten positives would drown thirteen others. NaN with one seed or one class.
    """

    variance: float
    by_chance: float
    p: float


class SeedSuitsClass(NamedTuple):
    """What `seed_suits_class` returns.

    Parameters
    ----------
    classes : DataFrame
        `COLUMNS`, one row per class, then "macro".
    interaction : Interaction
        Over all classes.
    """

    classes: pd.DataFrame
    interaction: Interaction


@threadpool_limits.wrap(limits=1, user_api="blas")
def seed_suits_class(
    scored: Scored,
    classes: Sequence[str],
    seeds: Sequence[int | str],
    *,
    exchanges: int = 999,
    halvings: int = 200,
    alpha: float = 0.05,
    seed: int = 0,
) -> SeedSuitsClass:
    """Test, class by class, whether a seed gains more there than elsewhere, beyond what exchanging seeds would make it.

    Parameters
    ----------
    scored : Scored
        Test predictions of S seeds, grouped by patient.
    classes : sequence of str [K]
        Class names.
    seeds : sequence [S]
        Names of the seeds.
    exchanges : int
        Random exchanges of seeds within patients. p cannot go below 1 / (exchanges + 1), and with Holm's correction
        over 14 classes not below 14 times that: 999 leave room, 200 do not.
    halvings : int
        Random halvings of the patients; each is read in both directions.
    alpha : float
        Level below which an adjusted p-value counts.
    seed : int
        Of exchanges and halvings.

    Returns
    -------
    SeedSuitsClass
        In ``classes``: range is the highest minus the lowest AUROC over seeds, range_by_chance the median of it over
        exchanges. p: of the range that is left when each seed's mean over the classes is taken off, the share of
        exchanges at least as large; a seed that is better by as much in every class suits none of them. For "macro", p
        is of the range of that mean itself, a family of its own. p_holm: adjusted over the classes, suits: p_holm <
        alpha. replication: how often the best seed of one half is the best of the other,
        to be read beside chance = 1 / S (a tie for the best counts by its share). spearman: mean rank correlation of
        the seeds' values on the two halves. winners_gap: mean of the value of the seed chosen on a half, there, minus
        its value on the other half: what choosing flatters. halvings: those in which the class was defined on both
        sides; fewer than half of those asked for leave the three empty. NaN where a seed's value is undefined.

    Raises
    ------
    ValueError
        If names do not fit the predictions, or `exchanges` or `halvings` is below 1.

    Notes
    -----
    Exchanging swaps whole patients: the S vectors of predictions of all images and classes of a patient are handed to
    the S seeds in a random order. What images of a patient and classes have in common is thereby kept. Predictions are
    replaced by their ranks within seed and class first, which changes no AUROC: seeds may differ in scale, as
    calibration does, without suiting a class. p counts the observed arrangement as one of the exchanges (Phipson &
    Smyth, Stat Appl Genet Mol Biol 9(1), 2010, doi:10.2202/1544-6115.1585), so that its size is right at any number
    of them. The exchange says nothing about seeds that were not trained.
    """
    n_seeds, n_classes = scored.shape
    if len(classes) != n_classes or len(seeds) != n_seeds:
        raise ValueError(f"{len(seeds)} seeds and {len(classes)} classes; expected {n_seeds} and {n_classes}")
    if min(exchanges, halvings) < 1:
        raise ValueError(f"exchanges {exchanges}, halvings {halvings} must be at least 1")
    observed = measure(METRICS["auroc"], Weighted(scored))[0]
    exchanged = np.full((exchanges, *observed.shape), np.nan)
    if n_seeds > 1 and not scored.broken.any():
        exchanged = exchanged_auroc(scored, random_orders(exchanges, n_seeds, scored.n_groups, seed))
    refused = support(METRICS["auroc"], scored).refused
    table = _class_table(observed, exchanged, [str(s) for s in seeds], [*classes, "macro"], refused, alpha)
    halves = _halves(scored, halvings, seed)
    for column, values in _replication(*halves).items():
        table[column] = values
    table["note"] = _notes(observed, refused)
    return SeedSuitsClass(table[COLUMNS], _interaction(observed[:, :-1], exchanged[..., :-1]))


def random_orders(exchanges: int, n_seeds: int, n_patients: int, seed: int) -> np.ndarray:
    """Draw for each patient a random order of the seeds.

    Parameters
    ----------
    exchanges, n_seeds, n_patients : int
        R, S, P.
    seed : int
        Of the drawing.

    Returns
    -------
    uint8 or int64 [R, S, P]
        Whose predictions seed s is handed for patient p.
    """
    rng = np.random.default_rng(seed)
    small = np.uint8 if n_seeds <= 256 else np.int64
    orders = np.empty((exchanges, n_seeds, n_patients), dtype=small)
    for r in range(exchanges):  # one at a time: the random numbers take eight times the memory of the orders
        orders[r] = rng.random((n_patients, n_seeds)).argsort(axis=1).T
    return orders


def exchanged_auroc(scored: Scored, orders: np.ndarray) -> np.ndarray:
    """Compute the AUROCs of seeds that were handed each other's predictions, patient by patient.

    Parameters
    ----------
    scored : Scored
        Predictions of S seeds, grouped by patient, all finite.
    orders : int [R, S, P]
        From `random_orders`.

    Returns
    -------
    float64 [R, S, K + 1]
        Of each class and, last, their mean; NaN for a class without a positive or a negative.

    Notes
    -----
    The predictions of all seeds are pooled into S N images of S P patients, and ranked once. A seed that was handed
    others' predictions is then a weighting of these patients by 0 and 1, so that the sums of the bootstrap do.
    """
    n_seeds, n_classes = scored.shape
    n_images, n_patients = len(scored.truth), scored.n_groups
    ranks = average_ranks(scored.ranked_by, axis=1).reshape(1, n_seeds * n_images, n_classes)
    groups = (np.arange(n_seeds)[:, None] * n_patients + scored.groups).ravel()
    pooled = Scored(
        "multilabel", np.tile(scored.targets, (n_seeds, 1)), ranks, groups=groups, n_groups=n_seeds * n_patients
    )
    step = max(1, _BLOCK_BYTES // (n_seeds**2 * n_patients))
    blocks = []
    for start in range(0, len(orders), step):
        handed = orders[start : start + step, :, None] == np.arange(n_seeds)[:, None]  # [R, S, S, P]
        weights = handed.reshape(-1, n_seeds * n_patients)
        blocks.append(metric_draws(pooled, {"auroc": METRICS["auroc"]}, weights)["auroc"])
    return np.concatenate(blocks).reshape(len(orders), n_seeds, n_classes + 1)


def _class_table(
    observed: np.ndarray,
    exchanged: np.ndarray,
    seeds: Sequence[str],
    names: Sequence[str],
    refused: Sequence[str],
    alpha: float,
) -> pd.DataFrame:
    """Return the columns that the exchanges give, from `observed` [S, C] and `exchanged` [R, S, C]."""
    n_seeds = len(observed)
    defined = ~np.isnan(observed).any(axis=0) & (n_seeds > 1)
    observed_range, by_chance = np.ptp(observed, axis=0), np.ptp(exchanged, axis=1)
    apart = np.concatenate([_apart_from_mean(observed[None]), _apart_from_mean(exchanged)])
    tested = defined & np.array([not text for text in refused])
    # One class cannot be set against the others.
    tested[:-1] &= defined[:-1].sum() > 1
    p = np.where(tested, _share_as_large(np.ptp(apart[0], axis=0), np.ptp(apart[1:], axis=1)), np.nan)
    aggregate = np.isin(np.asarray(names), AGGREGATES)
    adjusted = np.full(len(names), np.nan)
    for family in (aggregate, ~aggregate):
        adjusted[family] = holm(p[family])
    best = [seeds[int(column.argmax())] if ok else "" for column, ok in zip(observed.T, defined)]
    return pd.DataFrame(
        {
            "class": list(names),
            "n_seeds": n_seeds,
            "best_seed": best,
            "range": np.where(defined, observed_range, np.nan),
            "range_by_chance": np.where(defined, np.median(by_chance, axis=0), np.nan),
            "p": p,
            "p_holm": adjusted,
            "suits": adjusted < alpha,
            "chance": 1 / n_seeds,
        }
    )


def _apart_from_mean(values: np.ndarray) -> np.ndarray:
    """Take off each seed's mean over the classes from `values` [R, S, K + 1]; the last column, the mean, stays."""
    classes = values[..., :-1]
    usable = ~np.isnan(classes).any(axis=(0, 1))
    mean = np.where(usable, classes, 0).sum(axis=-1, keepdims=True) / max(int(usable.sum()), 1)
    return np.concatenate([classes - mean, values[..., -1:]], axis=-1)


def _share_as_large(value: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    """Return the share of `by_chance` [R, ...] that is at least `value` [...], which counts as one of them."""
    return (1 + (by_chance >= value - 1e-12).sum(axis=0)) / (1 + len(by_chance))


def _halves(scored: Scored, halvings: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUROCs [2 H, S, K + 1] on random halves of the patients, and on the other halves."""
    rng = np.random.default_rng([seed, 1])  # apart from the exchanges
    n_patients = scored.n_groups
    chosen = np.zeros((halvings, n_patients), dtype=np.uint8)
    for row in chosen:
        row[rng.permutation(n_patients)[: n_patients // 2]] = 1
    values = metric_draws(scored, {"auroc": METRICS["auroc"]}, np.concatenate([chosen, 1 - chosen]))["auroc"]
    return values, np.roll(values, halvings, axis=0)


def _replication(here: np.ndarray, there: np.ndarray) -> dict[str, np.ndarray]:
    """Say how the best seed `here` does `there`; both [2 H, S, C], the second half of the rows being the first turned.

    Returns
    -------
    dict of float64 [C]
        "replication", "spearman", "winners_gap" and "halvings".
    """
    defined = ~(np.isnan(here) | np.isnan(there)).any(axis=1)
    here, there = np.where(defined[:, None], here, 0), np.where(defined[:, None], there, 0)
    best, best_there = (x >= x.max(axis=1, keepdims=True) - 1e-12 for x in (here, there))
    n_best = best.sum(axis=1)
    # Each of several best seeds is as likely to be picked, on either side.
    replicates = (best & best_there).sum(axis=1) / (n_best * best_there.sum(axis=1))
    gap = ((here - there) * best).sum(axis=1) / n_best
    correlation, correlated = _rank_correlation(here, there)
    correlated &= defined
    halvings = defined.sum(axis=0) // 2
    enough = (4 * halvings >= len(defined)) & (here.shape[1] > 1)

    def mean(values: np.ndarray, over: np.ndarray) -> np.ndarray:
        total, n = np.where(over, values, 0).sum(axis=0), over.sum(axis=0)
        return np.where(enough & (n > 0), total / np.maximum(n, 1), np.nan)

    return {
        "replication": mean(replicates, defined),
        "spearman": mean(correlation, correlated),
        "winners_gap": mean(gap, defined),
        "halvings": halvings,
    }


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Spearman's correlation over axis 1 of two [H, S, C], and where it exists (no side all equal)."""
    ranks = [average_ranks(x, axis=1) for x in (first, second)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    scale = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), scale, out=np.zeros_like(scale), where=scale > 0), scale > 0


def _interaction(observed: np.ndarray, exchanged: np.ndarray) -> Interaction:
    """Test the variance of seed x class, from `observed` [S, K] and `exchanged` [R, S, K]."""
    defined = ~(np.isnan(observed).any(axis=0) | np.isnan(exchanged).any(axis=(0, 1)))
    n_seeds, n_classes = len(observed), int(defined.sum())
    if n_seeds < 2 or n_classes < 2:
        return Interaction(np.nan, np.nan, np.nan)
    values = np.concatenate([observed[None], exchanged])[..., defined]
    values = values - values.mean(axis=1, keepdims=True)
    scale = np.sqrt((values**2).mean(axis=(0, 1)))
    raw = _residual_variance(values)
    scaled = _residual_variance(values / np.where(scale > 1e-12, scale, 1))
    return Interaction(float(raw[0]), float(raw[1:].mean()), float(_share_as_large(scaled[0], scaled[1:])))


def _residual_variance(values: np.ndarray) -> np.ndarray:
    """Return the variance [R] that `values` [R, S, K], centred over seeds, have beyond the mean of each seed."""
    residual = values - values.mean(axis=2, keepdims=True)
    return (residual**2).sum(axis=(1, 2)) / ((values.shape[1] - 1) * (values.shape[2] - 1))


def _notes(observed: np.ndarray, refused: Sequence[str]) -> list[str]:
    """Say for each column of `observed` [S, C] why numbers are missing, or how few patients they rest on."""
    if len(observed) == 1:
        return ["one seed: no spread"] * len(refused)
    undefined = np.isnan(observed).any(axis=0)
    return ["undefined for a seed" if missing else text for missing, text in zip(undefined, refused)]
