import numpy as np
import pytest
import torch

from pipeline.learning.training import optimizers, schedules
from tests.learning.tiny_training import LR, STEPS, changed, network, run

EPOCHS = 6
SCHEDULES = ["cosine", "one_cycle", "plateau", "constant"]


def warm_up(step, warmup):
    """Share of the highest rate: from 1/warmup in equal steps to 1."""
    first = 1 / warmup
    return first + (1 - first) * step / warmup


def trace(settings, metrics=(), head_lr=None, steps=STEPS):
    """Rates [step, group] and momenta [step] that the schedule sets."""
    optimizer = optimizers.create(network(), LR, head_lr, settings)
    schedule = schedules.create(optimizer, settings, steps)
    rates, momenta = [], []
    for epoch in range(1, settings.epochs + 1):
        for step in range(steps):
            schedule.set((epoch - 1) * steps + step)
            rates.append([group["lr"] for group in optimizer.param_groups])
            group = optimizer.param_groups[0]
            momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
            optimizer.step()
        schedule.epoch_ended(epoch * steps, metrics[epoch - 1] if len(metrics) else 0.5)
    return np.array(rates), np.array(momenta)


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.6, 2.0])
def test_cosine(warmup_epochs):
    rates, _ = trace(changed(epochs=EPOCHS, warmup_epochs=warmup_epochs))
    warmup, total = round(warmup_epochs * STEPS), EPOCHS * STEPS
    expected = [warm_up(t, warmup) if t < warmup else (1 + np.cos(np.pi * t / total)) / 2 for t in range(total)]
    np.testing.assert_allclose(rates[:, 0], LR * np.array(expected), rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_training_of_one_step_is_at_the_highest_rate(schedule):
    rates, _ = trace(changed(epochs=1, schedule=schedule, warmup_epochs=0.25), steps=1)
    np.testing.assert_allclose(rates[:, 0], [LR])


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.6, 2.0])
def test_constant(warmup_epochs):
    rates, _ = trace(changed(epochs=EPOCHS, schedule="constant", warmup_epochs=warmup_epochs))
    warmup = round(warmup_epochs * STEPS)
    expected = [warm_up(t, warmup) if t < warmup else 1.0 for t in range(EPOCHS * STEPS)]
    np.testing.assert_allclose(rates[:, 0], LR * np.array(expected), rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_one_cycle_moves_rate_and_momentum_against_each_other(optimizer):
    rates, momenta = trace(changed(epochs=EPOCHS, schedule="one_cycle", warmup_epochs=2.0, optimizer=optimizer))
    total = EPOCHS * STEPS
    top = 2 * STEPS - 1  # the last step of the rise
    up, down = np.arange(top + 1) / top, (np.arange(top + 1, total) - top) / (total - 1 - top)

    def cosine(start, end, share):
        return end + (start - end) * (1 + np.cos(np.pi * share)) / 2

    low, lowest = LR / 25, LR / 25 / 1e4
    np.testing.assert_allclose(rates[:, 0], np.r_[cosine(low, LR, up), cosine(LR, lowest, down)], rtol=1e-9)
    np.testing.assert_allclose(momenta, np.r_[cosine(0.95, 0.85, up), cosine(0.85, 0.95, down)], rtol=1e-12)
    assert rates[top, 0] == pytest.approx(LR)
    assert rates[-1, 0] == pytest.approx(lowest)


@pytest.mark.parametrize("warmup_epochs", [0.0, 1 / STEPS])
def test_one_cycle_without_a_rise_falls_from_the_first_step(warmup_epochs):
    rates, momenta = trace(changed(epochs=EPOCHS, schedule="one_cycle", warmup_epochs=warmup_epochs))
    assert (np.diff(rates[:, 0]) < 0).all()
    assert (np.diff(momenta) > 0).all()
    assert 0.99 * LR < rates[0, 0] < LR


def test_one_cycle_leaves_a_momentum_of_0_alone():
    _, momenta = trace(changed(schedule="one_cycle", optimizer="sgd", momentum=0.0))
    assert (momenta == 0).all()


def falls(metrics, patience, first):
    """Rate of each epoch as a share of the highest, counted by hand: a tenth after each run of bad epochs."""
    shares, best, bad, share = [], -np.inf, 0, 1.0
    for epoch, metric in enumerate(metrics, 1):
        shares.append(share)
        if epoch < first:
            continue
        better = metric > best
        best, bad = (metric, 0) if better else (best, bad + 1)
        if bad > patience:
            share, bad = share * 0.1, 0
    return np.array(shares)


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("warmup_epochs", [0.0, 2.0])
def test_plateau_falls_by_the_factor_after_more_bad_epochs_than_patience(patience, warmup_epochs):
    rng = np.random.default_rng(patience)
    for _ in range(5):
        metrics = rng.choice([0.5, 0.6, 0.7, 0.7001, 0.8, np.nan], 12)
        settings = changed(
            epochs=12, schedule="plateau", warmup_epochs=warmup_epochs, plateau={"factor": 0.1, "patience": patience}
        )
        rates, _ = trace(settings, metrics)
        warmup = round(warmup_epochs * STEPS)
        expected = np.repeat(falls(metrics, patience, first=1 + round(warmup_epochs)), STEPS)
        expected[:warmup] = [warm_up(t, warmup) for t in range(warmup)]
        np.testing.assert_allclose(rates[:, 0], LR * expected, rtol=1e-12)


def test_plateau_takes_the_smallest_gain_for_a_gain_and_goes_below_any_floor():
    gains = 0.5 + 1e-9 * np.arange(12)
    settings = changed(epochs=12, schedule="plateau", warmup_epochs=0.0, plateau={"factor": 0.01, "patience": 0})
    assert (trace(settings, gains)[0] == LR).all()
    assert trace(settings, np.full(12, 0.5))[0][-1, 0] == pytest.approx(LR * 0.01**10)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("head_lr", [LR / 10, 3 * LR])
def test_the_head_has_the_same_share_of_its_own_rate(schedule, head_lr):
    settings = changed(epochs=EPOCHS, schedule=schedule, warmup_epochs=2.0, plateau={"patience": 0})
    rates, _ = trace(settings, head_lr=head_lr)
    assert rates.shape[1] == 4  # body and head, decayed or not
    np.testing.assert_array_equal(rates[:, 0], rates[:, 1])
    np.testing.assert_allclose(rates[:, 2:] / rates[:, :2], head_lr / LR, rtol=1e-12)
    np.testing.assert_array_equal(rates[:, 0], trace(settings)[0][:, 0])


def test_groups_hold_each_trainable_parameter_once_and_decay_no_bias_and_no_norm():
    model = network()
    model.body[0].weight.requires_grad_(False)
    optimizer = optimizers.create(model, LR, 5 * LR, changed(weight_decay=0.3))
    found = {id(p): (g["weight_decay"], g.get("lr_scale", 1.0)) for g in optimizer.param_groups for p in g["params"]}
    names = {n: found[id(p)] for n, p in model.named_parameters() if id(p) in found}
    assert names == {
        "body.1.weight": (0.0, 1.0),
        "body.1.bias": (0.0, 1.0),
        "head.weight": (0.3, 5.0),
        "head.bias": (0.0, 5.0),
    }
    assert sum(len(g["params"]) for g in optimizer.param_groups) == 4


def test_a_training_of_the_head_alone_reports_the_rate_of_the_head(tmp_path):
    model = network()
    model.body.requires_grad_(False)
    before = {k: v.clone() for k, v in model.body.named_parameters()}
    fitted = run(tmp_path, changed(schedule="constant", warmup_epochs=0.0, ema=0.9), model=model, head_lr=0.5)
    assert [row["lr"] for row in fitted.history] == pytest.approx([0.5] * 4)
    assert all(torch.equal(fitted.state[f"body.{k}"], v) for k, v in before.items())
    assert not torch.equal(fitted.state["head.weight"], network().head.weight)
