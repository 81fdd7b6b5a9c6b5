"""Stage `prepare_variant`: the split of a variant, and its images where they are prepared in another way."""

from __future__ import annotations

import argparse

from pipeline.imaging.dataset import prepare_study
from pipeline.splitting.making import make_split
from pipeline.study.errors import stage_errors
from pipeline.study.params import load
from pipeline.study.parts import read_split
from pipeline.study.prepared import read_samples
from pipeline.study.records import check_record
from pipeline.study.workplaces import inside
from pipeline.variants.preparing import keep_split
from pipeline.variants.records import VariantRecordSections, variant_record
from pipeline.variants.settings import PrepareSections


def prepare(name: str, params: VariantRecordSections) -> None:
    """Make ``variants/<name>/study``."""
    if params.variants[name].preprocess:
        samples, split = read_samples(), read_split()
        with inside(name):
            own = load(PrepareSections)
            prepare_study(own)
            keep_split(name, own, samples, split)
    else:
        with inside(name):
            make_split(load(PrepareSections).split)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", required=True, help="a name under variants in params.yaml")
    arguments = parser.parse_args()
    with stage_errors():
        params = load(VariantRecordSections)
        with inside(arguments.variant):  # refuses a name that is not there
            pass
        check_record(arguments.variant, "prepare_variant", variant_record(arguments.variant, params))
        prepare(arguments.variant, params)
