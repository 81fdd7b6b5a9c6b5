"""Knowledge distillation: a network learns from its labels and from what a teacher says of the same images."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import PrivateAttr
from torch import Tensor
from torch.nn import functional

from pipeline.learning.losses import Loss
from pipeline.learning.settings import Teacher


class Distilled(Loss):
    """A loss of labels, and beside it how far the student's answers are from its teacher's.

    ``(1 - w) L(z, y) + w T^2 D``, where D is the Kullback-Leibler divergence from the teacher's probabilities to the
    student's, both of logits over the temperature T: of the softmax, or with several labels of each sigmoid, the mean
    over classes. T^2 keeps the size of the gradients when T changes. Targets [N, 2 K] hold the labels and then the
    teacher's logits; targets [N, K], as of the validation part, are labels alone, and the value is that of L.

    A label that is not known has no part in L; the teacher's answer for it counts like every other. Class weights are
    those of L.

    References
    ----------
    Hinton, Vinyals & Dean 2015, arXiv 1503.02531, section 2.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"multilabel", "multiclass"})

    temperature: float
    weight: float
    _of_labels: Loss = PrivateAttr()

    @classmethod
    def beside(cls, loss: Loss, settings: Teacher) -> Self:
        """Return `loss` with a teacher beside it."""
        made = cls(temperature=settings.temperature, weight=settings.weight)
        made._of_labels, made._task, made._of_ordered = loss, loss.task, loss.of_ordered
        return made

    def at_epoch(self, epoch: int, epochs: int) -> Self:
        """Return the form that it has in an epoch: that of the loss of labels."""
        changed = self.model_copy()
        changed._of_labels = self._of_labels.at_epoch(epoch, epochs)
        return changed

    def of_part(self, logits: Tensor, some: Tensor, targets: Tensor) -> Tensor:
        """Compute what `some` entries of a batch add to its mean: labels by those known, the teacher's by images."""
        labels, every = (each[:, : logits.shape[1]] for each in (some, targets))
        value = self._of_labels.of_part(logits, labels, every)
        return self._joined(value, self._apart(logits, some) * (len(some) / len(targets)))

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean of a batch, in float32 also under autocast.

        Parameters
        ----------
        logits : Tensor, any float [N, K]
            The student's.
        targets : Tensor [N, 2 K] or [N, K]
            Labels and the teacher's logits, or labels alone.
        """
        if targets.shape == logits.shape:
            return self._of_labels(logits, targets)
        value = self._of_labels(logits, targets[:, : logits.shape[1]])
        return self._joined(value, self._apart(logits, targets))

    def _joined(self, value: Tensor, apart: Tensor) -> Tensor:
        return (1 - self.weight) * value + self.weight * self.temperature**2 * apart

    def _apart(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean divergence of a batch, []."""
        dtype = torch.promote_types(logits.dtype, torch.float32)
        with torch.autocast(logits.device.type, enabled=False):
            pair = logits, targets[:, logits.shape[1] :]
            student, teacher = (each.to(dtype) / self.temperature for each in pair)
            if self.task == "multiclass":
                ours, theirs = student.log_softmax(1), teacher.log_softmax(1)
                return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
            likely, entropy = teacher.sigmoid(), functional.binary_cross_entropy_with_logits
            return entropy(student, likely) - entropy(teacher, likely)

    def per_sample(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the loss of labels of each sample, [N]."""
        return self._of_labels.per_sample(logits, targets)
