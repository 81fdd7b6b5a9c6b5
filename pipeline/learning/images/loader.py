"""Where the images of a part live (on the device, in host memory, or on disk), and batches of them."""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.study.memory import ON_A_CARD, enough_memory, free_host_memory

Residency = Literal["device", "host", "memmap"]
Piece = TypeVar("Piece")
Loaded = TypeVar("Loaded")

CUDA_SHARE = 0.6
"""Of the memory of a CUDA device that all parts may take: weights, gradients and activations need the rest."""
HOST_SHARE = 0.5
"""Of the available memory of the host that a part may take: on a CPU the model lives there too."""
AHEAD = 2
"""Batches that are gathered while the device works: one may be late without a wait."""
PIECE = 64 * 2**20
"""Bytes that are read at a time while a part is loaded, so that no second copy of it is ever whole."""


class PartData(Protocol):
    """What the training loop asks of one part: images here, features in a feature ensemble."""

    @property
    def device(self) -> torch.device:
        """Where batches are."""

    @property
    def targets(self) -> Tensor:
        """Labels, uint8 [n, K]."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all that batches are drawn from; n comes first."""

    def __len__(self) -> int:
        """Count the entries."""

    @property
    def metadata(self) -> Tensor | None:
        """What a network takes beside them, float32 [n, I], on the device; None for a network that takes nothing."""

    def batches(self, order: Tensor, size: int | Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield values and targets, float32, of consecutive pieces of `order`, int64: as long as `size` says."""


def even(entries: int, most: int) -> list[int]:
    """Divide the entries of an epoch into batches of at most `most`, as equal as can be.

    A batch of what is left over at the end of an epoch, of two images perhaps, would move the weights as far as every
    other, and the statistics of batch normalisation with them, just before they are validated. None is of one entry, on
    which batch normalisation cannot train: where `most` is 2 a batch may have 3.

    Parameters
    ----------
    entries : int
        At least 2.
    most : int
        At least 2.

    Returns
    -------
    list of int
        Their sum is `entries`; the longer ones come first.
    """
    batches = max(1, min(-(-entries // most), entries // 2))
    shortest, longer = divmod(entries, batches)
    return [shortest + 1] * longer + [shortest] * (batches - longer)


def pieces_of(values: Tensor, size: int | Sequence[int]) -> tuple[Tensor, ...]:
    """Cut values into consecutive pieces of `size`, of which the last may be smaller, or of each of these sizes."""
    return values.split(size if isinstance(size, int) else list(size)) if len(values) else ()


def with_metadata(
    data: PartData, order: Tensor, size: int | Sequence[int]
) -> Iterator[tuple[Tensor, Tensor, tuple[Tensor, ...]]]:
    """Yield batches as `PartData.batches`, and what networks take beside the images: metadata [B, I], or nothing."""
    if data.metadata is None:
        yield from ((images, targets, ()) for images, targets in data.batches(order, size))
        return
    places = pieces_of(order.to(data.device), size)
    for (images, targets), some in zip(data.batches(order, size), places):
        yield images, targets, (data.metadata.index_select(0, some),)


class ResidentImages:
    """The images and targets of one part; batches are the same bits wherever the images live.

    ======== ================================== =============================================================
    place    held                               a batch
    ======== ================================== =============================================================
    device   whole on the training device       gathered there
    host     whole in host memory               gathered by a thread ahead of time, copied without waiting
    memmap   nothing but the map of images.npy  read by a thread ahead of time, copied without waiting
    ======== ================================== =============================================================

    Only the integers travel; they become floats on the device. 16 bits are held as int16, the same bits: torch has
    few operations for uint16. With CUDA the batches that travel are page-locked, so that the
    copy overlaps with work; the part itself is not: it is never copied from directly. On a CPU, host is device.

    Parameters
    ----------
    images : uint8 or uint16 array [N, H, W] or [N, H, W, C]
        The whole array of the study, memory-mapped.
    rows : int64 [n]
        Which of them.
    targets : uint8 [n, K]
        Their labels.
    device : device
        Where batches are wanted.
    augmented : int64 [n], optional
        Where k > 0 stands, the image is replaced by its k-th `augmented_copy`: once and for all, or, with memmap, each
        time that it is read, to the same bytes.
    residency : {"auto", "device", "host", "memmap"}
        See `choose_residency`.
    metadata : float32 [n, I], optional
        What the network takes beside the images, see `pipeline.learning.metadata`.

    Attributes
    ----------
    device : device
        Where batches are.
    rows : int64 [n]
        As given.
    targets : Tensor, uint8 [n, K]
        On the device.
    metadata : Tensor, float32 [n, I], or None
        On the device.
    shape : tuple of int
        (n, C, H, W)
    residency : {"device", "host", "memmap"}
        Where the images are.
    """

    def __init__(
        self,
        images: np.ndarray,
        rows: np.ndarray,
        targets: np.ndarray,
        device: torch.device,
        augmented: np.ndarray | None = None,
        residency: str = "auto",
        metadata: np.ndarray | None = None,
    ) -> None:
        self.device = device
        self.targets = torch.from_numpy(np.array(targets, order="C")).to(device)  # a column of a table is read-only
        self.metadata = None if metadata is None else torch.from_numpy(metadata).to(device)
        # A plain view: indexing the class np.memmap is several times slower.
        self._stored = np.asarray(images)[..., None] if images.ndim == 3 else np.asarray(images)
        self.rows = np.asarray(rows)
        self._augmented = np.zeros(len(rows), np.int64) if augmented is None else np.asarray(augmented)
        height, width, channels = self._stored.shape[1:]
        self.shape = (len(rows), channels, height, width)
        self._kept = torch.uint8 if self._stored.dtype == np.uint8 else torch.int16
        self._white = float(np.iinfo(self._stored.dtype).max)
        self.residency = choose_residency(self.nbytes, device, residency, room_on(device), free_host_memory())
        self._held: Tensor | None = None
        if self.residency != "memmap":
            self._held = self._load(device if self.residency == "device" else torch.device("cpu"))

    def __len__(self) -> int:
        """Count the images."""
        return self.shape[0]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for colour."""
        return self.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes of the images as they are stored."""
        return int(np.prod(self.shape, dtype=np.int64)) * self._stored.itemsize

    def beside(self, metadata: np.ndarray | None) -> ResidentImages:
        """Return the same images, which are not copied, beside other metadata, float32 [n, I]."""
        other = copy.copy(self)
        other.metadata = None if metadata is None else torch.from_numpy(metadata).to(self.device)
        return other

    def describe(self, name: str) -> str:
        """Say in one line how much part `name` is and where it lives."""
        where = {"device": f"resident on {self.device}", "host": "resident in host memory", "memmap": "memory-mapped"}
        return f"{name}: {len(self):,} images, {self.nbytes / 1e6:,.1f} MB, {where[self.residency]}"

    def pixels(self, index: Tensor) -> Tensor:
        """Return the images at `index`, int64 [B], as stored, on the device: uint8 or uint16 [B, C, H, W]."""
        return _unsigned(self._gather(index)).to(self.device).permute(0, 3, 1, 2)

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images at `index`, int64 [B], and their targets.

        Returns
        -------
        images : Tensor, float32 [B, C, H, W]
            In [0, 1], channels last, on the device.
        targets : Tensor, float32 [B, K]
            On the device.
        """
        return self._finish(self._gather(index), index.to(self.device))

    def batches(self, order: Tensor, size: int | Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `take` of consecutive pieces of `order`, int64, see `pieces_of`.

        What cannot be read raises here, in the caller. A caller that stops early leaves no thread behind.
        """
        places = pieces_of(order.to(self.device), size)  # once: a copy from unlocked memory waits for the device
        if self.residency == "device":
            gathered = (self._gather(some) for some in places)
        else:
            gathered = prefetched(self._gather, pieces_of(order.cpu(), size))
        with closing(gathered):
            for batch, some in zip(gathered, places):
                yield self._finish(batch, some)

    def _finish(self, batch: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Turn gathered integers [B, H, W, C] into floats [B, C, H, W] on the device, beside their targets.

        Two passes, to float and in place, are faster than one of torch's division with its conversion; the axes are
        renamed last, because on a view whose axes are out of order the conversion is slow.
        """
        images = _unsigned(batch.to(self.device, non_blocking=True)).float().div_(self._white).permute(0, 3, 1, 2)
        return images, self.targets.index_select(0, places).float()

    def _gather(self, index: Tensor) -> Tensor:
        """Collect the images at `index`, [B, H, W, C], where they are held or in (page-locked) host memory."""
        if self._held is None:
            return self._read(index.cpu().numpy())
        index = index.to(self._held.device)
        if self.residency == "device":
            return self._held.index_select(0, index)  # x[index] takes eleven times as long on bytes
        return torch.index_select(self._held, 0, index, out=self._buffer(len(index)))

    def _read(self, index: np.ndarray) -> Tensor:
        """Read the images at `index` from the array of the study, in the order in which they lie there."""
        if len(index) and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"positions {index.min()} to {index.max()} of {len(self)} images")
        batch = self._buffer(len(index))
        pixels, rows, augmented = _unsigned(batch).numpy(), self.rows[index], self._augmented[index]
        for place in np.argsort(rows, kind="stable"):
            row, number = int(rows[place]), int(augmented[place])
            pixels[place] = augmented_copy(self._stored[row], row, number) if number else self._stored[row]
        return batch

    def _buffer(self, count: int) -> Tensor:
        """Room for `count` images. torch keeps page-locked blocks for another use, once copies from them are over."""
        _, channels, height, width = self.shape
        return torch.empty((count, height, width, channels), dtype=self._kept, pin_memory=self.device.type == "cuda")

    def _load(self, place: torch.device) -> Tensor:
        """Read the whole part, uint8 or int16 [n, H, W, C], into the memory of `place`."""
        n, channels, height, width = self.shape
        with enough_memory(f"on {place} for {self.nbytes / 1e9:.1f} GB of images", "set train.residency: memmap"):
            held = torch.empty((n, height, width, channels), dtype=self._kept, device=place)
        step = max(1, PIECE // (height * width * channels * self._stored.itemsize))
        starts = range(0, n, step)
        pieces = (np.arange(start, min(start + step, n)) for start in starts)
        for piece, start in zip(prefetched(self._read, pieces), starts):
            held[start : start + len(piece)].copy_(piece, non_blocking=True)
        return held


def _unsigned(pixels: Tensor) -> Tensor:
    """Return the values of what is held: uint16 for int16."""
    return pixels if pixels.dtype == torch.uint8 else pixels.view(torch.uint16)


def choose_residency(size: int, device: torch.device, wish: str, free: int, free_on_host: int) -> Residency:
    """Decide where the images of a part live.

    Parameters
    ----------
    size : int
        Bytes of the part as stored.
    device : device
        That trains.
    wish : {"auto", "device", "host", "memmap"}
        "auto" is the first of device, host, memmap that fits: on a CUDA device into its `room_on`, on the host into
        `HOST_SHARE` of what is available. Anything else is done without asking whether it fits.
    free, free_on_host : int
        Bytes that images may take on the device, and that can be had on the host; the same on a CPU.

    Returns
    -------
    {"device", "host", "memmap"}
        On a CPU never host, which is device there.

    Raises
    ------
    ValueError
        If the wish is none of these.
    """
    if wish not in ("auto", "device", "host", "memmap"):
        raise ValueError(f"residency = {wish!r}; use one of: auto, device, host, memmap")
    on_host: Residency = "host" if device.type == "cuda" else "device"
    if wish == "auto":
        if device.type == "cuda" and size <= free:
            return "device"
        return on_host if size <= HOST_SHARE * free_on_host else "memmap"
    return {"device": "device", "host": on_host, "memmap": "memmap"}[wish]


def room_on(device: torch.device) -> int:
    """Measure the bytes that images may take: on a CPU, all that is free.

    On a CUDA device `CUDA_SHARE` of its memory, for all parts and processes together. Several that were started
    together see the same free memory, so that each takes at most its part of that share (`ON_A_CARD`).
    """
    if device.type != "cuda":
        return free_host_memory()
    free, total = torch.cuda.mem_get_info(device)
    given = os.environ.get(ON_A_CARD, "")
    own = CUDA_SHARE * total / (int(given) if given.isdecimal() and int(given) else 1)
    return max(0, int(min(free - (1 - CUDA_SHARE) * total, own - torch.cuda.memory_allocated(device))))


def prefetched(
    load: Callable[[Piece], Loaded], pieces: Iterable[Piece], ahead: int = AHEAD
) -> Generator[Loaded, None, None]:
    """Yield `load` of each piece, in order, computed by one thread up to `ahead` pieces before it is asked for.

    What `load` raises is raised where its result would have come. When the iterator ends or is closed, the thread ends.

    Parameters
    ----------
    load : callable
        Called in the thread, one piece after another.
    pieces : iterable
        Read in the caller's thread.
    ahead : int
        At most so many results wait.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    waiting: deque[Future[Loaded]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(load, piece))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def augmented_copy(image: np.ndarray, row: int, number: int) -> np.ndarray:
    """Change an image as studies did that wrote augmented copies beside their images before they split them.

    As the code of a published leukaemia study does it, without its JPEG noise: grey levels times 0.9 to 1.1, then
    their distances from the image's mean grey level; rotation by up to 20 degrees with black corners; shifts by up to
    0.2 of the side along either axis, which repeat the edge; flips either way (probability 0.5 each). It is apart from
    the augmentation of training, which may change without changing the images that a model is tested on, and has no
    setting: these are files that were written once. Computed on the CPU, so that every device has the same bytes.

    Parameters
    ----------
    image : uint8 or uint16 [H, W] or [H, W, C]
        As prepared; left as it is.
    row, number : int
        Position in images.npy and number of the copy, from 1; with nothing else they decide what is drawn.

    Returns
    -------
    dtype and shape of `image`
    """
    rng = np.random.default_rng([20, row, number])
    mirrored, upside_down = rng.random(2) < 0.5
    angle, contrast, brightness, *shift = rng.uniform(-1, 1, 5) * (np.deg2rad(20), 0.1, 0.1, 0.4, 0.4)
    white = int(np.iinfo(image.dtype).max)
    pixels = torch.from_numpy(image.reshape(*image.shape[:2], -1).astype(np.float32)).permute(2, 0, 1)[None] / white
    pixels = (pixels * (1 + brightness)).clamp(0, 1)
    middle = pixels.numpy().mean((0, 2, 3), dtype=np.float64)  # torch's sum of a large image depends on the threads
    grey = float(middle @ (0.2989, 0.587, 0.114) if len(middle) == 3 else middle.mean())
    pixels = ((pixels - grey) * (1 + contrast) + grey).clamp(0, 1)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    side = image.shape[0] / image.shape[1]  # the grid spans 2 both ways, whatever the shape
    pixels = _resampled(pixels, [[cos, -sin * side, 0.0], [sin / side, cos, 0.0]], "zeros")
    pixels = _resampled(pixels, [[1.0, 0.0, -shift[0]], [0.0, 1.0, -shift[1]]], "border")
    if flipped := [axis for axis, wanted in ((2, upside_down), (3, mirrored)) if wanted]:
        pixels = pixels.flip(flipped)
    return (pixels[0].permute(1, 2, 0) * white).round().numpy().astype(image.dtype).reshape(image.shape)


def _resampled(pixels: Tensor, theta: list[list[float]], outside: str) -> Tensor:
    """Sample float32 [1, C, H, W] where `theta` says; it is 0 beyond the image, or the edge repeats ("border")."""
    grid = functional.affine_grid(torch.tensor([theta], dtype=torch.float32), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, mode="bilinear", padding_mode=outside, align_corners=False)


def epoch_order(draws: np.ndarray, generator: torch.Generator) -> Tensor:
    """Shuffle the positions 0..n-1, each as often as `draws` says.

    Parameters
    ----------
    draws : int64 [n]
        Draws per epoch of each image.
    generator : Generator
        On the CPU.

    Returns
    -------
    Tensor, int64 [sum of draws]
    """
    positions = torch.from_numpy(np.repeat(np.arange(len(draws)), draws))
    return positions[torch.randperm(len(positions), generator=generator)]
