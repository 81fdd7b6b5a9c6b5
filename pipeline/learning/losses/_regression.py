"""What losses of a number per image share."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PrivateAttr

from pipeline.learning.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor


class RegressionLoss(Loss):
    """A loss of predicted and true values in the unit of the target, computed in standard deviations of the training.

    Parameters of the formulas are in that unit, too: a learning rate, or `delta` of Huber's loss, means the same
    whatever the target is measured in.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})
    output: ClassVar[str] = "value"

    _sd: float = PrivateAttr(1.0)

    def standardised(self, sd: float) -> Self:
        """Return the same loss for targets whose standard deviation in the training part is `sd`, above 0."""
        if not sd > 0:
            raise ValueError(f"standard deviation {sd}; must be above 0")
        changed = self.model_copy()
        changed._sd = float(sd)
        return changed

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss of a batch, in float32 also under autocast.

        Parameters
        ----------
        logits : Tensor, any float [N, 1] or [N, 2]
            Predicted value, and predicted spread where the loss has one.
        targets : Tensor [N, 1]
            Truth.
        """
        import torch

        size = 2 if self.output == "gaussian" else 1
        if logits.ndim != 2 or logits.shape[1] != size or targets.shape != (len(logits), 1):
            raise ValueError(
                f"values {tuple(logits.shape)} and targets {tuple(targets.shape)}; must be [N, {size}] and [N, 1]"
            )
        dtype = torch.promote_types(logits.dtype, torch.float32)
        with torch.autocast(logits.device.type, enabled=False):
            return self.of_batch(logits.to(dtype) / self._sd, targets.to(dtype) / self._sd)
