"""Stage `prepare_external`: an external test set, fetched and prepared by the code that prepares the study."""

from __future__ import annotations

import argparse

from pipeline.datasets.shared.inputs import read_content
from pipeline.datasets.shared.obtaining import obtain
from pipeline.external.classes import unknown_classes
from pipeline.external.records import preparation_record
from pipeline.external.sets import as_external, data_folder, named_set, open_external, prepared_folder
from pipeline.external.settings import ExternalPrepareSections
from pipeline.imaging.dataset import prepare_dataset
from pipeline.study.errors import stage_errors
from pipeline.study.files import CONTENT, SOURCE
from pipeline.study.params import ParamsError, load
from pipeline.study.records import check_record


def prepare(name: str, params: ExternalPrepareSections) -> None:
    """Make everything below ``data/external/<name>``; whether its classes are known is asked before any decoding."""
    settings = params.external[name]
    dataset = open_external(name, settings)
    raw, links, prepared = data_folder(name) / "raw", data_folder(name) / "inputs", prepared_folder(name)
    source, content = prepared / SOURCE.name, prepared / CONTENT.name
    with as_external(name, settings.dataset):
        found = obtain(dataset, raw, links, source, content)
        if problems := unknown_classes(f"external.{name}", dataset.task, dataset.classes, settings.classes):
            raise ParamsError("\n".join(["params.yaml:", *problems]))
        digests = read_content(content, "prepare_external")
        prepare_dataset(dataset, raw, found, digests, params.preprocess, prepared)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="a name under external in params.yaml")
    arguments = parser.parse_args()
    with stage_errors():
        params = load(ExternalPrepareSections)
        named_set(arguments.name, params)
        check_record(arguments.name, "prepare_external", preparation_record(arguments.name, params))
        prepare(arguments.name, params)
