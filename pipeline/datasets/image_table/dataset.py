"""Images of one's own, described by a table with one row per image.

The labels stand in one column, with one class (``label_column``) or several (``label_column`` with ``separator``) per
row, or in one yes/no column per class (``class_columns``). Rows name files, or DICOM files by what their headers say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, OnDisk, Sample, Task
from pipeline.datasets.image_table.boxes import Read, Unit, read_boxes
from pipeline.datasets.image_table.files import below, by_header
from pipeline.datasets.image_table.labels import Cell, Labels, flags, several, single
from pipeline.datasets.image_table.masks import Levels, level_problems, mask_reader, named_masks
from pipeline.datasets.image_table.targets import numbers, strata_of
from pipeline.datasets.shared.choosing import Groups, Pattern, block, block_notes, blocks_of, chosen
from pipeline.datasets.shared.grades import in_order
from pipeline.datasets.shared.headers import Headers
from pipeline.datasets.shared.irregular import file_reader
from pipeline.datasets.shared.local import fingerprint, list_files, root_folder, summary
from pipeline.datasets.shared.names import stands_for_none
from pipeline.datasets.shared.patients import NOBODY, Naming, Without
from pipeline.datasets.shared.people import age_in_years, date_of, people_columns, sex_of, view_of
from pipeline.datasets.shared.tables import Table, read_table
from pipeline.study.classes import told_apart
from pipeline.study.empty import is_empty
from pipeline.study.inputs import located
from pipeline.study.target import COLUMN, Target
from pipeline.study.unknown import Policy, policy_of

if TYPE_CHECKING:
    import pandas as pd

_PARTS: dict[str, OfficialSplit] = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_LAYOUT = "the images that the table names"
_READERS: dict[str, Callable[[str], Any]] = {"sex": sex_of, "age": age_in_years, "view": view_of}
Column = Annotated[str, Field(min_length=1)]


class _Row(NamedTuple):
    """A row of the table; `image` is the path below root, or what the row says where there is no such file."""

    line: int
    image: str
    patient: str
    labels: Labels
    part: OfficialSplit
    extra: dict[str, Any]
    masks: tuple[str | None, ...] = ()


class _Found(NamedTuple):
    """Rows with labels become samples; `unlabelled` and `unchosen` name the images of the others."""

    rows: list[_Row]
    unlabelled: list[str]
    unchosen: list[str]
    unread: dict[str, list[str]]
    headers: Headers
    naming: Naming
    patients_known: bool


class Data(Dataset):
    """Settings of ``datasets.image_table``.

    Parameters
    ----------
    root : str or None
        Folder of the images, relative to the folder of params.yaml or absolute.
    table : str or None
        The table (fields divided by comma, semicolon or tab), relative to the folder of params.yaml or absolute.
        Names of columns match without regard to case where that leaves one.
    image_column : str
        Column that names the image.
    image_by : {"file", "sop_instance_uid", "accession_number"}
        What stands there: the path of a file below `root` (an absolute one may lie below it), or what the headers of
        the DICOM files below `root` say. An accession number stands for all images that have it.
    suffix : str
        Appended to the values of `image_column`, for tables that name files without it; for example ``.png``.
    label_column : str or None
        Column with the class. A row without one is left out.
    separator : str or None
        Splits the values of `label_column` into several classes, which makes the set multi-label; for example ``|``.
    negative_label : str or None
        Value of `label_column` that stands for none of the classes, for example ``No Finding``; with `separator` only.
    class_columns : list of str
        One column per class, instead of `label_column`, with 0 and 1, no and yes, false and true, absent and present,
        or empty cells and x; the set is multi-label.
    empty : {"unknown", "negative"} or None
        What an empty cell of a class column says, but in a table of marks; None refuses it.
    uncertain : rule, mapping of str to rule, or None
        What training takes an uncertain cell (-1, u) of a class column for: ignore, positive, negative or a number
        between 0 and 1, for all classes or by class (`pipeline.study.unknown`); None refuses it.
    class_names : list of str or None
        The classes of `label_column` in their order; None takes those that occur, sorted.
    target_column : str or None
        With regression, in the place of labels: column with a number per image, as the computer writes it (a point
        before decimals). A row without one is left out.
    target_unit : str
        Its unit, for the reports.
    label_map : dict of str to str
        Label, or name of a class column, to class: to rename and to join classes. Names of masks are renamed by it.
    asked_task : {"", "segmentation", "ordinal", "regression"}
        Key ``task``: empty = which classes an image has, segmentation = where its structures are; ordinal = which
        grade, of the classes of `label_column` in the order of `class_names`, or of the numbers that their names begin
        with; regression = the number in `target_column`.
    mask_columns : list of str
        Of segmentation, in the place of labels, or beside them for ``preprocess.roi``: a column for each structure with
        the path of its mask below `root`, an image of the same size, 0 where the structure is not. An empty cell: the
        image has none of it; of segmentation, a row in which all are empty is left out.
    mask_above : int or None
        Of 0 to 254: pixels of a mask that are brighter belong to the structure. None asks for masks of two values.
    mask_levels : dict of str to level, or to list of two levels
        Where the one mask of an image holds several structures as grey levels: the structures by name, each with its
        level of 255, or the first and the last. They may share levels: a cell is its nucleus, too.
    box_table : str or None
        Path below `root` of a table of boxes of findings, which heat maps are scored by: a row for each box with the
        image (as in `image_column`), its class, and x, y, width, height or x_min, y_min, x_max, y_max.
    box_unit : {"pixels", "fraction"}
        Of the image as it is on disk, or of its width and height.
    patient_column : str or None
        Column with the patient. None takes the patients of DICOM headers; where no header names one, patients are not
        known.
    without_patient : {"exclude", "alone"} or None
        As of image_folder: what becomes of images that name no patient where others do. None refuses them.
    groups : str or None
        Where no patient is known: ``blocks of 100`` keeps images together whose names end with neighbouring numbers.
    split_column : str or None
        Column with the published part: train, val, test or empty.
    date_column : str or None
        Column with the date of the examination (year, month, day), for ``split.method: time``; None takes StudyDate
        of DICOM headers.
    extra_columns : list of str
        Further columns to carry into samples.csv, as text. Columns with sex, age and view are found by their names.
    include, exclude : list of str
        Shell patterns of paths below `root`, or of file names: which rows are of the study (empty = every row), and
        which are not.
    title, licence, citation, url : str
        What the reports are to say about the data set; `url` may be empty.
    """

    name: ClassVar[str] = "image_table"

    root: str | None = None
    table: str | None = None
    image_column: Column = "image"
    image_by: Literal["file", "sop_instance_uid", "accession_number"] = "file"
    suffix: str = ""
    label_column: Column | None = None
    separator: Annotated[str, Field(min_length=1)] | None = None
    negative_label: Column | None = None
    class_columns: list[Column] = []
    empty: Literal["unknown", "negative"] | None = None
    uncertain: Policy | None = None
    class_names: list[Column] | None = None
    target_column: Column | None = None
    target_unit: str = ""
    label_map: dict[str, Column] = {}
    asked_task: Literal["", "segmentation", "ordinal", "regression"] = Field("", alias="task")
    mask_columns: list[Column] = []
    mask_above: int | None = Field(None, ge=0, le=254)
    mask_levels: dict[Column, Levels] = {}
    box_table: Column | None = None
    box_unit: Unit = "pixels"
    patient_column: Column | None = None
    without_patient: Without | None = None
    groups: Groups | None = None
    split_column: Column | None = None
    date_column: Column | None = None
    extra_columns: list[Column] = []
    include: list[Pattern] = []
    exclude: list[Pattern] = []
    title: str = "Local images with a table"
    licence: str = "not stated"
    citation: str = "not stated"
    url: str = ""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Data:
        problems = []
        if self.label_column and self.class_columns:
            problems.append(
                f"label_column: '{self.label_column}' beside class_columns {self.class_columns}; set one of the two"
            )
        problems += level_problems(self.mask_levels, self.mask_columns, self.mask_above)
        if self.box_table is not None and self.task not in ("multilabel", "multiclass"):
            problems.append(f"box_table: '{self.box_table}' with task: '{self.asked_task}'; boxes are of classes")
        if self._segmented and not self.mask_columns:
            problems.append("mask_columns: [] with task: 'segmentation'; name at least one")
        if self._segmented and (self.label_column or self.class_columns):
            problems.append(
                f"mask_columns: {self.mask_columns} beside label_column or class_columns; set one of them for "
                "segmentation"
            )
        renamed = [self.label_map.get(column, column) for column in self.mask_columns]
        for name in sorted({name for name in renamed if renamed.count(name) > 1}):
            problems.append(f"label_map: '{name}' stands for two masks, which are not joined; each must have its own")
        for key in ("separator", "class_names"):
            if self.class_columns and getattr(self, key) is not None:
                problems.append(
                    f"{key}: {getattr(self, key)!r} beside class_columns; it must be set with label_column only"
                )
        if self.ordered and self._multilabel:
            problems.append(
                "task: 'ordinal' beside class_columns or separator: an image has one grade; it must be set with "
                "label_column alone"
            )
        if (self.asked_task == "regression") != (self.target_column is not None):
            problems.append(
                f"target_column: {self.target_column!r} with task: '{self.asked_task}'; it must be set with "
                "regression, and only there"
            )
        if self.asked_task == "regression":
            if COLUMN in self.extra_columns:
                problems.append(f"extra_columns: '{COLUMN}' is what target_column becomes; must not be among them")
            problems += [
                f"{key}: {getattr(self, key)!r} with task: 'regression', which has no classes; it must be empty"
                for key in ("label_column", "class_columns", "class_names", "separator", "label_map")
                if getattr(self, key)
            ]
        if self.negative_label is not None and self.separator is None:
            problems.append(
                f"negative_label: '{self.negative_label}' without separator; it must be set in multi-label sets only"
            )
        if self.groups is not None and self.patient_column is not None:
            problems.append(f"groups: '{self.groups}' beside patient_column; it must be empty where patients are known")
        for key in ("empty", "uncertain"):
            if not self.class_columns and getattr(self, key) is not None:
                problems.append(
                    f"{key}: {getattr(self, key)!r} without class_columns; it must be set with class_columns only"
                )
        for name in (
            self.label_map if (columns := [*self.class_columns, *self.mask_columns]) and not self.label_column else ()
        ):
            if name not in columns:
                problems.append(f"label_map: '{name}' is no class column; it must be one of {columns}")
        for key in ("class_columns", "class_names", "mask_columns", "extra_columns"):
            given = getattr(self, key) or []
            twice = sorted({v for v in given if given.count(v) > 1})
            if twice:
                problems.append(f"{key}: '{twice[0]}' is listed twice; it must be listed once")
        for key, given in (("class_columns", self.class_columns or None), ("class_names", self.class_names)):
            least = 1 if self._multilabel else 2
            if given is not None and len(given) < least:
                problems.append(f"{key}: {given}; there must be at least {least} {'classes' if least > 1 else 'class'}")
        if self.class_names and self.negative_label in self.class_names:
            problems.append(f"negative_label: '{self.negative_label}' is also in class_names; it must be another value")
        if not problems and self.uncertain is not None:
            try:
                policy_of(self.uncertain, self.classes)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def _segmented(self) -> bool:
        return self.asked_task == "segmentation"

    @property
    def mask_classes(self) -> tuple[str, ...]:
        """`mask_levels`, or `mask_columns`, renamed by `label_map`."""
        if self.mask_levels:
            return tuple(map(told_apart, self.mask_levels))
        return tuple(told_apart(self.label_map.get(column, column)) for column in self.mask_columns)

    @property
    def uncertain_as(self) -> dict[str, float | None]:
        """What `uncertain` says, by class."""
        return {} if self.uncertain is None else policy_of(self.uncertain, self.classes)

    @property
    def _multilabel(self) -> bool:
        return bool(self.class_columns) or self.separator is not None

    @property
    def task(self) -> Task:
        """A mask for each structure, a number, multi-label with `class_columns` or `separator`, or single-label."""
        if self.asked_task in ("segmentation", "regression"):
            return self.asked_task
        return "multilabel" if self._multilabel else "multiclass"

    @property
    def target(self) -> Target | None:
        """What `target_column` holds."""
        return None if self.target_column is None else Target(self.target_column, self.target_unit)

    @property
    def patients_known(self) -> bool:
        """Whether `patient_column` or the DICOM headers name the patients of all images that are used."""
        return self._find().patients_known

    @property
    def notes(self) -> tuple[str, ...]:
        """What blocks stand for."""
        return block_notes(self.groups)

    @property
    def classes(self) -> tuple[str, ...]:
        """`class_columns` (renamed by `label_map`) or `class_names` where given, otherwise the labels, sorted.

        What tables and pages call them, see `pipeline.study.classes.told_apart`.
        """
        if self.target_column is not None:
            path, table = self._table(), read_table(self._table())
            return strata_of(self._targets(path, table, self._columns(path, table))).names
        if self._segmented and self.mask_levels:
            return self.mask_classes
        if named := self.mask_columns if self._segmented else self.class_columns:
            return tuple(dict.fromkeys(told_apart(self.label_map.get(c, c)) for c in named))
        if self.class_names is not None:
            return tuple(map(told_apart, self.class_names))
        names = {label for row in self._find().rows for label in row.labels.positive}
        return in_order(names, None, f"datasets.{self.name}.class_names") if self.ordered else tuple(sorted(names))

    def on_disk(self) -> OnDisk:
        """Return what the table says, of images that `fetch` asks for as well."""
        root, found = self._root(), self._find()
        self._present(root, self._table(), found)
        return OnDisk(self.classes, tuple(found.rows[0].extra))

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify the table against the settings and look for its images; nothing is downloaded.

        Returns
        -------
        dict
            root, table, table_sha256, rows, images (rows whose file is there), missing (count and first names; they
            are excluded as they are read), without_row (image files that no row names), unlabelled, unchosen_files,
            unread (cells of sex, age, view and date that say nothing that can be read), patients (None where they are
            not known), patients_from, bytes, counts of rows by class, parts (rows by published part), dicom (see
            `Headers.record`), blocks (see `blocks_of`), what `Naming.record` says, and fingerprint of the images.

        Raises
        ------
        DatasetError
            If `root` or `table` is not set or not there, the table is empty, lacks a column or says something that
            the settings do not allow, or none of its images is there.
        """
        root = self._root()
        table = self._table()
        found = self._find()
        rows = found.rows
        classes = self.classes
        if self.task == "multiclass" and len(classes) < 2:
            raise DatasetError(f"{table}: column '{self.label_column}' holds one class, '{classes[0]}'; expected more")
        if not classes:
            raise DatasetError(f"{table}: column '{self.label_column}' names no class in any of its {len(rows)} rows")
        present = self._present(root, table, found)
        there = set(present)
        masks = {name for row in rows for name in row.masks if name}
        named = {Path(image).as_posix() for image in (*present, *found.unlabelled, *found.unchosen, *masks)}
        digest, total = fingerprint(root, present)
        return {
            "root": self.root,
            "table": self.table,
            "table_sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
            "rows": len(rows),
            "images": len(present),
            "missing": summary([row.image for row in rows if row.image not in there]),
            "without_row": summary([f for f in list_files(root, dicom=True).images if f not in named]),
            "unlabelled": summary(found.unlabelled),
            "unchosen_files": summary(found.unchosen),
            "unread": {column: summary(texts) for column, texts in found.unread.items()},
            "patients": len({row.patient for row in rows}) if found.patients_known else None,
            "patients_from": (self.patient_column or "PatientID") if found.patients_known else None,
            "bytes": total,
            "counts": {c: sum(c in row.labels.positive for row in rows) for c in classes},
            "parts": {p: n for p in ("train", "val", "test", "") if (n := sum(row.part == p for row in rows))},
            "dicom": found.headers.record(),
            "blocks": blocks_of(
                (image for image in present if image not in found.naming.of),
                None if found.patients_known else self.groups,
            ),
            **found.naming.record(self.without_patient),
            "fingerprint": digest,
            **({} if self.box_table is None else {"boxes": self._boxes(found).passed_over}),
        }

    def _present(self, root: Path, table: Path, found: _Found) -> list[str]:
        """Return the images that are there."""
        present = [row.image for row in found.rows if (root / row.image).is_file()]
        if not present:
            raise DatasetError(
                f"datasets.{self.name}.root: '{self.root}' holds none of the {len(found.rows)} images of {table}; the "
                f"first is '{found.rows[0].image}' (check root, image_column, image_by and suffix)"
            )
        return present

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield one sample per labelled row, in the table's order, whether or not its file is there."""
        root = self._root()
        for row in self._find().rows:
            masks = mask_reader(root, row.masks, self.mask_above, self.mask_levels) if self.mask_columns else None
            read = file_reader(root / row.image)
            yield Sample(
                row.image,
                row.patient,
                row.labels.positive,
                read,
                row.part,
                row.extra,
                masks=masks,
                unknown=row.labels.unknown,
                uncertain=row.labels.uncertain,
            )

    def boxes(self, folder: Path) -> pd.DataFrame | None:
        """Boxes of `box_table` that are of images and classes of the data set."""
        return None if self.box_table is None else self._boxes(self._find()).boxes

    def _boxes(self, found: _Found) -> Read:
        key, root = f"datasets.{self.name}.box_table", self._root()
        images = [row.image for row in found.rows]
        path = root / below(key, root, str(self.box_table))
        of = self.image_column, self.suffix, images, self.classes, self.label_map
        return read_boxes(path, key, *of, self.box_unit)

    def left_out(self, folder: Path) -> list[tuple[str, str]]:
        """Name the rows without a label, a mask or a number, and those left out for want of a patient."""
        found = self._find()
        why = f"no label in column '{self.label_column}'"
        if self._segmented:
            why = f"no mask in {', '.join(self.mask_columns)}"
        elif self.target_column:
            why = f"no number in column '{self.target_column}'"
        left = [(image, why) for image in found.unlabelled]
        if self.without_patient != "exclude":
            return left
        where = f"column '{self.patient_column}'" if self.patient_column else "its DICOM header"
        return left + [(image, f"{NOBODY} in {where}") for image in found.naming.without]

    def _root(self) -> Path:
        return root_folder(self.root, self.name, _LAYOUT)

    def _table(self) -> Path:
        if not self.table:
            raise DatasetError(
                f"datasets.{self.name}.table is not set; set it in params.yaml to the CSV file of labels"
            )
        path = located(self.table)
        if not path.is_file():
            raise DatasetError(
                f"datasets.{self.name}.table: '{self.table}' is not a file; it is looked for from the folder of "
                "params.yaml, not from root"
            )
        return path

    def _find(self) -> _Found:
        """Read the table and check every row."""
        if not (self.label_column or self.class_columns or self._segmented or self.target_column):
            raise DatasetError(
                f"datasets.{self.name}: neither label_column nor class_columns is set; set one of them in params.yaml"
            )
        path = self._table()
        table = read_table(path)
        places = self._columns(path, table)
        if not table.rows:
            raise DatasetError(f"{path}: no rows below the header; expected one per image")
        targets = self._targets(path, table, places)
        labels: list[Labels]
        if targets:
            strata = strata_of(targets)
            labels = [Labels(() if value is None else (strata.of(value),)) for value in targets]
        else:
            every_row = self._labels(path, table, places)
            labels = [Labels(*(tuple(map(told_apart, of)) for of in row)) for row in every_row]
            targets = [None] * len(labels)
        images = self._images(path, table, places)
        every = [image for several in images for image in several]
        taken = set(chosen(every, self.include, self.exclude)[0])
        root = self._root()
        headers = Headers.of(root, [i for i in every if i in taken and (root / i).is_file()])
        by_column: dict[str, str] = {}
        nobody: dict[str, str] = {}
        readers = self._readers(table, places)
        unread: dict[str, list[str]] = {}
        rows, unlabelled, unchosen = [], [], []
        for (line, fields), given, value, named in zip(table.rows, labels, targets, images, strict=True):
            where = f"{path}: line {line}"
            own = self._extra(fields, places, readers, unread) | ({} if value is None else {COLUMN: value})
            for image in named:
                if image not in taken:
                    unchosen.append(image)
                    continue
                if not given.positive and self.task != "multilabel":
                    unlabelled.append(image)
                    continue
                extra = headers.extra(image) | {
                    c: v for c, v in own.items() if v is not None or c not in headers.columns
                }
                if self.patient_column:
                    patient = fields[places[self.patient_column]].strip()
                    if stands_for_none(patient):
                        stands = f"'{patient}', which programs write for a missing value" if patient else "empty"
                        nobody[image] = f"line {line}: column '{self.patient_column}' is {stands}"
                    else:
                        by_column[image] = patient
                masks = named_masks(where, root, fields, [places[column] for column in self.mask_columns])
                part = self._part(where, fields, places)
                rows.append(_Row(line, image, "", given, part, extra, masks))
        if not rows:
            raise DatasetError(
                f"{path}: none of its {len(table.rows)} rows can be used: {len(unlabelled)} have no label in column "
                f"'{self.label_column}', {len(unchosen)} are left out by include and exclude"
            )
        used = {row.image for row in rows}
        naming = Naming(by_column, nobody, "rows") if self.patient_column else headers.naming().among(used)
        if nobody and not by_column:
            raise DatasetError(f"{path}: {next(iter(nobody.values()))}, and so it is everywhere; name another column")
        naming.check(self.without_patient, self.name, str(path))
        known = naming.known(self.without_patient)
        if self.without_patient == "exclude":
            rows = [row for row in rows if row.image not in naming.without]
        rows = [row._replace(patient=self._patient(row.image, naming, known)) for row in rows]
        return _Found(rows, unlabelled, unchosen, unread, headers, naming, known)

    def _columns(self, path: Path, table: Table) -> dict[str, int]:
        """Position of every column that the settings name."""
        keys = ("image_column", "label_column", "target_column", "patient_column", "split_column", "date_column")
        named = [(key, getattr(self, key)) for key in keys if getattr(self, key)]
        several = ("class_columns", "mask_columns", "extra_columns")
        named += [(key, column) for key in several for column in getattr(self, key)]
        places = {}
        for key, column in named:
            try:
                places[column] = table.column(column)
            except KeyError as error:
                raise DatasetError(
                    f"{path}: column '{column}' (datasets.{self.name}.{key}) {error.args[0]} the header; it has "
                    f"{', '.join(table.header) or 'no columns'}"
                ) from None
        return places

    def _targets(self, path: Path, table: Table, places: dict[str, int]) -> list[float | None]:
        """Return the number of every row, None where the cell is empty; nothing where there is no `target_column`."""
        if self.target_column is None:
            return []
        cells = [Cell(line, fields[places[self.target_column]]) for line, fields in table.rows]
        return numbers(cells, str(path), self.target_column)

    def _labels(self, path: Path, table: Table, places: dict[str, int]) -> list[Labels]:
        """Classes of every row."""
        key = f"datasets.{self.name}"

        def cells(column: str) -> list[Cell]:
            return [Cell(line, fields[places[column]]) for line, fields in table.rows]

        if self._segmented:
            if self.mask_levels:
                place = places[self.mask_columns[0]]
                every = tuple(self.mask_levels)
                return [Labels(every if fields[place].strip() else ()) for _, fields in table.rows]
            named = [(places[column], self.label_map.get(column, column)) for column in self.mask_columns]
            return [Labels(tuple(name for place, name in named if fields[place].strip())) for _, fields in table.rows]
        if self.class_columns:
            read = {column: cells(column) for column in self.class_columns}
            answers = flags(read, str(path), self.empty, self.uncertain is not None)
            names = [self.label_map.get(column, column) for column in self.class_columns]
            return [Labels.of(names, row) for row in zip(*answers.values(), strict=True)]
        assert self.label_column is not None  # _find checked it
        where = f"{path}: column '{self.label_column}'"
        if self.separator is None:
            return list(map(Labels, single(cells(self.label_column), where, key, self.class_names, self.label_map)))
        given = cells(self.label_column), where, key, self.separator
        return list(map(Labels, several(*given, self.negative_label, self.class_names, self.label_map)))

    def _images(self, path: Path, table: Table, places: dict[str, int]) -> list[list[str]]:
        """Paths below root that every row names."""
        root = self._root()
        index = {} if self.image_by == "file" else by_header(root, self.image_by, f"datasets.{self.name}", self.root)
        seen: dict[str, int] = {}
        images = []
        for line, fields in table.rows:
            text = fields[places[self.image_column]].strip()
            where = f"{path}: line {line}"
            if not text:
                raise DatasetError(f"{where}: column '{self.image_column}' is empty; expected the name of an image")
            if self.image_by == "file":
                named = [below(where, root, text + self.suffix)]
            else:
                # An id that no file has is not repeated: names of images reach tables and pages.
                named = index.get(text, [f"line {line}"])
            for image in named:
                if image in seen:
                    raise DatasetError(f"{where}: image '{image}' occurs already in line {seen[image]}")
                seen[image] = line
            images.append(named)
        return images

    def _patient(self, image: str, naming: Naming, known: bool) -> str:
        if (patient := naming.of.get(image)) is not None:
            return patient
        # Within known patients this is an image that is not there or cannot be used.
        return block(image, self.groups) if self.groups and not known else image

    def _part(self, where: str, fields: tuple[str, ...], places: dict[str, int]) -> OfficialSplit:
        part = fields[places[self.split_column]].strip() if self.split_column else ""
        if part.lower() not in _PARTS:
            raise DatasetError(
                f"{where}: column '{self.split_column}' is '{part}'; it must be train, val, test or empty"
            )
        return _PARTS[part.lower()]

    def _readers(self, table: Table, places: dict[str, int]) -> dict[str, tuple[int, Callable[[str], Any]]]:
        """Return place and reader of each column with sex, age, view and date, by its name in samples.csv."""
        single = (self.image_column, self.label_column, self.target_column, self.patient_column, self.split_column)
        taken = {places[column] for column in (*single, *self.class_columns, *self.mask_columns) if column}
        people = people_columns(["" if i in taken else h for i, h in enumerate(table.header)])
        readers = {name: (table.header.index(column), _READERS[name]) for name, column in people.items()}
        return readers | ({} if self.date_column is None else {"study_date": (places[self.date_column], date_of)})

    def _extra(
        self,
        fields: tuple[str, ...],
        places: dict[str, int],
        readers: dict[str, tuple[int, Callable[[str], Any]]],
        unread: dict[str, list[str]],
    ) -> dict[str, Any]:
        """Return what `readers` read in a row, and further columns as text."""
        extra = {}
        for name, (place, reader) in readers.items():
            text = fields[place].strip()
            extra[name] = reader(text)
            if extra[name] is None and not is_empty(text):
                unread.setdefault(name, []).append(text)
        used = {place for place, _ in readers.values()}
        more = [column for column in self.extra_columns if places[column] not in used]
        return extra | {column: fields[places[column]].strip() or None for column in more}
