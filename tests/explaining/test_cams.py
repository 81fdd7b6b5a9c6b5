"""The formulas against captum, against what grad-cam answered, and against the papers' sums in float64."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pipeline.explaining.cams import METHODS, grad_cam_plus_plus, layer_cam
from pipeline.explaining.layers import find_layer
from pipeline.explaining.maps import heat_maps
from pipeline.learning.networks.baseline_cnn import BaselineCNN
from pipeline.learning.networks.models import Classifier
from tests.explaining.make_referees import example

REFEREES = Path(__file__).with_name("referees.npz")
RNG = np.random.default_rng(5)


def classifier(backbone, channels=1):
    return Classifier(backbone.eval(), torch.full((channels,), 0.4), torch.full((channels,), 0.3), "classifier").eval()


def to_one(maps):
    return maps / np.maximum(maps.max((-2, -1), keepdims=True), 1e-30)


@pytest.mark.parametrize("method", METHODS)
def test_what_grad_cam_answers(method):
    output, gradient = (torch.from_numpy(array) for array in example())
    theirs = np.load(REFEREES)[method]
    np.testing.assert_allclose(METHODS[method](output, gradient).numpy(), theirs, rtol=1e-5, atol=1e-5)


def test_what_captum_answers():
    from captum.attr import LayerGradCam

    torch.manual_seed(3)
    network = classifier(BaselineCNN(1, 4, filters=(6, 8)).build_for(1, 32))
    images = RNG.random((5, 1, 32, 32), np.float32)
    layer = find_layer(network.backbone, 1, 32, 32)
    classes, module, alive = [2, 0, 3, 1], network.backbone.get_submodule(layer.name), 0
    ours = heat_maps(network, images, classes)
    for place, k in enumerate(classes):
        attributed = LayerGradCam(network, module).attribute(torch.from_numpy(images), target=k, relu_attributions=True)
        covering = nn.functional.pad(attributed.detach(), (1, 1, 1, 1))  # its convolutions leave out the border
        large = nn.functional.interpolate(covering, (32, 32), mode="bilinear")[:, 0].numpy()
        alive += large.any((1, 2)).sum()
        np.testing.assert_allclose(ours[:, place], to_one(large), atol=1e-5)
    assert alive >= 5


def test_the_formulas_of_the_papers():
    """Grad-CAM++ with its second and third derivatives of exp(logit), written out place by place."""
    output, gradient = (RNG.normal(size=(1, 3, 2, 4)) for _ in "ab")
    output = np.abs(output)
    output[0, 0] = gradient[0, 1] = 0  # a dead channel, and one that matters to nothing
    expected, layered = np.zeros((2, 4)), np.zeros((2, 4))
    for a, g in zip(output[0], gradient[0]):
        weight = sum(
            (g[i, j] ** 2 / (2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3)) * max(g[i, j], 0)
            for i in range(2)
            for j in range(4)
            if g[i, j]
        )
        expected += weight * a
        layered += np.maximum(g, 0) * a
    tensors = torch.from_numpy(output), torch.from_numpy(gradient)
    np.testing.assert_allclose(grad_cam_plus_plus(*tensors)[0], np.maximum(expected, 0), rtol=1e-12)
    np.testing.assert_allclose(layer_cam(*tensors)[0], np.maximum(layered, 0), rtol=1e-12)


def test_small_gradients_keep_their_shares():
    """Of a gradient below the root of an epsilon the division by it would leave nothing of Grad-CAM++."""
    output, gradient = (torch.from_numpy(array).abs() for array in example())
    # total * gradient is what shares depend on: with outputs as many times larger nothing changes but the scale.
    ours, small = METHODS["grad-cam++"](output, gradient), METHODS["grad-cam++"](output * 1e4, gradient * 1e-4)
    torch.testing.assert_close(ours, small, rtol=1e-5, atol=0)


TINY = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 48}
SWIN = {"embed_dim": 24, "depths": (1, 2), "num_heads": (1, 2), "window_size": 4, "img_size": 48}


@pytest.mark.parametrize(
    ("arch", "options", "name", "grid", "prefix"),
    [
        ("vit_tiny_patch16_224", {**TINY, "patch_size": 8}, "blocks.1.norm1", (6, 6), 1),
        ("deit_tiny_distilled_patch16_224", {**TINY, "patch_size": 8}, "blocks.1.norm1", (6, 6), 2),
        ("swin_tiny_patch4_window7_224", SWIN, "norm", (6, 6), 0),
        ("cait_xxs24_224", {**TINY, "patch_size": 8}, "blocks_token_only.1.norm1", (6, 6), 1),
        ("xcit_nano_12_p8_224", TINY, "cls_attn_blocks.1.norm1", (6, 6), 1),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_maps_of_transformers_are_those_of_their_tokens_laid_out(arch, options, name, grid, prefix, method):
    """Outputs and gradients by captum, tokens put on their grid by hand, and the formulas of the papers in float64."""
    from captum.attr import LayerActivation, LayerGradientXActivation

    torch.manual_seed(5)
    network = classifier(timm.create_model(arch, num_classes=3, in_chans=1, **options))
    for parameter in network.parameters():
        if parameter.ndim > 1:  # timm starts with a head of zeros, whose maps are empty
            nn.init.normal_(parameter, std=0.3)
    images = RNG.random((3, 1, 48, 48), np.float32)
    module = network.backbone.get_submodule(name)
    ours = heat_maps(network, images, [0, 2], method)
    alive = 0
    for place, k in enumerate([0, 2]):
        given = torch.from_numpy(images)
        tokens = LayerActivation(network, module).attribute(given).detach().double().numpy()
        of = LayerGradientXActivation(network, module, multiply_by_inputs=False).attribute(given, target=k)
        a, g = (each.reshape(3, -1, each.shape[-1]) for each in (tokens, of.detach().double().numpy()))
        a, g = a[:, prefix:], g[:, prefix:]
        if method == "grad-cam":
            weight = g.mean(1, keepdims=True)
        elif method == "layercam":
            weight = np.maximum(g, 0)
        else:
            positive = np.maximum(g, 0)
            share = 1 / (2 + np.maximum(a.sum(1, keepdims=True), 0) * positive)
            weight = (share * positive).sum(1, keepdims=True)
        map_of = np.maximum((weight * a).sum(2), 0).reshape(3, 1, *grid)
        large = nn.functional.interpolate(torch.from_numpy(to_one(map_of)), (48, 48), mode="bilinear")[:, 0].numpy()
        alive += large.any((1, 2)).sum()
        np.testing.assert_allclose(ours[:, place], to_one(large), atol=1e-4)
    assert alive >= 2
