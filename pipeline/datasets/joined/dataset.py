"""Several data sets as one multi-label set: the union of their classes, unknown where a set has no such label.

Each set keeps its own settings, under ``datasets.joined.of.<name>``. Column ``source`` of samples.csv holds that name:
stage ``probe`` asks how much it alone tells of the labels, and every source is a subgroup. Everything that the sets
read lies below one folder, `root`, which DVC watches; sets that are fetched or drawn lie in ``data/raw/joined/<name>``.
DVC watches the code of this package, not that of the sets: after a change there, run ``dvc repro --force download``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pandas as pd
from pydantic import model_validator

from pipeline.datasets import Dataset, DatasetError, OnDisk, Sample, Task, available, open_dataset
from pipeline.datasets.shared.local import root_folder
from pipeline.study.errors import UserError
from pipeline.study.inputs import KEYS

SOURCE = "source"
"""Column with the name of the set."""
_LAYOUT = "the folders and tables of the sets under `of`"


class Data(Dataset):
    """Settings of ``datasets.joined``.

    Parameters
    ----------
    root : str or None
        Folder below which the sets lie, relative to the folder of params.yaml or absolute; None if none of them has a
        ``root``.
    of : dict of str to dict
        A name for each set, and its settings: ``dataset`` and what stands under ``datasets.<dataset>`` otherwise.
        ``root`` and ``table`` are relative to `root`.
    same_patients : bool
        Whether equal patient ids of two sets are one person; otherwise no person is in two sets.
    """

    name: ClassVar[str] = "joined"
    task: ClassVar[Task] = "multilabel"
    url: ClassVar[str] = ""

    root: str | None = None
    of: dict[str, dict[str, Any]] = {}
    same_patients: bool = False

    @model_validator(mode="after")
    def _sets_are_named(self) -> Data:
        problems = []
        for name, settings in self.of.items():
            if not re.fullmatch(r"\w[\w.-]*", name):
                problems.append(f"of: '{name}' is no name; must be of letters, digits, dots, dashes and underscores")
            kind = settings.get("dataset")
            if kind not in available() or kind == self.name:
                others = ", ".join(each for each in available() if each != self.name)
                problems.append(f"of.{name}.dataset: {kind!r} is not a data set; use one of: {others}")
            for key in KEYS:
                path = settings.get(key)
                if path is not None and (PurePosixPath(str(path)).is_absolute() or ".." in PurePosixPath(path).parts):
                    problems.append(f"of.{name}.{key}: '{path}' does not lie below root; must be relative to it")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def sets(self) -> dict[str, Dataset]:
        """The data sets, with their paths below `root`."""
        if len(self.of) < 2:
            raise DatasetError(f"datasets.{self.name}.of: names {len(self.of)} sets; there must be at least two")
        opened = {}
        for name, settings in self.of.items():
            own = {key: value for key, value in settings.items() if key != "dataset"}
            for key in (key for key in KEYS if own.get(key)):
                if not self.root:
                    raise DatasetError(
                        f"datasets.{self.name}.root is not set; must be the folder that of.{name}.{key} begins at"
                    )
                own[key] = str(Path(self.root) / own[key])
            with self._under(name):
                opened[name] = open_dataset(settings["dataset"], own)
        return opened

    @contextmanager
    def _under(self, name: str) -> Iterator[None]:
        """Let errors of a set speak of its keys here."""
        try:
            yield
        except UserError as error:
            here, kind = f"datasets.{self.name}.of.{name}", self.of[name]["dataset"]
            text = str(error).replace(f"datasets.{kind}", here)
            raise type(error)(text if here in text else f"{here}: {text}") from error

    @property
    def title(self) -> str:
        """Those of the sets."""
        return " + ".join(each.title for each in self.sets.values())

    @property
    def licence(self) -> str:
        """Those of the sets, by name."""
        return "; ".join(f"{name}: {each.licence.rstrip('.')}" for name, each in self.sets.items())

    @property
    def citation(self) -> str:
        """Those of the sets, by name."""
        return "; ".join(f"{name}: {each.citation.rstrip('.')}" for name, each in self.sets.items())

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of the sets, and what joining them means."""
        own = (
            "Images come from several data sets; a class is trained and scored on those that have labels of it, so "
            "that differences between classes may be differences between sets.",
        )
        return own + tuple(f"{name}: {note}" for name, each in self.sets.items() for note in each.notes)

    @property
    def patients_known(self) -> bool:
        """Whether every set names patients."""
        return all(each.patients_known for each in self.sets.values())

    @property
    def classes(self) -> tuple[str, ...]:
        """Those of the first set, then those that the others add."""
        return tuple(dict.fromkeys(name for each in self.sets.values() for name in each.classes))

    @property
    def uncertain_as(self) -> dict[str, float | None]:
        """Those of the sets, which must agree on a class that several of them have."""
        rules: dict[str, float | None] = {}
        for name, each in self.sets.items():
            for of_class, rule in each.uncertain_as.items():
                if rules.setdefault(of_class, rule) != rule:
                    raise DatasetError(
                        f"datasets.{self.name}.of.{name}.uncertain: another for '{of_class}' than in a set before it; "
                        "must be the same for all sets that have the class"
                    )
        return {name: rules.get(name) for name in self.classes} if rules else {}

    def on_disk(self) -> OnDisk | None:
        """Look at each set; None where one of them cannot be known."""
        self._check_root()
        looked: list[OnDisk] = []
        known = True
        for name, each in self.sets.items():
            with self._under(name):
                found = each.on_disk()
            known &= found is not None
            looked += [] if found is None else [found]
        columns = (SOURCE, *(column for of in looked for column in of.columns))
        return OnDisk(self.classes, tuple(dict.fromkeys(columns))) if known else None

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Fetch or verify each set.

        Returns
        -------
        dict
            root, and sets: what each has found, by name.
        """
        self._check_root()
        found = {}
        for name, each in self.sets.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            with self._under(name):
                found[name] = each.fetch(folder / name)
        return {"root": self.root, "sets": found}

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the samples of each set after those of the set before it; ``extra`` holds source and their columns."""
        self._check_root()
        sets, classes = self.sets, self.classes
        columns: list[str] = []
        for name, each in sets.items():
            with self._under(name):
                first = next(iter(each.samples(Path(folder) / name)), None)
            columns += [column for column in (first.extra if first else ()) if column not in columns]
        if SOURCE in columns:
            raise DatasetError(f"datasets.{self.name}.of: a set has a column '{SOURCE}', the name of that of the sets")
        for name, each in sets.items():
            foreign = tuple(of for of in classes if of not in each.classes)
            samples = each.samples(Path(folder) / name)
            while True:
                with self._under(name):
                    sample = next(samples, None)
                if sample is None:
                    break
                yield replace(
                    sample,
                    sample_id=f"{name}/{sample.sample_id}",
                    patient_id=sample.patient_id if self.same_patients else f"{name}/{sample.patient_id}",
                    extra={SOURCE: name} | {column: sample.extra.get(column) for column in columns},
                    unknown=(*sample.unknown, *foreign),
                )

    def left_out(self, folder: Path) -> list[tuple[str, str]]:
        """Name what the sets leave out."""
        parts = ((name, each.left_out(Path(folder) / name)) for name, each in self.sets.items())
        return [(f"{name}/{file}", reason) for name, listed in parts for file, reason in listed]

    def boxes(self, folder: Path) -> pd.DataFrame | None:
        """Boxes of the sets that have some."""
        tables = []
        for name, each in self.sets.items():
            found = each.boxes(Path(folder) / name)
            if found is not None:
                tables.append(found.assign(sample_id=f"{name}/" + found["sample_id"].astype(str)))
        return pd.concat(tables, ignore_index=True) if tables else None

    def _check_root(self) -> None:
        if self.root:
            root_folder(self.root, self.name, _LAYOUT)
