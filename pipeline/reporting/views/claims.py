"""Facts of the page about claims: how probable it is that they are false, the margin, and the next study's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.metrics.logistic import log_odds
from pipeline.reporting import page
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.views import shared, verdict
from pipeline.reporting.views.verdict import Pair
from pipeline.study.unknown import sides
from pipeline.uncertainty import sample_size
from pipeline.uncertainty.claims import Prospect, prospect
from pipeline.uncertainty.power import seeds_needed
from pipeline.uncertainty.retraining import Retraining, patients_needed, retraining

DELTAS = (0.005, 0.01, 0.02, 0.05)
"""True differences of AUROC that the page plans for."""
SEEDS = (3, 5, 10)
DOUBTFUL = 0.05
"""From which probability of being false on a claim is counted as doubtful, as by Christodoulou et al. 2025."""
_LISTED = 15
_MOST_SEEDS = 1000


class Patients(NamedTuple):
    """Patients that a class needs for precise estimates, with what they rest on."""

    name: str
    positives: int
    prevalence: float
    auroc: float
    needed: sample_size.Needed


@dataclass(frozen=True)
class Claims:
    """What claims.md says.

    Parameters
    ----------
    pairs : list of Pair
        Tested pairs, the better one first: configurations, or those with the chosen one where they are many; then what
        the chosen ensemble was compared with.
    left_out : int
        Tested pairs that are not listed.
    doubtful : int
        Of `pairs`, those that are false with a probability of `DOUBTFUL` or more.
    error : float
        Median standard error of a difference of two configurations; NaN where none is recorded.
    prospects : list of Prospect
        What studies of this size make of true differences.
    retraining : Retraining or None
        Spread over seeds; None for single seeds.
    margin : float
        That the study used.
    seeds : list of (difference, seeds, seeds)
        Needed of each configuration: for the pooled SD, and for the upper limit of its interval.
    of_patients : list of (difference, list of float)
        Patients needed for each of `SEEDS`; infinite where more seeds come first; empty where not known.
    patients : list of Patients
        By class; empty without predictions.
    """

    pairs: list[Pair]
    left_out: int
    doubtful: int
    error: float
    prospects: list[Prospect]
    retraining: Retraining | None
    margin: float
    seeds: list[tuple[float, int, int]]
    of_patients: list[tuple[float, list[float]]]
    patients: list[Patients]


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write claims.md; no page of a bare table, which holds no tests."""
    if not study.recorded:
        return []
    facts = {
        "study": study,
        "banner_facts": shared.banner(study),
        "claims": claims(study),
        "planned_seeds": SEEDS,
        "doubtful": DOUBTFUL,
        "size": study.configurations[0].sample(),
        "subject": study.subject,
        "most_seeds": _MOST_SEEDS,
    }
    return [page.write(folder / "claims.md", "claims.md", **facts)]


def claims(study: StudyResults) -> Claims:
    """Collect the facts of the page."""
    of_configurations = [p for p in _tested(study) if p.tested]
    shown = of_configurations
    if len(shown) > _LISTED and study.chosen is not None:
        shown = [p for p in shown if study.chosen.key in (p.first, p.second)]
    with_ensemble = _of_ensemble(study)
    pairs = [_turned(p) for p in (*shown, *with_ensemble)]
    errors = [p.error for p in of_configurations if p.error > 0]
    error = float(np.median(errors)) if errors else math.nan
    freedom = float(np.median([p.freedom for p in of_configurations if p.error > 0])) if errors else math.nan
    collapsed = {(r.key, seed) for r, seed, _ in study.collapsed}
    of_runs = [
        np.array([r.get("auroc", None, s).value for s in r.seeds if (r.key, s) not in collapsed])
        for r in study.configurations
    ]
    spread = retraining(of_runs, 1 - study.alpha)
    known = spread is not None and spread.sd > 0
    return Claims(
        pairs,
        len(of_configurations) - len(shown),
        sum(p.false_claim >= DOUBTFUL for p in pairs),
        error,
        [prospect(d, error, study.alpha, freedom) for d in DELTAS] if errors else [],
        spread,
        study.params.evaluate.margin,
        [(d, _seeds(spread.sd, d), _seeds(spread.high, d)) for d in DELTAS] if spread is not None and known else [],
        _of_patients(study, of_configurations, of_runs, spread),
        _patients(study),
    )


def _tested(study: StudyResults) -> list[Pair]:
    return verdict.pairs_of(verdict.among(study).itertuples(), study.failing) if study.has_comparisons else []


def _of_ensemble(study: StudyResults) -> list[Pair]:
    if study.chosen_ensemble is None or not study.has_comparisons:
        return []
    table, key = study.comparisons, study.chosen_ensemble.key
    rows = table[(table["family"] == "ensembles") & ((table["first"] == key) | (table["second"] == key))]
    return [p for p in verdict.pairs_of(rows.itertuples(), study.failing) if p.tested]


def _turned(pair: Pair) -> Pair:
    """Return a pair with the higher one first."""
    if pair.difference.value >= 0:
        return pair
    return pair._replace(first=pair.second, second=pair.first, difference=pair.difference.turned())


def _seeds(sd: float, delta: float) -> int:
    return seeds_needed(sd, delta) if sd / delta < math.sqrt(_MOST_SEEDS / 16) else _MOST_SEEDS


def _of_patients(
    study: StudyResults, pairs: Sequence[Pair], of_runs: Sequence[np.ndarray], spread: Retraining | None
) -> list[tuple[float, list[float]]]:
    """Return the patients needed, from the median share that patients have in the error of a difference."""
    variances = {
        r.key: float(np.var(v, ddof=1)) / len(v)
        for r, v in zip(study.configurations, of_runs)
        if len(v) > 1 and np.isfinite(v).all()
    }
    of_cases = [
        max(p.error**2 - variances[p.first] - variances[p.second], 0.0)
        for p in pairs
        if p.error > 0 and not p.fixed and p.first in variances and p.second in variances
    ]
    patients = study.configurations[0].sample().patients
    if spread is None or not of_cases or not math.isfinite(patients):
        return []
    typical = float(np.median(of_cases))
    return [
        (d, [patients_needed(int(patients), typical, spread.sd**2, s, d, alpha=study.alpha) for s in SEEDS])
        for d in DELTAS
    ]


def _patients(study: StudyResults) -> list[Patients]:
    results = study.subject
    if results is None or not results.has_predictions or not results.seeds:
        return []
    positive, negative = (side.tolist() for side in sides(results.predictions.test_targets))
    rows = []
    for k, name in enumerate(study.classes):
        positives, known = positive[k], positive[k] + negative[k]
        prevalence, auroc = positives / known if known else math.nan, results.get("auroc", name).value
        if 0 < positives < known:
            needed = _needed(study, results, k, name, prevalence, auroc)
            rows.append(Patients(name, positives, prevalence, auroc, needed))
    return rows


def _needed(
    study: StudyResults, results: Results, k: int, name: str, prevalence: float, auroc: float
) -> sample_size.Needed:
    level = 1 - study.alpha
    seed = results.seeds[0]
    logits = results.predictions.test_logits[results.predictions.seeds.tolist().index(seed)].astype(np.float64)
    slope, intercept = 1.0, 0.0
    if study.task == "multilabel":
        fitted = [results.get(f"platt_{what}", name, seed, part="val").value for what in ("slope", "intercept")]
        if np.isfinite(fitted).all():
            slope, intercept = fitted
        predictor = slope * logits[:, k] + intercept
    else:
        temperature = results.get("temperature", "overall", seed, part="val").value
        scaled = logits / (temperature if temperature > 0 else 1.0)
        predictor = log_odds(scaled[None], study.task)[0, :, k]
    usable = np.isfinite(predictor).all() and np.ptp(predictor) > 0
    of_slope = sample_size.calibration_slope(predictor, confidence=level) if usable else math.nan
    of_auroc = sample_size.c_statistic(prevalence, auroc, confidence=level) if 0 < auroc < 1 else math.nan
    decided = [results.get(m, name, seed).value for m in ("sensitivity", "specificity")]
    threshold = results.get("threshold", name, seed, part="val").value
    benefit = math.nan
    if study.task == "multilabel" and 0 < threshold < 1 and np.isfinite(decided).all():
        risk = 1 / (1 + math.exp(-(slope * math.log(threshold / (1 - threshold)) + intercept)))
        if 0 < risk < 1:
            benefit = sample_size.net_benefit(prevalence, decided[0], decided[1], risk, confidence=level)
    return sample_size.Needed(sample_size.observed_expected(prevalence, confidence=level), of_slope, of_auroc, benefit)
