"""Stage `download`: check the study, then fetch the data set or verify a local copy of it."""

from __future__ import annotations

from pathlib import Path

from pipeline import artifacts
from pipeline.errors import stage_errors
from pipeline.learning.losses import check_study
from pipeline.params import Params, load
from pipeline.study import open_dataset


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
    dataset = open_dataset(params)
    check_study(params, dataset.task)
    folder = artifacts.raw_folder(params.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": dataset.name, "title": dataset.title, "url": dataset.url, "licence": dataset.licence}
    about |= {"terms": dataset.terms, "citation": dataset.citation}
    if not (folder / artifacts.SOURCE).exists():  # once, not at every change of the study
        print("\n  ".join(f"{key}: {text}" for key, text in about.items() if text), flush=True)
    source = dataset.fetch(folder)
    artifacts.write_json(folder / artifacts.SOURCE, {**about, "source": source})
    return folder


if __name__ == "__main__":
    with stage_errors():
        download(load())
