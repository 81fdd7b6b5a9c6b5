"""What a decision is worth to a patient: sensitivity, specificity, predictive values and likelihood ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from pipeline.metrics.logistic import log_odds
from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.metrics.thresholds import MAX_F1, SPECIFICITIES, specificity_thresholds
from pipeline.scoring.part import PartLogits, View
from pipeline.uncertainty import student
from pipeline.uncertainty.bootstrap import metric_draws
from pipeline.uncertainty.ratios import Drawn, expected_interval, ratio_draws
from pipeline.uncertainty.support import class_refusals

COLUMNS = [
    "class",
    "point",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_positive",
    "n_seeds",
    "prevalence",
    "prevalence_from",
    "note",
]
LARGEST = "largest"
"""Operating point of single-label data: the class with the largest probability is decided for."""
STATED, OWN = "stated", "test"
"""Where a prevalence is from: `evaluate.prevalence`, or the test part."""
INFINITE = "no false positive: the limit is that of sensitivity and specificity together"


class Share(NamedTuple):
    """A sensitivity or a specificity: its mean over seeds with its interval, each [K], and its draws."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    of: Drawn

    @property
    def rest(self) -> Share:
        """One minus it."""
        return Share(1 - self.value, 1 - self.high, 1 - self.low, Drawn(1 - self.of.values, 1 - self.of.draws))


class Prevalence(NamedTuple):
    """How frequent the classes are taken to be.

    Parameters
    ----------
    value : float64 [K]
        In (0, 1); that of the test part may be 0 or 1.
    stated : bool [K]
        Whether the study states it; elsewhere it is that of the test part, and as uncertain.
    draws : float64 [B, K]
        Of the test part, under draws of patients.
    """

    value: np.ndarray
    stated: np.ndarray
    draws: np.ndarray

    @property
    def log_odds(self) -> Drawn:
        """Its log-odds, the draws by their slope at the value; no draw moves a stated one."""
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = (self.draws - self.value) / (self.value * (1 - self.value))
            at = logit(self.value)
        return Drawn(at[None], np.where(self.stated, 0.0, moved)[:, None])


def prevalence_of(
    scored: Scored, classes: Sequence[str], stated: float | Mapping[str, float] | None, counts: np.ndarray
) -> Prevalence:
    """Return the prevalence of every class, as stated or that of the test part.

    Parameters
    ----------
    scored : Scored
        The test part, grouped by patient.
    classes : sequence of str [K]
        Class names.
    stated : float, mapping of str to float, or None
        One for all classes, or by class; what is not named is taken from the test part.
    counts : int [B, P]
        Draws of patients.
    """
    positives = scored.class_counts[:, 0][:, None]
    own = ratio_draws(positives, scored.class_counts.sum(axis=1)[:, None], counts)
    given = dict.fromkeys(classes, stated) if isinstance(stated, float) else dict(stated or {})
    known = np.array([name in given for name in classes])
    value = np.array([given.get(name, own_value) for name, own_value in zip(classes, own.values[0])])
    return Prevalence(value, known, own.draws[:, 0])


def operating_table(
    view: View,
    classes: Sequence[str],
    drawn: Mapping[str, np.ndarray],
    counts: np.ndarray,
    val: PartLogits,
    prevalence: Prevalence,
    confidence: float,
) -> pd.DataFrame:
    """Score the decisions of a configuration at every operating point.

    Parameters
    ----------
    view : View
        The test part as trained, grouped by patient.
    classes : sequence of str [K]
        Class names.
    drawn : mapping of str to float [B, S, K + 1]
        Metrics under draws of patients; those of sensitivity and specificity are read.
    counts : int [B, P]
        The draws.
    val : PartLogits
        The validation part, on which the thresholds of single-label classes are chosen here.
    prevalence : Prevalence
        That predictive values are for.
    confidence : float
        Of the intervals, in (0, 1).

    Returns
    -------
    DataFrame
        `COLUMNS`: by class, operating point and metric, for the mean over seeds of sensitivity and specificity. ppv,
        npv, lr_positive and lr_negative follow from these two means and the prevalence. point: "max_f1" (multi-label)
        or "largest" (single-label: the class decided for), "90_specificity" and "95_specificity" (each class against
        the rest, at the lowest threshold that reaches it on validation: what the test part reaches stands beside it).

    Notes
    -----
    log LR+ = log sensitivity - log (1 - specificity), and the log-odds of a predictive value are that plus the log-odds
    of the prevalence. Their standard errors are those of the draws of both shares, divided by the shares, which keeps
    what they have in common; without clusters it is the closed form of Simel, Samsa & Matchar (J Clin Epidemiol 44(8),
    1991, doi:10.1016/0895-4356(91)90128-v) and Mercaldo, Lau & Zhou (Stat Med 26(10), 2007, doi:10.1002/sim.2677).
    Where a share is 0 or 1 the limits are recovered from those of the two shares (Zou & Donner, Stat Med 27(10), 2008,
    doi:10.1002/sim.3095).
    """
    scored = view.scored
    points = {MAX_F1 if scored.task == "multilabel" else LARGEST: _read(view, drawn, "sensitivity", "specificity")}
    if scored.task == "multilabel":
        for point in SPECIFICITIES:
            points[point] = _read(view, drawn, f"sensitivity_at_{point}", f"specificity_at_{point}")
    else:
        points |= _against_the_rest(scored, counts, val)
    refused = class_refusals(scored)
    positive, negative = (scored.class_counts > 0).sum(axis=0).astype(float)
    rows: list[dict[str, Any]] = []
    for point, (sensitivity, specificity) in points.items():
        one, other = (
            Share(*expected_interval(of, patients, confidence, "share", proportion=True), of)
            for of, patients in ((sensitivity, positive), (specificity, negative))
        )
        found = _measured(one, other, prevalence, np.minimum(positive, negative), confidence)
        about = {"point": point, "n_seeds": scored.shape[0]}
        for k, name in enumerate(classes):
            for metric, (value, low, high) in found.items():
                usable = not refused[k] and not np.isnan(value[k])
                rows.append(
                    about
                    | {
                        "class": name,
                        "metric": metric,
                        "value": value[k],
                        "ci_low": low[k] if usable else np.nan,
                        "ci_high": high[k] if usable else np.nan,
                        "n": int(scored.n_known[k]),
                        "n_positive": int(scored.truth[:, k].sum()),
                        "prevalence": prevalence.value[k],
                        "prevalence_from": STATED if prevalence.stated[k] else OWN,
                        "note": _note(metric, value[k], refused[k], sensitivity.values[:, k], specificity.values[:, k]),
                    }
                )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values("class", key=lambda c: c.map({n: i for i, n in enumerate(classes)}), kind="stable")


def _read(view: View, drawn: Mapping[str, np.ndarray], *keys: str) -> tuple[Drawn, Drawn]:
    """Return the two shares of an operating point as they have been drawn, without their macro means."""
    first, second = (Drawn(measure(view.metrics[key], view.once)[0][:, :-1], drawn[key][:, :, :-1]) for key in keys)
    return first, second


def _against_the_rest(scored: Scored, counts: np.ndarray, val: PartLogits) -> dict[str, tuple[Drawn, Drawn]]:
    """Draw each single-label class against the rest, at thresholds of its probability chosen on validation."""
    truth = np.asarray(val.targets)
    points = {point: np.full(scored.shape, np.nan) for point in SPECIFICITIES}
    for s, one in enumerate(val.logits):
        if np.isfinite(one).all():
            likely = expit(log_odds(one[None].astype(np.float64), scored.task)[0])
            for point, specificity in SPECIFICITIES.items():
                points[point][s] = specificity_thresholds(truth, likely, specificity)
    logits = np.where(scored.broken[:, None, None], np.nan, scored.ranked_by)
    alone = Scored("multilabel", scored.truth, logits, points, scored.groups, scored.n_groups)
    once = Weighted(alone, None, False)
    found = {}
    for point in SPECIFICITIES:
        metrics = {side: METRICS[f"{side}_at_{point}"] for side in ("sensitivity", "specificity")}
        draws = metric_draws(alone, metrics, counts)
        first, second = (Drawn(measure(m, once)[0][:, :-1], draws[side][:, :, :-1]) for side, m in metrics.items())
        found[point] = (first, second)
    return found


def _measured(
    sensitivity: Share, specificity: Share, prevalence: Prevalence, patients: np.ndarray, confidence: float
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return value and limits [K] of every metric of a decision."""
    odds = prevalence.log_odds
    against = Drawn(-odds.values, -odds.draws)
    nothing = Drawn(np.zeros_like(odds.values), np.zeros_like(odds.draws))
    settings = np.maximum(patients - 1, 1), confidence
    positive = sensitivity, specificity.rest
    negative = specificity, sensitivity.rest
    with np.errstate(over="ignore"):
        ppv, npv = _log_ratio(*positive, odds, *settings), _log_ratio(*negative, against, *settings)
        ratio, rest = _log_ratio(*positive, nothing, *settings), _log_ratio(*negative, nothing, *settings)
        return {
            "sensitivity": sensitivity[:3],
            "specificity": specificity[:3],
            "ppv": (expit(ppv[0]), expit(ppv[1]), expit(ppv[2])),
            "npv": (expit(npv[0]), expit(npv[1]), expit(npv[2])),
            "lr_positive": (np.exp(ratio[0]), np.exp(ratio[1]), np.exp(ratio[2])),
            "lr_negative": (np.exp(-rest[0]), np.exp(-rest[2]), np.exp(-rest[1])),  # that of specificity, turned round
        }


def _log_ratio(
    above: Share, below: Share, offset: Drawn, freedom: np.ndarray, confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log(above / below) + offset with its limits, [K] each; infinite where a share is 0, NaN where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = offset.values[0]
        value = np.log(above.value) - np.log(below.value) + shift
        moved = Drawn(
            above.of.values / above.value - below.of.values / below.value,
            above.of.draws / above.value - below.of.draws / below.value + offset.draws,
        )
        error, degrees = moved.error(freedom)
        reach = student.quantile((1 + confidence) / 2, degrees) * error
        of_offset = student.quantile((1 + confidence) / 2, freedom) * offset.draws[:, 0].std(axis=0, ddof=1)
        # Where a share is 1 no draw moves it, and its own limit counts.
        below_it = np.sqrt(np.log(above.value / above.low) ** 2 + np.log(below.high / below.value) ** 2 + of_offset**2)
        above_it = np.sqrt(np.log(above.high / above.value) ** 2 + np.log(below.value / below.low) ** 2 + of_offset**2)
        at_end = (above.value >= 1) | (below.value >= 1)
        low, high = (
            value - np.where(at_end, below_it, reach),
            value + np.where(at_end, above_it, reach),
        )
        least = np.log(above.low) - np.log(below.high) + shift - of_offset
        most = np.log(above.high) - np.log(below.low) + shift + of_offset
        none_above, none_below = above.value <= 0, below.value <= 0
        low = np.where(none_below, least, np.where(none_above, -np.inf, low))
        high = np.where(none_above, most, np.where(none_below, np.inf, high))
    return value, low, high


def _note(metric: str, value: float, refused: str, *shares: np.ndarray) -> str:
    """Say why there is no value, no interval, or an unusual one; "" for nothing."""
    if any(np.isnan(share).any() for share in shares):
        return "no decision under a seed: no threshold, no positive or negative image, or logits that are not finite"
    if np.isnan(value):
        return {"ppv": "nothing called positive", "lr_positive": "nothing called positive"}.get(
            metric, "everything called positive"
        )
    return refused or (INFINITE if np.isinf(value) else "")
