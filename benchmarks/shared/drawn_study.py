"""Studies on disk in the form in which the stages leave them, with drawn results: what stage report reads."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pipeline.ensembling.combiners import mean_probability_logits
from pipeline.ensembling.predictions import chosen_of, clinical_of
from pipeline.ensembling.sets import one_family, questions
from pipeline.imaging.kinds import Kind
from pipeline.imaging.reading import Scale
from pipeline.scoring.evaluation import Evaluation, evaluate
from pipeline.scoring.gaps import correct_gaps
from pipeline.scoring.subgroups import evaluate_subgroups
from pipeline.settings import Params, parse
from pipeline.splitting.audit import audit
from pipeline.study import runs as runs_module
from pipeline.study.files import (
    AUDIT,
    BOXES,
    DATASET,
    ENSEMBLES,
    EXAMPLES,
    EXCLUDED,
    IMAGES,
    KINDS,
    PROBES,
    READING,
    SAMPLES,
    SPLIT,
    nulls,
    write_csv,
    write_json,
)
from pipeline.study.predictions import METRIC_COLUMNS, Predictions
from pipeline.study.prepared import DatasetInfo, read_samples
from pipeline.study.runs import Configuration, Run, configurations
from pipeline.study.trainings import evaluation_folder, pass_on_augmented, write_augmented
from pipeline.uncertainty.comparisons import compare

PREVALENCE = {"Atelectasis": 0.25, "Cardiomegaly": 0.2, "Effusion": 0.15, "Pleural_Thickening": 0.12, "Hernia": 0.02}
FINDINGS = tuple(PREVALENCE)
Task = Literal["multilabel", "multiclass"]
TYPES = ("Normal", "Bacterial", "Viral")


def settings(
    task: Task,
    models: Sequence[str] = ("densenet", "small_cnn"),
    losses: Sequence[str] = ("bce", "zlpr"),
    replicates: Sequence[int] = (12, 22),
) -> Params:
    """Return the parameters of a small study."""
    return parse(
        {
            "seed": 42,
            "dataset": "drawn",
            "study": {"models": [*models], "losses": [*losses], "replicates": [*replicates]},
            "datasets": {"drawn": {"images": 400}},
            "preprocess": {"size": 64},
            "split": {"method": "official", "validation": 0.2, "test": 0.3},
            "train": {"epochs": 8, "batch_size": 32},
            "models": {m: {"arch": f"{m}_arch", "lr": 0.001, "options": {"depth": 3}} for m in models},
            "losses": {lo: {} for lo in losses},
            "evaluate": {"bootstrap": 100},
            "ensemble": {"top_k": 1},
        }
    )


def write_study(
    task: Task,
    study: Params,
    n: int = 400,
    synthetic: bool = True,
    collapsed: int | None = None,
    prevalence: Mapping[str, float] = PREVALENCE,
) -> None:
    """Write the inputs of stage report below the working directory.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the data set.
    study : Params
        As `settings` returns them.
    n : int
        Images, two per patient.
    synthetic : bool
        Whether the data set calls itself drawn.
    collapsed : int, optional
        Seed whose training runs learned nothing.
    prevalence : mapping
        Of the classes of a multi-label study, by their names.
    """
    rng = np.random.default_rng(5)
    classes = tuple(prevalence) if task == "multilabel" else TYPES
    info = DatasetInfo(
        name="drawn",
        title="Drawn radiographs",
        task=task,
        classes=classes,
        synthetic=synthetic,
        licence="CC0",
        citation="No citation.",
        url="https://example.org/drawn",
        notes=("Findings are drawn, not diagnosed.",),
    )
    write_json(DATASET, asdict(info))
    write_csv(
        EXCLUDED,
        pd.DataFrame(
            {"file": ["a.png", "b.png", "c.png"], "reason": ["cannot be read", "cannot be read", "empty | blank"]}
        ),
    )
    if task == "multilabel":
        targets = (rng.random((n, len(classes))) < np.array([*prevalence.values()])).astype(np.uint8)
        targets[[0, n // 2, n - 1], 4] = 1
    else:
        targets = np.eye(len(classes), dtype=np.uint8)[rng.choice(len(classes), n, p=[0.5, 0.3, 0.2])]
    patients = np.array([f"p{i // 2:04d}" for i in range(n)])
    part = np.array(["train"] * (n // 2) + ["val"] * (n // 5) + ["test"] * (n - n // 2 - n // 5))
    part = part.astype("<U6")
    part[3] = "unused"
    _write_samples(study, targets, patients, part, classes)
    rows = {p: np.flatnonzero(part == p) for p in ("val", "test")}
    loaded = []
    for configuration in configurations(study):
        loaded.append(_write_configuration(configuration, study, info, targets, patients, rows, collapsed))
    _write_ensembles(study, loaded, info)
    _write_probes(study, loaded[0])


def _write_samples(
    study: Params, targets: np.ndarray, patients: np.ndarray, part: np.ndarray, classes: Sequence[str]
) -> None:
    """Write what stages preprocess and split leave: tables, images, boxes, examples, audit."""
    n = len(targets)
    rng = np.random.default_rng(6)
    samples = pd.DataFrame(
        {
            "row": range(n),
            "sample_id": [f"i{i}.png" for i in range(n)],
            "patient_id": patients,
            "group_id": patients,
            "duplicate_of": ["i5.png" if i == 4 else "" for i in range(n)],
            "width": np.where(np.arange(n) % 10 == 0, 60, 64),
            "height": 48,
            "official_split": ["train" if p == "unused" else p for p in part],
        }
    )
    samples[list(classes)] = targets
    samples["age"] = np.where(np.arange(n) % 7 == 0, np.nan, rng.integers(1, 90, n))
    samples["sex"] = np.where(np.arange(n) // 2 % 5 == 0, np.array(None), np.where(np.arange(n) // 2 % 2, "F", "M"))
    samples["view"] = rng.choice(["AP", "PA"], n)
    write_csv(SAMPLES, samples)
    write_csv(SPLIT, pd.DataFrame({"row": range(n), "part": part, "copies": 1, "augmented": 0}))
    images = rng.integers(0, 256, (n, 16, 16), np.uint8)
    np.save(IMAGES, images)
    boxes = [[r, f"i{r}.png", classes[0], 2.0, 3.0, 5.0, 6.0] for r in np.flatnonzero(targets[:, 0])[:3]]
    columns = ["row", "sample_id", "class", "x", "y", "width", "height"]
    write_csv(BOXES, pd.DataFrame(boxes, columns=columns))
    np.savez(EXAMPLES, rows=np.array([1, 2]), before=images[:2] // 2, after=images[1:3])
    _write_reading(n, images)
    write_json(AUDIT, audit(samples, pd.Series(part), list(classes), study.split))


def _write_reading(n: int, images: np.ndarray) -> None:
    """Write what stage preprocess says of the files: an invented data set of DICOM and of 16-bit PNG."""
    of_dicom = ("DICOM CR", "JPEG 2000", 12, "MONOCHROME2", "Maker | One", "pydicom", "header", 0)
    of_png = ("PNG", "deflate", 16, "grey", "", "OpenCV", "none", 4095)
    kinds = [{**Kind(*of_dicom)._asdict(), "images": n - n // 4}, {**Kind(*of_png)._asdict(), "images": n // 4}]
    scale = Scale(12, "maximum", n // 4, 4000)
    write_json(READING, {"scale": asdict(scale), "kinds": kinds})
    np.savez(KINDS, kinds=np.array([0, 1]), before=images[:2] // 2, after=images[:2])


def _write_configuration(
    configuration: Configuration,
    study: Params,
    info: DatasetInfo,
    targets: np.ndarray,
    patients: np.ndarray,
    rows: Mapping[str, np.ndarray],
    collapsed: int | None,
) -> Predictions:
    """Write what stage evaluate leaves of a configuration; return its predictions."""
    seeds = runs_module.seeds(study)
    rng = np.random.default_rng(zlib.crc32(str(configuration).encode()))
    strength = {"bce": 1.7, "zlpr": 1.5}.get(configuration.loss, 1.6)
    shared = rng.normal(size=targets.shape)
    of_seeds = [strength * targets + 0.9 * shared + 0.5 * rng.normal(size=targets.shape) - 2 for _ in seeds]
    if collapsed is not None:
        of_seeds[seeds.index(collapsed)] = rng.normal(size=targets.shape)
    logits = np.stack(of_seeds).astype(np.float32)
    arrays = {
        f"{p}_{key}": value
        for p, r in rows.items()
        for key, value in (("rows", r), ("logits", logits[:, r]), ("targets", targets[r]), ("patients", patients[r]))
    }
    predictions = Predictions(task=info.task, seeds=np.array(seeds), classes=np.array(info.classes), **arrays)
    folder = evaluation_folder(configuration)
    scored = _score(predictions, study, seeds)
    fits = _fits(info.task, seeds, len(targets), targets)
    metrics = pd.concat([scored.metrics, fits], ignore_index=True).assign(
        model=configuration.model, loss=configuration.loss
    )
    write_csv(folder / "metrics.csv", metrics[METRIC_COLUMNS])
    assert scored.disagreement is not None
    assert scored.seeds is not None
    assert scored.configuration is not None
    write_csv(folder / "reliability.csv", scored.reliability)
    write_csv(folder / "confusion.csv", scored.confusion)
    write_csv(folder / "disagreement.csv", scored.disagreement)
    assert scored.clinical is not None
    for name, table in scored.clinical._asdict().items():
        write_csv(folder / f"{name}.csv", table)
    _write_subgroups(folder, predictions, study, seeds, scored.points)
    write_csv(folder / "seeds.csv", scored.seeds)
    write_csv(folder / "recipe.csv", scored.configuration)
    if scored.suits is not None:
        write_csv(folder / "seed_suits_class.csv", scored.suits.classes)
        write_json(folder / "seed_by_class.json", nulls(scored.suits.interaction._asdict()))
    predictions.save(folder / "predictions.npz")
    history, runs = [], []
    for i, seed in enumerate(seeds):
        epochs = 8 - 2 * (i % 2)
        epoch = np.arange(1, epochs + 1)
        auroc = 0.85 - 0.3 * np.exp(-epoch / 2) + 0.005 * rng.normal(size=epochs)
        history.append(
            pd.DataFrame(
                {
                    "seed": seed,
                    "epoch": epoch,
                    "lr": 0.001,
                    "train_loss": 0.2 + np.exp(-epoch / 3),
                    "val_loss": 0.3 + np.exp(-epoch / 2) + 0.01 * rng.random(epochs),
                    "val_auroc": auroc,
                    "seconds": 1.5,
                }
            )
        )
        runs.append(
            {
                **configuration._asdict(),
                "seed": seed,
                "arch": f"{configuration.model}_arch",
                "parameters": 123456,
                "trainable_parameters": 123000,
                "macs": 7_654_321,
                "weights": None,
                "best_epoch": int(epoch[auroc.argmax()]),
                "epochs": epochs,
                "collapsed": "chance: validation AUROC 0.501, noise reaches 0.560" if seed == collapsed else None,
                "device": "cpu",
                "threads": 2,
                "precision": "float32",
                "images_per_second": 321.5,
                "seconds": 12.25,
                "versions": {"python": "3.11.9", "torch": "2.0", "timm": "1.0"},
                "git_commit": "0123456789abcdef0123456789abcdef01234567",
                "git_dirty": False,
            }
        )
    write_csv(folder / "history.csv", pd.concat(history))
    write_json(folder / "runs.json", runs)
    trained = Run(*configuration, seeds[0])
    pictures = np.load(IMAGES)[: 2 * 4].reshape(2, 4, 16, 16)
    write_augmented(trained, np.array([0, 4]), pictures)
    pass_on_augmented(trained)
    return predictions


def _fits(task: Task, seeds: Sequence[int], n: int, targets: np.ndarray) -> pd.DataFrame:
    """Return what `pipeline.scoring.predict` adds to metrics.csv."""
    whole = ["accuracy", "balanced_accuracy"] if task == "multiclass" else []
    wanted = [(p, "overall", "loss", 0.3) for p in ("train", "val", "test")] + [("train", "macro", "auroc", 0.93)]
    wanted += [("train", "overall", metric, 0.91) for metric in whole]
    wanted += [("train", "macro", "f1", 0.9)] if task == "multiclass" else []
    about = {"ci_low": np.nan, "ci_high": np.nan, "n": n // 2, "n_positive": int(targets[: n // 2].sum())}
    rows = [
        {"seed": str(s), "part": p, "class": c, "metric": m, "value": v + 0.001 * i, "note": "no interval: a fit"}
        for i, s in enumerate(seeds)
        for p, c, m, v in wanted
    ]
    return pd.DataFrame(rows).assign(**about)


def _write_subgroups(
    folder: Path, predictions: Predictions, study: Params, seeds: Sequence[int], points: Mapping[str, np.ndarray]
) -> None:
    p, about = predictions, read_samples().set_index("row").loc[predictions.test_rows]
    test = p.test_logits, p.test_targets, p.test_patients
    draws = study.evaluate.bootstrap
    found = {
        name: evaluate_subgroups(
            p.task, list(p.classes), seeds, test, about[name].to_numpy(), name, points, draws=draws
        )
        for name in ("sex", "view")
    }
    tables = [of.metrics.assign(variable=name) for name, of in found.items()]
    write_csv(folder / "subgroups.csv", pd.concat(tables).set_index("variable").reset_index())
    gaps = pd.concat([of.gaps for of in found.values()], ignore_index=True)
    write_csv(folder / "subgroup_gaps.csv", correct_gaps(gaps, study.evaluate.confidence))


def _score(predictions: Predictions, study: Params, names: Sequence[Any], with_mean: bool = True) -> Evaluation:
    p = predictions
    return evaluate(
        p.task,
        list(p.classes),
        names,
        (p.val_logits, p.val_targets, p.val_patients),
        (p.test_logits, p.test_targets, p.test_patients),
        draws=study.evaluate.bootstrap,
        with_mean=with_mean,
    )


def _write_ensembles(study: Params, loaded: Sequence[Predictions], info: DatasetInfo) -> None:
    first = loaded[0]
    merged = {}
    for p in ("val", "test"):
        every = np.concatenate([getattr(x, f"{p}_logits") for x in loaded])
        merged[f"{p}_logits"] = np.stack([mean_probability_logits(every, info.task), every[0]]).astype(np.float32)
    methods = ["mean_all", "mean_top1"]
    content = {**vars(first), **merged, "seeds": np.arange(2), "methods": np.array(methods)}
    predictions = Predictions(**content)
    predictions.save(ENSEMBLES / "predictions.npz")
    scored = _score(predictions, study, methods, with_mean=False)
    metrics = scored.metrics.assign(model="ensemble", loss=scored.metrics["seed"], seed="")
    write_csv(ENSEMBLES / "metrics.csv", metrics[METRIC_COLUMNS])
    competitors = {str(r): p.test_logits for r, p in zip(configurations(study), loaded)}
    competitors |= {f"ensemble-{m}": predictions.test_logits[[i]] for i, m in enumerate(methods)}
    pairs = compare(info.task, competitors, first.test_targets, first.test_patients, draws=100)
    keys = [str(r) for r in configurations(study)]
    alone = {key: competitors[key] for key in keys}
    by_class = compare(info.task, alone, first.test_targets, first.test_patients, draws=100, classes=list(info.classes))
    best = chosen_of(pd.read_csv(ENSEMBLES / "metrics.csv"))
    compared = questions(pairs, keys, keys, [f"ensemble-{m}" for m in methods])
    compared, of_classes = one_family(compared, by_class[by_class["class"] != "macro"], f"ensemble-{best}", 0.05)
    write_csv(ENSEMBLES / "comparisons.csv", compared)
    write_csv(ENSEMBLES / "class_comparisons.csv", of_classes)
    for name, table in clinical_of(predictions, best, study.evaluate.model_copy(update={"bootstrap": 100})).items():
        write_csv(ENSEMBLES / f"{name}.csv", table)
    signs = [(f"{keys[0]} seed {study.seed}", "constant_metric", "the validation metric is 0.5 in all 3 epochs")]
    write_csv(ENSEMBLES / "signs.csv", pd.DataFrame(signs, columns=["cell", "gate", "sentence"]))
    members = [{**run._asdict(), "val_auroc": 0.8, "weight": None} for run in runs_module.runs(study)]
    weighted = [{**member, "weight": 1 / len(members)} for member in members]
    named = {"mean_all": members, "mean_top1": weighted[:1]}
    described = {
        name: {
            "method": name,  # each leads the pages as the best of its method
            "set": name.split("_")[1],
            "fitted_on": "nothing",
            "val_auroc": 0.81,
            "members": chosen,
            "parameters": {},
        }
        for name, chosen in named.items()
    }
    skipped = {"slsqp_top1": "one member alone needs no weights"}
    write_json(ENSEMBLES / "members.json", {"ensembles": described, "skipped": skipped, "chosen": best})


def _write_probes(study: Params, first: Predictions) -> None:
    """Write a probe that predicts the labels poorly, and one that predicts them as well as a training run."""
    rng = np.random.default_rng(9)
    merged = {}
    for p in ("val", "test"):
        targets, trained = getattr(first, f"{p}_targets"), getattr(first, f"{p}_logits")[0]
        weak = 0.3 * targets + rng.normal(size=targets.shape)
        merged[f"{p}_logits"] = np.stack([weak, trained]).astype(np.float32)
    names = ["thumbnail", "metadata"]
    scored = _score(Predictions(**{**vars(first), **merged, "seeds": np.arange(2)}), study, names, with_mean=False)
    metrics = scored.metrics.assign(model="probe", loss=scored.metrics["seed"], seed="")
    write_csv(PROBES / "metrics.csv", metrics[METRIC_COLUMNS])
