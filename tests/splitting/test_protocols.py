"""The leak of augmenting before the split: counted, visible without a model, and absent from the honest protocol."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import shift
from torchvision.transforms import functional as transforms

from pipeline import evaluate, split, train
from pipeline.learning.images.loader import ResidentImages, augmented_copy
from pipeline.settings import load
from pipeline.splitting.audit import audit, check
from pipeline.splitting.errors import SplitError
from pipeline.splitting.protocols import PROTOCOLS, entries_of
from pipeline.splitting.settings import Split
from pipeline.study.files import AUDIT, DATASET, IMAGES, SAMPLES, write_csv, write_json
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_parts, read_split
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import open_images
from pipeline.study.runs import Run
from pipeline.study.trainings import evaluation_folder, run_folder

CLASSES = ["rare", "common"]
LEAK = "augment_before_split"


def cohort(counts, seed=0, images_a_patient=2):
    """Images of one class each, in random order; a patient's images may differ in class."""
    label = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    n = len(label)
    ids = [f"p{i // images_a_patient:04d}" for i in range(n)]
    frame = pd.DataFrame(
        {
            "row": np.arange(n),
            "sample_id": [f"s{i:05d}" for i in range(n)],
            "patient_id": ids,
            "group_id": ids,
            "duplicate_of": "",
            "width": 16,
            "height": 16,
            "official_split": "",
        }
    )
    return pd.concat([frame, pd.DataFrame(np.eye(len(counts), dtype=np.uint8)[label], columns=CLASSES)], axis=1)


def how(protocol=LEAK, seed=0, to=None, method="global", balance=None):
    return Split.model_validate(
        {
            "method": method,
            "seed": seed,
            "validation": 0.15,
            "test": 0.15,
            "protocol": protocol,
            "balance": {"method": balance or ("none" if to is None else "augment_to"), "to": to},
        }
    )


@settings(max_examples=50)
@given(
    counts=st.tuples(st.integers(20, 80), st.integers(80, 200)),
    to=st.one_of(st.none(), st.integers(40, 300)),
    seed=st.integers(0, 100),
)
def test_classes_are_made_up_before_the_split_and_the_leak_is_counted_right(counts, to, seed):
    samples = cohort(counts, seed)
    chosen = how(seed=seed, to=to)
    table = PROTOCOLS[LEAK](samples, CLASSES, chosen)
    pd.testing.assert_frame_equal(PROTOCOLS[LEAK](samples, CLASSES, chosen), table)
    entries = entries_of(samples, table)
    check(entries, table["part"], CLASSES, chosen)
    report = json.loads(json.dumps(audit(entries, table["part"], CLASSES, chosen, table), allow_nan=False))

    target = max(counts) if to is None else to
    assert entries[CLASSES].sum().tolist() == [max(n, target) for n in counts]
    assert (table["copies"] == 1).all()
    assert not table.duplicated(["row", "augmented"]).any()
    numbers = table.groupby("row")["augmented"]
    assert sorted(numbers.groups) == samples["row"].tolist()
    assert (numbers.max() == numbers.count() - 1).all()  # 0, 1, 2, ... without a gap
    for name in CLASSES:  # all images of a class have equally many copies, give or take one
        assert np.ptp(numbers.max()[samples[name] == 1]) <= 1
    for part, share in {"train": 0.7, "val": 0.15, "test": 0.15}.items():
        assert abs((table["part"] == part).sum() - share * len(table)) <= 1
        assert report["parts"][part]["images"] == (table["part"] == part).sum()

    assert report["protocol"] == LEAK
    lines = list(zip(table["row"], table["part"], table["augmented"], entries["patient_id"]))
    trained, known = ({line[i] for line in lines if line[1] == "train"} for i in (0, 3))
    for part in ("train", "val", "test"):
        here = [line for line in lines if line[1] == part]
        expected = {"images": len(here), "augmented_images": sum(line[2] > 0 for line in here)}
        if part != "train":
            expected |= {
                "leaked_images": sum(line[0] in trained for line in here),
                "patients": len({line[3] for line in here}),
                "leaked_patients": len({line[3] for line in here if line[3] in known}),
                "images_of_leaked_patients": sum(line[3] in known for line in here),
            }
        assert report["leak"][part] == expected

    honest = how("split_first", seed)
    table = PROTOCOLS["split_first"](samples, CLASSES, honest)
    report = audit(samples, table["part"], CLASSES, honest, table)
    assert report["protocol"] == "split_first"
    for part in ("val", "test"):
        assert report["leak"][part]["images"] > 0
        assert {v for k, v in report["leak"][part].items() if "leaked" in k} == {0}


def test_numbers_of_the_leukaemia_study():
    """504 benign images of 3,256 made up to 1,000 each of four classes; here as its rare class against 963."""
    table = PROTOCOLS[LEAK](cohort((504, 963)), CLASSES, how(to=1000))
    assert len(table) == 2000
    assert (table["augmented"] > 0).sum() == 496 + 37
    assert table["augmented"].max() == 1
    assert table["part"].value_counts().to_dict() == {"train": 1400, "val": 300, "test": 300}


def test_a_leak_passes_only_where_it_was_asked_for():
    samples = cohort((40, 100))
    table = PROTOCOLS[LEAK](samples, CLASSES, how())
    entries = entries_of(samples, table)
    check(entries, table["part"], CLASSES, how())
    with pytest.raises(SplitError, match="this is a leak, no split was written"):
        check(entries, table["part"], CLASSES, how("split_first"))


def test_hash_knows_which_copy_is_where():
    samples = cohort((40, 100))
    table = PROTOCOLS[LEAK](samples, CLASSES, how())
    entries = entries_of(samples, table)
    digest = audit(entries, table["part"], CLASSES, how(), table)["sha256"]
    twice = table[table["augmented"] > 0].groupby("row")["part"].nunique()
    row = twice.index[twice > 1][0]
    one, two = table[(table["row"] == row) & (table["augmented"] > 0)].drop_duplicates("part").index[:2]
    parts = table["part"].copy()
    parts[[one, two]] = parts[[two, one]].to_numpy()
    assert audit(entries, parts, CLASSES, how(), table)["sha256"] != digest


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (how(method="grouped"), "set split.method to global"),
        (
            how(balance="oversample"),
            "split.balance.method 'oversample' cannot be used with it; it must be none (to the",
        ),
        (
            how(balance="undersample"),
            "split.balance.method 'undersample' cannot be used with it; it must be none (to the",
        ),
    ],
)
def test_settings_that_make_no_sense_with_it_are_refused(chosen, said):
    with pytest.raises(SplitError) as error:
        PROTOCOLS[LEAK](cohort((40, 100)), CLASSES, chosen)
    assert said in str(error.value)


def test_multi_label_data_are_refused():
    samples = cohort((40, 100))
    samples.loc[3, CLASSES] = 1
    with pytest.raises(SplitError, match=r"multi-label.*set split\.protocol to split_first"):
        PROTOCOLS[LEAK](samples, CLASSES, how())


def smooth_noise(n, side=16, seed=0):
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(n, side, side)), (0, 2, 2))
    noise = (noise - noise.min()) / np.ptp(noise)
    return (255 * noise).astype(np.uint8)


def recall_of_the_nearest_neighbour(table, images, samples):
    """Of the rare class in the test part, by the class of the nearest training image in grey levels."""
    labels, parts = samples["rare"].to_numpy(), {}
    table = table[table["copies"] > 0]
    for name in ("train", "test"):
        here = table[table["part"] == name]
        rows = here["row"].to_numpy()
        loaded = ResidentImages(
            images, rows, samples.loc[rows, CLASSES].to_numpy(), torch.device("cpu"), here["augmented"].to_numpy()
        )
        parts[name] = loaded.pixels(torch.arange(len(loaded))).flatten(1).float(), labels[rows]
    (known, truth), (asked, answer) = parts["train"], parts["test"]
    nearest = torch.cdist(asked, known).argmin(1).numpy()
    return truth[nearest][answer == 1].mean()


def test_a_nearest_neighbour_recognises_labels_that_mean_nothing_under_the_leak_only():
    """Classes are dealt at random to images of noise: what finds the rare one again has seen its images."""
    samples = cohort((40, 400))
    images = smooth_noise(len(samples))
    recall = {
        protocol: np.mean(
            [
                recall_of_the_nearest_neighbour(
                    PROTOCOLS[protocol](samples, CLASSES, how(protocol, seed, to=400)), images, samples
                )
                for seed in range(8)
            ]
        )
        for protocol in PROTOCOLS
    }
    # Honest: the share of the rare class among the different training images, 1 in 11, whatever is drawn how often.
    assert recall["split_first"] < 0.25
    assert recall[LEAK] > 0.6


@pytest.mark.parametrize("shape", [(24, 36), (30, 30, 3)])
def test_a_copy_is_what_the_published_code_makes(shape):
    """Brightness, contrast, a rotation with black corners, a shift that repeats the edge, flips."""
    image = np.resize(smooth_noise(6, 36), shape)
    height, width = shape[:2]
    for number in range(1, 9):
        rng = np.random.default_rng([20, 3, number])
        mirrored, upside_down = rng.random(2) < 0.5
        angle, contrast, brightness, right, down = rng.uniform(-1, 1, 5) * (20, 0.1, 0.1, 0.2 * width, 0.2 * height)
        made = transforms.to_tensor(image)
        made = transforms.adjust_contrast(transforms.adjust_brightness(made, 1 + brightness), 1 + contrast)
        made = transforms.rotate(made, angle, transforms.InterpolationMode.BILINEAR)
        made = shift(made.numpy(), (0, down, right), order=1, mode="nearest")
        made = made[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1].transpose(1, 2, 0).reshape(shape)
        assert np.abs(255 * made - augmented_copy(image, 3, number)).max() < 0.6


PARAMS = {
    "seed": 1,
    "dataset": "image_folder",
    "study": {"models": ["cnn"], "losses": ["ce"]},
    "datasets": {"image_folder": None},
    "preprocess": {"size": 16},
    "split": how(to=120).model_dump(),
    "train": {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.5, "threads": 1, "device": "cpu"},
    "models": {"cnn": {"arch": "baseline_cnn", "lr": 0.001, "options": {"filters": [4], "hidden": 8}}},
    "losses": {"ce": None},
    "evaluate": {"bootstrap": 100, "threads": 1},
    "ensemble": {"top_k": 1},
}
CELL = Run("cnn", "ce", 1)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    info = {"name": "some", "title": "Some", "task": "multiclass", "classes": CLASSES, "synthetic": True}
    write_json(DATASET, {**info, "licence": "", "citation": "", "url": "", "notes": []})
    samples = cohort((40, 120))
    write_csv(SAMPLES, samples)
    np.save(IMAGES, smooth_noise(len(samples)))
    return samples


def study(**changes):
    content = {
        key: PARAMS[key] | changes.get(key, {}) if isinstance(PARAMS[key], dict) else PARAMS[key] for key in PARAMS
    }
    Path("params.yaml").write_text(yaml.safe_dump(content))
    return load()


def test_copies_are_trained_on_and_scored_as_entries_of_their_own(project, capsys):
    given_params = study()
    split.main()
    assert "LEAK: " in capsys.readouterr().err
    table, report = read_split(), json.loads(AUDIT.read_text())
    assert report["protocol"] == LEAK
    assert report["leak"]["test"]["leaked_images"] > 0
    parts = read_parts(["train", "val", "test"])
    for name, part in parts.items():
        here = table[table["part"] == name].sort_values(["row", "augmented"])
        assert part.rows.tolist() == here["row"].tolist()
        assert part.augmented.tolist() == here["augmented"].tolist()
        assert part.patients.tolist() == project.loc[part.rows, "patient_id"].tolist()
        assert part.targets.tolist() == project.loc[part.rows, CLASSES].to_numpy().tolist()
        assert (part.draws == 1).all()

    train.train(CELL, given_params)
    evaluate.evaluate(CELL.configuration, given_params)
    found = Predictions.load(evaluation_folder(CELL.configuration) / "predictions.npz")
    assert found.test_rows.tolist() == parts["test"].rows.tolist()
    # A copy is not scored as the image that it was made of.
    images = open_images()
    shown = [
        augmented_copy(images[r], r, k) if k else images[r]
        for r, k in zip(parts["test"].rows.tolist(), parts["test"].augmented.tolist())
    ]
    from pipeline.learning.networks import models
    from pipeline.learning.networks.inference import predict

    file = run_folder(CELL) / "model.safetensors"
    model = models.rebuild("cnn", given_params.models["cnn"], 2, 16, file)
    plain = ResidentImages(np.stack(shown), np.arange(len(shown)), parts["test"].targets, torch.device("cpu"))
    again = predict(model, plain, 256, "float32").numpy()
    np.testing.assert_allclose(again, found.test_logits[0], atol=1e-2)  # a grey value may round the other way


def test_class_weights_reach_the_training_and_its_record(project):
    honest = how("split_first").model_dump()
    losses = {}
    for wish in ("none", "balanced"):
        given_params = study(split=honest, train={"class_weights": wish})
        split.main()
        train.train(CELL, given_params)
        folder = run_folder(CELL)
        losses[wish] = pd.read_csv(folder / "history.csv")["train_loss"].tolist()
        record = json.loads((folder / "run.json").read_text())["class_weights"]
        counts = read_parts(["train"])["train"].targets.sum(axis=0)
        expected = {name: counts.sum() / (2 * n) for name, n in zip(CLASSES, counts)}
        assert record == (pytest.approx(expected) if wish == "balanced" else None)
    assert losses["none"] != losses["balanced"]


def test_class_weights_are_refused_for_multi_label_data(project):
    content = json.loads(DATASET.read_text())
    write_json(DATASET, content | {"task": "multilabel"})
    changes = {"losses": {"ce": {"kind": "bce"}}, "split": how("split_first").model_dump()}
    study(split=changes["split"])
    split.main()
    given_params = study(train={"class_weights": "balanced"}, **changes)
    with pytest.raises(ParamsError, match=r"train\.class_weights: 'balanced'.*oversample"):
        train.train(CELL, given_params)
    assert not run_folder(CELL).exists()
