"""Stage `download`: check the study, then fetch the data set or verify a local copy of it."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets import open_dataset
from pipeline.learning.losses import check_study
from pipeline.settings import Params, load
from pipeline.study.errors import stage_errors
from pipeline.study.files import SOURCE, raw_folder, write_json


def download(params: Params) -> Path:
    """Make ``data/raw/<name>`` complete and write its SOURCE.json.

    Parameters
    ----------
    params : Params
        The study; every loss must fit the data set, so that a mistake shows before anything is fetched.

    Returns
    -------
    Path
        The folder.
    """
    dataset = open_dataset(params.dataset, params.datasets[params.dataset])
    check_study(params, dataset.task)
    folder = raw_folder(params.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": dataset.name, "title": dataset.title, "url": dataset.url, "licence": dataset.licence}
    about |= {"terms": dataset.terms, "citation": dataset.citation}
    if not (folder / SOURCE).exists():  # once, not at every change of the study
        print("\n  ".join(f"{key}: {text}" for key, text in about.items() if text), flush=True)
    source = dataset.fetch(folder)
    write_json(folder / SOURCE, {**about, "source": source})
    return folder


if __name__ == "__main__":
    with stage_errors():
        download(load())
