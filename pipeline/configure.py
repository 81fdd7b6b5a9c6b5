"""Stage `configure`: write down what each configuration is, its settings and the code that it runs.

Training runs and evaluations depend on these records in place of params.yaml and folders of code: a comment, another
loss or another model's learning rate changes no record, and trains nothing again.
"""

from __future__ import annotations

from pipeline.learning.records import training_record
from pipeline.scoring.records import evaluation_record
from pipeline.scoring.settings import EvaluationSections
from pipeline.study.errors import stage_errors
from pipeline.study.files import write_json
from pipeline.study.params import load
from pipeline.study.records import record_file, remove_other_records, remove_other_weights
from pipeline.study.runs import configurations


def configure(params: EvaluationSections) -> None:
    """Write the records of each configuration of the study, for its training runs and for its evaluation."""
    remove_other_weights(params.study.models)
    remove_other_records(configurations(params))
    for configuration in configurations(params):
        write_json(record_file(configuration, "train"), training_record(configuration, params), sort_keys=True)
        write_json(record_file(configuration, "evaluate"), evaluation_record(configuration, params), sort_keys=True)


if __name__ == "__main__":
    with stage_errors():
        configure(load(EvaluationSections))
