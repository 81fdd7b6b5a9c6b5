"""Stage `weights`: let DVC look at the file of trained weights that a model starts from, wherever it lies.

The link that this stage makes stands for that file: another content is a changed output, and the stage runs again. The
hash that it writes beside it makes the record of the model another one, so that its training runs are done again.
"""

from __future__ import annotations

import argparse
import os

from pipeline.learning.settings import TrainingSections
from pipeline.learning.weights import checked_sha256, weights_file
from pipeline.study.errors import stage_errors
from pipeline.study.files import WEIGHTS, replaced, write_json
from pipeline.study.inputs import located
from pipeline.study.params import load


def link_weights(model: str, params: TrainingSections) -> None:
    """Link the weights file of `model` and write its hash; a file that says so and no hash if it starts from none."""
    described, key, sha256 = params.models[model], f"models.{model}.weights", None
    if described.weights is not None:
        sha256 = checked_sha256(key, located(described.weights), described.sha256)
    with replaced(WEIGHTS / "files" / model) as link:
        link.unlink(missing_ok=True)
        if described.weights is None:
            link.write_text("no file\n", encoding="utf-8")  # DVC warns of empty ones
        else:
            os.symlink(weights_file(key, located(described.weights)).absolute(), link)
    write_json(WEIGHTS / "hashes" / f"{model}.json", {"sha256": sha256})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    with stage_errors():
        link_weights(parser.parse_args().model, load(TrainingSections))
