import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from pipeline import ensemble
from pipeline.ensembling.combiners import mean_probability_logits
from pipeline.ensembling.fitting import METHODS
from pipeline.scoring.evaluation import evaluate
from pipeline.scoring.part import PartLogits
from pipeline.settings import parse
from pipeline.study import runs
from pipeline.study.files import DATASET, ENSEMBLES, PREPARED, SAMPLES, write_csv, write_json
from pipeline.study.predictions import Predictions, read_metrics
from pipeline.study.runs import Configuration, configurations
from pipeline.study.trainings import evaluation_folder
from tests.tiny import TINY

VAL, TEST, CLASSES = 120, 150, 3
NOISE = {"small-bce": 0.6, "small-zlpr": 1.5, "wide-bce": 1.0, "wide-zlpr": 3.0}


def truth(task, rng, n):
    signal = rng.normal(-0.5, 1.5, (n, CLASSES))
    if task == "multilabel":
        return signal, (rng.random(signal.shape) < expit(signal)).astype(np.uint8)
    return signal, np.eye(CLASSES, dtype=np.uint8)[(signal + rng.gumbel(size=signal.shape)).argmax(1)]


def predictions_file(configuration):
    return evaluation_folder(configuration) / "predictions.npz"


def write_evaluations(study, task):
    """Predictions of every recipe, as stage `evaluate` writes them: the truth under noise of the recipe's own."""
    rng = np.random.default_rng(0)
    parts = {name: truth(task, rng, n) for name, n in (("val", VAL), ("test", TEST))}
    for configuration in configurations(study):
        content = {}
        for name, (signal, targets) in parts.items():
            noise = rng.normal(0, NOISE[str(configuration)], (len(runs.seeds(study)), *signal.shape))
            content |= {
                f"{name}_rows": np.arange(len(signal)),
                f"{name}_logits": (signal + noise).astype(np.float32),
                f"{name}_targets": targets,
                f"{name}_patients": np.array([f"{name}{i // 2}" for i in range(len(signal))]),
            }
        made = Predictions(task=task, seeds=np.array(runs.seeds(study)), classes=np.array(list("abc")), **content)
        made.save(predictions_file(configuration))
        folder, seeds = evaluation_folder(configuration), runs.seeds(study)
        history = [{"seed": seed, "epoch": e, "val_auroc": 0.6 + e / 10} for seed in seeds for e in (1, 2)]
        write_csv(folder / "history.csv", pd.DataFrame(history))
        write_json(folder / "runs.json", [{"seed": seed, "proper_loss": False} for seed in seeds])


def write_samples(task):
    """The images as stage `preprocess` lists them, half of them of either sex."""
    PREPARED.mkdir(parents=True, exist_ok=True)
    about = dict.fromkeys(("title", "licence", "citation", "url"), "")
    write_json(DATASET, {"name": "drawn", "task": task, "classes": list("abc"), "synthetic": True, **about})
    ids = {name: [f"{name}{i}" for i in range(TEST)] for name in ("sample_id", "patient_id", "group_id")}
    size = {"duplicate_of": "", "width": 9, "height": 9, "official_split": ""}
    truth = np.eye(CLASSES, dtype=int)[np.arange(TEST) % CLASSES]
    sex = np.where(np.arange(TEST) % 4 < 2, "F", "M")  # both images of a patient
    write_csv(SAMPLES, pd.DataFrame({"row": range(TEST), **ids, **size, **dict(zip("abc", truth.T)), "sex": sex}))


def prepare(folder, content, task):
    """Write a study's evaluations into `folder`, run the stage there, and return its params."""
    study = parse(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_samples(task)
        write_evaluations(study, task)
        ensemble.ensemble(study)
    return study


@pytest.fixture(scope="module", params=["multilabel", "multiclass"])
def made_once(request, tmp_path_factory):
    """A study of four recipes under one seed in which the stage has run."""
    folder = tmp_path_factory.mktemp("ensembles")
    return folder, prepare(folder, {**TINY, "study": {**TINY["study"], "replicates": []}}, request.param)


@pytest.fixture
def study(made_once, tmp_path, monkeypatch):
    """A fresh copy of it, as the working directory."""
    folder, study = made_once
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return study


def change(study, key, function):
    """Write the predictions of every recipe anew, with `function` of what is there under `key`."""
    for configuration in configurations(study):
        made = Predictions.load(predictions_file(configuration))
        replace(made, **{key: function(getattr(made, key))}).save(predictions_file(configuration))


def permuted(targets):
    return targets[np.random.default_rng(1).permutation(len(targets))]


def written():
    made = Predictions.load(ENSEMBLES / "predictions.npz", "ensemble")
    members = (ENSEMBLES / "members.json").read_bytes()
    metrics = pd.read_csv(ENSEMBLES / "metrics.csv")
    return made, members, metrics, pd.read_csv(ENSEMBLES / "comparisons.csv")


def test_every_method_combines_every_set(study):
    made, members, metrics, _ = written()
    content = json.loads(members)
    names = made.methods.tolist()
    assert names == [f"{m}_{s}" for s in ("all", "top2", "top3recipes") for m in METHODS]
    assert list(content["ensembles"]) == names == metrics["loss"].unique().tolist()
    single = {f"seeds_{r}": "one member only" for r in configurations(study)}
    assert content["skipped"] == {"top5recipes": "the same members as all", **single}
    everything = np.concatenate([Predictions.load(predictions_file(r)).test_logits for r in configurations(study)])
    logits = made.test_logits[names.index("mean_all")]
    assert np.array_equal(logits, mean_probability_logits(everything, made.task))
    link = expit if made.task == "multilabel" else lambda z: softmax(z.astype(float), axis=-1)
    row = metrics.query("loss == 'stack_top2' and part == 'test' and metric == 'auroc' and `class` == 'macro'").iloc[0]
    expected = roc_auc_score(made.test_targets, link(made.test_logits[names.index("stack_top2")]))
    assert row["value"] == pytest.approx(expected, abs=1e-6)
    assert row["ci_low"] < row["value"] < row["ci_high"]


def test_seeds_of_a_recipe_are_a_set(tmp_path, monkeypatch):
    prepare(tmp_path, {**TINY, "study": {**TINY["study"], "losses": ["bce"]}}, "multiclass")
    monkeypatch.chdir(tmp_path)
    content = json.loads(written()[1])
    named = {of["set"]: of["members"] for of in content["ensembles"].values()}
    assert [(m["model"], m["seed"]) for m in named["seeds_wide-bce"]] == [("wide", 42), ("wide", 7)]
    assert content["skipped"]["seeds_small-bce"] == "the same members as top2"  # the recipe with less noise


def test_members_are_listed_with_their_weights_and_what_was_fitted(study):
    _, members, metrics, _ = written()
    content = json.loads(members)["ensembles"]
    aurocs = metrics[(metrics["part"] == "val") & (metrics["metric"] == "auroc") & (metrics["class"] == "macro")]
    aurocs = aurocs.set_index("loss")["value"]
    for name, of in content.items():
        assert name == f"{of['method']}_{of['set']}"
        weights = [m["weight"] for m in of["members"]]
        if of["method"] in ("slsqp", "greedy"):
            assert of["fitted_on"] == "validation labels"
            assert sum(weights) == pytest.approx(1)
        else:
            assert set(weights) == {None}
        assert aurocs[name] == pytest.approx(of["val_auroc"], abs=1e-6)
    assert content["mean_all"]["fitted_on"] == "nothing"
    best = [m["val_auroc"] for m in content["mean_top2"]["members"]]
    everyone = sorted((m["val_auroc"] for m in content["mean_all"]["members"]), reverse=True)
    assert best == everyone[:2]
    chosen = {f"{m['model']}-{m['loss']}" for m in content["vote_top3recipes"]["members"]}
    assert chosen == set(NOISE) - {"wide-zlpr"}  # the noisiest


def test_comparisons_ask_two_questions(study):
    made, members, _, compared = written()
    names = [str(r) for r in configurations(study)]
    configuration, cell = json.loads(members)["compared_with"]
    references = [
        f"{configuration['model']}-{configuration['loss']}",
        f"{cell['model']}-{cell['loss']} seed {cell['seed']}",
    ]
    assert references == ["small-bce", "small-bce seed 42"]  # the least noisy
    families = dict(list(compared.groupby("family")))
    pairs = {name: list(zip(table["first"], table["second"])) for name, table in families.items()}
    assert len(pairs["recipes"]) == 6
    assert {name for pair in pairs["recipes"] for name in pair} == set(names)
    assert sorted(pairs["ensembles"]) == sorted((r, f"ensemble-{m}") for r in references for m in made.methods)
    chosen = json.loads(members)["chosen"]
    leading = compared[compared["tier"] == 1]
    with_chosen = [(r, f"ensemble-{chosen}") for r in references]
    assert list(zip(leading["first"], leading["second"])) == pairs["recipes"] + with_chosen
    assert leading["p_holm"].min() == pytest.approx(min(1, leading["p"].min() * 8))  # 6 + 2, whatever is below
    for reference, found in compared[compared["family"] == "ensembles"].groupby("first"):
        above = found.loc[found["tier"] == 1, "p_holm"].item()
        assert (found["p_holm"] >= above).all(), reference


def test_the_chosen_ensemble_has_the_tables_of_a_configuration(study):
    """The numbers are those of stage evaluate, as if the ensemble were a configuration trained once."""
    made, members, metrics, _ = written()
    val = metrics.query("part == 'val' and metric == 'auroc' and `class` == 'macro'").set_index("loss")["value"]
    chosen = json.loads(members)["chosen"]
    assert chosen == val.idxmax()
    place = made.methods.tolist().index(chosen)
    parts = [
        PartLogits(*(getattr(made, f"{part}_{what}") for what in ("logits", "targets", "patients")))
        for part in ("val", "test")
    ]
    parts = [part._replace(logits=part.logits[[place]]) for part in parts]
    want = evaluate(made.task, made.classes, [chosen], *parts, **study.evaluate.draws()).clinical._asdict()
    for name, table in want.items():
        found = pd.read_csv(ENSEMBLES / f"{name}.csv")
        assert len(found) == len(table) > 0
        for column in table.select_dtypes("number"):
            np.testing.assert_allclose(found[column], table[column].to_numpy(float), rtol=1e-6, atol=1e-9)
    gaps = pd.read_csv(ENSEMBLES / "subgroup_gaps.csv")
    assert set(zip(gaps["variable"], gaps["first"], gaps["second"])) == {("sex", "F", "M")}
    assert gaps["p_holm"].notna().any()


def test_no_choice_moves_with_the_labels_of_the_test_part(study):
    before, members, metrics, _ = written()
    change(study, "test_targets", permuted)
    ensemble.ensemble(study)
    after, members_after, metrics_after, _ = written()
    assert members_after == members
    for key in ("methods", "val_logits", "test_logits"):
        assert getattr(after, key).tobytes() == getattr(before, key).tobytes()
    tables = [{p: m[m["part"] == p].reset_index(drop=True) for p in ("val", "test")} for m in (metrics, metrics_after)]
    pd.testing.assert_frame_equal(tables[0]["val"], tables[1]["val"], check_exact=True)  # thresholds are rows of it
    macro = [t["test"][(t["test"]["metric"] == "auroc") & (t["test"]["class"] == "macro")] for t in tables]
    difference = macro[0]["value"] - macro[1]["value"]
    assert (difference != 0).all()
    assert difference.mean() > 0.1  # chance in the place of what was learned


def test_choices_do_move_with_the_labels_of_the_validation_part(study):
    before, members, _, _ = written()
    change(study, "val_targets", permuted)
    ensemble.ensemble(study)
    after, members_after, _, _ = written()
    assert members_after != members
    index = before.methods.tolist().index("slsqp_all")
    assert not np.array_equal(after.test_logits[index], before.test_logits[index])


def test_a_cell_without_finite_logits_is_in_no_ensemble_and_is_named(study):
    path = predictions_file(Configuration("wide", "bce"))
    made = Predictions.load(path)
    broken = made.val_logits.copy()
    broken[0, 4, 0] = np.nan
    replace(made, val_logits=broken).save(path)
    ensemble.ensemble(study)
    content = json.loads(written()[1])
    assert content["skipped"]["wide-bce seed 42"] == "in no set: its logits are not finite"
    members = [(m["model"], m["loss"]) for m in content["ensembles"]["mean_all"]["members"]]
    assert members == [("small", "bce"), ("small", "zlpr"), ("wide", "zlpr")]


def test_a_study_of_one_cell_has_no_ensembles(tmp_path, monkeypatch):
    one = {"models": ["small"], "losses": ["bce"], "replicates": []}
    prepare(tmp_path, {**TINY, "study": one, "ensemble": {"top_k": 1}}, "multilabel")
    monkeypatch.chdir(tmp_path)
    content = json.loads((ENSEMBLES / "members.json").read_text())
    assert content["ensembles"] == {}
    assert content["skipped"]["all"] == "one member only"
    assert read_metrics(ENSEMBLES / "metrics.csv").empty


def test_signs_of_failure_are_found_in_predictions_and_histories(study):
    signs = pd.read_csv(ENSEMBLES / "signs.csv")
    assert signs.columns.tolist() == ["cell", "gate", "sentence"]
    assert signs.empty
    configuration, other = configurations(study)[:2]
    copied = Predictions.load(predictions_file(other))
    replace(Predictions.load(predictions_file(configuration)), val_logits=copied.val_logits).save(
        predictions_file(configuration)
    )
    history = evaluation_folder(other) / "history.csv"
    write_csv(history, pd.read_csv(history).assign(val_auroc=0.5))
    ensemble.ensemble(study)
    found = pd.read_csv(ENSEMBLES / "signs.csv")
    seed = runs.seeds(study)[0]
    assert set(zip(found["cell"], found["gate"])) == {
        (f"{other} seed {seed}", "identical_metrics"),
        (f"{other} seed {seed}", "constant_metric"),
    }


def test_recipes_are_compared_class_by_class_in_one_family(study):
    table = pd.read_csv(ENSEMBLES / "class_comparisons.csv")
    pairs = len(configurations(study)) * (len(configurations(study)) - 1) // 2
    assert len(table) == 3 * pairs
    known = table.dropna(subset=["p"])
    assert (known["p_holm"] >= known["p"]).all()
    compared = pd.read_csv(ENSEMBLES / "comparisons.csv").set_index(["first", "second"])["p_holm"]
    for (first, second), rows in known.groupby(["first", "second"]):
        assert (rows["p_holm"] >= compared[first, second]).all()
