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
from pipeline.datasets import Dataset, OnDisk, open_dataset
from pipeline.external.settings import ExternalSet
from pipeline.imaging.settings import OWN, Roi
from pipeline.learning.settings import train_settings
from pipeline.learning.weights import ModelError, description_of, source
from pipeline.settings import Params
from pipeline.settings.keys import key_of
from pipeline.splitting.settings import LEAKS, Split
from pipeline.study.errors import UserError
from pipeline.study.files import SOURCE
from pipeline.study.inputs import located
from pipeline.study.params import PARAMS_FILE, ParamsError
from pipeline.study.runs import configurations
from pipeline.variants.settings import as_variant, preprocess_of, split_of

CHECKED = Path("tmp/checked")
"""Empty files, named by the digest of settings that have been found to be possible, at some cost."""
ENOUGH = 0.5
"""Share of the images that `split.per_class` asks for which each part must get: whole patients seldom give them all."""
ELSEWHERE = "MEDMATRIX_ELSEWHERE"
"""Environment variable that is set where training runs are on other machines than this."""
WITHIN_FOLDS = ("auroc", "macro_f1", "qwk")
"""What trials can be compared by within folds: folds.md is about classifications."""
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
        from pipeline.settings.regression import problems_of_numbers
        from pipeline.settings.segmentation import problems_of_task

        problems += [*problems_of_task(params, dataset), *problems_of_numbers(params, dataset)]
        problems += [*_of_losses(params, dataset), *_of_training(params, dataset), *_of_split(params, dataset)]
        if getattr(dataset, "class_columns", None):
            _tried(problems, check_classes, dataset.classes, f"datasets.{dataset.name}.label_map")
    problems += [*_of_models(params)]
    if dataset is not None:
        problems += [*_of_teachers(params, dataset)]
    problems += [*_of_region(params, dataset)]
    if dataset is not None:
        problems += [*_of_variants(params, dataset)]
    if dataset is not None:
        problems += [*_of_external(params, dataset)]
        problems += [*_of_searches(params, dataset)] if params.search and not problems else []
    if problems:
        raise ParamsError(_PREFIX + "\n".join(dict.fromkeys(problems)))


def check_disk(params: Params, own: bool = True) -> None:
    """Refuse a study whose own images, or those of its external sets, are not as its settings say.

    Files are listed, tables and headers read; nothing can be said of sets that are fetched. It takes too long for every
    stage to ask, and without it external sets would be asked for after all training.

    Parameters
    ----------
    params : Params
        All sections.
    own : bool
        Whether to look at the study's own images where nothing but stage ``download``, which does, depends on them.

    Raises
    ------
    ParamsError
        As `check`.
    """
    problems: list[str] = []
    dataset = open_dataset(params.dataset, params.datasets[params.dataset])
    columns = any(params.models[model].metadata for model in params.study.models)
    ours = _tried(problems, dataset.on_disk) if own or columns else None
    if ours is not None:
        problems += _of_metadata(params, ours.columns)
    problems += [*_of_external_disk(params, dataset, ours)]
    if problems:
        raise ParamsError(_PREFIX + "\n".join(dict.fromkeys(problems)))


def _of_metadata(params: Params, columns: tuple[str, ...]) -> Iterator[str]:
    """Yield columns beside the image that the data set does not have."""
    from pipeline.datasets.shared.dicom import ABOUT_EXAMINATIONS

    for model in params.study.models:
        for name in params.models[model].metadata or ():
            if name not in columns:
                own = [column for column in columns if column not in ABOUT_EXAMINATIONS]
                must = f"use some of: {', '.join(own)}" if own else "it has none; must be empty"
                more = f" (further ones: datasets.{params.dataset}.extra_columns)" if params.dataset == _TABLE else ""
                yield f"models.{model}.metadata: the data set has no column '{name}'; {must}{more}"


def _of_external_disk(params: Params, dataset: Dataset, ours: OnDisk | None) -> Iterator[str]:
    """Yield external sets that are not there, or whose classes do not fit."""
    if not params.external:
        return
    from pipeline.external.classes import mapping_problems
    from pipeline.external.sets import as_external, open_external, static_classes
    from pipeline.external.structures import structure_problems

    counted = _counted(dataset)
    known = ours.classes if ours else tuple(counted["labels"]) if counted is not None else static_classes(dataset)

    def looked(name: str, given: ExternalSet, other: Dataset) -> OnDisk | None:
        with as_external(name, given.dataset):
            return other.on_disk()

    for name, given in params.external.items():
        problems: list[str] = []
        other = open_external(name, given)
        found = _tried(problems, looked, name, given, other)
        yield from problems
        if found is None:
            continue
        if dataset.task == "segmentation":
            yield from structure_problems(f"external.{name}", known, other.task, found.classes, given)
        else:
            sides = dataset.task, known, other.task, found.classes
            yield from mapping_problems(f"external.{name}", *sides, given.classes, given.unmapped)


def _tried(problems: list[str], call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what `call` does with `arguments`, or None and note its problem."""
    try:
        return call(*arguments)
    except UserError as error:
        problems.append(str(error).removeprefix(_PREFIX))
        return None


def _of_losses(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield losses that cannot be built for the task, or beside the class weights or the mixing of a model."""
    from pipeline.learning.losses import create, no_mixing, no_soft_labels

    for name in params.study.losses:
        problems: list[str] = []
        loss = _tried(problems, create, name, params.losses[name], dataset.task, dataset.ordered)
        yield from problems
        if loss is not None and (reason := no_soft_labels(loss, name, dataset.uncertain_as)):
            yield f"datasets.{dataset.name}.uncertain: {reason}"
        for model in params.study.models:
            if loss is not None and train_settings(params, model).mix and (reason := no_mixing(loss, f"losses.{name}")):
                yield f"{key_of(params, model, 'mix')}: {reason}; must be empty beside it"
            if loss is not None and loss.balances and train_settings(params, model).class_weights == "balanced":
                yield (
                    f"{key_of(params, model, 'class_weights')}: 'balanced' makes up for how rare a class is, and so "
                    f"does losses.{name} by itself; must be none beside it"
                )


def _of_training(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield settings of training that the task has no meaning for."""
    for model in params.study.models:
        train = train_settings(params, model)
        if train.mix and train.class_weights != "none":
            yield (
                f"{key_of(params, model, 'mix')}: class_weights: '{train.class_weights}' weighs an image by its one "
                "class, which a mixed one does not have; one of them must be empty or none"
            )
    for model in params.study.models if dataset.task == "multilabel" else ():
        train = train_settings(params, model)
        if train.class_weights != "none":
            yield (
                f"{key_of(params, model, 'class_weights')}: '{train.class_weights}' weighs an image by its one "
                f"class, and {dataset.name} is multi-label; must be none"
            )
        if train.select == "macro_f1":
            yield (
                f"{key_of(params, model, 'select')}: 'macro_f1' counts the one class of an image, and {dataset.name} "
                "is multi-label; must be auroc"
            )


def _of_split(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield what the split asks of a data set that has it not, as far as stage download has counted it."""
    split = params.split
    single = {
        f"split.method: '{split.method}'": split.method == "per_class",
        f"split.balance.method: '{split.balance.method}'": split.balance.method in ("undersample", "augment_to"),
        f"split.protocol: '{split.protocol}'": split.protocol == LEAKS,
    }
    for what, asked in single.items():
        if asked and dataset.task != "multiclass":
            instead = _INSTEAD[what.split(":")[0]]
            yield f"{what} counts images class by class, and {dataset.name} is {_SORT[dataset.task]}; {instead}"
    if split.protocol == LEAKS and split.method != "global":
        yield f"split.protocol: '{LEAKS}' with split.method '{split.method}'; must be global, or protocol split_first"
    if split.protocol == LEAKS and split.balance.method not in ("none", "augment_to"):
        yield f"split.balance.method: '{split.balance.method}' with protocol {LEAKS}; must be none or augment_to"
    counted = _counted(dataset)
    if counted is None:
        return
    yield from params.evaluate.prevalence_problems(list(counted["labels"]))
    absent = [part for part in ("train", "test") if not counted["parts"].get(part)]
    if split.method == "official" and absent:
        yield (
            f"split.method: 'official' needs published parts, and {dataset.name} has no {' and no '.join(absent)} "
            "part; must be grouped, per_class or global"
        )
    if split.method == "time" and not counted.get("dated", 1):
        yield (
            f"split.method: 'time' needs dates of examinations, and no image of {dataset.name} has one (StudyDate of "
            "DICOM headers, or date_column of a table); must be grouped, per_class or global"
        )
    asked_for = sum(split.per_class.model_dump().values())
    name, images = min(counted["labels"].items(), key=lambda item: item[1])
    if split.method == "per_class" and images < asked_for:
        yield f"split.per_class: {asked_for} images of each class, and '{name}' has {images}; must be at most that"
    elif split.method == "per_class" and counted.get("patients"):
        yield from _of_dealing(split, list(counted["labels"]), counted["patients"], dataset.patients_known)


def _of_dealing(split: Split, classes: list[str], patients: list[tuple[list[int], int]], known: bool) -> Iterator[str]:
    """Yield what whole patients leave a part short of, dealt as stage split will: near-duplicates may add to it."""
    mark = _mark(["per_class", split.per_class.model_dump(), split.seed, patients])
    if mark.exists():
        return
    import pandas as pd

    from pipeline.splitting.per_class import per_class

    groups = [images for images, count in patients for _ in range(count)]
    rows = [(i, label) for i, images in enumerate(groups) for label, count in enumerate(images) for _ in range(count)]
    samples = pd.DataFrame({"group_id": [f"{i}" for i, _ in rows]})
    labels = [label for _, label in rows]
    for place, name in enumerate(classes):
        samples[name] = [int(label == place) for label in labels]
    problems: list[str] = []
    dealt = _tried(problems, per_class, samples, classes, split)
    yield from (f"split.per_class: {problem}" for problem in problems)
    if dealt is None:
        return
    who = "patient" if known else "group"
    asked = {"train": split.per_class.train, "val": split.per_class.validation, "test": split.per_class.test}
    for part, number in asked.items():
        for place, name in enumerate(classes):
            had = int(((dealt == part) & (samples[name] == 1)).sum())
            if had < ENOUGH * number:
                of = [images[place] for images in groups if images[place]]
                yield (
                    f"split.per_class: of {number} images of class '{name}' part '{part}' would get {had}: every {who} "
                    f"stays within one part, and the class has {len(of)} of them, with up to {max(of)} images; lower "
                    "the numbers, or set split.method to grouped"
                )
                return
    _set(mark)


def _of_external(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield external test sets whose settings, or whose classes as far as they are known, do not fit."""
    if not params.external:
        return
    from pipeline.external.classes import mapping_problems
    from pipeline.external.sets import open_external, static_classes
    from pipeline.external.structures import structure_problems

    counted = _counted(dataset)
    ours = tuple(counted["labels"]) if counted is not None else static_classes(dataset)
    for name, given in params.external.items():
        problems: list[str] = []
        other = _tried(problems, open_external, name, given)
        yield from problems
        if other is not None and dataset.task == "segmentation":
            yield from structure_problems(f"external.{name}", ours, other.task, static_classes(other), given)
        elif other is not None and other.task not in _OF_CLASSES:
            yield f"external.{name}.dataset: '{given.dataset}' is {_SORT[other.task]}; must have classes, as here"
        elif other is not None:
            sides = dataset.task, ours, other.task, static_classes(other)
            yield from mapping_problems(f"external.{name}", *sides, given.classes, given.unmapped)


def _of_region(params: Params, dataset: Dataset | None) -> Iterator[str]:
    """Yield what a region of interest asks of data sets without masks, or of a folder without a network."""
    roi = params.preprocess.roi
    if roi is None:
        return
    from pipeline.external.sets import open_external
    from pipeline.imaging.region import check_own, model_files

    problems: list[str] = []
    if dataset is not None and dataset.task == "segmentation":
        yield f"preprocess.roi: {dataset.name} is segmented (task), and its masks are not cut along; must be empty"
        return
    if roi.masks != OWN:
        if _tried(problems, model_files, roi):
            _tried(problems, _check_network, roi)
        yield from problems
        return
    if dataset is not None:
        _tried(problems, check_own, roi, dataset)
    yield from problems
    for name, given in params.external.items():
        problems = []
        other = _tried([], open_external, name, given)  # what is wrong with its settings is said elsewhere
        if other is not None:
            _tried(problems, check_own, roi, other)
        yield from (f"external.{name}: {problem}" for problem in problems)


def _of_variants(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield what the split or the pictures of a variant ask of a data set that has it not."""
    if params.variants and dataset.task not in _OF_CLASSES:
        yield (
            f"variants: {', '.join(params.variants)}; {dataset.name} is {_SORT[dataset.task]}, and no page compares "
            "variants of that; must be empty"
        )
        return
    for name, variant in params.variants.items():
        changed = {"split": split_of(variant, params.split), "preprocess": preprocess_of(variant, params.preprocess)}
        own = params.model_copy(update={**changed, "external": {}})
        problems = [*(_of_split(own, dataset) if variant.split else _of_region(own, dataset))]
        if variant.found:
            own = _in_variant(params, name)
            problems += [*_of_losses(own, dataset), *_of_training(own, dataset), *_of_models(own)]
        elif {"size", "channels"} & variant.preprocess.keys():  # the networks take other images than those of the study
            problems += _of_models(_in_variant(params, name))
        yield from (f"variants.{name}.{problem}" for problem in problems)


def _in_variant(params: Params, name: str) -> Params:
    """Return all sections as a variant has them, without the search."""
    return as_variant(params.model_copy(update={"search": None}), name)


def _check_network(roi: Roi) -> None:
    """Read the record of the network that is to find regions; imports torch, once for each network."""
    from pipeline.imaging.region import model_identity, places

    mark = _mark([roi.classes, model_identity(roi)])
    if not mark.exists():
        try:
            trained = importlib.import_module("pipeline.segmenting.use").read_segmenter(located(roi.masks))
        except UserError as error:
            raise ParamsError(f"preprocess.roi.masks: {error}") from None
        places(roi, trained.classes)
        _set(mark)


_TABLE = "image_table"
_RULES = 2
"""Counts what `networks.models.check` has come to refuse: what passed before is checked again."""
_SORT = {"multilabel": "multi-label", "segmentation": "one of masks", "regression": "a regression"}
_OF_CLASSES = ("multilabel", "multiclass")
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
        model, growing = params.models[name], train_settings(params, name).progressive
        mark = _mark(
            [_RULES, model.model_dump(mode="json"), images, version("torch"), version("timm"), _file(model.weights)]
        )
        if growing is not None:
            mark = _mark([mark.name, growing.model_dump()])
        if mark.exists():
            continue
        problems = []
        # Imports torch and timm, for seconds: once for the settings of a model.
        networks = importlib.import_module("pipeline.learning.networks.models")
        _tried(problems, networks.check, name, model, *images)
        if growing is not None and not problems:
            smallest = importlib.import_module("pipeline.learning.images.resizing").side(images[1], growing, 1, 1)
            _tried(problems, networks.check_smaller, name, model, images[0], smallest, images[1])
        yield from problems
        if not problems:
            _set(mark)


def _of_teachers(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield files of teachers that are missing, of other data or classes, or beside what they cannot be beside."""
    for model in params.study.models:
        key, settings = f"models.{model}.teacher", params.models[model].teacher
        if settings is None:
            continue
        if dataset.task not in _OF_CLASSES:
            yield f"{key}: a teacher speaks of classes, and {dataset.name} is {_SORT[dataset.task]}; must be empty"
            continue
        if train_settings(params, model).mix:
            yield (
                f"{key_of(params, model, 'mix')}: {key} speaks of single images, not of mixed ones; one of them must "
                "be empty"
            )
        if params.split.protocol == LEAKS:
            yield (
                f"{key}: with split.protocol {LEAKS} a teacher has seen images of every part; must be empty, or the "
                "protocol split_first"
            )
        if others := [name for name, variant in params.variants.items() if variant.split]:
            yield (
                f"{key}: it was trained on one split, and variants.{others[0]} tests images that it has seen; must be "
                "empty beside variants of the split"
            )
        from pipeline.external.sets import static_classes
        from pipeline.learning.teacher import check_kind, read_teacher

        problems: list[str] = []
        teacher = _tried(problems, read_teacher, key, settings.file)
        if teacher is not None:
            _tried(problems, check_kind, key, teacher, dataset.name, dataset.task, static_classes(dataset))
        yield from problems


def _of_searches(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield what is wrong with the search, in the study and in each fold that has settings of its own beside it."""
    assert params.search is not None
    select = train_settings(params, params.search.model).select
    if params.split.method == "folds" and select not in WITHIN_FOLDS:
        yield f"search: within folds, train.select must be one of {', '.join(WITHIN_FOLDS)}, not {select!r}"
    yield from _of_search(params, dataset)
    for name, variant in params.variants.items():
        if set(variant.found) - set(params.search.over):
            problems = _of_search(as_variant(params, name), dataset)
            yield from (f"variants.{name}.found: {problem}" for problem in problems)


def _of_search(params: Params, dataset: Dataset) -> Iterator[str]:
    """Yield ranges of a search with ends that cannot be trained, and keys that change nothing of what is trained."""
    from pipeline.learning.records import settings_record
    from pipeline.settings.search import ends, fitting, of_trial

    search = params.search
    assert search is not None
    content = params.model_dump(exclude_unset=True)
    mark = _mark([content, version("torch"), version("timm")])
    if mark.exists():
        return
    sound = True
    for key, range_ in search.ranges().items():
        trained = []
        for value in ends(range_):
            values = fitting(search, content, {key: value}, Params)
            trial = Params.model_validate(of_trial(content, search, values or {}))
            problems: list[str] = []
            _tried(problems, check, trial)
            yield from (f"search.over.{key}: {value!r} cannot be: {problem}" for problem in problems)
            sound = sound and not problems
            trained += [] if problems else [settings_record(configurations(trial)[0], trial)]
        if len(trained) > 1 and trained[0] == trained[-1]:
            sound = False
            yield (
                f"search.over.{key}: changes nothing of how {search.model}-{search.loss} is trained: the model has a "
                "key of its own; search that one"
            )
    if sound:
        _set(mark)


def _file(path: str | None) -> list[Any]:
    """Return what changes with the content of a file of weights or its description, or of the folder that holds it."""
    if path is None:
        return []
    try:
        place = source("weights", path)
    except ModelError:
        return []  # for the check of the model to say
    files = sorted(place.iterdir()) if place.is_dir() else [place] if place.exists() else []
    files += [beside] if (beside := description_of(place)) is not None and not place.is_dir() else []
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def _mark(asked: list[Any]) -> Path:
    """Return the file that says, if it exists, that `asked` has been checked."""
    return CHECKED / hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def _set(mark: Path) -> None:
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
