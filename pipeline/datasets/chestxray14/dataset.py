"""NIH ChestX-ray14: 112,120 frontal chest radiographs of 30,805 patients with 14 findings mined from reports.

Without a local copy the twelve archives and four lists are fetched from the publisher (45 GB) and stay packed: the
images are streamed out of them. A local copy is the published one, packed or unpacked, or that of the Kaggle mirror,
which spreads the images over twelve folders. A part of the set with the same files is read as well: images in the entry
list that are nowhere are excluded by stage ``preprocess`` and named in excluded.csv.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import pandas as pd
from pydantic import field_validator

from pipeline.datasets import Dataset, DatasetError, Sample, Task
from pipeline.datasets.shared.archives import iter_tar_members
from pipeline.datasets.shared.fetching.files import fetch_files
from pipeline.datasets.shared.fetching.remote import RemoteFile
from pipeline.datasets.shared.irregular import check_name, file_reader
from pipeline.datasets.shared.local import summary
from pipeline.datasets.shared.nih_layout import FINDINGS, iter_samples, read_boxes, read_entries, read_list
from pipeline.study.inputs import located

LABEL_FILES = {"v2020": "Data_Entry_2017_v2020.csv", "2017": "Data_Entry_2017.csv"}
"""Entry lists by label version. The versions differ in 181 of 112,120 images."""

_TRAIN_VAL = "train_val_list.txt"
_TEST = "test_list.txt"
_BOXES = "BBox_List_2017.csv"

ARCHIVE_ADDRESS = "https://nihcc.box.com/shared/static/{id}.gz"
LIST_ADDRESS = (
    "https://nihcc.app.box.com/index.php?rm=box_download_shared_file&vanity_name=ChestXray-NIHCC&file_id=f_{id}"
)
ARCHIVES: dict[str, tuple[str, int, str]] = {
    "images_001.tar.gz": ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", 2_008_470_987, "fe8ed0a6961412fddcbb3603c11b3698"),
    "images_002.tar.gz": ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", 3_952_623_504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    "images_003.tar.gz": ("f1t00wrtdk94satdfb9olcolqx20z2jp", 3_929_234_850, "2301d03bde4c246388bad3876965d574"),
    "images_004.tar.gz": ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", 3_838_903_983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    "images_005.tar.gz": ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", 3_935_496_531, "1861f3cd0ef7734df8104f2b0309023b"),
    "images_006.tar.gz": ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", 3_986_301_172, "456b53a8b351afd92a35bc41444c58c8"),
    "images_007.tar.gz": ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", 4_016_328_426, "1075121ea20a137b87f290d6a4a5965e"),
    "images_008.tar.gz": ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", 4_018_347_353, "b61f34cec3aa69f295fbb593cbd9d443"),
    "images_009.tar.gz": ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", 4_111_327_929, "442a3caa61ae9b64e61c561294d1e183"),
    "images_010.tar.gz": ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", 4_181_556_296, "09ec81c4c31e32858ad8cf965c494b74"),
    "images_011.tar.gz": ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", 4_187_084_020, "499aefc67207a5a97692424cf5dbeed5"),
    "images_012.tar.gz": ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", 2_914_187_733, "dc9fda1757c2de0032b63347a7d2895c"),
}
"""Published archives: identifier of the address, bytes, MD5 (FAQ Q07 of the publisher)."""
LISTS: dict[str, tuple[str, int, str]] = {
    "Data_Entry_2017_v2020.csv": (
        "219760887468",
        9_003_496,
        "c69a6daca3549af707ca9cacbdf9f9a7b6a9188e8c61157df653520bb72d8eb1",
    ),
    _BOXES: ("219760940956", 92_416, "0bbfea9d4c4e9771481b3023b1bc9f0df9dea924453b12986beb29b0c4d0c95b"),
    _TRAIN_VAL: ("256056636701", 1_470_907, "61fbe896321c1c1c8b75f3e4f3a08e4fef6486d95ef8a667c31d4d60dca6cb81"),
    _TEST: ("256055473534", 435_131, "38ca5ef7f756092946f57c1a59faca882ed589a1ab1f72590b45dc06c6d5e1cc"),
}
"""Published lists: identifier of the address, bytes, SHA-256 (the publisher gives none; from a public repository)."""

_LARGEST_IMAGE = 64 << 20
"""Bytes; the published images have 1024 x 1024 pixels and at most some 2 MB."""


class Data(Dataset):
    """Settings of ``datasets.chestxray14``.

    Parameters
    ----------
    root : str or None
        Folder that holds the data set, packed or unpacked, relative to the folder of params.yaml or absolute. None
        fetches it into ``data/raw/chestxray14``.
    labels : {"v2020", "2017"}
        Version of the labels. That of 2017 is not fetched: it is no longer among the published files.
    mirror : str or None
        http or https address of a folder that holds the published files under their names, to fetch from instead of
        the publisher; sizes and checksums are checked all the same.
    """

    name: ClassVar[str] = "chestxray14"
    checked_by_fetch: ClassVar[bool] = True
    title: ClassVar[str] = "NIH ChestX-ray14"
    task: ClassVar[Task] = "multilabel"
    licence: ClassVar[str] = (
        "No restrictions on use, with attribution: link to https://nihcc.app.box.com/v/ChestXray-NIHCC, cite the "
        "paper, acknowledge the NIH Clinical Center as the data provider"
    )
    citation: ClassVar[str] = (
        "X. Wang, Y. Peng, L. Lu, Z. Lu, M. Bagheri, R. M. Summers. ChestX-ray8: Hospital-scale chest X-ray database "
        "and benchmarks on weakly-supervised classification and localization of common thorax diseases. CVPR 2017, "
        "3462-3471"
    )
    url: ClassVar[str] = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
    notes: ClassVar[tuple[str, ...]] = (
        "Labels were mined from radiology reports by a program; its authors claim an accuracy above 90 %.",
        "All images come from one hospital, the NIH Clinical Center.",
        "Images were published as 8-bit PNG of 1024 x 1024 pixels; the original grey range is lost.",
    )

    root: str | None = None
    labels: Literal["v2020", "2017"] = "v2020"
    mirror: str | None = None

    @field_validator("labels", mode="before")
    @classmethod
    def _year(cls, value: Any) -> Any:
        return "2017" if value == 2017 and not isinstance(value, bool) else value  # 2017 is a number in YAML

    @property
    def classes(self) -> tuple[str, ...]:
        """The 14 findings in the published order."""
        return FINDINGS

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Fetch the data set, or verify that `root` holds it. No archive is unpacked or read through for its names.

        Returns
        -------
        dict
            root, label_version, rows, boxes, metadata (SHA-256 of each list), bytes and fingerprint (SHA-256 over the
            sorted names and sizes) of the images or archives. Of images on disk also images (on disk and listed),
            unlisted, in_two_folders and, without archives, missing (counts with the first names). Of archives: archives
            (bytes of each, and MD5 of those that were fetched) and not_as_published (names of those that are missing
            or of another size).

        Raises
        ------
        DatasetError
            If a file cannot be fetched, `root` is no folder, a list is missing or not the published one, or without
            any archive fewer than half of the listed images are there.
        """
        fetched = {} if self.root is not None else self._fetch_published(folder)
        base = self._base(folder)
        entries_path = self._entries_path(base)
        listed = [sample.sample_id for sample in self._listed(base)]
        boxes = self.boxes(folder)
        metadata = [entries_path, base / _TRAIN_VAL, base / _TEST, *([base / _BOXES] if boxes is not None else [])]
        record: dict[str, Any] = {
            "root": self.root,
            "label_version": self.labels,
            "rows": len(listed),
            "boxes": 0 if boxes is None else len(boxes),
            "metadata": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in metadata},
        }
        found, twice = _find_images(base)
        archives = _find_archives(base)
        present = [name for name in listed if name in found]
        sizes = {Path(found[name]).relative_to(base).as_posix(): os.stat(found[name]).st_size for name in present}
        if archives:
            packed = {path.name: path.stat().st_size for path in archives}
            sizes |= packed
            record["archives"] = {name: {"bytes": packed[name], **fetched.get(name, {})} for name in packed}
            record["not_as_published"] = [name for name, (_, size, _) in ARCHIVES.items() if packed.get(name) != size]
        elif 2 * len(present) < len(listed):
            raise DatasetError(
                f"{base}: {len(present)} of the {len(listed)} images in {entries_path.name} are there; {self._layout}"
            )
        else:
            record["missing"] = summary([name for name in listed if name not in found])
        if present or not archives:
            record["images"] = len(present)
            record["unlisted"] = summary(sorted(found.keys() - set(listed)))
            record["in_two_folders"] = summary(sorted(twice))
        lines = "".join(f"{name}\t{sizes[name]}\n" for name in sorted(sizes))
        return record | {"bytes": sum(sizes.values()), "fingerprint": hashlib.sha256(lines.encode()).hexdigest()}

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield one sample per row of the entry list.

        Images on disk come in the order of the list. Those in archives come in the order of the archives, each holding
        its encoded bytes; after them come the rows without an image anywhere, whose `read` raises `FileNotFoundError`.
        """
        base = self._base(folder)
        found, _ = _find_images(base)
        archives = _find_archives(base)
        lost = sorted(ARCHIVES.keys() - {path.name for path in archives}) if self.root is None else []
        if lost:
            # Of a data set that was fetched whole, a lost archive must not become ten thousand excluded images.
            raise DatasetError(f"{base}: {', '.join(lost)} not there; run stage download again")
        packed: dict[str, Sample] = {}
        for sample in self._listed(base):
            if sample.sample_id in found:
                yield replace(sample, read=file_reader(Path(found[sample.sample_id])))
            elif archives:
                packed[sample.sample_id] = sample
            else:
                yield sample
        for archive in archives if packed else []:
            members = iter_tar_members(archive, _LARGEST_IMAGE, lambda name: PurePosixPath(name).name in packed)
            for member, content in members:
                # pop: the first of two members of one name counts.
                yield replace(packed.pop(PurePosixPath(member).name), read=_holding(content))
        yield from packed.values()

    def boxes(self, folder: Path) -> pd.DataFrame | None:
        """Return the published boxes of images in the entry list, or None where the box list is missing."""
        path = self._base(folder) / _BOXES
        return read_boxes(path) if path.exists() else None

    @property
    def _layout(self) -> str:
        return (
            f"expected there: {LABEL_FILES[self.labels]}, {_TRAIN_VAL}, {_TEST}, optionally {_BOXES}, and "
            "images_001.tar.gz to images_012.tar.gz or the PNG files in images/ or in images_001/images/ to "
            "images_012/images/"
        )

    def _fetch_published(self, folder: Path) -> dict[str, dict[str, str]]:
        """Fetch what is missing in `folder` and return the MD5 of each archive."""
        chosen = LABEL_FILES[self.labels]
        if chosen not in LISTS and not (folder / chosen).exists():
            raise DatasetError(
                f"datasets.{self.name}.labels: the list of version {self.labels} is no longer published; put {chosen} "
                f"(Kaggle, nih-chest-xrays/data) into {folder}, or set labels to v2020"
            )
        # The lists come first: they are small, and a setting that is wrong shows before 45 GB are fetched.
        lists = [
            RemoteFile(name, self._address(name, LIST_ADDRESS.format(id=key)), size, sha256=digest)
            for name, (key, size, digest) in LISTS.items()
            if name == chosen or name not in LABEL_FILES.values()
        ]
        archives = [
            RemoteFile(name, self._address(name, ARCHIVE_ADDRESS.format(id=key)), size, md5=digest)
            for name, (key, size, digest) in ARCHIVES.items()
        ]
        otherwise = (
            f"Or set datasets.{self.name}.root in params.yaml to a folder with the data set, from {self.url} or Kaggle "
            f"(nih-chest-xrays/data); {self._layout}"
        )
        done = fetch_files([*lists, *archives], folder, otherwise=otherwise)
        return {file.path.name: {file.algorithm: file.digest} for file in done}

    def _address(self, name: str, published: str) -> str:
        return published if self.mirror is None else f"{self.mirror.rstrip('/')}/{name}"

    def _base(self, folder: Path) -> Path:
        """Return the folder that holds the data set."""
        if self.root is None:
            return folder
        root = located(self.root)
        if not root.is_dir():
            raise DatasetError(f"datasets.{self.name}.root: '{self.root}' is not a folder; {self._layout}")
        return root

    def _entries_path(self, base: Path) -> Path:
        """Path of the entry list of the chosen version."""
        path = base / LABEL_FILES[self.labels]
        if path.exists():
            return path
        for version, name in LABEL_FILES.items():
            if (base / name).exists():
                raise DatasetError(
                    f"{base}: no {path.name} (labels {self.labels}), but {name}: set datasets.{self.name}.labels to "
                    f"{version}, or add the other list"
                )
        raise DatasetError(f"{base}: no {path.name}; {self._layout}")

    def _listed(self, base: Path) -> Iterator[Sample]:
        """Yield the rows of the entry list, each with a `read` that raises."""
        entries = read_entries(self._entries_path(base))
        return iter_samples(entries, _absent, read_list(base / _TRAIN_VAL), read_list(base / _TEST))


def _find_archives(base: Path) -> list[Path]:
    """Return the archives of images, in the order of their numbers."""
    return sorted(base.glob("images_0[0-9][0-9].tar.gz"), key=lambda path: path.name)


def _absent(name: str) -> Callable[[], bytes]:
    def read() -> bytes:
        raise FileNotFoundError(errno.ENOENT, "in no folder and no archive", name)

    return read


def _holding(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def _find_images(root: Path) -> tuple[dict[str, str], set[str]]:
    """Return the path of every PNG by name, and the names that lie in two folders (the first folder counts)."""
    folders = [root / "images", *sorted(root.glob("images_0[0-9][0-9]/images"))]
    found: dict[str, str] = {}
    twice: set[str] = set()
    for folder in folders:
        if not folder.is_dir():
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.lower().endswith(".png") or entry.name.startswith("."):
                    continue
                check_name(entry.name, str(folder))
                if found.setdefault(entry.name, entry.path) != entry.path:
                    twice.add(entry.name)
    return found, twice
