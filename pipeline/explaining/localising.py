"""Heat maps against the boxes of a data set: every image that has one, by class, beside what needs no network.

Maps are made, scored and forgotten a few images at a time: what is kept of an image is a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.explaining import scores
from pipeline.explaining.maps import Maps, enlarge, in_batches, paired_agreement
from pipeline.explaining.names import BASELINES, EVERY, MEAN, METRICS
from pipeline.metrics.registry import Scale
from pipeline.study.files import BOXES, read_table
from pipeline.study.parts import Part
from pipeline.study.prepared import as_input

COLUMNS = ["map", "class", "metric", "value", "low", "high", "images", "patients"]
TRAINING, OTHERS = "training images", "the other patients' test images"
"""What the mean box may be the mean of."""


class Marked(NamedTuple):
    """Positive images of a part with boxes, an entry for each class that has some.

    Parameters
    ----------
    rows : int64 [P]
        Positions in images.npy.
    classes : int64 [P]
        Of the study.
    patients : str [P]
        Groups that are drawn as a whole.
    boxes : list of float [B, 4] [P]
        x, y, width, height in pixels of the prepared image.
    """

    rows: np.ndarray
    classes: np.ndarray
    patients: np.ndarray
    boxes: list[np.ndarray]

    def masks(self, some: slice | np.ndarray, height: int, width: int) -> list[scores.Mask]:
        """Return the masks of some entries."""
        return [scores.mask_of(self.boxes[i], height, width) for i in np.arange(len(self.rows))[some]]


def known_boxes() -> pd.DataFrame:
    """Read the boxes of the prepared data set; a table without rows where it has none."""
    if BOXES.exists():
        return read_table(BOXES, ("sample_id", "class"))
    return pd.DataFrame({"row": [], "class": [], "x": [], "y": [], "width": [], "height": []})


def marked(part: Part, boxes: pd.DataFrame, classes: Sequence[str]) -> Marked:
    """Find the positive images of a part that have boxes; augmented copies are left out.

    Parameters
    ----------
    part : Part
        Of the split.
    boxes : DataFrame
        boxes.csv of the prepared data set: row, class, x, y, width, height.
    classes : sequence of str
        Of the study, in the order of `Part.targets`.
    """
    places = {int(row): i for i, row in enumerate(part.rows) if part.augmented[i] == 0}
    known = {name: k for k, name in enumerate(classes)}
    found: list[tuple[int, int, str, np.ndarray]] = []
    for (at, name), of in boxes.groupby(["row", "class"], sort=True):
        row = int(str(at))
        place, k = places.get(row), known.get(str(name))
        if place is not None and k is not None and part.targets[place, k] == 1:
            found.append((row, k, str(part.patients[place]), of[["x", "y", "width", "height"]].to_numpy(float)))
    rows, of_classes, patients, drawn = zip(*found) if found else ((), (), (), ())
    return Marked(np.array(rows, np.int64), np.array(of_classes, np.int64), np.array(patients, str), list(drawn))


@dataclass
class MeanBox:
    """How often each place lies in a box of the class: of training images, else of other patients' test images.

    A data set may have boxes for its test part alone. Each image is then held to the boxes of all other patients, which
    favours the baseline, not the network.

    Parameters
    ----------
    training, test : Marked
        Boxes.
    classes, height, width : int
        K, and pixels of the prepared images.
    """

    training: Marked
    test: Marked
    classes: int
    height: int
    width: int

    def __post_init__(self) -> None:
        """Add the masks up."""
        self.source = TRAINING if len(self.training.rows) else OTHERS
        of = self.training if len(self.training.rows) else self.test
        self._sum = np.zeros((self.classes, self.height, self.width), np.float32)
        for i in range(len(of.rows)):
            self._sum[of.classes[i]] += scores.mask_of(of.boxes[i], self.height, self.width)

    def map_for(self, entry: Marked, i: int) -> scores.Map:
        """Return the map for an entry; 0 all over where no other image of its class has a box."""
        share = self._sum[entry.classes[i]]
        if self.source == OTHERS:
            own = (entry.patients == entry.patients[i]) & (entry.classes == entry.classes[i])
            share = share - np.sum(entry.masks(np.flatnonzero(own), self.height, self.width), axis=0)
        return share / max(float(share.max()), 1.0)


class Localised(NamedTuple):
    """What `localise` returns.

    Parameters
    ----------
    table : DataFrame
        `COLUMNS`. `map` is "mean", a seed, a baseline, or "mean - BASELINE": the paired difference.
    about : dict
        thresholds (by map, of overlap), mean_box (what it is the mean of), images and classes with boxes by part.
    entries : DataFrame
        row, class, agreement and the scores of the mean map, a line for each entry of the test part.
    """

    table: pd.DataFrame
    about: dict[str, Any]
    entries: pd.DataFrame


def localise(
    maps: Maps,
    seeds: Sequence[int],
    images: np.ndarray,
    parts: dict[str, Marked],
    classes: Sequence[str],
    metadata: Callable[[np.ndarray], np.ndarray] | None = None,
    **bootstrap: Any,
) -> Localised:
    """Score heat maps against boxes.

    Parameters
    ----------
    maps : Maps
        Of the training runs.
    seeds : sequence of int [S]
        Theirs.
    images : uint8 or uint16 [M, H, W] or [M, H, W, 3]
        Prepared.
    parts : dict of str to Marked
        train, val and test. Thresholds are chosen on val, and scores are of test.
    classes : sequence of str
        Of the study.
    metadata : callable, optional
        Returns those of the images in some rows, for networks that take some.
    **bootstrap
        draws, confidence and seed of `pipeline.explaining.scores.means`.
    """
    height, width = images.shape[1:3]
    baseline = MeanBox(parts["train"], parts["test"], len(classes), height, width)
    fixed = {"centre": scores.centre(height, width), "uniform": scores.uniform(height, width)}
    shown = [MEAN, *(str(seed) for seed in seeds if len(seeds) > 1), *BASELINES]

    def every_map(of: Marked, i: int, made: np.ndarray) -> Iterator[scores.Map]:
        yield made[0]
        yield from made[1:] if len(seeds) > 1 else ()
        yield baseline.map_for(of, i)
        yield from fixed.values()

    at_each: dict[str, list[np.ndarray]] = {name: [] for name in (MEAN, *BASELINES)}
    for i, mask, made, _ in _mapped(maps, images, parts["val"], metadata):
        for name, heat in zip(shown, every_map(parts["val"], i, made)):
            if name in at_each:
                at_each[name].append(scores.overlaps(heat, mask))
    cuts = {name: scores.best_threshold(found) for name, found in at_each.items()}
    test = parts["test"]
    values = np.full((len(test.rows), len(shown), len(METRICS)), np.nan)
    agreements = np.full(len(test.rows), np.nan)
    for i, mask, made, agreed in _mapped(maps, images, test, metadata):
        agreements[i] = agreed
        for j, heat in enumerate(every_map(test, i, made)):
            cut = cuts.get(shown[j], cuts[MEAN])
            overlap = np.nan if np.isnan(cut) else scores.overlap(heat, mask, cut)
            energy, ap = scores.energy_inside(heat, mask), scores.pixel_ap(heat, mask)
            values[i, j] = scores.pointing(heat, mask), energy, overlap, ap
    about = {
        "thresholds": {name: None if np.isnan(cut) else round(cut, 4) for name, cut in cuts.items()},
        "mean_box": baseline.source,
        "boxes": {name: {"entries": len(of.rows), "images": len(np.unique(of.rows))} for name, of in parts.items()},
    }
    entries = pd.DataFrame({"row": test.rows, "class": [classes[k] for k in test.classes], "agreement": agreements})
    for m, metric in enumerate(METRICS):
        entries[metric] = values[:, 0, m]
    return Localised(_table(values, shown, test, classes, bootstrap), about, entries)


def _mapped(
    maps: Maps, images: np.ndarray, of: Marked, metadata: Callable[[np.ndarray], np.ndarray] | None
) -> Iterator[tuple[int, scores.Mask, np.ndarray, float]]:
    """Yield, for each entry: its place, its mask, the maps [1 + S, H, W] (the mean first), and how far they agree."""
    height, width = images.shape[1:3]
    for some, rows in in_batches(of.rows):
        known = [] if metadata is None else [metadata(rows)]
        made = maps.paired(as_input(images[rows]), of.classes[some], *known)
        agreed = paired_agreement(made)
        both = np.concatenate([made.mean(axis=0, keepdims=True), made]).swapaxes(0, 1)
        large = enlarge(np.ascontiguousarray(both), height, width)
        for i, mask in enumerate(of.masks(some, height, width)):
            yield some.start + i, mask, large[i], float(agreed[i])


def _table(
    values: np.ndarray, shown: Sequence[str], test: Marked, classes: Sequence[str], bootstrap: dict[str, Any]
) -> pd.DataFrame:
    """Average the scores [P, maps, metrics] by class and over all entries."""
    groups = {EVERY: np.ones(len(test.rows), bool)}
    groups |= {classes[k]: test.classes == k for k in np.unique(test.classes)}
    rows: list[list[Any]] = []
    for name, inside in groups.items():
        of = values[inside]
        differences = {f"{MEAN} - {each}": of[:, 0] - of[:, shown.index(each)] for each in BASELINES}
        paired = np.stack(list(differences.values()), axis=1)
        kinds: list[tuple[Sequence[str], np.ndarray, Scale]] = [
            (shown, of, "share"),
            (list(differences), paired, "correlation"),
        ]
        for labels, stacked, scale in kinds:
            found = scores.means(stacked.reshape(len(of), -1), test.patients[inside], scale, **bootstrap)
            for at, mean in enumerate(found):
                label, metric = labels[at // len(METRICS)], METRICS[at % len(METRICS)]
                rows.append([label, name, metric, *mean])
    return pd.DataFrame(rows, columns=COLUMNS)
