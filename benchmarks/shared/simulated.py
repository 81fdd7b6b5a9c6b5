"""Simulated studies whose truth is known, and what the pipeline's own functions say of them.

Scores are normal, so that every true value has a closed form or an integral. Each class of a drawn data set is a
repetition of one and the same study: one pass over the draws of patients then computes all repetitions at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from pipeline.ensembling.sets import one_family
from pipeline.metrics.registry import METRICS, Metric, measure, metrics_of
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.comparisons import Side, compare
from pipeline.uncertainty.intervals import nested_error, one_sided, spread, t_interval
from pipeline.uncertainty.metric_intervals import metric_intervals, total_intervals
from pipeline.uncertainty.multiplicity import holm
from pipeline.uncertainty.support import support

DRAWS = 500
OWN = 0.3
"""Standard deviation of what is an image's own; that of a patient is 1."""
KEYS = ("auroc", "average_precision", "sensitivity", "specificity", "precision", "f1", "mcc", "log_loss", "brier")
Shares = dict[str, np.ndarray]
"""By name, of each repetition: 1 where the statement was right (or made), 0 where not, NaN where there was none."""


def signal_of(auroc: float, own_sd: float = 0.0) -> float:
    """Return the mean score of a positive that gives `auroc`, that of a negative being 0."""
    return float(norm.ppf(auroc) * np.sqrt(2 * (1 + OWN**2 + own_sd**2)))


@cache
def truths(auroc: float, prevalence: float) -> Mapping[str, float]:
    """Return what each metric of `KEYS` is in an endless sample, decisions being at the midpoint of the two means."""
    scale, signal = np.sqrt(1 + OWN**2), signal_of(auroc)
    sensitivity = float(norm.cdf(signal / 2 / scale))
    tp, fp = prevalence * sensitivity, (1 - prevalence) * (1 - sensitivity)
    fn, tn = prevalence - tp, 1 - prevalence - fp

    def precision_at(x: float) -> float:
        hits = prevalence * norm.sf((x - signal) / scale)
        return hits / (hits + (1 - prevalence) * norm.sf(x / scale))

    def expected(of_positive, of_negative) -> float:
        def at(x: float) -> float:
            positive = prevalence * norm.pdf((x - signal) / scale) * of_positive(x - signal / 2)
            return (positive + (1 - prevalence) * norm.pdf(x / scale) * of_negative(x - signal / 2)) / scale

        return float(quad(at, -9 * scale, signal + 9 * scale, limit=200)[0])

    average = quad(lambda x: precision_at(x) * norm.pdf((x - signal) / scale) / scale, signal - 9, signal + 9)[0]
    return {
        "auroc": auroc,
        "average_precision": float(average),
        "sensitivity": sensitivity,
        "specificity": sensitivity,
        "precision": tp / (tp + fp),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        "log_loss": expected(lambda z: np.logaddexp(0, -z), lambda z: np.logaddexp(0, z)),
        "brier": expected(lambda z: expit(-z) ** 2, lambda z: expit(z) ** 2),
    }


def study(
    rng: np.random.Generator,
    repetitions: int,
    positives: int,
    negatives: int,
    images: int,
    signals: np.ndarray,
    own_sd: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw targets [N, R], logits [S, N, R] and patients [N].

    Parameters
    ----------
    signals : float [S, R]
        Mean score of a positive, of each network.
    own_sd : float
        Standard deviation of what one network alone makes of a patient.
    """
    patients = positives + negatives
    of = np.repeat(np.arange(patients), images)
    ill = rng.random((patients, repetitions)) < positives / patients  # how many have it is chance, too
    shared = rng.normal(size=(patients, repetitions))[of] + OWN * rng.normal(size=(len(of), repetitions))
    own = own_sd * rng.normal(size=(len(signals), patients, repetitions))[:, of]
    return ill[of], signals[:, None] * ill[of] + shared + own, of


def covered(low: np.ndarray, high: np.ndarray, truth: float) -> np.ndarray:
    """Say where an interval holds `truth`; NaN where there is none."""
    return np.where(np.isnan(low), np.nan, (low <= truth) & (truth <= high))


# --- intervals ----------------------------------------------------------------------------------------------------


def of_one_class(rng: np.random.Generator, n: int, positives: int, images: int, auroc: float) -> Shares:
    """Cover the values of a class, of one trained network."""
    negatives = max(20, 3 * positives)
    want = truths(auroc, positives / (positives + negatives))
    targets, logits, of = study(rng, n, positives, negatives, images, np.full((1, n), signal_of(auroc)))
    counts, index = patient_draws(of.astype(str), DRAWS, 0)
    scored = Scored("multilabel", targets, logits - signal_of(auroc) / 2, np.full((1, n), 0.5), index, counts.shape[1])
    chosen, whole = {key: METRICS[key] for key in KEYS}, Weighted(scored)
    draws = metric_draws(scored, chosen, counts)
    held = {}
    for key, metric in chosen.items():
        intervals = metric_intervals(metric, measure(metric, whole)[0], draws[key], support(metric, scored), 0.95)
        held[key] = covered(*(x[0, :-1] for x in intervals), want[key])
    return held


def of_seeds(rng: np.random.Generator, n: int, seeds: int, seed_sd: float) -> Shares:
    """Cover what a configuration is expected to reach: mean over seeds, on other patients and under other seeds."""
    want = norm.cdf(1.2 / np.sqrt(2 * (1 + OWN**2 + 0.3**2) + seed_sd**2))
    targets, logits, of = study(rng, n, 40, 80, 2, 1.2 + seed_sd * rng.normal(size=(seeds, n)), 0.3)
    metric, values, draws, scored = drawn(targets, logits, of)
    low, high = total_intervals(metric, values, draws, support(metric, scored), 0.95)
    return {"total interval": covered(low[:-1], high[:-1], want)}


def of_decisions(rng: np.random.Generator, n: int, seeds: int, positives: int, share: float) -> Shares:
    """Cover the sensitivity that a configuration is expected to reach, by Wilson's interval and by the log-odds."""
    seed_sd, own = 0.3, 0.3
    signal = norm.ppf(share) * np.sqrt(1 + OWN**2 + own**2 + seed_sd**2)
    targets, logits, of = study(rng, n, positives, 20, 1, signal + seed_sd * rng.normal(size=(seeds, n)), own)
    counts, index = patient_draws(of.astype(str), DRAWS, 0)
    scored = Scored("multilabel", targets, logits, np.full((seeds, n), 0.5), index, counts.shape[1])
    metric = METRICS["sensitivity"]
    values, draws = measure(metric, Weighted(scored))[0], metric_draws(scored, {"": metric}, counts)[""]
    rests_on = support(metric, scored)
    mean, patients = values.mean(axis=0), rests_on.fewest
    error, freedom = nested_error(values, draws, np.maximum(patients - 1, 1))
    inner, outer = (
        t_interval(mean, error, freedom, 0.95, "share"),
        one_sided(mean, patients, 0.95, "share", proportion=True),
    )
    low, high = total_intervals(metric, values, draws, rests_on, 0.95)
    by_odds = [np.where(np.isnan(low), np.nan, np.where(np.isnan(i), o, i)) for i, o in zip(inner, outer)]
    return {
        "sensitivity": covered(low[:-1], high[:-1], share),
        "log-odds": covered(*(ends[:-1] for ends in by_odds), share),
    }


def of_means(rng: np.random.Generator, n: int, counts: Sequence[int]) -> Shares:
    """Cover means over the classes of a multi-label study of 300 patients, `counts` of whom have each class."""
    aurocs = np.linspace(0.7, 0.95, len(counts))
    of_class = [truths(float(a), c / 300) for a, c in zip(aurocs, counts)]
    signals = np.array([signal_of(a) for a in aurocs])
    chosen = {key: METRICS[key] for key in ("auroc", "average_precision", "sensitivity", "f1")}
    held: dict[str, list[float]] = {key: [] for key in chosen}
    patients, index = patient_draws(np.arange(300).astype(str), DRAWS, 0)
    for _ in range(n):
        ill = rng.random((300, len(counts))) < np.array(counts) / 300
        scores = signals * ill + rng.normal(size=ill.shape) + OWN * rng.normal(size=ill.shape)
        thresholds = np.full((1, len(counts)), 0.5)
        scored = Scored("multilabel", ill, (scores - signals / 2)[None], thresholds, index, patients.shape[1])
        draws, whole = metric_draws(scored, chosen, patients), Weighted(scored)
        for key, metric in chosen.items():
            intervals = metric_intervals(metric, measure(metric, whole)[0], draws[key], support(metric, scored), 0.95)
            want = float(np.mean([values[key] for values in of_class]))
            held[key].append(float(covered(*(x[0, -1] for x in intervals), want)))
    return {key: np.array(values) for key, values in held.items()}


SINGLE_LABEL = ("auroc", "f1", "overall_accuracy", "overall_balanced_accuracy", "overall_mcc", "overall_kappa")


def single_label(
    rng: np.random.Generator, patients: int, images: int, shares: Sequence[float], signal: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one of K classes for each patient; targets [N, K], logits [1, N, K], patients [N]."""
    of = np.repeat(np.arange(patients), images)
    truth = np.eye(len(shares), dtype=np.uint8)[rng.choice(len(shares), patients, p=shares)][of]
    scores = rng.normal(size=(patients, len(shares)))[of] + OWN * rng.normal(size=truth.shape)
    return truth, (signal * truth + scores)[None], of


@cache
def single_label_truths(shares: tuple[float, ...], signal: float) -> Mapping[str, float]:
    """Return what the metrics of `SINGLE_LABEL` are in a large sample, which is off by 0.001."""
    truth, logits, _ = single_label(np.random.default_rng(0), 300_000, 1, shares, signal)
    whole = Weighted(Scored("multiclass", truth, logits, groups=np.zeros(len(truth), int)))
    return {key: float(measure(METRICS[key], whole)[0, 0, -1]) for key in SINGLE_LABEL if key != "auroc"} | {
        "auroc": _single_label_auroc(truth, logits[0])
    }


def _single_label_auroc(truth: np.ndarray, logits: np.ndarray) -> float:
    from pipeline.metrics.functions import rank_auroc
    from pipeline.metrics.logistic import log_odds

    return float(rank_auroc(truth, log_odds(logits, "multiclass")).mean())


def of_single_label(
    rng: np.random.Generator, n: int, patients: int, images: int, shares: tuple[float, ...], signal: float
) -> Shares:
    """Cover the values of all classes of a single-label study."""
    want, chosen = single_label_truths(shares, signal), {key: METRICS[key] for key in SINGLE_LABEL}
    held: dict[str, list[float]] = {key: [] for key in chosen}
    for _ in range(n):
        targets, logits, of = single_label(rng, patients, images, shares, signal)
        counts, index = patient_draws(of.astype(str), DRAWS, 0)
        scored = Scored("multiclass", targets, logits, None, index, counts.shape[1])
        draws, whole = metric_draws(scored, chosen, counts), Weighted(scored)
        for key, metric in chosen.items():
            intervals = metric_intervals(metric, measure(metric, whole)[0], draws[key], support(metric, scored), 0.95)
            held[key].append(float(covered(*(x[0, -1] for x in intervals), want[key])))
    return {key: np.array(values) for key, values in held.items()}


# --- comparisons --------------------------------------------------------------------------------------------------


def drawn(
    targets: np.ndarray, logits: np.ndarray, of: np.ndarray, draws: int = DRAWS
) -> tuple[Metric, np.ndarray, np.ndarray, Scored]:
    """Return the AUROC, its values [S, R + 1] and draws [B, S, R + 1], and the predictions."""
    counts, index = patient_draws(of.astype(str), draws, 0)
    metric, scored = METRICS["auroc"], Scored("multilabel", targets, logits, None, index, counts.shape[1])
    return (
        metric,
        measure(metric, Weighted(scored))[0],
        metric_draws(scored, {"auroc": metric}, counts)["auroc"],
        scored,
    )


def networks(
    rng: np.random.Generator,
    n: int,
    patients: int,
    seeds: Sequence[int],
    aurocs: Sequence[float],
    seed_sd: float = 0.05,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Draw targets [N, R], the logits [S, N, R] of each configuration, and patients; a third of them have the class.

    A `seed_sd` of 0.05 of the signal is one of 0.01 of the AUROC; each network makes something of its own of a patient.
    """
    means = np.concatenate([np.full(s, signal_of(a, 0.4)) for s, a in zip(seeds, aurocs)])
    signals = means[:, None] + seed_sd * rng.normal(size=(len(means), n))
    targets, logits, of = study(rng, n, patients // 3, patients * 2 // 3, 1, signals, 0.4)
    return targets, np.split(logits, np.cumsum(seeds)[:-1]), of


def _p(
    targets: np.ndarray,
    sides: Sequence[np.ndarray],
    of: np.ndarray,
    column: str = "p",
    draws: int = DRAWS,
    **options: object,
) -> np.ndarray:
    """Return the p values [pairs, R] of every repetition by `comparisons.compare`, each without a correction."""
    names = [str(r) for r in range(targets.shape[1])]
    logits = {str(i): side for i, side in enumerate(sides)}
    table = compare("multilabel", logits, targets, of.astype(str), draws=draws, classes=names, **options)
    return table.loc[table["class"] != "macro", column].to_numpy(float).reshape(len(names), -1).T


def _found(p: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(p), np.nan, p < 0.05)


def of_configurations(
    rng: np.random.Generator, n: int, patients: int, seeds: int, gain: float, *, earlier: bool = True
) -> Shares:
    """Find differences between configurations of `seeds` seeds each; of a `gain`, also by what stood here before."""
    targets, sides, of = networks(rng, n, patients, (seeds, seeds), (0.82, 0.82 + gain))
    found = {"found": _found(_p(targets, sides, of)[0])}
    if earlier:
        found["found by the earlier test"] = _found(counted_twice(targets, sides, of))
    return found


def of_networks(rng: np.random.Generator, n: int, patients: int, seeds: int) -> Shares:
    """Find differences between a network, or an ensemble, and the mean of `seeds` networks that are as good."""
    targets, sides, of = networks(rng, n, patients, (1, seeds), (0.82, 0.82), seed_sd=0.0)
    return {"found": _found(_p(targets, sides, of)[0])}


def of_assumed(rng: np.random.Generator, n: int, patients: int, seeds: int) -> Shares:
    """Find differences between a configuration trained once and one of `seeds` seeds; their true spread is stated."""
    targets, sides, of = networks(rng, n, patients, (1, seeds), (0.82, 0.82))
    scale = np.sqrt(2 * (1 + OWN**2 + 0.4**2))
    sd = float(norm.pdf(signal_of(0.82, 0.4) / scale) / scale * 0.05)
    stated = {"0": sd, "1": sd} if seeds == 1 else {"0": sd}
    return {"found": _found(_p(targets, sides, of, seed_sd=stated)[0])}


def at_the_margin(rng: np.random.Generator, n: int, patients: int, seeds: int) -> Shares:
    """Call configurations equivalent whose true difference is the margin, 0.05."""
    targets, sides, of = networks(rng, n, patients, (seeds, seeds), (0.85, 0.8), seed_sd=0.05 if seeds > 1 else 0.0)
    return {"found": _found(_p(targets, sides, of, "tost_p", margin=0.05)[0])}


def of_family(rng: np.random.Generator, n: int, patients: int, configurations: int) -> Shares:
    """Call any of the pairs of `configurations` alike different, after Holm's correction; 3 seeds each."""
    many = [3] * configurations
    targets, sides, of = networks(rng, n, patients, many, [0.82] * configurations)
    p = _p(targets, sides, of, draws=200)
    adjusted = np.stack([holm(p[:, r]) for r in range(n)], axis=1)
    return {"any, after Holm": (adjusted < 0.05).any(axis=0), "any, without": (p < 0.05).any(axis=0)}


CLASSES = 3
"""Classes of a whole simulated study."""
_POWER = ("found, one family", "found, three families")


def of_study(rng: np.random.Generator, n: int, configurations: int, gain: float) -> Shares:
    """Call anything different, in a whole study, that is not.

    Values of classes are normal with a known error, so that every p is exact and only the correction is tried, with all
    that the tests have in common: configurations of 3 seeds, the first better by `gain` errors of a training run in one
    class; ensembles of all training runs, of the best 3, and of the seeds of each configuration, compared with the best
    configuration and its best training run, which other values choose. For the null hypothesis of the ensembles to hold
    exactly, each has the mean of its members' errors and an error of its own that makes it no better than one of them.
    """
    found: dict[str, list[float]] = {key: [] for key in ("one family", "three families", *_POWER)}
    for _ in range(n):
        pairs, by_class = _study(rng, configurations, gain)
        in_three = [holm(t["p"].to_numpy(float)) < 0.05 for _, t in pairs.groupby("family", sort=False)]
        first = (pairs["first"].eq("c0") & pairs["family"].eq("recipes")).to_numpy() & (gain > 0)
        in_class = (by_class["first"].eq("c0") & by_class["class"].eq(0)).to_numpy() & (gain > 0)
        ways = {
            "one family": (pairs["distinguishable"].to_numpy(), by_class["distinguishable"].to_numpy()),
            "three families": (np.concatenate(in_three), holm(by_class["p"].to_numpy(float)) < 0.05),
        }
        for (name, (of_pairs, of_class)), power in zip(ways.items(), _POWER):
            found[name].append(float((of_pairs & ~first).any() or (of_class & ~in_class).any()))
            found[power].append(float(of_class[in_class].mean()) if gain else np.nan)
    return {key: np.array(values) for key, values in found.items()}


def _study(rng: np.random.Generator, configurations: int, gain: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the comparisons of a study of `of_study`, corrected as stage ensemble corrects them."""
    shape = (configurations, 3, CLASSES)
    reached, own = rng.normal(size=shape), rng.normal(size=shape)  # on validation, on test
    reached[0, :, 0] += gain
    best = int(reached.mean(axis=(1, 2)).argmax())
    run = (best, int(reached[best].mean(axis=1).argmax()))
    runs = list(np.ndindex(configurations, 3))
    top = sorted(runs, key=lambda of: -reached[of].mean())[:3]
    sets = [runs, top, *(runs[i : i + 3] for i in range(0, len(runs), 3))]

    one, other = np.triu_indices(configurations, 1)
    mean = own.mean(axis=1)
    mean[0, 0] += gain
    difference = mean[one] - mean[other]
    names = [f"c{i}" for i in range(configurations)]
    rows = [
        (names[i], names[j], "recipes", d / np.sqrt(2 / 3 / CLASSES))
        for i, j, d in zip(one, other, difference.mean(axis=1))
    ]
    of_references = {names[best]: (own[best].mean(), 1 / 3), "run": (own[run].mean(), 1.0)}
    errors = [np.mean([own[m].mean() for m in members]) for members in sets]
    errors += np.sqrt((1 - 1 / np.array([len(m) for m in sets])) / CLASSES) * rng.normal(size=len(sets))
    for reference, (value, variance) in of_references.items():
        for e, members in enumerate(sets):
            common = sum(m[0] == best for m in members) / 3 if reference != "run" else float(run in members)
            error = np.sqrt(max(1 + variance - 2 * common / len(members), 1e-12) / CLASSES)
            rows.append((reference, f"e{e}", "ensembles", (value - errors[e]) / error))
    pairs = pd.DataFrame(rows, columns=["first", "second", "family", "z"])
    z = difference / np.sqrt(2 / 3)
    by_class = pd.DataFrame(
        {
            "first": np.repeat([names[i] for i in one], CLASSES),
            "second": np.repeat([names[j] for j in other], CLASSES),
            "class": np.tile(np.arange(CLASSES), len(one)),
            "z": z.ravel(),
        }
    )
    tables = [table.assign(p=2 * norm.sf(np.abs(table["z"])), tost_p=np.nan) for table in (pairs, by_class)]
    return one_family(tables[0], tables[1], "e0", 0.05)


def counted_twice(targets: np.ndarray, sides: Sequence[np.ndarray], of: np.ndarray) -> np.ndarray:
    """Return p of a test that adds the variance over seeds to that of the bootstrap of the mean difference.

    The interaction of seed and patient is in both. It stands here to be compared with, and is used by nothing.
    """
    from scipy.stats import t as student

    measured = [drawn(targets, side, of) for side in sides]
    (one, other), freedom = [Side(m[1], m[2]) for m in measured], support(measured[0][0], measured[0][3]).freedom[0]
    parts = [(spread(one.draws.mean(axis=1) - other.draws.mean(axis=1)) ** 2, freedom)]
    for side in (one, other):
        if min(len(one.values), len(other.values)) > 1:
            parts.append(
                (side.values.var(axis=0, ddof=1) / len(side.values), np.full(len(freedom), len(side.values) - 1.0))
            )
    total = sum(variance for variance, _ in parts)
    degrees = total**2 / sum(variance**2 / df for variance, df in parts)
    difference = one.values.mean(axis=0) - other.values.mean(axis=0)
    return (2 * student.sf(np.abs(difference) / np.sqrt(total), degrees))[:-1]


# --- tests of seeds -----------------------------------------------------------------------------------------------


def of_seed_pairs(rng: np.random.Generator, n: int, seeds: int) -> Shares:
    """Call any two of `seeds` networks of a configuration different that are equally good, after Holm's correction."""
    from pipeline.uncertainty.multiplicity import paired_p

    targets, (logits,), of = networks(rng, n, 150, (seeds,), (0.82,), seed_sd=0.0)
    metric, values, draws, scored = drawn(targets, logits, of)
    p = paired_p(values, draws, support(metric, scored).fewest)[2][:, :-1]
    return {"any, after Holm": (np.stack([holm(p[:, r]) for r in range(n)], axis=1) < 0.05).any(axis=0)}


def of_suits(rng: np.random.Generator, n: int, seeds: int, better: float) -> Shares:
    """Say of any of 6 classes that a seed suits it, where one seed is better by `better` in all; and of interaction."""
    from pipeline.uncertainty.seed_suits_class import seed_suits_class

    suits, interaction = [], []
    for _ in range(n):
        targets, logits, of = study(rng, 6, 40, 60, 1, np.full((seeds, 6), 1.2), 0.4)
        logits[0] += better * targets
        scored = Scored("multilabel", targets, logits, None, of, 100)
        result = seed_suits_class(
            scored, "abcdef", range(seeds), exchanges=199, halvings=1, seed=int(rng.integers(2**31))
        )
        suits.append(result.classes["suits"][:6].any())
        interaction.append(result.interaction.p < 0.05)
    return {"suits any class": np.array(suits), "interaction": np.array(interaction)}


def metric_names() -> dict[str, str]:
    """Return the keys of a table with the names that it shows."""
    return {
        key: metric.name.replace("_", " ")
        for task in ("multilabel", "multiclass")
        for key, metric in metrics_of(task).items()
    }
