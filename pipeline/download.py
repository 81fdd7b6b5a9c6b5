"""Stage `download`: check the study, then fetch the data set or verify a local copy of it."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.datasets import Dataset, open_dataset
from pipeline.datasets.settings import DownloadSections
from pipeline.datasets.shared.names import check_classes
from pipeline.datasets.shared.remarks import remarks
from pipeline.learning.losses import check_study
from pipeline.study.errors import stage_errors
from pipeline.study.files import SOURCE, raw_folder, write_json
from pipeline.study.params import load


def download(params: DownloadSections) -> Path:
    """Make ``data/raw/<name>`` complete and write its SOURCE.json.

    Parameters
    ----------
    params : DownloadSections
        Every loss must fit the data set, so that a mistake shows before anything is fetched.

    Returns
    -------
    Path
        The folder.
    """
    dataset = open_dataset(params.dataset, params.datasets[params.dataset])
    check_study(params.study.losses, params.losses, dataset.task)
    folder = raw_folder(params.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": dataset.name, "title": dataset.title, "url": dataset.url, "licence": dataset.licence}
    about |= {"terms": dataset.terms, "citation": dataset.citation}
    if not (folder / SOURCE).exists():  # once, not at every change of the study
        print("\n  ".join(f"{key}: {text}" for key, text in about.items() if text), flush=True)
    source = dataset.fetch(folder)
    check_classes(dataset.classes, f"datasets.{dataset.name}.label_map")
    write_json(folder / SOURCE, {**about, "source": source})
    for remark in remarks(source, names=True):
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
        download(load(DownloadSections))
