"""Everything beside the weights that turns an image into an answer, as one JSON-compatible record."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.imaging.settings import Preprocess
from pipeline.learning.metadata import Scheme
from pipeline.study.files import null

OF_FOLDS = "-folds"
"""Ends the name of the networks of all folds of a configuration."""
FORMAT = 2
"""Of the record; another number is made anew."""


@dataclass(frozen=True)
class Recipe:
    """What a bundle says of itself.

    Parameters
    ----------
    name, how, method : str
        As in `pipeline.deploying.choice.Choice`.
    task : {"multilabel", "multiclass"}
        Of the data set.
    classes : tuple of str [K]
        In the order of every array.
    members : tuple of str [M]
        Training runs, "model-loss-seed".
    sha256 : tuple of str [M]
        Of the members' weights files.
    preprocess : dict
        Section ``preprocess`` of params.yaml with which the study's images were prepared.
    bits : int or None
        Of files of more than 8 bits that do not say how many they use, as the study found it; None where it had none.
    channels : int
        Of the network's input: 1 or 3.
    slope, intercept : tuple of float [K]
        The calibrated logit is slope * logit + intercept.
    thresholds : tuple of float or None [K]
        Of the calibrated probability; an image is called positive at or above. None for multiclass, and where
        validation has no positive.
    n_validation : int
        Images that calibration and thresholds were chosen on.
    conformal : float or None
        As in `Choice`; None also where every class is in every set.
    class_wise : tuple of (float or None, float or None) [K]
        As in `Choice`, None for infinity; empty for multiclass.
    checked : int
        Validation images on which the network as ONNX was compared with the one of the study.
    largest_difference : float
        Largest absolute difference of a logit among them.
    about : dict
        dataset, title, licence, citation, synthetic, versions, commit: for people.
    metadata : tuple of list
        Records of the schemes by which metadata are encoded, side by side; empty where the network takes images alone.
    """

    name: str
    how: str
    method: str
    task: str
    classes: tuple[str, ...]
    members: tuple[str, ...]
    sha256: tuple[str, ...]
    preprocess: dict[str, Any]
    bits: int | None
    channels: int
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    n_validation: int
    conformal: float | None
    class_wise: tuple[tuple[float | None, ...], ...]
    checked: int
    largest_difference: float
    about: dict[str, Any]
    format: int = FORMAT
    metadata: tuple[list[dict[str, Any]], ...] = ()

    def scheme(self) -> Scheme | None:
        """Return how metadata are encoded: the columns of all schemes, one after another; None without any."""
        return Scheme(tuple(c for each in self.metadata for c in Scheme.read(each).columns)) if self.metadata else None

    def settings(self) -> Preprocess:
        """Return the settings under which new images are prepared, the scale of the study's files in them."""
        settings = Preprocess.model_validate(self.preprocess)
        return settings if self.bits is None else settings.model_copy(update={"bits": self.bits})

    @property
    def of_folds(self) -> bool:
        """Whether it holds the networks of all folds of a configuration."""
        return self.name.endswith(OF_FOLDS)

    @property
    def fitted_on(self) -> str:
        """What calibration and thresholds were chosen on."""
        return "out-of-fold predictions" if self.of_folds else "validation images"

    def cuts(self) -> np.ndarray:
        """Return the thresholds, float64 [K], NaN where there is none."""
        return np.array([np.nan if cut is None else cut for cut in self.thresholds])

    def record(self) -> dict[str, Any]:
        """Return it JSON-compatible; `read` is its inverse."""
        return {name: value for name, value in asdict(self).items() if value or name != "metadata"}

    @classmethod
    def read(cls, record: dict[str, Any]) -> Recipe:
        """Return the recipe of a `record`."""
        lists = ("classes", "members", "sha256", "slope", "intercept", "thresholds")
        pairs = tuple(tuple(pair) for pair in record["class_wise"])
        given: dict[str, Any] = {**record, **{name: tuple(record[name]) for name in lists}, "class_wise": pairs}
        given["metadata"] = tuple(record.get("metadata", ()))
        return cls(**given)


def thresholds_of(cuts: np.ndarray) -> tuple[float | None, ...]:
    """Return thresholds for a recipe: None where there is none."""
    return tuple(null(float(cut)) for cut in cuts)
