"""Variants of the tiny study through its stages, and the pages that follow."""

import contextlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from pipeline import configure, ensemble, evaluate, fuse, prepare_variant, train
from pipeline.deploying.choice import ChoiceSections, choose
from pipeline.ensembling.fitting import METHODS
from pipeline.ensembling.sets import twin_of
from pipeline.ensembling.settings import EnsembleSections, FeatureSections
from pipeline.learning.records import training_record
from pipeline.learning.settings import Augment, TrainingSections
from pipeline.metrics.thresholds import best_f1_thresholds, probabilities
from pipeline.reporting import page, summary
from pipeline.reporting.loading import load_study
from pipeline.reporting.pseudonyms import _without_paths
from pipeline.reporting.results import Results
from pipeline.reporting.values import NO_TABLE
from pipeline.reporting.views import folds as folds_view
from pipeline.reporting.views import methods, readme
from pipeline.reporting.views import nested as nested_view
from pipeline.reporting.views import variants as variants_view
from pipeline.scoring.settings import EvaluationSections
from pipeline.searching.about import settings_digest
from pipeline.searching.record import RECORD, Record, Trial, write_records
from pipeline.settings import load, parse
from pipeline.settings.links import link_weights
from pipeline.settings.search import Search
from pipeline.study.errors import UserError
from pipeline.study.files import read_table
from pipeline.study.inputs import located
from pipeline.study.params import ParamsError
from pipeline.study.params import load as load_sections
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import open_images
from pipeline.study.records import check_record, record_file
from pipeline.study.runs import Configuration, Run, VariantRun, every_run
from pipeline.study.trainings import run_folder
from pipeline.study.workplaces import inside, merged, params_of
from pipeline.variants.ensembles import NO_ENSEMBLES
from pipeline.variants.folds import FoldSpread
from pipeline.variants.records import VariantRecordSections, variant_record
from pipeline.variants.results import audit_of
from pipeline.variants.settings import as_variant, folds_of_study
from pipeline.variants.within import records_within
from tests.tiny import TINY

FOLDS = {**TINY["split"], "method": "folds", "folds": 3, "fold": 1, "validation": 0.25}
VARIANTS = {
    "fold2": {"split": {"fold": 2}},
    "fold3": {"split": {"fold": 3}},
    "plain": {"preprocess": {"clahe": {"enabled": False}}},
    "other": {"split": {"method": "grouped", "seed": 4}},
}
STUDY = {
    **TINY,
    "study": {"models": ["small"], "losses": ["bce", "zlpr"], "replicates": [7]},
    "split": FOLDS,
    "ensemble": {"top_k": 2, "features": True},
    "evaluate": {"bootstrap": 100, "threads": 1},
}
FEW = {name: METHODS[name] for name in ("mean", "greedy", "stack")}
"""Ways to combine, to save time: one that fits nothing, one with weights, one without that fits labels."""
FOLD3 = {"split": {"fold": 3}}


def write(**sections):
    Path("params.yaml").write_text(yaml.safe_dump({**STUDY, **sections}))
    return load()


def run_all(names):
    """Do what the stages of variants do; None is the study itself."""
    for name in names:
        if name is not None:
            prepare_variant.prepare(name, load_sections(VariantRecordSections))
        with inside(name):
            for loss in STUDY["study"]["losses"]:
                for seed in (42, 7):
                    train.train(Run("small", loss, seed), load_sections(TrainingSections))
                evaluate.evaluate(Configuration("small", loss), load_sections(EvaluationSections))
            fuse.fuse(load_sections(FeatureSections))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("pipeline.ensembling.predictions.METHODS", FEW)
                ensemble.ensemble(load_sections(EnsembleSections))


@pytest.fixture(scope="module")
def varied(prepared_once, tmp_path_factory):
    """A study of three folds, with other pictures and another split beside it."""
    folder = tmp_path_factory.mktemp("variants") / "study"
    shutil.copytree(prepared_once, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        from pipeline import split

        configure.configure(write(variants=VARIANTS))
        split.main()
        run_all([None, *VARIANTS])
    return folder


@pytest.fixture
def here(varied, monkeypatch):
    monkeypatch.chdir(varied)
    return varied


@pytest.fixture(scope="module")
def study(varied):
    """What pages are written from, read once, so that what is computed over folds is computed once."""
    with contextlib.chdir(varied):
        return load_study(load())


def test_a_fold_has_the_bytes_of_the_same_split_run_alone(here, prepared_once, tmp_path, monkeypatch):
    alone = tmp_path / "alone"
    shutil.copytree(prepared_once, alone)
    monkeypatch.chdir(alone)
    from pipeline import split

    configure.configure(write(split={**FOLDS, "fold": 2}))
    split.main()
    run_all([None])
    compared = []
    for file in (here / "variants/fold2").rglob("*"):
        name = file.relative_to(here / "variants/fold2").as_posix().replace("study/", "data/study/", 1)
        if file.is_file() and file.name not in ("run.json", "runs.json", "history.csv"):  # they hold seconds
            assert file.read_bytes() == (alone / name).read_bytes(), name
            compared.append(name)
    assert len(compared) > 30
    assert {"fused/predictions.npz", "ensembles/predictions.npz", "ensembles/members.json"} <= set(compared)


def test_every_image_is_tested_in_one_fold(here):
    parts = [read_table(Path(folder, "split/split.csv"))["part"] for folder in ("data/study", "variants/fold2/study")]
    parts.append(read_table(Path("variants/fold3/study/split/split.csv"))["part"])
    assert (sum((part == "test").astype(int) for part in parts) == 1).all()


def test_other_pictures_have_the_split_of_the_study_and_pixels_of_their_own(here):
    theirs, ours = (Path(folder, "split/split.csv") for folder in ("variants/plain/study", "data/study"))
    assert theirs.read_bytes() == ours.read_bytes()
    own = open_images(Path("variants/plain/study/prepared"))
    assert own.shape == open_images().shape
    assert not np.array_equal(own, open_images())
    assert not Path("variants/fold2/study/prepared").exists()  # the study's own are read


def test_other_pictures_of_other_images_are_refused(here):
    params = load_sections(VariantRecordSections)
    given = yaml.safe_load(Path("params.yaml").read_text())
    shutil.copytree("data/study", "kept")
    try:
        table = Path("data/study/prepared/samples.csv")
        table.write_text("".join(line for line in table.read_text().splitlines(True)[:-1]))
        (Path("data/study/split/split.csv")).write_text(
            "".join(Path("data/study/split/split.csv").read_text().splitlines(True)[:-1])
        )
        with pytest.raises(UserError, match=r"variants\.plain: has 1 that the study has not .*cannot be compared"):
            prepare_variant.prepare("plain", params)
    finally:
        shutil.rmtree("data/study")
        os.rename("kept", "data/study")
        Path("params.yaml").write_text(yaml.safe_dump(given))
    prepare_variant.prepare("plain", params)


def test_pages_of_folds_and_of_variants(here, study, tmp_path):
    assert sorted(v.name for v in study.variants) == sorted(VARIANTS)
    assert set(study.folds) == {"small-bce", "small-zlpr"}
    with page.about(study):
        written = [*folds_view.render(study, tmp_path), *variants_view.render(study, tmp_path)]
        readme.render(study, tmp_path)
    names = ["folds.md", "folds.csv", "folds_images.csv", "folds_ensembles.csv", "folds.png"]
    names += ["variants.md", "variants.csv"]
    assert [path.name for path in written] == names
    text = (tmp_path / "folds.md").read_text()
    table = read_table(tmp_path / "folds.csv", ("seed", "class"))
    macros = table.query("seed == 'mean' and `class` == 'macro' and metric == 'auroc'")
    chosen = macros.query("model == 'small'").set_index("loss")["value"]
    assert f"{chosen['zlpr']:.3f}" in text
    assert "| 3 " in text.split("## Fold by fold")[1]
    assert "Not complete" not in text
    assert "Fold 1 of a cross-validation" in (tmp_path / "README.md").read_text()
    text = (tmp_path / "variants.md").read_text()
    assert "## plain: preprocess.clahe.enabled: False" in text
    assert "## other: split.seed: 4, split.method: grouped" in text or "## other: split.method: grouped" in text
    assert "fold2" not in text
    compared = read_table(tmp_path / "variants.csv").query("`class` == 'macro'").set_index("loss")
    for loss in ("bce", "zlpr"):
        own, theirs = (
            read_table(Path(folder, f"evaluations/small-{loss}/metrics.csv"), ("seed", "class")).query(
                "part == 'test' and seed == 'mean' and `class` == 'macro' and metric == 'auroc'"
            )["value"]
            for folder in (".", "variants/plain")
        )
        assert compared.loc[loss, "difference"] == pytest.approx(theirs.item() - own.item(), abs=2e-6)
    best = study.chosen_ensemble
    assert compared.loc[best.loss, "model"] == "ensemble"
    members = json.loads(Path("variants/plain/ensembles/members.json").read_text())
    about = study.described[best.loss]
    twin = f"{about['method']}_{twin_of(about['set'], members['skipped']) or about['set']}"
    theirs = read_table(Path("variants/plain/ensembles/metrics.csv"), ("seed", "class")).query(
        f"loss == '{twin}' and part == 'test' and `class` == 'macro' and metric == 'auroc'"
    )["value"]
    assert compared.loc[best.loss, "difference"] == pytest.approx(theirs.item() - best.get("auroc").value, abs=2e-6)
    headlines = summary.headlines(study, "test")
    assert headlines["folds-small-bce"] == pytest.approx(chosen["bce"], abs=1e-6)
    combined = macros.query("model == 'ensemble'").set_index("loss")["value"]
    assert {f"folds-ensemble-{name}" for name in combined.index} < set(headlines)
    for name, value in combined.items():
        assert headlines[f"folds-ensemble-{name}"] == pytest.approx(value, abs=1e-6)


def of_fold(number):
    """Return what stage ensemble has written about the tested fold `number`: predictions, and members.json."""
    folder = Path("ensembles" if number == 1 else f"variants/fold{number}/ensembles")
    return Predictions.load(folder / "predictions.npz"), json.loads((folder / "members.json").read_text())


def test_ensembles_over_folds_are_those_of_each_fold_and_their_numbers_those_of_scikit_learn(here, study, tmp_path):
    with page.about(study):
        folds_view.render(study, tmp_path)
    over, found = study.ensembles_over_folds, folds_view.facts_of(study)
    table = read_table(tmp_path / "folds.csv", ("seed", "class")).query("model == 'ensemble'")
    listed = read_table(tmp_path / "folds_ensembles.csv")
    sides = {number: of_fold(number) for number in (1, 2, 3)}
    assert {name for _, about in sides.values() for name in about["ensembles"]} == {*over.followed, *over.others}
    assert set(table["loss"]) == set(over.leading)
    chosen = found.chosen.results.key
    for name in over.leading:
        of = over.followed[name]
        per_fold, wins, pairs, right, decided = [], np.zeros(len(study.classes)), np.zeros(len(study.classes)), [], []
        for number, (predictions, about) in sides.items():
            made = f"{of.method}_{twin_of(of.members, about['skipped']) or of.members}"
            made = name if name in about["ensembles"] else made
            place = predictions.methods.tolist().index(made)
            truth, scores = predictions.test_targets, predictions.test_logits[place].astype(float)
            cuts = best_f1_thresholds(
                predictions.val_targets, probabilities(predictions.val_logits[place], "multilabel")
            )
            usable = (truth.sum(axis=0) > 0) & (truth.sum(axis=0) < len(truth))
            aurocs = {k: roc_auc_score(truth[:, k], scores[:, k]) for k in np.flatnonzero(usable)}
            per_fold.append(np.mean([*aurocs.values()]))
            for k, value in aurocs.items():
                weight = truth[:, k].sum() * (len(truth) - truth[:, k].sum())
                wins[k], pairs[k] = wins[k] + weight * value, pairs[k] + weight
            right.append(truth)
            decided.append(np.where(np.isnan(cuts), np.nan, probabilities(scores, "multilabel") >= cuts))
            rows = listed[(listed["ensemble"] == name) & (listed["fold"] == number)]
            members = about["ensembles"][made]["members"]
            assert [*zip(rows["loss"], rows["seed"])] == [(m["loss"], m["seed"]) for m in members]
            assert rows["auroc"].to_numpy() == pytest.approx(per_fold[-1], abs=1e-6)
            assert rows["validation_auroc"].to_numpy() == pytest.approx(about["ensembles"][made]["val_auroc"], abs=1e-6)
        assert of.tested == pytest.approx(per_fold, abs=1e-12)
        numbers = table[table["loss"] == name].set_index(["class", "metric"])["value"]
        assert numbers["macro", "auroc"] == pytest.approx(np.mean(wins[pairs > 0] / pairs[pairs > 0]), abs=1e-6)
        truth, decided = np.concatenate(right), np.concatenate(decided)
        for k, label in enumerate(study.classes):
            if not np.isnan(decided[:, k]).any():
                expected = f1_score(truth[:, k], decided[:, k], zero_division=0)
                assert numbers[label, "f1"] == pytest.approx(expected, abs=1e-6)
        pair = next(pair for pair in found.combined.pairs if pair.first == f"ensemble-{name}")
        assert pair.second == chosen
        own = study.out_of_fold[chosen]
        single = own.metrics.query("seed == 'mean' and `class` == 'macro' and metric == 'auroc'")["value"].item()
        assert pair.difference.value == pytest.approx(numbers["macro", "auroc"] - single, abs=2e-6)
        differences = np.array(per_fold) - own.folds
        error = np.sqrt((1 / 3 + 1 / 2) * differences.var(ddof=1))
        low, high = stats.t.interval(0.95, 2, loc=differences.mean(), scale=error)
        assert (pair.spread.mean, pair.spread.low, pair.spread.high) == pytest.approx(
            (differences.mean(), low, high), abs=1e-9
        )
    validation = {name: over.followed[name].validation.mean() for name in over.followed}
    assert over.best == max(validation, key=validation.get)
    assert found.combined.best.results.loss == over.best


def test_the_best_ensemble_is_in_the_family_of_the_pairs_of_configurations_and_the_others_come_below(here, study):
    found = folds_view.facts_of(study)
    [pair], gain = found.pairs, found.combined.gain
    assert found.family == 2
    assert min(pair.p_holm, gain.p_holm) == pytest.approx(min(1.0, 2 * min(pair.p, gain.p)), abs=1e-12)
    assert len(found.combined.pairs) == len(study.ensembles_over_folds.leading) > 3
    assert all(other.p_holm >= gain.p_holm for other in found.combined.pairs)
    without = tuple(replace(variant, ensembles=NO_ENSEMBLES) for variant in study.variants)
    alone = folds_view.facts_of(replace(study, variants=without))
    assert (alone.family, alone.combined.rows, alone.combined.pairs) == (1, [], [])
    assert alone.pairs[0].p_holm == alone.pairs[0].p == pair.p


KEY = "models.small.lr"
HIGHEST = {1: 0.80, 2: 0.74, 3: 0.71}


@pytest.fixture
def searched(here):
    """Write records of searches within the folds, of which the best trials have these values; then their pages."""

    def write_pages(folder, best=0.01, folds=(1, 2, 3), **more):
        params = load()
        about = {"dataset": "phantom", "model": "small", "loss": "zlpr", "seeds": [42], "seed": 0, "batch": 2}
        about |= {"over": {KEY: {"low": 0.001, "high": 0.1, "log": True, "step": None}}, "weights": None, "data": ""}
        search, records = Search(model="small", loss="zlpr", over=about["over"]), {}
        for fold in folds:
            name = folds_of_study(params)[fold]
            audit = json.loads(Path("data/study/split/audit.json" if name is None else audit_of(name)).read_text())
            settings = settings_digest(as_variant(params, name), search)
            low = [Trial(n, {KEY: 0.05 + n / 100}, "finished", 0.6, {"42": 0.6}) for n in (1, 2)]
            trials = [Trial(0, {KEY: best}, "finished", HIGHEST[fold], {"42": HIGHEST[fold]}, "params.yaml"), *low]
            luck = {
                "corrected": HIGHEST[fold] - 0.03,
                "highest": HIGHEST[fold],
                "optimism": 0.03,
                "low": 0.5,
                "high": 0.9,
            }
            luck |= {"optimism": 0.03, "refused": "", "chosen": {"0": 1.0}, "images": 40, "patients": 30}
            own = {**about, "settings": settings, "split": audit["sha256"], "fold": fold}
            records[fold] = Record(own, {"optuna": "5.0.0"}, trials, 3, optimism=luck, **more)
        write_records(records)
        study = load_study(params)
        with page.about(study):
            nested_view.render(study, folder)
            folds_view.render(study, folder)
            page.write(folder / "methods.md", "methods.md", **methods.facts(study, {"roc": False, "curves": False}))
        return study, *((folder / name).read_text() for name in ("search.md", "folds.md", "methods.md"))

    yield write_pages
    RECORD.unlink()


def test_folds_that_are_trained_as_their_own_searches_found_are_a_nested_estimate(searched, tmp_path):
    study, text, folds, methods_page = searched(tmp_path)
    tested = []
    for fold in study.folds["small-zlpr"]:
        logits, truth = fold.predictions.test_logits, fold.predictions.test_targets
        known = [k for k in range(truth.shape[1]) if 0 < truth[:, k].sum() < len(truth)]
        tested.append(np.mean([roc_auc_score(truth[:, k], of[:, k]) for of in logits for k in known]))
    out_of_fold = read_table(tmp_path / "folds.csv", ("seed", "class")).query(
        "seed == 'mean' and `class` == 'macro' and metric == 'auroc' and loss == 'zlpr'"
    )
    value, low, high = (out_of_fold[name].item() for name in ("value", "ci_low", "ci_high"))
    apart = np.array([*HIGHEST.values()]) - tested
    reach = stats.t.ppf(0.975, 2) * np.sqrt((1 / 3 + 1 / 2) * apart.var(ddof=1))
    measured = nested_view.facts_of(study).optimism
    assert measured.difference[:3] == pytest.approx((0.75 - value, 0.75 - high, 0.75 - low), abs=2e-6)
    assert measured.spread[:4] == pytest.approx(
        (apart.mean(), apart.std(ddof=1), apart.mean() - reach, apart.mean() + reach), abs=1e-9
    )
    assert "Settings of small-zlpr were searched within each fold apart: 9 trials in 3 folds" in text
    assert "**Nested estimate.** Each fold was trained with what its own search had found" in text
    assert f"0.750, differs from it by {measured.difference.value:+.3f}".replace("-", "−") in text
    assert "The correction had estimated +0.030, from the validation sets alone." in text
    for number, highest, reached in zip(HIGHEST, HIGHEST.values(), tested):
        cells = f"| {number} | 3 | 0.01 | {highest:.3f} | {highest - 0.03:.3f} [0.500, 0.900] | {reached:.3f} |"
        for each in (text, folds):
            assert cells in re.sub(" +", " ", each)
    assert "- **Nested.** Settings of small-zlpr were [searched](search.md) in each fold apart" in folds
    assert "is the nested estimate. The mean of the highest validation scores, 0.750, differs" in folds
    assert "were [searched](search.md) within each fold, on its validation set: 3 folds, 9 trials over 1 setting." in (
        methods_page
    )
    table = read_table(tmp_path / "search.csv")
    assert table["fold"].tolist() == [1] * 3 + [2] * 3 + [3] * 3
    assert "Not closed" not in text


def test_what_is_not_nested_is_said(searched, tmp_path):
    study, text, folds, _ = searched(tmp_path, best=0.02)
    assert "Folds 1, 2, and 3 are not trained as the best trial of their own search was" in text
    assert "**Settings of small-zlpr were [searched](search.md), and its numbers here are not those" in folds
    assert nested_view.facts_of(study).optimism is None
    _, text, folds, _ = searched(tmp_path, folds=(1, 3), evaluated_before=True)
    assert "**Not a nested estimate.** Fold 2 has no search of its own: what the folds reach" in text
    assert "Fold 2 has no search of its own." in folds
    assert "evaluated on the tested images of folds 1 and 3." in text


def test_the_networks_of_all_folds_are_chosen_as_one(here):
    choice = choose(load_sections(ChoiceSections), folds=True)
    assert choice.name in ("small-bce-folds", "small-zlpr-folds")
    assert len(choice.members) == 6
    files = {run_folder(run).as_posix() for run in choice.members}
    assert {name.split("/models/")[0] for name in files if name.startswith("variants")} == {
        "variants/fold2",
        "variants/fold3",
    }
    assert all(Path(name, "model.safetensors").exists() for name in files)
    images = {len(Predictions.load(Path(f"{at}evaluations/small-bce/predictions.npz")).test_rows) for at in ("",)}
    assert choice.n_validation > 2 * max(images)
    assert choose(load_sections(ChoiceSections), "small-bce", folds=True).how == "3 folds; named"
    with pytest.raises(UserError, match="'small-bec'; use one of: small-bce"):
        choose(load_sections(ChoiceSections), "small-bec", folds=True)


def test_what_has_left_the_study_is_set_aside(here, tmp_path, monkeypatch):
    copy = tmp_path / "study"
    shutil.copytree(here, copy, symlinks=True)
    monkeypatch.chdir(copy)
    configure.configure(write(variants={"fold2": VARIANTS["fold2"]}))
    assert sorted(path.name for path in Path("variants").iterdir()) == ["asked.json", "fold2"]
    assert Path("tmp/left/variants/plain/study/prepared/images.npy").exists()
    assert not record_file("plain", "prepare_variant").exists()


def test_a_study_without_folds_has_no_networks_of_folds(evaluated_once, monkeypatch):
    monkeypatch.chdir(evaluated_once)
    with pytest.raises(UserError, match=r"--folds: this study has no two folds with results; must have split\.method"):
        choose(load_sections(ChoiceSections), folds=True)


def test_a_record_says_what_a_variant_is_and_a_stage_refuses_another(here):
    params = load_sections(VariantRecordSections)
    fold, plain = (variant_record(name, params) for name in ("fold2", "plain"))
    assert fold["split"]["fold"] == 2
    assert "preprocess" not in fold
    assert plain["preprocess"]["clahe"] == {**params.preprocess.clahe.model_dump(), "enabled": False}
    assert "pipeline/datasets/phantom/dataset.py" in plain["code"]
    check_record("fold2", "prepare_variant", fold)
    with pytest.raises(UserError, match=r"fold2.prepare_variant.json is not fold2 as params.yaml"):
        check_record("fold2", "prepare_variant", plain)


def test_inside_a_workplace_paths_count_from_the_project(here):
    project = Path.cwd()
    with inside("fold2"):
        assert Path.cwd() == project / "tmp/variants/fold2"
        assert located("weights/a.pth") == project / "weights/a.pth"
        assert load_sections(VariantRecordSections).split.fold == 2
        assert json.loads(Path("params.yaml").read_text())["variants"] == {}
    assert Path.cwd() == project
    assert located("weights/a.pth") == Path("weights/a.pth")
    said = r"--variant: 'fold9' is not in section variants of params\.yaml; must be one"
    with pytest.raises(ParamsError, match=said), inside("fold9"):
        pass


def test_runs_of_variants_are_no_runs_of_the_study():
    run = Run("a", "b", 1)
    of = VariantRun(run, "fold2")
    assert run != of
    assert of != run
    assert len({run, of, VariantRun(run, "fold3"), VariantRun(run, "fold2")}) == 3
    assert (of.name, str(of), str(of.configuration)) == ("fold2-a-b-1", "a-b seed 1 of fold2", "a-b")
    params = parse({**STUDY, "variants": VARIANTS})
    assert len(every_run(params)) == 5 * 4
    assert run_folder(of).as_posix() == "variants/fold2/models/a-b/seed1"


def test_maps_are_merged_key_by_key():
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "e": 5}) == {"a": {"b": 4, "c": 2}, "d": 3, "e": 5}
    content = {**STUDY, "variants": VARIANTS}
    assert params_of("plain", content)["preprocess"] == {**STUDY["preprocess"], "clahe": {"enabled": False}}
    assert params_of("plain", content)["split"] == STUDY["split"]


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ({}, "variants.x: must have keys of split, or of preprocess"),
        ({"split": {"fold": 2}, "preprocess": {"size": 32}}, "variants.x: must have keys of split, or of preprocess"),
        ({"train": {"epochs": 3}}, "variants.x.train: unknown key; use one of: split, preprocess"),
        ({"split": {"fold": 0}}, "variants.x.split.fold: must be at least 1, not 0"),
        ({"split": {"folds": "five"}}, "variants.x.split.folds: must be a valid integer, not 'five'"),
        ({"preprocess": {"sise": 32}}, r"variants.x.preprocess.sise: unknown key \(did you mean 'size'"),
        ({"split": {"fold": 1}}, "variants.x: is the same as the study itself; must differ from it"),
        ({"split": {"fold": 2}}, "variants.x: is the same as variants.fold2; must differ from it"),
        ({"found": {"train.epochs": 3}}, "variants.x: must have keys of split, or of preprocess"),
        (
            {"split": {"seed": 3}, "found": {"train.epochs": 3}},
            "variants.x.found: what a search has found in a fold; must",
        ),
        ({"preprocess": {"size": 32}, "found": {"train.epochs": 3}}, "variants.x is not a fold of this study"),
        (
            {"split": {"fold": 3}, "found": {"split.seed": 3}},
            "variants.x.found.split.seed: all trials must have the same",
        ),
        ({**FOLD3, "found": {"train.threads": 3}}, "'threads' is how trials are computed or compared"),
        (
            {"split": {"fold": 3}, "found": {"models.none.lr": 3}},
            "models.none.lr: is no setting of a model or loss of",
        ),
        (
            {"split": {"fold": 3}, "found": {"models.small.lr": 30}},
            "found: models.small.lr: must be at most 10, not 30",
        ),
        (
            {"split": {"fold": 3}, "found": {"train.epochs.a": 3}},
            "found: train.epochs.a lies below something that is no map",
        ),
        (
            {"split": {"fold": 3}, "found": {"train.epoch": 3}},
            r"found: train.epoch: unknown key \(did you mean 'epochs'",
        ),
    ],
)
def test_variants_that_cannot_be_run_are_refused_by_name(variant, said):
    with pytest.raises(ParamsError, match=said):
        parse({**STUDY, "variants": {"fold2": {"split": {"fold": 2}}, "x": variant}})


def test_what_was_found_in_a_fold_is_its_own_and_takes_the_place_of_a_whole_value(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = {"models.small.lr": 0.05, "train.augment": {"rotation": 5}, "train.clip_grad": None}
    train = {**TINY["train"], "augment": {"shift": 0.1, "noise": 0.2}, "clip_grad": 1.0}
    variants = {"fold2": {"split": {"fold": 2}, "found": found}, "fold3": {"split": {"fold": 3}}}
    params = parse({**STUDY, "train": train, "variants": variants})
    own, other = as_variant(params, "fold2"), as_variant(params, "fold3")
    assert (own.split.fold, own.models["small"].lr, own.train.clip_grad) == (2, 0.05, None)
    assert own.train.augment == Augment(rotation=5)  # nothing is left of the study's shift and noise
    assert (other.models["small"].lr, other.train.augment.shift, other.train.clip_grad) == (0.01, 0.1, 1.0)
    assert folds_of_study(params) == {1: None, 2: "fold2", 3: "fold3"}
    records = records_within("fold2", params)
    configuration = Configuration("small", "bce")
    study, theirs = training_record(configuration, params), records[record_file("fold2-small-bce", "train")]
    assert (theirs["model"]["lr"], study["model"]["lr"]) == (0.05, 0.01)
    assert records[record_file("fold2-small-bce", "evaluate")]["train"]["clip_grad"] is None
    assert records_within("fold3", params)[record_file("fold3-small-bce", "train")] == study
    configure.configure(params)
    of_fold = json.loads(record_file("fold2", "fuse").read_text())  # a feature ensemble is of the fold's own networks
    assert (of_fold["models"]["small"]["lr"], of_fold["train"]["small"]["clip_grad"]) == (0.05, None)
    assert json.loads(record_file("fold3", "fuse").read_text()) == json.loads(record_file(None, "fuse").read_text())


def test_weights_that_a_fold_has_found_are_watched(prepared):
    for name in ("a", "b"):
        Path(f"{name}.safetensors").write_text(name)
    model = {**TINY["models"]["small"], "weights": "a.safetensors"}
    given = {**STUDY, "models": {"small": model}, "study": {"models": ["small"], "losses": ["bce"], "replicates": []}}
    fold = {"split": {"fold": 2}, "found": {"models.small.weights": "b.safetensors"}}
    link_weights(parse({**given, "variants": {"fold2": fold, "fold3": {"split": {"fold": 3}}}}))
    links = {path.name: path.resolve().name for path in Path("data/weights/files").iterdir()}
    assert links.items() >= {"small": "a.safetensors", "small-of-fold2": "b.safetensors"}.items()
    assert "small-of-fold3" not in links
    link_weights(parse({**given, "variants": {"fold2": {"split": {"fold": 2}}}}))
    assert not Path("data/weights/files/small-of-fold2").exists()


def test_a_section_without_content_is_one_without_a_variant():
    assert parse({**STUDY, "variants": None}).variants == {}
    assert parse({name: of for name, of in STUDY.items() if name != "variants"}).variants == {}


def test_pages_show_no_path_of_a_network_that_finds_regions_or_of_joined_sets():
    roi = {"masks": "/home/jane/nets/lungs", "margin": 0.1}
    sets = {name: {"dataset": "chexpert", "root": f"/home/jane/{name}"} for name in ("one", "two")}
    given = {**STUDY["datasets"], "joined": {"root": "/home/jane", "of": sets}}
    params = parse({**STUDY, "datasets": given, "variants": {"lungs": {"preprocess": {"roi": roi}}}})
    shown = _without_paths(params, synthetic=False)
    assert shown.variants["lungs"].preprocess["roi"] == {"masks": "lungs", "margin": 0.1}
    assert "jane" not in shown.model_dump_json()
    assert params.variants["lungs"].preprocess["roi"]["masks"] == "/home/jane/nets/lungs"


_NOTHING = Results("m", "ce", (1,), NO_TABLE)


def test_configurations_that_tie_over_folds_are_named():
    made = [
        folds_view.Row(replace(_NOTHING, model=name), value, _NOTHING, FoldSpread(value, 0, 0, 1, 1), np.zeros(2))
        for name, value in (("a", 1.0), ("b", 1.0), ("c", 0.9))
    ]
    folded = folds_view.Folded(made, [], None, 0, [], [], made[0], 5, 1, [])
    assert [each.key for each in folded.tied] == ["a-ce", "b-ce"]
