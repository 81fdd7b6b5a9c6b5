"""What an evaluation passes on of the training runs that it scores."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from pipeline.study.files import made_by, read_json, read_table, write_csv, write_json
from pipeline.study.runs import Run
from pipeline.study.trainings import evaluation_folder, pass_on_augmented, run_folder


def pass_on(runs: Sequence[Run]) -> None:
    """Write history.csv, runs.json and augmented.npz of the training runs into the folder of their evaluation.

    Parameters
    ----------
    runs : sequence of Run
        Of one configuration, at least one; the augmented images are those of the first.
    """
    folder = evaluation_folder(runs[0].configuration)
    histories = [read_table(made_by(run_folder(run) / "history.csv", "train")).assign(seed=run.seed) for run in runs]
    write_csv(folder / "history.csv", pd.concat(histories).set_index("seed").reset_index())
    write_json(folder / "runs.json", [read_json(run_folder(run) / "run.json", "train") for run in runs])
    pass_on_augmented(runs[0])
