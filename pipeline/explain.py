"""Stage `explain`: heat maps of one configuration by one method, scored against boxes and checked without them."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
import pandas as pd

from pipeline.explaining.checks import Checked, check, every_map, say_nothing
from pipeline.explaining.decided import decided_by
from pipeline.explaining.examples import examples, spread_out
from pipeline.explaining.localising import known_boxes, localise, marked
from pipeline.explaining.maps import Mapper, Maps
from pipeline.explaining.names import EVERY, MEAN, explanation_name
from pipeline.explaining.occlusion import Occluder
from pipeline.explaining.records import explanation_record
from pipeline.explaining.results import ALL_ALIKE, NOT_FINITE, NOT_FOR, explanation_folder, write_none
from pipeline.explaining.settings import ExplainSections
from pipeline.learning.networks.models import Classifier
from pipeline.scoring.predict import begin, metadata_of, trained_models
from pipeline.study.errors import UserError, stage_errors
from pipeline.study.files import replaced, write_csv, write_json
from pipeline.study.params import load
from pipeline.study.parts import read_parts
from pipeline.study.prepared import as_input, open_images, read_dataset
from pipeline.study.records import check_record
from pipeline.study.runs import Configuration, Run


def explain(configuration: Configuration, method: str, params: ExplainSections) -> None:
    """Write everything below ``explanations/<configuration>-<method>``."""
    data, images, folder = read_dataset(), open_images(), explanation_folder(configuration, method)
    if data.task in NOT_FOR:
        write_none(configuration, method, *NOT_FOR[data.task])
        return
    device = begin(configuration, params)
    classes, channels, (height, width) = list(data.classes), 1 if images.ndim == 3 else 3, images.shape[1:3]
    predictions, decisions = decided_by(configuration)
    runs: list[Run] = []
    networks: list[Classifier] = []
    for run, network in trained_models(configuration, params, len(classes), height, device):
        if run.seed in decisions.seeds:
            runs.append(run)
            networks.append(cast(Classifier, copy.deepcopy(network).eval()))
    if not networks:
        write_none(configuration, method, NOT_FINITE)
        return
    scheme = metadata_of(configuration, params)
    metadata = None if scheme is None else scheme.of_rows
    try:
        layer = None if method == "occlusion" else Mapper.layer_of(networks[0], height, width)
    except UserError as error:  # one network among others: their maps are made, and the page says which has none
        write_none(configuration, method, str(error))
        return

    def make(some: Sequence[Classifier]) -> AbstractContextManager[Maps]:
        if layer is None:
            return Occluder(some, (channels, height, width))
        return Mapper(some, (channels, height, width), method, layers=[layer] * len(some))

    boxes, parts = known_boxes(), read_parts(["train", "val", "test"])
    with_boxes = {name: marked(part, boxes, classes) for name, part in parts.items()}
    bootstrap = params.evaluate.draws()
    about: dict[str, Any] = {
        "method": method,
        "seeds": [run.seed for run in runs],
        "layer": None if layer is None else {"name": layer.name, "grid": list(layer.grid)},
    }
    rows, patients = predictions.test_rows, predictions.test_patients
    shown, margin = examples(decisions), layer.margin if layer else (0, 0)
    at, of = np.array([(each.place, each.k) for each in shown], np.int64).T
    known = None if metadata is None else metadata(rows[at])
    with make(networks) as maps:
        made = every_map(maps, as_input(images[rows[at]]), of, known).mean(axis=0)
    if say_nothing(made, margin):
        write_none(configuration, method, ALL_ALIKE.format(len(made)))
        return
    if len(with_boxes["test"].rows):
        with make(networks) as maps:
            found = localise(maps, about["seeds"], images, with_boxes, classes, metadata, **bootstrap)
        write_csv(folder / "localisation.csv", found.table)
        write_csv(folder / "entries.csv", found.entries)
        about |= found.about
        _say(configuration, found.table)
    places, asked = spread_out(decisions.mean, params.explain.images)
    known = None if metadata is None else metadata(rows[places])
    checked = Checked(as_input(images[rows[places]]), asked, patients[places], data.task, known)
    write_csv(folder / "checks.csv", check(make, networks, checked, margin, **bootstrap))
    table = pd.DataFrame(shown, columns=["row", "class", "kind", "quantile"])
    table["row"], table["class"], table["probability"] = rows[at], [classes[k] for k in of], decisions.mean[at, of]
    write_csv(folder / "examples.csv", table)
    with replaced(folder / "examples.npz") as partial:
        np.savez(partial, maps=made)
    write_json(folder / "about.json", about)


def _say(configuration: Configuration, table: pd.DataFrame) -> None:
    rows = table[(table["class"] == EVERY) & (table["metric"] == "pointing")].set_index("map")["value"]
    print(
        f"{configuration}: the highest place lies in a box in {rows[MEAN]:.3f}; by the mean box {rows['mean box']:.3f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a name under models in params.yaml")
    parser.add_argument("--loss", required=True, help="a name under losses in params.yaml")
    parser.add_argument("--method", required=True, help="one of explain.methods in params.yaml")
    arguments = parser.parse_args()
    with stage_errors():
        configuration, params = Configuration(arguments.model, arguments.loss), load(ExplainSections)
        record = explanation_record(configuration, arguments.method, params)
        check_record(explanation_name(configuration, arguments.method), "explain", record)
        explain(configuration, arguments.method, params)
