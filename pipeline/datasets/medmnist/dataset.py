"""MedMNIST v3 (Yang et al. 2023): twelve sets of small square images with a published split, in 28, 64, 128 and 224 px.

Each set is one .npz file with ``{train,val,test}_images`` (uint8) and ``{train,val,test}_labels``. The larger files
hold several GB, compressed: the images are unpacked once, member by member, and read from disk from then on. What is
published about each set stands in `sets`.
"""

from __future__ import annotations

import functools
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, Sample, Task
from pipeline.datasets.medmnist.sets import ORDERED, RECORD, SETS, Flag, Size
from pipeline.datasets.shared.fetching.files import fetch_files
from pipeline.datasets.shared.fetching.remote import RemoteFile
from pipeline.datasets.shared.local import root_folder
from pipeline.study.digests import digest_of

_PARTS: tuple[OfficialSplit, ...] = ("train", "val", "test")


class _Part(NamedTuple):
    """One part of a set: images uint8 [N, H, W] or [N, H, W, 3] on disk, labels int64 [N, 1] or [N, K]."""

    name: OfficialSplit
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Data(Dataset):
    """Settings of ``datasets.medmnist``.

    Parameters
    ----------
    flag : str
        Which set: a 2D set of MedMNIST v3.
    size : {28, 64, 128, 224}
        Width and height of the published images in pixels.
    asked_task : {"", "ordinal"}
        Key `task`: ordinal takes the classes of RetinaMNIST as grades.
    root : str or None
        Folder that holds ``<flag>.npz`` (28 px) or ``<flag>_<size>.npz``, relative to the folder of params.yaml or
        absolute. None fetches the file from Zenodo.
    """

    name: ClassVar[str] = "medmnist"
    checked_by_fetch: ClassVar[bool] = True
    url: ClassVar[str] = RECORD

    flag: Flag = "pneumoniamnist"
    size: Size = 28
    root: str | None = None
    asked_task: Literal["", "ordinal"] = Field("", alias="task")

    @model_validator(mode="after")
    def _grades(self) -> Data:
        if self.ordered and self.flag not in ORDERED:
            raise ValueError(
                f"task: 'ordinal' with flag {self.flag}, whose classes have no order; must be empty, or flag one of "
                f"{', '.join(ORDERED)}"
            )
        return self

    @property
    def task(self) -> Task:
        """Multi-label for ChestMNIST, single-label for the others."""
        return "multilabel" if self.flag == "chestmnist" else "multiclass"

    @property
    def title(self) -> str:
        """Name of the set with its size."""
        return f"{SETS[self.flag].title} ({self.size} px, MedMNIST v3)"

    @property
    def licence(self) -> str:
        """As published, set by set."""
        return "CC BY-NC 4.0" if self.flag == "dermamnist" else "CC BY 4.0"

    @property
    def citation(self) -> str:
        """MedMNIST and the source of the images."""
        return (
            "J. Yang, R. Shi, D. Wei et al. MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical "
            f"image classification. Scientific Data 10 (2023), 41. Source of the images: {SETS[self.flag].source}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits of all sets, and how the parts of this one were made."""
        return (
            SETS[self.flag].split,
            f"Images were reduced to {self.size} x {self.size} pixels before publication.",
        )

    @property
    def patients_known(self) -> bool:
        """No: none was published."""
        return False

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of the label values."""
        return SETS[self.flag].classes

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify a local copy, or fetch the file from Zenodo (3.9 GB for ChestMNIST of 224 px); unpack its images.

        Returns
        -------
        dict
            root, file, bytes, md5, as_published (whether the MD5 is the published one), images by part and
            differs_from_published (parts whose count differs).

        Raises
        ------
        DatasetError
            If the file is missing, is no .npz file, or its arrays are not those of the set.
        """
        published = SETS[self.flag]
        expected = published.md5[get_args(Size).index(self.size)]
        if self.root is None:
            remote = RemoteFile(self._file, f"{RECORD}/files/{self._file}?download=1", md5=expected)
            by_hand = f"Or fetch it by other means and set datasets.{self.name}.root to its folder"
            md5 = fetch_files([remote], folder, otherwise=by_hand)[0].digest
        else:
            md5 = digest_of(self._path(folder), "md5")
        found = {part.name: len(part.labels) for part in self._parts(folder)}
        counts = dict(zip(_PARTS, published.counts, strict=True))
        return {
            "root": self.root,
            "file": self._file,
            "bytes": self._path(folder).stat().st_size,
            "md5": md5,
            "as_published": md5 == expected,
            "images": found,
            "differs_from_published": {
                p: {"found": n, "published": counts[p]} for p, n in found.items() if n != counts[p]
            },
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the images of train, val and test in their order; ids are ``<part>_<index in the part>``."""
        classes = self.classes
        for part in self._parts(folder):
            for i, values in enumerate(part.labels):
                positive = np.flatnonzero(values) if self.task == "multilabel" else values
                name = f"{part.name}_{i:06d}"
                yield Sample(
                    sample_id=name,
                    patient_id=name,
                    labels=tuple(classes[k] for k in positive),
                    read=functools.partial(_image, part.images, i),
                    official_split=part.name,
                )

    @property
    def _file(self) -> str:
        return f"{self.flag}.npz" if self.size == 28 else f"{self.flag}_{self.size}.npz"

    def _path(self, folder: Path) -> Path:
        if self.root is None:
            path = folder / self._file
            if not path.is_file():
                raise DatasetError(f"{path}: no such file; run stage download")
            return path
        path = root_folder(self.root, self.name, self._file) / self._file
        if not path.is_file():
            raise DatasetError(
                f"datasets.{self.name}.root: '{self.root}' holds no {self._file} (flag {self.flag}, size {self.size}); "
                f"fetch it from {RECORD}, or leave root empty to have it fetched"
            )
        return path

    def _parts(self, folder: Path) -> list[_Part]:
        """Open the three parts with their images on disk and check shapes, types and label values."""
        path = self._path(folder)
        parts = []
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                wanted = [f"{part}_{kind}.npy" for part in _PARTS for kind in ("images", "labels")]
                missing = [w for w in wanted if w not in names]
                if missing:
                    raise DatasetError(f"{path}: no array {missing[0][:-4]}; it holds {', '.join(sorted(names))}")
                for part in _PARTS:
                    unpacked = _unpack(archive, f"{part}_images.npy", folder, path.stem)
                    images = np.load(unpacked, mmap_mode="r", allow_pickle=False)
                    with archive.open(f"{part}_labels.npy") as member:
                        labels = np.lib.format.read_array(member, allow_pickle=False)
                    parts.append(self._checked(path, part, images, labels))
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
            raise DatasetError(f"{path}: not a MedMNIST file, or damaged ({error}); fetch it again") from None
        return parts

    def _checked(self, path: Path, part: OfficialSplit, images: np.ndarray, labels: np.ndarray) -> _Part:
        where = f"{path}: {part}"
        side = (self.size, self.size)
        if len(images) == 0:
            raise DatasetError(f"{where}_images: no images; expected at least one")
        if images.dtype != np.uint8 or images.shape[1:3] != side or images.shape[3:] not in ((), (3,)):
            raise DatasetError(
                f"{where}_images: {images.dtype} {list(images.shape)}; expected uint8 [N, {self.size}, {self.size}] or "
                f"[N, {self.size}, {self.size}, 3]"
            )
        columns = len(self.classes) if self.task == "multilabel" else 1
        if labels.dtype.kind not in "ui" or labels.shape != (len(images), columns):
            raise DatasetError(
                f"{where}_labels: {labels.dtype} {list(labels.shape)}; expected whole numbers "
                f"[{len(images)}, {columns}] for {self.flag}"
            )
        highest = 1 if self.task == "multilabel" else len(self.classes) - 1
        wrong = np.argwhere((labels < 0) | (labels > highest))
        if len(wrong):
            row = int(wrong[0, 0])
            raise DatasetError(
                f"{where}_labels: row {row} holds {int(labels[tuple(wrong[0])])}; it must be 0 to {highest}"
            )
        return _Part(part, images, labels.astype(np.int64))


def _image(images: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """Copy one image out of the file, so that nothing keeps its pages in memory."""
    return np.array(images[index])


def _unpack(archive: zipfile.ZipFile, member: str, folder: Path, stem: str) -> Path:
    """Write a member of the archive to `folder`, unless that was done before.

    The member's checksum is part of the file's name: an array of an earlier archive is never taken for this one's.
    """
    info = archive.getinfo(member)
    target = folder / f"{stem}.{member[:-4]}.{info.CRC:08x}.npy"
    if target.is_file() and target.stat().st_size == info.file_size:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"{stem}.{member[:-4]}.*"):
        stale.unlink()
    free = shutil.disk_usage(folder).free
    if info.file_size > free:
        raise DatasetError(
            f"{folder}: {member} needs {info.file_size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; free some "
            "space or choose a smaller size"
        )
    partial = target.with_suffix(".partial")
    # zipfile verifies the checksum on the last read: a damaged archive raises before the file gets its name.
    with archive.open(info) as source, partial.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    os.replace(partial, target)
    return target
