"""Images of one's own, sorted into one folder per class.

Either ``<root>/<class>/...`` or, with a published split, ``<root>/<train|val|test>/<class>/...``. Below a class folder
images may lie at any depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import field_validator

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, Sample, Task
from pipeline.datasets.shared.local import fingerprint, is_junk_folder, list_files, root_folder, subfolders, summary

_PARTS: dict[str, OfficialSplit] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Names, in lower case, that make a folder a part of a published split."""
_LAYOUT = "one folder per class with images, or folders train, val and test with one folder per class in each"
_ORDER = ("train", "val", "test", "")


class _File(NamedTuple):
    path: str
    part: OfficialSplit
    label: str
    hidden: bool


class _Found(NamedTuple):
    """Files of a root: `files` become samples, `others` are named in the record only."""

    files: list[_File]
    others: list[str]
    classes: tuple[str, ...]


class Data(Dataset):
    """Settings of ``datasets.image_folder``.

    Parameters
    ----------
    root : str or None
        Folder that holds the class folders, or the folders of the parts; relative to the folder of params.yaml or
        absolute.
    patient_pattern : str or None
        Regular expression with a group ``patient``, searched in the path below `root`, for example
        ``/(?P<patient>P[0-9]+)_``. None makes each file a patient of its own.
    title, licence, citation, url : str
        What the reports are to say about the data set; `url` may be empty.
    """

    name: ClassVar[str] = "image_folder"
    task: ClassVar[Task] = "multiclass"

    root: str | None = None
    patient_pattern: str | None = None
    title: str = "Local images in class folders"
    licence: str = "not stated"
    citation: str = "not stated"
    url: str = ""

    @field_validator("patient_pattern")
    @classmethod
    def _has_a_patient(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"'{value}' is not a regular expression ({error}); it must be a Python pattern") from None
        if "patient" not in groups:
            raise ValueError(f"'{value}' has no group 'patient'; it must hold (?P<patient>...)")
        return value

    @property
    def notes(self) -> tuple[str, ...]:
        """What the folder layout leaves unknown."""
        if self.patient_pattern is not None:
            return ()
        return ("No patient ids were given: each file counts as a patient.",)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, sorted."""
        return self._find().classes

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify that `root` holds class folders with images; nothing is downloaded.

        Returns
        -------
        dict
            root, patient_pattern, images, patients, bytes, counts (by part, "" where there is none, and class),
            hidden_files (which become samples and are excluded as they are decoded), other_files and fingerprint.

        Raises
        ------
        DatasetError
            If `root` is not set or is no folder, the layout is not one of the two, a class folder holds no image, or
            a file does not match `patient_pattern`.
        """
        base = self._root()
        found = self._find()
        visible = [f for f in found.files if not f.hidden]
        digest, total = fingerprint(base, [f.path for f in found.files])
        parts = [p for p in _ORDER if any(f.part == p for f in visible)]
        return {
            "root": self.root,
            "patient_pattern": self.patient_pattern,
            "images": len(visible),
            "patients": len({self._patient(f) for f in visible}),
            "bytes": total,
            "counts": {p: {c: sum((f.part, f.label) == (p, c) for f in visible) for c in found.classes} for p in parts},
            "hidden_files": summary([f.path for f in found.files if f.hidden]),
            "other_files": summary(found.others),
            "fingerprint": digest,
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the files by part, class and path; a sample's id is its path below `root`."""
        base = self._root()
        for file in self._find().files:
            yield Sample(
                sample_id=file.path,
                patient_id=self._patient(file),
                labels=(file.label,),
                read=(base / file.path).read_bytes,
                official_split=file.part,
            )

    def _root(self) -> Path:
        return root_folder(self.root, self.name, _LAYOUT)

    def _patient(self, file: _File) -> str:
        # A hidden file is excluded later with the reason why it is no image; its name need not follow the pattern.
        if self.patient_pattern is None or file.hidden:
            return file.path
        match = re.search(self.patient_pattern, file.path)
        if match is None or not match["patient"]:
            raise DatasetError(
                f"{self.root}: '{file.path}' does not match datasets.{self.name}.patient_pattern "
                f"'{self.patient_pattern}'; rename the file, move it away or correct the pattern"
            )
        return match["patient"]

    def _find(self) -> _Found:
        base = self._root()
        places = self._parts(base)
        files: list[_File] = []
        others = [p.name for p in sorted(base.iterdir()) if not p.is_dir() or is_junk_folder(p.name)]
        names: set[str] = set()
        for part, place in places:
            where = "" if place == base else f"{place.name}/"
            if where:
                others += [f"{where}{p.name}" for p in sorted(place.iterdir()) if not p.is_dir()]
            for folder in subfolders(place):
                label = folder.name
                names.add(label)
                listed = list_files(folder)
                if not listed.images:
                    raise DatasetError(
                        f"{self.root}: class folder '{where}{label}' holds no images; fill it, or move it away if it "
                        "is no class"
                    )
                hidden = set(listed.hidden)
                both = sorted([*listed.images, *listed.hidden])
                files += [_File(f"{where}{label}/{p}", part, label, p in hidden) for p in both]
                others += [f"{where}{label}/{p}" for p in listed.others]
        self._check_classes(names)
        return _Found(files, others, tuple(sorted(names)))

    def _parts(self, base: Path) -> list[tuple[OfficialSplit, Path]]:
        """Return the folders that hold class folders, with their part of the published split."""
        folders = subfolders(base)
        if not folders:
            raise DatasetError(f"datasets.{self.name}.root: '{self.root}' holds no folders; expected {_LAYOUT}")
        named = [f for f in folders if f.name.lower() in _PARTS]
        if not named:
            return [("", base)]
        rest = [f.name for f in folders if f not in named]
        if rest:
            raise DatasetError(
                f"{self.root}: '{named[0].name}' is the name of a part, '{rest[0]}' is none; expected {_LAYOUT}"
            )
        parts: dict[OfficialSplit, Path] = {}
        for folder in named:
            part = _PARTS[folder.name.lower()]
            if part in parts:
                raise DatasetError(
                    f"{self.root}: '{parts[part].name}' and '{folder.name}' are the same part; join them"
                )
            if not subfolders(folder):
                raise DatasetError(f"{self.root}: '{folder.name}' holds no class folders; expected {_LAYOUT}")
            parts[part] = folder
        return sorted(parts.items(), key=lambda item: _ORDER.index(item[0]))

    def _check_classes(self, names: set[str]) -> None:
        if len(names) < 2:
            raise DatasetError(
                f"{self.root}: one class folder, '{next(iter(names))}'; a study needs at least two classes"
            )
        seen: dict[str, str] = {}
        for name in sorted(names):
            other = seen.setdefault(name.casefold(), name)
            if other != name:
                raise DatasetError(
                    f"{self.root}: class folders '{other}' and '{name}' differ in upper and lower case only; give them "
                    "one name"
                )
