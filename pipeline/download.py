"""Stage `download`: fetch the data set or verify a local copy of it, and write down what it is, by content."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.settings import DataSections
from pipeline.datasets.shared.inputs import borrow, check_inputs, link_inputs, record
from pipeline.datasets.shared.names import check_classes
from pipeline.datasets.shared.remarks import remarks
from pipeline.study import classes
from pipeline.study.errors import stage_errors
from pipeline.study.files import ABOUT, SOURCE, raw_folder, write_json, write_text
from pipeline.study.locks import alone_in
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
    about = {"name": dataset.name, "title": dataset.title, "url": dataset.url, "licence": dataset.licence}
    about |= {"terms": dataset.terms, "citation": dataset.citation}
    borrow(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, f"another process is fetching into {folder}: waiting for it"):
        return _download(dataset, folder, about)


def _download(dataset: Dataset, folder: Path, about: dict[str, Any]) -> Path:
    if not (folder / ABOUT).exists():  # once, not at every change of the study
        text = "\n  ".join(f"{key}: {value}" for key, value in about.items() if value)
        print(text, flush=True)
        write_text(folder / ABOUT, f"{text}\n")
    for said in check_inputs(dataset):
        print(f"note: {said}; it is left out", file=sys.stderr, flush=True)
    source = dataset.fetch(folder)
    check_classes(dataset.classes, f"datasets.{dataset.name}.label_map")
    link_inputs(dataset)
    found = {"source": source, "settings": dataset.model_dump(mode="json"), "content": record(dataset, folder)}
    write_json(SOURCE, about | found)
    for remark in [*classes.remarks(dataset.classes), *remarks(source, names=True)]:
        print(f"note: {remark}", file=sys.stderr, flush=True)
    if not dataset.patients_known:
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
