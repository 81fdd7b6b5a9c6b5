"""Recipes of training: what each does to a step, against a plain computation; all of them across a kill."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from timm.layers import DropPath
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from pipeline.learning import losses
from pipeline.learning.images.resizing import shrunk, side
from pipeline.learning.networks.baseline_cnn import BaselineCNN
from pipeline.learning.networks.models import check_smaller
from pipeline.learning.settings import Model, Progressive
from pipeline.learning.training import averaging, optimizers
from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.weights import ModelError
from tests.learning.test_resume import end_alike
from tests.learning.tiny_training import LR, STEPS, changed, data, network, run, same

SGD = {
    "epochs": 1,
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
}


def plain_network():
    """Without batch normalisation and dropout, whose outputs depend on the size of a batch."""
    model = network()
    model.body[1], model.body[-1] = nn.Identity(), nn.Identity()
    return model


@pytest.mark.parametrize(("size", "batches", "images"), [(8, 2, 41), (2, 4, 27), (4, 3, 24)])
def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path, size, batches, images):
    ends, seen = [], []
    for number, (batch, accumulate) in enumerate([(size, batches), (size * batches, 1)]):
        model = plain_network()
        model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])) if module.training else None)
        settings = changed(**SGD, batch_size=batch, accumulate=accumulate, clip_grad=0.5)
        ends.append(run(tmp_path / str(number), settings, model=model, train=data(images), lr=0.1))
    torch.testing.assert_close(ends[0].state, ends[1].state, rtol=1e-5, atol=1e-6)
    assert ends[0].history[0]["train_loss"] == pytest.approx(ends[1].history[0]["train_loss"], rel=1e-6)
    assert min(seen) > 1
    steps = -(-images // (size * batches))
    assert max(seen) == -(-images // steps)


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_parts_of_a_batch_add_up_to_it_where_images_answer_unequally_many_questions(weights):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(23, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    targets = torch.eye(4, dtype=torch.float64)[torch.randint(0, 4, (23,), generator=rng)]
    counted = targets.numpy().astype(np.uint8), np.ones(23, np.int64)
    for kind in ("corn", "coral", "cumulative_link", "soft_ordinal"):
        loss = losses.for_training(kind, {}, "multiclass", *counted, weights, True)
        whole = loss(logits, targets)
        parts = sum(
            loss.of_part(*(each[a:b] for each in (logits, targets)), targets) for a, b in ((0, 6), (6, 12), (12, 23))
        )
        torch.testing.assert_close(parts, whole, msg=kind)
        torch.testing.assert_close(*(torch.autograd.grad(each, logits)[0] for each in (parts, whole)), msg=kind)


class Whole(nn.Module):
    """As a `Classifier` holds its network."""

    def __init__(self, backbone, head):
        super().__init__()
        self.backbone, self.head = backbone, head

    def head_parameters(self):
        return self.backbone.get_submodule(self.head).parameters()


def shares(model, **keys):
    """Learning rate of each parameter at its highest, as a share of that of the body."""
    optimizer = optimizers.create(model, LR, keys.pop("head_lr", None), changed(**keys))
    of = {id(p): group.get("lr_scale", 1.0) for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(of)
    return {name: of.get(id(p)) for name, p in model.backbone.named_parameters()}, optimizer


LAYERS = [  # counted by hand: part of a name, and how many layers lie above it
    ("resnet18", "fc", {"conv1.": 9, "bn1.": 9, "layer1.0.": 8, "layer2.1.": 5, "layer4.1.": 1, "fc.": 0}),
    (
        "vit_tiny_patch16_224",
        "head",
        {"cls_token": 13, "patch_embed.": 13, "blocks.0.": 12, "blocks.11.": 1, "head.": 0},
    ),
    ("densenet121", "classifier", {"features.conv0.": 5, "features.denseblock1.denselayer1.": 4, "classifier.": 0}),
    (None, "classifier", {"features.0.": 4, "features.1.": 4, "features.8.": 2, "hidden.": 1, "classifier.": 0}),
]


@pytest.mark.parametrize(("arch", "head", "above"), LAYERS, ids=[str(layers[0]) for layers in LAYERS])
@pytest.mark.parametrize("head_lr", [None, 3 * LR])
def test_each_layer_has_the_rate_of_the_next_one_times_the_decay(arch, head, above, head_lr):
    if arch is None:
        backbone = BaselineCNN(1, 2, filters=[2, 2, 2], batch_norm=True).build_for(1, 32)
    else:
        import timm

        options = {"growth_rate": 4, "block_config": (1, 1, 1, 1)} if arch == "densenet121" else {}
        with torch.device("meta"):
            backbone = timm.create_model(arch, num_classes=2, **options)
    found, optimizer = shares(Whole(backbone, head), layer_decay=0.5, head_lr=head_lr)
    for part, number in above.items():
        of_part = {share for name, share in found.items() if name.startswith(part)}
        assert of_part == {3.0 if head_lr and number == 0 else 0.5**number}, part
    assert {group["lr_scale"] for group in optimizer.param_groups if group["lr_scale"] < 1}.isdisjoint({0.0})
    assert optimizer.param_groups[0]["lr_scale"] == max(s for s in found.values() if s <= 1)
    assert all((group["weight_decay"] > 0) == (group["params"][0].ndim > 1) for group in optimizer.param_groups)


def test_frozen_layers_have_no_rate_and_the_rest_keep_theirs():
    backbone = BaselineCNN(1, 2, filters=[2, 2, 2], batch_norm=True).build_for(1, 32)
    backbone.features.requires_grad_(False)
    found, _ = shares(Whole(backbone, "classifier"), layer_decay=0.5)
    assert {name.split(".")[0]: share for name, share in found.items()} == {
        "features": None,
        "hidden": 0.5,
        "classifier": 1.0,
    }


def test_a_decay_of_1_trains_as_without_it(tmp_path):
    first, second = (run(tmp_path / str(d), changed(epochs=2, layer_decay=d)) for d in (None, 1.0))
    torch.testing.assert_close(first.state, second.state, rtol=1e-6, atol=1e-7)


def test_the_decay_of_averages_rises_with_the_steps_of_all_epochs(tmp_path):
    seen = []
    settings = changed(ema=0.9, ema_warmup=True, epochs=3)
    model = network()

    def stepped(*_):
        seen.append({k: v.double().clone() for k, v in model.state_dict().items()})

    hook = register_optimizer_step_post_hook(stepped)
    try:
        run(tmp_path, settings, model=model)
    finally:
        hook.remove()
    average = seen[0]  # the first weights are forgotten
    for n, state in enumerate(seen[1:], 1):
        decay = min(0.9, 1 - (1 + n) ** (-2 / 3))
        average = {k: decay * average[k] + (1 - decay) * state[k] for k in state}
    saved = Checkpoint(tmp_path, "key").load()["averaged"]
    assert len(seen) == 3 * STEPS
    for key in average.keys() - {"body.1.num_batches_tracked"}:
        torch.testing.assert_close(saved[key].double(), average[key], rtol=1e-5, atol=1e-6)


def test_swa_averages_the_ends_of_epochs_at_a_constant_rate_and_measures_batch_norms(tmp_path, monkeypatch):
    ends, batches = [], []
    model = network()
    keep = lambda row: ends.append({k: v.double().clone() for k, v in model.state_dict().items()})  # noqa: E731
    measure = averaging.measure_batch_norms

    def measured(averaged, images, precision):
        batches.append([batch.clone() for batch in images()])
        measure(averaged, lambda: batches[-1], precision)

    monkeypatch.setattr(averaging, "measure_batch_norms", measured)
    settings = changed(epochs=6, swa=0.5, warmup_epochs=1.0)
    fitted = run(tmp_path / "swa", settings, model=model, report=keep)
    plain = run(tmp_path / "plain", changed(epochs=6, warmup_epochs=1.0))
    rates = [row["lr"] for row in fitted.history]
    assert rates[:3] == [row["lr"] for row in plain.history[:3]]
    assert rates[3:] == [rates[2]] * 3
    assert [row["val_loss"] for row in fitted.history[:3]] == [row["val_loss"] for row in plain.history[:3]]
    saved = Checkpoint(tmp_path / "swa", "key").load()["averaged"]
    for key, _ in model.named_parameters():
        mean = torch.stack([end[key] for end in ends[3:]]).mean(0)
        torch.testing.assert_close(saved[key].double(), mean, rtol=1e-5, atol=1e-6)
    averaged = network()
    averaged.load_state_dict(saved)
    with torch.no_grad():
        torch.optim.swa_utils.update_bn(batches[-1], averaged.eval())
    for key, value in averaged.state_dict().items():
        torch.testing.assert_close(saved[key], value, rtol=1e-5, atol=1e-6)
    assert [len(images) for images in batches] == [STEPS] * 3
    if fitted.best_epoch == 6:
        torch.testing.assert_close(fitted.state, saved)


@pytest.mark.parametrize("schedule", ["one_cycle", "plateau", "constant"])
def test_every_schedule_stays_where_averaging_begins(tmp_path, schedule):
    settings = changed(epochs=6, swa=0.5, schedule=schedule, warmup_epochs=1.0, plateau={"patience": 0})
    val = data(30, 1, 1 - data(30, 1).targets.numpy())  # it gets worse
    rates = [row["lr"] for row in run(tmp_path, settings, val=val).history]
    assert rates[3:] == [rates[3]] * 3
    assert rates[3] == pytest.approx(rates[2] * (0.1 if schedule == "plateau" else 1), rel=1e-9)


def test_averages_from_the_first_epoch_on_are_at_the_whole_rate(tmp_path):
    for schedule in ("cosine", "one_cycle", "plateau", "constant"):
        settings = changed(epochs=2, swa=0.25, schedule=schedule, warmup_epochs=0.0)
        rates = [row["lr"] for row in run(tmp_path / schedule, settings).history]
        assert rates == pytest.approx([LR, LR], rel=0.02), schedule


def test_frozen_batch_norms_keep_their_statistics_and_are_used_as_they_are():
    torch.manual_seed(0)
    frozen, measured = nn.BatchNorm2d(2), nn.BatchNorm2d(2, momentum=0.3)
    frozen.running_mean.copy_(torch.tensor([3.0, -2.0]))

    class Partly(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            frozen.eval()
            return self

    batches = [torch.randn(9, 2, 4, 4) for _ in range(3)]
    before = {k: v.clone() for k, v in frozen.state_dict().items()}
    averaging.measure_batch_norms(Partly(frozen, measured), lambda: batches, "float32")
    assert all(torch.equal(frozen.state_dict()[k], v) for k, v in before.items())
    expected = torch.stack([(batch - before["running_mean"][:, None, None]).mean((0, 2, 3)) for batch in batches])
    torch.testing.assert_close(measured.running_mean, expected.mean(0), rtol=1e-4, atol=1e-4)
    assert measured.momentum == 0.3
    assert not measured.training


def layered(seed=3):
    """The network with layers as timm's have them, for images of any size, with stochastic depth."""
    model = network(seed)
    model.body[3], model.body[5] = nn.AdaptiveMaxPool2d(3), nn.Sequential(DropPath(0.2), model.body[5])
    model.group_matcher = lambda coarse=False: {"stem": r"^body\.0", "body": r"^body\.(\d+)"}
    return model


RECIPES = {
    "accumulate": {"accumulate": 2},
    "layer_decay": {"layer_decay": 0.5},
    "ema_warmup": {"ema": 0.99, "ema_warmup": True},
    "mix": {"mix": {"mixup": 0.4, "cutmix": 1.0}},
    "swa": {"swa": 0.25},
    "swa, one_cycle": {"swa": 0.25, "schedule": "one_cycle"},
    "swa, plateau": {"swa": 0.5, "schedule": "plateau", "plateau": {"patience": 0}},
    "progressive": {"progressive": {}},
    "rand": {"augment": {"horizontal_flip": 0.0, "rand": {}}},
}


@pytest.mark.parametrize("keys", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("after", [1, 3])
def test_a_training_that_is_killed_resumes_to_the_same_bytes(tmp_path, keys, after):
    settings = changed(**{"ema": None, **keys}, warmup_epochs=0.4)

    def die(row):
        if row["epoch"] == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", settings, model=layered(), report=die)
    torch.rand(5)  # the generator of the process must not matter, nor the weights it starts from
    seen = []
    resumed = run(tmp_path / "killed", settings, model=layered(99), report=lambda row: seen.append(row["epoch"]))
    assert seen == list(range(after + 1, 5))
    undisturbed = run(tmp_path / "whole", settings, model=layered())
    assert same(resumed, undisturbed)
    assert end_alike(tmp_path / "killed", tmp_path / "whole")
    assert not same(undisturbed, run(tmp_path / "plain", changed(warmup_epochs=0.4), model=layered()))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"ema_warmup": True}, r"ema_warmup = true without ema; set .* ema: 0\.999"),
        ({"ema": 0.9, "swa": 0.5}, r"ema = 0\.9 and swa = 0\.5: two averages"),
        ({"swa": 0.1, "warmup_epochs": 1.0}, r"swa = 0\.1 with warmup_epochs = 1: .* at least 0\.25"),
        ({"swa": 0.25, "epochs": 2, "warmup_epochs": 0.5}, r"after 0 of 2 epochs, .* at least 0\.5, or .* at most 0"),
        ({"swa": 0.5, "epochs": 5, "warmup_epochs": 2.5}, r"after 2 of 5 epochs, .* at least 0\.6, or .* at most 2"),
        ({"swa": 0.5, "epochs": 1, "warmup_epochs": 0.25}, r"after 0 of 1 epochs, .*; warmup_epochs must be at most 0"),
        ({"augment": {"fill": "edge", "rand": {}}}, r"fill = edge with rand, which fills with black"),
        ({"mix": {"mixup": 0.0}}, r"mixup = 0 and cutmix = 0; one must be greater than 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(keys, said):
    with pytest.raises(ValidationError, match=said):
        changed(**keys)


def test_training_images_grow_and_validation_sees_all_of_them(tmp_path):
    sizes = {True: [], False: []}
    model = layered()
    model.register_forward_pre_hook(lambda module, inputs: sizes[module.training].append(inputs[0].shape[2:]))
    run(tmp_path, changed(epochs=4, progressive={"start": 0.5, "until": 0.5}), model=model)
    assert sizes[True] == [(8, 8)] * STEPS + [(16, 16)] * 3 * STEPS  # 12 px are between two multiples of 8
    assert set(sizes[False]) == {(16, 16)}


def test_sides_grow_in_a_straight_line_of_multiples():
    growing = Progressive(start=0.5, until=0.75)
    assert [side(224, growing, epoch, 8) for epoch in range(1, 9)] == [112, 128, 152, 168, 184, 208, 224, 224]
    assert [side(80, growing, epoch, 6) for epoch in range(1, 7)] == [40, 48, 56, 64, 72, 80]
    assert [side(100, Progressive(start=0.1, until=1.0), epoch, 2) for epoch in (1, 2)] == [8, 56]
    assert side(100, growing, 7, 8) == 100


def test_shrinking_is_that_of_torchvision_and_keeps_the_range():
    from torchvision.transforms.v2 import functional

    images = data(5).take(torch.arange(5))[0]
    made = shrunk(images, Progressive(start=0.5), 1, 4)
    torch.testing.assert_close(made, functional.resize(images, [8, 8], antialias=True), rtol=1e-5, atol=1e-6)
    assert shrunk(images, Progressive(start=0.5), 4, 4) is images


@pytest.mark.parametrize(
    ("arch", "said"),
    [("baseline_cnn", "takes images of 64 px and not of 32"), ("vit_tiny_patch16_224", "takes images of 64 px")],
)
def test_networks_of_one_size_are_refused(arch, said):
    options = {"filters": [2]} if arch == "baseline_cnn" else {"img_size": 64, "depth": 1, "embed_dim": 6}
    with pytest.raises(ModelError, match=rf"train\.progressive: models\.mine .{arch}. {said}"):
        check_smaller("mine", Model(arch=arch, lr=0.1, options=options), 1, 32, 64)


def test_other_networks_are_not():
    check_smaller("mine", Model(arch="resnet10t", lr=0.1), 1, 32, 64)
