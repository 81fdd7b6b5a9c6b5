"""Heat maps over the image that a file shows, with a legend that stays with the picture wherever it is seen."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from pipeline.deploying.dicom_codes import RESEARCH, text
from pipeline.deploying.recipe import Recipe
from pipeline.deploying.running import Row
from pipeline.explaining.overlay import on_original, overlay
from pipeline.imaging.enhance import resize
from pipeline.imaging.reading import Reader
from pipeline.imaging.region import NO_REGIONS, Region, Regions, whole

LONGEST = 1024
"""Pixels of a picture's longer side, at most."""
_LEAST = 256
"""Pixels of its width, at least: the legend is to be read."""


def overlays(
    data: bytes, rows: Sequence[Row], recipe: Recipe, regions: Regions = NO_REGIONS
) -> Iterator[dict[str, np.ndarray]]:
    """Yield for each row the pictures of its heat maps.

    Parameters
    ----------
    data : bytes
        The file that the rows are of.
    rows : sequence of Row
        All rows of the file, in the order of its images.
    recipe : Recipe
        Of the model.
    regions : Regions
        As of the `Predictor` that made the rows.

    Yields
    ------
    dict of str to uint8 [H, W, 3]
        By class: the image as decoded, at most `LONGEST` pixels long, under its map, and a legend below. A map that is
        0 all over has none.
    """
    settings = recipe.settings()
    frames = Reader(settings, list).frames(lambda: data)
    for row, frame in zip(rows, frames):
        if isinstance(frame.image, str) or not row.heat:
            yield {}
            continue
        image = frame.image.pixels
        height, width = image.shape[:2]
        region = regions(row.file, image) or whole(image)
        factor = min(1.0, LONGEST / max(height, width))
        small = resize(image, max(1, round(width * factor)), max(1, round(height * factor)))
        yield {
            recipe.classes[each["class"]]: labelled(
                overlay(small, np.clip(resize(_map(each, width, height, region, recipe), *small.shape[1::-1]), 0, 1)),
                recipe.classes[each["class"]],
                row.probability[each["class"]],
                recipe.name,
            )
            for each in row.heat
            if each["file"]
        }


def _map(each: Mapping[str, Any], width: int, height: int, region: Region, recipe: Recipe) -> np.ndarray:
    """Return a row's map at the size of the image, float32 [height, width] in [0, 1]; 0 outside of its region."""
    cells = np.frombuffer(base64.b64decode(each["cells"]), np.uint8).reshape(each["height"], each["width"])
    settings = recipe.settings()
    prepared = resize(cells.astype(np.float32) / 255, settings.size)
    heat = np.zeros((height, width), np.float32)
    rows, columns = slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)
    heat[rows, columns] = on_original(prepared, region.width, region.height, settings.keep_aspect)
    return heat


def labelled(shown: np.ndarray, of: str, probability: float, model: str) -> np.ndarray:
    """Put a legend under an overlay.

    Parameters
    ----------
    shown : uint8 [H, W, 3]
        The overlay.
    of : str
        The class.
    probability : float
        Of the class.
    model : str
        Its name.

    Returns
    -------
    uint8 [H + legend, W or more, 3]
        The overlay is untouched; a narrow one has black beside it. The font has letters of ASCII alone.
    """
    height, width = shown.shape[0], max(shown.shape[1], _LEAST)
    lines = (RESEARCH.upper(), f"Heat map: {of}, probability {probability:.3f}", f"Model: {model}")
    plain = [text(line, 120).encode("ascii", "replace").decode() for line in lines]
    font, thick = cv2.FONT_HERSHEY_SIMPLEX, 1
    widest = max(cv2.getTextSize(line, font, 1.0, thick)[0][0] for line in plain)
    scale = min(0.6, 0.95 * width / widest)
    step = int(34 * scale) + 2
    picture = np.zeros((height + step * len(plain) + 8, width, 3), np.uint8)
    picture[:height, : shown.shape[1]] = shown
    for i, line in enumerate(plain):
        at = (4, height + step * (i + 1))
        cv2.putText(picture, line, at, font, scale, (255, 255, 255), thick, cv2.LINE_AA)
    return picture
