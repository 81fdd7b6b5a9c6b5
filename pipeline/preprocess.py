"""Stage ``preprocess``: the data set as published to one array of images and the tables that describe it."""

from __future__ import annotations

from pipeline.datasets import open_dataset
from pipeline.datasets.shared.inputs import read_content
from pipeline.imaging.dataset import prepare_dataset
from pipeline.imaging.records import region_record
from pipeline.imaging.settings import OWN, PreprocessSections
from pipeline.study.errors import stage_errors
from pipeline.study.files import PREPARED, SOURCE, ArtifactError, raw_folder, read_json
from pipeline.study.params import load
from pipeline.study.records import check_record


def main() -> None:
    """Run the stage."""
    with stage_errors():
        settings = load(PreprocessSections)
        dataset = open_dataset(settings.dataset, settings.datasets[settings.dataset])
        found, content = read_json(SOURCE, "download"), read_content()
        if found["name"] != dataset.name:
            raise ArtifactError(
                f"{SOURCE} is of data set {found['name']}; stage 'download' makes it: dvc repro download"
            )
        if settings.preprocess.roi is not None and settings.preprocess.roi.masks != OWN:
            check_record(None, "preprocess", region_record(settings))
        prepare_dataset(dataset, raw_folder(dataset.name), found, content, settings.preprocess, PREPARED)


if __name__ == "__main__":
    main()
