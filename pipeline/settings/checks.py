"""What params.yaml asks for and cannot be had: found out before any work, without reading an image.

The sections have been validated one by one, and against each other's names (`Params`). Here they are held to what they
speak of: the data set, the losses, the architectures, the machine.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import settings
from pipeline.datasets import Dataset, open_dataset
from pipeline.learning.settings import train_settings
from pipeline.settings import Params
from pipeline.splitting.settings import LEAKS
from pipeline.study.errors import UserError
from pipeline.study.files import SOURCE
from pipeline.study.params import PARAMS_FILE, ParamsError

CHECKED = Path("tmp/checked")
"""Empty files, named by the digest of settings of a model that have been found to be buildable."""
ELSEWHERE = "MEDMATRIX_ELSEWHERE"
"""Environment variable that is set where training runs are on other machines than this."""
_PREFIX = "params.yaml:\n"


def load(path: Path | str = PARAMS_FILE) -> Params:
    """Read and validate a params file, and check that its study can run.

    Raises
    ------
    ParamsError
        See `pipeline.settings.load` and `check`.
    """
    params = settings.load(path)
    check(params)
    return params


def check(params: Params) -> None:
    """Refuse a study that cannot run to its end.

    Raises
    ------
    ParamsError
        With one line per problem: key, value, what is allowed.
    """
    from pipeline.datasets.shared.names import check_classes  # imports pandas: not before a command shows its help

    problems: list[str] = []
    dataset = _tried(problems, open_dataset, params.dataset, params.datasets[params.dataset])
    if dataset is not None:
        problems += [*_of_losses(params, dataset), *_of_training(params, dataset), *_of_split(params, dataset)]
        if getattr(dataset, "class_columns", None):
            _tried(problems, check_classes, dataset.classes, f"datasets.{dataset.name}.label_map")
    problems += [*_of_models(params)]
    if problems:
        raise ParamsError(_PREFIX + "\n".join(dict.fromkeys(problems)))


def _tried(problems: list[str], call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `call` does with `arguments`, or None and note its problem."""
    try:
        return call(*arguments)
    except UserError as error:
        problems.append(str(error).removeprefix(_PREFIX))
        return None


def _of_losses(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield losses that cannot be built for the task, or beside the class weights of a model."""
    from pipeline.learning.losses import create

    for name in params.study.losses:
        problems: list[str] = []
        loss = _tried(problems, create, name, params.losses[name], dataset.task)
        yield from problems
        for model in params.study.models:
            if loss is not None and loss.balances and train_settings(params, model).class_weights == "balanced":
                yield (
                    f"{_where(params, model, 'class_weights')}: 'balanced' makes up for how rare a class is, and so "
                    f"does losses.{name} by itself; must be none beside it"
                )


def _of_training(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield settings of training that the task has no meaning for."""
    for model in params.study.models if dataset.task == "multilabel" else ():
        train = train_settings(params, model)
        if train.class_weights != "none":
            yield (
                f"{_where(params, model, 'class_weights')}: '{train.class_weights}' weighs an image by its one "
                f"class, and {dataset.name} is multi-label; must be none"
            )
        if train.select == "macro_f1":
            yield (
                f"{_where(params, model, 'select')}: 'macro_f1' counts the one class of an image, and {dataset.name} "
                "is multi-label; must be auroc"
            )


def _where(params: Params, model: str, key: str) -> str:
    """Return the key path under which `model` has setting `key` of training."""
    return f"models.{model}.{key}" if key in params.models[model].model_fields_set else f"train.{key}"


def _of_split(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield what the split asks of a data set that has it not, as far as stage download has counted it."""
    split = params.split
    single = {
        f"split.method: '{split.method}'": split.method == "per_class",
        f"split.balance.method: '{split.balance.method}'": split.balance.method in ("undersample", "augment_to"),
        f"split.protocol: '{split.protocol}'": split.protocol == LEAKS,
    }
    for what, asked in single.items():
        if asked and dataset.task == "multilabel":
            instead = _INSTEAD[what.split(":")[0]]
            yield f"{what} counts images class by class, and {dataset.name} is multi-label; {instead}"
    if split.protocol == LEAKS and split.method != "global":
        yield f"split.protocol: '{LEAKS}' with split.method '{split.method}'; must be global, or protocol split_first"
    if split.protocol == LEAKS and split.balance.method not in ("none", "augment_to"):
        yield f"split.balance.method: '{split.balance.method}' with protocol {LEAKS}; must be none or augment_to"
    counted = _counted(dataset)
    if counted is None:
        return
    absent = [part for part in ("train", "test") if not counted["parts"].get(part)]
    if split.method == "official" and absent:
        yield (
            f"split.method: 'official' needs published parts, and {dataset.name} has no {' and no '.join(absent)} "
            "part; must be grouped, per_class or global"
        )
    asked_for = sum(split.per_class.model_dump().values())
    name, images = min(counted["labels"].items(), key=lambda item: item[1])
    if split.method == "per_class" and images < asked_for:
        yield f"split.per_class: {asked_for} images of each class, and '{name}' has {images}; must be at most that"


_INSTEAD = {
    "split.method": "must be official, grouped or global",
    "split.balance.method": "must be none or oversample",
    "split.protocol": "must be split_first",
}


def _counted(dataset: Dataset) -> dict[str, Any] | None:
    """Return what stage download counted of the data set as it is set up now; None if it has not."""
    try:
        found = json.loads(SOURCE.read_text(encoding="utf-8"))
        same = found["name"] == dataset.name and found.get("settings") == json.loads(dataset.model_dump_json())
        content = found.get("content") if same else None
        return content if content is None or (content["parts"] and content["labels"]) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or damaged: for the stage that reads it to say


def _of_models(params: Params) -> Iterator[str]:
    """Yield models of the study that cannot be built, and devices that are not there."""
    wishes = {model: train_settings(params, model).device for model in params.study.models}
    if "cuda" in wishes.values() and not os.environ.get(ELSEWHERE):
        problems: list[str] = []
        _tried(problems, importlib.import_module("pipeline.learning.session").choose_device, "cuda")
        yield from problems
    images = (params.preprocess.channels, params.preprocess.size)
    for name in params.study.models:
        model = params.models[name]
        asked = [model.model_dump(mode="json"), images, version("torch"), version("timm")]
        mark = CHECKED / hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
        if mark.exists() and not model.weights:  # a file may go
            continue
        problems = []
        # Imports torch and timm, for seconds: once for the settings of a model.
        networks = importlib.import_module("pipeline.learning.networks.models")
        _tried(problems, networks.check, name, model, *images)
        yield from problems
        if not problems:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
