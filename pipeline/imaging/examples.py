"""A few images before and after contrast enhancement, kept for the report: the prepared array holds only the result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.datasets import DatasetError, Sample
from pipeline.imaging.depth import to_8_bits
from pipeline.imaging.reading import Reader, Scale, anew
from pipeline.imaging.region import NO_REGIONS, Regions, prepare_region
from pipeline.imaging.settings import Preprocess
from pipeline.study.files import replaced

COUNT = 4
_AMONG = 1000
"""Examples come from so many images at the beginning: an archive is unpacked anew as far as the last of them."""


def write_examples(
    samples: Iterable[Sample],
    kept: pd.DataFrame,
    settings: Preprocess,
    path: Path,
    scale: Scale | None = None,
    regions: Regions = NO_REGIONS,
) -> None:
    """Write a few images without and with CLAHE, otherwise prepared alike; nothing if CLAHE is off.

    Parameters
    ----------
    samples : iterable of Sample
        The data set anew, in the order in which `kept` was made; read only as far as the last example.
    kept : DataFrame
        Columns row and sample_id of the images in the prepared array.
    settings : Preprocess
        With which the array was made.
    path : Path
        Receives a .npz file with ``rows`` (int64 [E]), ``before`` and ``after`` (uint8 [E, H, W] or [E, H, W, 3]). A
        file of an earlier run is removed even if no new one is written.
    scale : Scale, optional
        On which the array was made; looked for if not given.
    regions : Regions
        With which the array was made.

    Raises
    ------
    DatasetError
        If an image of `kept` is no longer in `samples`.
    """
    path.unlink(missing_ok=True)
    if not settings.clahe.enabled or kept.empty:
        return
    wanted = _chosen(kept)
    plain = settings.model_copy(update={"clahe": settings.clahe.model_copy(update={"enabled": False})})
    pairs: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    reader = Reader(settings, anew(samples), scale)
    for sample in samples:
        if not any(name == sample.sample_id or name.startswith(f"{sample.sample_id}#") for name in wanted):
            continue
        for frame in reader.frames(sample.read):
            row = wanted.get(sample.sample_id + frame.suffix)
            if row is not None and not isinstance(frame.image, str):
                image = frame.image.pixels
                region = regions(sample.sample_id, image)
                before, after = (prepare_region(image, region, how) for how in (plain, settings))
                pairs[row] = to_8_bits(before), to_8_bits(after)
        if len(pairs) == len(wanted):
            break
    lost = [name for name, row in wanted.items() if row not in pairs]
    if lost:
        raise DatasetError(f"{lost[0]} was prepared and is no longer in the data set; run stage 'preprocess' again")
    rows = sorted(pairs)
    with replaced(path) as partial:
        np.savez(
            partial,
            rows=np.array(rows, np.int64),
            before=np.stack([pairs[row][0] for row in rows]),
            after=np.stack([pairs[row][1] for row in rows]),
        )


def _chosen(kept: pd.DataFrame) -> dict[str, int]:
    """Return sample id to row of the images in the middle of equal stretches of the beginning of the table.

    Data sets list their images by patient, so that neighbours are alike.
    """
    places = np.unique((np.arange(COUNT) + 0.5) * min(len(kept), _AMONG) // COUNT).astype(int)
    chosen = kept.iloc[places]
    return dict(zip(chosen["sample_id"].tolist(), chosen["row"].tolist(), strict=True))
