"""What a study of segmentation cannot have, and what no other study can: held against each other before any work."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from pipeline.datasets import Dataset
from pipeline.learning.settings import MASKS, train_settings
from pipeline.settings import Params
from pipeline.settings.keys import key_of


def problems_of_task(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield settings that do not fit the task of the data set, one line each: key, value, what is allowed."""
    of_masks = dataset.task == "segmentation"
    for model in params.study.models:
        arch, gives_masks = params.models[model].arch, params.models[model].gives_masks
        if of_masks and not gives_masks:
            yield (
                f"models.{model}.arch: '{arch}' gives classes, and the task of {dataset.name} is segmentation; must be "
                f"{MASKS}NAME, for example {MASKS}unet"
            )
        if gives_masks and not of_masks:
            yield (
                f"models.{model}.arch: '{arch}' gives masks, and {dataset.name} has classes; must be another one, "
                "or the data set have task: segmentation"
            )
        yield from _of_training(params, model, dataset)
    if of_masks:
        yield from _of_stages(params)


def _of_training(params: Params, model: str, dataset: Dataset) -> Iterator[str]:
    train, where = train_settings(params, model), partial(key_of, params, model)
    of_masks = dataset.task == "segmentation"
    if (train.select == "dice") != of_masks:
        allowed = "dice" if of_masks else "auroc, or macro_f1 for one class per image"
        yield f"{where('select')}: '{train.select}' is not defined for {dataset.name}; must be {allowed}"
    if not of_masks:
        return
    if train.mix is not None:
        yield f"{where('mix')}: a mixture of images has no one mask; must be empty for segmentation"
    if train.progressive is not None:
        yield f"{where('progressive')}: images would shrink without their masks; must be empty for segmentation"
    if train.augment.rand is not None:
        yield f"{where('augment')}: rand moves images without their masks; must be empty for segmentation"
    if train.layer_decay is not None:
        yield f"{where('layer_decay')}: {train.layer_decay}; must be empty for segmentation"
    if train.class_weights != "none":
        yield f"{where('class_weights')}: '{train.class_weights}' weighs images by class; must be none for segmentation"


def _of_stages(params: Params) -> Iterator[str]:
    if params.evaluate.tta.shift:
        yield f"evaluate.tta.shift: {params.evaluate.tta.shift}; must be 0 for segmentation (flips are undone)"
    if params.evaluate.prevalence is not None:
        yield "evaluate.prevalence: predictive values are of classes; must be empty for segmentation"
    if params.ensemble.features:
        yield "ensemble.features: true; must be false for segmentation, whose networks have no head on features"
    balance = params.split.balance.method
    if balance == "augment_to" or params.split.protocol != "split_first":
        yield (
            f"split.balance.method: '{balance}', split.protocol: '{params.split.protocol}': augmented copies have no "
            "masks; must be none or oversample, and split_first"
        )
