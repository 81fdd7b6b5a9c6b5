"""Networks and ensembles of a study of segmentation on another data set with masks, by what validation has chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from pipeline.external.about import images_of
from pipeline.external.overlap import SEEN_REASON, counted, overlap, seen_rows
from pipeline.external.sets import prepared_folder, results_folder
from pipeline.external.settings import ExternalEvaluationSections
from pipeline.external.structures import joined, pairs_of, structure_problems
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.settings import train_settings
from pipeline.scoring.predict import begin, trained_models
from pipeline.scoring.rows import stated
from pipeline.segmenting import intervals, results
from pipeline.segmenting.ensembles import ENSEMBLE
from pipeline.segmenting.intervals import Means
from pipeline.segmenting.pictures import pictured
from pipeline.segmenting.probabilities import Probabilities, averaged, predict_masks, quantised
from pipeline.segmenting.results import MACRO, MEAN, SCORES
from pipeline.segmenting.scores import DICE, HD95, score_all
from pipeline.study.errors import UserError
from pipeline.study.files import (
    ENSEMBLES,
    ArtifactError,
    read_json,
    read_table,
    replaced,
    write_csv,
    write_json,
)
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_parts, read_split
from pipeline.study.predictions import METRIC_COLUMNS, read_metrics
from pipeline.study.prepared import DatasetInfo, open_images, open_masks, read_dataset, read_samples
from pipeline.study.runs import Run, configurations
from pipeline.study.trainings import evaluation_folder

HERE, THERE, DROP = "here", "there", "drop"
"""In the column "part", as of studies of classes: the study's test part, the external set, and there minus here."""
PREPARE, STAGE = "prepare_external", "evaluate_external"
AT_ONCE = 2**27
"""Pixels of masks that are held at once, of every network in turn."""


class External(NamedTuple):
    """Images of an external set, and which structures they are compared on.

    Parameters
    ----------
    images : uint8 or uint16 [M, H, W] or [M, H, W, 3]
        All that are prepared.
    masks : uint8 [M, H, W, T]
        Likewise, in the structures of the set.
    rows : int64 [N]
        Which are used.
    patients : str [N]
        Groups of these.
    theirs, compared : tuple of str
        Structures of the set, and those of the study that any of them is.
    pairs : dict of str to str
        Theirs to ours.
    """

    images: np.ndarray
    masks: np.ndarray
    rows: np.ndarray
    patients: np.ndarray
    theirs: tuple[str, ...]
    compared: tuple[str, ...]
    pairs: dict[str, str]

    def truth(self, rows: np.ndarray) -> NDArray[np.bool_]:
        """Return the true masks of some rows in the structures compared, bool [n, K, H, W]."""
        return joined(self.masks[rows], self.theirs, self.pairs, self.compared)


@dataclass(frozen=True)
class Scored:
    """A configuration under its seeds, or an ensemble: thresholds, and scores here and there.

    Parameters
    ----------
    model, loss : str
        As in metrics.csv.
    labels : list of str [S]
        Seeds, or the name of the ensemble.
    runs : list of Run
        Training runs: of a configuration those under its seeds, of an ensemble its members.
    thresholds : int64 [S, K] or None
        Of 255, of the structures compared; None for the bitwise AND of masks.
    here : float64 [S, n, K, 5]
        Scores of the study's test part.
    there : list of float64 [S, m, K, 5]
        Of the external images, as far as they have been looked at.
    """

    model: str
    loss: str
    labels: list[str]
    runs: list[Run]
    thresholds: np.ndarray | None
    here: np.ndarray
    there: list[np.ndarray] = field(default_factory=list)


def evaluate_masks_elsewhere(name: str, params: ExternalEvaluationSections) -> None:
    """Write everything below ``external/<name>`` for a study of segmentation.

    Raises
    ------
    ParamsError
        If the structures of both cannot be compared.
    UserError
        If no image is left to test on.
    ArtifactError
        If models or ensembles are not those that were evaluated.
    """
    prepared, folder = prepared_folder(name), results_folder(name)
    study, info, samples = read_dataset(), read_dataset(prepared, PREPARE), read_samples(prepared, PREPARE)
    given = params.external[name]
    if problems := structure_problems(f"external.{name}", study.classes, info.task, info.classes, given):
        raise ParamsError("\n".join(["params.yaml:", *problems]))
    pairs = pairs_of(study.classes, info.classes, given.classes)
    images, masks = open_images(prepared, PREPARE), open_masks(prepared, PREPARE)
    own = read_samples().merge(read_split()[["row", "part"]], on="row")
    copies = overlap(images, samples, open_images(), own, params.preprocess.duplicates)
    seen = samples["row"].isin(seen_rows(copies))
    samples = samples.assign(reason=np.where(seen, SEEN_REASON, ""))
    used = ~seen.to_numpy()
    if not used.any():
        raise UserError(f"external.{name}: no image is left to test on: the study has trained or validated on all")
    compared = tuple(each for each in study.classes if each in pairs.values())
    rows, patients = samples["row"].to_numpy(np.int64)[used], samples["group_id"].to_numpy(str)[used]
    of = External(images, masks, rows, patients, info.classes, compared, pairs)
    scored, skipped = _scored(params, study, compared)
    _score(scored, params, study, of)
    present = ~np.isnan(np.concatenate(scored[0].there, 1)[0, ..., SCORES.index(DICE)])
    metrics = pd.concat([_rows(each, of, params) for each in scored], ignore_index=True)
    absent = {each: "not in the external set" for each in study.classes if each not in compared}
    empty = {each: "in no image of the external set" for k, each in enumerate(compared) if not present[:, k].any()}
    facts = {
        "dataset": {**info.record(), "source": None},
        "pairs": pairs,
        "only_there": [each for each in info.classes if each not in pairs],
        "compared": list(compared),
        "not_compared": absent | empty,
        "images": images_of(samples, prepared, patients),
        "with": {each: int(present[:, k].sum()) for k, each in enumerate(compared)},
        "overlap": counted(copies),
        "skipped": skipped,
    }
    write_json(folder / "about.json", facts)
    write_csv(folder / "overlap.csv", copies)
    write_csv(folder / "excluded.csv", samples.loc[~used, ["row", "sample_id", "reason"]])
    write_csv(folder / "metrics.csv", metrics)
    lines = [
        results.image_table(np.concatenate(each.there, 1), rows, list(compared), each.labels, THERE).assign(
            model=each.model, loss=each.loss
        )
        for each in scored
    ]
    write_csv(folder / "images.csv", pd.concat(lines, ignore_index=True))
    shown = pictured(scored, of, partial(_probabilities_of_run, params=params, study=study, of=of))
    with replaced(folder / "pictures.npz") as partial_file:
        np.savez(partial_file, **shown)
    _say(name, metrics)


def _scored(
    params: ExternalEvaluationSections, study: DatasetInfo, compared: Sequence[str]
) -> tuple[list[Scored], dict[str, str]]:
    """Read what every configuration and ensemble has on the test part, and by which thresholds."""
    test = len(read_parts(["test"])["test"].rows)
    places = [study.classes.index(each) for each in compared]

    def here(table: pd.DataFrame) -> np.ndarray:
        kept = table[table["part"] == "test"]
        return kept[SCORES].to_numpy(np.float64).reshape(-1, test, len(study.classes), len(SCORES))[:, :, places]

    scored, skipped = [], {}
    for configuration in configurations(params):
        folder = evaluation_folder(configuration)
        if not (folder / "metrics.csv").exists():
            skipped[str(configuration)] = "it has not been evaluated"
            continue
        metrics = read_metrics(folder / "metrics.csv")
        seeds = results.seeds_of(metrics)
        table = read_table(folder / "images.csv", ("class", "part"))
        runs = [Run(*configuration, int(seed)) for seed in seeds]
        cuts = np.stack([results.thresholds_of(metrics, seed, compared) for seed in seeds])
        scored.append(Scored(*configuration, seeds, runs, cuts, here(table)))
    if not scored:
        raise ArtifactError("no configuration of this study has been evaluated: dvc repro evaluate")
    table = read_table(ENSEMBLES / "images.csv", ("ensemble", "class", "part"))
    for name, about in read_json(ENSEMBLES / "members.json", "ensemble")["ensembles"].items():
        members = [Run(each["model"], each["loss"], each["seed"]) for each in about["members"]]
        cut = about["thresholds"]
        thresholds = None if cut is None else results.levels(cut)[None, places]
        scored.append(Scored(ENSEMBLE, name, [name], members, thresholds, here(table[table["ensemble"] == name])))
    return scored, skipped


def _chunks(rows: np.ndarray, batch_size: int, classes: int, images: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows some batches at a time, as whole batches: they are those of one pass over all rows."""
    pixels = batch_size * classes * images.shape[1] * images.shape[2]
    step = batch_size * max(1, AT_ONCE // pixels)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _score(scored: list[Scored], params: ExternalEvaluationSections, study: DatasetInfo, of: External) -> None:
    """Add the scores of the external images to every configuration and ensemble, some images at a time."""
    places = [study.classes.index(each) for each in of.compared]
    for rows in _chunks(of.rows, params.evaluate.batch_size, len(study.classes), of.images):
        truth = of.truth(rows)
        own: dict[Run, np.ndarray] = {}  # thresholds of each training run
        of_run: dict[Run, Probabilities] = {}
        for each in scored:
            if each.model != ENSEMBLE and each.thresholds is not None:
                found = _probabilities(each, params, study, of.images, rows)
                of_run |= {run: found[run][:, places] for run in each.runs}
                own |= dict(zip(each.runs, each.thresholds[:, :, None, None]))
                masks = [of_run[run] >= own[run] for run in each.runs]
            elif missing := [str(run) for run in each.runs if run not in of_run]:
                raise ArtifactError(f"{ENSEMBLES}: {each.loss} has members without results ({missing[0]}): dvc repro")
            elif each.thresholds is None:
                masks = [np.logical_and.reduce([of_run[run] >= own[run] for run in each.runs])]
            else:
                masks = [averaged([of_run[run] for run in each.runs]) >= each.thresholds[0][:, None, None]]
            each.there.append(np.stack([score_all(mask, truth) for mask in masks]))


def _probabilities(
    of: Scored, params: ExternalEvaluationSections, study: DatasetInfo, images: np.ndarray, rows: np.ndarray
) -> dict[Run, Probabilities]:
    """Compute the probabilities of some images under every training run of a configuration, as of the test part."""
    configuration = of.runs[0].configuration
    device, held = begin(configuration, params), train_settings(params, configuration.model).residency
    loaded = ResidentImages(images, rows, np.zeros((len(rows), len(study.classes)), np.uint8), device, residency=held)
    found: dict[Run, Probabilities] = {}
    for run, network in trained_models(configuration, params, len(study.classes), images.shape[1], device):
        network.eval()
        found[run] = np.concatenate(
            [
                quantised(predict_masks(network, batch, "float32", params.evaluate.tta)).cpu().numpy()
                for batch, _ in loaded.batches(torch.arange(len(rows)), params.evaluate.batch_size)
            ]
        )
    if [*found] != of.runs:
        raise ArtifactError(f"{configuration} was evaluated with other seeds than are trained: dvc repro evaluate")
    return found


def _probabilities_of_run(
    each: Scored, run: Run, rows: np.ndarray, *, params: ExternalEvaluationSections, study: DatasetInfo, of: External
) -> Probabilities:
    """Compute the probabilities of some images under one training run, in the structures compared."""
    return _probabilities(each, params, study, of.images, rows)[run][:, [study.classes.index(c) for c in of.compared]]


def _rows(each: Scored, of: External, params: ExternalEvaluationSections) -> pd.DataFrame:
    """Return the rows of metrics.csv of a configuration or an ensemble: both sides, and the drop."""
    settings, classes = params.evaluate, list(of.compared)
    diagonal = math.hypot(*of.images.shape[1:3])
    sides = {
        HERE: (each.here, read_parts(["test"])["test"].patients),
        THERE: (np.concatenate(each.there, 1), of.patients),
    }
    averages, tables = {}, []
    seeds = each.labels if each.model != ENSEMBLE else []
    for side, (values, patients) in sides.items():
        averages[side] = results.all_means(values, patients, diagonal, settings.bootstrap, settings.seed)
        about = side, diagonal, settings.confidence, settings.seed, each.model, each.loss
        tables.append(results.metric_rows(averages[side], classes, seeds, *about))
    tables += [
        _drop(metric, averages[HERE][metric], averages[THERE][metric], classes, diagonal, each, params)
        for metric in averages[HERE]
        if metric in averages[THERE]
    ]
    whole = pd.concat(tables, ignore_index=True)
    return whole if seeds else whole.assign(seed=each.loss)  # an ensemble has its name there, as of studies of classes


def _drop(
    metric: str,
    here: Means,
    there: Means,
    classes: list[str],
    diagonal: float,
    each: Scored,
    params: ExternalEvaluationSections,
) -> pd.DataFrame:
    """Return the rows of the difference of a score; of its numbers of images, none: they are those of the sides."""
    numbers = intervals.drop(here, there, params.evaluate.confidence, params.evaluate.seed)
    if metric == HD95:
        numbers = intervals.Interval(*(diagonal * part for part in numbers))
    notes = np.where(
        np.isnan(numbers.value), "undefined on one side", np.where(np.isnan(numbers.low), "no interval on one side", "")
    )
    about = {"model": each.model, "loss": each.loss, "seed": MEAN, "part": DROP, "metric": metric}
    columns = {"value": numbers.value, "ci_low": numbers.low, "ci_high": numbers.high}
    table = pd.DataFrame({"class": [*classes, MACRO], **columns, "n": 0, "n_positive": 0, "note": notes})
    return table.assign(**about).reindex(columns=METRIC_COLUMNS)


def _say(name: str, metrics: pd.DataFrame) -> None:
    kept = metrics[(metrics["metric"] == DICE) & (metrics["class"] == MACRO) & (metrics["part"] != DROP)]
    for (model, loss), of in kept[kept["seed"].isin([MEAN, *kept["loss"]])].groupby(["model", "loss"], sort=False):
        said: dict[str, Any] = {
            str(row["part"]): stated(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]), str(row["note"]))
            for row in of.to_dict("records")
        }
        print(f"{model}-{loss}: Dice on {name} {said.get(THERE)}, on the test part {said.get(HERE)}")
