"""Stage `configure`: write down what each configuration is, its settings and the code that it runs.

Training runs and evaluations depend on these records in place of params.yaml and folders of code: a comment, another
loss or another model's learning rate changes no record, and trains nothing again. The stages after them have one each.

The files of trained weights that models start from are linked, wherever they lie: another content behind a link is a
changed output of this stage, which then runs again and records another hash, and the model's training runs with it.
"""

from __future__ import annotations

from typing import Any

from pipeline import settings
from pipeline.ensembling.records import ensemble_record, fuse_record
from pipeline.explaining.names import explanation_name
from pipeline.explaining.records import explanation_record
from pipeline.external.records import external_record, preparation_record
from pipeline.imaging.records import region_record
from pipeline.learning.records import training_record
from pipeline.reporting.records import report_record
from pipeline.scoring.records import evaluation_record, probe_record
from pipeline.settings import checks
from pipeline.settings.aside import set_aside
from pipeline.settings.links import link_weights
from pipeline.settings.recorded import RecordedSections
from pipeline.study.errors import stage_errors
from pipeline.study.files import EXPLANATIONS, EXTERNAL, VARIANTS, write_json
from pipeline.study.params import PARAMS_FILE, ParamsError, load, read
from pipeline.study.records import record_file, write_records
from pipeline.study.runs import configurations
from pipeline.variants.records import variant_record
from pipeline.variants.settings import as_variant
from pipeline.variants.within import records_within

ASKED = "asked.json"
"""In folders that stage report depends on, and that no other stage fills where nothing is asked for."""


def configure(params: RecordedSections) -> None:
    """Write the records of each configuration of the study, and of the stages that are about all of them."""
    records: dict[Any, dict[str, Any]] = {
        record_file(None, "preprocess"): region_record(params),
        record_file(None, "probe"): probe_record(params),
        record_file(None, "fuse"): fuse_record(params),
        record_file(None, "ensemble"): ensemble_record(params),
        record_file(None, "report"): report_record(),
    }
    for configuration in configurations(params):
        records[record_file(configuration, "train")] = training_record(configuration, params)
        records[record_file(configuration, "evaluate")] = evaluation_record(configuration, params)
        for method in params.explain.methods:
            record = explanation_record(configuration, method, params)
            records[record_file(explanation_name(configuration, method), "explain")] = record
    for name in params.variants:
        records[record_file(name, "prepare_variant")] = variant_record(name, params)
        records[record_file(name, "fuse")] = fuse_record(as_variant(params, name))
        records |= records_within(name, params)
    for name in params.external:
        records[record_file(name, "prepare_external")] = preparation_record(name, params)
        records[record_file(name, "evaluate_external")] = external_record(name, params)
    link_weights(params)
    set_aside(params)
    write_json(EXPLANATIONS / ASKED, params.explain.methods)
    write_json(EXTERNAL / ASKED, list(params.external))
    write_json(VARIANTS / ASKED, list(params.variants))
    write_records(records)


def main() -> None:
    """Write the records, unless DVC would miss a section later.

    Raises
    ------
    ParamsError
        If params.yaml has no section ``about``, as it had not before there was one: every value of it has a default,
        but DVC, at the end of a study, refuses a stage whose parameters are not in the file.
    """
    if "about" not in read():
        raise ParamsError(f"{PARAMS_FILE}: about: missing; DVC asks for it, though it may be empty: about: {{}}")
    checks.check_disk(settings.load(), own=False)
    configure(load(RecordedSections))


if __name__ == "__main__":
    with stage_errors():
        main()
