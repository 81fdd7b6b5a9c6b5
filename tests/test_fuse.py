"""Stage `fuse` on a tiny study of drawn images."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

from pipeline import ensemble, fuse, train
from pipeline.ensembling import features, predictions
from pipeline.ensembling.fitting import METHODS
from pipeline.ensembling.predictions import gather, gather_feature_ensembles
from pipeline.learning.networks import models
from pipeline.learning.settings import train_settings
from pipeline.scoring.predict import predict_parts
from pipeline.settings import load
from pipeline.study.files import CHECKPOINTS, ENSEMBLES, FUSED, SAMPLES, SPLIT, ArtifactError, write_csv, write_json
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_parts, read_split
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import open_images, read_dataset, read_samples
from pipeline.study.runs import Run, configurations, runs, seeds
from pipeline.study.trainings import evaluation_folder, run_folder
from tests.once import enter_copy
from tests.tiny import TINY

NAME = "features_top2"
STUDY = {
    **TINY,
    "study": {"models": ["small", "wide"], "losses": ["bce"], "replicates": [7]},
    "models": {
        "small": TINY["models"]["small"],
        "wide": {**TINY["models"]["wide"], "lr": 0.02, "head_lr": 0.03, "options": {"filters": [8], "hidden": 6}},
    },
    "ensemble": {"top_k": 2, "features": True},
}


def write(**changes):
    Path("params.yaml").write_text(yaml.safe_dump(STUDY | changes))
    return load()


@pytest.fixture(scope="module")
def evaluated_once(prepared_once, tmp_path_factory):
    """A folder in which the four cells of the study have been trained, and what they predict lies where it belongs."""
    folder = tmp_path_factory.mktemp("fuse") / "study"
    shutil.copytree(prepared_once, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study = write()
        for cell in runs(study):
            train.train(cell, study)
        for configuration in configurations(
            study
        ):  # as stage `evaluate`, without its scores, which take most of its time
            place = evaluation_folder(configuration)
            predict_parts(configuration, study).predictions.save(place / "predictions.npz")
            write_csv(place / "history.csv", pd.DataFrame({"seed": seeds(study), "val_auroc": [0.5, 0.6]}))
            write_json(place / "runs.json", [{"seed": seed, "proper_loss": True} for seed in seeds(study)])
    return folder


@pytest.fixture
def study(evaluated_once, tmp_path, monkeypatch):
    """A fresh copy of it, as the working directory."""
    enter_copy(evaluated_once, tmp_path, monkeypatch)
    return load()


def evaluations(study):
    """Predictions of every recipe."""
    return {r: Predictions.load(evaluation_folder(r) / "predictions.npz") for r in configurations(study)}


def by_validation(study):
    """The cells with their validation macro AUROC as scikit-learn has it, the highest first."""
    found = {}
    for configuration, made in evaluations(study).items():
        both = (made.val_targets.min(0) == 0) & (made.val_targets.max(0) == 1)
        for seed, logits in zip(made.seeds.tolist(), made.val_logits):
            found[Run(*configuration, seed)] = roc_auc_score(made.val_targets[:, both], logits[:, both])
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def fused():
    (about,) = json.loads((FUSED / "fused.json").read_text())["models"]
    return Predictions.load(FUSED / "predictions.npz", "fuse"), about


def run_ensemble(study, monkeypatch, *methods):
    """Run stage `ensemble` with a few of its methods; return members.json."""
    monkeypatch.setattr(predictions, "METHODS", {name: METHODS[name] for name in methods})
    ensemble.ensemble(study)
    return json.loads((ENSEMBLES / "members.json").read_text())


def files():
    return {p.name: p.read_bytes() for p in FUSED.iterdir()}


def hidden_layers(study, cells, rows):
    """What goes into the last layer of the networks of `cells`, side by side: float64 [N, F]."""
    images = torch.from_numpy(open_images()[rows])[:, None].float() / 255
    found = []
    for cell in cells:
        file = run_folder(cell) / "model.safetensors"
        model = models.rebuild(cell.model, study.models[cell.model], len(read_dataset().classes), 24, file)
        model.backbone.classifier = model.backbone.classifier[:-1]
        with torch.no_grad():
            found.append(model(images).double().numpy())
    return np.concatenate(found, axis=1)


def affine_residual(features, logits):
    """The largest distance of the logits from the nearest affine function of the features."""
    given = np.column_stack([features, np.ones(len(features))])
    return np.abs(given @ np.linalg.lstsq(given, logits, rcond=None)[0] - logits).max()


def test_one_head_on_the_features_of_the_best_cells_makes_the_logits_of_both_parts(study):
    fuse.fuse(study)
    made, about = fused()
    best = list(by_validation(study))
    members = [Run(**of) for of in about["members"]]
    assert members == best[:2]
    widths = {"small": 8, "wide": 6}
    assert about["features"] == sum(widths[cell.model] for cell in members)
    assert made.methods.tolist() == [about["name"]] == [NAME]
    labels = next(iter(evaluations(study).values()))
    for key in ("classes", "val_rows", "test_rows", "val_targets", "test_targets", "val_patients", "test_patients"):
        assert np.array_equal(getattr(made, key), getattr(labels, key))
    rows = np.concatenate([made.val_rows, made.test_rows])
    logits = np.concatenate([made.val_logits[0], made.test_logits[0]]).astype(float)
    assert logits.std(0).min() > 0.01
    assert affine_residual(hidden_layers(study, members, rows), logits) < 1e-4
    assert affine_residual(hidden_layers(study, best[2:], rows), logits) > 1e-2


def test_the_epoch_that_validation_chose_is_the_one_that_predicts(study):
    fuse.fuse(study)
    made, about = fused()
    both = (made.val_targets.min(0) == 0) & (made.val_targets.max(0) == 1)
    expected = roc_auc_score(made.val_targets[:, both], made.val_logits[0][:, both])
    assert about["val_auroc"] == pytest.approx(expected, abs=1e-6)
    assert 1 <= about["best_epoch"] <= study.train.epochs


def test_twice_gives_the_same_bytes_and_another_seed_does_not(study):
    found = []
    for _ in range(2):
        fuse.fuse(study)
        found.append(files())
        shutil.rmtree(FUSED)
    assert found[0] == found[1]
    assert set(found[0]) == {"fused.json", "predictions.npz", f"{NAME}.safetensors"}
    assert list(CHECKPOINTS.iterdir()) == []
    seeds = {"study": STUDY["study"] | {"replicates": [42]}, "seed": 7}  # the same cells
    fuse.fuse(write(**seeds))
    assert files()["predictions.npz"] != found[0]["predictions.npz"]


def test_the_head_is_trained_as_the_best_member_was(study, monkeypatch):
    given = {}

    def spy(parts, copies, loss, **options):
        given.update(copies=copies, loss=loss, **options)
        raise InterruptedError

    split = read_split()
    split.loc[split.index[split["part"] == "train"][:40], "copies"] = 3
    write_csv(SPLIT, split)
    monkeypatch.setattr(features, "fit_head", spy)
    with pytest.raises(InterruptedError):
        fuse.fuse(study)
    training = read_parts(["train"])["train"]
    best = next(iter(by_validation(study)))
    assert given["lr"] == {"small": 0.01, "wide": 0.03}[best.model]
    assert given["seed"] == 42
    assert given["settings"] == train_settings(study, best.model)
    assert np.array_equal(given["copies"], training.draws)
    positives, draws = given["loss"].counts(torch.zeros(1))
    assert positives.tolist() == (training.targets * training.draws[:, None]).sum(0).tolist()
    assert draws == training.draws.sum() == len(training.rows) + 2 * 40


def test_class_weights_that_the_study_cannot_have_are_refused_as_in_training(study):
    with pytest.raises(ParamsError, match="class_weights"):
        fuse.fuse(write(train=STUDY["train"] | {"class_weights": "balanced"}))


def test_the_truth_of_the_test_part_decides_nothing(study):
    fuse.fuse(study)
    made, about = fused()
    samples, split = read_samples(), read_split().set_index("row")["part"]
    classes, of_test = list(read_dataset().classes), (split[samples["row"]] == "test").to_numpy()
    samples.loc[of_test, classes] = 1 - samples.loc[of_test, classes]
    write_csv(SAMPLES, samples)
    for configuration, found in evaluations(study).items():
        garbage = replace(found, test_targets=1 - found.test_targets)
        garbage.save(evaluation_folder(configuration) / "predictions.npz")
    fuse.fuse(study)
    again, about_again = fused()
    assert about_again == about
    assert again.val_logits.tobytes() == made.val_logits.tobytes()
    assert again.test_logits.tobytes() == made.test_logits.tobytes()


def test_the_truth_of_the_training_part_decides(study):
    fuse.fuse(study)
    made, _ = fused()
    samples, split = read_samples(), read_split().set_index("row")["part"]
    classes, trained = list(read_dataset().classes), (split[samples["row"]] == "train").to_numpy()
    samples.loc[trained, classes] = 1 - samples.loc[trained, classes]
    write_csv(SAMPLES, samples)
    fuse.fuse(study)
    assert not np.array_equal(fused()[0].test_logits, made.test_logits)


def test_stage_ensemble_scores_and_compares_it_like_every_other(study, monkeypatch):
    fuse.fuse(study)
    made, about = fused()
    described = run_ensemble(study, monkeypatch, "mean")["ensembles"]
    everything = Predictions.load(ENSEMBLES / "predictions.npz", "ensemble")
    assert everything.methods.tolist().count(NAME) == 1
    index = everything.methods.tolist().index(NAME)
    assert np.array_equal(everything.test_logits[index], made.test_logits[0])
    of, mean = described[NAME], described["mean_top2"]
    assert (of["method"], of["set"], of["fitted_on"]) == (
        "features",
        "top2",
        "training labels, its epoch on validation labels",
    )
    assert of["members"] == mean["members"]  # with their validation AUROC; neither has weights
    assert of["parameters"] == {key: about[key] for key in ("features", "loss", "lr", "best_epoch")}
    assert of["val_auroc"] == pytest.approx(about["val_auroc"], abs=1e-6)
    metrics = pd.read_csv(ENSEMBLES / "metrics.csv")
    row = metrics[(metrics["loss"] == NAME) & (metrics["part"] == "test") & (metrics["metric"] == "auroc")]
    k = int(np.argmax(made.test_targets.sum(0)))
    value = row.set_index("class")["value"][made.classes[k]]
    assert value == pytest.approx(roc_auc_score(made.test_targets[:, k], made.test_logits[0][:, k]), abs=1e-6)
    compared = pd.read_csv(ENSEMBLES / "comparisons.csv").query("family == 'ensembles'")
    assert (compared[["first", "second"]] == f"ensemble-{NAME}").any(axis=1).sum() == 2


def test_off_reads_nothing_and_leaves_nothing_of_before(study, monkeypatch):
    fuse.fuse(study)
    off = write(ensemble={"top_k": 2})
    with monkeypatch.context() as patch:
        patch.setattr(predictions, "gather", lambda *_: pytest.fail("the evaluations were read"))
        fuse.fuse(off)
    assert {name: json.loads(content) for name, content in files().items()} == {"fused.json": {"models": []}}
    assert gather_feature_ensembles(gather(off)) == ([], {})


def test_one_cell_is_no_ensemble_and_is_said_to_be_none(study, monkeypatch):
    one = write(ensemble={"top_k": 1, "features": True})
    fuse.fuse(one)
    assert set(files()) == {"fused.json"}
    content = run_ensemble(one, monkeypatch)
    assert content["ensembles"] == {}
    assert content["skipped"]["features_top1"] == "one member only"


def spoil(cell):
    """Let `cell` say infinity of an image."""
    path = evaluation_folder(cell.configuration) / "predictions.npz"
    made = Predictions.load(path)
    logits = made.val_logits.copy()
    logits[made.seeds.tolist().index(cell.seed), 3, 0] = np.inf
    replace(made, val_logits=logits).save(path)


def test_a_cell_without_finite_logits_is_no_member(study):
    best_first = list(by_validation(study))
    spoil(best_first[0])
    fuse.fuse(study)
    assert [Run(**of) for of in fused()[1]["members"]] == best_first[1:3]
    for cell in best_first[1:3]:
        spoil(cell)
    fuse.fuse(study)
    assert json.loads((FUSED / "fused.json").read_text())["skipped"] == {NAME: "one member only"}


def test_what_was_made_for_another_study_is_refused(study):
    fuse.fuse(study)
    absent = fused()[1]["members"][0]["model"]
    left = [m for m in STUDY["study"]["models"] if m != absent]
    with pytest.raises(ArtifactError, match="dvc repro fuse"):
        gather_feature_ensembles(gather(write(study=STUDY["study"] | {"models": left})))
    write()
    split = read_split()
    split.loc[split.index[split["part"] == "test"][0], "part"] = "unused"
    write_csv(SPLIT, split)
    with pytest.raises(ArtifactError, match=r"another test part.*dvc repro evaluate"):
        fuse.fuse(study)
