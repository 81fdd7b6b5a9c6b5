"""The files of the drawn set, as NIH ChestX-ray14 publishes them, and the list of the planted faults."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import DatasetError
from pipeline.datasets.phantom.cohort import UNREADABLE, Case, Cohort, Settings, sample_cohort
from pipeline.datasets.phantom.drawing import LUNGS, HeartSize, draw_with_masks, heart_size
from pipeline.datasets.phantom.film import Box
from pipeline.datasets.shared.nih_layout import BOX_ALIASES, NO_FINDING
from pipeline.study.files import replaced, write_bytes, write_text
from pipeline.study.parallel import over_processes, processors

STAMP = "phantom.json"
"""Written last: a folder with it holds a whole drawing."""
ENTRIES = "Data_Entry_2017_v2020.csv"
BOXES = "BBox_List_2017.csv"
TRAIN_VAL = "train_val_list.txt"
TEST = "test_list.txt"
PLANTED = "planted.json"
HEARTS = "hearts.csv"
"""How large every heart is drawn; there only where a task asks for it."""
MASKS = "masks"
"""Folder of the masks, a folder in it for each structure; an image without a structure has no file there."""
_TOGETHER = 100
"""Images that one process draws in one go."""
_ALONE = 400
"""Up to so many images are drawn by this process, while others would still be starting."""
_MOST = 8
"""Processes; each takes memory of its own."""


def own_files(folder: Path) -> list[Path]:
    """Files in `folder` that a drawing writes, whichever its settings."""
    digit = "[0-9]"
    images = sorted((folder / "images").glob(f"{digit * 8}_{digit * 3}.png"))
    tables = [folder / name for name in (STAMP, ENTRIES, BOXES, TRAIN_VAL, TEST, PLANTED, HEARTS)]
    masks = sorted((folder / MASKS).glob(f"*/{digit * 8}_{digit * 3}.png"))
    # Of a drawing that was killed.
    cut = [*folder.glob("partial-*"), *(folder / "images").glob("partial-*"), *(folder / MASKS).glob("*/partial-*")]
    return [path for path in (*tables, *images, *masks, *cut) if path.is_file()]


def content(folder: Path) -> str:
    """Digest names and content of all `own_files` but the stamp: SHA-256."""
    digest = hashlib.sha256()
    for path in own_files(folder):
        if path.name != STAMP:
            data = path.read_bytes()
            digest.update(f"{path.relative_to(folder)} {len(data)}\n".encode() + data)
    return digest.hexdigest()


class _Drawn(NamedTuple):
    """What one process draws: cases, and what it needs to know of the set.

    Parameters
    ----------
    folder : Path
        Of the set.
    size : int
        Width and height of the images in pixels.
    masked : str
        Which masks are written beside them: `Settings.masked`.
    cases : list of Case
        What is drawn.
    copies : dict
        Of a case that has copies, by its name: the names of these.
    bad : dict
        Of a case that is damaged or of another format, by its name: how.
    """

    folder: Path
    size: int
    masked: str
    cases: list[Case]
    copies: dict[str, list[str]]
    bad: dict[str, str]


def write_all(folder: Path, settings: Settings, processes: int | None = None) -> None:
    """Draw the set of `settings` into `folder`.

    Parameters
    ----------
    folder : Path
        Is made; files of the same names are replaced. The stamp is not written.
    settings : Settings
        What to draw.
    processes : int, optional
        How many draw at the same time, at least 1; default: one for each processor, 8 at most, or one for a small
        set. The bytes do not depend on it.

    Raises
    ------
    DatasetError
        If OpenCV cannot encode an image.

    Notes
    -----
    Not threads: half of the time of an image is spent in Python, where one thread runs at a time.
    """
    cohort = sample_cohort(settings, np.random.SeedSequence(settings.seed))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    copies: dict[str, list[str]] = {}
    for original, copy in cohort.copies:
        copies.setdefault(original, []).append(copy.name)
    work = [
        _Drawn(folder, settings.size, settings.masked, cohort.cases[start : start + _TOGETHER], copies, cohort.bad)
        for start in range(0, len(cohort.cases), _TOGETHER)
    ]
    if processes is None:
        processes = 1 if len(cohort.cases) <= _ALONE else min(_MOST, processors())
    drawn = over_processes(_draw_some, work, processes)
    boxes = {name: found for some in drawn for name, found in some.items()}
    for original, copy in cohort.copies:
        boxes[copy.name] = boxes[original]
    rows = sorted((*cohort.cases, *(copy for _, copy in cohort.copies)), key=lambda c: c.name)
    _write_tables(folder, settings, rows, boxes, cohort)


def _draw_some(work: _Drawn) -> dict[str, list[Box]]:
    """Draw cases, write them and their copies, and return the boxes of what can be read, by the name of the case."""
    boxes = {}
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for case in work.cases:
            kind = work.bad.get(case.name, "")
            image, found, masks = draw_with_masks(case, work.size)
            data, names = _encode(image, kind), (case.name, *work.copies.get(case.name, ()))
            for name in names:
                write_bytes(work.folder / "images" / name, data)
            for structure, mask in masks.items() if work.masked else ():
                if (structure == LUNGS) == (work.masked == LUNGS):
                    for name in names:
                        path = work.folder / MASKS / structure / name
                        write_bytes(path, _encode(mask.astype(np.uint8) * 255, ""))
            boxes[case.name] = [] if kind in UNREADABLE else found
    finally:
        cv2.setNumThreads(before)
    return boxes


def _write_tables(
    folder: Path,
    settings: Settings,
    rows: list[Case],
    boxes: dict[str, list[Box]],
    cohort: Cohort,
) -> None:
    """Write the published tables, with their odd headers, and the truth about the planted faults."""
    with replaced(folder / ENTRIES) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        file.write(
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
        )
        spacing = round(0.143 * 2560 / settings.size, 6)
        writer = csv.writer(file, lineterminator="\n")
        for c in rows:
            labels = "|".join(sorted(c.findings)) or NO_FINDING
            patient = (c.name, labels, c.follow_up, c.patient, c.age, c.sex, c.view)
            writer.writerow((*patient, settings.size, settings.size, spacing, spacing))
    aliases = {name: alias for alias, name in BOX_ALIASES.items()}
    with replaced(folder / BOXES) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        file.write("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
        writer = csv.writer(file, lineterminator="\n")
        for c in rows:
            for finding, *fractions in boxes[c.name]:
                # The published file gives pixels of a 1024 x 1024 image, whichever the size of the files at hand.
                writer.writerow((c.name, aliases.get(finding, finding), *(round(1024 * f, 6) for f in fractions)))
    for name, wanted in ((TRAIN_VAL, False), (TEST, True)):
        listed = [c.name for c in rows if (c.patient in cohort.test_patients) == wanted]
        write_text(folder / name, "\n".join(listed) + "\n")
    truth = {
        "duplicates": [
            {
                "original": original,
                "copy": copy.name,
                "same_patient": original[:8] == copy.name[:8],
                "crosses_lists": (int(original[:8]) in cohort.test_patients) != (copy.patient in cohort.test_patients),
            }
            for original, copy in cohort.copies
        ],
        "bad_files": [
            {"name": name, "kind": kind, "readable": kind not in UNREADABLE}
            for name, kind in sorted(cohort.bad.items())
        ],
    }
    write_text(folder / PLANTED, json.dumps(truth, indent=2) + "\n")


def heart_sizes(settings: Settings) -> dict[str, HeartSize]:
    """Measure the heart of every image of `settings`, by its name, to six digits."""
    cohort = sample_cohort(settings, np.random.SeedSequence(settings.seed))
    cases = sorted((*cohort.cases, *(copy for _, copy in cohort.copies)), key=lambda c: c.name)
    return {case.name: HeartSize(*(round(value, 6) for value in heart_size(case))) for case in cases}


def write_hearts(folder: Path, settings: Settings) -> None:
    """Write how large the heart of every image of `settings` is drawn, by name: `heart_size`."""
    with replaced(folder / HEARTS) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sample_id", *HeartSize._fields))
        writer.writerows((name, *size) for name, size in heart_sizes(settings).items())


def read_hearts(folder: Path) -> dict[str, HeartSize]:
    """Read what `write_hearts` wrote, by name of the image."""
    path = folder / HEARTS
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; run stage download")
    with open(path, newline="", encoding="utf-8") as file:
        return {row["sample_id"]: HeartSize(float(row["width"]), float(row["ratio"])) for row in csv.DictReader(file)}


def _encode(image: NDArray[np.uint8], kind: str) -> bytes:
    """PNG file of `image`, damaged or converted as `kind` says ("" for neither)."""
    if kind == "empty":
        return b""
    if kind == "text":
        return b"This is a line of text in a file that is called .png.\n"
    pixels: NDArray[Any] = image
    if kind == "rgba":
        pixels = cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA)
    elif kind == "16-bit":
        pixels = image.astype(np.uint16) * 257
    # Grain has no repetitions to look for; without the search files are smaller and a third faster to write.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    done, encoded = cv2.imencode(".png", pixels, options)
    if not done:
        raise DatasetError("OpenCV could not encode a PNG; reinstall opencv-python-headless")
    data = encoded.tobytes()
    return data[: int(0.4 * len(data))] if kind == "truncated" else data
