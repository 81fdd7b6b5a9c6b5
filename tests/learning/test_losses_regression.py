"""Losses of a number per image, against closed forms in float64 and torch's own."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.nn import functional

from pipeline.learning import losses
from pipeline.learning.networks import models, outputs
from pipeline.learning.settings import Model
from pipeline.study.params import ParamsError

SD = 7.5
"""Of the target in the training part."""


def batch(n=9, seed=0):
    """Values, spreads and targets in the unit of the target, float64 [n, 1] each."""
    rng = np.random.default_rng(seed)
    arrays = rng.normal(80, 10, n), rng.uniform(1, 20, n), rng.normal(80, 10, n)
    return [torch.tensor(a)[:, None] for a in arrays]


def create(kind, **settings):
    return losses.create(kind, settings, "regression").standardised(SD)


def huber(error, delta):
    return sum(0.5 * e**2 if abs(e) <= delta else delta * (abs(e) - 0.5 * delta) for e in error) / len(error)


@pytest.mark.parametrize("delta", [0.3, 1.0, 50.0])
def test_huber_is_its_formula_and_torchs(delta):
    values, _, targets = batch()
    got = create("huber", delta=delta)(values, targets).item()
    assert got == pytest.approx(huber(((values - targets) / SD)[:, 0].tolist(), delta), rel=1e-12)
    assert got == pytest.approx(functional.huber_loss(values / SD, targets / SD, delta=delta).item(), rel=1e-12)


def test_l1_is_the_mean_absolute_error_in_standard_deviations():
    values, _, targets = batch()
    expected = np.abs(values.numpy() - targets.numpy()).mean() / SD
    assert create("l1")(values, targets).item() == pytest.approx(expected, rel=1e-12)


def test_gaussian_nll_is_the_density_of_a_normal_distribution_and_torchs():
    values, spreads, targets = batch()
    got = create("gaussian_nll")(torch.cat([values, spreads], 1), targets).item()
    density = norm.logpdf(targets.numpy() / SD, values.numpy() / SD, spreads.numpy() / SD)
    assert got == pytest.approx(-density.mean() - 0.5 * np.log(2 * np.pi), rel=1e-12)
    of_torch = functional.gaussian_nll_loss(values / SD, targets / SD, (spreads / SD) ** 2, eps=1e-12)
    assert got == pytest.approx(of_torch.item(), rel=1e-9)


@pytest.mark.parametrize("kind", ["l1", "huber", "gaussian_nll"])
def test_gradients_equal_finite_differences_and_a_unit_changes_nothing(kind):
    values, spreads, targets = batch()
    given = torch.cat([values, spreads], 1) if kind == "gaussian_nll" else values
    loss = create(kind)
    torch.autograd.gradcheck(lambda z: loss(z, targets), given.clone().requires_grad_())
    in_mm = losses.create(kind, {}, "regression").standardised(10 * SD)
    assert in_mm(10 * given, 10 * targets).item() == pytest.approx(loss(given, targets).item(), rel=1e-12)


def test_what_does_not_fit_is_refused():
    values, _, targets = batch()
    with pytest.raises(ValueError, match=r"must be \[N, 2\] and \[N, 1\]"):
        create("gaussian_nll")(values, targets)
    with pytest.raises(ParamsError, match=r"'ce' \(ce\) is not defined for a regression.*gaussian_nll, huber, l1"):
        losses.create("ce", {}, "regression")
    with pytest.raises(ParamsError, match=r"'l1' \(l1\) is not defined for a multiclass"):
        losses.create("l1", {}, "multiclass")


@pytest.mark.parametrize("kind", ["l1", "gaussian_nll"])
def test_a_network_gives_the_unit_of_the_target_and_its_scale_is_saved(kind, tmp_path):
    output = losses.loss_class(kind).output
    settings = Model(arch="baseline_cnn", lr=0.1, options={"filters": [4]})
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32), np.uint8)
    model = models.build("m", settings, 1, 1, 32, images, output).eval()
    model.output.scaled(80.0, SD)
    some = torch.rand(3, 1, 32, 32)
    raw, made = model.backbone((some - model.mean) / model.std), model(some)
    torch.testing.assert_close(made[:, 0], raw[:, 0] * SD + 80)
    if kind == "gaussian_nll":
        torch.testing.assert_close(made[:, 1], raw[:, 1].exp() * SD)
    models.save(tmp_path / "m.safetensors", model.state_dict(), {"output": output})
    assert torch.equal(models.rebuild("m", settings, 1, 32, tmp_path / "m.safetensors")(some), made)


def test_extreme_spreads_stay_finite():
    layer = outputs.Standardised()
    given = torch.tensor([[0.0, -1e4], [0.0, 1e4], [1e4, 0.0]]).requires_grad_()
    made = layer(given)
    assert (made[:, 1] > 0).all()
    losses.create("gaussian_nll", {}, "regression")(made, torch.zeros(3, 1)).backward()
    assert torch.isfinite(given.grad).all()
