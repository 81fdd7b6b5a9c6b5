"""A whole study of segmentation, from drawn images to pages and to masks of other images."""

import copy
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import download, ensemble, evaluate, explain, preprocess, probe, split, train
from pipeline.commands.predict import main as predict
from pipeline.datasets.phantom.cohort import sample_cohort
from pipeline.datasets.phantom.dataset import Data
from pipeline.datasets.phantom.drawing import draw_with_masks
from pipeline.deploying.choice import choose
from pipeline.imaging.enhance import prepare
from pipeline.imaging.masks import place
from pipeline.imaging.settings import Preprocess
from pipeline.report import write_reports
from pipeline.reporting.loading import load_study
from pipeline.segmenting.ensembles import ensemble_segmentation
from pipeline.segmenting.evaluation import evaluate_segmentation, masks_of
from pipeline.segmenting.results import open_probabilities
from pipeline.segmenting.scores import score
from pipeline.segmenting.training import train_segmentation
from pipeline.segmenting.use import SegmenterError, find_masks, read_segmenter
from pipeline.settings import checks, load, parse
from pipeline.study.errors import UserError
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, open_masks, read_samples
from pipeline.study.runs import Run, configurations, runs
from pipeline.study.trainings import evaluation_folder, run_folder
from tests.once import made_once
from tests.tiny import TINY


def study_of(**changes):
    """Content of the params.yaml of a study of masks that takes seconds; keys with __ for dots replace others."""
    content = copy.deepcopy(TINY)
    content["dataset"] = "phantom"
    content["datasets"] = {
        "phantom": {"images": 200, "size": 64, "task": "segmentation", "test_fraction": 0.3, "bad_files": True}
    }
    content["study"] = {"models": ["unet"], "losses": ["bce_dice", "tversky"], "replicates": [12]}
    options = {"encoder_name": "tu-test_resnet", "encoder_depth": 2, "decoder_channels": [16, 8]}
    content["models"] = {"unet": {"arch": "smp/unet", "lr": 0.01, "options": options}}
    content["losses"] = {"bce_dice": {}, "tversky": {}, "bce": {}}
    content["preprocess"] |= {"size": 32, "channels": 1}
    content["train"] = {"epochs": 2, "batch_size": 16, "select": "dice", "threads": 1}
    content["evaluate"] = {"bootstrap": 100}
    content["explain"] = {"methods": ["grad-cam"]}
    content["ensemble"] = {"top_k": 3}
    for path, value in changes.items():
        *above, last = path.split("__")
        place_of = content
        for key in above:
            place_of = place_of[key]
        place_of[last] = value
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which every stage but the report has run."""

    def make(folder):
        (folder / "params.yaml").write_text(yaml.safe_dump(study_of()))
        study = load()
        download.download(study)
        preprocess.main()
        split.main()
        for run in runs(study):
            train_segmentation(run, study)
        for configuration in configurations(study):
            evaluate_segmentation(configuration, study)
        ensemble_segmentation(study)

    return made_once(tmp_path_factory, "segmented", make)


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return load()


def test_masks_are_those_that_were_drawn_and_split_trained_and_scored_as_images_are(study):
    samples, masks = read_samples(), open_masks()
    assert masks.shape == (len(samples), 32, 32, 1)
    settings = Data(images=200, size=64, test_fraction=0.3, task="segmentation")
    cases = {case.name: case for case in sample_cohort(settings, np.random.SeedSequence(settings.seed)).cases}
    row, name = next((i, each) for i, each in enumerate(samples["sample_id"]) if each in cases)
    drawn = draw_with_masks(cases[name], 64)[2]["lungs"]
    assert np.array_equal(masks[row, ..., 0] > 0, place(drawn, 32, "stretch"))
    assert samples["lungs"].all()

    configuration = configurations(study)[0]
    folder, test = evaluation_folder(configuration), read_parts(["test"])["test"]
    table = pd.read_csv(folder / "images.csv")
    metrics = pd.read_csv(folder / "metrics.csv")
    probabilities = open_probabilities(folder, "test")
    cut = metrics.query("metric == 'threshold' and seed == '42'")["value"].item()
    found = probabilities[0] >= round(255 * cut)
    truth = masks_of(masks, test)
    expected = [score(found[i, 0], truth[i, 0]).dice for i in range(len(truth))]
    of_run = table.query("seed == 42 and part == 'test'")
    assert of_run["dice"].tolist() == pytest.approx(expected)
    assert of_run["row"].tolist() == test.rows.tolist()
    mean = metrics.query("seed == '42' and part == 'test' and `class` == 'lungs' and metric == 'dice'")
    assert mean["value"].item() == pytest.approx(np.mean(expected))
    assert mean["value"].item() > 0.6  # two epochs of a tiny network; an all-lung mask has 0.45
    assert mean["ci_low"].item() < mean["value"].item() < mean["ci_high"].item()


def test_ensembles_are_means_of_probabilities_and_what_all_of_the_best_find(study):
    about = json.loads(Path("ensembles/members.json").read_text())
    assert set(about["ensembles"]) == {"mean_all", "mean_top3", "and_top3"}
    assert about["chosen"] == max(about["ensembles"], key=lambda name: about["ensembles"][name]["val_dice"])
    table = pd.read_csv("ensembles/images.csv")
    members = [Run(m["model"], m["loss"], m["seed"]) for m in about["ensembles"]["and_top3"]["members"]]
    test = read_parts(["test"])["test"]
    masks, both = masks_of(open_masks(), test), []
    for run in members:
        segmenter = read_segmenter(run_folder(run))
        of_seed = [42, 12].index(run.seed)
        both.append(
            open_probabilities(evaluation_folder(run.configuration), "test")[of_seed] >= segmenter.thresholds[0]
        )
    expected = [score(np.all([m[i, 0] for m in both], axis=0), masks[i, 0]).dice for i in range(len(masks))]
    assert table.query("ensemble == 'and_top3' and part == 'test'")["dice"].tolist() == pytest.approx(expected)
    compared = pd.read_csv("ensembles/comparisons.csv")
    assert compared["family"].tolist() == ["configurations", "ensemble"]
    assert (compared["low"] <= compared["difference"]).all()


def test_masks_found_elsewhere_are_those_of_the_study(study, tmp_path):
    run = Run("unet", "bce_dice", 42)
    copy = shutil.copytree(run_folder(run), tmp_path / "elsewhere")
    samples, test = read_samples(), read_parts(["test"])["test"]
    files = [f"data/raw/phantom/images/{samples['sample_id'][row]}" for row in test.rows[:5]]
    images = [cv2.imread(file, cv2.IMREAD_GRAYSCALE) for file in files]
    settings = Preprocess.model_validate(read_segmenter(copy).preprocess)
    assert np.array_equal(prepare(images[1], settings), open_images()[test.rows[1]])
    found = list(find_masks(copy, iter(images)))
    cut = read_segmenter(copy).thresholds[0]
    of_study = open_probabilities(evaluation_folder(run.configuration), "test")[0]
    for image, mask, probabilities in zip(images, found, of_study, strict=False):
        assert mask.shape == (*image.shape, 1)
        # A pixel of the prepared image is two by two of the image; batches differ in the last digits alone.
        assert (mask[::2, ::2, 0] == (probabilities[0] >= cut)).mean() > 0.995
    larger = next(iter(find_masks(copy, [cv2.resize(images[0], (100, 150))])))
    assert larger.shape == (150, 100, 1)
    assert abs(larger.mean() - found[0].mean()) < 0.05
    with pytest.raises(
        SegmenterError, match=r"an image of uint8 \[64, 64, 3\]; the network .* takes uint8 or uint16 \[H, W\]"
    ):
        list(find_masks(copy, [np.zeros((64, 64, 3), np.uint8)]))
    (copy / "model.safetensors").unlink()
    with pytest.raises(
        SegmenterError, match=r"elsewhere is no folder of a trained network.*model.safetensors is missing"
    ):
        find_masks(copy, [])
    (copy / "model.safetensors").touch()
    (copy / "segmenter.json").write_text("{}")
    with pytest.raises(SegmenterError, match=r"segmenter.json cannot be used"):
        find_masks(copy, [])


def test_pages_say_what_was_found_and_show_images_by_rule(study, unpainted_figures):
    results = load_study(study)
    files = {path.relative_to("reports").as_posix() for path in write_reports(results, Path("reports"))}
    assert {"README.md", "segmentation.md", "data.md", "metrics.json", "figures/segmentation-images.png"} <= files
    assert {"roc.csv", "pr.csv", "curves.csv", "confusion.csv"} <= files  # DVC asks for them
    front, page = (Path(f"reports/{name}").read_text() for name in ("README.md", "segmentation.md"))
    metrics = pd.read_csv("evaluations/unet-bce_dice/metrics.csv")
    dice = metrics.query("seed == 'mean' and part == 'test' and `class` == 'macro' and metric == 'dice'")[
        "value"
    ].item()
    assert f"{dice:.3f} [" in front
    assert json.loads(Path("reports/metrics.json").read_text())["unet-bce_dice"] == pytest.approx(dice, abs=1e-6)
    assert "AUROC" not in front + page
    assert "## Examples" in page
    assert "Empty masks" in page
    subject = results.subject
    seed = max(subject.seeds, key=lambda seed: subject.get("dice", "macro", seed, "val").value)
    scores = subject.images.query("part == 'test' and seed == @seed_text", local_dict={"seed_text": str(seed)})["dice"]
    (worst,) = [line for line in page.splitlines() if line.startswith("| lungs") and "| worst" in line]
    assert worst.split("|")[-2].strip() == f"{scores.min():.3f}"
    assert len(front.split()) < 700


def test_new_images_get_masks_and_what_is_not_for_masks_is_refused_by_name(study, capsys):
    (image := Path("new")).mkdir()
    cv2.imwrite("new/a.png", np.full((40, 50), 90, np.uint8))
    (image / "b.png").write_text("no image")
    predict(["new", "--out", "answers"])
    table = pd.read_csv("answers/masks.csv")
    assert table["status"].tolist() == ["ok", "failed"]
    assert cv2.imread("answers/" + table["lungs mask"][0], cv2.IMREAD_GRAYSCALE).shape == (40, 50)
    assert table["reason"][1] == "not an image"
    with pytest.raises(SystemExit):
        predict(["new", "--heatmaps"])
    assert "--heatmaps: not for a study of segmentation" in capsys.readouterr().err
    with pytest.raises(UserError, match="has networks that give masks"):
        choose(study)


def test_stages_about_classes_end_at_once(study, monkeypatch):
    probe.probe(study)
    assert len(pd.read_csv("probes/metrics.csv")) == 0
    explain.explain(configurations(study)[0], "grad-cam", study)
    assert "mask" in json.loads(Path("explanations/unet-bce_dice-grad-cam/none.json").read_text())["reason"]
    assert not hasattr(train, "train_segmentation")  # by name, so that other training runs do not depend on it
    assert not hasattr(evaluate, "evaluate_segmentation")
    assert ensemble


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"study__losses": ["ce"], "losses": {"ce": {}}},
            r"study.losses: 'ce' \(ce\) is not defined for a segmentation",
        ),
        ({"train__select": "auroc"}, r"train.select: 'auroc' is not defined for phantom; must be dice"),
        ({"train__mix": {"mixup": 0.2}}, "train.mix: a mixture of images has no one mask"),
        ({"train__progressive": {"start": 0.5}}, "train.progressive: images would shrink"),
        ({"train__augment": {"rand": {"operations": 1}}}, "train.augment: rand moves images without their masks"),
        ({"models__unet__layer_decay": 0.8}, "models.unet.layer_decay: 0.8; must be empty"),
        ({"models__unet__arch": "resnet18"}, r"models.unet.arch: 'resnet18' gives classes.*must be smp/NAME"),
        ({"models__unet__arch": "smp/unett"}, r"models.unet.arch: 'smp/unett'; use one of: smp/deeplabv3"),
        ({"models__unet__options__encoder_name": "tu-nothing"}, "models.unet.options: .*nothing.*takes"),
        ({"models__unet__options__encoder_weights": "imagenet"}, r"options.encoder_weights: .* set weights to a file"),
        ({"models__unet__options__decoder_channels": [8]}, "models.unet.options: .*decoder_channels"),
        ({"models__unet__pretrained": True}, "models.unet.pretrained: must be false"),
        ({"models__unet__dropout": 0.5}, "models.unet.dropout: 0.5; must be empty"),
        (
            {
                "models__unet__arch": "smp/fpn",
                "models__unet__options": {"encoder_name": "tu-test_resnet"},
                "preprocess__size": 40,
            },
            "shrinks images by 32, and preprocess.size 40 .*must be 32 or 64",
        ),
        ({"evaluate__tta": {"shift": 0.1}}, "evaluate.tta.shift"),
        ({"ensemble__features": True}, "ensemble.features: true; must be false"),
        ({"datasets__phantom__task": ""}, r"models.unet.arch: 'smp/unet' gives masks, and phantom has classes"),
        ({"datasets__phantom__task": "masks"}, "datasets.phantom.task: .*segmentation"),
        ({"datasets__phantom__structures": "hearts"}, "datasets.phantom.structures: .*lungs"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(changes, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=message):
        checks.check(parse(study_of(**changes)))


def test_what_can_be_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checks.check(parse(study_of(datasets__phantom__structures="findings", evaluate__tta={"horizontal_flip": True})))
