"""Images to rows, in constant memory, resumed where it was interrupted."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.deploying.bundle import Engine
from pipeline.deploying.choice import Choice
from pipeline.deploying.flags import Reference
from pipeline.deploying.recipe import Recipe
from pipeline.deploying.sources import Source
from pipeline.deploying.told import encoded, remarks, values
from pipeline.imaging.decoding import Facts
from pipeline.imaging.reading import Reader
from pipeline.imaging.region import FOUND, NO_REGIONS, Regions, prepare_region
from pipeline.metrics.thresholds import probabilities
from pipeline.study.memory import keep_memory
from pipeline.study.prepared import as_input, in_8_bits

PREDICTED, FAILED = "predicted", "not predicted"
SETS = ("neither", "absent", "present", "open")
"""What the set of a class may hold: nothing, one side, or both."""
NOT_CUT = "kept whole, as no region of interest was found"
"""Begins the flag of an image that the study would have listed so."""
BATCH = 16
"""Files whose images are computed together."""
_TUPLES = ("decision", "prediction_set", "probability", "low", "high", "flags", "heat", "sets")
_COLOUR = ("RGB", "YCbCr", "CMYK")
_AHEAD = 2
"""Batches per thread that are in flight."""
_KEPT = 1 << 25
"""Bytes up to which freed memory is kept: a radiograph needs no new pages, a huge file gives its own back."""
_PICTURE = 96
"""Pixels of the pictures on the page, at most."""


class Row(NamedTuple):
    """What is said of one image.

    Parameters
    ----------
    file : str
        As `Source` calls it.
    frame : int or None
        Of a file of which several become images, from 1.
    status : str
        `PREDICTED` or `FAILED`.
    reason : str
        Why there is no prediction; "" where there is one.
    decision : tuple of str
        Classes decided for: of multi-label data those at or above their thresholds, of multiclass data the most
        probable.
    prediction_set : tuple of str
        Of multiclass data: the classes among which the truth is, as often as `pipeline.deploying.choice.COVERAGE` says.
    probability, low, high : tuple of float [K]
        Calibrated; smallest and largest of the single members. Empty where there is no prediction.
    distance : float or None
        Of its features from the training images'.
    flags : tuple of str
        What is unlike the images that the model was made for.
    extra : dict of str to str
        Of the table that named the file.
    picture : str
        As prepared, a PNG of at most 96 pixels, base64; "" where none is wanted.
    heat : tuple of dict
        Its heat maps, see `pipeline.deploying.heat.Heat`; empty where none are wanted.
    outputs : dict of str to str
        Further columns of predictions.csv: what was written for this image.
    sets : tuple of str [K]
        Of multi-label data, what the set of each class holds: one of `SETS`.
    """

    file: str
    frame: int | None
    status: str
    reason: str
    decision: tuple[str, ...]
    prediction_set: tuple[str, ...]
    probability: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    distance: float | None
    flags: tuple[str, ...]
    extra: dict[str, str]
    picture: str
    heat: tuple[dict[str, Any], ...] = ()
    outputs: dict[str, str] = {}
    sets: tuple[str, ...] = ()


class HeatMaps(Protocol):
    """Makes heat maps; may be called by several threads at once."""

    def __call__(
        self, images: Sequence[tuple[Source, int | None]], pixels: np.ndarray, classes: Sequence[Sequence[int]]
    ) -> list[tuple[dict[str, Any], ...]]:
        """Return what rows hold of the maps, for files and frames, prepared images [N, ...] and classes of each."""


class _Image(NamedTuple):
    """An image that is ready for the network, or why there is none."""

    source: Source
    frame: int | None
    pixels: np.ndarray | None
    reason: str
    facts: Facts | None
    told: tuple[str, ...] = ()


@dataclass
class Predictor:
    """Applies a model to files; may be called by several threads at once.

    Parameters
    ----------
    choice : Choice
        How the members are combined.
    recipe : Recipe
        How images are prepared and answers are made.
    engine : Engine
        Computes the network.
    reference : Reference
        What images are compared with.
    kinds : sequence of dict
        Kinds of the study's images, as in reading.json.
    pictures : bool
        Whether rows are to have a picture.
    heat : HeatMaps, optional
        Makes heat maps.
    regions : Regions
        Finds the part of an image that the network sees.
    """

    choice: Choice
    recipe: Recipe
    engine: Engine
    reference: Reference
    kinds: Sequence[Mapping[str, Any]] = ()
    pictures: bool = True
    heat: HeatMaps | None = None
    regions: Regions = NO_REGIONS

    def __post_init__(self) -> None:
        """Read the settings of preprocessing once."""
        self._settings, self._cuts, self._scheme = self.recipe.settings(), self.recipe.cuts(), self.recipe.scheme()
        self._modalities = {kind["format"] for kind in self.kinds if kind["format"].startswith("DICOM ")}
        self._photometric = {kind["photometric"] for kind in self.kinds}

    def rows(self, some: Sequence[Source]) -> list[list[Row]]:
        """Return the rows of each of some files: one per image in it, one at least. Nothing about a file raises."""
        by_file = [list(self._images(source)) for source in some]
        ready = [image for images in by_file for image in images if image.pixels is not None]
        answers: Iterator[Row] = iter(())
        if ready:
            pixels = np.stack([image.pixels for image in ready if image.pixels is not None])
            known: list[np.ndarray] = []
            if self._scheme is not None:
                told = [values(image.source, self._scheme.names) for image in ready]
                ready = [i._replace(told=(*i.told, *remarks(self._scheme, of))) for i, of in zip(ready, told)]
                known = [encoded(self._scheme, told)]
            logits, _, features = self.engine(as_input(pixels), *known)
            answers = self._answers(ready, pixels, logits, features)
        return [[self._failed(i) if i.pixels is None else next(answers) for i in images] for images in by_file]

    def _images(self, source: Source) -> Iterator[_Image]:
        reader = Reader(self._settings, self._no_other)
        for frame in reader.frames(source.read):
            if isinstance(frame.image, str):
                yield _Image(source, frame.number, None, frame.image, None)
            else:
                region = self.regions(source.name, frame.image.pixels)
                pixels = np.ascontiguousarray(prepare_region(frame.image.pixels, region, self._settings))
                told = () if region is None or region.status == FOUND else (f"{NOT_CUT}: {region.status}",)
                yield _Image(source, frame.number, pixels, "", frame.image.facts, told)

    def _no_other(self) -> Sequence[Any]:
        """Give no images: what does not say its scale is read on the study's; of 8 bits where the study had none."""
        return []

    def _failed(self, image: _Image) -> Row:
        extra = image.source.extra
        return Row(image.source.name, image.frame, FAILED, image.reason, (), (), (), (), (), None, (), extra, "")

    def _answers(
        self, images: Sequence[_Image], pixels: np.ndarray, logits: np.ndarray, features: np.ndarray
    ) -> Iterator[Row]:
        task, calibration = self.recipe.task, self.choice.calibration
        combined = probabilities(calibration.apply(self.choice.combiner.apply(logits)), task)
        single = probabilities(calibration.apply(logits), task)
        distances = self.reference.distances(features)
        maps: Sequence[tuple[dict[str, Any], ...]] = [()] * len(images)
        if self.heat is not None:
            wanted = [self._looked_at(each) for each in combined]
            maps = self.heat([(image.source, image.frame) for image in images], pixels, wanted)
        flags = self.reference.flags(pixels, distances)
        for i, image in enumerate(images):
            yield Row(
                image.source.name,
                image.frame,
                PREDICTED,
                "",
                self._decision(combined[i]),
                self._set(combined[i]),
                tuple(combined[i].tolist()),
                tuple(single[:, i].min(axis=0).tolist()),
                tuple(single[:, i].max(axis=0).tolist()),
                float(distances[i]),
                (*image.told, *self._kind(image.facts), *flags[i]),
                image.source.extra,
                _picture(pixels[i]) if self.pictures else "",
                maps[i],
                sets=self._sets(combined[i]),
            )

    def _looked_at(self, probability: np.ndarray) -> list[int]:
        """Return the classes of heat maps, most probable first: those decided for, or the most probable."""
        decided = self._decision(probability)
        order = np.argsort(-probability, kind="stable").tolist()
        return [k for k in order if self.recipe.classes[k] in decided] or order[:1]

    def _decision(self, probability: np.ndarray) -> tuple[str, ...]:
        classes = self.recipe.classes
        if self.recipe.task == "multiclass":
            return (classes[int(np.argmax(probability))],)
        return tuple(name for name, p, cut in zip(classes, probability, self._cuts) if p >= cut)

    def _set(self, probability: np.ndarray) -> tuple[str, ...]:
        if self.choice.conformal is None:
            return ()
        return tuple(name for name, p in zip(self.recipe.classes, probability) if 1 - p <= self.choice.conformal)

    def _sets(self, probability: np.ndarray) -> tuple[str, ...]:
        if self.choice.class_wise is None:
            return ()
        # As `pipeline.uncertainty.conformal.prediction_sets` allows for rounding.
        absent = probability <= self.choice.class_wise[:, 0] + 1e-12
        present = 1 - probability <= self.choice.class_wise[:, 1] + 1e-12
        return tuple(SETS[held] for held in (absent + 2 * present).tolist())

    def _kind(self, facts: Facts | None) -> Iterator[str]:
        """Say where an image is of another kind than those of the study."""
        if facts is None:
            return
        if self._settings.channels == 1 and facts.photometric in _COLOUR and facts.photometric not in self._photometric:
            yield f"a file in colour ({facts.photometric}), and the study has none of this kind"
        if facts.format.startswith("DICOM ") and self._modalities and facts.format not in self._modalities:
            yield f"{facts.format}, and the study has {', '.join(sorted(self._modalities))}"


def _picture(pixels: np.ndarray) -> str:
    small = in_8_bits(pixels)
    if small.shape[0] > _PICTURE:
        small = np.asarray(cv2.resize(small, (_PICTURE, _PICTURE), interpolation=cv2.INTER_AREA))
    coded = cv2.imencode(".png", small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
    return base64.b64encode(coded.tobytes()).decode("ascii")


def in_batches(predictor: Predictor, named: Sequence[Source], threads: int) -> Iterator[tuple[Source, list[Row]]]:
    """Yield every file with its rows, in order; a bounded number of batches is in flight.

    Parameters
    ----------
    predictor : Predictor
        Whose engine takes one thread per call.
    named : sequence of Source
        The files.
    threads : int
        Batches side by side.
    """
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the pool is the parallelism
    blas = threadpool_limits(1, "blas")  # threads of its own would wait for the next product at full speed
    keep_memory(_KEPT)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
    flight: deque[tuple[Sequence[Source], Future[list[list[Row]]]]] = deque()
    # The first batch is one file, so that a result is there at once.
    starts = [0, *range(1, len(named), BATCH)] if named else []
    try:
        for start, end in zip(starts, [*starts[1:], len(named)]):
            flight.append((named[start:end], pool.submit(predictor.rows, named[start:end])))
            if len(flight) >= _AHEAD * threads:
                some, result = flight.popleft()
                yield from zip(some, result.result())
        while flight:
            some, result = flight.popleft()
            yield from zip(some, result.result())
    finally:
        pool.shutdown(cancel_futures=True)
        blas.restore_original_limits()
        cv2.setNumThreads(threads_before)


class Journal:
    """Rows on disk as they come, one JSON line per file: what is there is not computed again.

    Parameters
    ----------
    path : Path
        In the folder of the results.
    key : str
        Of the model and the settings: rows of others are not taken over.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._places = self._kept(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if not self._file.tell():
            self._line({"key": key})

    def _kept(self, key: str) -> dict[str, int]:
        """Return where the files of an interrupted call are, and cut off a line that was not finished."""
        places: dict[str, int] = {}
        if not self._path.exists():
            return places
        end = 0
        with self._path.open("rb+") as file:
            for line in file:
                try:
                    content = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n") or (end == 0 and content.get("key") != key):
                    break
                if end:
                    places[content["id"]] = end
                end += len(line)
            file.truncate(end)
        return places

    def __contains__(self, name: str) -> bool:
        """Whether the file `name` stands for is done."""
        return name in self._places

    def add(self, name: str, rows: Sequence[Row]) -> None:
        """Write the rows of a file."""
        self._places[name] = self._file.tell()
        self._line({"id": name, "rows": [row._asdict() for row in rows]})

    def _line(self, content: dict[str, Any]) -> None:
        self._file.write(json.dumps(content, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def read(self, names: Iterable[str]) -> Iterator[Row]:
        """Yield the rows of files in the order of `names`."""
        with self._path.open("rb") as file:
            for name in names:
                file.seek(self._places[name])
                for row in json.loads(file.readline())["rows"]:
                    yield Row(**{**row, **{key: tuple(row.get(key, ())) for key in _TUPLES}})

    def close(self) -> None:
        """End writing."""
        self._file.close()
