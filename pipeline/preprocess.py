"""Stage ``preprocess``: the data set as published to one array of images and the tables that describe it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pandas as pd

from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.shared.inputs import VerifiedSamples, check_other, read_content
from pipeline.datasets.shared.remarks import remarks
from pipeline.imaging.examples import write_examples
from pipeline.imaging.outcome import boxes_in_pixels, flat_remark, summary
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.settings import PreprocessSections
from pipeline.study import classes
from pipeline.study.errors import stage_errors
from pipeline.study.files import (
    BOXES,
    DATASET,
    DUPLICATES,
    EXAMPLES,
    EXCLUDED,
    IMAGES,
    KINDS,
    READING,
    SAMPLES,
    SOURCE,
    ArtifactError,
    raw_folder,
    read_json,
    write_csv,
    write_json,
)
from pipeline.study.params import load
from pipeline.study.prepared import DatasetInfo


def describe(dataset: Dataset, source: dict[str, Any], found: Iterable[str] = ()) -> DatasetInfo:
    """Collect what the data set's file states about itself.

    Parameters
    ----------
    dataset : Dataset
        The data set.
    source : dict
        What stage ``download`` found.
    found : iterable of str
        What this stage found strange, one sentence each.
    """
    return DatasetInfo(
        name=dataset.name,
        title=dataset.title,
        task=dataset.task,
        classes=dataset.classes,
        synthetic=dataset.synthetic,
        licence=dataset.licence,
        citation=dataset.citation,
        url=dataset.url,
        notes=dataset.notes,
        source=source,
        patients_known=dataset.patients_known,
        remarks=(*classes.remarks(dataset.classes), *remarks(source, names=False), *found),
    )


def main() -> None:
    """Run the stage."""
    with stage_errors():
        settings = load(PreprocessSections)
        dataset = open_dataset(settings.dataset, settings.datasets[settings.dataset])
        raw = raw_folder(dataset.name)
        found, content = read_json(SOURCE, "download"), read_content()
        if found["name"] != dataset.name:
            raise ArtifactError(
                f"{SOURCE} is of data set {found['name']}; stage 'download' makes it: dvc repro download"
            )
        # Run by hand and interrupted, no table of an earlier run may stand beside the images of this one.
        for path in (SAMPLES, EXCLUDED, DUPLICATES, BOXES, READING, KINDS, DATASET):
            path.unlink(missing_ok=True)

        samples = VerifiedSamples(dataset, raw, content)
        prepared = prepare_all(samples, dataset.classes, dataset.task, settings.preprocess, IMAGES, progress=True)
        strange = flat_remark(prepared)
        left_out = pd.DataFrame(dataset.left_out(raw), columns=prepared.excluded.columns, dtype="str")
        prepared = prepared._replace(excluded=pd.concat([prepared.excluded, left_out], ignore_index=True))
        boxes = dataset.boxes(raw)
        check_other(dataset, raw, (found["content"] or {}).get("other"))
        write_examples(samples, prepared.samples, settings.preprocess, EXAMPLES, prepared.scale)
        prepared.kinds.write_pictures(KINDS)

        write_csv(SAMPLES, prepared.samples)
        write_csv(EXCLUDED, prepared.excluded)
        write_csv(DUPLICATES, prepared.duplicates)
        write_json(READING, {"scale": asdict(prepared.scale), "kinds": prepared.kinds.table()})
        write_json(DATASET, asdict(describe(dataset, found["source"], strange)))
        if boxes is not None:
            size, keep_aspect = settings.preprocess.size, settings.preprocess.keep_aspect
            write_csv(BOXES, boxes_in_pixels(boxes, prepared.samples, size, keep_aspect))
        print(summary(prepared), *(f"warning: {remark}" for remark in strange), sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
