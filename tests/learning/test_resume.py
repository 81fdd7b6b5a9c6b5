"""A training that is killed anywhere and started again ends with the bits of one that was not."""

import io
import itertools
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_flatten

from pipeline.learning.training import loop
from pipeline.learning.training.checkpoints import Checkpoint
from tests.learning.tiny_training import CPU, STEPS, Sharpening, changed, data, network, run, same

ROOT = Path(__file__).parents[2]
SCHEDULES = ["cosine", "one_cycle", "plateau", "constant"]
PAIRS = [("adamw", None), ("sgd", 0.9), ("sgd", None), ("adamw", 0.9)]
IN_THE_SAVING = ["before the write", "half-way through the write", "before the replace", "after it"]


def points():
    """Twenty kill points: schedules x optimizers x EMA; for each schedule two between steps and three in saving."""
    rng = np.random.default_rng(4)
    epochs = rng.permutation([1] * 2 + [2] * 6 + [3] * 6 + [4] * 6)
    for i, epoch in enumerate(epochs):
        pair = PAIRS[i // 4 if i < 16 else int(rng.integers(4))]
        place = "between two steps" if i < 8 else IN_THE_SAVING[(i + i // 4) % 4]
        yield SCHEDULES[i % 4], *pair, place, int(epoch), int(rng.integers(STEPS))


class Killed(BaseException):
    """Nothing in the pipeline may catch it."""


def settings_of(schedule, optimizer, ema):
    return changed(
        schedule=schedule, optimizer=optimizer, ema=ema, clip_grad=1.0, plateau={"patience": 1}, warmup_epochs=0.4
    )


def train(folder, settings, **others):
    val = data(30, 1)
    if settings.schedule == "plateau":  # labels that say the opposite: it gets worse, so that the rate falls
        val = data(30, 1, 1 - val.targets.numpy())
    return run(folder, settings, loss=Sharpening(), head_lr=0.02, val=val, **others)


def end_alike(folder, other):
    """Say whether two trainings left the same last weights, averages, moments and rates, to the bit."""
    ends = [Checkpoint(f, "key").load() for f in (folder, other)]
    leaves = [tree_flatten([end[k] for k in ("model", "averaged", "optimizer", "schedule")]) for end in ends]
    (first, shape), (second, other_shape) = leaves
    equal = [torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(first, second)]
    return shape == other_shape and all(equal) and any(isinstance(leaf, torch.Tensor) for leaf in first)


def kill_at(patch, place, epoch, step):
    """Have the training killed at a place in `epoch`; return the first epoch that must be trained again."""
    calls = itertools.count(1)

    def patched(name, owner, number, replacement):
        original = getattr(owner, name)
        patch.setattr(
            owner, name, lambda *a, **k: replacement(original, *a) if next(calls) == number else original(*a, **k)
        )

    def die(original, *arguments):
        raise Killed

    def write_half(original, state, file):
        whole = io.BytesIO()
        original(state, whole)
        file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
        file.flush()
        raise Killed

    def replace_and_die(original, *arguments):
        original(*arguments)
        raise Killed

    if place == "between two steps":
        patched("augment", loop, (epoch - 1) * STEPS + step + 1, die)
    elif place == "before the write":
        patched("save", torch, epoch, die)
    elif place == "half-way through the write":
        patched("save", torch, epoch, write_half)
    elif place == "before the replace":
        patched("replace", os, epoch, die)
    else:
        patched("replace", os, epoch, replace_and_die)
        return epoch + 1
    return epoch


@pytest.mark.parametrize(("schedule", "optimizer", "ema", "place", "epoch", "step"), list(points()))
def test_resumed_equals_undisturbed(tmp_path, schedule, optimizer, ema, place, epoch, step):
    settings = settings_of(schedule, optimizer, ema)
    with pytest.MonkeyPatch.context() as patch:
        again = kill_at(patch, place, epoch, step)
        with pytest.raises(Killed):
            train(tmp_path / "killed", settings)
    seen = []
    torch.rand(5)  # the generator of the process must not matter, nor the weights it starts from
    resumed = train(tmp_path / "killed", settings, init=99, report=lambda row: seen.append(row["epoch"]))
    if again > 1:
        assert seen == list(range(again, 5))
        assert same(resumed, train(tmp_path / "undisturbed", settings))
    else:  # nothing was saved yet: another beginning is another training
        assert seen == [1, 2, 3, 4]
        assert same(resumed, train(tmp_path / "undisturbed", settings, init=99))
    assert end_alike(tmp_path / "killed", tmp_path / "undisturbed")


def test_the_points_cover_everything():
    drawn = list(points())
    assert len(drawn) == len(set(drawn)) == 20
    assert {point[:3] for point in drawn} == {(s, *pair) for s in SCHEDULES for pair in PAIRS}
    assert {point[3] for point in drawn} == {"between two steps", *IN_THE_SAVING}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_killed_in_every_epoch_again_and_again(tmp_path, schedule):
    settings = settings_of(schedule, "adamw", 0.9)
    for _ in range(4):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, "after it", 1, 0)
            with pytest.raises(Killed):
                train(tmp_path / "killed", settings)
    resumed = train(tmp_path / "killed", settings, report=lambda row: pytest.fail("trained on"))
    assert same(resumed, train(tmp_path / "undisturbed", settings))
    if schedule == "plateau":
        assert resumed.history[3]["lr"] < 0.2 * resumed.history[2]["lr"], "the rate never fell: nothing was tested"


def test_a_process_that_is_killed_by_the_system_in_a_write(tmp_path, forks):
    script = (
        "import os, signal, pathlib, itertools\n"
        "from tests.learning import test_resume\n"
        "calls, replace = itertools.count(1), os.replace\n"
        "def killing(*a):\n"
        "    if next(calls) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    replace(*a)\n"
        "os.replace = killing\n"
        f"test_resume.train(pathlib.Path({str(tmp_path / 'killed')!r}), test_resume.settings_of('plateau', 'sgd', 0.9))"
    )
    done = forks.run(["-c", script], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    settings, seen = settings_of("plateau", "sgd", 0.9), []
    resumed = train(tmp_path / "killed", settings, report=lambda row: seen.append(row["epoch"]))
    assert seen == [3, 4]
    assert same(resumed, train(tmp_path / "undisturbed", settings))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resumed_equals_undisturbed_on_cuda(tmp_path, optimizer):
    cuda = torch.device("cuda")

    def on_cuda(folder):
        parts = {"train": data(device=cuda), "val": data(30, 1, device=cuda)}
        settings = changed(optimizer=optimizer, ema=0.9, augment={"horizontal_flip": 0.5})
        return run(folder, settings, model=network().to(cuda), loss=Sharpening(), **parts)

    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, "between two steps", 3, 2)
        with pytest.raises(Killed):
            on_cuda(tmp_path / "killed")
    assert same(on_cuda(tmp_path / "killed"), on_cuda(tmp_path / "undisturbed"))
    assert next(iter(on_cuda(tmp_path / "killed").state.values())).device == CPU
