"""From the settings of a data set to what stages read: fetched or verified, linked, digested, and said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.datasets import Dataset
from pipeline.datasets.shared.inputs import borrow, check_inputs, link_inputs, record
from pipeline.datasets.shared.names import check_classes
from pipeline.datasets.shared.remarks import remarks
from pipeline.study import classes
from pipeline.study.files import ABOUT, write_json, write_text
from pipeline.study.locks import alone_in


def obtain(dataset: Dataset, folder: Path, links: Path, source: Path, content: Path) -> dict[str, Any]:
    """Make a data set readable, and write down what it is, by content; another process that does so is waited for.

    Parameters
    ----------
    dataset : Dataset
        The data set.
    folder : Path
        Of the data set as published; is made if it is not there.
    links : Path
        Folder that receives links to what lies outside of the project.
    source, content : Path
        Receive what was found (as SOURCE.json) and the digests of all samples (as content.csv).

    Returns
    -------
    dict
        What was written to `source`.

    Raises
    ------
    UserError
        If the data set is missing, or is not what it claims to be.
    """
    borrow(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder, f"another process is fetching into {folder}: waiting for it"):
        return _obtain(dataset, folder, links, source, content)


def _obtain(dataset: Dataset, folder: Path, links: Path, source: Path, content: Path) -> dict[str, Any]:
    about = {"name": dataset.name, "title": dataset.title, "url": dataset.url, "licence": dataset.licence}
    about |= {"terms": dataset.terms, "citation": dataset.citation}
    if not (folder / ABOUT).exists():  # once, not at every change of the study
        text = "\n  ".join(f"{key}: {value}" for key, value in about.items() if value)
        print(text, flush=True)
        write_text(folder / ABOUT, f"{text}\n")
    for said in check_inputs(dataset):
        print(f"note: {said}; it is left out", file=sys.stderr, flush=True)
    fetched = dataset.fetch(folder)
    check_classes(dataset.classes, f"datasets.{dataset.name}.label_map")
    link_inputs(dataset, links)
    settings = dataset.model_dump(mode="json")
    found = {**about, "source": fetched, "settings": settings, "content": record(dataset, folder, content)}
    write_json(source, found)
    for remark in [*classes.remarks(dataset.classes), *remarks(fetched, names=True)]:
        print(f"note: {remark}", file=sys.stderr, flush=True)
    return found
