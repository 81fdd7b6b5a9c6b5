"""Stage `probe`: score what an 8 x 8 thumbnail, facts about the picture, and where it is from, tell of the labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pipeline.checking.probes import metadata, thumbnails
from pipeline.checking.probes import probe as fit
from pipeline.learning.metadata import measure
from pipeline.scoring.evaluation import evaluate
from pipeline.scoring.part import PartLogits
from pipeline.scoring.records import probe_record
from pipeline.scoring.rows import stated
from pipeline.scoring.settings import ProbeSections, columns_beside
from pipeline.study.errors import stage_errors
from pipeline.study.files import PROBES, write_csv
from pipeline.study.params import load
from pipeline.study.parts import read_parts
from pipeline.study.predictions import METRIC_COLUMNS
from pipeline.study.prepared import open_images, read_dataset, read_samples
from pipeline.study.records import check_record

MAX_TRAINING = 20_000
"""Training images that the probes are fitted on; of more, so many at random. A class has up to 193 numbers to fit."""
_BLOCK = 1024
SOURCE = "source"
"""Column of samples.csv that names where an image is from: a hospital, or one of several data sets in one table."""
MOST_SOURCES = 100
"""With more values it is no source, but nearly a name of the image."""


def features(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what each probe sees [N, F] of the images `rows` [N], of which some at a time are in memory."""
    images, about = open_images(), read_samples().set_index("row")
    seen: dict[str, list[np.ndarray]] = {"thumbnail": [], "metadata": []}
    where = sources(about[SOURCE]) if SOURCE in about else None
    if where is not None:
        seen["source"] = [where.loc[rows].to_numpy(np.float64)]
    for block in np.split(rows, range(_BLOCK, len(rows), _BLOCK)):
        pixels, sizes = images[block], about.loc[block]
        seen["thumbnail"].append(thumbnails(pixels))
        seen["metadata"].append(metadata(pixels, sizes["width"].to_numpy(), sizes["height"].to_numpy()))
    return {name: np.concatenate(blocks) for name, blocks in seen.items()}


def sources(column: pd.Series) -> pd.DataFrame | None:
    """Return a column of 0 and 1 for each source that images are from; None where they are all from one."""
    named = pd.get_dummies(column.fillna("").astype(str), dtype=np.float64)
    return named if 1 < named.shape[1] <= MOST_SOURCES else None


def score(params: ProbeSections) -> pd.DataFrame:
    """Fit the probes on the training part, entry by entry and each once, and score them like a configuration."""
    settings, data, parts = params.evaluate, read_dataset(), read_parts(["train", "val", "test"])
    val, test, n = parts["val"], parts["test"], len(parts["train"].rows)
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(n)[:MAX_TRAINING])
    rows = np.concatenate([parts["train"].rows[chosen], val.rows, test.rows])
    targets = np.concatenate([parts["train"].targets[chosen], val.targets, test.targets])
    split = np.repeat(["train", "val", "test"], [len(chosen), len(val.rows), len(test.rows)])
    seen = features(rows)
    if named := columns_beside(params):
        columns = measure("models", named, data.classes, rows[: len(chosen)])
        seen["columns"] = columns.of_rows(rows).astype(np.float64)
    logits = {name: fit(inputs, targets, split, data.task) for name, inputs in seen.items()}
    on_val, on_test = (
        PartLogits(np.stack([by_part[name] for by_part in logits.values()]), part.targets, part.patients)
        for name, part in (("val", val), ("test", test))
    )
    options = {"with_mean": False, "metrics_alone": True, "ordered": data.ordered, **settings.draws()}
    metrics = evaluate(data.task, data.classes, [*logits], on_val, on_test, **options).metrics
    if len(chosen) < n:
        how = f"fitted on {len(chosen):,} of {n:,} training images"
        metrics["note"] = [f"{how}; {note}" if note else how for note in metrics["note"]]
    return metrics.assign(model="probe", loss=metrics["seed"], seed="")[METRIC_COLUMNS]


def probe(params: ProbeSections) -> None:
    """Write the probes' metrics, or the head of the table alone where they are off."""
    asked = params.evaluate.probes and read_dataset().task in ("multilabel", "multiclass")  # they tell of labels
    metrics = score(params) if asked else pd.DataFrame(columns=METRIC_COLUMNS)
    write_csv(PROBES / "metrics.csv", metrics)
    for row in metrics.query("part == 'test' and `class` == 'macro' and metric == 'auroc'").to_dict("records"):
        said = stated(row["value"], row["ci_low"], row["ci_high"], row["note"])
        print(f"probe {row['loss']}: test macro AUROC {said}")


if __name__ == "__main__":
    with stage_errors():
        params = load(ProbeSections)
        check_record(None, "probe", probe_record(params))
        probe(params)
