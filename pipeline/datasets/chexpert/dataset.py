"""CheXpert: 224,316 chest radiographs of 65,240 patients with 14 observations mined from reports, some uncertain.

Its tables name an image by its path (patient, study, view) and hold for each observation 1 (present), 0 (absent), -1
(the report is uncertain) or nothing (the report does not mention it). The images of the published test set are not
public; the 234 of the validation set were read by three radiologists, and are the test part here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, Sample, Task
from pipeline.datasets.shared.irregular import file_reader
from pipeline.datasets.shared.local import find_below, fingerprint, root_folder, summary
from pipeline.datasets.shared.people import age_in_years, sex_of, view_of
from pipeline.datasets.shared.tables import Table, read_table
from pipeline.study.unknown import Policy, policy_of

OBSERVATIONS: tuple[str, ...] = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The 14 observations in the published order."""
COMPETITION: tuple[str, ...] = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""Those of the published results, in the order of the paper; every one has positives in the test part."""

_NOTHING, _DEVICES = "No Finding", "Support Devices"
_TABLES: dict[str, OfficialSplit] = {"train.csv": "train", "valid.csv": "test"}
_ABOUT = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
_PATH = re.compile(r"(?:.*/)?((?:train|valid)/(patient\d+)/study\d+/view\d+_(?:frontal|lateral)\.\w+)")
_LABELS = {"1": 1, "0": 0, "-1": -1, "": None}
_LAYOUT = "train.csv, valid.csv, train/ and valid/ of CheXpert-v1.0-small or CheXpert-v1.0"


class _Row(NamedTuple):
    """A row of a table: path below the set, patient, label of every observation (1, 0, -1, None), own columns."""

    image: str
    patient: str
    labels: dict[str, int | None]
    part: OfficialSplit
    extra: dict[str, Any]


class Data(Dataset):
    """Settings of ``datasets.chexpert``.

    Parameters
    ----------
    root : str or None
        Folder that holds train.csv and valid.csv, or a folder up to two levels above; relative to the folder of
        params.yaml or absolute. The licence does not allow to fetch it for somebody else.
    observations : {"all", "competition"} or list of str
        Which of the 14 are classes; "competition" are the five of the published results.
    views : {"all", "frontal", "lateral"}
        Which images are of the study.
    empty : {"unknown", "negative"}
        What it says that a report does not mention an observation. "No Finding" is absent where the report is positive
        or uncertain about another observation than support devices, by the definition of the published labeller.
    uncertain : rule, or mapping of str to rule
        What training takes -1 for: ignore, positive, negative or a number between 0 and 1, for all or by observation;
        what is not named is ignored (`pipeline.study.unknown`).
    """

    name: ClassVar[str] = "chexpert"
    title: ClassVar[str] = "CheXpert"
    task: ClassVar[Task] = "multilabel"
    licence: ClassVar[str] = (
        "Stanford University School of Medicine CheXpert Dataset Research Use Agreement: personal, non-commercial "
        "research use only; it must not be distributed, nor persons be identified"
    )
    citation: ClassVar[str] = (
        "J. Irvin, P. Rajpurkar, M. Ko et al. CheXpert: A Large Chest Radiograph Dataset with Uncertainty Labels and "
        "Expert Comparison. AAAI 33 (2019), 590-597, doi:10.1609/aaai.v33i01.3301590"
    )
    url: ClassVar[str] = "https://stanfordmlgroup.github.io/competitions/chexpert/"

    root: str | None = None
    observations: Literal["all", "competition"] | list[str] = "all"
    views: Literal["all", "frontal", "lateral"] = "all"
    empty: Literal["unknown", "negative"] = "unknown"
    uncertain: Policy = Field(default="ignore")

    @model_validator(mode="after")
    def _observations_are_published(self) -> Data:
        if not isinstance(self.observations, str):
            if foreign := [name for name in self.observations if name not in OBSERVATIONS]:
                raise ValueError(f"observations: '{foreign[0]}' is none; must be among {', '.join(OBSERVATIONS)}")
            if len(set(self.observations)) < max(2, len(self.observations)):
                raise ValueError(f"observations: {self.observations}; there must be at least two, each listed once")
        policy_of(self.uncertain, self.classes)
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """Where labels come from, and what was made of those that a report does not settle."""
        instead = "counts as unknown" if self.empty == "unknown" else "counts as absent"
        return (
            "Training labels were mined from radiology reports by a program; the test labels are the majority of three "
            "radiologists.",
            f"What a report does not mention {instead}.",
            "All images come from one hospital, Stanford.",
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The observations that were chosen."""
        if self.observations == "all":
            return OBSERVATIONS
        return COMPETITION if self.observations == "competition" else tuple(self.observations)

    @property
    def uncertain_as(self) -> dict[str, float | None]:
        """What `uncertain` says, by class."""
        return policy_of(self.uncertain, self.classes)

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify a local copy; nothing is downloaded.

        Returns
        -------
        dict
            root, release (name of its folder), tables (SHA-256), rows, images (rows whose file is there), missing
            (count and first names; they are excluded as they are read), patients, parts, labels (of each class the
            numbers of 1, 0, -1 and empty), bytes and fingerprint.

        Raises
        ------
        DatasetError
            If `root` is not set or not there, a table is not the published one, or none of the images is there.
        """
        base = self._base()
        rows = self._rows()
        present = [row.image for row in rows if (base / row.image).is_file()]
        if not present:
            raise DatasetError(
                f"datasets.{self.name}.root: '{self.root}' holds none of the {len(rows)} images of its tables, the "
                f"first is '{rows[0].image}'; the folders train/ and valid/ belong beside train.csv"
            )
        there, (digest, total) = set(present), fingerprint(base, present)
        kinds = {"positive": 1, "negative": 0, "uncertain": -1, "unknown": None}
        return {
            "root": self.root,
            "release": base.name,
            "tables": {name: hashlib.sha256((base / name).read_bytes()).hexdigest() for name in _TABLES},
            "rows": len(rows),
            "images": len(present),
            "missing": summary([row.image for row in rows if row.image not in there]),
            "patients": len({row.patient for row in rows}),
            "parts": {part: sum(row.part == part for row in rows) for part in ("train", "test")},
            "labels": {
                name: {kind: sum(row.labels[name] == value for row in rows) for kind, value in kinds.items()}
                for name in self.classes
            },
            "bytes": total,
            "fingerprint": digest,
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield one sample per row of the tables, in their order; ``extra`` holds sex, age and view."""
        base = self._base()
        for row in self._rows():
            kinds = (tuple(name for name in self.classes if row.labels[name] == kind) for kind in (1, None, -1))
            labels, unknown, uncertain = kinds
            read = file_reader(base / row.image)
            yield Sample(
                row.image, row.patient, labels, read, row.part, row.extra, unknown=unknown, uncertain=uncertain
            )

    def _base(self) -> Path:
        """Return the folder that holds the tables."""
        if not self.root:
            raise DatasetError(
                f"datasets.{self.name}.root is not set: the licence does not allow the program to fetch the data set. "
                f"Register at {self.url}, agree to its terms ({self.licence}), download it, and set the key to the "
                f"folder that holds {_LAYOUT}"
            )
        top = root_folder(self.root, self.name, _LAYOUT)
        base = find_below(top, lambda path: all((path / name).is_file() for name in _TABLES))
        if base is None:
            raise DatasetError(
                f"datasets.{self.name}.root: '{self.root}' is not the data set; expected there: {_LAYOUT}"
            )
        return base

    def _rows(self) -> list[_Row]:
        """Read both tables, without the views that are not asked for."""
        base, rows, seen = self._base(), list[_Row](), dict[str, str]()
        for name, part in _TABLES.items():
            path = base / name
            table = read_table(path)
            places = self._columns(path, table)
            for line, fields in table.rows:
                where = f"{path}: line {line}"
                row = self._row(where, {column: fields[place].strip() for column, place in places.items()}, part)
                if row.image in seen:
                    raise DatasetError(f"{where}: image '{row.image}' occurs already in {seen[row.image]}")
                seen[row.image] = f"{name}, line {line}"
                if self.views == "all" or f"_{self.views}." in row.image:
                    rows.append(row)
        if not rows:
            raise DatasetError(f"{base}: no row of its tables is of views: {self.views}")
        return rows

    def _columns(self, path: Path, table: Table) -> dict[str, int]:
        """Return the place of every column that is read."""
        lacking = [name for name in (*_ABOUT, *OBSERVATIONS) if name not in table.header]
        if lacking:
            raise DatasetError(f"{path}: line 1: column '{lacking[0]}' is not there; this is not a table of CheXpert")
        return {name: table.header.index(name) for name in (*_ABOUT, *OBSERVATIONS)}

    def _row(self, where: str, cells: dict[str, str], part: OfficialSplit) -> _Row:
        match = _PATH.fullmatch(cells["Path"])
        if match is None:
            raise DatasetError(
                f"{where}: Path is '{cells['Path']}'; expected .../train/patient00001/study1/view1_frontal.jpg"
            )
        if f"_{cells['Frontal/Lateral'].lower()}." not in match[1]:
            raise DatasetError(f"{where}: Frontal/Lateral is '{cells['Frontal/Lateral']}', the name says another view")
        labels: dict[str, int | None] = {}
        for name in OBSERVATIONS:
            text = cells[name].removesuffix(".0")
            if text not in _LABELS:
                raise DatasetError(f"{where}: {name} is '{cells[name]}'; it must be 1, 0, -1 or empty")
            labels[name] = _LABELS[text]
        found = any(labels[name] in (1, -1) for name in OBSERVATIONS if name not in (_NOTHING, _DEVICES))
        if labels[_NOTHING] is None and found:
            labels[_NOTHING] = 0
        if self.empty == "negative":
            labels = {name: 0 if label is None else label for name, label in labels.items()}
        view = view_of(cells["AP/PA"]) or cells["Frontal/Lateral"].lower()
        extra = {"sex": sex_of(cells["Sex"]), "age": age_in_years(cells["Age"]), "view": view}
        return _Row(match[1], match[2], labels, part, extra)
