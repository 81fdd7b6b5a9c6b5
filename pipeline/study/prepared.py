"""The prepared data set: dataset.json, samples.csv and images.npy, as stage ``preprocess`` writes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.study.classes import SAMPLE_COLUMNS
from pipeline.study.files import (
    DATASET,
    IMAGES,
    MASKS,
    PREPARED,
    SAMPLES,
    ArtifactError,
    intact,
    made_by,
    read_json,
    read_table,
)
from pipeline.study.target import Target
from pipeline.study.unknown import IN_TABLE


@dataclass(frozen=True)
class DatasetInfo:
    """Content of dataset.json.

    Parameters
    ----------
    name, title, task, licence, citation, url : str
        As the data set's file states them; task is "multilabel", "multiclass", or "segmentation", of which a class is
        a structure, and a class column of samples.csv says whether its mask has a pixel.
    classes : tuple of str
        In the order of every array.
    synthetic : bool
        True where the images are drawn, not taken of people.
    notes : tuple of str
        Limits that every report must state.
    source : dict
        What `fetch` recorded.
    patients_known : bool
        Whether patient_id in samples.csv names patients. Otherwise it names images, or blocks of images that are to
        stay together, and no page speaks of patients.
    remarks : tuple of str
        What was found beside the images or is strange about them, one sentence each without names of files.
    ordered : bool
        Whether the classes are grades, the first the lowest.
    target : Target or None
        Of a regression: what is predicted. The classes are then strata of it, by which images are divided and counted.
    uncertain : dict of str to float or None
        What training takes an uncertain label of each class for: a label in [0, 1], or None to ignore it. Empty where
        the data set has no uncertain labels.
    """

    name: str
    title: str
    task: Literal["multilabel", "multiclass", "segmentation", "regression"]
    classes: tuple[str, ...]
    synthetic: bool
    licence: str
    citation: str
    url: str
    notes: tuple[str, ...] = ()
    source: dict[str, Any] | None = None
    patients_known: bool = True
    remarks: tuple[str, ...] = ()
    uncertain: dict[str, float | None] = field(default_factory=dict)
    ordered: bool = False
    target: Target | None = None

    def record(self) -> dict[str, Any]:
        """Return what dataset.json holds; the last three where they say something: other sets stay as they are."""
        last = ("uncertain", "ordered", "target")
        return {name: value for name, value in asdict(self).items() if value or name not in last}


def read_dataset(folder: Path = PREPARED, stage: str = "preprocess") -> DatasetInfo:
    """Read dataset.json of a prepared data set, which `stage` makes."""
    path = folder / DATASET.name
    content = read_json(path, stage)
    with intact(path):
        lists = {name: tuple(content.get(name, ())) for name in ("classes", "notes", "remarks")}
        target = content.get("target")
        return DatasetInfo(**{**content, **lists, "target": None if target is None else Target(**target)})


def read_samples(folder: Path = PREPARED, stage: str = "preprocess") -> pd.DataFrame:
    """Read samples.csv; ids are text ("" where nothing stands), the rest as found, gaps NaN.

    Class columns are uint8 where every label of the data set is known, otherwise float32 with NaN for those that are
    not, the uncertain among them.
    """
    table, classes = read_published(folder, stage), list(read_dataset(folder, stage).classes)
    if partial(table, classes):
        table[classes] = table[classes].replace(IN_TABLE, np.nan)
    return table


def partial(samples: pd.DataFrame, classes: list[str]) -> bool:
    """Return whether a label in the class columns of `samples` is not known, or could be."""
    return bool((samples[classes].dtypes != np.uint8).any())


def read_published(folder: Path = PREPARED, stage: str = "preprocess") -> pd.DataFrame:
    """Read samples.csv as `read_samples` does, but with -1 where a label is uncertain."""
    info, path = read_dataset(folder, stage), folder / SAMPLES.name
    columns = read_table(made_by(path, stage), nrows=0).columns.tolist()
    if columns[: len(SAMPLE_COLUMNS)] != SAMPLE_COLUMNS or not set(info.classes) <= set(columns):
        raise ArtifactError(f"{path}: columns {columns}; expected {SAMPLE_COLUMNS}, then {list(info.classes)}")
    text = ("sample_id", "patient_id", "group_id", "duplicate_of", "official_split")
    dtypes: dict[str, Any] = {**dict.fromkeys(text, "str"), **dict.fromkeys(info.classes, np.float32)}
    gaps = {column: [""] for column in columns if column not in text}  # "NA" may be the name of a patient
    table = read_table(path, dtype=dtypes, na_values=gaps)
    with intact(path):
        labels = table[list(info.classes)].to_numpy()
        if not (np.isnan(labels) | np.isin(labels, (0, 1, IN_TABLE))).all():
            raise ValueError("a label is neither 0, 1, -1 nor empty")
    all_known = bool(np.isin(labels, (0, 1)).all())
    return table.astype(dict.fromkeys(info.classes, np.uint8)) if all_known else table


def open_images(folder: Path = PREPARED, stage: str = "preprocess") -> np.ndarray:
    """Open images.npy, uint8 or uint16 [N, H, W] or [N, H, W, 3], memory-mapped and read-only."""
    path = made_by(folder / IMAGES.name, stage)
    with intact(path):
        opened: np.ndarray = np.load(path, mmap_mode="r")
        if opened.dtype not in (np.uint8, np.uint16) or opened.ndim not in (3, 4):
            raise ValueError(f"{opened.dtype} {list(opened.shape)}")
    return opened


def open_masks(folder: Path = PREPARED, stage: str = "preprocess") -> np.ndarray:
    """Open masks.npy, uint8 [N, H, W, K] of 0 and 255, memory-mapped and read-only."""
    path = made_by(folder / MASKS.name, stage)
    with intact(path):
        opened: np.ndarray = np.load(path, mmap_mode="r")
        if opened.dtype != np.uint8 or opened.ndim not in (3, 4):
            raise ValueError(f"{opened.dtype} {list(opened.shape)}")
    return opened[..., None] if opened.ndim == 3 else opened


def in_8_bits(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as uint8: uint16, which spans 0 to 65535, is rounded to the nearest of its 257ths."""
    return pixels if pixels.dtype == np.uint8 else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def as_input(images: np.ndarray) -> np.ndarray:
    """Turn prepared images into what networks take.

    Parameters
    ----------
    images : uint8 or uint16 [N, H, W] or [N, H, W, 3]
        As in images.npy.

    Returns
    -------
    float32 [N, 1 or 3, H, W]
        In [0, 1]: the same bits that training and evaluation see.
    """
    white = np.float32(np.iinfo(images.dtype).max)
    values = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values, np.float32) / white
