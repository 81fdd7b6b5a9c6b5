"""What stage evaluate does in a study of regression: predict and score all seeds of a configuration."""

from __future__ import annotations

import numpy as np

from pipeline.learning.images.parts import resident
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import train_settings
from pipeline.regressing.scores import scores
from pipeline.regressing.values import FILE, SIDES, Values, as_targets, targets_of
from pipeline.scoring.predict import begin, metadata_of, trained_models
from pipeline.scoring.rows import stated
from pipeline.scoring.settings import EvaluationSections
from pipeline.scoring.trained import pass_on
from pipeline.study.files import write_csv
from pipeline.study.parts import read_parts
from pipeline.study.predictions import METRIC_COLUMNS
from pipeline.study.prepared import open_images
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import evaluation_folder


def evaluate_regression(configuration: Configuration, params: EvaluationSections) -> None:
    """Write the predicted values, the metrics and the collected histories of `configuration`."""
    runs, values = predicted(configuration, params)
    scored = scores(values.names.tolist(), sides_of(values), **params.evaluate.draws())
    folder = evaluation_folder(configuration)
    values.save(folder / FILE)
    about = {"model": configuration.model, "loss": configuration.loss}
    write_csv(folder / "metrics.csv", scored.rows.assign(**about)[METRIC_COLUMNS])
    pass_on(runs)
    for row in scored.rows.query("seed == 'mean' and part == 'test' and metric in ('mae', 'r2')").to_dict("records"):
        said = stated(row["value"], row["ci_low"], row["ci_high"], row["note"])
        print(f"{configuration}: test {row['metric']} {said}, mean of {len(runs)}")


def predicted(configuration: Configuration, params: EvaluationSections) -> tuple[list[Run], Values]:
    """Predict the validation and the test part under every trained seed of `configuration`."""
    device, images = begin(configuration, params), open_images()
    parts = read_parts(list(SIDES))
    truth = {name: targets_of(part) for name, part in parts.items()}
    scheme = metadata_of(configuration, params)
    held = train_settings(params, configuration.model).residency
    loaded = {
        name: resident(images, part, as_targets(truth[name]), device, held, scheme) for name, part in parts.items()
    }
    runs: list[Run] = []
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    for run, model in trained_models(configuration, params, 1, images.shape[1], device):
        runs.append(run)
        for name, part in loaded.items():
            found = predict(model, part, params.evaluate.batch_size, "float32", params.evaluate.tta)
            outputs[name].append(found.cpu().numpy().astype(np.float64))
    content: dict[str, np.ndarray] = {}
    for name, of in parts.items():
        made = np.stack(outputs[name])
        spreads = made[..., 1] if made.shape[-1] > 1 else np.full(made.shape[:2], np.nan)
        content |= {
            f"{name}_rows": of.rows,
            f"{name}_values": made[..., 0],
            f"{name}_spreads": spreads,
            f"{name}_targets": truth[name],
            f"{name}_patients": of.patients,
        }
    return runs, Values(names=np.array([str(run.seed) for run in runs]), **content)


def sides_of(values: Values) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Return values, spreads, truth and patients of both parts, as `scores` takes them."""
    return {
        side: (
            getattr(values, f"{side}_values"),
            getattr(values, f"{side}_spreads"),
            getattr(values, f"{side}_targets"),
            getattr(values, f"{side}_patients"),
        )
        for side in SIDES
    }
