"""Checks of heat maps: networks and maps whose answers are known, and scipy."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from pipeline.checking.mistakes import Decisions
from pipeline.explaining import checks
from pipeline.explaining.examples import KINDS, examples, spread_out
from pipeline.explaining.maps import Mapper
from pipeline.explaining.occlusion import Occluder
from pipeline.learning.networks.models import Classifier

RNG = np.random.default_rng(8)
HEAD = ""


def linear(weight):
    """A network whose logit 0 is the sum of `weight` [H, W] times the image, and whose logit 1 is 0."""
    flat = nn.Linear(weight.size, 2)
    with torch.no_grad():
        flat.weight.copy_(torch.from_numpy(np.stack([weight.ravel(), 0 * weight.ravel()])))
        flat.bias.zero_()
    return Classifier(nn.Sequential(nn.Flatten(), flat), torch.zeros(1), torch.ones(1), HEAD).eval()


def small():
    torch.manual_seed(1)
    body = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    )
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return Classifier(nn.Sequential(*body, *head), torch.zeros(1), torch.ones(1), HEAD).eval()


def test_similarity_is_the_rank_correlation_of_scipy():
    first, second = RNG.random((5, 4, 3)), RNG.random((5, 4, 3)).round(1)
    second[3] = 1
    found = checks.similarity(first, second)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first[[0, 1, 2, 4]], second[[0, 1, 2, 4]])]
    np.testing.assert_allclose(found[[0, 1, 2, 4]], expected)
    assert np.isnan(found[3])


def test_deletion_and_insertion_of_a_network_that_adds_up():
    """Only the left half counts. A map of it loses everything in the first half of the deletion, its opposite in the
    second: the areas follow from the trapezoidal rule of a sigmoid along a line.
    """
    weight = np.zeros((10, 10), np.float32)
    weight[:, :5] = 0.08
    images = np.ones((1, 1, 10, 10), np.float32)
    left = np.zeros((1, 10, 10), np.float32)
    left[:, :, :5] = 1

    def sigmoid(x):
        return 1 / (1 + np.exp(-np.asarray(x)))

    falling = np.r_[np.linspace(4, 0, 6), np.zeros(5)]
    deletion, insertion = checks.curves([linear(weight)], images, np.array([0]), left, "multilabel")
    assert deletion[0] == pytest.approx(np.trapezoid(sigmoid(falling), dx=0.1), abs=1e-6)
    worst, _ = checks.curves([linear(weight)], images, np.array([0]), 1 - left, "multilabel")
    late = np.r_[np.full(6, 4.0), np.linspace(4, 0, 6)[1:]]
    assert worst[0] == pytest.approx(np.trapezoid(sigmoid(late), dx=0.1), abs=1e-6)
    # A blurred constant is that constant, so that nothing is gained by putting it in.
    assert insertion[0] == pytest.approx(sigmoid(4), abs=1e-6)
    of_two, _ = checks.curves([linear(weight), linear(0 * weight)], images, np.array([0]), left, "multiclass")
    assert of_two[0] == pytest.approx((np.trapezoid(sigmoid(falling), dx=0.1) + 0.5) / 2, abs=1e-6)


def test_the_border():
    heats = np.zeros((3, 20, 20), np.float32)
    heats[0, 0, 0] = heats[1, 10, 10] = 1
    shares, area = checks.outside(heats)
    assert shares[:2].tolist() == [1, 0]
    assert np.isnan(shares[2])
    assert area == pytest.approx(1 - 0.8**2)
    assert checks.outside(np.ones((1, 20, 20), np.float32))[0][0] == pytest.approx(area)


def test_weights_become_random_from_the_output_backwards():
    network = small()
    before = copy.deepcopy(network.state_dict())
    changed = {
        name: sorted({key.split(".")[1] for key, value in made.state_dict().items() if not value.equal(before[key])})
        for name, made in checks.randomised(network, 3)
    }
    # Of the layers 0 (convolution), 1 (normalisation, whose weights are what they are before training), 3 and 7.
    assert changed["output layer"] == ["7"]
    assert changed["last half"] == ["3", "7"]
    assert changed["all"] == ["0", "3", "7"]
    assert all(value.equal(before[key]) for key, value in network.state_dict().items())
    again = [made.state_dict()["backbone.7.weight"].clone() for _, made in checks.randomised(network, 3)]
    assert all(again[0].equal(each) for each in again)


def test_every_check_of_a_network():
    images = RNG.random((12, 1, 16, 16), dtype=np.float32)
    of = checks.Checked(images, RNG.integers(0, 3, 12), np.arange(12).astype(str), "multilabel")
    networks = [small(), small()]

    def make(some):
        return Mapper(some, (1, 16, 16))

    table = checks.check(make, networks, of, draws=200)
    value = table.set_index(["check", "step"])["value"]
    assert value["agreement", ""] == pytest.approx(1)  # the same weights
    assert value["random weights", "all"] < 0.95
    assert value["deletion", "map - random order"] == pytest.approx(
        value["deletion", "map"] - value["deletion", "random order"]
    )
    assert 0 < value["border", "map"] < 1
    assert (table["images"] <= 12).all()
    assert (table.query("check == 'deletion'")["low"] <= table.query("check == 'deletion'")["value"]).all()


def test_occlusion_finds_what_a_linear_network_looks_at():
    """Covering a patch with 0 takes away its sum: the map is the weight, smoothed over the patches."""
    weight = np.zeros((16, 16), np.float32)
    weight[4:6, 10:12] = 1
    images = np.ones((2, 1, 16, 16), np.float32)
    with Occluder([linear(weight)], (1, 16, 16)) as maps:
        found = maps.paired(images, np.array([0, 1]))
    assert found.shape == (1, 2, 16, 16)
    assert np.unravel_index(found[0, 0].argmax(), (16, 16)) in [(y, x) for y in (4, 5) for x in (10, 11)]
    assert found[0, 0].max() == 1
    assert not found[0, 0, 8:].any()
    assert not found[0, 1].any()


def decisions(truth, probability, cut):
    """What one training run decides of one class."""
    n = np.arange(len(truth))
    return Decisions("multilabel", ("a",), (1,), n, n.astype(str), truth, probability[None], np.array([[cut]]))


def test_examples_are_chosen_by_rule():
    """Positives are the even places, calls those from 10 on: of true positives 10, 12 ... 20 are quantiles 0 to 1."""
    probability = np.linspace(0, 1, 21)[:, None]
    truth = (np.arange(21) % 2 == 0)[:, None]
    chosen = examples(decisions(truth, probability, 0.5))
    by_kind = {kind: [each.place for each in chosen if each.kind == kind] for kind in KINDS}
    assert by_kind == {
        "true positive": [10, 14, 18],
        "false positive": [11, 15, 19],
        "false negative": [0, 4, 8],
        "true negative": [9],
    }
    one = examples(decisions(truth[:1], probability[:1], 2))
    assert [(each.kind, each.place) for each in one] == [("false negative", 0)]


def test_checked_images_are_spread_over_the_order_of_probability():
    probability = np.column_stack([np.linspace(1, 0, 100), np.full(100, 0.3)])
    places, classes = spread_out(probability, 5)
    assert len(places) == 5
    assert probability[places].max(axis=1).tolist() == sorted(probability[places].max(axis=1))
    assert classes[-1] == 0
    assert classes[0] == 1
    assert len(spread_out(probability[:3], 10)[0]) == 3


def test_maps_that_are_the_same_everywhere_say_nothing():
    level = np.full((3, 6, 6), 0.5, np.float32)
    assert checks.say_nothing(level)
    assert checks.say_nothing(np.pad(level, ((0, 0), (1, 1), (1, 1))), margin=(1, 1))
    assert not checks.say_nothing(np.pad(level, ((0, 0), (1, 1), (1, 1))))
    level[1, 2, 3] = 1  # one that varies is enough
    assert not checks.say_nothing(level)
