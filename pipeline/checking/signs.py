"""The training runs of a study, shown to the gates."""

from __future__ import annotations

import pandas as pd

from pipeline.checking import gates
from pipeline.ensembling.predictions import Gathered
from pipeline.study.files import made_by, read_json, read_table
from pipeline.study.trainings import evaluation_folder


def signs(study: Gathered) -> pd.DataFrame:
    """Show every training run to the gates (`gates`), on the validation part.

    Returns
    -------
    DataFrame
        cell (name of the training run), gate, sentence: one row per sign; none for a study without one.
    """
    runs = {}
    for configuration in study.configurations:
        folder = evaluation_folder(configuration)
        history = read_table(made_by(folder / "history.csv", "evaluate"))
        records = {record["seed"]: record for record in read_json(folder / "runs.json", "evaluate")}
        for run in (run for run in study.val if run.configuration == configuration):
            runs[f"{configuration} seed {run.seed}"] = gates.TrainedRun(
                study.labels.task,
                study.labels.val_targets,
                study.val[run],
                history.loc[history["seed"] == run.seed, "val_auroc"].tolist(),
                calibrated=bool(records.get(run.seed, {}).get("proper_loss")),
            )
    return pd.DataFrame(gates.check_study(runs), columns=["cell", "gate", "sentence"])
