import numpy as np
import pytest
import torch
from pydantic import ConfigDict

from pipeline.learning.training.checkpoints import Checkpoint
from pipeline.learning.training.guards import LossWatch, TrainingError, enough_memory, last_good
from pipeline.learning.training.loop import fit
from tests.learning.tiny_training import CPU, LR, SETTINGS, STEPS, Network, Sharpening, changed, data, network, run


class Breaking(Sharpening):
    """A loss that is `value` at one call, counted over training and validation."""

    model_config = ConfigDict(allow_inf_nan=True)  # which the settings of a loss are not
    at: int
    value: float

    def at_epoch(self, epoch, epochs):
        return self

    def per_sample(self, logits, targets):
        CALLS.append(0)
        values = super().per_sample(logits, targets)
        return values + self.value if len(CALLS) == self.at else values


CALLS = []


@pytest.fixture(autouse=True)
def from_zero():
    CALLS.clear()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("epoch", "step"), [(1, 3), (3, 2)])
def test_a_loss_that_is_not_finite_stops_at_once_and_leaves_the_good_checkpoint(tmp_path, value, epoch, step):
    at = (epoch - 1) * (STEPS + 1) + step  # an epoch is its steps and one validation
    settings = changed(schedule="constant", warmup_epochs=0.0)
    with pytest.raises(TrainingError) as caught:
        run(tmp_path, settings, loss=Breaking(at=at, value=value))
    assert len(CALLS) == at
    message, path = str(caught.value), tmp_path / "key.pt"
    assert f"training loss is {value:g} at epoch {epoch}, step {step} of {STEPS}, learning rate {LR:g}" in message
    assert "lower models.<name>.lr" in message
    if epoch == 1:
        assert "last good checkpoint: none" in message
        assert not path.exists()
    else:
        assert f"last good checkpoint: epoch {epoch - 1}, {path}" in message
        saved = Checkpoint(tmp_path, "key").load()
        assert len(saved["history"]) == epoch - 1
        assert all(v.isfinite().all() for v in saved["model"].values())


def test_a_validation_loss_that_is_not_finite_stops_before_the_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match=r"validation loss is nan after epoch 2.*checkpoint: epoch 1, .*lower"):
        run(tmp_path, loss=Breaking(at=2 * (STEPS + 1), value=float("nan")))
    assert len(Checkpoint(tmp_path, "key").load()["history"]) == 1


def test_a_rate_that_is_far_too_high_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"epoch \d.*learning rate.*lower"):
        run(tmp_path, changed(epochs=20), lr=1e30)


def test_losses_on_a_device_that_waits_are_looked_at_now_and_then():
    watch = LossWatch(2, 120, CPU, last_good("somewhere", 1), look_every=50)
    for step in range(49):
        watch.enter(torch.tensor(float("inf") if step == 6 else 1.0), 8, 0.1 * (step + 1))
    with pytest.raises(TrainingError, match=r"is inf at epoch 2, step 7 of 120, learning rate 0\.7; .*epoch 1, some"):
        watch.enter(torch.tensor(1.0), 8, 0.1)


@pytest.mark.parametrize("bad", [None, 51, 59])
def test_the_end_of_an_epoch_looks_at_what_is_left(bad):
    watch = LossWatch(1, 60, CPU, last_good("somewhere", 0), look_every=50)
    values, sizes = np.random.default_rng(0).random(60), np.arange(60) + 1
    for step in range(60):
        watch.enter(torch.tensor(np.nan if step == bad else values[step]), int(sizes[step]), 0.1)
    if bad is None:
        assert watch.mean() == pytest.approx(np.average(values, weights=sizes), rel=1e-6)
    else:
        with pytest.raises(TrainingError, match=f"step {bad + 1} of 60"):
            watch.mean()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
def test_entering_a_loss_does_not_wait_for_the_device():
    cuda = torch.device("cuda")
    watch, loss = LossWatch(1, 60, cuda, ""), torch.ones((), device=cuda)
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(49):
            watch.enter(loss, 8, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with pytest.raises(TrainingError, match="step 50 of 60"):
        watch.enter(loss * float("nan"), 8, 0.1)


def guard():
    return enough_memory(CPU, 32, (3, 224, 224), "float32", lambda: last_good("somewhere", 4))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
        MemoryError(),
    ],
)
def test_running_out_of_memory_names_what_takes_it(error):
    with pytest.raises(TrainingError) as caught, guard():
        raise error
    message = str(caught.value)
    assert "train.batch_size = 32, images of 3 x 224 x 224 (preprocess.size) and float32 arithmetic" in message
    assert "last good checkpoint: epoch 4, somewhere" in message
    assert "lower train.batch_size" in message
    assert "models.<name>.arch" in message
    assert "\n" not in message
    assert "train.residency" not in message  # on a CPU images lie in the host's memory anyway
    with (
        pytest.raises(TrainingError, match=r"; train\.residency: host keeps the images off the card$"),
        enough_memory(torch.device("cuda"), 32, (3, 224, 224), "bfloat16", lambda: "none"),
    ):
        raise error


def test_the_allocator_of_the_cpu_is_understood():
    with pytest.raises(TrainingError, match=r"out of memory on cpu"), guard():
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, guard():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("training", [True, False])
def test_a_training_that_runs_out_of_memory_leaves_the_good_checkpoint(tmp_path, training):
    class Greedy(Network):
        def forward(self, images):
            self.calls = getattr(self, "calls", 0) + (self.training == training)
            if self.training == training and self.calls == (2 * STEPS + 3 if training else 3):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(images)

    torch.manual_seed(3)
    with pytest.raises(TrainingError, match=r"batch_size = 8, images of 1 x 16 x 16 .*float32.*checkpoint: epoch 2"):
        run(tmp_path, model=Greedy())
    assert len(Checkpoint(tmp_path, "key").load()["history"]) == 2


def test_a_single_image_is_not_trained_on(tmp_path):
    parts = {"train": data(3), "draws": np.array([0, 1, 0]), "val": data(3)}
    with pytest.raises(TrainingError, match="1 images to train on; must be at least 2"):
        fit(network(), Sharpening(), **parts, lr=LR, settings=SETTINGS, seed=0, checkpoint=Checkpoint(tmp_path, "k"))
