"""What lies in a folder of images: the data set that reads it, its settings, its classes, patients and pixels.

Files are listed and a few of them decoded; what the study itself will count is counted with the study's own readers.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets import Dataset, DatasetError, Sample, available, open_dataset
from pipeline.datasets.shared.choosing import block
from pipeline.datasets.shared.headers import Headers
from pipeline.datasets.shared.local import list_files, subfolders
from pipeline.datasets.shared.patients import NOBODY
from pipeline.datasets.shared.tables import read_table
from pipeline.imaging.decoding import UnreadableImage, as_image
from pipeline.planning import columns, patients
from pipeline.study.params import ParamsError

OWN = ("image_folder", "image_table")
_PUBLISHED: tuple[dict[str, Any], ...] = ({}, {"version": "v2"}, {"n_classes": 4}, {"images": "segmented"})
"""Settings under which the layout of a published data set is tried, the default first."""
TABLES = (".csv", ".tsv")
LOOKED_AT = 48
"""Images that are decoded to see what they are like."""
ABOUT = ("sex", "age", "view", "study_date")
"""Columns of samples.csv that reports divide the results by, and the one that `split.method: time` goes by."""
LEAST_BLOCKS = 50
"""Blocks of neighbouring images that a split needs."""
GREY = 2
"""Grey levels of 255 by which the channels of a grey image may differ after JPEG."""


class SurveyError(DatasetError):
    """A folder holds nothing that a study could be made of, or something that only its owner can tell."""


@dataclass(frozen=True)
class Counts:
    """Images and patients, of a class or of all, by published part ("" where none is published)."""

    images: Counter[str] = field(default_factory=Counter)
    patients: dict[str, set[str]] = field(default_factory=dict)

    def add(self, part: str, patient: str) -> None:
        """Count an image."""
        self.images[part] += 1
        self.patients.setdefault(part, set()).add(patient)

    def people(self, part: str | None = None) -> int:
        """Count patients of a part, or of all."""
        found = self.patients.values() if part is None else [self.patients.get(part, set())]
        return len(set().union(*found))

    def without(self, other: Counts) -> Counts:
        """Return what is left of these without `other`: images, and patients none of whose images are among those."""
        return Counts(
            self.images - other.images,
            {part: people - other.patients.get(part, set()) for part, people in self.patients.items()},
        )


@dataclass(frozen=True)
class Pictures:
    """What the images that were looked at are like.

    Parameters
    ----------
    looked_at, unreadable : int
        Images decoded, and those that could not be.
    coloured : float
        Share of those decoded that are in colour.
    sides : tuple of (int, int)
        Median width and height in pixels.
    smallest : int
        Smallest side.
    aspects : tuple of (float, float)
        10th and 90th percentile of width / height.
    """

    looked_at: int
    unreadable: int
    coloured: float
    sides: tuple[int, int]
    smallest: int
    aspects: tuple[float, float]


@dataclass(frozen=True)
class Survey:
    """What was found.

    Parameters
    ----------
    dataset : str
        Data set that reads the images.
    settings : dict
        Its settings that differ from its defaults.
    title : str
        What the data set is called.
    task : {"multilabel", "multiclass"}
        As read.
    classes : dict of str to Counts
        In the order of the study.
    all : Counts
        Of every image.
    patients : Patients
        Of class folders, how patients are told; otherwise `patients_from` says it.
    patients_known : bool
        Whether they are.
    patients_from : str
        In words: a pattern, a column, PatientID; "" where nothing names any.
    pictures : Pictures
        Of some images.
    remarks : tuple of str
        What else was seen.
    nobody : int
        Images that name no patient where others do: left out where patients are known, otherwise each for itself.
    about : dict of str to int
        Images of which sex, age, view and date are known, of those columns or header elements that there are.
    """

    dataset: str
    settings: dict[str, Any]
    title: str
    task: str
    classes: dict[str, Counts]
    all: Counts
    patients: patients.Patients
    patients_known: bool
    patients_from: str
    pictures: Pictures
    remarks: tuple[str, ...] = ()
    nobody: int = 0
    about: dict[str, int] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """Published parts that have images."""
        return [part for part in ("train", "val", "test") if self.all.images[part]]


def survey(
    images: str,
    table: str | None = None,
    label: str | None = None,
    patient: str | None = None,
    without_patient: str | None = None,
) -> Survey:
    """Look at a folder of images.

    Parameters
    ----------
    images : str
        The folder, as the user names it: relative to the working directory, or absolute.
    table : str, optional
        A table of labels; by default one that lies beside the images is looked for where there are no class folders.
    label, patient : str, optional
        Columns of the table, or, of class folders, a pattern of patients.
    without_patient : {"exclude", "alone"}, optional
        What becomes of images that name no patient where others do; by default they are refused.

    Raises
    ------
    DatasetError, ParamsError
        If there is no such folder, nothing in it makes a study, or some images name a patient and others do not. The
        message says what to do.
    """
    base = Path(images).expanduser()
    if not base.is_dir():
        raise SurveyError(f"{images}: {'not a folder' if base.exists() else 'no such folder'}; name a folder of images")
    if table is None:
        published = _published(images)
        if published is not None:
            return published
    wrapped = images
    while (
        table is None and len(subfolders(Path(wrapped).expanduser())) == 1 and not _direct(Path(wrapped).expanduser())
    ):
        wrapped = f"{wrapped.rstrip('/')}/{subfolders(Path(wrapped).expanduser())[0].name}"
    if table is None and len(_with_images(Path(wrapped).expanduser())) > 1:
        return _folders(wrapped, patient, without_patient)
    return _table(images, table or _find_table(images), label, patient, without_patient)


def _published(images: str) -> Survey | None:
    """Return the survey of a published data set in its own layout, None where it is none."""
    for name in available():
        if name in OWN:
            continue
        for settings in _PUBLISHED:
            try:
                dataset = open_dataset(name, {"root": images, **settings})
                samples = list(_samples(dataset))
                if samples and all(any(c in s.labels for s in samples) for c in dataset.classes):
                    return _surveyed(name, {"root": images, **settings}, dataset, samples, "the published ids")
            except (DatasetError, ParamsError, OSError, ValueError, KeyError):
                continue
    return None


def _folders(images: str, pattern: str | None, without: str | None) -> Survey:
    given = {"root": images, "patient_pattern": pattern, "without_patient": without}
    settings: dict[str, Any] = {key: value for key, value in given.items() if value}
    dataset = open_dataset("image_folder", settings)
    # A hidden file, which is excluded as it is decoded, need not follow the pattern.
    samples = [s for s in _samples(dataset) if not s.sample_id.rpartition("/")[2].startswith(".")]
    paths = [sample.sample_id for sample in samples]
    told = patients.Patients(pattern, "the pattern given" if pattern else "", 0 if pattern else len(paths))
    where = told.where or "PatientID of the DICOM headers"
    if pattern is None and all(sample.patient_id == sample.sample_id for sample in samples):
        told = patients.guess(paths, len(dataset.classes), [sample.official_split for sample in samples])
        if told.pattern is not None:
            settings["patient_pattern"] = told.pattern
            dataset = open_dataset("image_folder", settings)
            where = told.where
    return _surveyed("image_folder", settings, dataset, list(_samples(dataset)), where, told)


def _table(images: str, table: str, label: str | None, patient: str | None, without: str | None) -> Survey:
    base = Path(images).expanduser()
    if not Path(table).expanduser().is_file():
        raise SurveyError(f"--table {table}: no such file; name the CSV table that has a row per image")
    files = list_files(base, dicom=True).images
    if not files:
        raise SurveyError(f"{images}: no image in it or below it")
    found = columns.guess(
        read_table(Path(table).expanduser()), table, files, lambda: _uids(base, files), label, patient
    )
    settings: dict[str, Any] = {
        "root": f"{images.rstrip('/')}/{found.folder}" if found.folder else images,
        "table": table,
        "image_column": found.image,
        "image_by": found.image_by if found.image_by != "file" else None,
        "suffix": found.suffix,
        "label_column": found.label,
        "separator": found.separator,
        "negative_label": found.negative,
        "class_columns": list(found.classes),
        "patient_column": found.patient,
        "without_patient": without,
        "split_column": found.split,
    }
    settings = {key: value for key, value in settings.items() if value}
    dataset = open_dataset("image_table", settings)
    where = f"column {found.patient}" if found.patient else "PatientID of the DICOM headers"
    return _surveyed("image_table", settings, dataset, list(_samples(dataset)), where)


def _surveyed(
    name: str,
    settings: Mapping[str, Any],
    dataset: Dataset,
    samples: list[Sample],
    where: str,
    told: patients.Patients | None = None,
) -> Survey:
    classes, everything = {c: Counts() for c in dataset.classes}, Counts()
    about: Counter[str] = Counter()
    for sample in samples:
        about.update(column for column in ABOUT if sample.extra.get(column) is not None)
        everything.add(sample.official_split, sample.patient_id)
        for label in sample.labels:
            classes[label].add(sample.official_split, sample.patient_id)
    known = dataset.patients_known
    remarks = []
    without = settings.get("without_patient")
    named = 0 if known or not without else sum(s.patient_id != s.sample_id for s in samples)
    nobody = len(samples) - named if named else 0
    if known and without == "exclude":
        nobody = sum(why.startswith(NOBODY) for _, why in dataset.left_out(Path()))
        remarks.append(f"{nobody:,} {'image' if nobody == 1 else 'images'} without a patient left out, as asked")
    if told is not None and told.pattern is not None and told.number == 0:
        told = patients.Patients(told.pattern, told.where, everything.people())
    if told is not None and told.doubtful:
        remarks.append(
            f"{told.doubtful} of {told.number:,} patients may be another one again, whose name differs by case, zeros "
            "or separators only (see the first two examples): if so, rename the files"
        )
    again = patients.copies([sample.sample_id for sample in samples]) if name in OWN else 0
    if again:
        remarks.append(
            f"{again} files are called copies of others, as 'a (2).png' beside 'a.png'; those with the same pixels "
            "stay within one set"
        )
    if name in OWN and dataset.task == "multiclass" and columns.grades(dataset.classes):
        remarks.append(
            f"the classes are numbered, {', '.join(dataset.classes[:3])} and so on. If they are grades, set task: "
            f"ordinal under datasets.{name}: results then count how far off an error is (docs/grades.md)"
        )
    empty = [c for c, counts in classes.items() if not counts.images]
    if empty:
        remarks.append(f"no image has {', '.join(empty)}")
    if not known and name in OWN:
        remarks += _blocks([sample.sample_id for sample in samples])
    return Survey(
        name,
        dict(settings),
        dataset.title,
        dataset.task,
        classes,
        everything,
        told or patients.Patients(None, "", everything.people()),
        known,
        where if known or named else "",
        _look(samples),
        tuple(remarks),
        nobody,
        {column: about[column] for column in ABOUT if about[column]},
    )


def _blocks(paths: list[str]) -> list[str]:
    """Say that names end with running numbers, whose neighbours may show one person, if blocks of them are enough."""
    if not all(re.search(r"\d[)\]]?(\.\w+)?$", path) for path in paths):
        return []
    for size in (100, 10):
        blocks = len({block(path, f"blocks of {size}") for path in paths})
        if LEAST_BLOCKS <= blocks < len(paths) / 2:
            return [f"names end with running numbers: `groups: blocks of {size}` keeps neighbours within one set"]
    return []


def _samples(dataset: Dataset) -> Iterator[Sample]:
    with tempfile.TemporaryDirectory() as folder:
        yield from dataset.samples(Path(folder))


def _look(samples: list[Sample]) -> Pictures:
    """Decode some images, spread evenly over the data set."""
    places = np.unique(np.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples))).astype(int))
    sizes, colours, unreadable = [], [], 0
    for place in places.tolist():
        try:
            pixels = as_image(samples[place].read(), 3)
        except (OSError, UnreadableImage):
            unreadable += 1
            continue
        values = np.asarray(getattr(pixels, "pixels", pixels)).astype(int)
        sizes.append((values.shape[1], values.shape[0]))
        spread = values.max(axis=2) - values.min(axis=2)
        colours.append(bool(np.median(spread) > GREY or np.percentile(spread, 90) > 4 * GREY))
    if not sizes:
        raise SurveyError(f"none of {len(places)} images that were looked at can be read")
    wide, high = np.array(sizes).T
    aspects = np.percentile(wide / high, [10, 90])
    return Pictures(
        len(places),
        unreadable,
        float(np.mean(colours)),
        (int(np.median(wide)), int(np.median(high))),
        int(min(wide.min(), high.min())),
        (float(aspects[0]), float(aspects[1])),
    )


def _direct(folder: Path) -> list[str]:
    """Return the images that lie in the folder itself."""
    return list_files(folder, recursive=False, dicom=True).images


def _with_images(folder: Path) -> list[Path]:
    """Return the folders within that hold images at any depth, one being enough to see that they do."""
    return [below for below in subfolders(folder) if list_files(below, dicom=True).images]


def _find_table(images: str) -> str:
    """Return the one table beside the images, in their folder or the one around it."""
    base = Path(images).expanduser()
    for place, prefix in ((base, f"{images.rstrip('/')}/"), (base.resolve().parent, f"{images.rstrip('/')}/../")):
        tables = sorted(p.name for p in place.iterdir() if p.is_file() and p.suffix.lower() in TABLES)
        if len(tables) == 1:
            return f"{prefix}{tables[0]}"
        if tables:
            raise SurveyError(
                f"{images}: {len(tables)} tables lie beside the images ({', '.join(tables)}); name one with --table"
            )
    raise SurveyError(
        f"{images}: no classes: neither a folder per class nor a table. Sort the images into one folder per class, or "
        "name a table with one row per image: --table FILE.csv"
    )


def _uids(base: Path, files: list[str]) -> dict[str, set[str]]:
    """Read what headers of DICOM files call themselves."""
    about = Headers.of(base, files).by_path
    return {
        by: {str(of.columns[column]) for of in about.values() if of.columns[column]}
        for by, column in (("sop_instance_uid", "sop_uid"), ("accession_number", "accession_number"))
    }
