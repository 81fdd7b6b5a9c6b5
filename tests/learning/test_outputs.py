"""Output layers of ordered classes: probabilities, the losses on top of them, and networks that have them."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from pipeline.learning import losses
from pipeline.learning.networks import models, outputs
from pipeline.learning.settings import Model, Train
from pipeline.learning.training import optimizers
from pipeline.study.params import ParamsError

SCORES = torch.tensor([[-1.3], [0.2], [2.5], [0.7]], dtype=torch.float64)
THRESHOLDS = [-1.5, 0.1, 0.4, 2.0]
CONDITIONAL = torch.tensor(
    [[0.3, -1.2, 2.0, 0.1], [1.5, 0.4, -0.7, 0.9], [2.2, 1.1, 0.6, -0.3], [-0.8, 0.5, 1.0, 3.0]], dtype=torch.float64
)
GRADES = torch.eye(5, dtype=torch.float64)[[0, 2, 4, 1]]


def cumulative():
    """The layer with the thresholds above."""
    layer = outputs.Cumulative(5).double()
    gaps = torch.tensor(THRESHOLDS, dtype=torch.float64).diff() - outputs.LEAST_GAP
    layer.first.data, layer.gaps.data = torch.tensor(THRESHOLDS[:1], dtype=torch.float64), gaps.expm1().log()
    return layer


def create(kind):
    return losses.create(kind, {}, "multiclass", ordered=True)


def test_classes_of_a_score_are_differences_of_cumulative_probabilities():
    beyond = expit(SCORES.numpy() - THRESHOLDS)
    expected = -np.diff(np.hstack([np.ones((4, 1)), beyond, np.zeros((4, 1))]))
    np.testing.assert_allclose(cumulative()(SCORES).exp().detach(), expected, rtol=1e-10)


def test_classes_of_conditional_logits_follow_the_chain_rule():
    beyond = np.cumprod(expit(CONDITIONAL.numpy()), axis=1)
    expected = -np.diff(np.hstack([np.ones((4, 1)), beyond, np.zeros((4, 1))]))
    np.testing.assert_allclose(outputs.Conditional()(CONDITIONAL).exp(), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("kind", "logits", "published"),
    [
        ("coral", cumulative()(SCORES).detach(), 1.4295945732280482),
        ("corn", outputs.Conditional()(CONDITIONAL), 0.5801409313703114),
    ],
)
def test_the_losses_have_the_values_of_coral_pytorch_1_4_0(kind, logits, published):
    """``coral_loss(scores - thresholds, levels)`` and ``corn_loss(logits, [0, 2, 4, 1], 5)``, float64."""
    assert create(kind)(logits, GRADES).item() == pytest.approx(published, rel=1e-9)


@pytest.mark.parametrize("output", [outputs.CUMULATIVE, outputs.CONDITIONAL])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_any_numbers_give_finite_log_probabilities_and_gradients(output, classes):
    layer = outputs.create(output, classes)
    size = outputs.head_size(output, classes)
    for scale in (0.0, 1.0, 1e2, 1e4):
        for sign in (-1.0, 1.0):
            given = (torch.linspace(sign, -0.3 * sign, 3 * size).reshape(3, size) * scale).requires_grad_()
            made = layer(given)
            assert made.shape == (3, classes)
            np.testing.assert_allclose(made.detach().double().exp().sum(1), 1, atol=1e-5)
            made.square().mean().backward()
            assert torch.isfinite(made).all()
            assert torch.isfinite(given.grad).all()


def test_classes_begin_equally_likely_and_thresholds_stay_ordered_whatever_is_learned():
    layer = outputs.Cumulative(4)
    np.testing.assert_allclose(layer(torch.zeros(1, 1)).exp().detach(), [[0.25] * 4], atol=1e-6)
    layer.gaps.data.fill_(-100)
    assert (layer.thresholds().diff() > 0).all()
    assert torch.isfinite(layer(torch.zeros(1, 1))).all()


def test_the_head_of_a_network_follows_its_loss_and_a_file_of_weights_says_so(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32), np.uint8)
    some = torch.rand(3, 1, 32, 32)
    settings = Model(arch="baseline_cnn", lr=0.1, options={"filters": [4]})
    for kind, size in (("coral", 1), ("cumulative_link", 1), ("corn", 4), ("soft_ordinal", 5), ("ce", 5)):
        output = create(kind).output
        model = models.build("m", settings, 1, 5, 32, images, output).eval()
        assert model.backbone(some).shape == (3, size)
        file = tmp_path / f"{kind}.safetensors"
        models.save(file, model.state_dict(), {"output": output} if output != outputs.CLASSES else {})
        again = models.rebuild("m", settings, 5, 32, file)
        assert torch.equal(again(some), model(some))
        assert model(some).shape == (3, 5)


def test_thresholds_are_trained_also_with_rates_by_layer():
    images = np.zeros((2, 64, 64), np.uint8)
    settings = Model(arch="resnet10t", lr=0.1)
    model = models.build("m", settings, 1, 4, 64, images, outputs.CUMULATIVE)
    asked = Train(epochs=2, batch_size=2, layer_decay=0.5)
    trained = {id(p) for g in optimizers.create(model, 0.1, 0.2, asked).param_groups for p in g["params"]}
    assert trained == {id(p) for p in model.parameters()}
    assert {id(p) for p in model.output.parameters()} <= {id(p) for p in model.head_parameters()}


def test_losses_of_ordered_classes_are_refused_where_there_is_no_order():
    for kind in ("coral", "corn", "cumulative_link", "soft_ordinal"):
        with pytest.raises(ParamsError, match=rf"study\.losses: 'mine' \({kind}\).*ordered classes.*task: ordinal"):
            losses.create("mine", {"kind": kind}, "multiclass")
    with pytest.raises(ParamsError, match=r"use one of these kinds:(?!.*coral)"):
        losses.create("zlpr", {}, "multiclass")


def test_soft_labels_of_the_paper():
    """Diaz & Marathe 2019: the softmax of the negative distance; of the middle of three grades, squared."""
    e = np.exp(-1)
    shares = np.array([e, 1, e]) / (1 + 2 * e)
    logits = torch.tensor([[0.3, -0.2, 1.1]], dtype=torch.float64)
    expected = -(shares * logits.log_softmax(1).numpy()).sum()
    assert create("soft_ordinal")(logits, torch.tensor([[0.0, 1, 0]])).item() == pytest.approx(expected)
