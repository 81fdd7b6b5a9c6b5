"""Grad-CAM, Grad-CAM++ and LayerCAM, as formulas of a layer's output and the gradients of a logit with respect to it.

captum 0.9 has Grad-CAM alone, and runs the network once for each class; grad-cam 1.5 has all three, but requires
opencv-python, whose files overwrite those of opencv-python-headless. So the formulas stand here; the tests compare them
with both packages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands offer the names below, and start without torch
    from torch import Tensor


def grad_cam(output: Tensor, gradient: Tensor) -> Tensor:
    """Weight each channel by its mean gradient.

    Parameters
    ----------
    output, gradient : Tensor, float [N, C, h, w]
        Of a layer: its output, and the gradients of one logit with respect to it.

    Returns
    -------
    Tensor, float [N, h, w]
        At least 0, on no scale.

    References
    ----------
    Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2.
    """
    weight = gradient.mean((2, 3), keepdim=True)
    return (weight * output).sum(1).relu()


def grad_cam_plus_plus(output: Tensor, gradient: Tensor) -> Tensor:
    """Weight each channel by its positive gradients, each by its share that second and third derivatives give it.

    Parameters
    ----------
    output, gradient
        As for `grad_cam`. The derivation supposes outputs of at least 0; the sum of a channel's is taken as at least 0,
        without which a share could become infinite.

    Returns
    -------
    Tensor, float [N, h, w]
        At least 0, on no scale.

    References
    ----------
    Chattopadhyay et al. 2018, arXiv 1710.11063, equation 19: of the exponential of the logit, whose higher derivatives
    are powers of the logit's gradient where the layers behind are linear. The factor exp(logit) that all weights of an
    image share is left out.
    """
    total = output.sum((2, 3), keepdim=True).clamp(min=0)
    positive = gradient.relu()
    # g^2 / (2 g^2 + total g^3), reduced by g^2: nothing is divided by 0, nor is it by an epsilon that hides small g.
    share = 1 / (2 + total * positive)
    weight = (share * positive).sum((2, 3), keepdim=True)
    return (weight * output).sum(1).relu()


def layer_cam(output: Tensor, gradient: Tensor) -> Tensor:
    """Weight each place of each channel by its own gradient, if that is positive.

    Parameters
    ----------
    output, gradient
        As for `grad_cam`.

    Returns
    -------
    Tensor, float [N, h, w]
        At least 0, on no scale.

    References
    ----------
    Jiang et al. 2021, IEEE Transactions on Image Processing 30, 5875-5888, equations 6 and 7.
    """
    return (gradient.relu() * output).sum(1).relu()


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "layercam": layer_cam,
}
"""By the names that people type."""
DEFAULT = "grad-cam"
"""The one that sanity checks have been published for."""
