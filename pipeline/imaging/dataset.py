"""A data set as published to one array of images and the tables that describe it, in a folder."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.shared.inputs import SampleDigest, VerifiedSamples, check_other, read_content
from pipeline.datasets.shared.remarks import remarks
from pipeline.imaging.examples import write_examples
from pipeline.imaging.outcome import boxes_in_pixels, flat_remark, summary
from pipeline.imaging.prepare import prepare_all
from pipeline.imaging.region import model_identity, regions_of
from pipeline.imaging.settings import Preprocess, PreprocessSections
from pipeline.study import classes
from pipeline.study.files import (
    BOXES,
    DATASET,
    DUPLICATES,
    EXAMPLES,
    EXCLUDED,
    IMAGES,
    KINDS,
    MASKS,
    PREPARATION,
    PREPARED,
    READING,
    SAMPLES,
    SOURCE,
    ArtifactError,
    raw_folder,
    read_json,
    write_csv,
    write_json,
)
from pipeline.study.prepared import DatasetInfo


def prepare_study(params: PreprocessSections) -> None:
    """Prepare the images of the study's data set, as stage download has found it.

    Raises
    ------
    ArtifactError
        If stage download has found another data set.
    UserError
        See `prepare_dataset`.
    """
    dataset = open_dataset(params.dataset, params.datasets[params.dataset])
    found, content = read_json(SOURCE, "download"), read_content()
    if found["name"] != dataset.name:
        raise ArtifactError(f"{SOURCE} is of data set {found['name']}; stage 'download' makes it: dvc repro download")
    prepare_dataset(dataset, raw_folder(dataset.name), found, content, params.preprocess, PREPARED)


def prepare_dataset(
    dataset: Dataset,
    raw: Path,
    found: dict[str, Any],
    content: list[SampleDigest] | None,
    settings: Preprocess,
    folder: Path,
) -> None:
    """Write the prepared images and the tables of a data set into `folder`.

    Parameters
    ----------
    dataset : Dataset
        The data set.
    raw : Path
        Its folder as published.
    found : dict
        What `pipeline.datasets.shared.obtaining.obtain` has found.
    content : list of SampleDigest or None
        Of `pipeline.datasets.shared.inputs.read_content`.
    settings : Preprocess
        Section ``preprocess``.
    folder : Path
        Receives the files, under the names that they have in ``data/study/prepared``.

    Raises
    ------
    UserError
        If the data set is not what was found, or no image can be used.
    """
    # Run by hand and interrupted, no table of an earlier run may stand beside the images of this one.
    for name in (SAMPLES, EXCLUDED, DUPLICATES, BOXES, READING, KINDS, DATASET, MASKS, PREPARATION):
        (folder / name.name).unlink(missing_ok=True)

    samples, regions = VerifiedSamples(dataset, raw, content), regions_of(settings.roi, dataset, raw)
    masks = folder / MASKS.name if dataset.task == "segmentation" else None
    prepared = prepare_all(
        samples,
        dataset.classes,
        dataset.task,
        settings,
        folder / IMAGES.name,
        progress=True,
        masks_path=masks,
        regions=regions,
    )
    strange = flat_remark(prepared)
    left_out = pd.DataFrame(dataset.left_out(raw), columns=prepared.excluded.columns, dtype="str")
    prepared = prepared._replace(excluded=pd.concat([prepared.excluded, left_out], ignore_index=True))
    boxes = dataset.boxes(raw)
    check_other(dataset, raw, (found["content"] or {}).get("other"))
    write_examples(samples, prepared.samples, settings, folder / EXAMPLES.name, prepared.scale, regions)
    prepared.kinds.write_pictures(folder / KINDS.name)

    write_csv(folder / SAMPLES.name, prepared.samples)
    write_csv(folder / EXCLUDED.name, prepared.excluded)
    write_csv(folder / DUPLICATES.name, prepared.duplicates)
    region = {"region": files} if (files := model_identity(settings.roi)) else {}
    write_json(folder / READING.name, {"scale": asdict(prepared.scale), "kinds": prepared.kinds.table(), **region})
    write_json(folder / DATASET.name, describe(dataset, found["source"], strange).record())
    if masks is not None:
        write_json(folder / PREPARATION.name, settings.model_dump(mode="json", exclude={"duplicates", "threads"}))
    if boxes is not None:
        kept = boxes_in_pixels(boxes, prepared.samples, settings.size, settings.keep_aspect)
        write_csv(folder / BOXES.name, kept)
    print(summary(prepared), *(f"warning: {remark}" for remark in strange), sep="\n", file=sys.stderr)


def describe(dataset: Dataset, source: dict[str, Any], found: Iterable[str] = ()) -> DatasetInfo:
    """Collect what the data set's file states about itself.

    Parameters
    ----------
    dataset : Dataset
        The data set.
    source : dict
        What its `fetch` found.
    found : iterable of str
        What its preparation found strange, one sentence each.
    """
    return DatasetInfo(
        name=dataset.name,
        title=dataset.title,
        task=dataset.task,
        ordered=dataset.ordered,
        target=dataset.target,
        classes=dataset.classes,
        synthetic=dataset.synthetic,
        licence=dataset.licence,
        citation=dataset.citation,
        url=dataset.url,
        notes=dataset.notes,
        source=source,
        patients_known=dataset.patients_known,
        uncertain=dataset.uncertain_as,
        remarks=(*classes.remarks(dataset.classes), *remarks(source, names=False), *found),
    )
