"""The metrics of a configuration in subgroups of the test part, such as of sex, view or age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from pipeline.metrics.registry import METRICS, columns, measure
from pipeline.metrics.scored import Scored
from pipeline.scoring.gaps import GAP_METRICS, Subgroup, gap_table
from pipeline.scoring.part import PartLogits, View, check_part
from pipeline.scoring.rows import COLUMNS, metric_rows, row
from pipeline.study.prepared import read_samples
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.ratios import Drawn
from pipeline.uncertainty.support import MIN_PATIENTS

SUBGROUP_METRICS = {
    "multilabel": ("auroc", "average_precision"),
    "multiclass": ("overall_accuracy", "overall_balanced_accuracy"),
}
"""What is measured in a subgroup; nothing that depends on a threshold."""
UNKNOWN = "unknown"
"""The subgroup of what has no label."""
AGE_BANDS = {"0-17": 18, "18-39": 40, "40-64": 65, "65-79": 80, "80+": 121}
"""Ages in years: name of the band, first age above it. NIH ChestX-ray14 has ages over 120, which are typing errors."""


def age_bands(ages: Sequence[float] | np.ndarray) -> np.ndarray:
    """Sort ages into `AGE_BANDS`.

    Parameters
    ----------
    ages : float [N]
        Years; NaN where unknown.

    Returns
    -------
    str [N]
        Names of bands; `UNKNOWN` for NaN, below 0 and above 120.
    """
    years = np.asarray(ages, dtype=np.float64)
    names = np.array([*AGE_BANDS, UNKNOWN])
    plausible = (years >= 0) & (years < max(AGE_BANDS.values()))
    return names[np.where(plausible, np.searchsorted(list(AGE_BANDS.values()), years, side="right"), len(AGE_BANDS))]


def subgroups_of(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the labels by which images are grouped: those of sex, view, source and age that the data set has."""
    about = read_samples().set_index("row").loc[rows]
    labels = {name: about[name].to_numpy() for name in ("sex", "view", "source") if name in about}
    if "age" in about:
        labels["age"] = age_bands(pd.to_numeric(about["age"], errors="coerce").to_numpy(float))
    return {name: values for name, values in labels.items() if not pd.isna(values).all()}


class Subgroups(NamedTuple):
    """What `evaluate_subgroups` returns.

    Parameters
    ----------
    metrics : DataFrame
        "subgroup", then `rows.COLUMNS`: one row per subgroup (in sorted order), seed, class and metric of
        `SUBGROUP_METRICS`. A subgroup of fewer than `MIN_PATIENTS` patients has one row per seed and metric, without
        a value.
    gaps : DataFrame
        `gaps.COLUMNS`, not corrected for the number of tests: every pair of subgroups that were scored, but `UNKNOWN`.
        Empty without `with_mean`.
    """

    metrics: pd.DataFrame
    gaps: pd.DataFrame


@threadpool_limits.wrap(limits=1, user_api="blas")
def evaluate_subgroups(
    task: str,
    classes: Sequence[str],
    seeds: Sequence[int | str],
    test: PartLogits | tuple[np.ndarray, np.ndarray, np.ndarray],
    groups: Sequence[str] | np.ndarray,
    variable: str = "",
    points: Mapping[str, np.ndarray] | None = None,
    *,
    draws: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    with_mean: bool = True,
    gaps_alone: bool = False,
) -> Subgroups:
    """Score every seed in each subgroup of the test part, with patient-bootstrap intervals, and compare the subgroups.

    Parameters
    ----------
    task, classes, seeds, test, draws, confidence, seed, with_mean
        As for `evaluate`. The patients of the whole part are drawn, the same for all subgroups: a patient who has
        images in two of them is drawn into both.
    groups : str [N]
        Label of each image, for instance of sex, view or `age_bands`. Missing ones and "" are `UNKNOWN`.
    variable : str
        What `groups` is, for the gaps.
    points : mapping of str to float [S, K] or None
        Thresholds of the operating points (`thresholds.operating_points`); without, decisions of multi-label classes
        are not compared.
    gaps_alone : bool
        Leave ``metrics`` empty, which takes most of the time.

    Returns
    -------
    Subgroups

    Raises
    ------
    ValueError
        If shapes do not fit or the part is empty.

    Notes
    -----
    Subgroups differ in prevalence and in how hard their images are, so that a difference of average precision or of
    accuracy is not yet one of the model's quality.
    """
    test, labels = PartLogits(*test), [str(s) for s in seeds]
    check_part("test", test, labels, classes)
    names = pd.Series(np.asarray(groups, dtype=object)).replace("", None).fillna(UNKNOWN).astype(str).to_numpy()
    if names.shape != test.patients.shape:
        raise ValueError(f"groups {names.shape}; expected {test.patients.shape}")
    metrics = {} if gaps_alone else {key: METRICS[key] for key in SUBGROUP_METRICS[task]}
    compared = {key: METRICS[key] for key in GAP_METRICS[task]} if with_mean else {}
    counts, index = patient_draws(test.patients, draws, seed)
    tables, scored_subgroups = [], []
    for name in np.unique(names):
        here = names == name
        part = PartLogits(test.logits[:, here], test.targets[here], test.patients[here])
        n_patients = len(np.unique(part.patients))
        if n_patients < MIN_PATIENTS:
            series = [*labels, "mean"] if with_mean else labels
            n, n_positive = len(part.targets), int((np.asarray(part.targets) == 1).sum())
            note = f"fewer than {MIN_PATIENTS} patients ({n_patients})"
            rows = [
                row(label, "test", columns(metric, [])[0], metric.name, np.nan, n, n_positive, note)
                for metric in metrics.values()
                for label in series
            ]
        else:
            scored = Scored(task, part.targets, part.logits, points, index[here], counts.shape[1])
            resampled = metric_draws(scored, metrics | (compared if name != UNKNOWN else {}), counts)
            view = View(scored, metrics)
            rows = metric_rows(view, "test", classes, labels, with_mean, resampled, confidence)
            if name != UNKNOWN:
                of = {key: Drawn(measure(m, view.once)[0], resampled[key]) for key, m in compared.items()}
                scored_subgroups.append(Subgroup(name, scored, of))
        tables.append(pd.DataFrame(rows, columns=COLUMNS).assign(subgroup=name))
    gaps = gap_table(variable, scored_subgroups if with_mean else [], task, classes, confidence)
    return Subgroups(pd.concat(tables, ignore_index=True)[["subgroup", *COLUMNS]], gaps)
