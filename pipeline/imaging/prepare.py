"""All images of a data set to one array on disk, in constant memory and in an order that threads cannot change."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.artifacts import SAMPLE_COLUMNS
from pipeline.datasets import DatasetError, Sample, Task
from pipeline.imaging.decode import UnreadableImage, decode
from pipeline.imaging.duplicates import duplicates_of, groups, pixel_hash
from pipeline.imaging.enhance import prepare
from pipeline.params import Preprocess

EXCLUDED_COLUMNS = ["file", "reason"]

_AHEAD = 4
"""Images in flight a thread: enough to ride out a slow file, few enough to bound memory."""
_LINE_EVERY = 10.0
"""Seconds between two progress lines where stderr is no terminal."""


class Prepared(NamedTuple):
    """What became of the samples.

    Parameters
    ----------
    samples : DataFrame
        Rows of images.npy in order: SAMPLE_COLUMNS, one 0/1 column a class, then the data set's own columns.
    excluded : DataFrame
        EXCLUDED_COLUMNS: sample id and reason of every sample that is not in `samples`, in the data set's order.
    """

    samples: pd.DataFrame
    excluded: pd.DataFrame


class _Facts(NamedTuple):
    """What is remembered of an image once its pixels are written."""

    width: int
    height: int
    hash: str


_Result = tuple[NDArray[np.uint8], _Facts] | str
"""Prepared pixels and facts, or the reason why there are none."""


def prepare_all(
    samples: Iterable[Sample],
    classes: Sequence[str],
    task: Task,
    settings: Preprocess,
    images_path: Path,
    progress: bool = False,
) -> Prepared:
    """Decode, enhance and write every sample.

    Parameters
    ----------
    samples : iterable of Sample
        Only their metadata is held in memory.
    classes : sequence of str [K]
        Class names, in the order of the columns.
    task : {"multilabel", "multiclass"}
        Multiclass samples have exactly one label.
    settings : Preprocess
        Its `threads` decode side by side; the files are the same for any number.
    images_path : Path
        Receives uint8 [N, size, size] or [N, size, size, 3] in .npy format, N the samples kept, in the order of
        `samples`; absent until it is complete.
    progress : bool
        Show the progress on stderr.

    Returns
    -------
    Prepared
        Every sample is in exactly one of its two tables.

    Raises
    ------
    DatasetError
        If a sample id occurs twice, labels are not of `classes` or not as many as `task` asks for, columns collide,
        no image is usable, or the disk is too small. Nothing partial is left.
    """
    listed = list(samples)
    _check(listed, classes, task)
    kept: list[tuple[Sample, _Facts]] = []
    excluded: list[tuple[str, str]] = []
    shape = (settings.size, settings.size) if settings.channels == 1 else (settings.size, settings.size, 3)
    images_path.parent.mkdir(parents=True, exist_ok=True)
    # An array of an earlier run must not stand beside tables of this one.
    images_path.unlink(missing_ok=True)
    _check_space(images_path.parent, len(listed) * int(np.prod(shape)))
    partial = images_path.with_name(images_path.name + ".partial")
    try:
        results = _shown(_in_order(listed, settings), len(listed), progress)
        with partial.open("wb") as file, closing(results):
            _write_header(file, (len(listed), *shape))
            for sample, result in zip(listed, results, strict=True):
                if isinstance(result, str):
                    excluded.append((sample.sample_id, result))
                else:
                    pixels, facts = result
                    file.write(pixels.data)
                    kept.append((sample, facts))
            file.seek(0)
            _write_header(file, (len(kept), *shape))
        if not kept:
            raise DatasetError(_nothing_left(excluded))
        os.replace(partial, images_path)
    finally:
        partial.unlink(missing_ok=True)
    return Prepared(_table(kept, classes), pd.DataFrame(excluded, columns=EXCLUDED_COLUMNS, dtype="str"))


def _check(samples: list[Sample], classes: Sequence[str], task: Task) -> None:
    """Find a mistake in the metadata before an hour of decoding."""
    twice = [name for name, count in Counter(s.sample_id for s in samples).items() if count > 1]
    if twice:
        raise DatasetError(f"sample id '{twice[0]}' occurs more than once ({len(twice)} such ids); ids must be unique")
    own = list(samples[0].extra) if samples else []
    columns = [*SAMPLE_COLUMNS, *classes, *own]
    clashes = sorted({c for c in columns if columns.count(c) > 1})
    if clashes:
        raise DatasetError(f"columns of samples.csv named twice: {', '.join(clashes)}; rename the class or column")
    for sample in samples:
        unknown = [label for label in sample.labels if label not in classes]
        if unknown:
            raise DatasetError(f"{sample.sample_id}: class '{unknown[0]}' is unknown; allowed: {', '.join(classes)}")
        if task == "multiclass" and len(sample.labels) != 1:
            raise DatasetError(f"{sample.sample_id}: labels {list(sample.labels)}; a multiclass sample has exactly one")
        if list(sample.extra) != own:
            raise DatasetError(f"{sample.sample_id}: own columns {list(sample.extra)}; the first sample has {own}")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder}: the images need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; "
            "lower preprocess.size or free some space"
        )


def _write_header(file: Any, shape: tuple[int, ...]) -> None:
    """Write a .npy header; numpy pads it so that its length does not depend on the number of rows."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _in_order(samples: list[Sample], settings: Preprocess) -> Iterator[_Result]:
    """Yield the image or the reason of each sample, in order, with a bounded number of them in flight."""
    # The pool is the parallelism: OpenCV's own threads inside each call would only compete with it.
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="prepare")
    flight: deque[Future[_Result]] = deque()
    try:
        for sample in samples:
            flight.append(pool.submit(_one, sample, settings))
            if len(flight) >= _AHEAD * settings.threads:
                yield flight.popleft().result()
        while flight:
            yield flight.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads_before)


def _one(sample: Sample, settings: Preprocess) -> _Result:
    """Return the prepared image, or why there is none."""
    try:
        image = decode(sample.read(), settings.channels)
    except UnreadableImage as error:
        return str(error)
    except FileNotFoundError:
        return "file missing"
    except OSError as error:
        return f"file not readable: {error.strerror or type(error).__name__}"
    height, width = image.shape[:2]
    pixels = np.ascontiguousarray(prepare(image, settings))
    return pixels, _Facts(width, height, pixel_hash(image))


def _nothing_left(excluded: list[tuple[str, str]]) -> str:
    if not excluded:
        return "the data set has no samples; check its settings under datasets in params.yaml"
    reasons = ", ".join(f"{reason} ({count})" for reason, count in Counter(r for _, r in excluded).most_common(5))
    return f"none of the {len(excluded)} images is usable: {reasons}"


def _table(kept: list[tuple[Sample, _Facts]], classes: Sequence[str]) -> pd.DataFrame:
    samples = [sample for sample, _ in kept]
    ids = [s.sample_id for s in samples]
    patients = [s.patient_id for s in samples]
    hashes = [facts.hash for _, facts in kept]
    columns: dict[str, Any] = {
        "row": np.arange(len(kept)),
        "sample_id": ids,
        "patient_id": patients,
        "group_id": groups(patients, hashes),
        "duplicate_of": duplicates_of(ids, hashes),
        "width": [facts.width for _, facts in kept],
        "height": [facts.height for _, facts in kept],
        "official_split": [s.official_split for s in samples],
    }
    for name in classes:
        columns[name] = np.array([name in s.labels for s in samples], np.uint8)
    for name in samples[0].extra:
        # object: a missing value among whole numbers must not turn them into decimals
        columns[name] = pd.Series([s.extra[name] for s in samples], dtype=object)
    return pd.DataFrame(columns)


def _shown(results: Iterator[_Result], total: int, progress: bool) -> Generator[_Result, None, None]:
    """Pass `results` on, with a bar on a terminal or a line every few seconds elsewhere."""
    if not progress:
        yield from results
    elif sys.stderr.isatty():
        yield from tqdm(results, total=total, unit="image", desc="preprocess", file=sys.stderr)
    else:
        start = last = time.monotonic()
        for done, result in enumerate(results, 1):
            yield result
            now = time.monotonic()
            if now - last >= _LINE_EVERY or done == total:
                rate = done / max(now - start, 1e-9)
                print(f"preprocess: {done} of {total} images, {rate:.0f} images/s", file=sys.stderr, flush=True)
                last = now
