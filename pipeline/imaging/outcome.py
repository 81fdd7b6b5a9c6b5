"""What became of the images and boxes of a data set, for stage ``preprocess`` to write down and to say."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd

from pipeline.imaging.enhance import KeepAspect, map_boxes
from pipeline.imaging.prepare import FLAT, Prepared
from pipeline.imaging.region import COLUMNS, FOUND

BOX_COLUMNS = ["row", "sample_id", "class", "x", "y", "width", "height"]


def boxes_in_pixels(boxes: pd.DataFrame, samples: pd.DataFrame, size: int, keep_aspect: KeepAspect) -> pd.DataFrame:
    """Map boxes to the prepared images; drop those of images that were not kept and those that were cropped away.

    Parameters
    ----------
    boxes : DataFrame
        From `Dataset.boxes`.
    samples : DataFrame
        Columns row, sample_id, width and height (pixels as published) of the images kept, and `region.COLUMNS` where
        regions of interest were cut out.
    size : int
        Pixels per side of the prepared images.
    keep_aspect : {"stretch", "pad", "crop"}
        How they became square.

    Returns
    -------
    DataFrame
        BOX_COLUMNS; x, y, width and height in pixels of the prepared image, in the order of `boxes`.
    """
    images = samples[["row", "sample_id", "width", "height"]].rename(columns={"width": "of_x", "height": "of_y"})
    if COLUMNS[0] in samples:
        images[[*COLUMNS[1:]]] = samples[[*COLUMNS[1:]]]
    kept = boxes.merge(images, on="sample_id", how="inner", validate="many_to_one")
    sides = ["x", "y", "width", "height"]
    if "pixels" in kept:
        counted = kept["pixels"].astype("boolean").fillna(False).to_numpy(bool)
        for side, of in zip(sides, ("of_x", "of_y", "of_x", "of_y")):
            kept[side] = np.where(counted, kept[side] / kept[of], kept[side])
    if COLUMNS[0] in samples:  # as fractions of what was kept of the image, which then is the image
        x, y, width, height = (kept[name] for name in COLUMNS[1:])
        kept["x"], kept["width"] = (kept["x"] * kept["of_x"] - x) / width, kept["width"] * kept["of_x"] / width
        kept["y"], kept["height"] = (kept["y"] * kept["of_y"] - y) / height, kept["height"] * kept["of_y"] / height
        kept["of_x"], kept["of_y"] = width, height
    kept[sides] = map_boxes(kept[sides].to_numpy(float), kept["of_x"], kept["of_y"], size, keep_aspect).round(3)
    return kept.loc[(kept["width"] > 0) & (kept["height"] > 0), BOX_COLUMNS].reset_index(drop=True)


def flat_remark(prepared: Prepared) -> list[str]:
    """Say how many of the images kept are all but of one grey level; nothing where none is."""
    return (
        [
            f"{prepared.flat:,} of {len(prepared.samples):,} images kept are all but of one grey level: at the size of "
            f"a thumbnail their values span at most {FLAT} of 255, as those of masks and of a wrong scale do"
        ]
        if prepared.flat
        else []
    )


def region_lines(samples: pd.DataFrame) -> list[str]:
    """Count the images by what became of their region of interest; nothing where none was looked for."""
    if COLUMNS[0] not in samples:
        return []
    counts = samples[COLUMNS[0]].str.partition(":")[0].value_counts()
    whole = [f"{counts[status]} {status}" for status in counts.index if status != FOUND]
    return [
        f"region of interest: {counts.get(FOUND, 0)} found" + (f"; kept whole: {', '.join(whole)}" if whole else "")
    ]


def summary(prepared: Prepared) -> str:
    """Count what was kept, excluded (by reason) and found twice."""
    kinds = prepared.duplicates["kind"].value_counts()
    lines = [
        f"{len(prepared.samples)} images kept, {len(prepared.excluded)} excluded",
        f"duplicates: {kinds.get('exact', 0)} exact, {kinds.get('near', 0)} near",
    ]
    # The reason of a contradiction names its image; they are counted together.
    reasons = Counter(re.sub("(mask of) .*", r"\1 an image", r.split(":")[0]) for r in prepared.excluded["reason"])
    listed = [f"  {count} x {reason}" for reason, count in reasons.most_common()]
    return "\n".join([*lines[:1], *listed, *lines[1:], *region_lines(prepared.samples)])
