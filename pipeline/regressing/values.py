"""What evaluations of a regression write: values.npz, predicted values of the validation and the test part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.study.files import ArtifactError, made_by, opened_arrays, replaced
from pipeline.study.parts import Part
from pipeline.study.prepared import read_samples
from pipeline.study.target import COLUMN

FILE = "values.npz"
SIDES = ("val", "test")


@dataclass(frozen=True)
class Values:
    """Content of values.npz, in the unit of the target.

    Parameters
    ----------
    names : str [S]
        Training seeds, or names of combinations.
    val_rows, test_rows : int64 [N]
        Positions in images.npy.
    val_values, test_values : float64 [S, N]
        Predicted.
    val_spreads, test_spreads : float64 [S, N]
        Predicted standard deviations; NaN where the loss predicts none.
    val_targets, test_targets : float64 [N]
        Truth.
    val_patients, test_patients : str [N]
        Groups of `pipeline.study.parts.Part`, the unit of the bootstrap.
    """

    names: np.ndarray
    val_rows: np.ndarray
    val_values: np.ndarray
    val_spreads: np.ndarray
    val_targets: np.ndarray
    val_patients: np.ndarray
    test_rows: np.ndarray
    test_values: np.ndarray
    test_spreads: np.ndarray
    test_targets: np.ndarray
    test_patients: np.ndarray

    def __post_init__(self) -> None:
        """Check shapes, so that a mistake is found where it is made."""
        for side in SIDES:
            expected = (len(self.names), len(getattr(self, f"{side}_targets")))
            for what in ("values", "spreads"):
                if (found := getattr(self, f"{side}_{what}").shape) != expected:
                    raise ArtifactError(f"{side} {what} {found}; expected {expected}")

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all."""
        arrays = {name: np.asarray(value) for name, value in vars(self).items()}
        with replaced(path, sum(array.nbytes for array in arrays.values())) as partial, open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path, stage: str = "evaluate") -> Values:
        """Read the file that `stage` made."""
        made_by(path, stage)
        with opened_arrays(path) as file:
            return cls(**{key: file[key] for key in file.files})


def targets_of(part: Part) -> np.ndarray:
    """Return the true values of the entries of a part, float64 [N], in the unit of the target."""
    return read_samples().set_index("row").loc[part.rows, COLUMN].to_numpy(np.float64)


def as_targets(truth: np.ndarray) -> np.ndarray:
    """Return true values, float64 [N], as a network is trained on them, float32 [N, 1]."""
    return truth.astype(np.float32)[:, None]


def mixed(values: np.ndarray, spreads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Combine S predictions by their mean: values and spreads [S, N] to [N] each.

    The spread is that of the equal mixture of S normal distributions (Lakshminarayanan, Pritzel & Blundell, NeurIPS
    2017, arXiv 1612.01474): the root of the mean variance plus the variance of the values.
    """
    return values.mean(axis=0), np.sqrt((spreads**2).mean(axis=0) + values.var(axis=0))
