"""What a study of numbers, or of grades, cannot have, and what no other study can: held against each other at first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pipeline.datasets import Dataset
from pipeline.learning.settings import train_settings
from pipeline.settings import Params
from pipeline.settings.keys import key_of

ERRORS = ("mae", "rmse")
"""Values of ``train.select`` of a regression."""


def problems_of_numbers(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield settings that do not fit a regression, or ordered classes, one line each: key, value, what is allowed."""
    of_numbers = dataset.task == "regression"
    for model in params.study.models:
        train, where = train_settings(params, model), partial(key_of, params, model)
        if (train.select in ERRORS) != of_numbers:
            what = "a regression" if of_numbers else "no regression"
            allowed = " or ".join(ERRORS) if of_numbers else "another metric, such as auroc"
            yield f"{where('select')}: '{train.select}', and {dataset.name} is {what}; must be {allowed}"
        if train.select == "qwk" and not dataset.ordered:
            yield (
                f"{where('select')}: 'qwk' counts how many grades a decision is off, and classes of {dataset.name} "
                f"have no order; must be auroc, or datasets.{dataset.name}.task ordinal"
            )
        if of_numbers and train.class_weights != "none":
            yield f"{where('class_weights')}: '{train.class_weights}' weighs classes; must be none for a regression"
    if of_numbers:
        yield from _of_stages(params)


def _of_stages(params: Params) -> Iterator[str]:
    if params.evaluate.prevalence is not None:
        yield "evaluate.prevalence: predictive values are of classes; must be empty for a regression"
    if params.ensemble.features:
        yield "ensemble.features: true; must be false for a regression: heads on joined features are of classes"
    if params.external:
        yield f"external: {', '.join(params.external)}; must be {{}} for a regression, which is not scored elsewhere"
