"""Metadata beside the image: how columns become inputs, and how the head takes them."""

from math import sqrt
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm, zscore
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.metadata import CLIP, MetadataError, Scheme, associations, far_values, known_values, measure
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import Mix, Model
from pipeline.learning.training import loop
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.weights import ModelError
from pipeline.reporting.views import metadata as page_of_metadata
from pipeline.study.classes import SAMPLE_COLUMNS
from pipeline.study.files import PREPARED, SAMPLES, write_csv
from tests.learning.tiny_training import CPU, changed, run, same

N = 60
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 24, 24), np.uint8)
SMALL = {"arch": "baseline_cnn", "lr": 0.01, "options": {"filters": [3], "hidden": 5, "drop_rate": 0.0}}


@pytest.fixture
def samples(tmp_path, monkeypatch):
    """A prepared table of 60 images, of which the first 40 are those of training."""
    monkeypatch.chdir(tmp_path)
    PREPARED.mkdir(parents=True)
    rng = np.random.default_rng(1)
    table = pd.DataFrame({name: [f"{name}{i}" for i in range(N)] for name in SAMPLE_COLUMNS})
    table = table.assign(row=range(N), Mass=[i % 2 for i in range(N)])
    age = rng.integers(1, 90, N).astype(float)
    age[[3, 8, 50]] = np.nan
    view = rng.choice(["PA", "AP"], N).astype(object)
    view[[5, 41]], view[45] = None, "LL"
    more = {"constant": "x", "empty": None, "late": [None] * 40 + [1] * 20, "name": [f"n{i}" for i in range(N)]}
    write_csv(SAMPLES, table.assign(age=age, sex=rng.choice(["F", "M"], N), view=view, **more))
    return pd.DataFrame({"age": age, "view": view})


def test_numbers_and_levels_are_those_of_sklearn(samples):
    """StandardScaler, which leaves NaN out, and OneHotEncoder, fitted on the training images."""
    scheme = measure("models.a.metadata", ["age", "view"], ["Mass"], np.repeat(np.arange(40), 2))
    made = scheme.of_rows(np.arange(N))
    assert made.dtype == np.float32
    assert scheme.inputs == ("age", "age unknown", "view = AP", "view = PA", "view unknown")
    scaled = StandardScaler().fit(samples[["age"]][:40]).transform(samples[["age"]])[:, 0]
    np.testing.assert_allclose(made[:, 0], np.nan_to_num(scaled), atol=1e-6)
    np.testing.assert_array_equal(made[:, 1], np.isnan(scaled))
    known = samples[["view"]][:40].dropna()
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(known).transform(samples[["view"]])
    np.testing.assert_array_equal(made[:, 2:4], one_hot)
    np.testing.assert_array_equal(made[:, 4], 1 - one_hot.sum(1))  # missing, and LL, which no training image has
    assert made[45, 4] == 1
    assert known_values(scheme, made) == {"age": N - 3, "view": N - 3}
    assert Scheme.read(scheme.record()) == scheme
    assert [(c.known, c.missing) for c in scheme.columns] == [(38, 2), (39, 1)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["31", "", "thirty", "inf", "1e9"], [0, None, None, None, 5]), ([" 31.0 ", "51"], [0, 1])],
)
def test_a_number_that_is_none_is_unknown_and_a_far_one_is_near_enough(samples, values, expected):
    column = measure("key", ["age"], [], np.arange(40)).columns[0]
    column = type(column)("age", 31.0, 20.0, (), 38, 2)
    for made, value in zip(column.encode(values), expected):
        np.testing.assert_allclose(made, [0, 1] if value is None else [value, 0])


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("weight", "models.a.metadata: the data set has no column 'weight'; use one of: age, sex, view, constant"),
        ("Mass", "models.a.metadata: 'Mass' is a class"),
        ("patient_id", "models.a.metadata: 'patient_id' says which file it is"),
        ("target", "'target' is the target: it is what the network is to find"),
        ("study_uid", "models.a.metadata: 'study_uid' says which file it is"),
        ("constant", "column 'constant' is 'x' wherever it is known, for 40 of 40 training images"),
        ("empty", "column 'empty' is empty for all 40 training images"),
        ("late", "column 'late' is empty for all 40 training images"),
        ("name", "column 'name' is text with 40 different values for 40 training images"),
    ],
)
def test_a_column_that_cannot_be_an_input_is_refused_by_name(samples, named, said):
    with pytest.raises(MetadataError, match=said):
        measure("models.a.metadata", ["age", named], ["Mass"], np.arange(40))


@pytest.mark.parametrize(("typed", "n"), [("1e12", 1), ("7000", 1), ("75", 0), ("", 0)])
def test_a_number_far_from_all_others_is_counted(typed, n, tmp_path, monkeypatch):
    """Against scipy's z-scores."""
    texts = [f"{v:.1f}" for v in np.random.default_rng(3).normal(70, 10, 60)] + [typed]
    prepared_column(tmp_path, monkeypatch, texts)
    scheme = measure("key", ["x"], [], np.arange(61))
    assert n == (np.abs(zscore([float(text) for text in texts if text])) > CLIP).sum()
    assert far_values(scheme, scheme.of_rows(np.arange(61))) == ({"x": n} if n else {})


def test_a_number_of_the_image_is_no_measurement(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PREPARED.mkdir(parents=True)
    write_csv(SAMPLES, pd.DataFrame({"row": range(100), "film": np.arange(100) + 7000, "dose": np.arange(100) / 8}))
    with pytest.raises(MetadataError, match="column 'film' has another whole number for each of 100"):
        measure("key", ["film"], [], np.arange(100))
    assert measure("key", ["dose"], [], np.arange(100)).names == ("dose",)


def prepared_column(folder, monkeypatch, values, name="x"):
    """A prepared data set with one column of text beside the rows."""
    monkeypatch.chdir(folder)
    PREPARED.mkdir(parents=True)
    write_csv(SAMPLES, pd.DataFrame({"row": range(len(values)), name: values}))


@pytest.mark.parametrize("word", ["NA", "nan", "NULL", "n/a", "", "unknown"])
def test_words_for_nothing_are_missing_as_pandas_takes_them(word, tmp_path, monkeypatch):
    """A number stays one: mean and SD are those that pandas and scikit-learn find, which leave gaps out."""
    texts = [f"{v:.1f}" for v in np.random.default_rng(3).normal(70, 10, 60)] + [word] * 4
    (tmp_path / "weight.csv").write_text("\n".join(["x", *(text or '""' for text in texts)]) + "\n")
    read = pd.read_csv(tmp_path / "weight.csv", na_values=["unknown"], skip_blank_lines=False)
    prepared_column(tmp_path, monkeypatch, texts)
    (column,) = measure("key", ["x"], [], np.arange(64)).columns
    scaled = StandardScaler().fit(read)
    assert (column.known, column.missing) == (60, 4)
    assert (column.mean, column.sd) == pytest.approx((scaled.mean_[0], scaled.scale_[0]))
    levels = ["a", "none", "-", word] * 20  # of text, "none" and "-" are answers
    write_csv(SAMPLES, pd.DataFrame({"row": range(80), "x": levels}))
    (column,) = measure("key", ["x"], [], np.arange(80)).columns
    assert (column.levels, column.known, column.missing) == (("-", "a", "none"), 60, 20)


@pytest.mark.parametrize(("word", "said"), [("heavy", "are 'heavy'; must be"), ("inf", "are 'inf'; must be")])
def test_what_keeps_a_column_from_being_a_number_is_named(word, said, tmp_path, monkeypatch):
    prepared_column(tmp_path, monkeypatch, [*(f"{i / 7:.2f}" for i in range(60)), word])
    with pytest.raises(MetadataError, match=f"has 61 different values for 61 training images, of which no .* {said}"):
        measure("key", ["x"], [], np.arange(61))


@pytest.mark.parametrize("levels", [("TRUE", "FALSE"), ("true", "false"), ("True", "False")])
def test_the_page_reads_words_for_truth_as_training_does(levels, tmp_path, monkeypatch):
    """CSV readers make booleans of them, and other words of booleans."""
    prepared_column(tmp_path, monkeypatch, [levels[i % 3 == 0] for i in range(60)])
    scheme = measure("key", ["x"], [], np.arange(40))
    table = pd.read_csv(SAMPLES).assign(augmented=0, part=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    table["Mass"] = [i % 3 == 0 for i in range(60)]
    results = SimpleNamespace(runs=[{"metadata": scheme.record()}])
    study = SimpleNamespace(configurations=[results], samples=table, classes=("Mass",))
    (found,) = page_of_metadata.known(study)
    assert found.known == ((40, 40), (10, 10), (10, 10))
    assert found.auroc == 1


def test_what_tells_a_class_alone_is_found():
    """Against scikit-learn's AUROC: of a number either way, of text by the share of the class at each level."""
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, (200, 2)).astype(float)
    age, site = rng.normal(-truth[:, 1], 1), np.where(rng.random(200) < 0.2, "c", np.where(truth[:, 0] == 1, "a", "b"))
    record = [
        {"name": "age", "mean": 0.0, "sd": 1.0, "levels": [], "known": 200, "missing": 0},
        {"name": "site", "mean": None, "sd": None, "levels": ["a", "b", "c"], "known": 200, "missing": 0},
    ]
    scheme = Scheme.read(record)
    encoded = scheme.encode(pd.DataFrame({"age": age.astype(str), "site": site}))
    truth[:20, 0] = np.nan
    first, second = associations(scheme, encoded, truth, ["left", "right"])
    assert (first.column, first.label, second.column, second.label) == ("age", "right", "site", "left")
    assert first.auroc == pytest.approx(roc_auc_score(truth[:, 1], -age), abs=1e-6)
    seen, share = truth[20:, 0], pd.Series(truth[20:, 0]).groupby(site[20:]).transform("mean")
    assert second.auroc == pytest.approx(roc_auc_score(seen, share))
    assert associations(scheme, encoded, np.zeros((200, 2)), ["left", "right"]) == []


NUMBER = {"name": "x", "mean": 0.0, "sd": 1.0, "levels": [], "known": 100, "missing": 100}
LEVELS = {"name": "s", "mean": None, "sd": None, "levels": ["a", "b"], "known": 100, "missing": 0}


def built(settings, record, size=24):
    torch.manual_seed(5)
    scheme = None if record is None else Scheme.read(record)
    return models.build("a", Model(**settings), 1, 3, size, IMAGES, scheme=scheme)


@pytest.mark.parametrize(
    "settings",
    [
        SMALL,
        {**SMALL, "head": "cosine"},
        {"arch": "test_resnet", "lr": 0.1},
        {"arch": "test_resnet", "lr": 0.1, "hidden": 7, "dropout": 0.1},
        {"arch": "test_vit", "lr": 0.1, "options": {"img_size": 32}},
    ],
    ids=["cnn", "cosine", "resnet", "hidden", "vit"],
)
def test_the_fused_network_is_the_composition_that_is_documented(settings, tmp_path):
    """Features of the same network without its head, beside ReLU of a linear map of the metadata, in its own head."""
    plain, fused = built(settings, None, 32).eval(), built(settings, [NUMBER, LEVELS], 32).eval()
    for name, value in plain.state_dict().items():  # the image begins alike with metadata and without
        if not name.startswith(f"backbone.{plain.head}"):
            assert torch.equal(value, fused.state_dict()[name]), name
    images, metadata = torch.rand(4, 1, 32, 32), torch.randn(4, 5)
    plain.backbone.set_submodule(plain.head, nn.Identity())
    with torch.no_grad():
        features = plain.backbone((images - plain.mean) / plain.std)
        linear = fused.late.embedding[0]
        embedded = torch.clamp(metadata @ linear.weight.T + linear.bias, min=0)
        expected = fused.late.head(torch.cat([features, embedded], 1))
        torch.testing.assert_close(fused(images, metadata), expected)
    path = tmp_path / "model.safetensors"
    models.save(path, fused.state_dict(), {"metadata": fused.late.scheme.record()})
    again = models.rebuild("a", Model(**settings), 3, 32, path)
    assert models.scheme_of(path) == fused.late.scheme
    with torch.no_grad():
        assert torch.equal(again(images, metadata), fused(images, metadata))
    for wrong in ((images,), (images, None)):
        with pytest.raises(TypeError, match="metadata"):
            fused(*wrong)
    with pytest.raises(TypeError, match="metadata"):
        plain(images, metadata)


def test_all_layers_have_the_rates_that_they_have_without_metadata():
    """Of layer-wise decay, and of a rate of the head."""
    from pipeline.learning.training.optimizers import create

    settings = changed(layer_decay=0.5)
    rates = []
    for record in (None, [NUMBER]):
        model = built({"arch": "test_resnet", "lr": 0.1}, record)
        groups = create(model, 0.1, 0.3, settings).param_groups
        of = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
        assert len(of) == len(list(model.parameters()))
        rates.append({name: of[id(p)] for name, p in model.named_parameters()})
        np.testing.assert_allclose([of[id(p)] for p in model.head_parameters()], 3.0)
    assert {rates[1][name] == rate for name, rate in rates[0].items() if name in rates[1]} == {True}


def test_known_values_are_hidden_while_training_only_where_hardly_any_is_missing():
    fused = built(SMALL, [NUMBER, LEVELS])  # of the second column nothing is missing
    seen = []
    fused.late.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    metadata = torch.tensor([[0.7, 0.0, 1.0, 0.0, 0.0]]).repeat(4000, 1)
    features = torch.zeros(4000, 5)
    fused.train().late(features, metadata)
    fused.eval().late(features, metadata)
    assert torch.equal(seen[1], metadata)
    hidden = seen[0][:, 4] == 1
    assert 0.04 < hidden.float().mean() < 0.06
    assert torch.equal(seen[0][hidden], torch.tensor([[0.7, 0.0, 0.0, 0.0, 1.0]]).repeat(int(hidden.sum()), 1))
    assert torch.equal(seen[0][~hidden], metadata[~hidden])


def test_a_network_without_a_linear_head_is_refused():
    with pytest.raises(ModelError, match=r"models.a.metadata: the network ends in Conv2d"):
        models.check("a", Model(arch="dla34", lr=0.1, metadata=["age"]), 1, 64)


class Same(nn.Module):
    """Takes images of one value each, and that value as metadata; keeps what it gets while training."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen = nn.Linear(1, 2), []

    def forward(self, images, metadata):
        if self.training:
            self.seen.append((images[:, 0].mean((1, 2)), metadata[:, 0]))
        return self.linear(metadata)


@pytest.mark.parametrize("mixture", [Mix(mixup=0.4), Mix(mixup=0.0, cutmix=1.0)], ids=["mixup", "cutmix"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_metadata_are_mixed_as_their_images_are(mixture, accumulate, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, 41, np.uint8)
    images = np.broadcast_to(values[:, None, None], (41, 8, 8)).copy()
    targets = np.random.default_rng(1).integers(0, 2, (41, 2)).astype(np.uint8)
    metadata = (values / 255).astype(np.float32)[:, None]
    part = ResidentImages(images, np.arange(41), targets, CPU, metadata=metadata)
    model = Same()
    settings = changed(mix=mixture, augment={"horizontal_flip": 0.0}, epochs=2, accumulate=accumulate)
    run(tmp_path, settings, train=part, val=part, model=model)
    pictures, beside = (torch.cat(of) for of in zip(*model.seen))
    torch.testing.assert_close(pictures, beside, atol=1e-5, rtol=0)
    assert len(np.setdiff1d(beside.numpy().round(5), metadata.round(5))) > 20  # they were mixed


def drawn(n, seed, shift):
    """Images of noise, and a column that is `shift` higher where the one label is 1."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (n, 1)).astype(np.uint8)
    column = rng.normal(shift * truth[:, 0], 1)
    metadata = np.stack([column, np.zeros(n)], axis=1).astype(np.float32)
    return ResidentImages(rng.integers(0, 256, (n, 24, 24), np.uint8), np.arange(n), truth, CPU, metadata=metadata)


def learned(folder, shift, **keys):
    torch.manual_seed(0)
    model = models.build("a", Model(**SMALL), 1, 1, 24, IMAGES, scheme=Scheme.read([NUMBER]))
    train, val, test = drawn(400, 1, shift), drawn(400, 2, shift), drawn(3000, 3, shift)
    settings = changed(epochs=6, batch_size=32, augment={"horizontal_flip": 0.0}, **keys)
    fitted = run(folder, settings, train=train, val=val, model=model, lr=0.02)
    model.load_state_dict(fitted.state)
    return fitted, roc_auc_score(test.targets[:, 0], predict(model, test, 500, "float32")[:, 0])


def test_a_label_that_depends_on_a_column_alone_is_told_by_it(tmp_path):
    """Two normal distributions one SD apart: the best AUROC is Phi(1 / sqrt(2)) = 0.760; of a noise column 0.5."""
    _, found = learned(tmp_path / "a", 1.0)
    assert found == pytest.approx(norm.cdf(1 / sqrt(2)), abs=0.025)
    _, nothing = learned(tmp_path / "b", 0.0)
    assert nothing == pytest.approx(0.5, abs=0.035)


def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    """Of averages, whose batch norms are measured with metadata; values are hidden at random."""
    whole, _ = learned(tmp_path / "whole", 1.0, swa=0.5, warmup_epochs=0.5)
    epoch, calls = loop._epoch, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(loop, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path / "cut", 1.0, swa=0.5, warmup_epochs=0.5)
    assert len(Checkpoint(tmp_path / "cut", "key").load()["history"]) == 4
    assert same(learned(tmp_path / "cut", 1.0, swa=0.5, warmup_epochs=0.5)[0], whole)
