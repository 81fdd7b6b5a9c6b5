"""What stage ``download`` found beside the images that were asked for, in sentences: nothing is left out unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LISTS = {
    "missing": ("row of the table has no file", "rows of the table have no file"),
    "without_row": (
        "image file has no row in the table and is left out",
        "image files have no row in the table and are left out",
    ),
    "unlabelled": ("row of the table has no label and is left out", "rows of the table have no label and are left out"),
    "without_patient": (
        "image names no patient, which others do, and is left out",
        "images name no patient, which others do, and are left out",
    ),
    "masks": (
        "file is the mask of another and is kept apart for segmentation, never trained on as an image",
        "files are masks of others and are kept apart for segmentation, never trained on as images",
    ),
    "unchosen_files": ("image is left out by include and exclude", "images are left out by include and exclude"),
    "hidden_files": ("hidden file has the suffix of an image", "hidden files have the suffix of an image"),
    "other_files": ("other file lies beside the images", "other files lie beside the images"),
}
"""Entries of the record of `Dataset.fetch` that hold count and first names, and what one and several of them are."""


def remarks(source: Mapping[str, Any], names: bool) -> list[str]:
    """Return one sentence for everything in a record of `Dataset.fetch` that a user may not expect.

    Parameters
    ----------
    source : mapping
        The record.
    names : bool
        Name the first files. Not for pages, which must not show the names of real images.

    Returns
    -------
    list of str
        Without a period at the end; empty where all is as published.
    """
    said = [f"{name}: {remark}" for name, of in (source.get("sets") or {}).items() for remark in remarks(of, names)]
    for key, (one, many) in _LISTS.items():
        found = source.get(key)
        if isinstance(found, Mapping) and found.get("count"):
            said.append(
                f"{found['count']:,} {one if found['count'] == 1 else many}" + (f": {_first(found)}" if names else "")
            )
    for column, found in (source.get("unread") or {}).items():
        said.append(
            f"{found['count']:,} {'cell' if found['count'] == 1 else 'cells'} of column {column} cannot be read"
            + (f": {_first(found)}" if names else "")
        )
    differs = source.get("differs_from_published") or {}
    for name, counts in differs.items():
        said.append(f"{name}: {counts['found']:,} images, published are {counts['published']:,}")
    if source.get("as_published") is False:
        said.append("the file is not the published one: its checksum differs")
    blocks = source.get("blocks") or {}
    if blocks.get("alone", 0) > blocks.get("images", 0) / 2:
        said.append(
            f"{blocks['alone']:,} of {blocks['images']:,} images are alone in their block ({blocks['groups']}): the "
            "numbers in their names lie far apart, and nothing keeps images of one person together"
        )
    dicom, named = source.get("dicom") or {}, source.get("patients_named")
    if named:
        said.append(
            f"{named['images']:,} of {named['of']:,} images name a patient ({named['patients']:,} in all); each of the "
            "others stands alone: patients are not known"
        )
    elif dicom.get("files") and source.get("patients_from") is None:
        said.append(
            f"{dicom['with_patient']:,} of {dicom['files']:,} DICOM headers name a patient ({dicom['patients']:,} in "
            "all): patients are not known"
        )
    return said


def _first(found: Mapping[str, Any]) -> str:
    first = [str(name) for name in found["first"]]
    more = found["count"] - len(first)
    return ", ".join(first) + (f", and {more:,} more" if more > 0 else "")
