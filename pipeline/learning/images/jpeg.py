"""What JPEG compression takes from images: ITU-T T.81 (1992), with the choices of libjpeg that nearly every file has.

Written by hand because torchvision's codec takes one image per call, on the CPU, and Kornia's is a dependency for one
function whose rounding and chroma filters are not libjpeg's.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.learning.constants import constant

_LUMINANCE = """
    16 11 10 16  24  40  51  61
    12 12 14 19  26  58  60  55
    14 13 16 24  40  57  69  56
    14 17 22 29  51  87  80  62
    18 22 37 56  68 109 103  77
    24 35 55 64  81 104 113  92
    49 64 78 87 103 121 120 101
    72 92 95 98 112 100 103  99
"""
_CHROMINANCE = """
    17 18 24 47 99 99 99 99
    18 21 26 66 99 99 99 99
    24 26 56 99 99 99 99 99
    47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
    99 99 99 99 99 99 99 99
"""
"""Tables K.1 and K.2 of ITU-T T.81."""


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Compress each image at its own quality and decompress it.

    Baseline JPEG as in JFIF files: 8 bits, blocks of 8 x 8; colour as YCbCr (ITU-R BT.601, full range) with chroma at
    half the resolution both ways (4:2:0), averaged down and interpolated up as libjpeg does. The entropy coding loses
    nothing and is left out.

    Parameters
    ----------
    images : Tensor, float32 [N, C, H, W]
        Grey (C = 1) or RGB (C = 3), values in [0, 1]; rounded to 8 bits first.
    quality : Tensor, int64 [N]
        1 to 100, on libjpeg's scale.

    Returns
    -------
    Tensor, float32 [N, C, H, W]
        Multiples of 1/255 in [0, 1]; a new tensor.

    Raises
    ------
    ValueError
        If C is neither 1 nor 3, or a quality is out of range.
    """
    channels = images.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"{channels} channels; must be 1 (grey) or 3 (RGB)")
    luminance = quantisation(quality, _LUMINANCE).to(images.device, non_blocking=True)
    pixels = (images * 255).round_()
    if channels == 1:
        return _compress(pixels.sub_(128), luminance).add_(128).div_(255)
    y, colour = _to_ycbcr(pixels)
    y = _compress(y.sub_(128), luminance).add_(128)
    chrominance = quantisation(quality, _CHROMINANCE).to(images.device, non_blocking=True)
    colour = _doubled(_compress(_halved(colour), chrominance), *y.shape[2:])
    return _to_rgb(y, colour).div_(255)


def quantisation(quality: Tensor, table: str = _LUMINANCE) -> Tensor:
    """Scale a table of T.81 to each quality by libjpeg's rule (``jpeg_quality_scaling``).

    Parameters
    ----------
    quality : Tensor, int64 [N]
        1 to 100.
    table : str
        64 numbers, row by row.

    Returns
    -------
    Tensor, float32 [N, 64]
        Whole steps from 1 to 255.

    Raises
    ------
    ValueError
        If a quality is out of range.
    """
    if len(quality) and not (int(quality.min()) >= 1 and int(quality.max()) <= 100):
        raise ValueError(f"quality from {int(quality.min())} to {int(quality.max())}; must be 1 to 100")
    steps = torch.tensor([int(step) for step in table.split()])
    percent = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality).cpu()
    return ((steps * percent[:, None] + 50) // 100).clamp(1, 255).float()


def _compress(pixels: Tensor, steps: Tensor) -> Tensor:
    """Round the cosine coefficients of every 8 x 8 block of `pixels` [N, C, H, W] in -128..127 to `steps` [N, 64]."""
    n, c, height, width = pixels.shape
    high, wide = -(-height // 8), -(-width // 8)
    if (height % 8, width % 8) != (0, 0):
        pixels = functional.pad(pixels, (0, 8 * wide - width, 0, 8 * high - height), mode="replicate")
    blocks = pixels.reshape(n, c, high, 8, wide, 8).transpose(3, 4).reshape(n, c * high * wide, 64)
    basis, steps = _basis(pixels.device), steps[:, None]
    # libjpeg has coefficients in eighths, which makes halves frequent, and rounds those away from zero.
    ratio = (blocks @ basis.T).mul_(8).round_().div_(8 * steps)
    coefficients = ratio.abs().add_(0.5).floor_().copysign_(ratio).mul_(steps)
    pixels = (coefficients @ basis).round_().clamp_(-128, 127).view(n, c, high, wide, 8, 8)
    return pixels.transpose(3, 4).reshape(n, c, 8 * high, 8 * wide)[:, :, :height, :width]


@cache
def _basis(device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of a flattened block, [64, 64]: one product in place of two of 8 x 8."""
    place = torch.arange(8, dtype=torch.float64)
    rows = torch.cos(torch.pi / 8 * (place + 0.5) * place[:, None]) / 2
    rows[0] /= 2**0.5
    return torch.kron(rows, rows).float().to(device)


def _to_ycbcr(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Return Y [N, 1, H, W] in 0..255, and Cb and Cr [N, 2, H, W] in -128..127, both whole."""
    red, green, blue = rgb.unbind(1)
    y = (0.299 * red).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    colour = torch.stack([(blue - y).div_(1.772), (red - y).div_(1.402)], 1).round_().clamp_(-128, 127)
    return y.round_()[:, None], colour


def _to_rgb(y: Tensor, colour: Tensor) -> Tensor:
    """Return RGB [N, 3, H, W], whole in 0..255."""
    cb, cr = colour.unbind(1)
    y = y[:, 0]
    green = y.add(cb, alpha=-0.344136286).add_(cr, alpha=-0.714136286)
    return torch.stack([y.add(cr, alpha=1.402), green, y.add(cb, alpha=1.772)], 1).round_().clamp_(0, 255)


def _halved(colour: Tensor) -> Tensor:
    """Average squares of 2 x 2 and round: columns to the lower and the upper neighbour in turn, as libjpeg does.

    Columns are repeated to whole blocks before, rows after it: `_compress` does that.
    """
    height, width = colour.shape[2:]
    colour = functional.pad(colour, (0, -width % 16, 0, height % 2), mode="replicate")
    pairs = colour[:, :, ::2] + colour[:, :, 1::2]
    mean = (pairs[..., ::2] + pairs[..., 1::2]).div_(4)
    return mean.add_(_by_column(mean, 0.25, 0.5)).floor_()


def _doubled(colour: Tensor, height: int, width: int) -> Tensor:
    """Interpolate to twice the resolution with weights 3/4 and 1/4 (libjpeg's "fancy upsampling") and round."""
    inside = colour[..., : (width + 1) // 2]  # without the columns of `_halved` that fill a block
    fine = functional.interpolate(inside, scale_factor=2, mode="bilinear", align_corners=False)
    return fine.add_(_by_column(fine, 0.5, 0.4375)).floor_()[:, :, :height, :width]


def _by_column(like: Tensor, even: float, odd: float) -> Tensor:
    """Return what is added before rounding down in even and in odd columns, [W]."""
    return constant([even, odd], like).repeat(like.shape[3] // 2 + 1)[: like.shape[3]]
