"""Stage `evaluate`: score all seeds of one configuration on validation and test, with intervals."""

from __future__ import annotations

import argparse
from importlib import import_module

import pandas as pd

from pipeline.scoring.evaluation import evaluate as score
from pipeline.scoring.gaps import correct_gaps
from pipeline.scoring.part import PartLogits
from pipeline.scoring.predict import enough_memory_to, predict_parts
from pipeline.scoring.records import evaluation_record
from pipeline.scoring.rows import stated
from pipeline.scoring.settings import EvaluationSections
from pipeline.scoring.subgroups import evaluate_subgroups, subgroups_of
from pipeline.scoring.trained import pass_on
from pipeline.study.errors import stage_errors
from pipeline.study.files import nulls, write_csv, write_json
from pipeline.study.params import ParamsError, load
from pipeline.study.predictions import METRIC_COLUMNS
from pipeline.study.prepared import read_dataset
from pipeline.study.records import check_record, name_within
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import evaluation_folder
from pipeline.study.workplaces import inside


def evaluate(configuration: Configuration, params: EvaluationSections) -> None:
    """Write the predictions, the metrics, the spread over seeds and the collected histories of `configuration`."""
    if problems := params.evaluate.prevalence_problems(read_dataset().classes):
        raise ParamsError("\n".join(["params.yaml:", *problems]))
    predictions, fits = predict_parts(configuration, params)
    task, classes, seeds = predictions.task, list(predictions.classes), predictions.seeds.tolist()
    val, test = PartLogits.of(predictions, "val"), PartLogits.of(predictions, "test")
    bootstrap = params.evaluate.draws()
    asked = {"prevalence": params.evaluate.stated_prevalence(), "ordered": predictions.ordered}
    scored = score(task, classes, seeds, val, test, **asked, **bootstrap)
    subgroups = {
        name: evaluate_subgroups(task, classes, seeds, test, labels, name, scored.points, **bootstrap)
        for name, labels in subgroups_of(predictions.test_rows).items()
    }
    trained = [Run(*configuration, seed) for seed in seeds]
    folder = evaluation_folder(configuration)
    predictions.save(folder / "predictions.npz")
    about = {"model": configuration.model, "loss": configuration.loss}
    metrics = pd.concat([scored.metrics, fits], ignore_index=True).assign(**about)
    write_csv(folder / "metrics.csv", metrics[METRIC_COLUMNS])
    write_csv(folder / "seeds.csv", scored.seeds)
    write_csv(folder / "recipe.csv", scored.configuration)
    write_csv(folder / "disagreement.csv", scored.disagreement)
    write_csv(folder / "reliability.csv", scored.reliability)
    write_csv(folder / "confusion.csv", scored.confusion)
    if scored.suits is not None:
        write_csv(folder / "seed_suits_class.csv", scored.suits.classes)
        write_json(folder / "seed_by_class.json", nulls(scored.suits.interaction._asdict()))
    for name, table in scored.clinical._asdict().items() if scored.clinical is not None else ():
        write_csv(folder / f"{name}.csv", table)
    if subgroups:
        tables = [of.metrics.assign(variable=name) for name, of in subgroups.items()]
        write_csv(folder / "subgroups.csv", pd.concat(tables).set_index("variable").reset_index())
        gaps = pd.concat([of.gaps for of in subgroups.values()], ignore_index=True)
        write_csv(folder / "subgroup_gaps.csv", correct_gaps(gaps, params.evaluate.confidence))
    pass_on(trained)
    macro = scored.metrics.query("seed == 'mean' and part == 'test' and `class` == 'macro' and metric == 'auroc'")
    for row in macro.itertuples():
        said = stated(row.value, row.ci_low, row.ci_high, row.note)
        print(f"{configuration}: test macro AUROC {said}, mean of {len(seeds)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    parser.add_argument("--variant", help="a name under variants in params.yaml; by default the study itself")
    arguments = parser.parse_args()
    with stage_errors(), inside(arguments.variant):
        configuration, params = Configuration(arguments.model, arguments.loss), load(EvaluationSections)
        named = name_within(arguments.variant, configuration)
        check_record(named, "evaluate", evaluation_record(configuration, params))
        with enough_memory_to("evaluate", params):
            if params.models[configuration.model].gives_masks:  # by name, as in stage train
                import_module("pipeline.segmenting.evaluation").evaluate_segmentation(configuration, params)
            elif read_dataset().task == "regression":
                import_module("pipeline.regressing.evaluation").evaluate_regression(configuration, params)
            else:
                evaluate(configuration, params)
