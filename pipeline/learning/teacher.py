"""The file of a teacher: what an ensemble says of the images that it was trained on, for another network to learn from.

``medmatrix teach`` writes it, and `models.<name>.teacher` names it. It knows which images the ensemble has learned from
and been chosen by, so that no student is tested on an image that its teacher has seen the label of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.learning.weights import ModelError, sha256_of
from pipeline.study.files import CONTENT, opened_arrays, read_table, replaced
from pipeline.study.inputs import located, not_to_stay
from pipeline.study.parts import read_split
from pipeline.study.prepared import DatasetInfo, read_published
from pipeline.study.unknown import IN_TABLE

SUFFIX = ".npz"
NAMES = ("sample_id", "patient_id", "group_id")
"""Columns of samples.csv by which an image, and those that must stay with it, are known in every study."""


@dataclass(frozen=True)
class TeacherFile:
    """Content of the file.

    Parameters
    ----------
    name, how : str
        Of the ensemble or configuration, and who chose it.
    members : str [M]
        Its training runs.
    dataset, task : str
        Of the study.
    classes : str [K]
        In the order of the logits.
    samples : str [N]
        Names of the training images.
    pictures : str [N]
        SHA-256 of each as it was published; empty where stage download has not read the images.
    logits : float32 [N, K]
        What it says of each, before sigmoid or softmax; finite.
    labels : float32 [N, K]
        0 or 1, or NaN where the data set does not know or is not certain.
    trained, chosen : str [any]
        Images, patients and groups, each as "column=name": what its networks were trained on, and what validation
        chose their epochs, their combination and themselves by.
    """

    name: str
    how: str
    members: np.ndarray
    dataset: str
    task: str
    classes: np.ndarray
    samples: np.ndarray
    pictures: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    trained: np.ndarray
    chosen: np.ndarray

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all."""
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in vars(self).items()}
        with replaced(path, sum(array.nbytes for array in arrays.values())) as partial:
            np.savez(partial, **arrays)


def teacher_path(key: str, given: str) -> Path:
    """Return the file that ``<key>.file`` names.

    Raises
    ------
    ModelError
        If there is none, or it lies among results of the study itself, which do not stay.
    """
    path = located(given)
    if reason := not_to_stay(path):
        raise ModelError(f"{key}.file: {path}: {reason}")
    if not path.is_file():
        raise ModelError(f"{key}.file: {path}: no such file; medmatrix teach writes one from a study that has run")
    return path


def teacher_sha256(key: str, given: str) -> str:
    """Hash the file that ``<key>.file`` names: 64 hexadecimal digits.

    Raises
    ------
    ModelError
        If there is none.
    """
    return sha256_of(teacher_path(key, given))


def read_teacher(key: str, given: str) -> TeacherFile:
    """Read the file that ``<key>.file`` names.

    Parameters
    ----------
    key : str
        ``models.<name>.teacher``, for messages.
    given : str
        A path as for `pipeline.study.inputs.located`.

    Raises
    ------
    ModelError
        If there is no such file, or it is not one of ``medmatrix teach``.
    """
    path = teacher_path(key, given)
    try:
        with opened_arrays(path) as file:
            content: dict[str, Any] = {name: file[name] for name in TeacherFile.__dataclass_fields__}
        text = {name: str(content[name]) for name in ("name", "how", "dataset", "task")}
        read = TeacherFile(**{**content, **text})
        if read.logits.shape != (len(read.samples), len(read.classes)) or read.logits.shape != read.labels.shape:
            raise ValueError("shapes")
    except Exception:  # whatever a file of another kind brings about
        raise ModelError(f"{key}.file: {path} is damaged, or no file that medmatrix teach has written") from None
    return read


def digests_of(names: Mapping[str, set[str]]) -> dict[str, str]:
    """Return a SHA-256 of what `names_by_part` has found of the training and the validation part; of no label."""
    return {part: hashlib.sha256("\n".join(sorted(names[part])).encode()).hexdigest() for part in ("train", "val")}


def check_kind(key: str, teacher: TeacherFile, dataset: str, task: str, classes: Sequence[str] | None) -> None:
    """Refuse a teacher of another data set, task or other classes; None = they are not known yet.

    Raises
    ------
    ModelError
        Naming both.
    """
    ours = {"data set": dataset, "task": task, "classes": None if classes is None else ", ".join(classes)}
    theirs = {"data set": teacher.dataset, "task": teacher.task, "classes": ", ".join(map(str, teacher.classes))}
    for what, value in ours.items():
        if value not in (None, theirs[what]):
            raise ModelError(
                f"{key}.file: {teacher.name} is of {what} {theirs[what]}; must be {value}, as in this study"
            )


def names_by_part() -> dict[str, set[str]]:
    """Return the images, patients and groups of each part that is learned from or scored, each as "column=name"."""
    split, table = read_split(), read_published().set_index("row")
    found = {}
    for part in ("train", "val", "test"):
        rows = table.loc[split.loc[split["part"] == part, "row"].unique()]
        found[part] = {f"{column}={name}" for column in NAMES for name in rows[column] if name}
    return found


def known_of_rows(rows: np.ndarray, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of images, str [n], and their labels as published, float32 [n, K]: NaN for what is uncertain."""
    table = read_published().set_index("row").loc[rows]
    labels = table[list(classes)].to_numpy(np.float32)
    return table["sample_id"].to_numpy(str), np.where(labels == IN_TABLE, np.float32(np.nan), labels)


def pictures_of(names: np.ndarray) -> np.ndarray:
    """Return the digests of images that stage download took, str [n]; empty for those that it has not read."""
    if not CONTENT.exists():
        return np.full(len(names), "", str)
    table = read_table(CONTENT, ("sample_id", "image"))
    digests = dict(zip(table["sample_id"], table["image"], strict=True))
    return np.array([str(digests.get(name, "")) for name in names.tolist()], str)


def told(key: str, teacher: TeacherFile, data: DatasetInfo, rows: np.ndarray) -> np.ndarray:
    """Return what a teacher says of training images, float32 [n, K], unless it has seen what the student is tested on.

    Parameters
    ----------
    key : str
        ``models.<name>.teacher``, for messages.
    teacher : TeacherFile
        As read.
    data : DatasetInfo
        Of the student's study.
    rows : int64 [n]
        Positions of its training images; one may occur several times.

    Raises
    ------
    ModelError
        If it is of another data set, task or other classes; if it was trained or chosen on an image, patient or group
        of the test part, or trained on one of the validation part; if it says nothing of a training image, or knows it
        under another label or as another picture.
    """
    where = f"{key}.file: {teacher.name}"
    check_kind(key, teacher, data.name, data.task, data.classes)
    ours = names_by_part()
    trained, chosen = set(teacher.trained.tolist()), set(teacher.chosen.tolist())
    for part, seen, how in (
        ("test", trained, "was trained on"),
        ("test", chosen, "was chosen by"),
        ("val", trained, "was trained on"),
    ):
        if common := sorted(ours[part] & seen):
            raise ModelError(
                f"{where} {how} {len(common)} of the images, patients and groups of this study's {part} part, such as "
                f"{common[0]}: its answers are known there; make a teacher from a study with the same split"
            )
    names, labels = known_of_rows(rows, data.classes)
    place = {name: i for i, name in enumerate(teacher.samples.tolist())}
    if missing := [name for name in names.tolist() if name not in place]:
        raise ModelError(
            f"{where} says nothing of {len(set(missing))} of the {len(set(names.tolist()))} training images, such as "
            f"{missing[0]}; make a teacher from a study with the same data and split"
        )
    found = np.array([place[name] for name in names.tolist()], np.int64)
    known, pictures = teacher.labels[found], pictures_of(names)
    # What is not known, or not certain, in one of the studies contradicts nothing.
    differ = (~np.isnan(labels) & ~np.isnan(known) & (labels != known)).any(axis=1)
    others = (pictures != "") & (teacher.pictures[found] != "") & (pictures != teacher.pictures[found])
    for what, wrong in (("under other labels", differ), ("as other pictures", others)):
        if wrong.any():
            raise ModelError(
                f"{where} knows {wrong.sum()} training images {what}, such as {names[wrong][0]}; make a teacher from a "
                "study of the same data"
            )
    return teacher.logits[found].astype(np.float32)
