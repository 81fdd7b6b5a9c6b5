"""From what a sample gives to pixels: which frames of a file, at which depth, and on which scale."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipeline.datasets import DatasetError, Sample
from pipeline.imaging.decoding import Decoded, Depth, Opened, UnreadableImage, as_image, decode, open_file
from pipeline.imaging.depth import holds_8_bits, to_8_bits
from pipeline.imaging.settings import Preprocess

_AHEAD = 4
"""Files in flight per thread while the scale of the data set is looked for."""
_FLOAT = 8
"""Bytes of a value in files of floating point, at most."""
_FULL = 16
"""Bits of which no file can have more without saying so."""


class Frame(NamedTuple):
    """One image of a sample: its number in a file of which several become samples, from 1, else None."""

    number: int | None
    image: Decoded | str
    """The image, or the reason why there is none."""

    @property
    def suffix(self) -> str:
        """What follows the id of the sample in the id of this image."""
        return "" if self.number is None else f"#{self.number}"


@dataclass(frozen=True)
class Scale:
    """How many bits the files have that store more than 8 and do not say how many of them are used.

    Parameters
    ----------
    bits : int or None
        2**bits - 1 is white in all of them; None where the data set has no such file.
    chosen : {"header", "maximum", "setting"}
        By whom: each file's header, the highest value of the set, or ``preprocess.bits``.
    files : int
        Files looked at for the highest value that do not say their scale.
    brightest : int
        Highest value in them, -1 where it was not looked for; it is enough to find one value that needs all 16 bits.
    """

    bits: int | None
    chosen: Literal["header", "maximum", "setting"]
    files: int = 0
    brightest: int = -1


class Reader:
    """Reads samples as section ``preprocess`` says; may be called by several threads.

    Parameters
    ----------
    settings : Preprocess
        Its `bits`, `frame`, `max_pixels`, `max_bytes`, `channels`, `store`, and `threads`.
    again : callable
        Returns the samples anew, from the first: called at most once, at the first file that does not say its scale, so
        that a data set of 8 bits is read once.
    scale : Scale, optional
        Where it was found before.
    """

    def __init__(self, settings: Preprocess, again: Callable[[], Iterable[Sample]], scale: Scale | None = None) -> None:
        self._settings = settings
        self._again = again
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._scale = scale or Scale(None, "header")

    @property
    def scale(self) -> Scale:
        """The scale of files that do not say theirs, as far as one was needed."""
        return self._scale

    def close(self) -> None:
        """Let a search for the scale end soon: nobody waits for its result."""
        self._closed.set()

    def frames(self, read: Callable[[], bytes | np.ndarray]) -> Iterator[Frame]:
        """Yield the images of a sample, or the reasons why there are none; one at least.

        A frame is decoded when it is asked for: of a file of a thousand no two need be in memory.

        Raises
        ------
        DatasetError
            If the scale of the data set is needed and its samples cannot be read twice.
        """
        try:
            content = self._opened(read())
        except UnreadableImage as error:
            yield Frame(None, str(error))
        except FileNotFoundError:
            yield Frame(None, "file missing")
        except OSError as error:
            yield Frame(None, f"file not readable: {error.strerror or type(error).__name__}")
        else:
            for k in self._numbers(content):
                yield Frame(None if k is None else k + 1, self._image(content, k))

    def _opened(self, content: bytes | np.ndarray) -> Opened | np.ndarray:
        """Read the header of a file and refuse an image that is too large before it takes the memory."""
        opened = content if isinstance(content, np.ndarray) else open_file(content)
        if isinstance(opened, Opened):
            width, height, colours = opened.facts.width, opened.facts.height, opened.facts.colours
            value = _bytes_of(opened.facts.bits)
        else:
            height, width, colours = (*opened.shape, 1, 1, 1)[:3]
            value = opened.itemsize
        if width * height > self._settings.max_pixels:
            raise UnreadableImage("larger than preprocess.max_pixels", f"{width} x {height} pixels")
        each = max(colours, self._settings.channels) * max(value, 2 if self._settings.store == "uint16" else 1)
        if width * height * each > self._settings.max_bytes:
            raise UnreadableImage("larger than preprocess.max_bytes", f"{width} x {height} pixels of {each} bytes")
        return opened

    def _numbers(self, content: Opened | np.ndarray) -> Iterable[int | None]:
        """Return the frames to read, counted from 0; None is the one that ``preprocess.frame`` names."""
        if self._settings.frame == "all" and isinstance(content, Opened) and content.facts.frames > 1:
            return range(content.facts.frames)
        return [None]

    def _image(self, content: Opened | np.ndarray, number: int | None) -> Decoded | str:
        facts = content.facts if isinstance(content, Opened) else None
        deep = self._settings.store == "uint16" or (facts is not None and facts.bits not in range(1, 9))
        bits = self._bits() if facts is not None and facts.scale == "data set" else None
        try:
            decoded = self._decode(content, number, bits, "uint16" if deep else "uint8")
        except UnreadableImage as error:
            return str(error)
        if self._settings.store == "uint8" and deep and holds_8_bits(decoded.pixels):
            return Decoded(to_8_bits(decoded.pixels), decoded.facts)  # to be prepared like the same picture in 8 bits
        return decoded

    def _decode(self, content: Opened | np.ndarray, number: int | None, bits: int | None, depth: Depth) -> Decoded:
        channels, chosen = self._settings.channels, self._settings.frame if number is None else number
        if isinstance(content, Opened):
            return decode(content, channels, bits=bits, depth=depth, frame="error" if chosen == "all" else chosen)
        return as_image(content, channels, depth=depth)

    def _bits(self) -> int | None:
        """Return the bits of files that do not say their scale, found once for all threads."""
        with self._lock:
            if self._scale.bits is None:
                chosen = self._settings.bits
                self._scale = self._look() if chosen == "auto" else Scale(chosen, "setting")
            return self._scale.bits

    def _look(self) -> Scale:
        """Look for the highest value of all files that do not say their scale."""
        files, brightest = 0, 0
        for found in self._brightest():
            files += found >= 0
            brightest = max(brightest, found)
            if brightest.bit_length() >= _FULL or self._closed.is_set():
                break
        return Scale(max(8, brightest.bit_length()), "maximum", files, brightest)

    def _brightest(self) -> Iterator[int]:
        """Yield the highest value of each file, -1 of those that say their scale or cannot be read."""
        pool = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="scale")
        flight: deque[Future[int]] = deque()
        try:
            for sample in self._again():
                flight.append(pool.submit(self._brightest_of, sample.read))
                if len(flight) >= _AHEAD * self._settings.threads:
                    yield flight.popleft().result()
            while flight:
                yield flight.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _brightest_of(self, read: Callable[[], bytes | np.ndarray]) -> int:
        try:
            content = self._opened(read())
            if not isinstance(content, Opened) or content.facts.scale != "data set":
                return -1
            return max(self._decode(content, k, _FULL, "uint16").facts.brightest for k in self._numbers(content))
        except (UnreadableImage, OSError):
            return -1  # reported where the image is prepared


def _bytes_of(bits: int) -> int:
    """Return the bytes that a decoded value of so many bits takes; 0 bits stand for floating point."""
    return 1 << max(0, (bits - 1).bit_length() - 3) if bits else _FLOAT


def anew(samples: Iterable[Sample]) -> Callable[[], Iterable[Sample]]:
    """Return what gives `samples` from the first on: themselves, unless they can be drawn once only."""

    def again() -> Iterable[Sample]:
        if iter(samples) is samples:
            raise DatasetError(
                "files of more than 8 bits do not say how many they use, and the samples can be read once only; "
                "set preprocess.bits"
            )
        return samples

    return again
