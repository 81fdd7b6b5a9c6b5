"""What makes an image unlike those that the model was made for: copies, other pictures, other features.

All limits come from the training and validation parts; nothing here has seen a test image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from scipy.linalg import cholesky, solve_triangular

from pipeline.imaging.hashes import THUMBNAIL, pixel_hash
from pipeline.study.files import replaced

FACTS = ("mean grey level", "contrast", "share of black", "share of white", "detail")
"""Facts about a prepared picture."""
QUANTILE = 0.99
"""Share of the validation images whose features lie nearer than the limit."""
CORRELATION = 0.995
"""Of 32 x 32 thumbnails of prepared images, from which on two are called near-duplicates."""
_MOST = 5000
"""Training images whose features are looked at."""
_AT_ONCE = 64
_FLAT = 1e-6


@dataclass(frozen=True)
class Reference:
    """What new images are compared with.

    Parameters
    ----------
    hashes : str [N]
        `pixel_hash` of every prepared image of the training and validation parts.
    thumbnails : float32 [N, 1024]
        Of the same images, each of mean 0 and length 1.
    training : bool [N]
        Whether it is of the training part.
    rows : int64 [N]
        Positions in images.npy.
    low, high : float64 [F]
        Smallest and largest of `FACTS` among the training images.
    centre : float64 [D]
        Mean of the training images' features.
    whitening : float64 [D, D]
        Lower triangle of the Cholesky decomposition of their covariance, shrunk after Ledoit & Wolf.
    validation : float64 [V]
        Mahalanobis distances of the validation images, sorted.
    """

    hashes: np.ndarray
    thumbnails: np.ndarray
    training: np.ndarray
    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray
    centre: np.ndarray
    whitening: np.ndarray
    validation: np.ndarray

    @cached_property
    def limit(self) -> float:
        """Distance beyond which features are unlike those of the validation part."""
        return float(np.quantile(self.validation, QUANTILE, method="higher"))

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Return the Mahalanobis distances, float64 [N], of features [N, D]."""
        away = np.asarray_chkfinite(features, np.float64) - self.centre
        # The whitening is finite, and to ask each time takes as long as to solve.
        solved = solve_triangular(self.whitening, away.T, lower=True, check_finite=False)
        return np.sqrt((solved**2).sum(axis=0))

    def flags(self, images: np.ndarray, distances: np.ndarray) -> list[list[str]]:
        """Say what is unlike in each prepared image, one phrase each.

        Parameters
        ----------
        images : uint8 or uint16 [N, H, W] or [N, H, W, 3]
            As prepared.
        distances : float [N]
            From `distances`.
        """
        several = zip(images, self.copies(images), distances.tolist(), strict=True)
        return [self._unlike(image, same, distance) for image, same, distance in several]

    def _unlike(self, image: np.ndarray, same: str, distance: float) -> list[str]:
        found = [same] if same else []
        if distance > self.limit:
            nearer, of = int((self.validation < distance).sum()), len(self.validation)
            many = f"all {of}" if nearer == of else f"{nearer} of {of}"
            found.append(f"features farther from the training images' than those of {many} validation images")
        for name, value, low, high in zip(FACTS, facts(image), self.low, self.high):
            if not low <= value <= high:
                side = "below" if value < low else "above"
                found.append(f"{name} {value:.3g}, {side} that of every training image ({low:.3g} to {high:.3g})")
        return found

    def copies(self, images: Sequence[np.ndarray] | np.ndarray) -> list[str]:
        """Say which image of the study each is a copy or near-duplicate of; "" if none."""
        # All thumbnails of the study pass through the processor once for all images. One that is flat is like none.
        close = self.thumbnails @ np.stack([_unit(image) for image in images], axis=1)
        best, said = close.argmax(axis=0), []
        for k, image in enumerate(images):
            if (same := self._places.get(pixel_hash(image))) is not None:
                said.append(f"the same picture as {self._named(same)}")
            elif close[best[k], k] >= CORRELATION:
                said.append(f"all but the same picture as {self._named(int(best[k]))}")
            else:
                said.append("")
        return said

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where each hash comes first."""
        return {name: k for k, name in reversed(list(enumerate(self.hashes.tolist())))}

    def _named(self, place: int) -> str:
        part = "training" if self.training[place] else "validation"
        return f"a {part} image (row {self.rows[place]} of samples.csv)"

    def write(self, path: Path) -> None:
        """Write the file, complete or not at all."""
        with replaced(path) as partial:
            np.savez(partial, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Read what `write` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in file.files})


def measure(
    images: np.ndarray,
    training: np.ndarray,
    validation: np.ndarray,
    features: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Reference:
    """Measure the training and validation images of a study.

    Parameters
    ----------
    images : uint8 or uint16 [N, H, W] or [N, H, W, 3]
        All prepared images.
    training, validation : int64
        Rows of the parts.
    features : callable
        From prepared images [n, ...] and their rows [n] to features [n, D].
    """
    from sklearn.covariance import ledoit_wolf  # not for every call of predict

    training, validation = np.unique(training), np.unique(validation)
    rows = np.concatenate([training, validation])
    looked_at = training[:: 1 + len(training) // _MOST]
    of_training = _in_pieces(images, looked_at, features)
    centre = of_training.mean(axis=0)
    covariance, _ = ledoit_wolf(of_training - centre, assume_centered=True)
    # Features that never vary in training (dead units) get a little variance: they are far off, not infinitely far.
    covariance[np.diag_indices_from(covariance)] += _FLAT + 1e-3 * np.trace(covariance) / len(covariance)
    extremes = np.array([facts(images[row]) for row in training])
    reference = Reference(
        hashes=np.array([pixel_hash(np.asarray(images[row])) for row in rows]),
        thumbnails=np.stack([_unit(images[row]) for row in rows]),
        training=np.isin(rows, training),
        rows=rows,
        low=extremes.min(axis=0),
        high=extremes.max(axis=0),
        centre=centre,
        whitening=cholesky(covariance, lower=True),
        validation=np.zeros(0),
    )
    distances = np.sort(reference.distances(_in_pieces(images, validation, features)))
    return replace(reference, validation=distances)


def facts(image: np.ndarray) -> np.ndarray:
    """Return `FACTS` of a prepared picture, float64 [5], each a share of the grey range or of the pixels.

    Detail is the mean absolute difference of neighbouring pixels.
    """
    white = np.iinfo(image.dtype).max
    grey = np.asarray(image if image.ndim == 2 else image @ (0.299, 0.587, 0.114))
    mean, deviation = (float(found[0, 0]) / white for found in cv2.meanStdDev(grey))
    black, full = np.count_nonzero(grey < 0.02 * white), np.count_nonzero(grey > 0.98 * white)
    pairs = (grey[1:], grey[:-1]), (grey[:, 1:], grey[:, :-1])
    detail = sum(cv2.norm(*pair, cv2.NORM_L1) / pair[0].size for pair in pairs) / (2 * white)
    return np.array([mean, deviation, black / grey.size, full / grey.size, detail])


def _in_pieces(
    images: np.ndarray, rows: np.ndarray, features: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    some = [rows[i : i + _AT_ONCE] for i in range(0, len(rows), _AT_ONCE)]
    pieces = [features(np.asarray(images[each]), each) for each in some]
    return np.concatenate(pieces).astype(np.float64)


def _unit(image: np.ndarray) -> np.ndarray:
    """Shrink a prepared image to 32 x 32 grey values of mean 0 and length 1, float32 [1024]; all 0 if it is flat."""
    grey = np.asarray(image, np.float32)
    if grey.ndim == 3:
        grey = grey @ np.array((0.299, 0.587, 0.114), np.float32)
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).ravel()
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / length if length > _FLAT else np.zeros_like(small)
