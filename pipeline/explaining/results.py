"""What stage ``explain`` wrote, as the reports read it; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.explaining.names import explanation_name
from pipeline.study.files import EXPLANATIONS, made_by, opened_arrays, read_json, read_table, write_json
from pipeline.study.runs import Configuration

STAGE = "explain"

NOT_FOR = {
    "segmentation": ("not for segmentation: a mask says itself where the network looks", "the networks give masks"),
    "regression": ("not for regression: maps are of classes", "the networks give a number"),
}
"""Tasks without heat maps: why, for the page and for the log."""
NOT_FINITE = "no training run has finite logits"
ALL_ALIKE = "all {} maps that were made first are the same in every place"


@dataclass(frozen=True)
class Explanation:
    """The heat maps of a configuration by a method.

    Parameters
    ----------
    configuration : Configuration
        Whose.
    about : dict
        about.json: method, seeds, layer and, where there are boxes, thresholds, mean_box and boxes.
    localisation : DataFrame
        See `pipeline.explaining.localising.localise`; empty without boxes in the test part.
    checks : DataFrame
        See `pipeline.explaining.checks.check`.
    examples : DataFrame
        row, class, kind, quantile, probability.
    maps : float32 [E, h, w]
        Of the examples.
    """

    configuration: Configuration
    about: dict[str, Any]
    localisation: pd.DataFrame
    checks: pd.DataFrame
    examples: pd.DataFrame
    maps: np.ndarray

    @property
    def method(self) -> str:
        """How the maps are made."""
        return str(self.about["method"])


def explanation_folder(configuration: Configuration, method: str) -> Path:
    """Folder of the heat maps of a configuration by a method."""
    return EXPLANATIONS / explanation_name(configuration, method)


def write_none(configuration: Configuration, method: str, reason: str, said: str = "") -> None:
    """Write that there are no maps, and print it: the study goes on, and its report says so.

    Parameters
    ----------
    configuration, method
        Of which there are none.
    reason, said : str
        Why, for the file and for the log; an empty `said` is the reason.
    """
    write_json(explanation_folder(configuration, method) / "none.json", {"reason": reason})
    print(f"{configuration}: no heat maps, as {said or reason}")


def why_none(configuration: Configuration, method: str) -> str:
    """Return why a configuration has no heat maps, "" where that is not recorded."""
    path = explanation_folder(configuration, method) / "none.json"
    return str(read_json(path, STAGE)["reason"]) if path.exists() else ""


def read_explanation(configuration: Configuration, method: str) -> Explanation | None:
    """Read the heat maps of a configuration; None where there are none."""
    folder = explanation_folder(configuration, method)
    if not (folder / "about.json").exists():
        return None
    scored = folder / "localisation.csv"
    localisation = read_table(scored, ("map", "class", "metric")) if scored.exists() else pd.DataFrame()
    path = made_by(folder / "examples.npz", STAGE)
    with opened_arrays(path) as file:
        maps = file["maps"]
    return Explanation(
        configuration,
        read_json(folder / "about.json", STAGE),
        localisation,
        read_table(made_by(folder / "checks.csv", STAGE), ("check", "step")),
        read_table(made_by(folder / "examples.csv", STAGE), ("class", "kind")),
        maps,
    )
