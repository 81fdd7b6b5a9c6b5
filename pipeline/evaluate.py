"""Stage `evaluate`: score all seeds of one recipe on validation and test, with intervals."""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from pipeline.scoring.settings import EvaluationSections
from pipeline.statistics.evaluation import age_bands, evaluate_subgroups
from pipeline.statistics.evaluation import evaluate as score
from pipeline.study.errors import stage_errors
from pipeline.study.files import made_by, nulls, read_json, write_csv, write_json
from pipeline.study.params import load
from pipeline.study.predictions import METRIC_COLUMNS
from pipeline.study.prepared import read_samples
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import evaluation_folder, pass_on_augmented, run_folder
from pipeline.trained import predict_parts


def subgroups_of(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the labels by which the images `rows` are grouped: those of sex, view and age that the data set has."""
    about = read_samples().set_index("row").loc[rows]
    labels = {name: about[name].to_numpy() for name in ("sex", "view") if name in about}
    if "age" in about:
        labels["age"] = age_bands(about["age"].to_numpy(float, na_value=np.nan))
    return {name: of for name, of in labels.items() if not pd.isna(of).all()}


def evaluate(configuration: Configuration, params: EvaluationSections) -> None:
    """Write the predictions, the metrics, the spread over seeds and the collected histories of `recipe`."""
    predictions, fits = predict_parts(configuration, params)
    task, classes, of = predictions.task, list(predictions.classes), params.evaluate
    val = predictions.val_logits, predictions.val_targets, predictions.val_patients
    test = predictions.test_logits, predictions.test_targets, predictions.test_patients
    bootstrap = {**of.draws(), "interval": of.interval}
    scored = score(task, classes, list(predictions.seeds), val, test, **bootstrap)
    subgroups = [
        evaluate_subgroups(task, classes, list(predictions.seeds), test, labels, **bootstrap).assign(variable=name)
        for name, labels in subgroups_of(predictions.test_rows).items()
    ]
    cells = [Run(*configuration, int(seed)) for seed in predictions.seeds]
    histories = [pd.read_csv(made_by(run_folder(c) / "history.csv", "train")).assign(seed=c.seed) for c in cells]
    runs = [read_json(run_folder(c) / "run.json", "train") for c in cells]
    folder = evaluation_folder(configuration)
    predictions.save(folder / "predictions.npz")
    metrics = pd.concat([scored.metrics, fits], ignore_index=True).assign(
        model=configuration.model, loss=configuration.loss
    )
    write_csv(folder / "metrics.csv", metrics[METRIC_COLUMNS])
    write_csv(folder / "seeds.csv", scored.seeds)
    write_csv(folder / "recipe.csv", scored.configuration)
    write_csv(folder / "disagreement.csv", scored.disagreement)
    write_csv(folder / "reliability.csv", scored.reliability)
    write_csv(folder / "confusion.csv", scored.confusion)
    if scored.suits is not None:
        write_csv(folder / "seed_suits_class.csv", scored.suits.classes)
        write_json(folder / "seed_by_class.json", nulls(scored.suits.interaction._asdict()))
    if subgroups:
        write_csv(folder / "subgroups.csv", pd.concat(subgroups).set_index("variable").reset_index())
    write_csv(folder / "history.csv", pd.concat(histories).set_index("seed").reset_index())
    write_json(folder / "runs.json", runs)
    pass_on_augmented(cells[0])
    found = scored.metrics.query("seed == 'mean' and part == 'test' and `class` == 'macro' and metric == 'auroc'")
    for row in found.itertuples():
        print(
            f"{configuration}: test macro AUROC {row.value:.4f} [{row.ci_low:.4f}, {row.ci_high:.4f}], mean of {len(cells)}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    arguments = parser.parse_args()
    with stage_errors():
        evaluate(Configuration(arguments.model, arguments.loss), load(EvaluationSections))
