"""MedMNIST v3 (Yang et al. 2023): twelve sets of small square images with a published split, in 28, 64, 128 and 224 px.

Each set is one .npz file with ``{train,val,test}_images`` (uint8) and ``{train,val,test}_labels``. The larger files
hold several GB, compressed: the images are unpacked once, member by member, and read from disk from then on.
Addresses, checksums, class names and counts are those of ``medmnist/info.py``, version 3.0.2; class names that contain
a comma or an enumeration are shortened.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, Sample, Task
from pipeline.datasets.fetching import RemoteFile, fetch_files
from pipeline.datasets.local import root_folder

Flag = Literal[
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
]
Size = Literal[28, 64, 128, 224]

_RECORD = "https://zenodo.org/records/10519652"
_PARTS: tuple[OfficialSplit, ...] = ("train", "val", "test")
_BY_IMAGE = (
    "Its parts were drawn from the source at 7:1:2 and no rule about patients is stated, so that images of one patient "
    "may lie in several parts."
)
_BY_SOURCE = (
    "Its test part was set apart by the source; validation was drawn from the rest at 1:9 and no rule about patients "
    "is stated."
)
_ORGANS = (
    "bladder",
    "femur-left",
    "femur-right",
    "heart",
    "kidney-left",
    "kidney-right",
    "liver",
    "lung-left",
    "lung-right",
    "pancreas",
    "spleen",
)
_CT = "Its parts hold different CT scans; several images of a part come from one scan."
_LITS = "P. Bilic et al. The Liver Tumor Segmentation Benchmark (LiTS). Medical Image Analysis 84 (2023), 102680"


class _Set(NamedTuple):
    """What is published about one set.

    Parameters
    ----------
    title : str
        Published name.
    classes : tuple of str
        In the order of the label values.
    counts : tuple of int
        Images in train, val and test.
    md5 : tuple of str
        Of the files of 28, 64, 128 and 224 px.
    split : str
        A sentence on how the parts were made.
    source : str
        Citation of the images' origin.
    """

    title: str
    classes: tuple[str, ...]
    counts: tuple[int, int, int]
    md5: tuple[str, str, str, str]
    split: str
    source: str


_SETS: dict[str, _Set] = {
    "pathmnist": _Set(
        "PathMNIST",
        (
            "adipose",
            "background",
            "debris",
            "lymphocytes",
            "mucus",
            "smooth muscle",
            "normal colon mucosa",
            "cancer-associated stroma",
            "colorectal adenocarcinoma epithelium",
        ),
        (89996, 10004, 7180),
        (
            "a8b06965200029087d5bd730944a56c1",
            "55aa9c1e0525abe5a6b9d8343a507616",
            "ac42d08fb904d92c244187169d1fd1d9",
            "2c51a510bcdc9cf8ddb2af93af1eadec",
        ),
        "Its test part comes from another centre; training and validation were drawn at 9:1 from the same slides' "
        "patches and no rule about patients is stated.",
        "J. N. Kather et al. Predicting survival from colorectal cancer histology slides using deep learning. PLOS "
        "Medicine 16 (2019), e1002730",
    ),
    "chestmnist": _Set(
        "ChestMNIST",
        (
            "atelectasis",
            "cardiomegaly",
            "effusion",
            "infiltration",
            "mass",
            "nodule",
            "pneumonia",
            "pneumothorax",
            "consolidation",
            "edema",
            "emphysema",
            "fibrosis",
            "pleural",
            "hernia",
        ),
        (78468, 11219, 22433),
        (
            "02c8a6516a18b556561a56cbdd36c4a8",
            "9de6cd0b934ebb5b7426cfba5efbae16",
            "db107e5590b27930b62dbaf558aebee3",
            "45bd33e6f06c3e8cdb481c74a89152aa",
        ),
        "Its images are those of NIH ChestX-ray14 with labels mined from reports by a program; its test part has "
        "22,433 images where the official one of ChestX-ray14 has 25,596.",
        "X. Wang et al. ChestX-ray8. CVPR 2017, 3462-3471",
    ),
    "dermamnist": _Set(
        "DermaMNIST",
        (
            "actinic keratoses and intraepithelial carcinoma",
            "basal cell carcinoma",
            "benign keratosis-like lesions",
            "dermatofibroma",
            "melanoma",
            "melanocytic nevi",
            "vascular lesions",
        ),
        (7007, 1003, 2005),
        (
            "0744692d530f8e62ec473284d019b0c7",
            "b70a2f5635c6199aeaa28c31d7202e1f",
            "2defd784463fa5243564e855ed717de1",
            "8974907d8e169bef5f5b96bc506ae45d",
        ),
        _BY_IMAGE,
        "P. Tschandl, C. Rosendahl, H. Kittler. The HAM10000 dataset. Scientific Data 5 (2018), 180161",
    ),
    "octmnist": _Set(
        "OCTMNIST",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
        (97477, 10832, 1000),
        (
            "c68d92d5b585d8d81f7112f81e2d0842",
            "e229e9440236b774d9f0dfef9d07bdaf",
            "0a97e76651ace45c5d943ee3f65b63ae",
            "abc493b6d529d5de7569faaef2773ba3",
        ),
        _BY_SOURCE,
        "D. S. Kermany et al. Identifying medical diagnoses and treatable diseases by image-based deep learning. Cell "
        "172 (2018), 1122-1131",
    ),
    "pneumoniamnist": _Set(
        "PneumoniaMNIST",
        ("normal", "pneumonia"),
        (4708, 524, 624),
        (
            "28209eda62fecd6e6a2d98b1501bb15f",
            "8f4eceb4ccffa70c672198ea285246c6",
            "05b46931834c231683c68f40c47b2971",
            "d6a3c71de1b945ea11211b03746c1fe1",
        ),
        _BY_SOURCE,
        "D. S. Kermany et al. Identifying medical diagnoses and treatable diseases by image-based deep learning. Cell "
        "172 (2018), 1122-1131",
    ),
    "retinamnist": _Set(
        "RetinaMNIST",
        ("grade 0", "grade 1", "grade 2", "grade 3", "grade 4"),
        (1080, 120, 400),
        (
            "bd4c0672f1bba3e3a89f0e4e876791e4",
            "afda852cc34dcda56f86ad2b2457dbcc",
            "e48e916a24454daf90583d4e6efb1a18",
            "eae7e3b6f3fcbda4ae613ebdcbe35348",
        ),
        f"{_BY_SOURCE} The grades are ordered and are treated here as classes without order.",
        "R. Liu et al. DeepDRiD: diabetic retinopathy - grading and image quality estimation challenge. Patterns 3 "
        "(2022), 100512",
    ),
    "breastmnist": _Set(
        "BreastMNIST",
        ("malignant", "normal or benign"),
        (546, 78, 156),
        (
            "750601b1f35ba3300ea97c75c52ff8f6",
            "742edef2a1fd1524b2efff4bd7ba9364",
            "363e4b3f8d712e9b5de15470a2aaadf1",
            "b56378a6eefa9fed602bb16d192d4c8b",
        ),
        _BY_IMAGE,
        "W. Al-Dhabyani et al. Dataset of breast ultrasound images. Data in Brief 28 (2020), 104863",
    ),
    "bloodmnist": _Set(
        "BloodMNIST",
        (
            "basophil",
            "eosinophil",
            "erythroblast",
            "immature granulocytes",
            "lymphocyte",
            "monocyte",
            "neutrophil",
            "platelet",
        ),
        (11959, 1712, 3421),
        (
            "7053d0359d879ad8a5505303e11de1dc",
            "2b94928a2ae4916078ca51e05b6b800b",
            "adace1e0ed228fccda1f39692059dd4c",
            "b718ff6835fcbdb22ba9eacccd7b2601",
        ),
        _BY_IMAGE,
        "A. Acevedo et al. A dataset of microscopic peripheral blood cell images for development of automatic "
        "recognition systems. Data in Brief 30 (2020), 105474",
    ),
    "tissuemnist": _Set(
        "TissueMNIST",
        (
            "collecting duct or connecting tubule",
            "distal convoluted tubule",
            "glomerular endothelial cells",
            "interstitial endothelial cells",
            "leukocytes",
            "podocytes",
            "proximal tubule segments",
            "thick ascending limb",
        ),
        (165466, 23640, 47280),
        (
            "ebe78ee8b05294063de985d821c1c34b",
            "123ece2eba09d0aa5d698fda57103344",
            "61b955355d7425a89687b06cca3ce0c2",
            "b077128c4a949f0a4eb01517f9037b9c",
        ),
        f"{_BY_IMAGE} All its cells come from three specimens of tissue.",
        "V. Ljosa, K. L. Sokolnicki, A. E. Carpenter. Annotated high-throughput microscopy image sets for validation. "
        "Nature Methods 9 (2012), 637 (BBBC051)",
    ),
    "organamnist": _Set(
        "OrganAMNIST",
        _ORGANS,
        (34561, 6491, 17778),
        (
            "68e3f8846a6bd62f0c9bf841c0d9eacc",
            "2dcccc29b88e6da5a01161ef20cda288",
            "eeae80d0a227a8d099027e1b3cfd3b60",
            "50747347e05c87dd3aaf92c49f9f3170",
        ),
        _CT,
        _LITS,
    ),
    "organcmnist": _Set(
        "OrganCMNIST",
        _ORGANS,
        (12975, 2392, 8216),
        (
            "b9ceb9546e10131b32923c5bbeaea2b1",
            "3ce34a8724ea6f548e6db4744d03b6a9",
            "773c1f009daa3fe5d9a2a201b2a7ed94",
            "050f5e875dc056f6768abf94ec9995d1",
        ),
        _CT,
        _LITS,
    ),
    "organsmnist": _Set(
        "OrganSMNIST",
        _ORGANS,
        (13932, 2452, 8827),
        (
            "9ab87b696fb54e2a387ebe992d6ed5f1",
            "53a6d115339d874c25e309a994ff46d3",
            "ded0c5fa01a95dc4978b956f613e9b8e",
            "b354719e553fbbb2513d5533f52a4cb1",
        ),
        _CT,
        _LITS,
    ),
}


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
        Pixels a side of the published images.
    root : str or None
        Folder that holds ``<flag>.npz`` (28 px) or ``<flag>_<size>.npz``, relative to the folder of params.yaml or
        absolute. None fetches the file from Zenodo.
    """

    name: ClassVar[str] = "medmnist"
    url: ClassVar[str] = _RECORD

    flag: Flag = "pneumoniamnist"
    size: Size = 28
    root: str | None = None

    @property
    def task(self) -> Task:
        """Multi-label for ChestMNIST, single-label for the others."""
        return "multilabel" if self.flag == "chestmnist" else "multiclass"

    @property
    def title(self) -> str:
        """Name of the set with its size."""
        return f"{_SETS[self.flag].title} ({self.size} px, MedMNIST v3)"

    @property
    def licence(self) -> str:
        """As published, set by set."""
        return "CC BY-NC 4.0" if self.flag == "dermamnist" else "CC BY 4.0"

    @property
    def citation(self) -> str:
        """MedMNIST and the source of the images."""
        return (
            "J. Yang, R. Shi, D. Wei et al. MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical "
            f"image classification. Scientific Data 10 (2023), 41. Source of the images: {_SETS[self.flag].source}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits of all sets, and how the parts of this one were made."""
        return (
            "There are no patient ids: each image counts as a patient.",
            _SETS[self.flag].split,
            f"Images were reduced to {self.size} x {self.size} pixels before publication.",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of the label values."""
        return _SETS[self.flag].classes

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
        published = _SETS[self.flag]
        expected = published.md5[get_args(Size).index(self.size)]
        if self.root is None:
            remote = RemoteFile(self._file, f"{_RECORD}/files/{self._file}?download=1", md5=expected)
            by_hand = f"Or fetch it by other means and set datasets.{self.name}.root to its folder"
            md5 = fetch_files([remote], folder, otherwise=by_hand)[0].digest
        else:
            with self._path(folder).open("rb") as file:
                md5 = hashlib.file_digest(file, "md5").hexdigest()
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
                f"fetch it from {_RECORD}, or leave root empty to have it fetched"
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
                f"{where}_labels: row {row} holds {int(labels[tuple(wrong[0])])}; allowed: 0 to {highest}"
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
