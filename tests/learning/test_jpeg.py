"""JPEG loss against libjpeg itself: OpenCV's and Pillow's."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.learning.images.jpeg import _CHROMINANCE, _LUMINANCE, jpeg, quantisation

QUALITIES = (1, 10, 25, 50, 75, 90, 95, 100)


def scene(height, width, channels, seed=0):
    """A smooth background with an edge and some noise, uint8 [H, W, C]."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 6 + 2, width // 6 + 2, channels)).astype(np.float32)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    cv2.circle(pixels, (width // 2, height // 2), min(height, width) // 4, [0.9, 0.2, 0.4][:channels], -1)
    noisy = pixels + rng.normal(0, 0.03, pixels.shape)
    return (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)


def tensor(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255


def grey_levels(images):
    return (images * 255).permute(0, 2, 3, 1).numpy()


def libjpeg(pixels, quality):
    """Encode with 4:2:0, OpenCV's default, and decode; OpenCV has blue first."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]), flags)[1]
    return cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED).reshape(pixels.shape)[..., ::-1].astype(float)


def psnr(found, truth):
    return 10 * np.log10(255**2 / np.square(found - truth.astype(float)).mean())


@pytest.mark.parametrize("size", [(96, 96), (61, 45), (64, 40), (17, 9), (5, 23), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_is_that_of_libjpeg(channels, size):
    pixels = scene(*size, channels)
    found = grey_levels(jpeg(tensor(pixels).expand(len(QUALITIES), -1, -1, -1), torch.tensor(QUALITIES)))
    for quality, own in zip(QUALITIES, found):
        reference = libjpeg(pixels, quality)
        difference = np.abs(own - reference)
        # Nearly all pixels are the same; where a coefficient lies on the border of two steps, its block differs.
        if quality == 1:  # so coarse that no coefficient lies there
            assert difference.max() < 3.01
        if min(size) > 30:
            assert difference.mean() < 0.5, quality
            assert (difference > 2.01).mean() < 0.1, quality
            # At quality 100 libjpeg's whole-number transform loses more than the rounding does.
            assert psnr(own, pixels) == pytest.approx(psnr(reference, pixels), abs=0.1 if quality < 100 else 1), quality
        else:  # one such coefficient is a large part of them
            assert difference.mean() < 1.1, quality


@pytest.mark.parametrize(("channels", "least"), [(1, 0.95), (3, 0.935)])
def test_most_pixels_are_exactly_those_of_libjpeg(channels, least):
    equal = []
    for size in ((64, 48), (41, 43)):
        for seed in range(4):
            pixels = scene(*size, channels, seed)
            found = grey_levels(jpeg(tensor(pixels).expand(3, -1, -1, -1), torch.tensor([10, 40, 70])))
            for quality, own in zip((10, 40, 70), found):
                equal.append((np.abs(own - libjpeg(pixels, quality)) < 0.01).mean())
    assert np.mean(equal) > least


@pytest.mark.parametrize("quality", range(1, 101))
def test_steps_are_those_that_libjpeg_writes(quality):
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        tables = image.quantization
    for index, table in enumerate((_LUMINANCE, _CHROMINANCE)):
        assert quantisation(torch.tensor([quality]), table)[0].tolist() == tables[index]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_has_its_own_quality(channels):
    images = torch.cat([tensor(scene(40, 33, channels, seed)) for seed in range(3)])
    before, quality = images.clone(), torch.tensor([10, 90, 40])
    together = jpeg(images, quality)
    assert torch.equal(images, before)
    assert together.shape == images.shape
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], jpeg(images[i : i + 1], quality[i : i + 1]), atol=1e-6, rtol=0)
    error = (together - images).abs().mean((1, 2, 3))
    assert error[1] < error[2] < error[0]
    assert together.min() >= 0
    assert together.max() <= 1
    torch.testing.assert_close(together * 255, (together * 255).round(), atol=1e-4, rtol=0)


def test_memory_format_does_not_matter():
    images = tensor(scene(40, 33, 3))
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(jpeg(images, torch.tensor([50])), jpeg(last, torch.tensor([50])))


def test_what_cannot_be_compressed_is_refused():
    with pytest.raises(ValueError, match=r"2 channels; must be 1 \(grey\) or 3"):
        jpeg(torch.zeros(1, 2, 8, 8), torch.tensor([50]))
    for quality in (0, 101):
        with pytest.raises(ValueError, match="must be 1 to 100"):
            jpeg(torch.zeros(2, 1, 8, 8), torch.tensor([50, quality]))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("channels", [1, 3])
def test_cuda_agrees_with_the_cpu(channels):
    images, quality = tensor(scene(61, 45, channels)), torch.tensor([40])
    difference = (jpeg(images, quality) - jpeg(images.cuda(), quality).cpu()).abs() * 255
    assert difference.mean() < 0.2
