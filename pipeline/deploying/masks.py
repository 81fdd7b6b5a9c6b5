"""Masks of new images, by a trained network of a study of segmentation: a PNG file each, and a table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from pipeline.datasets.shared.irregular import printable
from pipeline.deploying.sources import Source
from pipeline.ensembling.settings import EnsembleSections
from pipeline.imaging.reading import Reader, Scale
from pipeline.imaging.settings import Preprocess
from pipeline.reporting.english import count
from pipeline.segmenting.results import MEAN, value_of
from pipeline.segmenting.use import find_masks, read_segmenter
from pipeline.study.disk import told_of
from pipeline.study.errors import UserError
from pipeline.study.files import READING, read_json, write_bytes, write_csv
from pipeline.study.outputs import keep_others, note_written
from pipeline.study.predictions import read_metrics
from pipeline.study.runs import Run, configurations
from pipeline.study.trainings import evaluation_folder, run_folder

TABLE = "masks.csv"
FOLDER = "masks"
Progress = Callable[[Iterator[int], int], None]
"""See `pipeline.deploying.predicting.Progress`."""


class _Frame(NamedTuple):
    source: Source
    number: int | None
    image: np.ndarray | str


def chosen_run(params: EnsembleSections, configuration: str | None) -> Run:
    """Return the training run to be applied: of the configuration, the seed with the highest Dice on validation.

    Parameters
    ----------
    params : EnsembleSections
        Of the study.
    configuration : str or None
        "model-loss"; None takes the one with the highest mean Dice on validation.

    Raises
    ------
    UserError
        If there is no such configuration, or none has been evaluated.
    """
    known = {}
    for each in configurations(params):
        if (evaluation_folder(each) / "metrics.csv").exists():
            known[str(each)] = each, read_metrics(evaluation_folder(each) / "metrics.csv")
    if not known:
        raise UserError("no configuration has been evaluated: dvc repro")
    if configuration is not None and configuration not in known:
        raise UserError(f"--configuration: '{configuration}'; must be one of {', '.join(known)}")
    name = configuration or max(known, key=lambda key: _dice(known[key][1], MEAN))
    found, metrics = known[name]
    seeds = [seed for seed in metrics["seed"].unique() if seed != MEAN]
    return Run(*found, int(max(seeds, key=lambda seed: _dice(metrics, seed))))


def _dice(metrics: pd.DataFrame, seed: str) -> float:
    return float(np.nan_to_num(value_of(metrics, "val", seed), nan=-1))


def write_masks(run: Run, named: Sequence[Source], out: Path, progress: Progress) -> str:
    """Find the structures in files, and write a mask for each file and structure.

    Parameters
    ----------
    run : Run
        Whose network.
    named : sequence of Source
        The files.
    out : Path
        Folder of the results; is made. It gets masks.csv (file, frame, status, reason, then for each structure its
        share of the image and the file of its mask) and masks/, with images of 0 and 255 in the size of theirs.
    progress : callable
        Runs through work that yields the number of files done, given the number that there is to do.

    Returns
    -------
    str
        What a person is to be told.
    """
    segmenter = read_segmenter(run_folder(run))
    settings = Preprocess.model_validate(segmenter.preprocess)
    scale = Scale(**read_json(READING, "preprocess")["scale"])
    rows: list[dict[str, Any]] = []

    def frames() -> Iterator[_Frame]:
        reader = Reader(settings, list, scale)
        for source in named:
            for frame in reader.frames(source.read):
                image = frame.image if isinstance(frame.image, str) else frame.image.pixels
                yield _Frame(source, frame.number, image)

    def work() -> Iterator[int]:
        waiting: list[_Frame] = []

        def readable() -> Iterator[np.ndarray]:
            for frame in frames():
                waiting.append(frame)
                if not isinstance(frame.image, str):
                    yield frame.image

        found = find_masks(run_folder(run), readable())
        done = 0
        while True:
            masks = next(found, None)
            while waiting and isinstance(waiting[0].image, str):
                rows.append(_row(waiting.pop(0), None, segmenter.classes, out, len(rows)))
                done += 1
            if masks is None:
                break
            rows.append(_row(waiting.pop(0), masks, segmenter.classes, out, len(rows)))
            done += 1
            yield 1

    with told_of(f"--out: {out}", out):
        out.mkdir(parents=True, exist_ok=True)
        kept = keep_others(out, [TABLE])
        progress(work(), len(named))
        write_csv(out / TABLE, pd.DataFrame(rows))
        note_written(out, [TABLE])
    failed = sum(row["status"] != "ok" for row in rows)
    said = [f"{count('image', len(rows) - failed)} by {run}, {count('image', failed)} could not be read: {out / TABLE}"]
    return "\n".join([*said, *kept])


def _row(frame: _Frame, masks: np.ndarray | None, classes: list[str], out: Path, number: int) -> dict[str, Any]:
    """Write the masks of an image, and return its row."""
    row: dict[str, Any] = {"file": printable(frame.source.name), "frame": frame.number}
    row |= {"status": "ok" if masks is not None else "failed", "reason": "" if masks is not None else frame.image}
    for k, name in enumerate(classes):
        row |= {f"{name} share": None, f"{name} mask": None}
        if masks is not None:
            place = f"{FOLDER}/{number + 1:06d}-{re.sub(r'[^A-Za-z0-9]+', '_', name)}-{k + 1}.png"
            _, encoded = cv2.imencode(".png", masks[..., k].astype(np.uint8) * 255)
            write_bytes(out / place, encoded.tobytes())
            row |= {f"{name} share": round(float(masks[..., k].mean()), 6), f"{name} mask": place}
    return row
