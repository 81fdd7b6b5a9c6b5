import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from pipeline.ensembling import features as module
from pipeline.ensembling.features import ResidentFeatures, concatenate, features, fit_head, head_logits
from pipeline.learning import losses
from pipeline.learning.images.loader import ResidentImages
from pipeline.learning.networks import models
from pipeline.learning.networks.inference import predict
from pipeline.learning.settings import Augment, Model, Train
from pipeline.learning.training.checkpoints import Checkpoint

CPU = torch.device("cpu")
SETTINGS = Train(epochs=60, batch_size=64, patience=60, warmup_epochs=2, weight_decay=0.0, threads=1)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(n=40, seed=0, size=32):
    """Images whose left or right half is bright, and two labels that say which."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 2)) < 0.5).astype(np.uint8)
    pixels = rng.integers(0, 120, (n, size, size), dtype=np.uint8)
    pixels[:, :, : size // 2] += (60 * targets[:, :1, None]).astype(np.uint8)
    pixels[:, :, size // 2 :] += (60 * targets[:, 1:, None]).astype(np.uint8)
    return pixels, targets


def network(seed=0, **settings):
    torch.manual_seed(seed)
    kind = {"arch": "baseline_cnn", "lr": 0.01, "options": {"filters": [3], "hidden": 7}} | settings
    return models.build("m", Model(**kind), 1, 2, 32, images()[0])


def data(n=40, seed=0):
    pixels, targets = images(n, seed)
    return ResidentImages(pixels, np.arange(n), targets, CPU)


def last_layer(model):
    layer = model.backbone.get_submodule(model.head)
    return layer[-1] if isinstance(layer, torch.nn.Sequential) else layer


KINDS = {
    "baseline": {},
    "baseline, cosine": {"head": "cosine"},
    "resnet": {"arch": "resnet10t", "options": {}},
    "resnet, hidden layer": {"arch": "resnet10t", "options": {}, "hidden": 5},
    "densenet": {"arch": "densenet121", "options": {"growth_rate": 4, "block_config": [1, 1, 1, 1]}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_what_the_last_layer_makes_the_logits_of(kind):
    model, part = network(**KINDS[kind]), data(9)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    found = features(model, part, batch_size=4)
    assert found.shape[0] == 9
    assert found.dtype == torch.float32
    with torch.no_grad():
        logits = last_layer(model)(found)
    torch.testing.assert_close(logits, predict(model, part, 9, "float32").clone(), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())  # frozen, batch norms too
    assert not last_layer(model)._forward_pre_hooks


def test_a_map_is_averaged():
    class Convolutional(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.last = torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 2, 1)

        def forward(self, images):
            return self.last(self.body(images)).mean((2, 3))

    model = models.Classifier(Convolutional(), torch.zeros(1), torch.ones(1), "last")
    part = data(5)
    expected = model.backbone.body(part.take(torch.arange(5))[0]).mean((2, 3))
    torch.testing.assert_close(features(model, part, 2), expected.detach(), rtol=1e-5, atol=1e-6)


def test_features_stand_side_by_side_one_network_at_a_time():
    built = []

    def member(seed):
        def build():
            built.append(seed)
            return network(seed)

        return build

    parts = {"train": data(12), "test": data(6, 1)}
    found = concatenate([member(1), member(2)], parts, batch_size=5)
    assert built == [1, 2]
    assert found["train"].shape == (12, 14, 1, 1)
    expected = torch.cat([features(network(seed), parts["test"], 6) for seed in (1, 2)], dim=1)
    torch.testing.assert_close(found["test"].images.flatten(1), expected)
    assert torch.equal(found["test"].targets, parts["test"].targets)


def test_batches_of_features_are_rows_in_the_order_asked_for():
    part = ResidentFeatures(torch.arange(10.0).reshape(5, 2), torch.tensor([[0], [1], [0], [1], [1]]))
    taken = list(part.batches(torch.tensor([4, 0, 0]), 2))
    assert [len(x) for x, _ in taken] == [2, 1]
    assert taken[0][0].flatten(1).tolist() == [[8.0, 9.0], [0.0, 1.0]]
    assert taken[0][1].tolist() == [[1.0], [0.0]]


def simulated(n, seed):
    rng = np.random.default_rng(seed)
    given = torch.from_numpy(rng.normal(5, [1, 10, 0.1, 0], (n, 4))).float()
    log_odds = (given[:, 0] - 5) * 2 - (given[:, 1] - 5) * 0.1 + 0.5
    targets = torch.from_numpy(rng.random(n)).float() < log_odds.sigmoid()
    return ResidentFeatures(given, targets[:, None].to(torch.uint8))


def fitted(folder, settings=SETTINGS, **changes):
    parts = {"train": simulated(600, 0), "val": simulated(300, 1)}
    loss = losses.create("bce", {}, "multilabel")
    options = {"lr": 0.05, "settings": settings, "seed": 3, "checkpoint": Checkpoint(folder, "key")} | changes
    return parts, *fit_head(parts, np.ones(600, np.int64), loss, **options)


def test_the_head_is_the_logistic_regression_of_the_features(tmp_path):
    parts, head, found = fitted(tmp_path)
    x = parts["train"].images.flatten(1).numpy().astype(float)
    varies = x.std(0) > 0
    assert varies.tolist() == [True, True, True, False]
    standard = (x[:, varies] - x[:, varies].mean(0)) / x[:, varies].std(0)
    model = LogisticRegression(C=1e6, max_iter=1000, tol=1e-10)
    expected = model.fit(standard, parts["train"].targets[:, 0].numpy()).decision_function(standard)
    logits = head_logits(head, parts["train"], 64)
    assert logits.dtype == np.float32
    # The loop keeps the best epoch by validation AUROC, not the last: near the regression, not at it.
    assert np.corrcoef(logits[:, 0], expected)[0, 1] > 0.999
    assert found.history[-1]["train_loss"] == pytest.approx(
        functional.binary_cross_entropy_with_logits(
            torch.from_numpy(expected), parts["train"].targets[:, 0].double()
        ).item(),
        abs=5e-3,
    )
    assert not head.training


def test_two_fits_are_equal_to_the_bit_and_a_seed_decides_the_order(tmp_path):
    short = SETTINGS.model_copy(update={"epochs": 3})
    heads = [fitted(tmp_path / str(i), short, seed=s)[1] for i, s in enumerate((3, 3, 4))]
    assert torch.equal(heads[0].linear.weight, heads[1].linear.weight)
    assert not torch.equal(heads[0].linear.weight, heads[2].linear.weight)


def test_augmentation_is_off_whatever_the_study_says(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "fit", lambda *a, settings, **k: seen.append(settings) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fitted(tmp_path, SETTINGS.model_copy(update={"augment": Augment(rotation=20, shift=0.1, brightness=0.2)}))
    assert seen[0].augment.operations() == {}
    assert seen[0].epochs == SETTINGS.epochs


def test_images_that_are_never_drawn_do_not_standardise(tmp_path):
    parts = {"train": simulated(40, 0), "val": simulated(40, 1)}
    parts["train"].images[30:] += 1000
    copies = np.array([1] * 30 + [0] * 10)
    loss, short = losses.create("bce", {}, "multilabel"), SETTINGS.model_copy(update={"epochs": 3})
    head, _ = fit_head(parts, copies, loss, lr=0.1, settings=short, seed=0, checkpoint=Checkpoint(tmp_path, "key"))
    torch.testing.assert_close(head.mean, parts["train"].images[:30].flatten(1).mean(0))


def test_an_ensemble_of_features_learns_from_trained_networks(tmp_path):
    """From images to logits of the test part: random networks' features tell which half is bright."""
    parts = {"train": data(120, 0), "val": data(60, 1), "test": data(60, 2)}
    wide = {"options": {"filters": [4], "hidden": 48}}
    made = concatenate([lambda: network(1, **wide), lambda: network(2, **wide)], parts, batch_size=32)
    loss = losses.create("bce", {}, "multilabel")
    head, _ = fit_head(
        made, np.ones(120, np.int64), loss, lr=0.05, settings=SETTINGS, seed=1, checkpoint=Checkpoint(tmp_path, "key")
    )
    called = head_logits(head, made["test"], 32) > 0
    assert (called == parts["test"].targets.numpy()).mean() > 0.85
