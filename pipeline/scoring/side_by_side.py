"""Two sets of predictions of the same images: metrics with intervals, paired tests, and what published work states.

Intervals and tests are those of every other number: `uncertainty.metric_intervals` and `uncertainty.comparisons`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.metrics.registry import METRICS, Metric, columns, measure, reasons
from pipeline.metrics.scored import Scored, Weighted
from pipeline.scoring.prediction_table import Predicted, logarithms, odds
from pipeline.scoring.rows import NO_LEVEL, draw_note, end_note
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.claims import FalseClaim, false_claim
from pipeline.uncertainty.comparisons import Side, compare, difference_error, tests_of
from pipeline.uncertainty.delong import delong, delong_pairs
from pipeline.uncertainty.mcnemar import McNemar, mcnemar
from pipeline.uncertainty.metric_intervals import metric_intervals, total_intervals
from pipeline.uncertainty.multiplicity import holm
from pipeline.uncertainty.support import Support, support

CUT = 0.5
"""Threshold of multi-label decisions: of tables from elsewhere there is no validation part to choose one on."""
_RANKS = ("auroc", "average_precision")
_OF_LABELS = ("f1", "sensitivity", "specificity", "log_loss", "brier", "ece")
_OF_CLASSES = (
    "overall_accuracy",
    "overall_balanced_accuracy",
    "overall_mcc",
    "overall_kappa",
    "f1",
    "sensitivity",
    "specificity",
    "overall_log_loss",
    "overall_brier",
    "overall_ece",
)
_OF_POSITIVES = {"overall_log_loss": "log_loss", "overall_brier": "brier", "overall_ece": "ece"}
"""Of two classes that of the positive one: the Brier score of both would be twice what is meant by it."""
_SAID_ALREADY = ("sensitivity", "specificity")
"""Of several classes their means say what the balanced accuracy says."""


class Value(NamedTuple):
    """A number with its interval; NaN where there is none, `note` then says why."""

    value: float
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class Line:
    """A metric of both.

    Parameters
    ----------
    metric : str
        As in metrics.csv.
    group : str
        A class, "macro" or "overall".
    first, second : Value
        Means over seeds.
    difference : Value
        Second minus first.
    p, p_holm : float
        Of a paired test, and corrected within the family: the metrics but the leading one, or the classes. NaN where
        there is none.
    false_claim : FalseClaim
        Probability that the one with the better value is not the better one.
    higher_is_better : bool
        Which side is the better.
    positives : int
        Positive images of the class; of the whole the positives of all classes.
    """

    metric: str
    group: str
    first: Value
    second: Value
    difference: Value
    p: float
    p_holm: float
    false_claim: FalseClaim
    higher_is_better: bool
    positives: int

    @property
    def notes(self) -> tuple[str, str, str]:
        """What is to be said of both values and of their difference."""
        return self.first.note, self.second.note, self.difference.note

    @property
    def second_is_better(self) -> bool:
        """Whether the second has the better value."""
        return (self.difference.value > 0) == self.higher_is_better


@dataclass(frozen=True)
class Classic:
    """Tests for independent images, as published work states them; None where they do not apply.

    Parameters
    ----------
    why_not : str
        Why there is neither; else "".
    delong : tuple of (class, difference, standard error, p)
        Second minus first, uncorrected.
    mcnemar : McNemar or None
        Of single-label decisions.
    """

    why_not: str
    delong: tuple[tuple[str, float, float, float], ...] = ()
    mcnemar: McNemar | None = None


@dataclass(frozen=True)
class Beside:
    """Two tables of predictions, compared.

    Parameters
    ----------
    predicted : Predicted
        What was compared.
    lead : Line
        The AUROC: macro, or of the positive class of two.
    equivalent : bool
        The leading difference is shown to be smaller than the margin.
    tost_p, margin : float
        Of that.
    seeds : {"vary", "assumed", "fixed"}
        See `comparisons.compare`.
    metrics : tuple of Line
        All other metrics of the whole.
    by_class : tuple of Line
        AUROC of every class; empty for two classes.
    classic : Classic
        Tests for independent images.
    confidence : float
        Of the intervals.
    draws : int
        Of patients.
    """

    predicted: Predicted
    lead: Line
    equivalent: bool
    tost_p: float
    margin: float
    seeds: str
    metrics: tuple[Line, ...]
    by_class: tuple[Line, ...]
    classic: Classic
    confidence: float
    draws: int

    @property
    def images(self) -> int:
        """Images compared."""
        return len(self.predicted.targets)

    @property
    def unknown(self) -> int:
        """Labels, of all images and classes, that are not known."""
        return int(np.isnan(self.predicted.targets.astype(np.float64)).sum())

    def images_of(self, group: str) -> int:
        """Count the images of which the label of a class is known; of "macro" and "overall" any label."""
        known = ~np.isnan(self.predicted.targets.astype(np.float64))
        classes = list(self.predicted.classes)
        return int((known[:, classes.index(group)] if group in classes else known.any(axis=1)).sum())

    @property
    def patients(self) -> int:
        """Patients compared; images where no patients are known."""
        return len(np.unique(self.predicted.patients))

    def table(self) -> pd.DataFrame:
        """Return every line as a row of numbers."""
        rows = [
            {
                "metric": line.metric,
                "class": line.group,
                **_flat("first", line.first),
                **_flat("second", line.second),
                **_flat("difference", line.difference),
                "p": line.p,
                "p_holm": line.p_holm,
                "false_claim_flat": float(line.false_claim.flat),
                "false_claim": float(line.false_claim.sceptical),
                "n": self.images_of(line.group),
                "n_positive": line.positives,
                "note": "; ".join(
                    dict.fromkeys(filter(None, (line.first.note, line.second.note, line.difference.note)))
                ),
            }
            for line in (self.lead, *self.metrics, *self.by_class)
        ]
        return pd.DataFrame(rows)


def _flat(name: str, value: Value) -> dict[str, float]:
    return {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}


class _Measured(NamedTuple):
    """One side of a metric: values [S, C], draws [B, S, C], intervals of the mean over seeds [C], and notes."""

    values: np.ndarray
    draws: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rests_on: Support
    notes: list[str]


def side_by_side(
    predicted: Predicted, *, draws: int, confidence: float, seed: int, margin: float, seed_sd: float | None = None
) -> Beside:
    """Compare two sets of predictions.

    Parameters
    ----------
    predicted : Predicted
        Joined by image (`prediction_table.read_pair`).
    draws, confidence, seed : int, float, int
        Of the bootstrap over patients.
    margin, seed_sd : float
        As for `comparisons.compare`.

    Returns
    -------
    Beside
        AUROC and average precision rank by the probabilities as they are written. Single-label decisions are for the
        most probable class; multi-label ones are at `CUT`, as nothing says of a better threshold.
    """
    counts, index = patient_draws(predicted.patients, draws, seed)
    ranked = [_scored("multilabel", predicted, odds(p), index, counts) for p in predicted.probabilities]
    decided = ranked
    if predicted.task == "multiclass":
        decided = [_scored("multiclass", predicted, logarithms(p), index, counts) for p in predicted.probabilities]
    names = ("first", "second")
    table = compare(
        "multilabel",
        {"second": ranked[1].logits, "first": ranked[0].logits},
        predicted.targets,
        predicted.patients,
        draws=draws,
        confidence=confidence,
        seed=seed,
        margin=margin,
        seed_sd=None if seed_sd is None else dict.fromkeys(names, seed_sd),
        classes=list(predicted.classes),
    )
    rows = {str(row["class"]): row for row in table.to_dict("records")}
    single = predicted.binary or len(predicted.classes) == 1
    whole = predicted.classes[-1] if single else "macro"
    sides = {key: [_measured(METRICS[key], s, counts, confidence) for s in ranked] for key in _RANKS}
    places = {name: place for place, name in enumerate(columns(METRICS["auroc"], predicted.classes))}

    def ranking_line(name: str, adjusted: bool) -> Line:
        row, metric = rows[name], METRICS["auroc"]
        p_holm = row["p_holm"] if adjusted else row["p"]
        return _line(predicted, metric, name, places[name], sides["auroc"], row, p_holm)

    lines = []
    for key in _keys(predicted):
        metric = METRICS[key]
        scored = ranked if key in _OF_POSITIVES.values() else decided
        both = sides[key] if key in sides else [_measured(metric, s, counts, confidence) for s in scored]
        named = columns(metric, predicted.classes)
        group = whole if whole in named else named[-1]
        lines.append(_tested(predicted, metric, group, named.index(group), both, confidence, margin, seed_sd))
    adjusted = holm(np.array([line.p for line in lines]))
    of_lead = rows[whole]
    return Beside(
        predicted,
        ranking_line(whole, adjusted=False),
        bool(of_lead["tost_p"] < 1 - confidence),
        float(of_lead["tost_p"]),
        margin,
        str(of_lead["seeds"]),
        tuple(replace(line, p_holm=p) for line, p in zip(lines, adjusted.tolist())),
        () if single else tuple(ranking_line(n, adjusted=True) for n in predicted.classes),
        _classic(predicted, ranked, decided),
        confidence,
        draws,
    )


def _keys(predicted: Predicted) -> list[str]:
    """Return the metrics to compare, by their keys in the registry, but for the AUROC."""
    if predicted.task == "multilabel":
        return [*_RANKS[1:], *_OF_LABELS]
    if predicted.binary:
        return [*_RANKS[1:], *(_OF_POSITIVES.get(key, key) for key in _OF_CLASSES)]
    return [*_RANKS[1:], *(key for key in _OF_CLASSES if key not in _SAID_ALREADY)]


def _scored(task: str, predicted: Predicted, logits: np.ndarray, index: np.ndarray, counts: np.ndarray) -> Scored:
    cuts = np.full((len(logits), logits.shape[-1]), CUT) if task == "multilabel" else None
    return Scored(task, predicted.targets, logits, cuts, index, counts.shape[1])


def _measured(metric: Metric, scored: Scored, counts: np.ndarray, confidence: float) -> _Measured:
    once, rests_on = Weighted(scored), support(metric, scored)
    values = measure(metric, once)[0]
    drawn = metric_draws(scored, {"it": metric}, counts)["it"]
    if len(values) > 1 and not metric.inflates:
        low, high = total_intervals(metric, values, drawn, rests_on, confidence)
    else:
        mean = rests_on._replace(patients=rests_on.fewest[None])
        averaged = values.mean(axis=0, keepdims=True), drawn.mean(axis=1, keepdims=True)
        low, high = (ends[0] for ends in metric_intervals(metric, *averaged, mean, confidence))
    texts = [list(dict.fromkeys(filter(None, of_column))) for of_column in zip(*reasons(metric, once))]
    defined = (~np.isnan(drawn.mean(axis=1))).sum(axis=0)
    without = [
        "" if np.isnan(v) else NO_LEVEL if metric.inflates else draw_note(int(n), len(drawn)) or end_note(v, at)
        for v, n, at in zip(values.mean(axis=0), defined, low)
    ]
    notes = [
        "; ".join([*text, *([refused] if refused else filter(None, [remark, why]))])
        for text, refused, remark, why in zip(texts, rests_on.refused, rests_on.remarks, without)
    ]
    return _Measured(values, drawn, low, high, rests_on, notes)


def _tested(
    predicted: Predicted,
    metric: Metric,
    group: str,
    place: int,
    both: list[_Measured],
    confidence: float,
    margin: float,
    seed_sd: float | None,
) -> Line:
    """Return a metric with its paired test, as `comparisons.compare` makes it of the AUROC."""
    second, first = (
        Side(m.values[:, place], m.draws[:, :, place], seed_sd if metric.name == "auroc" else None)
        for m in (both[1], both[0])
    )
    note = both[0].rests_on.refused[place]
    error = degrees = np.nan
    if metric.inflates:
        note = note or "not tested: noise raises it under every draw"
    elif not note:
        freedom = float(min(m.rests_on.freedom[:, place].min() for m in both))
        error, degrees = difference_error(second, first, freedom)
        if error == 0:
            note, degrees = "no draw of patients changes the difference", np.nan
    difference = float(second.values.mean() - first.values.mean())
    row = tests_of(difference, error, degrees, confidence, margin, metric.apart(len(predicted.classes)))
    return _line(predicted, metric, group, place, both, row | {"note": note}, np.nan)


def _line(
    predicted: Predicted,
    metric: Metric,
    group: str,
    place: int,
    both: list[_Measured],
    row: Mapping[str, object],
    p_holm: float,
) -> Line:
    first, second = (
        Value(float(m.values[:, place].mean()), float(m.low[place]), float(m.high[place]), m.notes[place]) for m in both
    )
    numbers = {key: float(str(row[key])) for key in ("difference", "ci_low", "ci_high", "p")}
    positives = (predicted.targets == 1).sum(axis=0)[1 if predicted.binary else 0 :]
    return Line(
        metric.name,
        group,
        first,
        second,
        Value(numbers["difference"], numbers["ci_low"], numbers["ci_high"], str(row["note"])),
        numbers["p"],
        float(p_holm),
        false_claim(numbers["p"]),
        metric.higher_is_better,
        int((predicted.targets[:, place] == 1).sum() if group in predicted.classes else positives.sum()),
    )


def _classic(predicted: Predicted, ranked: list[Scored], decided: list[Scored]) -> Classic:
    if max(map(len, predicted.seeds)) > 1:
        return Classic("they are for one prediction of each, and there are several seeds")
    if len(np.unique(predicted.patients)) < len(predicted.patients):
        return Classic("they take images for independent, and a patient has several")
    of = delong(predicted.targets, np.concatenate([ranked[1].logits, ranked[0].logits]))
    pairs = delong_pairs(of)
    shown = [1] if predicted.binary else range(len(predicted.classes))
    rows = tuple(
        (
            predicted.classes[k],
            float(pairs.difference[0, k]),
            float(pairs.standard_error[0, k]),
            float(pairs.p[0, k]),
        )
        for k in shown
    )
    if predicted.task == "multilabel":
        return Classic("", rows)
    right = [s.truth[np.arange(len(s.truth)), s.logits[0].argmax(axis=-1)] for s in decided]
    return Classic("", rows, mcnemar(right[0], right[1]))
