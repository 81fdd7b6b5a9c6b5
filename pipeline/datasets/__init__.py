"""Data sets, one folder each: ``pipeline/datasets/<name>/dataset.py`` defines a subclass of `Dataset` called `Data`.

A data set is added by adding its folder here and its settings under ``datasets.<name>`` in params.yaml.
Only the selected folder is imported, so that a new data set leaves the results of the others valid; what several of
them use lies in ``shared/``.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from pipeline.study.errors import UserError
from pipeline.study.inputs import located
from pipeline.study.params import ParamsError, describe
from pipeline.study.target import Target

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Task = Literal["multilabel", "multiclass", "segmentation", "regression"]
OfficialSplit = Literal["", "train", "val", "test"]


class MaskSource(NamedTuple):
    """Where a structure is in an image, as published.

    Parameters
    ----------
    content : bytes, ndarray or None
        An encoded image of two grey levels, of which the higher is the structure; a mask, bool [H, W]; or None, where
        the structure is not in the image.
    above : int or None
        Of an image of more levels: the structure is what is brighter than this, of 255.
    rescaled : bool
        Whether it may have another size than the image, in the same proportions.
    levels : (int, int) or None
        Of an image of more levels: the structure is what lies between these two, both included, of 255.
    """

    content: bytes | np.ndarray | None
    above: int | None = None
    rescaled: bool = False
    levels: tuple[int, int] | None = None


Masks = Callable[[str], "tuple[MaskSource, ...] | None"]
"""Returns the masks of an image from its sample id, one for each of `Dataset.mask_classes`."""


class OnDisk(NamedTuple):
    """What is known of a data set before it is prepared: its classes, and the further columns of samples.csv."""

    classes: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One image of a data set and what is known about it.

    Parameters
    ----------
    sample_id : str
        Unique in the data set; the published file name where there is one.
    patient_id : str
        Images of one patient share it. Where patients are not known (`Dataset.patients_known`): the sample's own id, or
        the name of a block of images that are to stay together.
    labels : tuple of str
        Names of the positive classes: any number for ``multilabel``, exactly one for ``multiclass``.
    read : callable
        Returns the encoded image file as bytes, or a decoded image as uint8 [H, W] or [H, W, 3] (RGB); may raise
        `OSError`. It is called once, soon after the sample was yielded: a data set that lies in an archive yields its
        samples in the archive's order and holds the bytes of those few that are in flight.
    official_split : {"", "train", "val", "test"}
        The published part, "" where the data set has none. A published "train + validation" list is "train".
    unknown : tuple of str
        Classes of which nothing is known for this image, ``multilabel`` only; none of `labels`.
    uncertain : tuple of str
        Classes that the data set calls uncertain, ``multilabel`` only; see `Dataset.uncertain_as`.
    extra : mapping
        The data set's own columns of samples.csv (age in years, sex, view ...), the same keys for every sample.
    masks : callable or None
        Returns the `MaskSource` of each of `Dataset.mask_classes`, which of ``segmentation`` are the classes; may raise
        `OSError`. `labels` are then those classes whose mask is expected to have a pixel; what it has decides.
    """

    sample_id: str
    patient_id: str
    labels: tuple[str, ...]
    read: Callable[[], bytes | np.ndarray]
    official_split: OfficialSplit = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    masks: Callable[[], tuple[MaskSource, ...]] | None = None
    unknown: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()


class DatasetError(UserError):
    """A data set is not where, or not what, params.yaml says it is. The message names what to do."""


class Dataset(BaseModel, ABC):
    """Settings of ``datasets.<name>`` in params.yaml, and how to get and read that data set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_the_default(cls, settings: Any) -> Any:
        """Leave out keys without a value, so that params.yaml can list them all."""
        if not isinstance(settings, Mapping):
            return settings
        known = {field.alias or key for key, field in cls.model_fields.items()}
        return {key: value for key, value in settings.items() if value is not None or key not in known}

    @model_serializer(mode="wrap")
    def _without_what_is_not_asked(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `asked_task` where it is empty: what was recorded before there was such a key still holds."""
        return {key: value for key, value in handler(self).items() if key != "asked_task" or value}

    name: ClassVar[str]
    synthetic: ClassVar[bool] = False
    checked_by_fetch: ClassVar[bool] = False
    """Whether `fetch` holds what it fetched to published checksums, so that no image of it need be digested."""
    terms: ClassVar[str] = ""
    """What one agrees to by fetching it, where that is more than the licence; shown once, kept in SOURCE.json."""

    if TYPE_CHECKING:
        # A data set states each of these as a class variable, as a property, or as a setting that the user fills in.
        # Only the type checker sees the declarations: pydantic would take a property for the value of such a setting.
        @property
        def title(self) -> str:
            """Name of the data set in reports."""

        @property
        def licence(self) -> str:
            """What its licence allows."""

        @property
        def citation(self) -> str:
            """Publication to cite."""

        @property
        def url(self) -> str:
            """Page of the publisher, "" where there is none."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """Any number of classes per image, exactly one, a mask per class, or a number (classes are its strata)."""

    @property
    def target(self) -> Target | None:
        """The number that is predicted of each image, for ``regression``: key `COLUMN` of `Sample.extra`."""
        return None

    @property
    def ordered(self) -> bool:
        """Whether the classes are grades, the first the lowest; single-label."""
        return getattr(self, "asked_task", "") == "ordinal"

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits that every report of this data set must state, one sentence each."""
        return ()

    @property
    def patients_known(self) -> bool:
        """Whether `Sample.patient_id` names patients; otherwise no page speaks of them."""
        return True

    @property
    def uncertain_as(self) -> dict[str, float | None]:
        """What training takes an uncertain label for, by class; see `pipeline.study.unknown`. Empty: it has none."""
        return {}

    def on_disk(self) -> OnDisk | None:
        """Look at what the settings name on the disk, without reading an image.

        Returns
        -------
        OnDisk or None
            None where files are fetched or drawn, or only their reader knows them.

        Raises
        ------
        DatasetError
            If something is not there, or is not what the settings say.
        """
        root = getattr(self, "root", None)
        if root and not located(root).exists():
            raise DatasetError(f"datasets.{self.name}.root: '{root}' does not exist; expected the data set there")
        return None

    def left_out(self, folder: Path) -> list[tuple[str, str]]:
        """Name what belongs to the data set and is no sample of it: files or rows, each with the reason.

        They are listed in excluded.csv beside the samples that could not be used.
        """
        return []

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of every array and table of the study."""

    @abstractmethod
    def fetch(self, folder: Path) -> dict[str, Any]:
        """Make the data set readable from `folder`, or verify that it is.

        Parameters
        ----------
        folder : Path
            ``data/raw/<name>``; exists, may hold an earlier or interrupted fetch.

        Returns
        -------
        dict
            What was found, JSON-compatible and free of absolute paths made up by the program; recorded in SOURCE.json.

        Raises
        ------
        DatasetError
            If the data set is missing or is not what it claims to be.
        """

    @abstractmethod
    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield every published sample, in a stable order, without decoding its image."""

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """Names of the structures of which `masks` has masks, in their order; none where the data set has no masks."""
        return ()

    def masks(self, folder: Path) -> Masks:
        """Return what gives the masks of an image by its sample id, as a region of interest: None where it has none.

        It may raise `OSError`. Classes of a study may be something else (`Sample.masks` are then no targets).
        """
        read = {sample.sample_id: sample.masks for sample in self.samples(folder)}
        return lambda name: of() if (of := read.get(name)) is not None else None

    def boxes(self, folder: Path) -> pd.DataFrame | None:
        """Published boxes, or None.

        Returns
        -------
        DataFrame or None
            Columns sample_id, class, x, y, width, height; the last four as fractions in [0, 1] of the image's
            width (x, width) and height (y, height), x and y at the top left corner; or, where a further column
            pixels says so, in pixels of the image as published.
        """
        return None


def available() -> list[str]:
    """Names of all data sets, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.ispkg and m.name != "shared")


def dataset_class(name: str) -> type[Dataset]:
    """Return the class of data set `name`.

    Raises
    ------
    DatasetError
        If there is no such data set.
    """
    if name not in available():
        raise DatasetError(f"dataset: '{name}' is not a data set; use one of: {', '.join(available())}")
    cls: type[Dataset] = importlib.import_module(f"{__name__}.{name}.dataset").Data
    return cls


def open_dataset(name: str, settings: dict[str, Any] | None) -> Dataset:
    """Return data set `name` with its settings checked.

    Parameters
    ----------
    name : str
        Key ``dataset`` of params.yaml.
    settings : dict or None
        Its section ``datasets.<name>``; None, as YAML reads an empty section, leaves every default.

    Raises
    ------
    DatasetError
        If there is no such data set.
    ParamsError
        If `settings` holds an unknown key or a value that is not allowed.
    """
    cls = dataset_class(name)
    try:
        return cls.model_validate(settings or {})
    except ValidationError as error:
        raise ParamsError(f"params.yaml:\n{describe(error, cls, f'datasets.{name}')}") from None
