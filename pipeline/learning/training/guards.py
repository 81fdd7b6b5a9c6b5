"""What stops a training run, with a message that says what to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from pipeline.study.errors import UserError
from pipeline.study.memory import no_memory

LOOK_EVERY = 50
"""Steps between two looks at the losses on CUDA: each look waits until the device has done all its work."""

_WHAT_TO_LOWER = (
    "lower models.<name>.lr (and head_lr), set or lower train.clip_grad, or lengthen train.warmup_epochs; "
    "with bfloat16 arithmetic try train.precision: float32"
)


class TrainingError(UserError):
    """A training run cannot go on. The message names where it stopped and what to change."""


def last_good(path: Path, epoch: int) -> str:
    """Say which epoch (0: none) the checkpoint at `path` holds."""
    return f"last good checkpoint: epoch {epoch}, {path}" if epoch else "last good checkpoint: none"


class LossWatch:
    """The losses of one epoch's steps; stops at the first that is not finite.

    They stay on the device. On a CPU each is looked at as it comes; on CUDA, where a look makes the host wait, every
    `LOOK_EVERY` steps and at the end of the epoch.

    Parameters
    ----------
    epoch : int
        From 1.
    steps : int
        Steps of the epoch.
    device : device
        Where the losses are.
    good : str
        `last_good` checkpoint, for the message.
    look_every : int, optional
        Steps between two looks, if not those.
    """

    def __init__(self, epoch: int, steps: int, device: torch.device, good: str, look_every: int | None = None) -> None:
        self._epoch, self._steps, self._good = epoch, steps, good
        self._losses = torch.zeros(steps, device=device)
        self._look_every = look_every or (LOOK_EVERY if device.type == "cuda" else 1)
        self._sizes: list[int] = []
        self._rates: list[float] = []
        self._looked_at = 0

    def enter(self, loss: Tensor, images: int, lr: float) -> None:
        """Enter the loss of the next step, a mean over `images` at learning rate `lr`.

        Raises
        ------
        TrainingError
            If this loss, or one since the last look, is not finite.
        """
        self._losses[len(self._sizes)] = loss.detach()
        self._sizes.append(images)
        self._rates.append(lr)
        if len(self._sizes) - self._looked_at >= self._look_every:
            self._look()

    def mean(self) -> float:
        """Return the mean loss of an image over the steps entered.

        Raises
        ------
        TrainingError
            If a loss is not finite.
        """
        self._look()
        sizes = torch.tensor(self._sizes, dtype=torch.float64, device=self._losses.device)
        return (self._losses[: len(sizes)].double() @ sizes / sizes.sum()).item()

    def _look(self) -> None:
        new = self._losses[self._looked_at : len(self._sizes)].cpu()
        bad = (~new.isfinite()).nonzero()
        if len(bad):
            value, step = new[bad[0]].item(), self._looked_at + int(bad[0])
            raise TrainingError(
                f"the training loss is {value:g} at epoch {self._epoch}, step {step + 1} of {self._steps}, "
                f"learning rate {self._rates[step]:g}; {self._good}; {_WHAT_TO_LOWER}"
            )
        self._looked_at = len(self._sizes)


def check_validation_loss(value: float, epoch: int, lr: float, good: str) -> None:
    """Refuse a validation loss that is not finite, before weights that are not either become a checkpoint.

    Raises
    ------
    TrainingError
        If it is not finite.
    """
    if not abs(value) < float("inf"):
        raise TrainingError(
            f"the validation loss is {value:g} after epoch {epoch}, learning rate {lr:g}; {good}; {_WHAT_TO_LOWER}"
        )


@contextmanager
def enough_memory(
    device: torch.device, batch_size: int, image: tuple[int, ...], precision: str, good: Callable[[], str]
) -> Iterator[None]:
    """Turn running out of memory, on CUDA or on the host, into a message about what takes it.

    Parameters
    ----------
    device : device
        That trains.
    batch_size : int
        Images per step.
    image : tuple of int
        (C, H, W).
    precision : {"float32", "bfloat16"}
        Of the model's arithmetic.
    good : callable
        Returns the `last_good` checkpoint.

    Raises
    ------
    TrainingError
        In place of torch.OutOfMemoryError, MemoryError and RuntimeErrors that mean the same.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if (first_line := no_memory(error)) is None:
            raise
        raise TrainingError(
            f"out of memory on {device} with train.batch_size = {batch_size}, images of {' x '.join(map(str, image))} "
            f"(preprocess.size) and {precision} arithmetic ({first_line}); {good()}; lower train.batch_size "
            f"(or models.<name>.batch_size; accumulate makes up for it) or preprocess.size, or take a smaller network "
            "as models.<name>.arch"
            + ("" if precision == "bfloat16" else "; train.precision: bfloat16 halves the activations")
            + ("; train.residency: host keeps the images off the card" if device.type == "cuda" else "")
        ) from error
