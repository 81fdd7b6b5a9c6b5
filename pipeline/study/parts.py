"""The parts of the split: which images each has, their labels and patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.study.files import SPLIT, intact, made_by, read_table
from pipeline.study.prepared import DatasetInfo, partial, read_dataset, read_published
from pipeline.study.unknown import IN_TABLE

PARTS = ("train", "val", "test", "unused")


def read_split() -> pd.DataFrame:
    """Read split.csv, one line per entry.

    Returns
    -------
    DataFrame
        row (int); part (train, val, test, unused); copies (draws of a training entry per epoch, at least 0; 1 in
        the other parts); augmented (0 = the image itself, k = its k-th augmented copy). A row occurs once, but for
        protocol augment_before_split: there once as itself and once per copy, in any parts.
    """
    whole = dict.fromkeys(("row", "copies", "augmented"), np.int64)
    return read_table(made_by(SPLIT, "split"), ("part",), dtype=whole)


@dataclass(frozen=True)
class Part:
    """The entries of one part and their truth, in the order of rows and then of augmented copies.

    Parameters
    ----------
    rows : int64 [N]
        Positions in images.npy; each once, but for protocol augment_before_split.
    targets : uint8 [N, K]
        0/1; one 1 per row for multiclass. Float32 where a label of the data set is not known: NaN in its place, and in
        the training part what ``datasets.<name>.uncertain`` says where it is uncertain.
    patients : str [N]
        Groups, the unit that is drawn and left out: patients, those who share an image as one. What must not cross
        parts must not be drawn apart either.
    draws : int64 [N]
        How often a training entry is drawn per epoch: column `copies` of split.csv.
    augmented : int64 [N]
        0 = the image itself, k = its k-th augmented copy.
    """

    rows: np.ndarray
    targets: np.ndarray
    patients: np.ndarray
    draws: np.ndarray
    augmented: np.ndarray

    def drawn(self) -> Part:
        """Return the entries that an epoch draws, each once."""
        kept = self.draws > 0
        return Part(**{name: values[kept] for name, values in vars(self).items()})


def read_parts(parts: Sequence[str]) -> dict[str, Part]:
    """Read the named parts of the split. Labels of parts that are not named are dropped before anything is returned."""
    info = read_dataset()
    classes = list(info.classes)
    samples, split = read_published(), read_split()
    labels = np.float32 if partial(samples, classes) else np.uint8
    with intact(SPLIT):
        table = samples.merge(split, on="row", validate="one_to_many")
        if table["row"].nunique() != len(samples) or not split["part"].isin(PARTS).all():
            raise ValueError(f"{table['row'].nunique()} of {len(samples)} images have a part")
    table = table[table["part"].isin(parts)].sort_values(["row", "augmented"])
    return {
        part: Part(
            rows=rows["row"].to_numpy(np.int64),
            targets=_settled(rows[classes].to_numpy(labels), info, part),
            patients=rows["group_id"].to_numpy(str),
            draws=rows["copies"].to_numpy(np.int64),
            augmented=rows["augmented"].to_numpy(np.int64),
        )
        for part, rows in ((p, table[table["part"] == p]) for p in parts)
    }


def _settled(labels: np.ndarray, info: DatasetInfo, part: str) -> np.ndarray:
    """Replace uncertain labels, -1: in training by what the data set's setting says, elsewhere they are not known."""
    if labels.dtype == np.uint8:
        return labels
    taken = [info.uncertain.get(name) if part == "train" else None for name in info.classes]
    instead = np.array([np.nan if value is None else value for value in taken], labels.dtype)
    return np.where(labels == IN_TABLE, instead, labels)
