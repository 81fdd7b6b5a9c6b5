"""Heat maps of new images: pictures beside the predictions, and small maps for the page."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.datasets.shared.irregular import printable
from pipeline.deploying.bundle import network_of
from pipeline.deploying.choice import Choice
from pipeline.deploying.sources import Source
from pipeline.deploying.told import encoded, values
from pipeline.explaining.maps import Mapper, enlarge
from pipeline.explaining.overlay import overlay
from pipeline.imaging.enhance import resize
from pipeline.learning import session
from pipeline.study.errors import UserError
from pipeline.study.prepared import as_input, open_images, read_dataset

FOLDER = "heatmaps"
"""In the folder of the results."""
_VISIBLE = 128
"""Pixels per side that the pictures have at least, by a whole factor."""
_CELLS = 28
"""Cells per side of the maps on the page, at most."""
SCALE = (
    "each training run's map divided by its largest value, their mean enlarged and divided by its largest value: 1 is "
    "where most of the evidence is, however little that is"
)
"""What the values of a map are."""
MEANING = (
    "A heat map shows where in the image there is what raises the network's output for a class. It does not outline "
    "the finding, does not say how strong the evidence is, and does not make a decision right. Maps can look sensible "
    "where the network has learned nothing (Adebayo et al. 2018, arXiv 1810.03292)."
)
"""What a reader must know."""


class Heat:
    """Makes the heat maps of rows; threads may share it.

    A row holds of each map: class (its position), file (picture below the results' folder; "" of a map that is 0 all
    over), height and width in cells, cells (uint8, 255 where the map is 1, base64), agreement (mean correlation of the
    training runs' maps, None where it is not defined).

    Parameters
    ----------
    choice : Choice
        Its members' maps are averaged.
    out : Path
        Folder of the results; pictures are written to `FOLDER` in it.
    method : {"grad-cam", "grad-cam++", "layercam"}
        See `pipeline.explaining.cams`.
    device : {"cpu", "cuda"}
        Where they are computed.

    Raises
    ------
    UserError
        If a member has no spatial layer, or members take different metadata.
    """

    def __init__(self, choice: Choice, out: Path, method: str, device: str = "cpu") -> None:
        network = network_of(choice).to(session.begin(1, tf32=False, device=device))
        shape = open_images().shape
        channels = 1 if len(shape) == 3 else shape[3]
        if len(network.schemes) > 1 or (network.schemes and any(member.late is None for member in network.members)):
            raise UserError(f"--heatmaps: the members of {choice.name} take different metadata; name a configuration")
        self._scheme = network.schemes[0] if network.schemes else None
        self._mapper = Mapper(list(network.members), (channels, shape[1], shape[2]), method)
        self._out, self._classes = out, read_dataset().classes
        layers = dict(zip((run.model for run in choice.members), self._mapper.layers))
        self.about = {
            "method": method,
            "layers": {model: f"{at.name} ({at.height} x {at.width})" for model, at in layers.items()},
            "classes": "those decided for; of an image without, the most probable one",
            "scale": SCALE,
            "meaning": MEANING,
        }

    def __call__(
        self, images: Sequence[tuple[Source, int | None]], pixels: np.ndarray, classes: Sequence[Sequence[int]]
    ) -> list[tuple[dict[str, Any], ...]]:
        """Make the maps of prepared images [N, ...] for the classes of each, and write their pictures."""
        asked = sorted({k for each in classes for k in each})
        known: list[np.ndarray] = []
        if self._scheme is not None:
            known = [encoded(self._scheme, [values(source, self._scheme.names) for source, _ in images])]
        coarse = self._mapper.coarse(as_input(pixels), asked, *known)
        rows = []
        for i, (source, frame) in enumerate(images):
            places = [asked.index(k) for k in classes[i]]
            small = coarse.values[i, places]
            large = enlarge(small[None], *pixels.shape[1:3])[0]
            rows.append(
                tuple(
                    {
                        "class": k,
                        "file": self._write(source, frame, k, pixels[i], large[j]) if coarse.runs[i, place] else "",
                        **_cells(small[j]),
                        "agreement": _number(coarse.agreement[i, place]),
                    }
                    for j, (k, place) in enumerate(zip(classes[i], places))
                )
            )
        return rows

    def _write(self, source: Source, frame: int | None, k: int, image: np.ndarray, heat: np.ndarray) -> str:
        """Write a picture and return its name below the folder of the results."""
        # What is no letter or digit is left out of names; the digest keeps apart what is then alike.
        where = f"{printable(os.path.abspath(source.path))} {source.name}"
        digest = hashlib.sha256(where.encode()).hexdigest()[:10]
        parts = [_safe(Path(source.name).stem), digest, *([] if frame is None else [f"frame{frame}"])]
        name = f"{FOLDER}/{'-'.join([*parts, str(k), _safe(self._classes[k])])}.png"
        factor = -(-_VISIBLE // image.shape[0])
        side = factor * image.shape[0]
        colour = overlay(resize(image, side), np.clip(resize(heat, side), 0, 1))
        (self._out / FOLDER).mkdir(parents=True, exist_ok=True)
        (self._out / name).write_bytes(cv2.imencode(".png", cv2.cvtColor(colour, cv2.COLOR_RGB2BGR))[1].tobytes())
        return name


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text)[:40].strip("_") or "_"


def _cells(small: np.ndarray) -> dict[str, Any]:
    largest = float(small.max())
    scaled = small / largest if largest > 0 else small
    height, width = (min(side, _CELLS) for side in small.shape)
    cells = np.rint(255 * resize(scaled, width, height)).astype(np.uint8)
    return {"height": height, "width": width, "cells": base64.b64encode(cells.tobytes()).decode("ascii")}


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)
