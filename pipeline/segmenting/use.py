"""A trained network of segmentation, outside of its study: masks of any images, from its folder alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.imaging.enhance import prepare
from pipeline.imaging.masks import unplace
from pipeline.imaging.settings import Preprocess
from pipeline.learning.networks import models
from pipeline.learning.settings import Model
from pipeline.segmenting.probabilities import predict_masks, quantised
from pipeline.study.errors import UserError
from pipeline.study.prepared import as_input

FOUND = "model.safetensors"
"""Weights, in the folder of a training run."""
USE = "segmenter.json"
"""Beside them: all else that is needed to find masks with them."""
FORMAT = 1
_AT_ONCE = 32
"""Images that go through the network together."""


class SegmenterError(UserError):
    """A folder is not that of a trained network of segmentation. The message names it and what is missing."""


@dataclass(frozen=True)
class Segmenter:
    """Content of segmenter.json.

    Parameters
    ----------
    classes : list of str [K]
        Structures, in the order of the network's masks.
    thresholds : list of int [K]
        Of 255: a pixel of at least this probability is of the structure; chosen on validation.
    size : int
        Pixels per side of the prepared images.
    model : dict
        Settings of the model, as under ``models`` in params.yaml.
    preprocess : dict
        Settings by which images are prepared, as under ``preprocess``.
    """

    classes: list[str]
    thresholds: list[int]
    size: int
    model: dict[str, Any]
    preprocess: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Return what is written."""
        return {"format": FORMAT, **vars(self)}


def read_segmenter(folder: Path) -> Segmenter:
    """Read the record of a trained network of segmentation.

    Parameters
    ----------
    folder : Path
        Of a training run, ``models/<model>-<loss>/seed<seed>``, or a copy of it.

    Raises
    ------
    SegmenterError
        If it is not there, or is none; the weights are looked for, too.
    """
    for name in (USE, FOUND):
        if not (folder / name).is_file():
            raise SegmenterError(
                f"{folder} is no folder of a trained network of segmentation: {name} is missing; it must be "
                f"models/<model>-<loss>/seed<seed> of a study with task: segmentation, or a copy of it"
            )
    try:
        content = json.loads((folder / USE).read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError("of another version of this program")
        segmenter = Segmenter(**content)
        Preprocess.model_validate(segmenter.preprocess)
        Model.model_validate(segmenter.model)
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        raise SegmenterError(f"{folder / USE} cannot be used: {' '.join(str(error).split())[:200]}") from None
    return segmenter


def find_masks(folder: Path, images: Iterable[np.ndarray]) -> Iterator[NDArray[np.bool_]]:
    """Find the structures that a trained network knows, in any images.

    Images are prepared as those that the network was trained on (contrast, size, shape); its masks are brought back to
    the size of each image. A few images at a time are in memory.

    Parameters
    ----------
    folder : Path
        See `read_segmenter`.
    images : iterable of uint8 or uint16 [H, W], or [H, W, 3] for a network of colour images
        As decoded, full scale 255 or 65535; of any size.

    Yields
    ------
    bool [H, W, K]
        Of each image in order, for each of `Segmenter.classes`.

    Raises
    ------
    SegmenterError
        Before the first image, if the folder is none of a trained network; at an image of another shape.

    Notes
    -----
    On the CPU, whatever the machine has, with the threads that torch is set to: the masks of an image are the same
    wherever they are asked for, and whichever images come with it but for the last digits of a probability.
    """
    segmenter = read_segmenter(folder)  # at once, not at the first image
    return _found(folder, segmenter, iter(images))


def _found(folder: Path, segmenter: Segmenter, images: Iterator[np.ndarray]) -> Iterator[NDArray[np.bool_]]:
    settings = Preprocess.model_validate(segmenter.preprocess)
    described = Model.model_validate(segmenter.model)
    network = models.rebuild("segmenter", described, len(segmenter.classes), segmenter.size, folder / FOUND)
    network = network.to(memory_format=torch.channels_last)
    thresholds = torch.tensor(segmenter.thresholds, dtype=torch.uint8)[None, :, None, None]
    dimensions = 2 if settings.channels == 1 else 3
    while some := list(islice(images, _AT_ONCE)):
        for image in some:
            if image.ndim != dimensions or image.dtype not in (np.uint8, np.uint16) or not image.size:
                wanted = "[H, W]" if dimensions == 2 else "[H, W, 3]"
                raise SegmenterError(
                    f"an image of {image.dtype} {list(image.shape)}; the network in {folder} takes uint8 or uint16 "
                    f"{wanted}"
                )
        batch = as_input(np.stack([prepare(image, settings) for image in some]))
        logits = predict_masks(network, torch.from_numpy(batch), "float32")
        masks = (quantised(logits) >= thresholds).numpy()
        for image, found in zip(some, masks):
            height, width = image.shape[:2]
            yield np.stack([unplace(mask, height, width, settings.keep_aspect) for mask in found], axis=-1)
