import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from torch import nn

from pipeline.learning.images.loader import epoch_order
from pipeline.learning.networks.inference import predict
from pipeline.learning.session import compiled, set_arithmetic
from pipeline.learning.training import loop
from pipeline.learning.training.checkpoints import Checkpoint, fingerprint
from pipeline.learning.training.loop import Handling, derive
from pipeline.study.params import ParamsError
from tests.learning.tiny_training import (
    LR,
    SETTINGS,
    SIZES,
    STEPS,
    Network,
    Sharpening,
    changed,
    data,
    network,
    quadrants,
    run,
    same,
)

PLAIN = {"horizontal_flip": 0.0}


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_learns_what_can_be_learned_and_keeps_the_best_epoch(tmp_path):
    fitted = run(tmp_path, changed(epochs=8))
    curve = [row["val_auroc"] for row in fitted.history]
    assert max(curve) > 0.95
    assert fitted.best_epoch == 1 + curve.index(max(curve))
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]


def test_overfits_one_batch(tmp_path):
    noise = np.random.default_rng(5).integers(0, 2, (8, 2), dtype=np.uint8)
    model = network()
    model.body[-1] = nn.Identity()  # no dropout
    settings = changed(epochs=100, patience=100, weight_decay=0.0, augment=PLAIN)
    fitted = run(tmp_path, settings, train=data(8, labels=noise), model=model, lr=0.03)
    assert fitted.history[-1]["train_loss"] < 0.1 * fitted.history[0]["train_loss"]


def shuffled(part, seed):
    """The same images with the labels of others."""
    return data(len(part), seed, np.random.default_rng(seed + 100).permutation(part.targets.numpy()))


@pytest.mark.parametrize("shuffle", [True, False])
def test_shuffled_labels_cannot_be_learned(tmp_path, shuffle):
    train, val = data(320, 1), data(400, 2)
    if shuffle:  # both: validation labels that still fit their images would reward what was learned by chance
        train, val = shuffled(train, 1), shuffled(val, 2)
    fitted = run(tmp_path, changed(epochs=4, batch_size=32), train=train, val=val)
    positives = val.targets.numpy().sum(0).astype(float)
    variance = 401 / (12 * positives * (400 - positives))  # of an AUROC under the null, Mann & Whitney 1947
    interval = 1.96 * np.sqrt(variance.sum()) / 2
    # The last epoch, not the best: choosing among epochs would move the mean.
    assert (abs(fitted.history[-1]["val_auroc"] - 0.5) < interval) == shuffle


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path, ema):
    settings = changed(ema=ema)
    first = run(tmp_path / "a", settings)
    assert same(first, run(tmp_path / "b", settings))
    assert not same(first, run(tmp_path / "c", settings, seed=4, init=3))


def test_early_stopping_counts_from_the_best_epoch_also_after_a_resume(tmp_path):
    settings = changed(epochs=60, patience=3)
    fitted = run(tmp_path, settings)
    assert len(fitted.history) == fitted.best_epoch + 3 < 60
    assert same(run(tmp_path, settings, report=lambda row: pytest.fail("trained on")), fitted)


def test_learning_rate_warms_up_then_falls_as_a_cosine(tmp_path):
    fitted = run(tmp_path, changed(epochs=10, warmup_epochs=2.0, patience=10))
    rates = [row["lr"] for row in fitted.history]
    assert rates[0] < rates[1] < LR * 1.0001
    expected = [LR * (1 + np.cos(np.pi * (e * STEPS - 1) / (10 * STEPS))) / 2 for e in range(3, 11)]
    np.testing.assert_allclose(rates[2:], expected, rtol=1e-6)


def by_hand(optimizer):
    """Weights after an epoch of plain torch over the batches of `run`; beside them those after each step."""
    model, images = network(), data()
    optimizer = optimizer(model.parameters())
    order = epoch_order(np.ones(41, np.int64), torch.Generator().manual_seed(derive(3, 1, 2)))
    torch.manual_seed(derive(3, 1, 0))
    after = []
    for some in order.split(SIZES):
        batch, targets = images.take(some)
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(batch), targets).backward()
        optimizer.step()
        after.append({k: v.clone() for k, v in model.state_dict().items()})
    return after


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=LR, momentum=0.8, nesterov=True)


PLAIN_SGD = {
    "epochs": 1,
    "optimizer": "sgd",
    "momentum": 0.8,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup_epochs": 0.0,
    "augment": PLAIN,
}


def test_sgd_is_that_of_torch(tmp_path):
    fitted = run(tmp_path, changed(**PLAIN_SGD))
    torch.testing.assert_close(fitted.state, by_hand(sgd)[-1], rtol=1e-6, atol=1e-7)


def test_adamw_is_that_of_torch(tmp_path):
    fitted = run(tmp_path, changed(**{**PLAIN_SGD, "optimizer": "adamw"}))
    expected = by_hand(lambda parameters: torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0))[-1]
    torch.testing.assert_close(fitted.state, expected, rtol=1e-6, atol=1e-7)


def test_sgd_without_momentum_is_the_plain_rule(tmp_path):
    fitted = run(tmp_path, changed(**{**PLAIN_SGD, "momentum": 0.0}))
    expected = by_hand(lambda parameters: torch.optim.SGD(parameters, lr=LR))[-1]
    torch.testing.assert_close(fitted.state, expected, rtol=1e-6, atol=1e-7)


def test_ema_averages_weights_and_statistics_and_copies_counters(tmp_path):
    fitted = run(tmp_path, changed(**PLAIN_SGD, ema=0.9))
    average = {k: v.double() for k, v in network().state_dict().items()}
    for state in by_hand(sgd):
        average = {k: 0.9 * average[k] + 0.1 * v.double() for k, v in state.items()}
    counter = "body.1.num_batches_tracked"
    assert fitted.state[counter] == STEPS
    for key in average.keys() - {counter}:
        torch.testing.assert_close(fitted.state[key].double(), average[key], rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_one_of_the_epoch_in_training_and_validation(tmp_path):
    class Growing(Sharpening):
        factor: float = 0.0

        def at_epoch(self, epoch, epochs):
            assert epochs == 4
            return self.model_copy(update={"factor": float(epoch)})

        def per_sample(self, logits, targets):
            return self.factor * torch.ones(len(logits)) + 0 * logits.sum(1)

    rows = run(tmp_path, SETTINGS, loss=Growing()).history
    assert [row["train_loss"] for row in rows] == [row["val_loss"] for row in rows] == [1, 2, 3, 4]


def test_train_loss_is_the_mean_over_images_not_over_batches(tmp_path):
    class Size(Sharpening):
        def per_sample(self, logits, targets):
            return torch.full((len(logits),), float(len(logits))) + 0 * logits.sum(1)

    row = run(tmp_path, changed(epochs=2), train=data(43), loss=Size()).history[0]
    assert row["train_loss"] == pytest.approx((8 * 8 + 5 * 7 * 7) / 43)


@pytest.mark.parametrize(("images", "batch"), [(41, 8), (34, 8), (33, 8), (9, 8), (17, 2), (3, 2), (2, 8)])
def test_every_image_is_trained_on_in_batches_of_nearly_one_size(tmp_path, images, batch):
    seen = []

    def change(values, targets, *_):
        seen.append(len(values))
        return values, targets

    handling = Handling(change, loop.CLASSIFICATION.validate)
    run(tmp_path, changed(epochs=1, batch_size=batch), train=data(images), handling=handling)
    assert sum(seen) == images
    assert max(seen) - min(seen) <= 1
    assert 2 <= max(seen) <= max(batch, 3)
    assert len(seen) == max(1, min(-(-images // batch), images // 2))


@pytest.mark.parametrize("select", ["auroc", "macro_f1"])
def test_scores_of_single_label_data_are_those_of_scikit_learn(tmp_path, select):
    val = quadrants(60, 1)
    settings = changed(epochs=6, select=select)
    fitted = run(tmp_path, settings, train=quadrants(), val=val, loss="ce")
    curve = [row[f"val_{select}"] for row in fitted.history]
    assert fitted.best_epoch == 1 + curve.index(max(curve))
    model = Network(4)
    model.load_state_dict(fitted.state)
    logits = predict(model, val, 32, "float32")
    truth, chosen, best = val.targets.argmax(1), logits.argmax(1), fitted.history[fitted.best_epoch - 1]
    assert best["val_macro_f1"] == pytest.approx(f1_score(truth, chosen, average="macro"), abs=1e-12)
    assert best["val_accuracy"] == pytest.approx(accuracy_score(truth, chosen), abs=1e-12)
    auroc = roc_auc_score(truth, logits.double().softmax(1), multi_class="ovr", average="macro")
    assert best["val_auroc"] == pytest.approx(auroc, abs=1e-12)
    assert 0.3 < best["val_macro_f1"] < 1


def test_macro_f1_leaves_out_a_class_that_neither_truth_nor_decisions_have():
    logits = np.array([[3.0, 1, 0, -9], [0, 2, 1, -9], [1, 0, 2, -9], [2, 0, 1, -9]])
    truth = np.array([0, 1, 2, 2])
    found = loop._scores(logits, np.eye(4, dtype=np.uint8)[truth], "multiclass")
    assert found["val_macro_f1"] == pytest.approx(f1_score(truth, logits.argmax(1), average="macro"))


def test_multi_label_rows_have_no_decisions(tmp_path):
    row = run(tmp_path, changed(epochs=2)).history[0]
    assert list(row) == ["epoch", "lr", "train_loss", "val_loss", "val_auroc", "images_per_second", "seconds"]
    assert row["images_per_second"] >= 40 / row["seconds"]


def test_macro_f1_is_refused_for_multi_label_data(tmp_path):
    with pytest.raises(ParamsError, match=r"train\.select: 'macro_f1'.*must be 'auroc'"):
        run(tmp_path, changed(select="macro_f1"))


@pytest.mark.parametrize(
    ("metrics", "best", "epochs"),
    [
        ([0.6, 0.8, 0.8, 0.7], 2, 4),
        ([np.nan, 0.5, 0.6, np.nan], 3, 4),
        ([np.nan] * 4, 1, 4),
        ([0.8, np.nan, 0.8, 0.9], 1, 3),  # the patience is 2
    ],
)
def test_the_first_best_epoch_is_kept_and_an_undefined_one_never_is(tmp_path, monkeypatch, metrics, best, epochs):
    given, states = iter(metrics), []
    monkeypatch.setattr(loop, "_scores", lambda *a: {"val_auroc": next(given)})
    model = network()
    keep = lambda row: states.append({k: v.clone() for k, v in model.state_dict().items()})  # noqa: E731
    patience = 2 if epochs == 3 else 9
    fitted = run(tmp_path, changed(patience=patience), model=model, report=keep)
    assert (fitted.best_epoch, len(fitted.history)) == (best, epochs)
    assert all(torch.equal(fitted.state[k], v) for k, v in states[best - 1].items())


def test_threads_are_those_of_the_settings(tmp_path):
    seen = []
    for threads in (2, 1):
        run(tmp_path / str(threads), changed(threads=threads), report=lambda row: seen.append(torch.get_num_threads()))
    assert seen == [2] * 4 + [1] * 4


@pytest.mark.parametrize("wish", [True, False])
def test_tf32_is_set_for_products_and_convolutions_both_ways(wish):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    try:
        set_arithmetic(1, not wish)
        set_arithmetic(1, wish)
        assert (matmul.allow_tf32, cudnn.allow_tf32) == (wish, wish)
        assert torch.get_float32_matmul_precision() == ("high" if wish else "highest")
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def test_tf32_is_set_for_each_training(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(loop, "set_arithmetic", lambda *arguments: given.append(arguments))
    run(tmp_path, changed(epochs=2, tf32=True))
    assert given == [(1, True)]


def test_nothing_is_compiled_on_a_cpu_and_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda *a, **k: pytest.fail("compiled"))
    run(tmp_path / "a", changed(epochs=2, compile=True))
    assert "compile: off on cpu" in capsys.readouterr().out
    run(tmp_path / "b", changed(epochs=2))
    assert capsys.readouterr().out == ""


def test_a_compiled_model_trains_the_weights_of_the_model_under_its_keys(tmp_path, monkeypatch):
    class Compiled(nn.Module):  # as torch's: the model becomes a part, and its keys get a prefix
        def __init__(self, model):
            super().__init__()
            self._orig_mod, self.calls = model, 0

        def forward(self, images):
            self.calls += 1
            return self._orig_mod(images)

    wrapped = []

    def wrap(model, dynamic):
        assert dynamic is False
        wrapped.append(Compiled(model))
        return wrapped[0]

    monkeypatch.setattr(torch, "compile", wrap)
    monkeypatch.setattr(torch._inductor.config, "deterministic", False)
    monkeypatch.setattr(loop, "compiled", lambda model, wish, device: compiled(model, wish, torch.device("cuda")))
    settings = changed(compile=True, ema=0.9)
    fitted = run(tmp_path / "compiled", settings)
    assert wrapped[0].calls == 4 * STEPS
    assert torch._inductor.config.deterministic, "kernels are chosen by timing, and differ from run to run"
    saved = Checkpoint(tmp_path / "compiled", "key").load()
    assert saved["model"].keys() == saved["averaged"].keys() == fitted.state.keys() == network().state_dict().keys()
    assert same(fitted, run(tmp_path / "plain", changed(ema=0.9)))


def test_derived_seeds_differ_in_every_argument():
    seeds = {derive(s, e, p) for s in range(10) for e in range(10) for p in range(3)}
    assert len(seeds) == 300
    assert all(0 <= s < 2**63 for s in seeds)


def test_checkpoint_is_whole_or_absent_and_leaves_nothing_behind(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path, "k")
    assert checkpoint.load() is None
    checkpoint.save({"x": torch.ones(3), "history": [{"epoch": 1, "loss": 0.5}]})
    monkeypatch.setattr(
        torch, "save", lambda state, file: (file.write(b"half"), (_ for _ in ()).throw(KeyboardInterrupt))
    )
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save({"x": torch.zeros(3)})
    assert torch.equal(checkpoint.load()["x"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [checkpoint.path]
    (tmp_path / "partial-k.pt").write_bytes(b"half")  # what a kill leaves, after which nothing cleans up
    assert torch.equal(checkpoint.load()["x"], torch.ones(3))
    checkpoint.delete()
    assert list(tmp_path.iterdir()) == []


def test_fingerprint_moves_with_facts_data_and_code(tmp_path, monkeypatch):
    file = tmp_path / "data.npy"
    file.write_bytes(b"1")
    first = fingerprint({"lr": 0.1}, [file])
    assert fingerprint({"lr": 0.1}, [file]) == first
    assert fingerprint({"lr": 0.2}, [file]) != first
    file.write_bytes(b"2")
    second = fingerprint({"lr": 0.1}, [file])
    assert second != first
    code = tmp_path / "code.py"
    code.write_text("x = 1\n")
    module = type(torch)("pipeline.invented")
    module.__file__ = str(code)
    monkeypatch.setitem(__import__("sys").modules, "pipeline.invented", module)
    third = fingerprint({"lr": 0.1}, [file])
    assert third != second
    code.write_text("x = 2\n")
    assert fingerprint({"lr": 0.1}, [file]) != third
