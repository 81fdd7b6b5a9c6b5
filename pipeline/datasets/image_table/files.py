"""The files that the rows of a table name: by path, or by what DICOM headers say."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.dicom import header
from pipeline.datasets.shared.local import list_files

_IDS = {"sop_instance_uid": "sop_uid", "accession_number": "accession_number"}
"""Values of ``image_by`` that are found in headers, and the columns there."""


def below(where: str, root: Path, image: str) -> str:
    """Return the path of an image relative to `root`.

    Parameters
    ----------
    where : str
        Table and line, for the message.
    root : Path
        Folder of the images.
    image : str
        Path as the table writes it: relative to `root`, or absolute and below it; backslashes may divide it.

    Raises
    ------
    DatasetError
        If it lies elsewhere.
    """
    if "\\" in image and not (root / image).is_file():
        image = image.replace("\\", "/")
    path = Path(image)
    if path.is_absolute():
        for top in (root.absolute(), root.resolve()):
            if path.is_relative_to(top):
                return path.relative_to(top).as_posix()
    if path.is_absolute() or ".." in path.parts:
        raise DatasetError(f"{where}: image '{image}' lies outside of root; expected a path below it")
    return path.as_posix() if image.startswith("./") else image


def by_header(root: Path, image_by: str, key: str, named: str | None) -> dict[str, list[str]]:
    """Return the DICOM images below `root` by the id that `image_by` names.

    Parameters
    ----------
    root : Path
        Folder of the images.
    image_by : {"sop_instance_uid", "accession_number"}
        What the rows of the table hold.
    key, named : str
        Data set in params.yaml (``datasets.<name>``) and its root as it stands there, for the message.

    Returns
    -------
    dict of str to list of str
        Id to paths below `root`; several images may have one accession number.

    Raises
    ------
    DatasetError
        If no file has such an id.
    """
    index: dict[str, list[str]] = {}
    for path in list_files(root, (".dcm", ".dicom"), dicom=True).images:
        about = header(root / path)
        identity = about.columns[_IDS[image_by]]
        if identity and about.has_image:
            index.setdefault(identity, []).append(path)
    if not index:
        raise DatasetError(
            f"{key}.root: '{named}' holds no DICOM image with the {image_by} that {key}.image_by asks for"
        )
    return index
