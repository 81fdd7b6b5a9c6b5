"""Stage `configure`: write down what one configuration is, its settings and the code that it runs.

Training runs and evaluations depend on these records in place of params.yaml and folders of code: a comment, another
loss or another model's learning rate changes no record, and trains nothing again.
"""

from __future__ import annotations

import argparse

from pipeline.learning.records import training_record
from pipeline.scoring.records import evaluation_record
from pipeline.scoring.settings import EvaluationSections
from pipeline.study.errors import stage_errors
from pipeline.study.files import write_json
from pipeline.study.params import load
from pipeline.study.records import record_file
from pipeline.study.runs import Configuration


def configure(configuration: Configuration, params: EvaluationSections) -> None:
    """Write the records of `configuration` for its training runs and for its evaluation."""
    write_json(record_file(configuration, "train"), training_record(configuration, params), sort_keys=True)
    write_json(record_file(configuration, "evaluate"), evaluation_record(configuration, params), sort_keys=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    arguments = parser.parse_args()
    with stage_errors():
        configure(Configuration(arguments.model, arguments.loss), load(EvaluationSections))
