"""Images of one's own, sorted into one folder per class.

Either ``<root>/<class>/...`` or, with a published split, ``<root>/<train|val|test>/<class>/...``. Below a class folder
images may lie at any depth. DICOM files need no suffix; their headers name patient, sex, age, view and date.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, OnDisk, Sample, Task
from pipeline.datasets.shared.choosing import Groups, Pattern, block, block_notes, blocks_of, chosen, masks
from pipeline.datasets.shared.grades import in_order
from pipeline.datasets.shared.headers import Headers
from pipeline.datasets.shared.irregular import file_reader
from pipeline.datasets.shared.local import fingerprint, is_junk_folder, list_files, root_folder, subfolders, summary
from pipeline.datasets.shared.names import joined, stands_for_none
from pipeline.datasets.shared.patients import NOBODY, Naming, Without
from pipeline.study.classes import told_apart

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
    """Files of a root: `files` become samples, `masks` belong to one of them, the rest is named in the record only."""

    files: list[_File]
    masks: dict[str, str]
    unchosen: list[str]
    others: list[str]
    classes: tuple[str, ...]
    closed: list[str]


class Data(Dataset):
    """Settings of ``datasets.image_folder``.

    Parameters
    ----------
    root : str or None
        Folder that holds the class folders, or the folders of the parts; relative to the folder of params.yaml or
        absolute.
    patient_pattern : str or None
        Regular expression with a group, searched in the path below `root`, for example ``/(P[0-9]+)_``; of several
        groups the one called ``patient``. None takes the patients of DICOM headers; where no header names one, patients
        are not known.
    without_patient : {"exclude", "alone"} or None
        What becomes of images that name no patient where others do: left out, or each for itself, and no report
        speaks of patients. None refuses them.
    groups : str or None
        Where no patient is known: ``blocks of 100`` keeps images together whose names end with neighbouring numbers.
    include, exclude : list of str
        Shell patterns of paths below `root`, or of file names: what is an image of the study (empty = every image),
        and what is not.
    label_map : dict of str to str
        Class folder to class, to rename or join classes.
    asked_task : {"", "ordinal"}
        Key `task`: ordinal takes the classes as grades in the order of `class_names`.
    class_names : list of str or None
        With ordinal: the classes from the lowest grade; None takes the order of the numbers that their names begin
        with.
    title, licence, citation, url : str
        What the reports are to say about the data set; `url` may be empty.
    """

    name: ClassVar[str] = "image_folder"
    task: ClassVar[Task] = "multiclass"

    root: str | None = None
    patient_pattern: str | None = None
    without_patient: Without | None = None
    groups: Groups | None = None
    include: list[Pattern] = []
    exclude: list[Pattern] = []
    label_map: dict[str, Pattern] = {}
    asked_task: Literal["", "ordinal"] = Field("", alias="task")
    class_names: list[Pattern] | None = Field(None, min_length=2)
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
            pattern = re.compile(value)
        except re.error as error:
            raise ValueError(f"'{value}' is not a regular expression ({error}); it must be a Python pattern") from None
        if "patient" not in pattern.groupindex and pattern.groups != 1:
            raise ValueError(f"'{value}' has no group 'patient'; it must hold (?P<patient>...) or one group")
        return value

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Data:
        if self.groups is not None and self.patient_pattern is not None:
            raise ValueError(
                f"groups: '{self.groups}' beside patient_pattern; it must be empty where patients are known"
            )
        if self.class_names is not None and not self.ordered:
            raise ValueError(
                f"class_names: {self.class_names} states an order, which counts with task: ordinal alone; must be empty"
            )
        return self

    @property
    def patients_known(self) -> bool:
        """Whether `patient_pattern` or the DICOM headers name the patients of all images that are used."""
        found = self._find()
        return self._naming(found, self._headers(found)).known(self.without_patient)

    @property
    def notes(self) -> tuple[str, ...]:
        """What blocks stand for."""
        return block_notes(self.groups)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the class folders, or what `label_map` makes of them, sorted; told apart from other names."""
        return self._find().classes

    def on_disk(self) -> OnDisk:
        """Return what folders and headers say, which `fetch` asks of them as well."""
        found = self._find()
        headers = self._headers(found)
        self._naming(found, headers)
        return OnDisk(found.classes, headers.columns)

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify that `root` holds class folders with images; nothing is downloaded.

        Returns
        -------
        dict
            root, patient_pattern, images, patients (None where they are not known), patients_from, bytes, counts (by
            part, "" where there is none, and class), hidden_files (which become samples and are excluded as they are
            decoded), masks, unchosen_files (by `include` and `exclude`), other_files, dicom (see `Headers.record`),
            blocks (see `blocks_of`), what `Naming.record` says, and fingerprint.

        Raises
        ------
        DatasetError
            If `root` is not set or is no folder, the layout is not one of the two, a class folder holds no image, or
            an image names no patient where others do and `without_patient` is None.
        """
        base = self._root()
        found = self._find()
        headers = self._headers(found)
        naming = self._naming(found, headers)
        used = self._used(found, naming)
        visible = [f for f in used if not f.hidden]
        digest, total = fingerprint(base, [f.path for f in used])
        parts = [p for p in _ORDER if any(f.part == p for f in visible)]
        known = naming.known(self.without_patient)
        return {
            "root": self.root,
            "patient_pattern": self.patient_pattern,
            "images": len(visible),
            "patients": len({self._patient(f, naming) for f in visible}) if known else None,
            "patients_from": None if not known else "patient_pattern" if self.patient_pattern else "PatientID",
            "bytes": total,
            "counts": {p: {c: sum((f.part, f.label) == (p, c) for f in visible) for c in found.classes} for p in parts},
            "hidden_files": summary([f.path for f in found.files if f.hidden]),
            "masks": summary(list(found.masks)),
            "unchosen_files": summary(found.unchosen),
            "other_files": summary(found.others),
            "dicom": headers.record(),
            "blocks": blocks_of((f.path for f in visible if f.path not in naming.of), None if known else self.groups),
            **naming.record(self.without_patient),
            "fingerprint": digest,
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the files by part, class and path; a sample's id is its path below `root`."""
        base = self._root()
        found = self._find()
        headers = self._headers(found)
        naming = self._naming(found, headers)
        for file in self._used(found, naming):
            yield Sample(
                sample_id=file.path,
                patient_id=self._patient(file, naming),
                labels=(file.label,),
                read=file_reader(base / file.path),
                official_split=file.part,
                extra=headers.extra(file.path),
            )

    def left_out(self, folder: Path) -> list[tuple[str, str]]:
        """Name the masks, which are kept apart for segmentation, closed folders, and images of nobody."""
        found = self._find()
        closed = [(f"{path}/", "folder not readable: Permission denied") for path in found.closed]
        nobody = []
        if self.without_patient == "exclude":
            why = f"{NOBODY} in its {'path' if self.patient_pattern else 'DICOM header'}"
            nobody = [(path, why) for path in self._naming(found, self._headers(found)).without]
        return [
            *((path, f"mask of {image}" if image else "mask without an image") for path, image in self._masks()),
            *closed,
            *nobody,
        ]

    def _masks(self) -> list[tuple[str, str]]:
        return sorted(self._find().masks.items())

    def _root(self) -> Path:
        return root_folder(self.root, self.name, _LAYOUT)

    def _headers(self, found: _Found) -> Headers:
        return Headers.of(self._root(), [f.path for f in found.files if not f.hidden])

    def _naming(self, found: _Found, headers: Headers) -> Naming:
        """Return whose the images are, which must be said of all of them or none, unless `without_patient` is set."""
        # A hidden file is excluded later with the reason why it is no image; its name need not follow the pattern.
        naming = headers.naming() if self.patient_pattern is None else self._by_pattern(self.patient_pattern, found)
        naming.check(self.without_patient, self.name, str(self.root))
        return naming

    def _by_pattern(self, pattern: str, found: _Found) -> Naming:
        compiled = re.compile(pattern)
        group = "patient" if "patient" in compiled.groupindex else 1
        key = f"datasets.{self.name}.patient_pattern '{pattern}'"
        of, without = {}, {}
        for file in found.files:
            if file.hidden:
                continue
            match = compiled.search(file.path)
            patient = match[group] if match else None
            if patient and not stands_for_none(patient):
                of[file.path] = patient
            elif patient:
                without[file.path] = (
                    f"the patient of '{file.path}' is '{patient}', which stands for a missing one, by {key}"
                )
            else:
                without[file.path] = f"'{file.path}' does not match {key}"
        if not of and without:
            raise DatasetError(f"{self.root}: {next(iter(without.values()))}, nor does any other image; correct it")
        return Naming(of, without, "images")

    def _used(self, found: _Found, naming: Naming) -> list[_File]:
        """Return the files that become samples."""
        if self.without_patient != "exclude":
            return found.files
        return [file for file in found.files if file.path not in naming.without]

    def _patient(self, file: _File, naming: Naming) -> str:
        if file.hidden:
            return file.path
        if (patient := naming.of.get(file.path)) is not None:
            return patient
        # Within known patients this is a file that cannot be used.
        return block(file.path, self.groups) if self.groups and not naming.known(self.without_patient) else file.path

    def _find(self) -> _Found:
        base = self._root()
        places = self._parts(base)
        listed_files: list[_File] = []
        others = [p.name for p in sorted(base.iterdir()) if not p.is_dir() or is_junk_folder(p.name)]
        unchosen: list[str] = []
        folders: list[str] = []
        closed: list[str] = []
        for part, place in places:
            where = "" if place == base else f"{place.name}/"
            if where:
                others += [f"{where}{p.name}" for p in sorted(place.iterdir()) if not p.is_dir()]
            for folder in subfolders(place):
                label = folder.name
                listed = list_files(folder, dicom=True)
                if "." in listed.closed:
                    raise DatasetError(
                        f"{self.root}: class folder '{where}{label}': Permission denied; make it readable"
                    )
                closed += [f"{where}{label}/{p}" for p in listed.closed]
                hidden = set(listed.hidden)
                both = sorted([*listed.images, *listed.hidden])
                taken, left = chosen([f"{where}{label}/{p}" for p in both], self.include, self.exclude)
                unchosen += left
                others += [f"{where}{label}/{p}" for p in listed.others]
                if not any(p.removeprefix(f"{where}{label}/") not in hidden for p in taken):
                    if left and not taken:
                        continue  # a folder that the patterns leave out altogether is no class
                    raise DatasetError(
                        f"{self.root}: class folder '{where}{label}' holds no images; fill it, or move it away if it "
                        "is no class"
                    )
                folders += [label] * len(taken)
                listed_files += [
                    _File(path, part, label, path.removeprefix(f"{where}{label}/") in hidden) for path in taken
                ]
        if not listed_files:
            raise DatasetError(
                f"datasets.{self.name}: include {self.include} and exclude {self.exclude} leave none of the "
                f"{len(unchosen)} images of '{self.root}'"
            )
        names = joined(folders, self.label_map, f"{self.root}: class folders", f"datasets.{self.name}.label_map")
        apart = masks([f.path for f in listed_files if not f.hidden])
        files = [f._replace(label=told_apart(names[f.label])) for f in listed_files if f.path not in apart]
        classes = tuple(sorted({f.label for f in files}))
        if self.ordered and len(classes) > 1:
            stated = None if self.class_names is None else [*map(told_apart, self.class_names)]
            classes = in_order(classes, stated, f"datasets.{self.name}.class_names")
        if len(classes) < 2:
            raise DatasetError(
                f"{self.root}: one class folder, '{classes[0] if classes else folders[0]}'; a study needs at least two "
                "classes"
            )
        return _Found(files, apart, unchosen, others, classes, closed)

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
