"""COVID-19 Radiography Database (Chowdhury et al. 2020, Rahman et al. 2021): chest radiographs of four classes.

The published folder holds, for each class, ``images/`` and ``masks/``; both are PNG files of the same names, so that a
search for PNG files would train on lung masks. Earlier releases put the images into the class folder itself and called
two folders ``COVID-19`` and ``NORMAL``.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from pipeline.datasets import Dataset, DatasetError, MaskSource, Sample, Task
from pipeline.datasets.shared.irregular import file_reader
from pipeline.datasets.shared.local import (
    count_differences,
    fetch_kaggle_copy,
    find_below,
    fingerprint,
    kaggle_copy,
    list_files,
    root_folder,
    summary,
)

LUNGS = "lungs"
"""What the published masks are of."""
HANDLE = "tawsifurrahman/covid19-radiography-database"
PUBLISHED = {"COVID": 3616, "Lung_Opacity": 6012, "Normal": 10192, "Viral Pneumonia": 1345}
"""Images per class of the release with four classes, 21,165 altogether."""

_FOLDERS = {
    "COVID": ("COVID", "COVID-19"),
    "Lung_Opacity": ("Lung_Opacity",),
    "Normal": ("Normal", "NORMAL"),
    "Viral Pneumonia": ("Viral Pneumonia",),
}
_SUFFIXES = (".png", ".jpg", ".jpeg")
_LAYOUT = "COVID/images/, Lung_Opacity/images/, Normal/images/ and Viral Pneumonia/images/ with PNG files"
_SOURCE_COLUMN = "source_url"


class _File(NamedTuple):
    label: str
    path: Path


class Data(Dataset):
    """Settings of ``datasets.covid_radiography``.

    Parameters
    ----------
    root : str or None
        Folder that holds the class folders, or a folder up to two levels above; relative to the folder of params.yaml
        or absolute. None fetches the set from Kaggle.
    n_classes : {4, 3}
        3 leaves out Lung_Opacity, as studies of the first releases do.
    asked_task : {"", "segmentation"}
        Key ``task``: empty = the class of an image, segmentation = the published masks of the lungs (Rahman et al.),
        which are of 256 x 256 pixels, unlike the images of 299 x 299.
    """

    name: ClassVar[str] = "covid_radiography"
    title: ClassVar[str] = "COVID-19 Radiography Database"
    licence: ClassVar[str] = "No licence is granted; Kaggle states: data files (c) original authors"
    citation: ClassVar[str] = (
        "M. E. H. Chowdhury, T. Rahman, A. Khandakar et al. Can AI help in screening viral and COVID-19 pneumonia? "
        "IEEE Access 8 (2020), 132665-132676. T. Rahman, A. Khandakar, Y. Qiblawey et al. Exploring the effect of "
        "image enhancement techniques on COVID-19 detection using chest X-ray images. Computers in Biology and "
        "Medicine 132 (2021), 104319"
    )
    url: ClassVar[str] = f"https://www.kaggle.com/datasets/{HANDLE}"
    notes: ClassVar[tuple[str, ...]] = (
        "The class nearly names the source: viral pneumonia comes from children of one hospital, normal images and "
        "lung opacity mostly from one collection of adults, COVID-19 from other hospitals and publications, so that a "
        "model can score well by telling sources apart.",
        "Normal and lung-opacity images stem from the RSNA challenge, hence from NIH ChestX-ray14, viral pneumonia and "
        "1,341 normal images from the training part of Kermany et al.: this set is no external test for models trained "
        "on those sets, nor they for models trained on this one.",
    )

    root: str | None = None
    n_classes: Literal[3, 4] = 4
    asked_task: Literal["", "segmentation"] = Field("", alias="task")

    @property
    def task(self) -> Task:
        """One class per image, or a mask of the lungs."""
        return self.asked_task or "multiclass"

    @property
    def patients_known(self) -> bool:
        """No: none was published."""
        return False

    @property
    def classes(self) -> tuple[str, ...]:
        """Published folder names in their published order, or the lungs."""
        return (LUNGS,) if self.task == "segmentation" else self._folders

    @property
    def _folders(self) -> tuple[str, ...]:
        return tuple(c for c in PUBLISHED if self.n_classes == 4 or c != "Lung_Opacity")

    def fetch(self, folder: Path) -> dict[str, Any]:
        """Verify a local copy, or fetch the set from Kaggle (about 0.8 GB).

        Returns
        -------
        dict
            root, kaggle (path of the fetched copy, which names its version), n_classes, images, bytes, counts by
            class, differs_from_published (counts of the classes that differ), metadata (what became of the
            .metadata.xlsx files), other_files and fingerprint.

        Raises
        ------
        DatasetError
            If the class folders are not there, one of them is empty, or a file name occurs in two of them.
        """
        if self.root is None:
            fetch_kaggle_copy(HANDLE, folder, self.name)
        base = self._base(folder)
        files, others = self._files(folder)
        counts = {c: sum(f.label == c for f in files) for c in self._folders}
        digest, total = fingerprint(base, [f.path.relative_to(base).as_posix() for f in files])
        return {
            "root": self.root,
            "kaggle": None if self.root else kaggle_copy(folder, self.name).relative_to(folder.resolve()).as_posix(),
            "n_classes": self.n_classes,
            "images": len(files),
            "bytes": total,
            "counts": counts,
            "differs_from_published": count_differences(counts, {c: PUBLISHED[c] for c in self._folders}),
            "metadata": self._metadata(base)[1],
            "other_files": summary(others),
            "fingerprint": digest,
        }

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Yield the images by class and number; ``extra`` holds source_url where the metadata could be read."""
        sources, _ = self._metadata(self._base(folder))
        for file in self._files(folder)[0]:
            name = file.path.name
            extra = {} if sources is None else {_SOURCE_COLUMN: sources.get((file.label, _key(name)))}
            sample = Sample(name, name, (file.label,), file_reader(file.path), extra=extra)
            if self.task == "segmentation":
                sample = replace(sample, labels=(LUNGS,), masks=partial(_mask, file.path))
            yield sample

    def _base(self, folder: Path) -> Path:
        """Return the folder that holds the class folders."""
        top = kaggle_copy(folder, self.name) if self.root is None else root_folder(self.root, self.name, _LAYOUT)
        base = find_below(top, lambda p: all(_class_folder(p, c) for c in self._folders))
        if base is None:
            hint = "; n_classes: 3 does without Lung_Opacity" if self.n_classes == 4 else ""
            raise DatasetError(
                f"datasets.{self.name}.root: '{self.root}' is not the data set; expected there: {_LAYOUT}{hint}"
                if self.root
                else f"{top}: the files fetched from Kaggle are not the data set; expected there: {_LAYOUT}. Delete "
                f"the folder and run again, or set datasets.{self.name}.root to a local copy"
            )
        return base

    def _files(self, folder: Path) -> tuple[list[_File], list[str]]:
        """Return the images in a stable order, and the paths of other files beside them."""
        base = self._base(folder)
        files: list[_File] = []
        others: list[str] = []
        seen: dict[str, str] = {}
        for label in self._folders:
            place = _class_folder(base, label)
            assert place is not None  # _base found it
            found = list_files(place, _SUFFIXES, recursive=False)
            where = place.relative_to(base).as_posix()
            others += [f"{where}/{name}" for name in found.hidden + found.others]
            if not found.images:
                raise DatasetError(f"{place}: no images of class '{label}'; expected PNG files")
            for name in sorted(found.images, key=_natural):
                if name in seen:
                    raise DatasetError(f"{base}: '{name}' lies in {seen[name]}/ and in {where}/; names must be unique")
                seen[name] = where
                files.append(_File(label, place / name))
        return files, others

    def _metadata(self, base: Path) -> tuple[Mapping[tuple[str, str], str] | None, str]:
        """Return the source of each image by (class, name), or None, and what to record about the metadata."""
        tables = {c: p for c in self._folders if (p := base / f"{c}.metadata.xlsx").is_file()}
        if not tables:
            return None, "none"
        if importlib.util.find_spec("openpyxl") is None:
            return None, f"ignored: reading the {len(tables)} .metadata.xlsx files needs the package openpyxl"
        sources: dict[tuple[str, str], str] = {}
        for label, path in tables.items():
            sources.update({(label, name): url for name, url in _read_table(path).items()})
        return sources, f"read: {len(tables)} files, {len(sources)} rows"


def _mask(image: Path) -> tuple[MaskSource, ...]:
    """Read the mask of an image: the file of its name in ``masks/`` beside ``images/``."""
    return (MaskSource((image.parent.parent / "masks" / image.name).read_bytes(), rescaled=True),)


def _class_folder(base: Path, label: str) -> Path | None:
    """Folder with the images of a class, or None."""
    for name in _FOLDERS[label]:
        if (base / name / "images").is_dir():
            return base / name / "images"
        if (base / name).is_dir():
            return base / name
    return None


def _natural(name: str) -> tuple[list[int], str]:
    """Key that puts COVID-2.png before COVID-10.png."""
    return [int(n) for n in re.findall(r"\d+", name)], name


def _key(name: str) -> str:
    """What the metadata and the file have in common: the tables write NORMAL-1 for Normal-1.png."""
    return re.sub(r"\.(png|jpe?g)$", "", name.strip(), flags=re.IGNORECASE).casefold()


def _read_table(path: Path) -> dict[str, str]:
    """Read columns FILE NAME and URL of a .metadata.xlsx file."""
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # a damaged file raises whatever the zip or XML reader raises
        raise DatasetError(f"{path}: not a spreadsheet ({error}); move it away to do without the sources") from None
    try:
        rows = book.worksheets[0].iter_rows(values_only=True)
        header = [str(cell or "").strip().upper() for cell in next(rows, ())]
        if not {"FILE NAME", "URL"} <= set(header):
            raise DatasetError(f"{path}: columns {header}; expected FILE NAME, FORMAT, SIZE, URL")
        name, url = header.index("FILE NAME"), header.index("URL")
        return {_key(str(row[name])): str(row[url] or "") for row in rows if len(row) > max(name, url) and row[name]}
    finally:
        book.close()
