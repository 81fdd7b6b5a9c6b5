"""Stage `download`: fetch the data set or verify a local copy of it, and write down what it is, by content."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.settings import DataSections
from pipeline.datasets.shared.obtaining import obtain
from pipeline.study.errors import stage_errors
from pipeline.study.files import CONTENT, INPUTS, SOURCE, raw_folder
from pipeline.study.params import load


def download(params: DataSections) -> Path:
    """Make ``data/raw/<name>`` complete, link what lies outside of the project, write SOURCE.json and content.csv.

    Returns
    -------
    Path
        The folder.
    """
    dataset = open_dataset(params.dataset, params.datasets[params.dataset])
    folder = raw_folder(params.dataset)
    found = obtain(dataset, folder, INPUTS, SOURCE, CONTENT)
    # Where some images name a patient, that is among the remarks of what was found.
    if not dataset.patients_known and "patients_named" not in found["source"]:
        print(
            "note: which images show the same person is not known: only near-duplicates are kept together, and the "
            f"reports do not speak of patients{_offer(dataset)}",
            file=sys.stderr,
            flush=True,
        )
    return folder


def _offer(dataset: Dataset) -> str:
    """Offer, or name, the blocks of data sets that have them."""
    settings = dataset.model_dump()
    if "groups" not in settings:
        return ""
    key, asked = f"datasets.{dataset.name}.groups", settings["groups"]
    return f" ({key}: {asked})" if asked else f"; {key}: blocks of 100 keeps neighbours by number together, too"


if __name__ == "__main__":
    with stage_errors():
        download(load(DataSections))
        load(DataSections)  # once more, held to what has been counted: before any image is prepared
