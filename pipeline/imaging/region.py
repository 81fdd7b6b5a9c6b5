"""The region of interest of an image: the part that masks say is of interest, and what is done with the rest.

The region is cut out before contrast is enhanced and before the image is resized: the tiles of CLAHE then lie on the
region, and all pixels of the prepared image are spent on it. What is blanked is blanked before, so that nothing of it
reaches a network, and once more at the end, as CLAHE lifts black that shares a tile with something else.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import Dataset
from pipeline.imaging.enhance import fit, prepare
from pipeline.imaging.masks import MaskError, published_mask
from pipeline.imaging.settings import OWN, Preprocess, Roi
from pipeline.study.digests import digest_of
from pipeline.study.errors import UserError
from pipeline.study.inputs import located, not_to_stay

FOUND, NO_MASK, EMPTY, SMALL, UNUSABLE = "found", "no mask", "none found", "too small", "mask not usable"
"""What column `COLUMNS` [0] of samples.csv says, the last with a reason; images of all but the first are kept whole."""
COLUMNS = ("roi", "roi_x", "roi_y", "roi_width", "roi_height")
"""Of samples.csv where there is a region: `Region.status`, and the part of the image that was kept, in pixels."""
SPECK = 0.05
"""Pieces of a network's mask below this share of its largest are dropped: one wrong pixel could make the box large."""

Mask = NDArray[np.bool_]
Finder = Callable[[str, NDArray[Any]], "Mask | str"]
"""Returns the mask of an image, bool [H, W], from its sample id and pixels; or why there is none."""


class Region(NamedTuple):
    """The part of an image that is prepared.

    Parameters
    ----------
    status : str
        `FOUND`, or why the image is kept whole.
    x, y, width, height : int
        What is kept of the image, in its pixels.
    mask : bool [height, width] or None
        Within that; what is outside becomes black. None = nothing does.
    """

    status: str
    x: int
    y: int
    width: int
    height: int
    mask: Mask | None = None


def whole(image: NDArray[Any], status: str = FOUND) -> Region:
    """Return all of an image [H, W] or [H, W, 3] as its region."""
    return Region(status, 0, 0, image.shape[1], image.shape[0])


def region_of(mask: Mask | str, height: int, width: int, settings: Roi) -> Region:
    """Return the part of an image of `height` x `width` pixels to prepare.

    Parameters
    ----------
    mask : bool [height, width] or str
        Of the region; or why there is none.
    height, width : int
        Of the image.
    settings : Roi
        The box around the mask grows by ``margin`` of its own width and height on each side, as far as the image
        reaches. A mask of less than ``least`` of the image counts as not found.
    """
    all_of_it = (0, 0, width, height)
    if isinstance(mask, str):
        return Region(mask, *all_of_it)
    if not mask.any():
        return Region(EMPTY, *all_of_it)
    if float(mask.mean()) < settings.least:
        return Region(SMALL, *all_of_it)
    x, y, w, h = all_of_it
    if settings.crop:
        x, w = _span(mask, 0, settings.margin)
        y, h = _span(mask, 1, settings.margin)
    inside = np.ascontiguousarray(mask[y : y + h, x : x + w]) if settings.outside == "blank" else None
    return Region(FOUND, x, y, w, h, inside)


def _span(mask: Mask, axis: int, margin: float) -> tuple[int, int]:
    """Return start and length of what a mask occupies, with its margin, within the image: over its rows, or columns."""
    occupied = np.flatnonzero(mask.any(axis=axis))
    first, end = int(occupied[0]), int(occupied[-1]) + 1
    extra = round(margin * (end - first))
    first, end = max(0, first - extra), min(mask.shape[1 - axis], end + extra)
    return first, end - first


def cut_out(image: NDArray[Any], region: Region) -> NDArray[Any]:
    """Return what is kept of an image [H, W] or [H, W, 3], black outside of the region's mask; the image stays."""
    part = image[region.y : region.y + region.height, region.x : region.x + region.width]
    if region.mask is None:
        return part
    inside = region.mask if part.ndim == 2 else region.mask[:, :, None]
    return np.where(inside, part, part.dtype.type(0))


def prepare_region(image: NDArray[Any], region: Region | None, settings: Preprocess) -> NDArray[Any]:
    """Cut the region out of a decoded image, then enhance and resize it as `enhance.prepare` does.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, 3]
        As decoded.
    region : Region or None
        Of `region_of`; None = the whole image.
    settings : Preprocess
        Section ``preprocess``.

    Returns
    -------
    [size, size] or [size, size, 3], dtype `settings.store`
        Where the mask covers less than half of a pixel's area, black if ``roi.outside`` is blank.
    """
    if region is None:
        return prepare(image, settings)
    prepared = prepare(cut_out(image, region), settings)
    if region.mask is not None:
        covered = fit(region.mask.astype(np.uint8) * np.uint8(255), settings.size, settings.keep_aspect)
        prepared[covered < 128] = 0
    return prepared


class Regions:
    """Finds the region of each image as ``preprocess.roi`` says; may be called by several threads.

    Parameters
    ----------
    settings : Roi or None
        None finds none.
    finder : callable or None
        Finds the masks; None with `settings`.
    """

    def __init__(self, settings: Roi | None, finder: Finder | None) -> None:
        self._settings, self._finder = settings, finder

    def __call__(self, sample_id: str, image: NDArray[Any]) -> Region | None:
        """Return the region of a decoded image; None where the study has none."""
        if self._settings is None or self._finder is None:
            return None
        return region_of(self._finder(sample_id, image), image.shape[0], image.shape[1], self._settings)


NO_REGIONS = Regions(None, None)


def regions_of(settings: Roi | None, dataset: Dataset | None = None, folder: Path | None = None) -> Regions:
    """Return what finds the regions of images.

    Parameters
    ----------
    settings : Roi or None
        ``preprocess.roi``.
    dataset, folder : Dataset, Path
        Whose own masks are meant, and where it lies; None = images that belong to no data set.

    Raises
    ------
    UserError
        If the masks are those of a data set, and there is none or it has none, or a class of theirs is unknown.
    """
    if settings is None:
        return NO_REGIONS
    if settings.masks != OWN:
        return Regions(settings, _Network(settings))
    if dataset is None or folder is None:
        raise UserError(
            f"preprocess.roi.masks: '{OWN}': the study's images were cut to masks of their data set, and new images "
            "have none; to predict, train a study whose roi.masks is the folder of a segmentation model"
        )
    check_own(settings, dataset)
    masks, wanted = dataset.masks(folder), settings.classes or list(dataset.mask_classes)

    def find(sample_id: str, image: NDArray[Any]) -> Mask | str:
        try:
            sources = dict(zip(dataset.mask_classes, masks(sample_id) or ()))
            found = [published_mask(sources[name], *image.shape[:2]) for name in wanted if name in sources]
        except FileNotFoundError:
            return NO_MASK
        except (OSError, MaskError) as error:
            return f"{UNUSABLE}: {error.strerror if isinstance(error, OSError) else error}"
        inside = [mask for mask in found if mask is not None]
        return NO_MASK if not found else np.logical_or.reduce([np.zeros(image.shape[:2], bool), *inside])

    return Regions(settings, find)


def check_own(settings: Roi, dataset: Dataset) -> None:
    """Refuse own masks of a data set without any, and classes that they do not have."""
    if not dataset.mask_classes:
        raise UserError(
            f"preprocess.roi.masks: '{OWN}': {dataset.name} has no masks; must be the folder of a trained segmentation "
            "model, or roi empty"
        )
    for name in settings.classes:
        if name not in dataset.mask_classes:
            raise UserError(
                f"preprocess.roi.classes: '{name}' is no mask of {dataset.name}; use some of: "
                f"{', '.join(dataset.mask_classes)}"
            )


def model_files(settings: Roi | None) -> list[Path]:
    """Return the files of the segmentation model that finds the regions, weights first; none where there is none.

    Raises
    ------
    UserError
        Naming the key, if ``masks`` is no folder with one file of weights, or one that the study itself moves away.
    """
    if settings is None or settings.masks == OWN:
        return []
    key, folder = f"preprocess.roi.masks: '{settings.masks}'", located(settings.masks)
    if not folder.is_dir():
        raise UserError(f"{key}: no such folder; must be '{OWN}', or the folder of a trained segmentation model")
    if reason := not_to_stay(folder):
        raise UserError(f"{key}: {reason}")
    files = sorted(file for file in folder.iterdir() if file.suffix in (".safetensors", ".json"))
    weights = [file for file in files if file.suffix == ".safetensors"]
    if len(weights) != 1 or len(files) == 1:
        names = ", ".join(file.name for file in files) or "none"
        raise UserError(
            f"{key}: holds {names}; must hold one .safetensors file of a segmentation model, and its record"
        )
    return [*weights, *(file for file in files if file not in weights)]


def model_identity(settings: Roi | None) -> dict[str, str]:
    """Hash `model_files`, each by its name: SHA-256."""
    return {file.name: digest_of(file) for file in model_files(settings)}


def places(settings: Roi, classes: Sequence[str]) -> list[int]:
    """Return the positions of the wanted structures among those of a network.

    Raises
    ------
    UserError
        If it does not know one of them.
    """
    for name in settings.classes:
        if name not in classes:
            raise UserError(
                f"preprocess.roi.classes: '{name}' is not found by the network in '{settings.masks}'; use some of: "
                f"{', '.join(classes)}"
            )
    return [k for k, name in enumerate(classes) if not settings.classes or name in settings.classes]


class _Network:
    """Finds masks by a trained segmentation model, one image after another."""

    def __init__(self, settings: Roi) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._hand_over = _HandOver()
        self._masks: Iterator[NDArray[np.bool_]] | None = None
        self._places: list[int] = []
        self._colours = 1

    def __call__(self, sample_id: str, image: NDArray[Any]) -> Mask:
        with self._lock:
            if self._masks is None:
                self._load()
            assert self._masks is not None
            self._hand_over.image = self._as_taken(image)
            found = next(self._masks)
        return without_specks(np.asarray(found[..., self._places].any(axis=-1)))

    def _load(self) -> None:
        # By name, as networks lie above: their code is in the record that stage preprocess depends on.
        use = importlib.import_module("pipeline.segmenting.use")
        importlib.import_module("torch").set_num_threads(1)  # the same masks on every machine; images are side by side
        folder = located(self._settings.masks)
        trained = use.read_segmenter(folder)
        self._places = places(self._settings, trained.classes)
        self._colours = int(trained.preprocess["channels"])
        self._masks = use.find_masks(folder, self._hand_over)

    def _as_taken(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an image in grey or in colour, as the network takes it."""
        if self._colours == 1 and image.ndim == 3:
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        return np.repeat(image[:, :, None], 3, axis=2) if self._colours == 3 and image.ndim == 2 else image


class _HandOver:
    """Hands images over one by one, each when its mask is asked for, so that the network is loaded once.

    It says that there is no other while none waits, and goes on with the next: no batch is waited for.
    """

    image: NDArray[Any] | None = None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Return itself."""
        return self

    def __next__(self) -> NDArray[Any]:
        """Return the image that waits."""
        image, self.image = self.image, None
        if image is None:
            raise StopIteration
        return image


def without_specks(mask: Mask) -> Mask:
    """Drop the pieces of a mask (8 neighbours) that are below `SPECK` of its largest piece."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.flatnonzero(areas >= SPECK * areas.max()) + 1
    return np.isin(labels, kept)
