"""Images of one's own, described by a CSV file with one row per image.

The labels stand in one column, with one class (``label_column``) or several (``label_column`` with ``separator``) per
row, or in one 0/1 column per class (``class_columns``).
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, model_validator

from pipeline.datasets import Dataset, DatasetError, OfficialSplit, Sample, Task
from pipeline.datasets.shared.local import fingerprint, root_folder, summary
from pipeline.study.inputs import located

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
_BITS = {"0": False, "0.0": False, "1": True, "1.0": True}
"""Values of class columns; spreadsheet programs and pandas write whole numbers with a decimal."""
_LAYOUT = "the images that the table names"

Column = Annotated[str, Field(min_length=1)]


class _Row(NamedTuple):
    line: int
    image: str
    patient: str
    labels: tuple[str, ...]
    part: OfficialSplit
    extra: dict[str, str | None]


class Data(Dataset):
    """Settings of ``datasets.image_table``.

    Parameters
    ----------
    root : str or None
        Folder of the images, relative to the folder of params.yaml or absolute.
    table : str or None
        The CSV file (``.tsv``: tab-separated), relative to the folder of params.yaml or absolute.
    image_column : str
        Column with the path of the image below `root`.
    suffix : str
        Appended to the values of `image_column`, for tables that name images without it; for example ``.png``.
    label_column : str or None
        Column with the class.
    separator : str or None
        Splits the values of `label_column` into several classes, which makes the set multi-label; for example ``|``.
    negative_label : str or None
        Value of `label_column` that stands for none of the classes, for example ``No Finding``; with `separator` only.
    class_columns : list of str
        One 0/1 column per class, instead of `label_column`; the set is multi-label.
    class_names : list of str or None
        The classes of `label_column` in their order; None takes those that occur, sorted.
    patient_column : str or None
        Column with the patient; None makes each image a patient of its own.
    split_column : str or None
        Column with the published part: train, val, test or empty.
    extra_columns : list of str
        Further columns to carry into samples.csv, as text.
    title, licence, citation, url : str
        What the reports are to say about the data set; `url` may be empty.
    """

    name: ClassVar[str] = "image_table"

    root: str | None = None
    table: str | None = None
    image_column: Column = "image"
    suffix: str = ""
    label_column: Column | None = None
    separator: Annotated[str, Field(min_length=1)] | None = None
    negative_label: Column | None = None
    class_columns: list[Column] = []
    class_names: list[Column] | None = None
    patient_column: Column | None = None
    split_column: Column | None = None
    extra_columns: list[Column] = []
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
        for key in ("separator", "class_names"):
            if self.class_columns and getattr(self, key) is not None:
                problems.append(
                    f"{key}: {getattr(self, key)!r} beside class_columns; it must be set with label_column only"
                )
        if self.negative_label is not None and self.separator is None:
            problems.append(
                f"negative_label: '{self.negative_label}' without separator; it must be set in multi-label sets only"
            )
        for key in ("class_columns", "class_names", "extra_columns"):
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
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def _multilabel(self) -> bool:
        return bool(self.class_columns) or self.separator is not None

    @property
    def task(self) -> Task:
        """Multi-label with `class_columns` or `separator`, single-label otherwise."""
        return "multilabel" if self._multilabel else "multiclass"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the table leaves unknown."""
        return () if self.patient_column else ("No patient ids were given: each image counts as a patient.",)

    @property
    def classes(self) -> tuple[str, ...]:
        """`class_columns` or `class_names` where given, otherwise the labels that occur, sorted."""
        if self.class_columns:
            return tuple(self.class_columns)
        if self.class_names is not None:
            return tuple(self.class_names)
        return tuple(sorted({label for row in self._rows() for label in row.labels}))

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify the table against the settings and look for its images; nothing is downloaded.

        Returns
        -------
        dict
            root, table, table_sha256, rows, images (rows whose file is there), missing (count and first names; they
            are excluded as they are read), patients, bytes, counts of rows by class, parts (rows by published part)
            and fingerprint of the images.

        Raises
        ------
        DatasetError
            If `root` or `table` is not set or not there, the table is empty, lacks a column or says something that
            the settings do not allow, or none of its images is there.
        """
        root = self._root()
        table = self._table()
        rows = self._rows()
        classes = self.classes
        if self.task == "multiclass" and len(classes) < 2:
            raise DatasetError(f"{table}: column '{self.label_column}' holds one class, '{classes[0]}'; expected more")
        if not classes:
            raise DatasetError(f"{table}: column '{self.label_column}' names no class in any of its {len(rows)} rows")
        present = [row.image for row in rows if (root / row.image).is_file()]
        if not present:
            raise DatasetError(
                f"datasets.{self.name}.root: '{self.root}' holds none of the {len(rows)} images of {table}; the first "
                f"is '{rows[0].image}' (check root, image_column and suffix)"
            )
        there = set(present)
        digest, total = fingerprint(root, present)
        return {
            "root": self.root,
            "table": self.table,
            "table_sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
            "rows": len(rows),
            "images": len(present),
            "missing": summary([row.image for row in rows if row.image not in there]),
            "patients": len({row.patient for row in rows}),
            "bytes": total,
            "counts": {c: sum(c in row.labels for row in rows) for c in classes},
            "parts": {p: n for p in ("train", "val", "test", "") if (n := sum(row.part == p for row in rows))},
            "fingerprint": digest,
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield one sample per row, in the table's order, whether or not its file is there."""
        root = self._root()
        for row in self._rows():
            yield Sample(row.image, row.patient, row.labels, (root / row.image).read_bytes, row.part, row.extra)

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

    def _rows(self) -> list[_Row]:
        """Read the table and check every row."""
        if not self.label_column and not self.class_columns:
            raise DatasetError(
                f"datasets.{self.name}: neither label_column nor class_columns is set; set one of them in params.yaml"
            )
        path = self._table()
        try:
            # utf-8-sig: a table saved by a spreadsheet program starts with a byte order mark.
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
                header = [name.strip() for name in next(reader, [])]
                places = self._columns(path, header)
                rows: list[_Row] = []
                seen: dict[str, int] = {}
                start = reader.line_num + 1
                for fields in reader:
                    # A quoted field may span lines: a row is named by its first.
                    line, start = start, reader.line_num + 1
                    if not any(f.strip() for f in fields):
                        continue
                    where = f"{path}: line {line}"
                    if len(fields) != len(header):
                        raise DatasetError(f"{where}: {len(fields)} fields, the header has {len(header)}")
                    row = self._row(where, line, {c: fields[i].strip() for c, i in places.items()})
                    if row.image in seen:
                        raise DatasetError(f"{where}: image '{row.image}' occurs already in line {seen[row.image]}")
                    seen[row.image] = line
                    rows.append(row)
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path}: not UTF-8 text ({error.reason}); save it as CSV in UTF-8") from None
        except csv.Error as error:
            raise DatasetError(f"{path}: line {reader.line_num}: not CSV ({error})") from None
        if not rows:
            raise DatasetError(f"{path}: no rows below the header; expected one per image")
        return rows

    def _columns(self, path: Path, header: list[str]) -> dict[str, int]:
        """Position of every column that the settings name."""
        single = ("image_column", "label_column", "patient_column", "split_column")
        named = [(key, getattr(self, key)) for key in single if getattr(self, key)]
        named += [(key, column) for key in ("class_columns", "extra_columns") for column in getattr(self, key)]
        for key, column in named:
            if header.count(column) != 1:
                state = "occurs twice in" if column in header else "is not in"
                raise DatasetError(
                    f"{path}: column '{column}' (datasets.{self.name}.{key}) {state} the header; it has "
                    f"{', '.join(header) or 'no columns'}"
                )
        return {column: header.index(column) for _, column in named}

    def _row(self, where: str, line: int, values: dict[str, str]) -> _Row:
        image = values[self.image_column]
        if not image:
            raise DatasetError(f"{where}: column '{self.image_column}' is empty; expected the name of an image")
        image += self.suffix
        if Path(image).is_absolute() or ".." in Path(image).parts:
            raise DatasetError(f"{where}: image '{image}' lies outside of root; expected a path below it")
        patient = values[self.patient_column] if self.patient_column else image
        if not patient:
            raise DatasetError(f"{where}: column '{self.patient_column}' is empty; expected the patient of '{image}'")
        part = values[self.split_column] if self.split_column else ""
        if part.lower() not in _PARTS:
            raise DatasetError(
                f"{where}: column '{self.split_column}' is '{part}'; it must be train, val, test or empty"
            )
        extra = {column: values[column] or None for column in self.extra_columns}
        return _Row(line, image, patient, self._labels(where, values), _PARTS[part.lower()], extra)

    def _labels(self, where: str, values: dict[str, str]) -> tuple[str, ...]:
        if self.class_columns:
            for column in self.class_columns:
                if values[column] not in _BITS:
                    raise DatasetError(f"{where}: column '{column}' is '{values[column]}'; it must be 0 or 1")
            return tuple(column for column in self.class_columns if _BITS[values[column]])
        assert self.label_column is not None  # _rows checked it
        text = values[self.label_column]
        if self.separator is None:
            given = [text]
        elif text in ("", self.negative_label):
            return ()
        else:
            given = [label.strip() for label in text.split(self.separator)]
        for label in given:
            if self.class_names is not None and label not in self.class_names:
                negative = f", {self.negative_label} alone" if self.negative_label else ""
                raise DatasetError(
                    f"{where}: column '{self.label_column}' is '{label}'; use one of: {', '.join(self.class_names)}"
                    f"{negative}"
                )
            if not label or label == self.negative_label:
                raise DatasetError(
                    f"{where}: column '{self.label_column}' is '{text}'; expected "
                    f"{'a class' if self.separator is None else 'classes'}, without an empty or negative one among them"
                )
            if given.count(label) > 1:
                raise DatasetError(f"{where}: column '{self.label_column}' names '{label}' twice")
        return tuple(given)
