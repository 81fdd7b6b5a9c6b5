"""The text for a manuscript: true to the settings, whatever they are."""

import re
from dataclasses import replace

import pytest

from pipeline.learning.losses import available
from pipeline.reporting import page
from pipeline.reporting.loading import load_study
from pipeline.reporting.references import _LOSSES, WORKS, References, of_architecture, of_loss
from pipeline.reporting.views.design import design
from pipeline.reporting.views.manuscript import MOST_MODELS, manuscript
from pipeline.settings import parse

SHOW = '{% import "shared/manuscript.md" as of %}{{ of.show(m) }}'


def text_of(study):
    with page.about(study):
        text = page._environment().from_string(SHOW).render(m=manuscript(study))
        text = page._in_words(text).replace(page._KEPT, "").replace(page._BAR, "|").replace(page._BREAK, "\n")
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|\b1 (epoch|image|patient|model|seed|layer)s\b|  +\S", text), text
    assert not re.search(r" [,.;]|\.\.|,,", re.sub(r"<http.*?>", "", text)), text
    body, works = re.split(r"\n(?=1\. )", text, maxsplit=1)
    listed = re.findall(r"^(\d+)\. .*<(https://\S+)>$", works, re.MULTILINE)
    cited = {int(n) for group in re.findall(r" \[(\d+(?:, \d+)*)\]", body) for n in group.split(", ")}
    assert [int(n) for n, _ in listed] == list(range(1, len(listed) + 1))
    assert cited == set(range(1, len(listed) + 1))
    return " ".join(body.split())


@pytest.fixture(scope="module")
def study(root):
    """Return the results of a whole study, once for each task."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root[0])
        return load_study(root[1])


def with_params(results, **sections):
    """Return the study with other settings."""
    content = results.params.model_dump(mode="json", exclude_unset=True)
    for name, values in sections.items():
        content[name] = {**content[name], **values} if isinstance(values, dict) else values
    return replace(results, params=parse(content))


def test_the_text_of_a_study(study):
    text = text_of(study)
    kept = study.samples.query("augmented == 0")
    assert f"left {len(kept)} images of {kept['patient_id'].nunique()} patients" in text
    for key, name in (("train", "training"), ("val", "validation"), ("test", "test")):
        assert re.search(rf"{study.audit['parts'][key]['images']} images of \d+ patients? \({name}\)", text)
    multilabel = study.task == "multilabel"
    assert ("the threshold with the highest F1" in text) == multilabel
    assert ("one temperature per training run" in text) == (not multilabel)
    assert f"{study.params.evaluate.bootstrap:,} bootstrap draws of whole patients" in text
    seeds = sorted([study.params.seed, *study.params.study.replicates])
    assert f"under {len(seeds)} seeds ({', '.join(map(str, seeds))}), {len(seeds) * 4} training runs" in text


SPLITS = [
    (
        {"method": "grouped", "validation": 0.15, "test": 0.2},
        "(65 %, 15 %, and 20 % of the images), stratified",
    ),
    ({"method": "global", "validation": 0.1, "test": 0.2}, "at random (70 %, 10 %, and 20 % of the images)"),
    ({"method": "time", "validation": 0.1, "test": 0.2}, "by the date of their latest examination: the latest (20 %"),
    (
        {"method": "per_class", "per_class": {"train": 70, "validation": 20, "test": 10}},
        "Of each class, 70, 20, and 10 images",
    ),
    (
        {"method": "grouped", "balance": {"method": "oversample", "to": None}},
        "rarer classes were drawn repeatedly",
    ),
    (
        {"method": "grouped", "balance": {"method": "augment_to", "to": 1500}},
        "each epoch drew 1,500 images",
    ),
    ({"method": "global", "protocol": "augment_before_split"}, "augmented before they were divided"),
]


@pytest.mark.parametrize(("split", "sentence"), SPLITS)
def test_every_way_to_split_has_its_sentence(split, sentence, study):
    assert sentence in text_of(with_params(study, split=split))


@pytest.mark.parametrize(
    ("published", "sentence"),
    [("val", "the published validation set was used, too"), ("train", "12.5 % of the published training images")],
)
def test_validation_is_published_or_set_aside(published, sentence, study):
    known = replace(study, samples=study.samples.assign(official_split=published))
    assert sentence in text_of(with_params(known, split={"method": "official", "validation": 0.125}))


MODELS = [
    (
        {"arch": "resnet50", "pretrained": True, "trainable": "head", "hidden": 128, "dropout": 0.5},
        [
            "resnet50 [",
            "weights pretrained as published",
            "of which only the head was trained",
            "a hidden layer of 128 units",
            "dropout 0.5",
        ],
    ),
    (
        {"arch": "vgg16", "weights": "w.pth", "trainable": {"last": 1}, "head_lr": 0.1},
        [
            "weights from a file, of which the last 1 layer and the head were trained",
            "(head 0.1)",
        ],
    ),
    (
        {"arch": "vit_tiny_patch16_224", "pretrained": True, "head": "cosine", "drop_path": 0.1, "epochs": 3},
        [
            "all of which were trained",
            "a cosine classifier",
            "stochastic depth [",
            "its own settings of training: epochs 3",
        ],
    ),
    (
        {"arch": "resnet18", "swa": 0.5, "mix": {"mixup": 0.2, "cutmix": 1.0}, "augment": {"rand": {"operations": 3}}},
        ["its own settings of training: ", "swa 0.5", "mix mixup 0.2, mix cutmix 1 [", "augment rand operations 3"],
    ),
    ({"arch": "baseline_cnn"}, ["a plain convolutional network, from random weights, learning rate 0.001"]),
    (
        {"arch": "baseline_cnn", "teacher": {"file": "/home/w.pth/mean_all.npz", "weight": 0.25}},
        ["it learned from answers for the training images [", "those of an ensemble, temperature 2, weight 0.25"],
    ),
]


@pytest.mark.parametrize(("model", "phrases"), MODELS)
def test_every_way_to_begin_a_model_has_its_phrase(model, phrases, study):
    name = study.params.study.models[0]
    text = text_of(with_params(study, models={name: {"lr": 0.001, **model}}))
    assert f"{name} is " in text
    for phrase in phrases:
        assert phrase in text
    assert "w.pth" not in text  # a path of this machine


STARTS = [
    (
        {"weights": "package:lite-model"},
        {"package": "lite-model 0.1.0", "file": "w-57.pth", "sha256": "ab" * 32, "licence": "Apache-2.0"},
        f"from the weights of the package lite-model 0.1.0 (file w-57.pth, SHA-256 {'ab' * 32}, licence Apache-2.0), "
        "all of which were trained",
    ),
    (
        {"pretrained": True, "trainable": "head"},
        {"hub": "timm/resnet50.a1_in1k", "licence": "apache-2.0"},
        "from the pretrained weights timm/resnet50.a1_in1k (licence apache-2.0), of which only the head was trained",
    ),
    (
        {"weights": "ours/w.pth"},
        {"file": "w.pth", "sha256": "cd" * 32},
        f"from the weights of a file (SHA-256 {'cd' * 32}, licence not recorded), all of which were trained",
    ),
    ({"weights": "package:lite-model"}, None, "from weights from the package lite-model, all of which were trained"),
]


@pytest.mark.parametrize(("model", "record", "phrase"), STARTS)
def test_recorded_weights_are_named_with_checksum_and_licence(model, record, phrase, study):
    name = study.params.study.models[0]
    changed = with_params(study, models={name: {"arch": "resnet50", "lr": 0.001, **model}})
    configurations = [
        replace(c, runs=tuple({**run, "weights": record} for run in c.runs)) if c.model == name else c
        for c in changed.configurations
    ]
    text = text_of(replace(changed, configurations=tuple(configurations)))
    assert f"{phrase}, learning rate 0.001" in text
    assert "w.pth" not in text  # the user's own name


def test_of_many_models_the_architectures_are_named(study):
    names = [f"m{i}" for i in range(MOST_MODELS + 1)]
    models = {n: {"arch": f"resnet{18 if i else 50}", "lr": 0.01 / (i + 1)} for i, n in enumerate(names)}
    text = text_of(with_params(study, models=models, study={"models": names}))
    assert re.search(
        rf"{len(names)} models were trained, of 2 architectures .* resnet50 \[(\d+)\], resnet18 \[\1\]", text
    )


TRAINING = [
    ({"optimizer": "sgd", "momentum": 0.8}, "Nesterov momentum 0.8"),
    ({"schedule": "plateau", "plateau": {"factor": 0.5, "patience": 1}}, "multiplied by 0.5 after more than 1 epoch"),
    ({"schedule": "plateau", "plateau": {"factor": 0.5, "patience": 0}}, "after more than no epoch"),
    ({"schedule": "one_cycle"}, "a one-cycle schedule ["),
    ({"schedule": "constant", "warmup_epochs": 0}, "a constant learning rate; it stopped"),
    ({"warmup_epochs": 1}, "a warm-up of 1 epoch;"),
    ({"ema": 0.99, "clip_grad": None}, "averaged exponentially ["),
    ({"ema": 0.99, "ema_warmup": True}, "(decay rising to 0.99)"),
    ({"accumulate": 4}, "each step had the mean gradient of 4 batches"),
    ({"layer_decay": 0.75}, "the learning rate of a layer was 0.75 times that of the layer above it ["),
    (
        {"swa": 0.5},
        "after 50% of the epochs the learning rate stayed, and weights were averaged over the ends of epochs [",
    ),
    ({"mix": {"cutmix": 1.0, "probability": 0.5}}, "(alpha 1), with probability 0.5"),
    ({"mix": {}}, "mixed in pairs by mixup ["),
    ({"progressive": {}}, "from 0.5 of their side to all of it over the first 75% of the epochs"),
    ({"augment": {"rand": {}}}, "RandAugment ["),
    ({"augment": "none"}, "Training images were not augmented."),
    ({"augment": {"jpeg": {"quality": [50, 90]}}}, "JPEG compression (quality 50 to 90, probability 1)"),
    ({"augment": {"erase": {"probability": 0.2}}}, "random erasing ["),
    ({"augment": {"brightness": 0.2}}, "brightness by a factor of 1 ± 0.2."),
    ({"augment": {"contrast": 0.2}}, "contrast about the mean grey level by a factor of 1 ± 0.2."),
    ({"augment": {"brightness_offset": 0.2}}, "grey levels by up to 0.2 of their range, all of an image alike."),
    ({"augment": "seeds002"}, "zoom by up to 0.1 along each axis. What came in from outside of an image"),
]


@pytest.mark.parametrize(("train", "sentence"), TRAINING)
def test_every_way_to_train_has_its_sentence(train, sentence, study):
    assert sentence in text_of(with_params(study, train={"patience": 1, **train}))


def test_settings_of_training_are_those_that_the_models_have(study):
    """A warm-up that no model has is no setting of the study; patience that cannot end is no stopping."""
    names = study.params.study.models
    of_models = {name: study.params.models[name].model_dump(mode="json", exclude_unset=True) for name in names}
    train = {"epochs": 3, "patience": 18, "warmup_epochs": 0.25}
    alike = {name: {**of, "warmup_epochs": 1, "epochs": 4} for name, of in of_models.items()}
    changed = with_params(study, models=alike, train=train)
    text = text_of(changed)
    assert "Training took at most 4 epochs" in text
    assert "after a warm-up of 1 epoch; the weights of the epoch with the best validation AUROC were kept" in text
    assert "it stopped after" not in text
    assert "own settings of training" not in text
    assert (design(changed).train.epochs, design(changed).own) == (4, [])
    one = {**alike, names[0]: {**alike[names[0]], "epochs": 5}}
    differ = with_params(study, models=one, train=train)
    text = text_of(differ)
    assert "Training took at most 3 epochs" in text
    assert "its own settings of training: epochs 5" in text
    assert "its own settings of training: epochs 4" in text
    assert "after a warm-up of 1 epoch" in text


def test_preprocessing_and_evaluation_are_as_set(study):
    images = {"clahe": {"enabled": False}, "keep_aspect": "crop", "channels": 3, "store": "uint16", "frame": "all"}
    changed = with_params(
        study,
        preprocess={**images, "duplicates": {"near": False, "conflicting_labels": "keep"}},
        evaluate={"bootstrap": 1234, "margin": 0.02, "tta": {"horizontal_flip": True}},
    )
    text = text_of(changed)
    assert "cropped and resized" in text
    assert "in colour and stored with 16 bits; of files with several frames, all were used." in text
    assert "equalisation" not in text
    assert "nearly alike" not in text
    assert "under different labels" not in text
    assert "1,234 bootstrap draws" in text
    assert "the image and its variants (horizontal flip)" in text
    assert "below 0.02 count as equivalent" in text


def test_without_patients_there_is_no_word_of_any(study):
    unknown = replace(study, dataset=replace(study.dataset, patients_known=False, synthetic=False))
    text = text_of(unknown)
    assert "bootstrap draws of whole groups" in text
    assert re.findall(r"\S+ \S+ patients?\b", text) == []


def test_a_bare_table_has_no_such_text(study):
    from pipeline.reporting.values import UNKNOWN

    assert manuscript(replace(study, params=UNKNOWN)) is None


def test_every_loss_cites_works_that_are_known():
    assert set(_LOSSES) <= set(available())
    assert {work for works in _LOSSES.values() for work in works} <= set(WORKS)
    assert of_loss("zlpr", {"temperature": 2.0}) == ("zlpr", "fzlpr")
    assert of_loss("zlpr", {}) == ("zlpr",)
    assert of_architecture("tf_efficientnet_b0") == ("efficientnet",)
    assert of_architecture("something_new") == ()


def test_works_are_numbered_as_they_are_cited():
    refs = References()
    assert (refs.cite("holm"), refs.cite("tost", "holm"), refs.cite()) == (" [1]", " [2, 1]", "")
    assert [work.url for work in refs.works()] == [WORKS["holm"].url, WORKS["tost"].url]
    with pytest.raises(KeyError):
        refs.cite("nobody")


def test_every_work_says_where_it_is_found():
    for key, work in WORKS.items():
        assert work.url.startswith("https://"), key
        assert not work.text.endswith("."), key
