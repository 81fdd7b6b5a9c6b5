"""All images of a data set to one array on disk, in constant memory and in an order that threads cannot change."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.datasets import DatasetError, Sample, Task
from pipeline.imaging.array import GrowingArray
from pipeline.imaging.decoding import Decoded
from pipeline.imaging.duplicates import Found, duplicates_of, find, groups
from pipeline.imaging.hashes import THUMBNAIL, for_thumbnail, perceptual_hashes, pixel_hash, thumbnail
from pipeline.imaging.kinds import Kind, Kinds, Pair, kind_of, pair
from pipeline.imaging.masks import MaskError, prepared_masks
from pipeline.imaging.reading import Reader, Scale, anew
from pipeline.imaging.region import COLUMNS as REGION_COLUMNS
from pipeline.imaging.region import NO_REGIONS, Region, Regions, prepare_region
from pipeline.imaging.settings import Preprocess
from pipeline.study.classes import SAMPLE_COLUMNS
from pipeline.study.disk import amount
from pipeline.study.unknown import as_column, code

EXCLUDED_COLUMNS = ["file", "reason"]

FLAT = 2
"""Grey levels that an image of all but one level spans: a mask of 0 and 1, or a file with a wrong scale."""
_AHEAD = 4
"""Images in flight per thread: enough to ride out a slow file, few enough to bound memory."""
_THUMBNAILS_AT_ONCE = 64
"""Thumbnails that are made one after another."""
_LINE_EVERY = 10.0
"""Seconds between two progress lines where stderr is no terminal."""
_ROWS_PER_CHECK = 1024
"""Images between two looks at the free space."""


class Prepared(NamedTuple):
    """What became of the samples.

    Parameters
    ----------
    samples : DataFrame
        Rows of images.npy in order: SAMPLE_COLUMNS, one 0/1 column per class, the data set's own columns, and, where
        there are regions of interest, `pipeline.imaging.region.COLUMNS`.
    excluded : DataFrame
        EXCLUDED_COLUMNS: sample id and reason of every sample that is not in `samples`, in the data set's order.
    duplicates : DataFrame
        `pipeline.imaging.duplicates.COLUMNS`: the images that show the same as an earlier one, and what was done.
    kinds : Kinds
        How every image was made and read, those that were excluded as duplicates included.
    scale : Scale
        Of files that do not say theirs.
    flat : int
        Images kept whose thumbnail spans at most `FLAT` grey levels; 0 where near-duplicates are not searched for.
    """

    samples: pd.DataFrame
    excluded: pd.DataFrame
    duplicates: pd.DataFrame
    kinds: Kinds
    scale: Scale
    flat: int = 0


class _Facts(NamedTuple):
    """What is remembered of an image once its pixels are written; `small` only to find near-duplicates."""

    width: int
    height: int
    hash: str
    small: NDArray[Any] | None
    kind: Kind
    picture: Pair | None
    region: Region | None
    masks: NDArray[np.uint8] | None = None
    """[size, size, K], of segmentation."""


class _Result(NamedTuple):
    """One image of a sample: what follows the sample's id, and prepared pixels with facts or why there are none."""

    suffix: str
    image: tuple[NDArray[Any], _Facts] | str


class _Samples:
    """What is known of the samples so far: columns that grow by about 1.5 KiB per image, without `Sample.read`.

    Parameters
    ----------
    classes : sequence of str [K]
        Class names.
    task : {"multilabel", "multiclass"}
        How many labels a sample has.
    further : sequence of str
        Columns that the table gets at its end.
    """

    def __init__(self, classes: Sequence[str], task: Task, further: Sequence[str] = ()) -> None:
        self.further = list(further)
        self.classes = list(classes)
        self.task = task
        self.seen: set[str] = set()
        self.own: dict[str, list[Any]] = {}
        self.positions: list[int] = []
        self.ids: list[str] = []
        self.patients: list[str] = []
        self.official: list[str] = []
        self.labels = bytearray()
        self.sizes: list[tuple[int, int]] = []
        self.hashes: list[str] = []
        self.small: list[NDArray[Any]] = []
        self.thumbnails = bytearray()
        self.excluded: list[tuple[int, str, str]] = []
        self.kinds = Kinds()
        self.regions: list[Region] = []

    def check(self, sample: Sample) -> None:
        """Raise `DatasetError` if the metadata of the next sample cannot be right."""
        if not self.seen:
            columns = [*SAMPLE_COLUMNS, *self.classes, *sample.extra, *self.further]
            clashes = sorted({c for c in columns if columns.count(c) > 1})
            if clashes:
                raise DatasetError(f"columns of samples.csv named twice: {', '.join(clashes)}; rename class or column")
            self.own = {name: [] for name in sample.extra}
        name = sample.sample_id
        self.name(name)
        named = (*sample.labels, *sample.unknown, *sample.uncertain)
        if foreign := [label for label in named if label not in self.classes]:
            raise DatasetError(f"{name}: class '{foreign[0]}' is unknown; use one of: {', '.join(self.classes)}")
        if len(set(named)) < len(sample.labels) + len(sample.unknown) + len(sample.uncertain):
            raise DatasetError(f"{name}: a class is named twice among its labels {list(named)}")
        if self.task == "multiclass" and (sample.unknown or sample.uncertain):
            raise DatasetError(f"{name}: unknown labels; a multiclass sample has exactly one, which is known")
        if self.task == "multiclass" and len(sample.labels) != 1:
            raise DatasetError(f"{name}: labels {list(sample.labels)}; a multiclass sample has exactly one")
        if list(sample.extra) != list(self.own):
            raise DatasetError(f"{name}: own columns {list(sample.extra)}; the first sample has {list(self.own)}")

    def name(self, sample_id: str) -> None:
        """Note an id, and raise `DatasetError` if there is one like it."""
        if sample_id in self.seen:
            raise DatasetError(f"sample id '{sample_id}' occurs more than once; ids must be unique")
        self.seen.add(sample_id)

    def exclude(self, position: int, sample_id: str, reason: str) -> None:
        """Note that the sample at `position` of the data set has no usable image."""
        self.excluded.append((position, sample_id, reason))

    def keep(self, position: int, about: Sample, sample_id: str, facts: _Facts) -> None:
        """Remember an image of a sample whose pixels were written."""
        self.positions.append(position)
        self.ids.append(sample_id)
        self.patients.append(about.patient_id)
        self.official.append(about.official_split)
        if about.unknown or about.uncertain:
            self.labels += bytes(code(name, about.labels, about.unknown, about.uncertain) for name in self.classes)
        else:
            self.labels += bytes(name in about.labels for name in self.classes)
        self.sizes.append((facts.width, facts.height))
        self.hashes.append(facts.hash)
        if facts.small is not None:
            self.small.append(facts.small)
            if len(self.small) == _THUMBNAILS_AT_ONCE:
                self.shrink()
        self.kinds.count(facts.kind, facts.picture)
        if facts.region is not None:
            self.regions.append(facts.region._replace(mask=None))
        for name, values in self.own.items():
            values.append(about.extra[name])

    def shrink(self) -> None:
        """Make the thumbnails of the pictures that wait for it."""
        self.thumbnails += b"".join(thumbnail(small).tobytes() for small in self.small)
        self.small.clear()

    def targets(self) -> NDArray[np.uint8]:
        """Return labels as 0/1 (or as the codes of `pipeline.study.unknown`), [N, K]."""
        return np.frombuffer(bytes(self.labels), np.uint8).reshape(len(self.ids), len(self.classes))

    def duplicates(self, settings: Preprocess) -> Found:
        """Look for images that show the same."""
        near = None
        if settings.duplicates.near:
            self.shrink()
            thumbnails = np.frombuffer(self.thumbnails, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
            # All at once: one at a time they take ten times as long.
            near = perceptual_hashes(thumbnails), thumbnails
        return find(self.ids, self.hashes, near, self.targets(), settings.duplicates)

    def tables(self, duplicates: Found, scale: Scale) -> Prepared:
        """Write the tables, without the images that `duplicates` excludes."""
        keep = ~duplicates.excluded
        excluded = [*self.excluded]
        excluded += [(self.positions[i], self.ids[i], reason) for i, reason in duplicates.reasons.items()]
        sizes = np.array(self.sizes, np.int64).reshape(-1, 2)
        targets = self.targets()
        columns: dict[str, Any] = {
            "sample_id": self.ids,
            "patient_id": self.patients,
            # Of all images, the excluded too: a picture that two patients share says that they may be one.
            "group_id": groups(self.patients, self.hashes, duplicates.near),
            "duplicate_of": duplicates_of(self.ids, self.hashes),
            "width": sizes[:, 0],
            "height": sizes[:, 1],
            "official_split": self.official,
            **{name: as_column(targets[:, k]) for k, name in enumerate(self.classes)},
            # object: a missing value among whole numbers must not turn them into decimals
            **{name: pd.Series(values, dtype=object) for name, values in self.own.items()},
            **{name: [r[i] for r in self.regions] for i, name in enumerate(self.further)},
        }
        table = pd.DataFrame(columns)[keep].reset_index(drop=True)
        table.insert(0, "row", np.arange(len(table)))
        rows = [(name, reason) for _, name, reason in sorted(excluded, key=lambda row: row[0])]
        group = dict(zip(self.ids, columns["group_id"], strict=True))
        pairs = duplicates.table
        together = pairs["sample_id"].map(group) == pairs["other_id"].map(group)
        pairs = pairs[(pairs["kind"] != "borderline") | ~together].reset_index(drop=True)  # of one patient: settled
        reasons = pd.DataFrame(rows, columns=EXCLUDED_COLUMNS, dtype="str")
        return Prepared(table, reasons, pairs, self.kinds, scale, self._flat(keep))

    def _flat(self, keep: NDArray[np.bool_]) -> int:
        """Count the images kept that are all but of one grey level."""
        thumbnails = np.frombuffer(self.thumbnails, np.uint8).reshape(-1, THUMBNAIL * THUMBNAIL)
        if len(thumbnails) != len(keep):
            return 0
        return int((keep & (thumbnails.max(axis=1) - thumbnails.min(axis=1) <= FLAT)).sum())


def prepare_all(
    samples: Iterable[Sample],
    classes: Sequence[str],
    task: Task,
    settings: Preprocess,
    images_path: Path,
    progress: bool = False,
    total: int | None = None,
    masks_path: Path | None = None,
    regions: Regions = NO_REGIONS,
) -> Prepared:
    """Decode, enhance and write every sample, and find the images that show the same.

    Parameters
    ----------
    samples : iterable of Sample
        Read once, a few images ahead of the decoding; each `Sample.read` is called once and let go. With
        ``bits: auto`` they are read a second time, from the first on, if files of more than 8 bits do not say how many
        they use: an iterator, which cannot be, is an error then.
    classes : sequence of str [K]
        Class names, in the order of the columns.
    task : {"multilabel", "multiclass", "segmentation"}
        Multiclass samples have exactly one label; those of segmentation the classes whose mask has a pixel.
    settings : Preprocess
        Its `threads` decode side by side; the files are the same for any number.
    images_path : Path
        Receives uint8 or uint16 (``store``) [N, size, size] or [N, size, size, 3] in .npy format, N the images kept,
        in the order of `samples`; absent until it is complete.
    progress : bool
        Show the progress on stderr.
    total : int, optional
        Number of samples, where it is known beforehand: for the progress, and to look for the disk space at once.
    masks_path : Path, optional
        Of segmentation: receives the masks likewise, uint8 [N, size, size], of several classes [N, size, size, K].
    regions : Regions
        Finds the part of each image that is prepared.

    Returns
    -------
    Prepared
        Every sample is in exactly one of `samples` and `excluded`; with ``frame: all``, every frame of a file that
        has several, as ``<sample id>#<frame>``, counted from 1.

    Raises
    ------
    DatasetError
        If a sample id occurs twice, labels are not of `classes` or not as many as `task` asks for, columns collide,
        no image is usable, or the disk is too small. Nothing partial is left.
    """
    further = () if settings.roi is None else REGION_COLUMNS
    records, reader = _Samples(classes, task, further), Reader(settings, anew(samples))
    shape = (settings.size, settings.size) if settings.channels == 1 else (settings.size, settings.size, 3)
    masked = (settings.size, settings.size, *([len(classes)] if len(classes) > 1 else []))
    with ExitStack() as stack:
        arrays = [GrowingArray(stack, images_path, settings.store, shape, total)]
        if masks_path is not None:
            arrays.append(GrowingArray(stack, masks_path, "uint8", masked, total))
        row = sum(array.row for array in arrays)
        results = stack.enter_context(closing(_in_order(samples, records, reader, settings, regions)))
        _check_space(images_path.parent, (total or _ROWS_PER_CHECK) * row)
        with closing(_shown(results, total, progress)) as shown:
            for position, (about, images) in enumerate(shown):
                for suffix, image in images:
                    name = about.sample_id + suffix
                    if suffix:
                        records.name(name)
                    if isinstance(image, str):
                        records.exclude(position, name, image)
                        continue
                    pixels, facts = image
                    if len(records.ids) % _ROWS_PER_CHECK == _ROWS_PER_CHECK - 1:
                        _check_space(images_path.parent, _ROWS_PER_CHECK * row)
                    arrays[0].file.write(pixels.data)
                    if facts.masks is not None:
                        arrays[1].file.write(facts.masks.data)
                        about = replace(about, labels=_present(facts.masks, classes))
                    records.keep(position, about, name, facts._replace(masks=None))
        duplicates = records.duplicates(settings)
        prepared = records.tables(duplicates, reader.scale)
        if prepared.samples.empty:
            raise DatasetError(_nothing_left(prepared.excluded["reason"]))
        for array in arrays:
            array.keep(duplicates.excluded, len(prepared.samples))
    return prepared


def _present(masks: NDArray[np.uint8], classes: Sequence[str]) -> tuple[str, ...]:
    """Return the classes whose mask, of [H, W, K], has a pixel."""
    return tuple(name for name, there in zip(classes, np.any(masks, axis=(0, 1)).tolist(), strict=True) if there)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder}: the next images need {amount(needed)}, {amount(free)} are free; "
            "lower preprocess.size or free some space"
        )


def _in_order(
    samples: Iterable[Sample], records: _Samples, reader: Reader, settings: Preprocess, regions: Regions
) -> Generator[tuple[Sample, list[_Result]], None, None]:
    """Yield each sample (without its `read`) and its images or reasons, in order, a bounded number in flight."""
    # The pool is the parallelism: OpenCV's own threads inside each call would only compete with it.
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="prepare")
    flight: deque[tuple[Sample, Future[list[_Result]]]] = deque()
    try:
        for position, sample in enumerate(samples):
            records.check(sample)
            masked = records.task == "segmentation"
            one = pool.submit(_one, sample, position, records.kinds, reader, settings, regions, masked)
            flight.append((_without_read(sample), one))
            del sample, one  # with it goes `read`, and the bytes that it may hold
            if len(flight) >= _AHEAD * settings.threads:
                about, result = flight.popleft()
                yield about, result.result()
        while flight:
            about, result = flight.popleft()
            yield about, result.result()
    finally:
        reader.close()
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads_before)


def _spent() -> bytes:
    raise RuntimeError("this image was read already")


def _without_read(sample: Sample) -> Sample:
    return replace(sample, read=_spent)


def _one(
    sample: Sample,
    position: int,
    kinds: Kinds,
    reader: Reader,
    settings: Preprocess,
    regions: Regions,
    masked: bool,
) -> list[_Result]:
    """Return the prepared images of the sample at `position`, or why there are none."""
    results = []
    for frame in reader.frames(sample.read):
        image: tuple[NDArray[Any], _Facts] | str
        if isinstance(frame.image, str):
            image = frame.image
        else:
            region = regions(sample.sample_id, frame.image.pixels)
            image = _prepared(frame.image, region, position, kinds, settings)
            if masked:
                image = _masked(image, sample, settings)
        results.append(_Result(frame.suffix, image))
    return results


def _masked(
    image: tuple[NDArray[Any], _Facts], sample: Sample, settings: Preprocess
) -> tuple[NDArray[Any], _Facts] | str:
    """Add the masks of a sample to its image, or say why there are none."""
    pixels, facts = image
    assert sample.masks is not None  # of segmentation
    try:
        return pixels, facts._replace(masks=prepared_masks(sample.masks, facts.height, facts.width, settings))
    except MaskError as error:
        return str(error)


def _prepared(
    decoded: Decoded, region: Region | None, position: int, kinds: Kinds, settings: Preprocess
) -> tuple[NDArray[Any], _Facts]:
    image, kind = decoded.pixels, kind_of(decoded.facts)
    height, width = image.shape[:2]
    same = pixel_hash(image)  # first, as the pixels are in the cache
    small = for_thumbnail(image) if settings.duplicates.near else None
    pixels = np.ascontiguousarray(prepare_region(image, region, settings))
    picture = pair(image, pixels, settings) if kinds.wanted(kind, position) else None
    return pixels, _Facts(width, height, same, small, kind, picture, region)


def _nothing_left(reasons: pd.Series) -> str:
    if reasons.empty:
        return "the data set has no samples; check its settings under datasets in params.yaml"
    listed = ", ".join(f"{reason} ({count})" for reason, count in Counter(reasons).most_common(5))
    return f"none of the {len(reasons)} images is usable: {listed}"


def _shown(
    results: Iterator[tuple[Sample, list[_Result]]], total: int | None, progress: bool
) -> Generator[tuple[Sample, list[_Result]], None, None]:
    """Pass `results` on, with a bar on a terminal or a line every few seconds and at the end elsewhere."""
    if not progress:
        yield from results
    elif sys.stderr.isatty():
        yield from tqdm(results, total=total, unit="image", desc="preprocess", file=sys.stderr)
    else:
        start = last = time.monotonic()
        of = f" of {total}" if total is not None else ""
        done = 0
        for done, result in enumerate(results, 1):
            yield result
            now = time.monotonic()
            if now - last >= _LINE_EVERY:
                _line(done, of, now - start)
                last = now
        _line(done, of, time.monotonic() - start)


def _line(done: int, of: str, seconds: float) -> None:
    rate = done / max(seconds, 1e-9)
    print(f"preprocess: {done}{of} images, {rate:.0f} images/s", file=sys.stderr, flush=True)
