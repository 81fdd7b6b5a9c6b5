"""Paediatric chest radiographs (Kermany et al. 2018): normal, bacterial and viral pneumonia.

Class and patient stand in the file names, in two schemes:

* v2 (Mendeley version 2 and Kaggle): ``person1_bacteria_1.jpeg``, ``person1_virus_6.jpeg``, ``IM-0115-0001.jpeg``,
  ``NORMAL2-IM-0373-0001.jpeg``. Persons are numbered separately for bacteria and virus: 170 bare numbers occur in the
  published training and test folders, the pair (number, kind) never does. The same holds for normal images: 94 numbers
  are ``IM-`` in the training and ``NORMAL2-IM-`` in the test folder, so the prefix belongs to the patient.
* v3 (Mendeley version 3): ``BACTERIA-1008087-0001.jpeg``, with the patient's number in the middle.

Version 3 is the default because its patient ids are real. Those of version 2 are the best that its names allow: they
make 4,082 patients of 5,840 images, where an audit of version 3 counted 3,081.

Without a local copy the publisher's archive is fetched and the images are read out of it; that of version 3 also holds
the 108,000 retinal scans of the same paper, which are left alone.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal, NamedTuple

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, Sample, Task
from pipeline.datasets.shared.archives import iter_zip_members, zip_sizes
from pipeline.datasets.shared.fetching.files import fetch_file
from pipeline.datasets.shared.fetching.remote import Fetched, RemoteFile
from pipeline.datasets.shared.irregular import check_name, file_reader, size_of
from pipeline.datasets.shared.local import summary
from pipeline.study.inputs import located

CLASSES = ("normal", "bacteria", "virus")
"""What the file names distinguish."""
_MERGED = ("normal", "pneumonia")
Version = Literal["v2", "v3"]

_MENDELEY = "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/{id}/file_downloaded"
FILES: dict[str, RemoteFile] = {
    "v2": RemoteFile(
        "ChestXRay2017.zip",
        _MENDELEY.format(id="f12eaf6d-6023-432f-acc9-80c9d7393433"),
        size=1_235_512_464,
        sha256="13efc055629733dbab07877f8b3c9f81097840dbcdaa326a8542322c2281ce36",
    ),
    # No checksum is published, and the size as "8.4 GB" only.
    "v3": RemoteFile(
        "ZhangLabData.zip",
        _MENDELEY.format(id="810b2ce2-11c3-4424-996e-3bef36600907"),
        size_range=(7_800_000_000, 9_200_000_000),
    ),
}
"""Published archive of each version, https://data.mendeley.com/datasets/rscbjbr9sj."""

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
_PACKED = re.compile(r"(?:(?!__MACOSX/)[^/]+/)*?chest_xray/(?P<name>(?:train|val|test)/(?:NORMAL|PNEUMONIA)/[^/]+)")
"""Members of an archive that are of this data set; macOS adds shadows of them below __MACOSX/."""
_LARGEST_IMAGE = 64 << 20
"""Bytes; the published images have at most 3 MB."""
_LAYOUT = "expected there: chest_xray/{train,test}/{NORMAL,PNEUMONIA}/ with the JPEG files"


class _File(NamedTuple):
    name: PurePosixPath
    """Folder of the part, folder of the class, file name."""
    patient: str
    kind: str

    @property
    def part(self) -> str:
        return self.name.parts[0]


class _Copy(NamedTuple):
    """Where the data set lies: a folder, or an archive and the names of its members by that of the file."""

    place: Path
    members: dict[str, str] | None
    sizes: dict[str, int]

    def read_all(self, files: list[_File]) -> Iterator[Callable[[], bytes]]:
        """Yield the reader of each file, in order; those of an archive hold the content."""
        if self.members is None:
            yield from (file_reader(self.place / file.name) for file in files)
        else:
            members = self.members
            names = [members[file.name.as_posix()] for file in files]
            for _, content in iter_zip_members(self.place, _LARGEST_IMAGE, names):
                yield _holding(content)


class Data(Dataset):
    """Settings of ``datasets.paediatric_pneumonia``.

    Parameters
    ----------
    root : str or None
        Folder that holds ``chest_xray/``, or that folder itself, or one that holds the published archive; relative to
        the folder of params.yaml or absolute. None fetches the archive into ``data/raw/paediatric_pneumonia``.
    version : {"v2", "v3"}
        Version of the publication, which decides how the file names are read.
    n_classes : {2, 3}
        Normal and pneumonia, or normal, bacteria and virus.
    mirror : str or None
        http or https address of a folder that holds the published archive under its name, to fetch from instead of the
        publisher; size and checksum are checked all the same.
    """

    name: ClassVar[str] = "paediatric_pneumonia"
    checked_by_fetch: ClassVar[bool] = True
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
    n_classes: Literal[2, 3] = 3
    mirror: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Normal first, then pneumonia or its two kinds."""
        return CLASSES if self.n_classes == 3 else _MERGED

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Fetch the archive, or verify that `root` holds the data set in the chosen version.

        Returns
        -------
        dict
            root, version, images, bytes (unpacked), patients, patients_in_train_and_test, counts of images by folder
            and kind, other_files (count and first names of files that are no images of the set), fingerprint (SHA-256
            over the sorted names and sizes of the images) and, of an archive that was fetched, archive (name, bytes,
            sha256, and whether that is the published one or, as none is, that of the file as it came).

        Raises
        ------
        DatasetError
            If the archive cannot be fetched or is not intact, `root` holds no such folders, or a name is not one of
            the chosen version.
        """
        fetched = None if self.root is not None else self._fetch_published(folder)
        copy = self._copy(folder)
        files, others = self._files(copy)
        if fetched is not None and FILES[self.version].sha256 is None:
            # Nothing published to compare with: the CRC of every image tells at least that the archive is intact.
            for _ in copy.read_all(files):
                pass
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.name}\t{copy.sizes[file.name.as_posix()]}\n".encode())
        counts = Counter((file.part, file.kind) for file in files)
        in_test = {file.patient for file in files if file.part == "test"}
        in_train = {file.patient for file in files if file.part != "test"}
        record = {
            "root": self.root,
            "version": self.version,
            "images": len(files),
            "bytes": sum(copy.sizes[file.name.as_posix()] for file in files),
            "patients": len(in_test | in_train),
            "patients_in_train_and_test": len(in_test & in_train),
            "counts": {f: {k: counts[f, k] for k in CLASSES} for f in _PARTS if any(counts[f, k] for k in CLASSES)},
            "other_files": summary(others),
            "fingerprint": digest.hexdigest(),
        }
        if fetched is not None:
            record["archive"] = {
                "name": fetched.path.name,
                "bytes": fetched.size,
                fetched.algorithm: fetched.digest,
                "checksum": "as it came" if FILES[self.version].sha256 is None else "as published",
            }
        return record

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the images by folder (train, val, test), class folder and name, whether packed or unpacked."""
        copy = self._copy(folder)
        files = self._files(copy)[0]
        for file, read in zip(files, copy.read_all(files), strict=True):
            yield Sample(
                sample_id=file.name.name,
                patient_id=file.patient,
                labels=(file.kind if file.kind in self.classes else "pneumonia",),
                read=read,
                official_split=_PARTS[file.part],
            )

    def _fetch_published(self, folder: Path) -> Fetched:
        file = FILES[self.version]
        if self.mirror is not None:
            file = replace(file, url=f"{self.mirror.rstrip('/')}/{file.name}")
        otherwise = (
            f"Or set datasets.{self.name}.root in params.yaml to a folder with the data set, from {self.url} or Kaggle "
            f"(paultimothymooney/chest-xray-pneumonia, version v2); {_LAYOUT}"
        )
        return fetch_file(file, folder, otherwise=otherwise)

    def _copy(self, folder: Path) -> _Copy:
        """Find the data set in `folder` or in `root`."""
        archive = FILES[self.version].name
        if self.root is None:
            return _packed(folder / archive)
        root = located(self.root)
        for base in (root, root / "chest_xray", root / "CellData" / "chest_xray"):
            if all((base / part / kind).is_dir() for part in ("train", "test") for kind in _FOLDERS):
                return _unpacked(base)
        if (root / archive).is_file():
            return _packed(root / archive)
        raise DatasetError(
            f"datasets.{self.name}.root: '{self.root}' is not the data set; {_LAYOUT}, or {archive} (version "
            f"{self.version})"
        )

    def _files(self, copy: _Copy) -> tuple[list[_File], list[str]]:
        """Return the images in a stable order, and the names of other files in the same folders."""
        files: list[_File] = []
        others: list[str] = []
        # By folder, then by name as text: the order of a folder differs between file systems.
        order = {folder: place for place, folder in enumerate((*_PARTS, *_FOLDERS))}
        names = sorted(map(PurePosixPath, copy.sizes), key=lambda n: (order[n.parts[0]], order[n.parts[1]], n.name))
        for name in names:
            if name.suffix.lower() not in _SUFFIXES or name.name.startswith("."):
                others.append(name.as_posix())
            else:
                files.append(self._read_name(name))
        if not files:
            raise DatasetError(f"{copy.place}: the folders of the data set hold no images")
        return files, others

    def _read_name(self, name: PurePosixPath) -> _File:
        parsed = _parse(name.stem, self.version)
        if parsed is None:
            other: Version = "v2" if self.version == "v3" else "v3"
            hint = (
                f"it is one of version {other}: set datasets.{self.name}.version to {other}"
                if _parse(name.stem, other)
                else "move the file away if it is not part of the data set"
            )
            raise DatasetError(f"{name}: not a file name of version {self.version}; {hint}")
        patient, kind = parsed
        allowed = _FOLDERS[name.parts[1]]
        if kind not in allowed:
            raise DatasetError(
                f"{name}: the name says {kind} (version {self.version}), the folder {' or '.join(allowed)}"
            )
        return _File(name, patient, kind)


def _unpacked(base: Path) -> _Copy:
    paths = [
        path
        for part in _PARTS
        for kind in _FOLDERS
        if (base / part / kind).is_dir()
        for path in (base / part / kind).iterdir()
    ]
    for path in paths:
        check_name(path.name, str(path.parent))
    return _Copy(base, None, {path.relative_to(base).as_posix(): size_of(path) for path in paths})


def _packed(archive: Path) -> _Copy:
    """Find the images in an archive, whatever folders it puts in front of chest_xray/."""
    members: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for member, size in zip_sizes(archive).items():
        match = _PACKED.fullmatch(member)
        if match:
            if match["name"] in members:
                raise DatasetError(f"{archive}: '{member}' and '{members[match['name']]}' are both {match['name']}")
            members[match["name"]] = member
            sizes[match["name"]] = size
    if not members:
        raise DatasetError(f"{archive}: not the data set; {_LAYOUT}")
    return _Copy(archive, members, sizes)


def _holding(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def _parse(stem: str, version: str) -> tuple[str, str] | None:
    """Patient and class in a file name without its suffix, or None if it is no name of `version`."""
    for pattern in _NAMES[version]:
        match = pattern.fullmatch(stem)
        if match:
            kind = match.groupdict().get("kind") or "normal"
            return match["patient"], kind.lower()
    return None
