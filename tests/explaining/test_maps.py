"""Heat maps of networks: which layer, which scale, and that they depend on what they should and on nothing else."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pipeline.explaining.cams import METHODS
from pipeline.explaining.layers import find_layer
from pipeline.explaining.maps import Mapper, heat_maps
from pipeline.explaining.overlay import colours, on_original, overlay
from pipeline.imaging.enhance import fit
from pipeline.learning.networks.baseline_cnn import BaselineCNN
from pipeline.learning.networks.models import Classifier
from pipeline.study.errors import UserError
from tests.explaining import families

RNG = np.random.default_rng(8)
SMALL = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 64}


class Known(nn.Module):
    """Two channels that are the image and its mirror image; class 0 likes the first, 1 the second, 2 dislikes both."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.flip = nn.Identity()
        self.classifier = nn.Linear(2, 3, bias=False)
        self.classifier.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])

    def forward(self, images):
        small = self.pool(torch.cat([images, images.flip(3)], 1))
        return self.classifier(small.mean((2, 3)))


def classifier(backbone, channels=1, mean=0.0):
    return Classifier(backbone.eval(), torch.full((channels,), mean), torch.ones(channels), "classifier").eval()


def cnn(seed):
    torch.manual_seed(seed)
    return classifier(BaselineCNN(1, 3, filters=(4, 6)).build_for(1, 32), mean=0.5)


@pytest.mark.parametrize(
    ("arch", "options", "size", "name", "layout", "cells"),
    [
        ("densenet121", {"growth_rate": 8, "block_config": (1, 1, 1, 1)}, 128, "features.norm5.act", "first", 4),
        ("densenet121", {"growth_rate": 8, "block_config": (1, 1, 1, 1)}, 64, "features.denseblock3", "first", 4),
        ("resnet10t", {}, 128, "layer4.0.act2", "first", 4),
        ("tf_efficientnet_lite0", {}, 128, "bn2.act", "first", 4),
        ("vit_tiny_patch16_224", SMALL, 64, "blocks.1.norm1", "tokens", 4),
        ("vit_tiny_patch16_224", SMALL | {"global_pool": "avg", "class_token": False}, 64, "blocks.1", "tokens", 4),
        ("cait_xxs24_224", SMALL, 64, "blocks_token_only.1.norm1", "tokens", 4),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1), "num_heads": (1, 1), "img_size": 32},
         32, "norm", "last", 4),
    ],
)  # fmt: skip
def test_the_layer(arch, options, size, name, layout, cells):
    torch.manual_seed(0)
    backbone = timm.create_model(arch, num_classes=2, in_chans=1, **options).eval()
    layer = find_layer(backbone, 1, size, size)
    assert (layer.name, layer.layout.removeprefix("channels ")) == (name, layout)
    assert layer.height == layer.width == cells
    maps = heat_maps(classifier(backbone), RNG.random((2, 1, size, size), np.float32), [0, 1], "layercam")
    assert maps.shape == (2, 2, size, size)
    assert maps.any((2, 3)).any()


@pytest.mark.parametrize(("filters", "size"), [((4, 6), 32), ((4, 4, 4), 80), ((4, 4, 4, 4), 80)])
def test_cells_stand_over_what_they_see(filters, size):
    """Of convolutions without padding: within half a stride of the middle of a cell's receptive field."""
    backbone = BaselineCNN(1, 2, filters=filters).build_for(1, size).eval()
    for parameter in backbone.parameters():
        nn.init.constant_(parameter, 0.1)
    for place, module in enumerate(backbone.features):
        if isinstance(module, nn.MaxPool2d):
            backbone.features[place] = nn.AvgPool2d(2)  # of which every pixel has a gradient
    layer = find_layer(backbone, 1, size, size)
    kept = []
    handle = backbone.get_submodule(layer.name).register_forward_hook(lambda *known: kept.append(known[2]))
    image = torch.rand(1, 1, size, size, requires_grad=True)
    backbone(image)
    handle.remove()
    for cell in range(layer.height):
        (seen,) = torch.autograd.grad(kept[0][0, :, cell, cell].sum(), image, retain_graph=True)
        rows = np.flatnonzero(seen[0, 0].abs().sum(1).numpy())
        stands = (cell + layer.margin[0] + 0.5) * size / layer.grid[0]
        assert abs(stands - (rows[0] + rows[-1] + 1) / 2) <= size / layer.grid[0] / 2


def test_complete_padding_needs_no_margin():
    backbone = timm.create_model("resnet10t", num_classes=2, in_chans=1).eval()
    assert find_layer(backbone, 1, 128, 128).margin == (0, 0)


def test_a_network_without_pictures_is_refused():
    network = classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    with pytest.raises(UserError, match=r"Sequential: no layer's output is a picture, .*but by occlusion"):
        heat_maps(network, np.zeros((1, 1, 8, 8), np.float32), [0])
    with pytest.raises(UserError, match="'gradcam'; use one of: grad-cam, grad-cam"):
        heat_maps(cnn(0), np.zeros((1, 1, 32, 32), np.float32), [0], "gradcam")
    assert all(parameter.requires_grad for parameter in network.parameters())


class ClassTokenAlone(nn.Module):
    """What timm's transformers are to this program, but that the class token reads no place."""

    num_features, num_prefix_tokens, feature_info = 4, 1, ()

    def __init__(self):
        super().__init__()
        self.embed, self.token = nn.Conv2d(1, 4, 16, 16), nn.Parameter(torch.ones(1, 1, 4))
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

    def forward_features(self, images):
        places = self.embed(images).flatten(2).transpose(1, 2)
        return self.norm(torch.cat([self.token.expand(len(images), -1, -1), places], 1))

    def forward(self, images):
        return self.head(self.forward_features(images)[:, 0])


def test_a_transformer_whose_places_do_not_matter_is_refused():
    with pytest.raises(UserError, match="ClassTokenAlone: no layer's output is a picture"):
        find_layer(ClassTokenAlone().eval(), 1, 64, 64)


@pytest.mark.parametrize(
    ("name", "layer", "cells"),
    [
        ("cait", "blocks_token_only.1.norm1", 4),
        ("xcit small patches", "cls_attn_blocks.1.norm1", 8),
        ("tnt", "blocks.1.norm_out", 4),
        ("convit", "blocks.2.norm1", 4),
        ("deit distilled", "blocks.1.norm1", 4),
        ("naflexvit", "blocks.1", 4),
        ("beit", "blocks.1", 4),
        ("levit", "stages.0", 6),  # of 3 x 3 cells at its end; a norm inside of its attention is no picture
    ],
)
def test_families_of_transformers_have_maps_and_their_tokens_lie_where_the_image_changes(name, layer, cells):
    """All families: ``python -m tests.explaining.families``."""
    made, size = families.network(name)
    found = find_layer(made.backbone, 1, size, size)
    assert (found.name, found.grid) == (layer, (cells, cells))
    for method in METHODS:
        assert families.varying(made, size, found, method) >= families.IMAGES * families.CLASSES / 2
    assert families.in_place(made, size, found) >= 15  # of 16 squares that change


def test_maps_are_where_the_evidence_is():
    """Of a network that pools linearly, the map of a class is its own channel."""
    image = np.zeros((1, 1, 32, 32), np.float32)
    image[0, 0, 4:8, 8:12] = 0.3
    maps = heat_maps(classifier(Known()), image, [1, 0, 2])
    y, x = np.unravel_index(maps[0, 1].argmax(), (32, 32))
    assert 4 <= y < 8
    assert 8 <= x < 12
    np.testing.assert_allclose(maps[0, 0], maps[0, 1][:, ::-1], atol=1e-6)
    assert maps[0, :2].max((1, 2)) == pytest.approx([1, 1])
    assert not maps[0, 2].any()  # nothing speaks for it, and nothing is divided by 0
    with Mapper([classifier(Known())], (1, 32, 32)) as mapper:
        np.testing.assert_array_equal(mapper.coarse(image, [1, 0, 2]).empty, [[False, False, True]])


def test_batches_neighbours_and_repetitions_change_nothing():
    network = cnn(1)
    images = RNG.random((35, 1, 32, 32), np.float32)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    maps = heat_maps(network, images, [0, 2])
    np.testing.assert_array_equal(maps, heat_maps(network, images, [0, 2]))
    np.testing.assert_allclose(maps[17:18], heat_maps(network, images[17:18], [0, 2]), atol=1e-5)
    np.testing.assert_allclose(maps[:, ::-1], heat_maps(network, images, [2, 0]), atol=1e-6)
    assert maps.dtype == np.float32
    assert maps.min() == 0
    assert maps.max() <= 1
    assert all(p.requires_grad and p.grad is None and p.equal(before[n]) for n, p in network.named_parameters())
    assert not any(module._forward_hooks for module in network.modules())


def test_training_runs_are_averaged():
    images = RNG.random((6, 1, 32, 32), np.float32)
    networks = [cnn(seed) for seed in (1, 2, 3)]
    with Mapper(networks, (1, 32, 32)) as mapper:
        together = mapper.coarse(images, [0, 1])
    single = []
    for network in networks:
        with Mapper([network], (1, 32, 32)) as mapper:
            single.append(mapper.coarse(images, [0, 1]))
        assert np.isnan(single[-1].agreement).all()  # of one there is none
    values = np.stack([each.values for each in single])
    np.testing.assert_allclose(together.values, values.mean(0), atol=1e-6)
    np.testing.assert_array_equal(together.runs, values.any((3, 4)).sum(0))
    for i in range(6):
        for k in range(2):
            varying = [each.ravel() for each in values[:, i, k] if each.any()]
            pairs = [np.corrcoef(a, b)[0, 1] for p, a in enumerate(varying) for b in varying[p + 1 :]]
            expected = np.mean(pairs) if pairs else np.nan
            np.testing.assert_allclose(together.agreement[i, k], expected, atol=1e-5)
    with Mapper([networks[0], networks[0]], (1, 32, 32)) as mapper:
        same = mapper.coarse(images, [0, 1])
    np.testing.assert_allclose(same.agreement[~same.empty], 1, atol=1e-6)


def test_overlay():
    grey = RNG.integers(0, 256, (6, 5), np.uint8)
    heat = np.zeros((6, 5), np.float32)
    heat[2, 3] = 1
    picture = overlay(grey, heat, strength=0.5)
    np.testing.assert_array_equal(picture[heat == 0], np.repeat(grey[heat == 0][:, None], 3, 1))
    np.testing.assert_allclose(picture[2, 3], 0.5 * grey[2, 3] + 0.5 * colours()[255], atol=0.51)
    assert colours().sum(1)[[0, 255]].tolist() == sorted(colours().sum(1))[::255]
    np.testing.assert_array_equal(overlay(grey.astype(np.uint16) * 257, heat), overlay(grey, heat))
    with pytest.raises(ValueError, match="must be equal"):
        overlay(grey, heat.T)


@pytest.mark.parametrize("keep_aspect", ["stretch", "pad", "crop"])
@pytest.mark.parametrize(("width", "height"), [(300, 200), (120, 330), (64, 64), (40, 50)])
def test_back_on_the_original(keep_aspect, width, height):
    """What is bright in the image is so in the map of the prepared image that is brought back."""
    image = np.zeros((height, width), np.uint8)
    image[height // 3 : height // 2, width // 3 : width // 2] = 255
    prepared = fit(image, 64, keep_aspect).astype(np.float32) / 255
    back = on_original(prepared, width, height, keep_aspect)
    assert back.shape == image.shape
    assert back.dtype == np.float32
    assert np.abs(back - image / 255.0).mean() < 0.02
