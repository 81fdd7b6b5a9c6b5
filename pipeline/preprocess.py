"""Stage ``preprocess``: the data set as published to one array of images and the tables that describe it."""

from __future__ import annotations

from pipeline.imaging.dataset import prepare_study
from pipeline.imaging.records import region_record
from pipeline.imaging.settings import OWN, PreprocessSections
from pipeline.study.errors import stage_errors
from pipeline.study.params import load
from pipeline.study.records import check_record


def main() -> None:
    """Run the stage."""
    with stage_errors():
        params = load(PreprocessSections)
        if params.preprocess.roi is not None and params.preprocess.roi.masks != OWN:
            check_record(None, "preprocess", region_record(params))
        prepare_study(params)


if __name__ == "__main__":
    main()
