"""Weights that are named to `medmatrix new`."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.learning.networks.models import build
from pipeline.learning.settings import Model
from pipeline.planning.about import weights_of
from pipeline.study.errors import UserError

ARCH = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights as a hub keeps them: safetensors sorts the names, so that a depthwise convolution comes first."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "mobilenetv3-small-050.lamb.safetensors"
    save_file({k: v.half() for k, v in timm.create_model(ARCH).state_dict().items()}, path)
    return path


def test_the_architecture_comes_from_the_name(file):
    assert weights_of(str(file), None, False).arch == ARCH
    assert weights_of(str(file.parent), None, False).file == str(file.parent)


def test_weights_of_another_architecture_are_refused_before_anything_is_written(file):
    with pytest.raises(UserError) as refused:
        weights_of(str(file), "resnet10t", False)
    said = str(refused.value)
    assert said.startswith(f"--weights {file} with architecture resnet10t: ")
    assert "do not fit the architecture" in said
    assert said.endswith("--arch NAME")


@pytest.mark.parametrize("name", ["weights.safetensors", "nothing.safetensors"])
def test_a_name_that_tells_nothing_and_a_file_that_is_not_there(file, tmp_path, name):
    path = tmp_path / name
    if name == "weights.safetensors":
        path.write_bytes(file.read_bytes())
    with pytest.raises(UserError, match=r"begins with no architecture|no .safetensors or .pth file"):
        weights_of(str(path), None, False)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_starts_from_them_whatever_the_images(file, channels):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)[: 3 + (channels == 3)], np.uint8)
    model = build("tuned", Model(arch=ARCH, weights=str(file), lr=0.01), channels, 3, 32, images)
    given = timm.create_model(ARCH).state_dict()
    torch.manual_seed(3)
    expected = timm.create_model(ARCH).state_dict()
    assert model.mean.shape[1] == 3
    for name in ("conv_stem.weight", "blocks.0.0.conv_dw.weight"):
        assert torch.equal(model.backbone.state_dict()[name], expected[name].half().float())
        assert not torch.equal(given[name], expected[name])
