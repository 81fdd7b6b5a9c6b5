import numpy as np
import pytest
import torch

from pipeline.learning import losses, models
from pipeline.learning.checkpoints import Checkpoint, fingerprint
from pipeline.learning.loader import ResidentImages
from pipeline.learning.loop import TrainingError, derive, fit
from pipeline.params import Model, Train

CPU = torch.device("cpu")
SETTINGS = Train(epochs=4, batch_size=8, patience=9, threads=1, augment={"horizontal_flip": 0, "shift": 0.05})
MODEL = Model(arch="baseline_cnn", lr=0.01, options={"filters": [4, 8], "hidden": 16, "drop_rate": 0.2})


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data(n=41, seed=0):
    """Images whose left or right half is bright, and two labels that say which."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 2)) < 0.5).astype(np.uint8)
    images = rng.integers(0, 80, (n, 16, 16), dtype=np.uint8)
    images[:, :, :8] += (120 * targets[:, :1, None]).astype(np.uint8)
    images[:, :, 8:] += (120 * targets[:, 1:, None]).astype(np.uint8)
    return ResidentImages(images, np.arange(n), targets, CPU)


def run(folder, settings=SETTINGS, seed=3, report=lambda row: None, lr=MODEL.lr, kind="bce", train=None):
    torch.manual_seed(seed)
    train = train or data()
    model = models.build("m", MODEL, 1, 2, 16, train.images[:, 0].numpy())
    checkpoint = Checkpoint(folder, "key")
    loss = losses.create(kind, {}, "multilabel")
    copies = np.ones(len(train), np.int64)
    return fit(
        model,
        loss,
        train,
        copies,
        data(30, 1),
        lr=lr,
        settings=settings,
        seed=seed,
        checkpoint=checkpoint,
        report=report,
    )


def same(a, b):
    without_time = [[{k: v for k, v in row.items() if k != "seconds"} for row in x.history] for x in (a, b)]
    return all(torch.equal(a.state[k], b.state[k]) for k in a.state) and without_time[0] == without_time[1]


def test_learns_what_can_be_learned_and_keeps_the_best_epoch(tmp_path):
    fitted = run(tmp_path, SETTINGS.model_copy(update={"epochs": 8}))
    curve = [row["val_auroc"] for row in fitted.history]
    assert max(curve) > 0.95
    assert curve[fitted.best_epoch - 1] == max(curve)
    assert fitted.best_epoch == 1 + curve.index(max(curve))
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]


def test_overfits_one_batch(tmp_path):
    few = data(8)
    few.targets = torch.from_numpy(np.random.default_rng(5).integers(0, 2, (8, 2), dtype=np.uint8))  # labels are noise
    settings = Train(
        epochs=150, batch_size=8, patience=150, weight_decay=0.0, threads=1, augment={"horizontal_flip": 0}
    )
    fitted = run(tmp_path, settings, train=few)
    assert fitted.history[-1]["train_loss"] < 0.1 * fitted.history[0]["train_loss"]


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path, ema):
    settings = SETTINGS.model_copy(update={"ema": ema})
    first = run(tmp_path / "a", settings)
    assert same(first, run(tmp_path / "b", settings))
    assert not same(first, run(tmp_path / "c", settings, seed=4))


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_resumed_equals_undisturbed(tmp_path, killed_after, ema):
    settings = SETTINGS.model_copy(update={"ema": ema})

    class Killed(Exception):
        pass

    def kill(row):
        if row["epoch"] == killed_after:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "killed", settings, report=kill)
    seen = []
    resumed = run(tmp_path / "killed", settings, report=lambda row: seen.append(row["epoch"]))
    assert seen == list(range(killed_after + 1, 5))
    assert same(resumed, run(tmp_path / "undisturbed", settings))


def test_early_stopping_counts_from_the_best_epoch_also_after_a_resume(tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 60, "patience": 3})
    fitted = run(tmp_path, settings)
    assert len(fitted.history) == fitted.best_epoch + 3 < 60
    assert same(run(tmp_path, settings, report=lambda row: pytest.fail("trained on")), fitted)


def test_learning_rate_warms_up_then_falls_as_a_cosine(tmp_path):
    fitted = run(tmp_path, SETTINGS.model_copy(update={"epochs": 10, "warmup_epochs": 2.0, "patience": 10}))
    rates = [row["lr"] for row in fitted.history]
    assert rates[0] < rates[1] < MODEL.lr * 1.0001
    assert rates[2:] == sorted(rates[2:], reverse=True)
    steps = 41 // 8  # the 41st image alone would be a batch of one
    expected = [MODEL.lr * (1 + np.cos(np.pi * (e * steps - 1) / (10 * steps))) / 2 for e in range(3, 11)]
    np.testing.assert_allclose(rates[2:], expected, rtol=1e-6)


def test_an_infinite_loss_stops_with_epoch_and_learning_rate(tmp_path):
    with pytest.raises(TrainingError, match=r"epoch \d.*learning rate.*lower"):
        run(tmp_path, SETTINGS.model_copy(update={"clip_grad": None, "epochs": 20}), lr=1e18)


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
    assert len(list(tmp_path.iterdir())) == 2
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
