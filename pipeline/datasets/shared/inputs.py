"""What a data set reads, by content: links that DVC follows, and digests that preprocessing holds the samples to.

DVC cannot take a path of params.yaml as a dependency: a dependency has one path, and which key names it depends on
``dataset``. It hashes what a link leads to, though, where the link itself is an output. So stage ``download`` makes
``data/inputs/<key>`` a link to what ``datasets.<name>.<key>`` names: whatever changes behind it changes an output of
that stage, which then looks again and writes the digests that stage ``preprocess`` depends on.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.datasets import Dataset, DatasetError, MaskSource, Sample
from pipeline.datasets.shared.irregular import check_name, why_unreadable
from pipeline.study.classes import SAMPLE_COLUMNS, SPLIT_COLUMNS
from pipeline.study.files import CONTENT, IGNORE, INPUTS, ArtifactError, intact, write_text
from pipeline.study.inputs import KEYS, located, main_checkout, patterns_text, project_folder

_MISSING = ""
"""Digest of an image that could not be read."""
_HALVES = (".part", ".part.json", ".bad", ".partial", ".new")
"""Ends of the names of files that a fetch has not finished."""


class SampleDigest(NamedTuple):
    """One line of content.csv.

    Parameters
    ----------
    sample_id : str
        As the data set gives it.
    about : str
        SHA-256 of what is known of it: patient, labels, published part, the data set's own columns, and masks.
    image : str
        SHA-256 of the file or the pixels; empty where it cannot be read.
    """

    sample_id: str
    about: str
    image: str


def outside(dataset: Dataset) -> dict[str, str]:
    """Return the paths outside of the project that the settings name, by key, as they are written."""
    return {key: value for key in KEYS if (value := getattr(dataset, key, None))}


def link_inputs(dataset: Dataset, folder: Path = INPUTS) -> None:
    """Make ``<folder>/<key>`` a link to what each of `KEYS` names, or a line of text where it names nothing.

    Beside the links lies a file for DVC of what it must pass over behind them: at a link to nothing it would stop, at a
    pipe it would wait for ever.
    """
    given = outside(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    passed_over = [f"/{key}/{_escaped(name)}" for key, value in given.items() for name in unreadable(located(value))]
    write_text(folder / IGNORE, patterns_text(passed_over))
    for key in KEYS:
        place, new = folder / key, folder / f".{key}.new"
        new.unlink(missing_ok=True)
        if key in given:
            new.symlink_to(Path.cwd() / located(given[key]))
        else:
            new.write_text("nothing outside of the project\n", encoding="utf-8")  # DVC warns of what is empty
        os.replace(new, place)


def _escaped(name: str) -> str:
    """Return a path as a pattern of .dvcignore that fits nothing else."""
    return re.sub(r"([*?\[\]!#\\ ])", r"\\\1", name)


def check_inputs(dataset: Dataset) -> list[str]:
    """Refuse paths behind which DVC would not see all, see `check_visible`; what is not there is for `fetch` to refuse.

    Returns
    -------
    list of str
        Of what is no file that can be read there, one line each.

    Raises
    ------
    DatasetError
        Naming the key.
    """
    said = []
    for key, value in outside(dataset).items():
        if located(value).exists():
            what = f"datasets.{dataset.name}.{key}: '{value}'"
            check_visible(what, located(value))
            said += [f"{what}: {name}: {reason}" for name, reason in unreadable(located(value)).items()]
    return said


def unreadable(path: Path) -> dict[str, str]:
    """Return what lies below a folder and is no file that can be read: relative path to reason."""
    found: dict[str, str] = {}
    for entry in _entries(path.resolve()):
        reason = None if os.path.isdir(entry.path) else why_unreadable(Path(entry.path))
        if reason is not None:
            found[Path(entry.path).relative_to(path.resolve()).as_posix()] = reason
    return dict(sorted(found.items()))


def _entries(top: Path) -> Iterator[os.DirEntry[str]]:
    """Yield all that lies below a folder, without following links, but for the bookkeeping of git and Mercurial."""
    folders = [top] if top.is_dir() else []
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    yield entry
                    if entry.is_dir(follow_symlinks=False) and entry.name not in (".git", ".hg"):
                        folders.append(Path(entry.path))
        except PermissionError:  # excluded by its name where the data set lists its files
            continue


def check_visible(what: str, path: Path) -> None:
    """Refuse a folder in which files could change unseen.

    Parameters
    ----------
    what : str
        Key and value, for the message.
    path : Path
        A folder, or a file, which is always seen.

    Raises
    ------
    DatasetError
        If the folder holds the project itself, a link to a folder outside of it, a repository of DVC's, a file of
        patterns that DVC leaves out, or a name that DVC cannot hold: DVC passes over the third and fourth in silence,
        and stops at the others with an error that does not say what to do.
    """
    top = path.resolve()
    project = (main_checkout() or project_folder()).resolve()
    if project.is_relative_to(top):
        raise DatasetError(f"{what} holds this project itself; put the images into a folder of their own")
    for entry in _entries(top):
        here = Path(entry.path).relative_to(top)
        check_name(here.as_posix(), what)
        if entry.name in (".dvc", ".dvcignore"):
            raise DatasetError(
                f"{what} holds {here}, of a repository of DVC's: changes there would not be seen; name a "
                "folder inside it, or move that file away"
            )
        if entry.is_symlink() and os.path.isdir(entry.path) and not Path(entry.path).resolve().is_relative_to(top):
            raise DatasetError(
                f"{what}: {here} is a link to another folder: changes there would not be seen; put the folder "
                "in its place, or name one that holds no such link"
            )
        if "\n" in str(here) and not os.path.isdir(entry.path) and why_unreadable(Path(entry.path)) is not None:
            raise DatasetError(f"{what}: {str(here)!r} is no file that can be read; remove it")


def record(dataset: Dataset, folder: Path, path: Path = CONTENT) -> dict[str, Any] | None:
    """Digest all samples of `dataset` into content.csv, at `path`.

    Returns
    -------
    dict or None
        samples, unreadable, dated (numbers), labels and parts (numbers of samples by class and by published part),
        patients (of a single-label data set how many have how many images of each class: ``[[2, 0, 1], 31]``), sha256
        (of content.csv) and other (SHA-256 of what else preprocessing reads: classes, boxes, what was left out), for
        SOURCE.json. None, and an empty content.csv, where `fetch` has held the archives to published checksums: what
        is in them cannot be anything else.
    """
    if dataset.checked_by_fetch and not outside(dataset):
        write_text(path, "")
        return None
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(SampleDigest._fields)
    samples = unreadable = dated = 0
    labels, parts = dict.fromkeys(dataset.classes, 0), Counter[str]()
    patients: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in dataset.samples(folder):
        if not samples:
            _check_columns(dataset, sample)
        parts[sample.official_split] += 1
        dated += bool(sample.extra.get("study_date"))
        for name in sample.labels:
            labels[name] = labels.get(name, 0) + 1
            patients[sample.patient_id][name] += 1
        image = _image_digest(sample.read)
        samples, unreadable = samples + 1, unreadable + (image == _MISSING)
        writer.writerow(SampleDigest(sample.sample_id, _about(sample), image))
    write_text(path, sink.getvalue())
    return {
        "samples": samples,
        "unreadable": unreadable,
        "labels": labels,
        "dated": dated,
        "parts": {part: parts[part] for part in ("train", "val", "test", "") if parts[part]},
        "patients": _by_class(patients, list(labels)) if dataset.task == "multiclass" else [],
        "sha256": hashlib.sha256(sink.getvalue().encode()).hexdigest(),
        "other": other_digest(dataset, folder),
    }


def _by_class(patients: dict[str, Counter[str]], classes: list[str]) -> list[tuple[list[int], int]]:
    """Count patients by the images that they have of each class, sorted."""
    alike = Counter(tuple(of[name] for name in classes) for of in patients.values())
    return [(list(images), count) for images, count in sorted(alike.items())]


def read_content(path: Path = CONTENT, stage: str = "download") -> list[SampleDigest] | None:
    """Read content.csv; None where the samples need no digests, see `record`.

    Raises
    ------
    ArtifactError
        If stage download has not written it.
    """
    if not path.exists():
        raise ArtifactError(f"{path} is missing; stage '{stage}' makes it: dvc repro {stage}")
    with intact(path), path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        return [SampleDigest(*row) for row in rows] if next(rows, None) else None


def other_digest(dataset: Dataset, folder: Path) -> str:
    """Digest what preprocessing reads beside the samples: the order of the classes, boxes, what was left out."""
    boxes = dataset.boxes(folder)
    facts = {
        "classes": dataset.classes,
        "patients_known": dataset.patients_known,
        "boxes": None if boxes is None else boxes.to_csv(index=False),
        "left_out": dataset.left_out(folder),
    }
    return _digest(json.dumps(facts).encode())


def verified(samples: Iterable[Sample], content: list[SampleDigest] | None, dataset: Dataset) -> Iterator[Sample]:
    """Pass samples on while they are those that stage download found; their images are compared as they are read.

    Parameters
    ----------
    samples : iterable of Sample
        Of `dataset`, in its order.
    content : list of SampleDigest or None
        Of `read_content`; None passes everything.
    dataset : Dataset
        For the message.

    Raises
    ------
    DatasetError
        At the first that was added, has gone, or says something else; by `Sample.read` if the image is another. It
        names the sample.
    """
    if content is None:
        yield from samples
        return
    for sample, expected in zip_longest(samples, content):
        if sample is None:
            raise _changed(dataset, f"'{expected.sample_id}' is gone")
        if expected is None or expected.sample_id != sample.sample_id:
            known = any(each.sample_id == sample.sample_id for each in content)
            gone = "" if expected is None or known is False else f"'{expected.sample_id}' is gone or has moved"
            raise _changed(dataset, gone or f"'{sample.sample_id}' is new")
        if expected.about != _about(sample):
            raise _changed(
                dataset, f"what is said of '{sample.sample_id}' (labels, patient, part, columns, masks) is another"
            )
        yield replace(sample, read=_compared(sample, expected.image, dataset))


def check_other(dataset: Dataset, folder: Path, recorded: str | None) -> None:
    """Refuse boxes or classes that are not those that stage download found (`recorded`; None = not looked at).

    Raises
    ------
    DatasetError
        If they are others.
    """
    if recorded is not None and other_digest(dataset, folder) != recorded:
        raise _changed(dataset, "its classes, boxes or left-out files are others")


def borrow(folder: Path) -> None:
    """In the temporary workspace of an experiment, take over what the clone has fetched or drawn already.

    Hard links: nothing is copied, and as files are written anew, never in place, the clone's stay as they are.

    Parameters
    ----------
    folder : Path
        ``data/raw/<name>``; nothing is done if it exists.
    """
    clone = main_checkout()
    if clone is None or folder.exists() or not (clone / folder).is_dir():
        return
    for parent, _, names in os.walk(clone / folder):
        here = folder / Path(parent).relative_to(clone / folder)
        here.mkdir(parents=True)
        for name in names:
            if not name.endswith(_HALVES):
                try:
                    os.link(Path(parent, name), here / name, follow_symlinks=False)
                except OSError:  # another disk: what is missing is fetched
                    return


def _compared(sample: Sample, recorded: str, dataset: Dataset) -> Callable[[], bytes | np.ndarray]:
    def read() -> bytes | np.ndarray:
        try:
            content = sample.read()
        except OSError:
            if recorded == _MISSING:
                raise
            raise _changed(dataset, f"the image of '{sample.sample_id}' cannot be read any more") from None
        if recorded != _digest(content):
            raise _changed(dataset, f"the image of '{sample.sample_id}' is another")
        return content

    return read


def _changed(dataset: Dataset, what: str) -> DatasetError:
    where = outside(dataset)
    place = ", ".join(f"datasets.{dataset.name}.{key}: '{value}'" for key, value in where.items())
    return DatasetError(
        f"{place or f'data set {dataset.name}'} has changed since stage 'download' looked at it: {what}; run dvc repro "
        "again, and leave the files as they are while it runs"
    )


def _check_columns(dataset: Dataset, sample: Sample) -> None:
    """Refuse own columns that bear a name of other columns of samples.csv, or of split.csv, which is joined to it."""
    taken = [*SPLIT_COLUMNS, *SAMPLE_COLUMNS, *dataset.classes]
    for name in sample.extra:
        if name in taken:
            raise DatasetError(
                f"data set {dataset.name}: column '{name}' has a name that the tables of the study need for something "
                f"else; rename it, to none of: {', '.join(taken)}"
            )


def _about(sample: Sample) -> str:
    facts: list[Any] = [sample.patient_id, sample.labels, sample.official_split, dict(sample.extra)]
    if sample.masks is not None:
        facts.append(_masks_digest(sample.masks))
    if sample.unknown or sample.uncertain:
        facts += [sample.unknown, sample.uncertain]
    return _digest(json.dumps(facts, default=str).encode())


def _image_digest(read: Callable[[], bytes | np.ndarray]) -> str:
    try:
        return _digest(read())
    except OSError:
        return _MISSING


def _masks_digest(read: Callable[[], tuple[MaskSource, ...]]) -> list[Any]:
    """Digest the masks of a sample; nothing, where one cannot be read."""
    try:
        return [
            (None if m.content is None else _digest(m.content), m.above, m.rescaled, *(m.levels or ())) for m in read()
        ]
    except OSError:
        return []


def _digest(content: bytes | np.ndarray) -> str:
    if isinstance(content, np.ndarray):
        return hashlib.sha256(repr(content.shape).encode() + content.tobytes()).hexdigest()
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class VerifiedSamples:
    """The samples of a data set in its folder, from the first on as often as they are asked for.

    Each is read as stage ``download`` found it, or the stage ends.
    """

    dataset: Dataset
    raw: Path
    content: list[SampleDigest] | None

    def __iter__(self) -> Iterator[Sample]:
        """Yield them anew."""
        return verified(self.dataset.samples(self.raw), self.content, self.dataset)
