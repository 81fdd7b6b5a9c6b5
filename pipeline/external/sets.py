"""The external test sets of params.yaml: opened under their own keys, where their files lie, what their stages run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.datasets import Dataset, open_dataset
from pipeline.external.settings import ExternalSections, ExternalSet
from pipeline.study.errors import UserError
from pipeline.study.files import EXTERNAL, EXTERNAL_DATA
from pipeline.study.params import ParamsError


def open_external(name: str, settings: ExternalSet) -> Dataset:
    """Return the data set of external set `name` with its settings checked.

    Raises
    ------
    UserError
        Naming the key below ``external.<name>``.
    """
    with as_external(name, settings.dataset):
        return open_dataset(settings.dataset, settings.of_dataset)


@contextmanager
def as_external(name: str, dataset: str) -> Iterator[None]:
    """Let errors of data set `dataset` speak of the keys and the stage of external set `name`."""
    try:
        yield
    except UserError as error:
        text = str(error).replace(f"datasets.{dataset}", f"external.{name}")
        text = text.replace("dvc repro download", "dvc repro").replace("stage download", "stage prepare_external")
        text = text.replace("stage 'download'", "stage 'prepare_external'")
        if text == str(error):
            text = f"external.{name}: {text}" if not text.startswith(("params.yaml", "external.")) else text
        raise type(error)(text.replace("dataset: '", f"external.{name}.dataset: '", 1)) from error


def static_classes(dataset: Dataset) -> tuple[str, ...] | None:
    """Return the classes of a data set, or None where files would have to be read to know them."""
    if dataset.task == "segmentation":
        return dataset.classes
    settings = dataset.model_dump()
    listed = settings.get("class_columns") or settings.get("class_names")
    return None if "label_map" in settings and not listed else dataset.classes


def data_folder(name: str) -> Path:
    """Folder of what stage ``prepare_external`` reads and makes."""
    return EXTERNAL_DATA / name


def prepared_folder(name: str) -> Path:
    """Folder of the prepared images and their tables."""
    return data_folder(name) / "prepared"


def results_folder(name: str) -> Path:
    """Folder of what stage ``evaluate_external`` makes."""
    return EXTERNAL / name


def named_set(name: str, params: ExternalSections) -> ExternalSet:
    """Return the settings of set `name`.

    Raises
    ------
    ParamsError
        If params.yaml has none of this name.
    """
    if name not in params.external:
        known = ", ".join(params.external) or "none is there"
        raise ParamsError(f"--name: '{name}' is no set of section external in params.yaml; must be one of: {known}")
    return params.external[name]
