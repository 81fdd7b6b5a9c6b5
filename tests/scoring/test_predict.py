"""What trained models say of the parts, on a tiny study of drawn images."""

import json
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from pipeline import train
from pipeline.learning import losses
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks.models import load_weights, rebuild
from pipeline.scoring.predict import _fit, begin, enough_memory_to, predict_parts, trained_seeds
from pipeline.settings import load, parse
from pipeline.study.errors import UserError
from pipeline.study.files import SPLIT, ArtifactError, write_csv
from pipeline.study.parts import read_parts, read_split
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Configuration, Run, seeds
from pipeline.study.trainings import run_folder

RECIPE = Configuration("small", "bce")


@pytest.fixture
def trained(prepared):
    """Both seeds of one recipe, trained."""
    study = load()
    for seed in seeds(study):
        train.train(Run(*RECIPE, seed), study)
    return study


def logits_of(study, seed, part):
    """Compute logits image by image, as nothing in the pipeline does."""
    data, images = read_dataset(), open_images()
    file = run_folder(Run(*RECIPE, seed)) / "model.safetensors"
    model = load_weights(rebuild("small", study.models["small"], len(data.classes), images.shape[1], file), file)
    resident = ResidentImages(images, part.rows, part.targets, torch.device("cpu"), part.augmented)
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(x) for x, _ in resident.batches(torch.arange(len(part.rows)), 1)])


def test_an_evaluation_is_computed_where_training_was_to_be(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for wish, place in (("cpu", "cpu"), ("auto", "cuda"), ("cuda", "cuda")):
        tiny["train"]["device"] = wish
        assert begin(RECIPE, parse(tiny)) == torch.device(place)
    tiny["models"]["small"]["device"] = "cpu"  # a key of its own stands above that of train
    assert begin(RECIPE, parse(tiny)) == torch.device("cpu")


def test_an_evaluation_that_finds_no_memory_says_what_takes_it(tiny):
    said = r"^out of memory to evaluate with evaluate\.batch_size = 50 \(CUDA out of memory\.\); lower evaluate"
    tiny["evaluate"]["batch_size"] = 50
    with pytest.raises(UserError, match=said), enough_memory_to("evaluate", parse(tiny)):
        raise torch.OutOfMemoryError("CUDA out of memory.\nGPU 0 has")
    with pytest.raises(RuntimeError, match="shapes"), enough_memory_to("evaluate", parse(tiny)):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_losses_and_the_fit_of_the_training_part_are_those_of_the_saved_weights(trained):
    said = predict_parts(RECIPE, trained)
    fits = said.fits.set_index(["seed", "part", "class", "metric"])["value"]
    parts = read_parts(["train", "val", "test"])
    for seed in (42, 7):
        for name, part in parts.items():
            logits = logits_of(trained, seed, part)
            expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(part.targets).float())
            assert fits[str(seed), name, "overall", "loss"] == pytest.approx(expected.item(), rel=1e-5)
            if name != "train":
                i = said.predictions.seeds.tolist().index(seed)
                np.testing.assert_allclose(getattr(said.predictions, f"{name}_logits")[i], logits, atol=1e-5)
        train_logits = logits_of(trained, seed, parts["train"]).numpy()
        both = [k for k in range(train_logits.shape[1]) if 0 < parts["train"].targets[:, k].mean() < 1]
        aucs = [roc_auc_score(parts["train"].targets[:, k], train_logits[:, k]) for k in both]
        assert fits[str(seed), "train", "macro", "auroc"] == pytest.approx(np.mean(aucs))
    mean = np.mean([fits[str(seed), "test", "overall", "loss"] for seed in (42, 7)])
    assert fits["mean", "test", "overall", "loss"] == pytest.approx(mean)


def test_single_label_fits_are_those_of_scikit_learn():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 200)
    targets = np.eye(3, dtype=np.uint8)[truth]
    logits = (1.5 * targets + rng.normal(size=targets.shape)).astype(np.float32)
    loss = losses.create("ce", {}, "multiclass")(torch.tensor(logits), torch.tensor(targets).float()).item()
    rows = {(r["class"], r["metric"]): r["value"] for r in _fit("train", targets, logits, "multiclass", loss, 7)}
    decided = logits.argmax(1)
    shares = torch.tensor(logits, dtype=torch.float64).softmax(1).numpy()
    assert rows["overall", "loss"] == pytest.approx(log_loss(truth, shares), rel=1e-5)
    assert rows["overall", "accuracy"] == pytest.approx(accuracy_score(truth, decided))
    assert rows["overall", "balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, decided))
    assert rows["macro", "f1"] == pytest.approx(f1_score(truth, decided, average="macro"))
    assert rows["macro", "auroc"] == pytest.approx(roc_auc_score(truth, shares, multi_class="ovr"))
    assert {r["part"] for r in _fit("val", targets, logits, "multiclass", loss, 7)} == {"val"}
    assert len(_fit("val", targets, logits, "multiclass", loss, 7)) == 1


def test_images_that_no_epoch_draws_are_not_among_those_that_were_fitted(trained):
    split = read_split()
    rows = split.index[split["part"] == "train"]
    split.loc[rows[::2], "copies"] = 0
    write_csv(SPLIT, split)
    fits = predict_parts(RECIPE, trained).fits
    assert set(fits.loc[fits["part"] == "train", "n"]) == {len(rows) - len(rows[::2])}


def test_a_seed_whose_training_failed_is_left_out_and_none_at_all_is_an_error(trained):
    shutil.rmtree(run_folder(Run(*RECIPE, 7)))
    assert trained_seeds(RECIPE, trained) == [42]
    said = predict_parts(RECIPE, trained)
    assert said.predictions.seeds.tolist() == [42]
    assert set(said.fits["seed"]) == {"42", "mean"}
    (run_folder(Run(*RECIPE, 42)) / "run.json").unlink()  # the last file that a training writes
    with pytest.raises(ArtifactError, match="models/small-bce holds no training run of this study: dvc repro"):
        predict_parts(RECIPE, trained)


def test_run_json_counts_the_operations_of_one_image(trained):
    run = json.loads((run_folder(Run(*RECIPE, 42)) / "run.json").read_text())
    size, classes = open_images().shape[1], len(read_dataset().classes)
    convolved = size - 2  # no padding
    hidden = 4 * (convolved // 2) ** 2 * 8
    assert run["macs"] == 9 * 4 * convolved**2 + hidden + 8 * classes
