"""The registry of metrics: what each needs, what it fits, when it is undefined, and how it is averaged.

What a metric cannot say is NaN, never 0: `reasons` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from pipeline.metrics.functions import (
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    brier,
    calibration_error,
    chance_disagreement,
    chance_distance,
    f1,
    grades_off,
    kappa,
    log_loss,
    macro,
    mcc,
    multiclass_mcc,
    oracle_f1,
    precision,
    quadratic_kappa,
    sensitivity,
    specificity,
    within_one,
)
from pipeline.metrics.scored import TASKS, Task, Weighted
from pipeline.metrics.thresholds import MAX_F1, MISSING, POOLED, SPECIFICITIES, ZERO

Scale = Literal["share", "correlation", "loss"]
"""Where a metric lies: [0, 1], [-1, 1], or at 0 and above, of some losses up to `Metric.most`."""
SCALES: tuple[Scale, ...] = get_args(Scale)
NOT_COMPARED = "not compared"
"""Why a class that `Scored.compared` leaves out has no value."""
Carrier = Literal["all", "positive", "negative", "rarer", "called"]
"""Whose patients a value rests on: everyone's, those of one side of the class, or those that were called positive."""


@dataclass(frozen=True)
class Metric:
    """A metric of the registry.

    Parameters
    ----------
    name : str
        As it stands in metrics.csv.
    function : callable
        `Weighted` to float64 [B, S, K] if ``aggregate`` is "macro", else [B, S]. One that needs decisions takes the
        operating point as its second argument.
    tasks : tuple of str
        Tasks it fits.
    needs : {"scores", "curve", "decisions"}
        "curve": the whole ranking (`Weighted`'s ``curves``). "decisions": a threshold matters.
    aggregate : {"macro", "overall"}
        "macro": one value per class, then their mean over the classes where it is defined. "overall": one value.
    undefined_when : tuple of str
        Keys of `CONDITIONS`, any of which makes a value NaN.
    higher_is_better : bool
        False for losses.
    point : str
        Operating point of the decisions.
    inflates : bool
        Noise makes it larger: the values under draws lie around a higher centre than the value itself, as that lies
        above the truth.
    scale : {"share", "correlation", "loss"}
        Where it lies.
    carrier : {"all", "positive", "negative", "rarer", "called"}
        Whose patients it rests on: how many there are says how well its error is known.
    proportion : bool
        Whether it is a share of the images of `carrier`.
    ordered : bool
        Whether it fits ordered classes alone.
    most : callable
        Of the number of classes, the largest value that a loss can have.
    """

    name: str
    function: Callable[..., np.ndarray]
    tasks: tuple[Task, ...]
    needs: Literal["scores", "curve", "decisions"]
    aggregate: Literal["macro", "overall"]
    undefined_when: tuple[str, ...] = ()
    higher_is_better: bool = True
    point: str = MAX_F1
    inflates: bool = False
    scale: Scale = "share"
    carrier: Carrier = "rarer"
    proportion: bool = False
    ordered: bool = False
    most: Callable[[int], float] = lambda n_classes: np.inf

    def apart(self, n_classes: int) -> float:
        """Return by how much two values can differ, of so many classes."""
        return {"share": 1.0, "correlation": 2.0}.get(self.scale, self.most(n_classes))


CONDITIONS: dict[str, Callable[[Weighted, str], np.ndarray]] = {
    "no positive": lambda s, _: s.positives == 0,
    "no negative": lambda s, _: s.negatives == 0,
    "nothing predicted positive": lambda s, at: _called(s, at) == 0,
    "everything predicted positive": lambda s, at: s.counts(at)[2] + s.counts(at)[3] == 0,
    "one class only in the truth": lambda s, _: ((s.positives > 0).sum(axis=-1) == 1)[..., None],
    "one class only predicted": lambda s, at: ((_called(s, at) > 0).sum(axis=-1) == 1)[..., None],
    "one and the same class in the truth and predicted": lambda s, at: (chance_disagreement(s, at) == 0)[..., None],
    "one and the same grade in the truth and predicted": lambda s, at: (chance_distance(s, at) == 0)[..., None],
}
"""Reason text: `Weighted` and operating point to bool, broadcastable to [B, S, K] (or [B, S, 1] if overall)."""


def _called(sums: Weighted, point: str) -> np.ndarray:
    """Return the weight called positive [B, S, K]."""
    return sums.counts(point)[0] + sums.counts(point)[1]


_RANKS: dict[str, Any] = {"tasks": TASKS, "aggregate": "macro", "undefined_when": ("no positive", "no negative")}


_DECIDES: dict[str, Any] = {"tasks": TASKS, "needs": "decisions", "aggregate": "macro"}


_OVERALL: dict[str, Any] = {"tasks": ("multiclass",), "needs": "decisions", "aggregate": "overall", "carrier": "all"}


_ERROR: dict[str, Any] = {"needs": "scores", "higher_is_better": False, "scale": "loss"}


_ERROR_OF_CLASS: dict[str, Any] = {**_ERROR, "tasks": ("multilabel",), "aggregate": "macro"}


_ERROR_OF_ALL: dict[str, Any] = {**_ERROR, "tasks": ("multiclass",), "aggregate": "overall", "carrier": "all"}


_MARGINS = ("no positive", "no negative", "nothing predicted positive", "everything predicted positive")


_ONE_CLASS = ("one class only in the truth", "one class only predicted")


_DECISIONS: dict[str, Metric] = {
    "f1": Metric("f1", f1, **_DECIDES, undefined_when=("no positive",)),
    "sensitivity": Metric(
        "sensitivity", sensitivity, **_DECIDES, undefined_when=("no positive",), carrier="positive", proportion=True
    ),
    "specificity": Metric(
        "specificity", specificity, **_DECIDES, undefined_when=("no negative",), carrier="negative", proportion=True
    ),
    "mcc": Metric("mcc", mcc, **_DECIDES, undefined_when=_MARGINS, scale="correlation"),
}


def _at(point: str, suffix: str, *names: str) -> dict[str, Metric]:
    """Return the metrics `names` of multi-label decisions at another operating point, as ``name_suffix``."""
    return {
        f"{name}_{suffix}": replace(_DECISIONS[name], name=f"{name}_{suffix}", tasks=("multilabel",), point=point)
        for name in names
    }


METRICS: dict[str, Metric] = {
    "auroc": Metric("auroc", auroc, needs="scores", **_RANKS),
    "average_precision": Metric("average_precision", average_precision, needs="curve", **_RANKS),
    **_DECISIONS,
    "precision": Metric(
        "precision",
        precision,
        **_DECIDES,
        undefined_when=("no positive", "no negative", "nothing predicted positive"),
        carrier="called",
        proportion=True,
    ),
    "log_loss": Metric("log_loss", log_loss, **_ERROR_OF_CLASS),
    "brier": Metric("brier", brier, **_ERROR_OF_CLASS, most=lambda n_classes: 1.0),
    "ece": Metric("ece", calibration_error, **_ERROR_OF_CLASS, inflates=True),
    **_at(POOLED, "pooled", *_DECISIONS),
    **{k: m for point in SPECIFICITIES for k, m in _at(point, f"at_{point}", "sensitivity", "specificity").items()},
    **_at(ZERO, "zero", *_DECISIONS),
    "oracle_f1": Metric("oracle_f1", oracle_f1, ("multilabel",), "curve", "macro", ("no positive",)),
    "overall_accuracy": Metric("accuracy", accuracy, **_OVERALL, proportion=True),
    "overall_balanced_accuracy": Metric("balanced_accuracy", balanced_accuracy, **_OVERALL),
    "overall_mcc": Metric("mcc", multiclass_mcc, **_OVERALL, undefined_when=_ONE_CLASS, scale="correlation"),
    "overall_kappa": Metric(
        "kappa",
        kappa,
        **_OVERALL,
        undefined_when=("one and the same class in the truth and predicted",),
        scale="correlation",
    ),
    "overall_qwk": Metric(
        "qwk",
        quadratic_kappa,
        **_OVERALL,
        undefined_when=("one and the same grade in the truth and predicted",),
        scale="correlation",
        ordered=True,
    ),
    "overall_grades_off": Metric(
        "grades_off",
        grades_off,
        **_OVERALL,
        higher_is_better=False,
        scale="loss",
        ordered=True,
        most=lambda n_classes: n_classes - 1.0,
    ),
    "overall_within_one": Metric("within_one", within_one, **_OVERALL, proportion=True, ordered=True),
    "overall_log_loss": Metric("log_loss", log_loss, **_ERROR_OF_ALL),
    "overall_brier": Metric("brier", brier, **_ERROR_OF_ALL, most=lambda n_classes: 2.0),
    "overall_ece": Metric("ece", calibration_error, **_ERROR_OF_ALL, inflates=True),
}
"""Every metric, by a key that is its name, led by ``overall_`` where one value stands for all classes.

Decisions of a multi-label class are at its threshold of highest F1 on validation; those of other operating points
(`thresholds.operating_points`) carry its name: ``f1_pooled``, ``sensitivity_at_90_specificity`` (and, beside it,
``specificity_at_90_specificity``: the specificity that this threshold really reaches), ``f1_zero``. What is tuned on
the scored part itself begins with ``oracle_``.
"""


def metrics_of(task: str, ordered: bool = False) -> dict[str, Metric]:
    """Return the part of `METRICS` that fits `task`, and classes that are `ordered` or not, in order."""
    return {key: m for key, m in METRICS.items() if task in m.tasks and (ordered or not m.ordered)}


def columns(metric: Metric, classes: Sequence[str]) -> list[str]:
    """Return the names of the last axis of `measure`: the classes, then "macro"; or "overall" alone."""
    return [*classes, "macro"] if metric.aggregate == "macro" else ["overall"]


def measure(metric: Metric, sums: Weighted) -> np.ndarray:
    """Compute a metric with its aggregate.

    Parameters
    ----------
    metric : Metric
        One that fits the task of the predictions.
    sums : Weighted
        Predictions under B weightings.

    Returns
    -------
    float64 [B, S, C]
        C as `columns` names them; NaN where undefined.

    Raises
    ------
    ValueError
        If the metric does not fit the task, or needs the curve of a `Weighted` without.
    """
    if sums.scored.task not in metric.tasks:
        raise ValueError(f"{metric.name} ({metric.aggregate}) does not fit task {sums.scored.task!r}")
    if metric.ordered and not sums.scored.ordered:
        raise ValueError(f"{metric.name} is of ordered classes, and these are not")
    if metric.needs == "curve" and not sums.curves:
        raise ValueError(f"{metric.name} needs the curve, which these sums were told to leave out")
    values = metric.function(sums, metric.point) if metric.needs == "decisions" else metric.function(sums)
    if metric.aggregate == "overall":
        return values[..., None]
    if sums.scored.compared is not None:
        values = np.where(sums.scored.compared, values, np.nan)
    return np.concatenate([values, macro(values)[..., None]], axis=-1)


def reasons(metric: Metric, sums: Weighted) -> list[list[str]]:
    """Say why values are missing, or what an aggregate leaves out.

    Parameters
    ----------
    metric : Metric
        The metric.
    sums : Weighted
        The predictions under one weighting, that of ones.

    Returns
    -------
    list of list of str [S][C]
        "" where there is nothing to say.
    """
    values = measure(metric, sums)[0]
    missing = np.isnan(values)
    n_seeds, n_columns = values.shape
    n_classes = sums.scored.shape[1]
    per_class = n_columns - 1 if metric.aggregate == "macro" else 1
    holds = {
        c: np.broadcast_to(CONDITIONS[c](sums, metric.point)[0], (n_seeds, per_class)) for c in metric.undefined_when
    }
    decides, undecided = metric.needs == "decisions", sums.scored.undecided(metric.point)

    def why(s: int, c: int) -> str:
        if sums.scored.broken[s]:
            return "logits are not finite"
        if metric.aggregate == "macro" and sums.scored.compared is not None and not sums.scored.compared[c]:
            return NOT_COMPARED
        if decides and metric.aggregate == "macro" and undecided[s, c]:
            return f"no threshold: {MISSING[metric.point]}"
        return ", ".join(condition for condition, where in holds.items() if where[s, c])

    texts = [[why(s, c) if missing[s, c] else "" for c in range(per_class)] for s in range(n_seeds)]
    for s in range(n_seeds):
        if metric.aggregate == "macro":
            defined = n_classes - int(missing[s, :-1].sum())
            partial = f"mean over {defined} of {n_classes} classes" if defined < n_classes else ""
            texts[s].append("logits are not finite" if sums.scored.broken[s] else partial)
        elif metric.function is balanced_accuracy and not missing[s, 0]:
            defined = int((sums.positives[0, 0] > 0).sum())
            texts[s][0] = f"mean over {defined} of {n_classes} classes" if defined < n_classes else ""
    return texts
