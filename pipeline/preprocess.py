"""Stage ``preprocess``: the data set as published to one array of images and the tables that describe it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from typing import Any

import pandas as pd

from pipeline import artifacts, params
from pipeline.datasets import Dataset
from pipeline.errors import stage_errors
from pipeline.imaging.prepare import prepare_all
from pipeline.study import open_dataset

BOX_COLUMNS = ["row", "sample_id", "class", "x", "y", "width", "height"]


def describe(dataset: Dataset, source: dict[str, Any]) -> artifacts.DatasetInfo:
    """Collect what the data set's file states about itself; `source` is what stage ``download`` found."""
    return artifacts.DatasetInfo(
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
    )


def boxes_in_pixels(boxes: pd.DataFrame, samples: pd.DataFrame, size: int) -> pd.DataFrame:
    """Scale boxes to the prepared images and drop those of images that were not kept.

    Parameters
    ----------
    boxes : DataFrame
        From `Dataset.boxes`, fractions of the image.
    samples : DataFrame
        Columns row and sample_id of the images kept.
    size : int
        Pixels a side of the prepared images.

    Returns
    -------
    DataFrame
        BOX_COLUMNS; x, y, width and height in pixels of the prepared image, in the order of `boxes`.
    """
    kept = boxes.merge(samples[["row", "sample_id"]], on="sample_id", how="inner", validate="many_to_one")
    scaled = kept[["x", "y", "width", "height"]].astype(float) * size
    return pd.concat([kept[["row", "sample_id", "class"]], scaled.round(3)], axis=1)[BOX_COLUMNS]


def main() -> None:
    """Run the stage."""
    with stage_errors():
        settings = params.load()
        dataset = open_dataset(settings)
        raw = artifacts.raw_folder(dataset.name)
        source = artifacts.read_json(raw / artifacts.SOURCE, "download")["source"]

        prepared = prepare_all(
            dataset.samples(raw), dataset.classes, dataset.task, settings.preprocess, artifacts.IMAGES, progress=True
        )
        boxes = dataset.boxes(raw)

        artifacts.write_csv(artifacts.SAMPLES, prepared.samples)
        artifacts.write_csv(artifacts.EXCLUDED, prepared.excluded)
        artifacts.write_json(artifacts.DATASET, asdict(describe(dataset, source)))
        artifacts.BOXES.unlink(missing_ok=True)  # of another data set, if the stage is run by hand
        if boxes is not None:
            boxes = boxes_in_pixels(boxes, prepared.samples, settings.preprocess.size)
            artifacts.write_csv(artifacts.BOXES, boxes)

        reasons = Counter(prepared.excluded["reason"])
        why = "".join(f"\n  {count} x {reason}" for reason, count in reasons.most_common())
        print(f"{len(prepared.samples)} images kept, {len(prepared.excluded)} excluded{why}", file=sys.stderr)


if __name__ == "__main__":
    main()
