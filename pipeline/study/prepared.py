"""The prepared data set: dataset.json, samples.csv and images.npy, as stage ``preprocess`` writes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
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
    ordered: bool = False
    target: Target | None = None

    def record(self) -> dict[str, Any]:
        """Return what dataset.json holds; `ordered` and `target` where they say something: others stay as they are."""
        return {name: value for name, value in asdict(self).items() if value or name not in ("ordered", "target")}


def read_dataset(folder: Path = PREPARED, stage: str = "preprocess") -> DatasetInfo:
    """Read dataset.json of a prepared data set, which `stage` makes."""
    path = folder / DATASET.name
    content = read_json(path, stage)
    with intact(path):
        lists = {name: tuple(content.get(name, ())) for name in ("classes", "notes", "remarks")}
        target = content.get("target")
        return DatasetInfo(**{**content, **lists, "target": None if target is None else Target(**target)})


def read_samples(folder: Path = PREPARED, stage: str = "preprocess") -> pd.DataFrame:
    """Read samples.csv; ids are text ("" where nothing stands), class columns uint8, the rest as found, gaps NaN."""
    info, path = read_dataset(folder, stage), folder / SAMPLES.name
    columns = read_table(made_by(path, stage), nrows=0).columns.tolist()
    if columns[: len(SAMPLE_COLUMNS)] != SAMPLE_COLUMNS or not set(info.classes) <= set(columns):
        raise ArtifactError(f"{path}: columns {columns}; expected {SAMPLE_COLUMNS}, then {list(info.classes)}")
    text = ("sample_id", "patient_id", "group_id", "duplicate_of", "official_split")
    dtypes: dict[str, Any] = {**dict.fromkeys(text, "str"), **dict.fromkeys(info.classes, np.uint8)}
    gaps = {column: [""] for column in columns if column not in dtypes}  # "NA" may be the name of a patient
    return read_table(path, dtype=dtypes, na_values=gaps)


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
