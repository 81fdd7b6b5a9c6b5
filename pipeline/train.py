"""Stages `train` and `replicate`: one training run, a model with a loss under a seed."""

from __future__ import annotations

import argparse
from importlib import import_module

from pipeline.learning import losses
from pipeline.learning.images.parts import resident
from pipeline.learning.networks.inference import predict
from pipeline.learning.records import training_record
from pipeline.learning.seen import check_unseen
from pipeline.learning.settings import TrainingSections
from pipeline.learning.training.whole import Training
from pipeline.metrics.collapse import collapse_sign, unclear
from pipeline.metrics.thresholds import probabilities
from pipeline.study.errors import stage_errors
from pipeline.study.params import load
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.records import check_record, name_within
from pipeline.study.runs import Run
from pipeline.study.workplaces import inside


def train(run: Run, params: TrainingSections) -> None:
    """Train `run` on the training part, choose its epoch on the validation part, write its folder."""
    training = Training(run, params)
    settings, data, parts, images = training.settings, read_dataset(), read_parts(["train", "val"]), open_images()
    check_unseen(run.model, training.described, data)
    rows, targets, draws = parts["train"].rows, parts["train"].targets, parts["train"].draws
    weighting = targets, draws, settings.class_weights, data.ordered
    loss = losses.for_training(run.loss, params.losses[run.loss], data.task, *weighting)
    scheme = training.metadata(parts["train"], data.classes)
    model = training.model(len(data.classes), images, rows, loss.output)
    learned = {"train": training.taught(parts["train"], data), "val": parts["val"].targets}
    loaded = {
        name: resident(images, part, learned[name], training.device, settings.residency, scheme)
        for name, part in parts.items()
    }
    print(f"{run}: {'; '.join(part.describe(name) for name, part in loaded.items())}", flush=True)
    fitted = training.fit(model, loss, loaded["train"], draws, loaded["val"])

    best = fitted.history[fitted.best_epoch - 1]
    logits = predict(model, loaded["val"], 4 * settings.batch_size, training.precision).cpu().numpy()
    chosen_by = [epoch[f"val_{settings.select}"] for epoch in fitted.history]
    sign = collapse_sign(chosen_by, best["val_auroc"], parts["val"].targets, probabilities(logits, data.task))
    training.keep(fitted, model, loss, loaded["train"], rows, draws, data, sign)
    few = unclear(parts["val"].targets, best["val_auroc"])
    said = f", COLLAPSED: {sign}" if sign else f"; whether it learned: {few}" if few else ""
    print(f"{run}: best epoch {fitted.best_epoch}{said}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    parser.add_argument("--seed", required=True, type=int, help="training seed")
    parser.add_argument("--variant", help="a name under variants in params.yaml; by default the study itself")
    arguments = parser.parse_args()
    with stage_errors(), inside(arguments.variant):
        run, params = Run(arguments.model, arguments.loss, arguments.seed), load(TrainingSections)
        named = name_within(arguments.variant, run.configuration)
        check_record(named, "train", training_record(run.configuration, params))
        if params.models[run.model].gives_masks:  # by name: no other training run depends on that code
            import_module("pipeline.segmenting.training").train_segmentation(run, params)
        elif read_dataset().task == "regression":
            import_module("pipeline.regressing.training").train_regression(run, params)
        else:
            train(run, params)
