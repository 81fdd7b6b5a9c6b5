"""Paediatric chest radiographs (Kermany et al. 2018): normal, bacterial and viral pneumonia.

Class and patient stand in the file names, in two schemes:

* v2 (Mendeley version 2 and Kaggle): ``person1_bacteria_1.jpeg``, ``person1_virus_6.jpeg``, ``IM-0115-0001.jpeg``,
  ``NORMAL2-IM-0373-0001.jpeg``. Persons are numbered separately for bacteria and virus: 170 bare numbers occur in the
  published training and test folders, the pair (number, kind) never does. The same holds for normal images: 94 numbers
  are ``IM-`` in the training and ``NORMAL2-IM-`` in the test folder, so the prefix belongs to the patient.
* v3 (Mendeley version 3): ``BACTERIA-1008087-0001.jpeg``, with the patient's number in the middle.

Version 3 is the default because its patient ids are real. Those of version 2 are the best that its names allow: they
make 4,082 patients of 5,840 images, where an audit of version 3 counted 3,081.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, Sample, Task

CLASSES = ("normal", "bacteria", "virus")
Version = Literal["v2", "v3"]

_PARTS: dict[str, OfficialSplit] = {"train": "train", "val": "train", "test": "test"}
"""Published part of each folder. Kaggle moved 16 training images to val/, too few to choose anything on."""

_FOLDERS = {"NORMAL": ("normal",), "PNEUMONIA": ("bacteria", "virus")}
_SUFFIXES = {".jpeg", ".jpg", ".png"}
_NAMES: dict[str, tuple[re.Pattern[str], ...]] = {
    "v2": (
        re.compile(r"(?P<patient>(?:NORMAL2-)?IM-\d+)(?:-\d+)+"),
        re.compile(r"(?P<patient>person\d+_(?P<kind>bacteria|virus))(?:_\d+)+"),
    ),
    "v3": (re.compile(r"(?P<patient>(?P<kind>NORMAL|BACTERIA|VIRUS)-\d+)-\d+"),),
}
_NAMED = 10
"""How many file names the record of the data lists."""


class _File(NamedTuple):
    path: Path
    folder: str
    patient: str
    label: str


class Data(Dataset):
    """Settings of ``datasets.paediatric_pneumonia``.

    Parameters
    ----------
    root : str or None
        Folder that holds ``chest_xray/``, or that folder itself; relative to the folder of params.yaml or absolute.
    version : {"v2", "v3"}
        Version of the publication, which decides how the file names are read.
    """

    name: ClassVar[str] = "paediatric_pneumonia"
    title: ClassVar[str] = "Paediatric chest X-ray pneumonia (Kermany et al. 2018)"
    task: ClassVar[Task] = "multiclass"
    licence: ClassVar[str] = "CC BY 4.0"
    citation: ClassVar[str] = (
        "D. S. Kermany, M. Goldbaum, W. Cai et al. Identifying medical diagnoses and treatable diseases by image-based "
        "deep learning. Cell 172 (2018), 1122-1131. Data: Mendeley, doi:10.17632/rscbjbr9sj"
    )
    url: ClassVar[str] = "https://data.mendeley.com/datasets/rscbjbr9sj"
    notes: ClassVar[tuple[str, ...]] = (
        "All images come from one hospital, the Guangzhou Women and Children's Medical Center, of children aged 1 to "
        "5 years.",
        "Patients are known from the file names alone; those of version 2 may file one patient under several ids.",
        "The published test part has another share of each class than the training part.",
    )

    root: str | None = None
    version: Version = "v3"

    @property
    def classes(self) -> tuple[str, ...]:
        """Normal first, then the two kinds of pneumonia."""
        return CLASSES

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify that `root` holds the data set in the chosen version; nothing is downloaded.

        Returns
        -------
        dict
            root, version, images, bytes, patients, patients_in_train_and_test, counts of images by folder and class,
            other_files (count and first names of files that are no images of the set) and fingerprint (SHA-256 over
            the sorted names and sizes of the images).

        Raises
        ------
        DatasetError
            If `root` is not set or holds no such folders, or a name is not one of the chosen version.
        """
        base = self._base()
        files, others = self._files()
        digest = hashlib.sha256()
        total = 0
        for file in files:
            size = file.path.stat().st_size
            total += size
            digest.update(f"{file.path.relative_to(base).as_posix()}\t{size}\n".encode())
        counts = Counter((file.folder, file.label) for file in files)
        in_test = {file.patient for file in files if file.folder == "test"}
        in_train = {file.patient for file in files if file.folder != "test"}
        return {
            "root": self.root,
            "version": self.version,
            "images": len(files),
            "bytes": total,
            "patients": len(in_test | in_train),
            "patients_in_train_and_test": len(in_test & in_train),
            "counts": {f: {c: counts[f, c] for c in CLASSES} for f in _PARTS if any(counts[f, c] for c in CLASSES)},
            "other_files": {"count": len(others), "first": others[:_NAMED]},
            "fingerprint": digest.hexdigest(),
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the images by folder (train, val, test), class folder and name."""
        for file in self._files()[0]:
            yield Sample(
                sample_id=file.path.name,
                patient_id=file.patient,
                labels=(file.label,),
                read=file.path.read_bytes,
                official_split=_PARTS[file.folder],
            )

    def _base(self) -> Path:
        """Return the folder that holds train/ and test/."""
        layout = "expected there: chest_xray/{train,test}/{NORMAL,PNEUMONIA}/ with the JPEG files"
        if self.root is None:
            raise DatasetError(
                "datasets.paediatric_pneumonia.root is not set; set it in params.yaml to the folder of the data set, "
                f"fetched from {self.url} or Kaggle (paultimothymooney/chest-xray-pneumonia, version v2), automatic "
                f"download is not available yet; {layout}"
            )
        root = Path(self.root).expanduser()
        for base in (root, root / "chest_xray", root / "CellData" / "chest_xray"):
            if all((base / part / kind).is_dir() for part in ("train", "test") for kind in _FOLDERS):
                return base
        raise DatasetError(f"datasets.paediatric_pneumonia.root: '{self.root}' is not the data set; {layout}")

    def _files(self) -> tuple[list[_File], list[str]]:
        """Return the images in a stable order, and the paths of other files below the same folders."""
        base = self._base()
        files: list[_File] = []
        others: list[str] = []
        for part in _PARTS:
            for kind, allowed in _FOLDERS.items():
                # Sorted by name as text: the order of a folder differs between file systems.
                paths = (base / part / kind).iterdir() if (base / part / kind).is_dir() else ()
                for path in sorted(paths, key=lambda p: p.name):
                    if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
                        others.append(path.relative_to(base).as_posix())
                    else:
                        files.append(self._read_name(path, part, allowed))
        if not files:
            raise DatasetError(f"{self.root}: the folders of the data set hold no images")
        return files, others

    def _read_name(self, path: Path, part: str, allowed: tuple[str, ...]) -> _File:
        parsed = _parse(path.stem, self.version)
        where = f"{part}/{path.parent.name}/{path.name}"
        if parsed is None:
            other: Version = "v2" if self.version == "v3" else "v3"
            hint = (
                f"it is one of version {other}: set datasets.{self.name}.version to {other}"
                if _parse(path.stem, other)
                else "move the file away if it is not part of the data set"
            )
            raise DatasetError(f"{where}: not a file name of version {self.version}; {hint}")
        patient, label = parsed
        if label not in allowed:
            raise DatasetError(
                f"{where}: the name says {label} (version {self.version}), the folder {' or '.join(allowed)}"
            )
        return _File(path, part, patient, label)


def _parse(stem: str, version: str) -> tuple[str, str] | None:
    """Patient and class in a file name without its suffix, or None if it is no name of `version`."""
    for pattern in _NAMES[version]:
        match = pattern.fullmatch(stem)
        if match:
            kind = match.groupdict().get("kind") or "normal"
            return match["patient"], kind.lower()
    return None
