"""Stage `loss`: record what one loss of the study is made of: its kind, its settings, the code of its files.

Training runs depend on this record instead of the whole folder of losses, so that a new loss, or an edit of another
one, trains nothing again.
"""

from __future__ import annotations

import argparse

from pipeline.learning.losses import record
from pipeline.learning.settings import LossSections
from pipeline.study.errors import stage_errors
from pipeline.study.files import loss_file, write_json
from pipeline.study.params import load


def loss(name: str, params: LossSections) -> None:
    """Write the record of ``losses.<name>``."""
    write_json(loss_file(name), record(name, params.losses[name]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    arguments = parser.parse_args()
    with stage_errors():
        loss(arguments.loss, load(LossSections))
