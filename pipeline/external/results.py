"""What stage ``evaluate_external`` wrote about one external set, as the reports read it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from pipeline.external.sets import results_folder
from pipeline.study.files import made_by, opened_arrays, read_json, read_table

STAGE = "evaluate_external"
_TEXT = ("model", "loss", "seed", "part", "class", "metric", "note", "variant", "side")


@dataclass(frozen=True)
class External:
    """The results on one set.

    Parameters
    ----------
    name : str
        As in params.yaml.
    about : dict
        about.json: the data set, how its classes are mapped, what was left out and why, and numbers of images.
    metrics : DataFrame
        Both sides and the drop of every model, see `pipeline.external.evaluation.Tables`, as are the next three.
    adapted, prevalence, reliability : DataFrame
        Empty where no recalibration was asked for, and of masks.
    pictures : dict of str to ndarray
        Of a study of segmentation, see `pipeline.segmenting.pictures.pictured`.
    """

    name: str
    about: dict[str, Any]
    metrics: pd.DataFrame
    adapted: pd.DataFrame
    prevalence: pd.DataFrame
    reliability: pd.DataFrame
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def _rows(self) -> dict[tuple[str, ...], dict[str, Any]]:
        keys = ["model", "loss", "seed", "part", "class", "metric"]
        return _by(self.metrics, keys)

    @cached_property
    def _adapted_rows(self) -> dict[tuple[str, ...], dict[str, Any]]:
        keys = ["model", "loss", "variant", "seed", "part", "class", "metric"]
        return _by(self.adapted, keys)

    def row(self, model: str, loss: str, side: str, group: str, metric: str, seed: str = "mean") -> dict[str, Any]:
        """Return a row of the metrics; without one, an empty dict. Of an ensemble `seed` is passed over."""
        return self._rows.get((model, loss, loss if model == "ensemble" else seed, side, group, metric), {})

    def adapted_row(self, model: str, loss: str, variant: str, part: str, group: str, metric: str) -> dict[str, Any]:
        """Return a row of the adapted results; without one, an empty dict."""
        seed = loss if model == "ensemble" else "mean"
        return self._adapted_rows.get((model, loss, variant, seed, part, group, metric), {})

    @property
    def patients_known(self) -> bool:
        """Whether the set says whose its images are."""
        return bool(self.about["dataset"]["patients_known"])

    @property
    def models(self) -> list[tuple[str, str]]:
        """Model and loss of every configuration and ensemble, in the study's order."""
        return list(dict.fromkeys(zip(self.metrics["model"], self.metrics["loss"])))

    def value(self, model: str, loss: str, side: str, metric: str = "auroc") -> float:
        """Return the mean over classes, or the value of all classes; NaN without."""
        rows = (self.row(model, loss, side, group, metric) for group in ("macro", "overall"))
        return next((float(row["value"]) for row in rows if row), math.nan)


def _by(table: pd.DataFrame, keys: list[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """Return the rows of a table by the text in some of its columns."""
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return {tuple(row[key] for key in keys): row for row in rows}


def read_external(name: str) -> External | None:
    """Read the results on set `name`; None where there are none."""
    folder = results_folder(name)
    if not (folder / "about.json").exists():
        return None
    about = read_json(folder / "about.json", STAGE)
    of_masks = about["dataset"]["task"] == "segmentation"
    tables = [
        read_table(made_by(folder / f"{table}.csv", STAGE), _TEXT)
        for table in ("metrics", "adapted", "prevalence", "reliability")[: 1 if of_masks else None]
    ]
    filled = [table.assign(note=table["note"].fillna("")) if "note" in table else table for table in tables]
    if not of_masks:
        metrics, adapted, prevalence, reliability = filled
        return External(name, about, metrics, adapted, prevalence, reliability)
    with opened_arrays(folder / "pictures.npz") as file:
        pictures = {key: file[key] for key in file.files}
    empty = pd.DataFrame()
    return External(name, about, filled[0], empty, empty, empty, pictures)
