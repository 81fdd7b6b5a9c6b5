"""Where the files between stages lie and what is in them. No other module spells a path of the study."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.params import Cell, Recipe

RAW = Path("data/raw")
SOURCE = "SOURCE.json"
PREPARED = Path("data/prepared")
IMAGES = PREPARED / "images.npy"
DATASET = PREPARED / "dataset.json"
SAMPLES = PREPARED / "samples.csv"
EXCLUDED = PREPARED / "excluded.csv"
DUPLICATES = PREPARED / "duplicates.csv"
EXAMPLES = PREPARED / "examples.npz"
BOXES = PREPARED / "boxes.csv"
SPLIT_FOLDER = Path("data/split")
SPLIT = SPLIT_FOLDER / "split.csv"
AUDIT = SPLIT_FOLDER / "audit.json"
MODELS = Path("models")
EVALUATIONS = Path("evaluations")
FUSED = Path("fused")
"""Ensembles of features: fused.json says which there are and what they are made of, predictions.npz what they say."""
ENSEMBLES = Path("ensembles")
PROBES = Path("probes")
REPORTS = Path("reports")
PRIVATE_FIGURES = Path("data/figures")
"""Figures that show images which may not be passed on: git ignores data/."""
CHECKPOINTS = Path("tmp/ckpt")
AUGMENTED = "augmented.npz"
"""In the folder of a training and of an evaluation: training images as the network sees them, see `write_augmented`."""

PARTS = ("train", "val", "test", "unused")
SAMPLE_COLUMNS = [
    "row",
    "sample_id",
    "patient_id",
    "group_id",
    "duplicate_of",
    "width",
    "height",
    "official_split",
]
"""Leading columns of samples.csv; then one 0/1 column a class, then the data set's own columns."""
METRIC_COLUMNS = [
    "model",
    "loss",
    "seed",
    "part",
    "class",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_positive",
    "note",
]
"""Columns of metrics.csv. `seed` is a number or "mean" (mean over seeds); `class` is a class name, "macro" or
"overall"; `note` says why a value or an interval is missing."""


class ArtifactError(UserError):
    """A file between stages is missing or is not what it should be. The message names the stage that makes it."""


@dataclass(frozen=True)
class DatasetInfo:
    """Content of dataset.json.

    Parameters
    ----------
    name, title, task, licence, citation, url : str
        As the data set's file states them; task is "multilabel" or "multiclass".
    classes : tuple of str
        In the order of every array.
    synthetic : bool
        True where the images are drawn, not taken of people.
    notes : tuple of str
        Limits that every report must state.
    source : dict
        What `fetch` recorded.
    """

    name: str
    title: str
    task: Literal["multilabel", "multiclass"]
    classes: tuple[str, ...]
    synthetic: bool
    licence: str
    citation: str
    url: str
    notes: tuple[str, ...] = ()
    source: dict[str, Any] | None = None


def raw_folder(dataset: str) -> Path:
    """Folder of the data set as published."""
    return RAW / dataset


def cell_folder(cell: Cell) -> Path:
    """Folder of one training: model.safetensors, history.csv, run.json, augmented.npz."""
    return MODELS / str(cell.recipe) / f"seed{cell.seed}"


def evaluation_folder(recipe: Recipe) -> Path:
    """Folder of a recipe's predictions.npz, metrics.csv, seeds.csv, history.csv, runs.json and augmented.npz."""
    return EVALUATIONS / str(recipe)


def write_augmented(cell: Cell, rows: np.ndarray, images: np.ndarray) -> None:
    """Write training images and what augmentation draws of them into the folder of `cell`, complete or not at all.

    Parameters
    ----------
    cell : Cell
        The training that draws so.
    rows : int64 [R]
        Positions in images.npy.
    images : uint8 [R, 1 + draws, H, W] or [R, 1 + draws, H, W, 3]
        Each image as prepared, then as drawn.
    """
    path = cell_folder(cell) / AUGMENTED
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("partial-" + path.name)
    np.savez(partial, rows=rows, images=images)
    os.replace(partial, path)


def pass_on_augmented(cell: Cell) -> None:
    """Copy the file of `write_augmented` into the evaluation of the recipe; an older training has none."""
    source, copy = cell_folder(cell) / AUGMENTED, evaluation_folder(cell.recipe) / AUGMENTED
    copy.unlink(missing_ok=True)
    if source.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def made_by(path: Path, stage: str) -> Path:
    """Return `path` if it exists.

    Raises
    ------
    ArtifactError
        Naming the stage to run.
    """
    if not path.exists():
        raise ArtifactError(f"{path} is missing; stage '{stage}' makes it: dvc repro {stage}")
    return path


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON in a stable form; the file is complete or absent."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text)


def null(value: float) -> float | None:
    """Return `value`, or JSON's null where it is undefined."""
    return value if np.isfinite(value) else None


def nulls(numbers: dict[str, float]) -> dict[str, float | None]:
    """Put JSON's null where a number is undefined."""
    return {name: null(value) for name, value in numbers.items()}


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends; the file is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write `table` without its index; the file is complete or absent."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_json(path: Path, stage: str) -> Any:
    """Read a JSON file that `stage` makes."""
    return json.loads(made_by(path, stage).read_text(encoding="utf-8"))


def read_dataset() -> DatasetInfo:
    """Read dataset.json."""
    content = read_json(DATASET, "preprocess")
    return DatasetInfo(**{**content, "classes": tuple(content["classes"]), "notes": tuple(content["notes"])})


def read_samples() -> pd.DataFrame:
    """Read samples.csv; ids are text ("" where nothing stands), class columns uint8, the rest as found, gaps NaN."""
    info = read_dataset()
    columns = pd.read_csv(made_by(SAMPLES, "preprocess"), nrows=0).columns.tolist()
    if columns[: len(SAMPLE_COLUMNS)] != SAMPLE_COLUMNS or not set(info.classes) <= set(columns):
        raise ArtifactError(f"{SAMPLES}: columns {columns}; expected {SAMPLE_COLUMNS}, then {list(info.classes)}")
    text = ("sample_id", "patient_id", "group_id", "duplicate_of", "official_split")
    dtypes: dict[str, Any] = {**dict.fromkeys(text, "str"), **dict.fromkeys(info.classes, np.uint8)}
    gaps = {column: [""] for column in columns if column not in dtypes}  # "NA" may be the name of a patient
    return pd.read_csv(SAMPLES, dtype=dtypes, keep_default_na=False, na_values=gaps)


def open_images() -> np.ndarray:
    """Open images.npy, uint8 [N, H, W] or [N, H, W, 3], memory-mapped and read-only."""
    return np.load(made_by(IMAGES, "preprocess"), mmap_mode="r")


def read_split() -> pd.DataFrame:
    """Read split.csv, an entry a line.

    Returns
    -------
    DataFrame
        row (int); part (train, val, test, unused); copies (draws of a training entry an epoch, 0 or more; 1 in the
        other parts); augmented (0 = the image itself, k = its k-th augmented copy). A row occurs once, but for
        protocol augment_before_split: there once as itself and once a copy, in any parts.
    """
    numbers = dict.fromkeys(("row", "copies", "augmented"), np.int64)
    return pd.read_csv(made_by(SPLIT, "split"), dtype={"part": "str", **numbers})


@dataclass(frozen=True)
class Part:
    """The entries of one part and their truth, in the order of rows and then copies.

    Parameters
    ----------
    rows : int64 [N]
        Positions in images.npy; each once, but for protocol augment_before_split.
    targets : uint8 [N, K]
        0/1; one 1 a row for multiclass.
    patients : str [N]
        Patient ids.
    copies : int64 [N]
        How often a training entry is drawn in an epoch.
    augmented : int64 [N]
        0 = the image itself, k = its k-th augmented copy.
    """

    rows: np.ndarray
    targets: np.ndarray
    patients: np.ndarray
    copies: np.ndarray
    augmented: np.ndarray

    def drawn(self) -> Part:
        """Return the entries that an epoch draws, each once."""
        kept = self.copies > 0
        return Part(**{name: values[kept] for name, values in vars(self).items()})


def read_parts(parts: Sequence[str]) -> dict[str, Part]:
    """Read the named parts of the split. Labels of parts that are not named are dropped before anything is returned."""
    classes = list(read_dataset().classes)
    table = read_samples().merge(read_split(), on="row", validate="one_to_many")
    table = table[table["part"].isin(parts)].sort_values(["row", "augmented"])
    return {
        part: Part(
            rows=rows["row"].to_numpy(np.int64),
            targets=rows[classes].to_numpy(np.uint8),
            patients=rows["patient_id"].to_numpy(str),
            copies=rows["copies"].to_numpy(np.int64),
            augmented=rows["augmented"].to_numpy(np.int64),
        )
        for part, rows in ((p, table[table["part"] == p]) for p in parts)
    }


@dataclass(frozen=True)
class Predictions:
    """Content of predictions.npz.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Decides whether logits go through a sigmoid or a softmax.
    seeds : int64 [S]
        Training seeds; for ensembles 0..S-1 in the order of `methods`.
    classes : str [K]
        Class names.
    val_rows, test_rows : int64 [N]
        Positions in images.npy.
    val_logits, test_logits : float32 [S, N, K]
        Before sigmoid or softmax.
    val_targets, test_targets : uint8 [N, K]
        0/1.
    val_patients, test_patients : str [N]
        Patient ids, the unit of the bootstrap.
    methods : str [S] or empty
        Names of the ensembles; empty for the seeds of a recipe.
    """

    task: str
    seeds: np.ndarray
    classes: np.ndarray
    val_rows: np.ndarray
    val_logits: np.ndarray
    val_targets: np.ndarray
    val_patients: np.ndarray
    test_rows: np.ndarray
    test_logits: np.ndarray
    test_targets: np.ndarray
    test_patients: np.ndarray
    methods: np.ndarray | tuple[()] = ()

    def __post_init__(self) -> None:
        """Check shapes, so that a mistake is found where it is made."""
        for part in ("val", "test"):
            logits, targets = getattr(self, f"{part}_logits"), getattr(self, f"{part}_targets")
            expected = (len(self.seeds), len(getattr(self, f"{part}_rows")), len(self.classes))
            if logits.shape != expected or targets.shape != expected[1:]:
                raise ArtifactError(
                    f"{part} logits {logits.shape} and targets {targets.shape}; expected {expected} and {expected[1:]}"
                )

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name("partial-" + path.name)
        np.savez(partial, **{k: np.asarray(v) for k, v in vars(self).items()})
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path, stage: str = "evaluate") -> Predictions:
        """Read the file that `stage` made."""
        with np.load(made_by(path, stage), allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
        return cls(**{**content, "task": str(content["task"])})


def read_metrics(path: Path, stage: str = "evaluate") -> pd.DataFrame:
    """Read a metrics.csv; seed, class and note are text, numbers are float with NaN where nothing stands."""
    text = ("model", "loss", "seed", "part", "class", "metric", "note")
    table = pd.read_csv(made_by(path, stage), dtype=dict.fromkeys(text, "str"))
    for column in METRIC_COLUMNS:
        if column not in table:
            table[column] = "" if column == "note" else np.nan
    table["note"] = table["note"].fillna("")
    return table[METRIC_COLUMNS]
