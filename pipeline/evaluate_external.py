"""Stage `evaluate_external`: every model of the study on an external test set, with what validation has chosen."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from pipeline.ensembling.predictions import gather
from pipeline.external.about import about
from pipeline.external.classes import ClassMap, mapping_problems
from pipeline.external.evaluation import predicted_models, score_models
from pipeline.external.overlap import SEEN_REASON, overlap, seen_rows
from pipeline.external.records import external_record
from pipeline.external.scoring import comparable
from pipeline.external.sets import named_set, prepared_folder, results_folder
from pipeline.external.settings import ExternalEvaluationSections
from pipeline.scoring.predict import enough_memory_to, known_metadata, predict_images
from pipeline.scoring.rows import stated
from pipeline.study.errors import UserError, stage_errors
from pipeline.study.files import replaced, write_csv, write_json
from pipeline.study.params import ParamsError, load
from pipeline.study.parts import read_split
from pipeline.study.prepared import open_images, read_dataset, read_samples
from pipeline.study.records import check_record
from pipeline.study.runs import Configuration

PREPARE = "prepare_external"


def evaluate(name: str, params: ExternalEvaluationSections) -> None:
    """Write everything below ``external/<name>``."""
    settings, prepared = params.external[name], prepared_folder(name)
    study, info, samples = read_dataset(), read_dataset(prepared, PREPARE), read_samples(prepared, PREPARE)
    sides = study.task, study.classes, info.task, info.classes, settings.classes, settings.unmapped
    if problems := mapping_problems(f"external.{name}", *sides):
        raise ParamsError("\n".join(["params.yaml:", *problems]))
    mapping = ClassMap.of(*sides)
    mapped = mapping.apply(samples[list(info.classes)].to_numpy())
    samples = samples.assign(reason=mapped.reasons)
    own = read_samples().merge(read_split()[["row", "part"]], on="row")
    images = open_images(prepared, PREPARE)
    known = samples[samples["reason"] == ""]
    copies = overlap(images, known, open_images(), own, params.preprocess.duplicates)
    samples.loc[samples["row"].isin(seen_rows(copies)), "reason"] = SEEN_REASON
    used = (samples["reason"] == "").to_numpy()
    if not used.any():
        reasons = samples["reason"].value_counts()
        why = ", ".join(f"{n} x {reason}" for reason, n in reasons.items())
        raise UserError(f"external.{name}: no image is left to test on ({why}); see external.{name}.classes")
    targets, rows = mapped.targets[used], samples["row"].to_numpy(np.int64)[used]
    gathered = gather(params)
    on_both = comparable(study.task, study.classes, mapping.shared, gathered.labels.test_targets, targets)
    if not on_both.compared:
        why = "; ".join(f"{each}: {reason}" for each, reason in on_both.left_out.items())
        raise UserError(f"external.{name}: no class can be compared ({why}); see external.{name}.classes")
    there = len(study.classes), prepared, PREPARE
    models, skipped = predicted_models(gathered, lambda each: predict_images(each, params, images, rows, *there))
    groups = samples["group_id"].to_numpy(str)[used]
    bootstrap = params.evaluate.draws()
    tables = score_models(models, gathered.labels, on_both.compared, targets, groups, settings.recalibrate, bootstrap)
    folder = results_folder(name)
    facts = about(info, study.classes, mapping, on_both, samples, prepared, targets, groups, copies)
    trained = [Configuration(m.model, m.loss) for m in models if m.seeded]
    if known_columns := known_metadata(trained, params, rows, prepared, PREPARE):
        facts["metadata"] = known_columns
        told = ", ".join(f"{column} {n:,}" for column, n in known_columns.items())
        print(f"external.{name}: of {len(rows):,} images are known: {told}; other values are taken as unknown")
    aside = {"share": settings.recalibrate, "groups": tables.set_aside[0], "images": tables.set_aside[1]}
    write_json(folder / "about.json", {**facts, "set_aside": aside, "skipped": skipped})
    write_csv(folder / "overlap.csv", copies)
    write_csv(folder / "excluded.csv", samples.loc[~used, ["row", "sample_id", "reason"]])
    for table in ("metrics", "adapted", "prevalence", "reliability"):
        write_csv(folder / f"{table}.csv", getattr(tables, table))
    with replaced(folder / "predictions.npz") as partial:
        logits: dict[str, Any] = {f"{model.model}-{model.loss}": model.there for model in models}
        np.savez(partial, rows=rows, targets=targets, groups=groups, classes=np.array(study.classes), **logits)
    _say(name, tables.metrics)


def _say(name: str, metrics: pd.DataFrame) -> None:
    kept = metrics[(metrics["metric"] == "auroc") & (metrics["class"] == "macro") & (metrics["part"] != "drop")]
    for (model, loss), of in kept[kept["seed"] == "mean"].groupby(["model", "loss"], sort=False):
        said = {
            str(row["part"]): stated(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]), str(row["note"]))
            for row in of.to_dict("records")
        }
        print(f"{model}-{loss}: macro AUROC on {name} {said.get('there')}, on the test part {said.get('here')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="a name under external in params.yaml")
    arguments = parser.parse_args()
    with stage_errors():
        params = load(ExternalEvaluationSections)
        named_set(arguments.name, params)
        check_record(arguments.name, "evaluate_external", external_record(arguments.name, params))
        with enough_memory_to("evaluate", params):
            if read_dataset().task == "segmentation":  # by name, as in stage evaluate
                import_module("pipeline.segmenting.elsewhere").evaluate_masks_elsewhere(arguments.name, params)
            else:
                evaluate(arguments.name, params)
