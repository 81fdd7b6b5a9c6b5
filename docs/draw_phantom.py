"""Draw docs/phantom.png: an image of each finding of data set `phantom`, its box outlined.

``python docs/draw_phantom.py`` after ``dvc repro download``.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipeline.datasets.phantom.dataset import Data
from pipeline.datasets.shared.nih_layout import FINDINGS
from pipeline.settings import load
from pipeline.study.files import raw_folder

TILE, COLUMNS = 168, 7


def tile(path: Path, boxes: np.ndarray, title: str) -> np.ndarray:
    """Return the image in colour with boxes [B, 4] (x, y, width, height as fractions) and a title."""
    stored = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert stored is not None, path
    image = cv2.resize(stored, (TILE, TILE), interpolation=cv2.INTER_AREA)
    for x, y, width, height in boxes * TILE:
        cv2.rectangle(image, (int(x), int(y)), (int(x + width), int(y + height)), (60, 220, 255), 1, cv2.LINE_AA)
    cv2.rectangle(image, (0, 0), (TILE, 17), (0, 0, 0), -1)
    cv2.putText(image, title, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return image


def main() -> None:
    """Take for each finding the image that shows least besides it."""
    settings = load()
    data = Data.model_validate(settings.datasets["phantom"] or {})
    folder = raw_folder("phantom")
    boxes = data.boxes(folder)
    labels = {s.sample_id: len(s.labels) for s in data.samples(folder)}
    tiles = []
    for finding in FINDINGS:
        own = boxes[boxes["class"] == finding]
        name = min(own["sample_id"], key=lambda n: (labels[n], n))
        here = own.loc[own["sample_id"] == name, ["x", "y", "width", "height"]].to_numpy(float)
        tiles.append(tile(folder / "images" / name, here, finding.replace("_", " ")))
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    sheet = Image.fromarray(cv2.cvtColor(np.vstack(rows), cv2.COLOR_BGR2RGB))
    sheet.quantize(96, dither=Image.Dither.NONE).save("docs/phantom.png", optimize=True)


if __name__ == "__main__":
    main()
