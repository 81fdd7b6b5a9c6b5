"""What the test part will allow to be said, before anything is trained: which classes get an interval, and how wide."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from tabulate import tabulate

from pipeline.study.files import DATASET, SAMPLES, SPLIT
from pipeline.study.parts import Part, read_parts
from pipeline.study.prepared import read_dataset, read_samples
from pipeline.uncertainty.sample_size import c_statistic, c_statistic_error
from pipeline.uncertainty.support import MIN_PATIENTS

AUROCS = (0.8, 0.9)
"""That a class may turn out to have."""
WIDTH = 0.1
"""Of the interval that is planned for, from limit to limit."""
_LISTED = 20


class ClassPlan(NamedTuple):
    """A class of the test part.

    Parameters
    ----------
    name : str
        Its name.
    positive, negative : int
        Patients with it, and without; one with both kinds of image counts twice.
    half_widths : tuple of float
        Of the 95 % interval at each of `AUROCS`; NaN without a positive or a negative.
    needed : float
        Patients with which the interval at the first of `AUROCS` is `WIDTH` wide; NaN likewise.
    """

    name: str
    positive: int
    negative: int
    half_widths: tuple[float, ...]
    needed: float

    @property
    def refused(self) -> bool:
        """Whether its patients are too few for an interval."""
        return min(self.positive, self.negative) < MIN_PATIENTS


def class_plans(part: Part, classes: tuple[str, ...]) -> list[ClassPlan]:
    """Plan every class of a part.

    Parameters
    ----------
    part : Part
        The test part.
    classes : tuple of str [K]
        Their names.

    Returns
    -------
    list of ClassPlan
        By one image per patient: several of them make intervals a little narrower.
    """
    plans = []
    for k, name in enumerate(classes):
        labels = part.targets[:, k]
        positive, negative = (len(np.unique(part.patients[here])) for here in (labels == 1, labels == 0))
        patients = len(np.unique(part.patients[~np.isnan(labels)]))
        prevalence = positive / patients if patients else 0.0
        if 0 < prevalence < 1:
            reach = float(ndtri(0.975))
            widths = tuple(reach * c_statistic_error(patients, prevalence, auroc) for auroc in AUROCS)
            needed = float(c_statistic(prevalence, AUROCS[0], WIDTH))
        else:
            widths, needed = (math.nan,) * len(AUROCS), math.nan
        plans.append(ClassPlan(name, positive, negative, widths, needed))
    return plans


def test_part() -> str:
    """Write what the test part allows; a line where the split is not there yet."""
    if not all(path.exists() for path in (DATASET, SAMPLES, SPLIT)):
        return "test part: known after the split"
    info, part = read_dataset(), read_parts(["test"])["test"]
    unit = "patients" if info.patients_known else "groups"
    plans = class_plans(part, info.classes)
    refused = [each.name for each in plans if each.refused]
    counted = len(np.unique(part.patients))
    people = read_samples().iloc[part.rows]["patient_id"].nunique() if info.patients_known else counted
    # Patients who share an image are drawn as one; the reports count people, and so does this line.
    as_one = f" ({counted:,} where those who share an image count as one, as below)" if people != counted else ""
    lines = [f"test part: {len(part.rows):,} images of {people:,} {unit}{as_one}"]
    if refused:
        few = ", ".join(refused[:_LISTED]) + (f", and {len(refused) - _LISTED} more" if len(refused) > _LISTED else "")
        lines.append(f"{len(refused)} of {len(plans)} classes have fewer than {MIN_PATIENTS} {unit} with or without:")
        lines.append(f"no interval and no test for {few}")
    fewest = sorted(plans, key=lambda each: min(each.positive, each.negative))[:_LISTED]
    chosen = [each for each in plans if each in fewest]
    heads = [
        "class",
        f"{unit} with",
        *(f"AUROC {a:g}: +-" for a in AUROCS),
        f"{unit} for {AUROCS[0]:g} +- {WIDTH / 2:g}",
    ]
    rows = [
        [
            each.name,
            each.positive,
            *(_number(w) for w in each.half_widths),
            "" if math.isnan(each.needed) else f"{each.needed:,.0f}",
        ]
        for each in chosen
    ]
    lines += ["", tabulate(rows, heads, tablefmt="presto", disable_numparse=True), ""]
    if len(plans) > len(chosen):
        lines.append(f"Shown are the {len(chosen)} classes with the fewest of {len(plans)}.")
    lines.append(
        "Half widths of 95 % intervals by Newcombe's formula, for one image each; the needed numbers likewise."
    )
    return "\n".join(lines)


def _number(width: float) -> str:
    return "" if math.isnan(width) else f"{width:.3f}"
