"""NIH ChestX-ray14: 112,120 frontal chest radiographs of 30,805 patients with 14 findings mined from reports.

The folder is the published one, or the one of the Kaggle mirror, which spreads the images over twelve folders. A part
of the set with the same files is read as well: images in the entry list that are not on disk are excluded by stage
``preprocess`` and named in excluded.csv.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from pipeline.datasets import Dataset, DatasetError, Sample, Task
from pipeline.datasets.nih_layout import FINDINGS, iter_samples, read_boxes, read_entries, read_list

LABEL_FILES = {"v2020": "Data_Entry_2017_v2020.csv", "2017": "Data_Entry_2017.csv"}
"""Entry lists by label version, the preferred first. The versions differ in 181 of 112,120 images."""

_TRAIN_VAL = "train_val_list.txt"
_TEST = "test_list.txt"
_BOXES = "BBox_List_2017.csv"
_LAYOUT = (
    f"expected there: {LABEL_FILES['v2020']} (or {LABEL_FILES['2017']}), {_TRAIN_VAL}, {_TEST}, optionally {_BOXES}, "
    "and the PNG files in images/ or in images_001/images/ to images_012/images/"
)
_NAMED = 10
"""How many file names the record of the data lists."""


class Data(Dataset):
    """Settings of ``datasets.chestxray14``.

    Parameters
    ----------
    root : str or None
        Folder that holds the data set, relative to the folder of params.yaml or absolute.
    """

    name: ClassVar[str] = "chestxray14"
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

    @property
    def classes(self) -> tuple[str, ...]:
        """The 14 findings in the published order."""
        return FINDINGS

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify that `root` holds the data set; nothing is downloaded.

        Returns
        -------
        dict
            root, label_version, rows, images (on disk and listed), missing, unlisted, in_two_folders (counts with the
            first names), boxes, bytes of the listed images, metadata (SHA-256 of each metadata file) and fingerprint
            (SHA-256 over the sorted names and sizes of the listed images).

        Raises
        ------
        DatasetError
            If `root` is not set or is no folder, a metadata file is missing or not the published one, or fewer than
            half of the listed images are there.
        """
        root = self._root()
        version, entries_path = self._entries_path()
        listed = read_entries(entries_path)["sample_id"].tolist()
        lists = [root / _TRAIN_VAL, root / _TEST]
        for _ in self.samples(folder):
            pass  # the checks of the lists against each other run while samples are listed
        boxes = self.boxes(folder)
        found, twice = _find_images(root)
        present = [name for name in listed if name in found]
        if 2 * len(present) < len(listed) or not present:
            raise DatasetError(
                f"{self.root}: {len(present)} of the {len(listed)} images in {entries_path.name} are there; {_LAYOUT}"
            )
        sizes = {name: os.stat(found[name]).st_size for name in present}
        digest = hashlib.sha256()
        for name in sorted(present):
            digest.update(f"{Path(found[name]).relative_to(root).as_posix()}\t{sizes[name]}\n".encode())
        metadata = [entries_path, *lists, *([root / _BOXES] if boxes is not None else [])]
        return {
            "root": self.root,
            "label_version": version,
            "rows": len(listed),
            "images": len(present),
            "missing": _summary([name for name in listed if name not in found]),
            "unlisted": _summary(sorted(found.keys() - set(listed))),
            "in_two_folders": _summary(sorted(twice)),
            "boxes": 0 if boxes is None else len(boxes),
            "bytes": sum(sizes.values()),
            "metadata": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in metadata},
            "fingerprint": digest.hexdigest(),
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield one sample a row of the entry list, in its order, whether or not its file is there."""
        root = self._root()
        entries = read_entries(self._entries_path()[1])
        found, _ = _find_images(root)

        def reader(name: str) -> Callable[[], bytes]:
            path = Path(found.get(name, root / "images" / name))
            return path.read_bytes

        yield from iter_samples(entries, reader, read_list(root / _TRAIN_VAL), read_list(root / _TEST))

    def boxes(self, folder: Path) -> pd.DataFrame | None:
        """Return the published boxes of images in the entry list, or None where the box list is missing."""
        path = self._root() / _BOXES
        return read_boxes(path) if path.exists() else None

    def _root(self) -> Path:
        if self.root is None:
            raise DatasetError(
                "datasets.chestxray14.root is not set; set it in params.yaml to the folder of the data set, fetched "
                f"from {self.url} or Kaggle (nih-chest-xrays/data), automatic download is not available yet; {_LAYOUT}"
            )
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DatasetError(f"datasets.chestxray14.root: '{self.root}' is not a folder; {_LAYOUT}")
        return root

    def _entries_path(self) -> tuple[str, Path]:
        """Label version and path of the entry list."""
        for version, name in LABEL_FILES.items():
            path = self._root() / name
            if path.exists():
                return version, path
        raise DatasetError(f"{self.root}: no {' and no '.join(LABEL_FILES.values())}; {_LAYOUT}")


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
                if found.setdefault(entry.name, entry.path) != entry.path:
                    twice.add(entry.name)
    return found, twice


def _summary(names: list[str]) -> dict[str, Any]:
    return {"count": len(names), "first": names[:_NAMED]}
