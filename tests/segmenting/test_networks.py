"""Networks that give masks: built without a network, from a file of their encoder's weights, or refused by name."""

import warnings

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.learning.networks import models
from pipeline.learning.settings import Model
from pipeline.learning.weights import ModelError

IMAGES = np.random.default_rng(0).integers(0, 255, (8, 32, 32), np.uint8)


def described(arch="smp/unet", **others):
    options = {"encoder_name": "tu-test_resnet", "encoder_depth": 3}
    return Model.model_validate({"arch": arch, "lr": 0.01, "options": options, **others})


def test_an_encoder_starts_from_the_weights_of_a_classifier_and_nothing_is_fetched(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise AssertionError("asked for the network")

    monkeypatch.setattr("socket.create_connection", no_network)
    torch.manual_seed(1)
    classifier = timm.create_model("test_resnet", num_classes=7, in_chans=3)
    save_file(classifier.state_dict(), tmp_path / "weights.safetensors")
    settings = described(weights=str(tmp_path), input={"mean": [0.5] * 3, "std": [0.25] * 3})
    models.check("unet", settings, 1, 32)
    torch.manual_seed(2)
    network = models.build("unet", settings, 1, 2, 32, IMAGES)
    encoder, given = network.backbone.encoder.model.state_dict(), classifier.state_dict()
    convolutions = [name for name, value in encoder.items() if value.ndim == 4]
    assert len(convolutions) == 8
    assert all(torch.equal(encoder[name], given[name]) for name in convolutions)
    assert network.mean.flatten().tolist() == [0.5] * 3
    assert network(torch.rand(2, 1, 32, 32)).shape == (2, 2, 32, 32)
    models.save(tmp_path / "trained.safetensors", network.state_dict(), {})
    again = models.rebuild("unet", settings, 2, 32, tmp_path / "trained.safetensors")
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(again(images), network.eval()(images))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (described("smp/pan"), r"models.unet.arch: smp/pan does not take images of 32 px"),
        (
            described(weights="a.pt", options={"encoder_name": "resnet18"}),
            "encoders of timm alone start from a file",
        ),
        (described(head_lr=0.1), r"models.unet.head_lr: 0.1; must be empty for smp/unet"),
        (described(head="cosine"), "models.unet.head: cosine; must be linear"),
        (described(options={"classes": 3}), "models.unet.options.classes: 3; must be left out"),
    ],
)
def test_what_a_network_of_masks_has_not_is_refused(settings, said):
    with pytest.raises(ModelError, match=said):
        models.check("unet", settings, 1, 32)


ENCODERS = {
    "convnext_atto": 64,  # stages.0 is stages_0
    "densenet121": 64,  # features.conv0 is features_conv0
    "vgg11": 64,
    "inception_next_atto": 64,
    "repvgg_a0": 64,
    "resnetv2_18": 64,
    "xception41": 64,  # taken at hooks in its layers
    "twins_svt_small": 64,  # all of it below "model"
    "mobilenetv3_small_050": 64,
    "resnet18": 64,
}


@pytest.mark.parametrize("arch", ENCODERS)
@pytest.mark.parametrize("with_head", [True, False])
def test_encoders_of_every_family_compute_what_timms_features_do_with_the_same_file(tmp_path, arch, with_head):
    size = ENCODERS[arch]
    torch.manual_seed(1)
    classifier = timm.create_model(arch, num_classes=7)
    head = classifier.pretrained_cfg["classifier"]
    state = {k: v.contiguous() for k, v in classifier.state_dict().items() if with_head or not k.startswith(f"{head}.")}
    save_file(state, tmp_path / "weights.safetensors")
    options = {"encoder_name": f"tu-{arch}"}
    settings = Model.model_validate({"arch": "smp/unet", "lr": 0.01, "options": options, "weights": str(tmp_path)})
    models.check("unet", settings, 3, size)
    images = np.random.default_rng(0).integers(0, 255, (4, size, size, 3), np.uint8)
    torch.manual_seed(2)
    encoder = models.build("unet", settings, 3, 1, size, images).eval().backbone.encoder.model
    save_file(dict(classifier.state_dict()), tmp_path / "whole.safetensors")
    at = encoder.feature_info.out_indices
    file = {"file": str(tmp_path / "whole.safetensors"), "num_classes": 7}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's own, of the head that is left out
        theirs = timm.create_model(
            arch, features_only=True, out_indices=at, pretrained=True, pretrained_cfg_overlay=file, num_classes=7
        ).eval()
    pixels = torch.rand(1, 3, size, size)
    with torch.no_grad():
        for ours, expected in zip(encoder(pixels), theirs(pixels), strict=True):
            torch.testing.assert_close(ours, expected)


def test_a_tensor_that_no_part_of_the_classifier_has_is_refused(tmp_path):
    state = dict(timm.create_model("convnext_atto").state_dict())
    options = {"encoder_name": "tu-convnext_atto"}
    settings = Model.model_validate({"arch": "smp/unet", "lr": 0.01, "options": options, "weights": str(tmp_path)})
    save_file(state | {"stages.1.more.weight": torch.ones(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"1 unknown: stages\.1\.more\.weight"):
        models.check("unet", settings, 3, 64)
    del state["stages.1.blocks.0.norm.weight"]
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"1 missing: stages_1\.blocks\.0\.norm\.weight"):
        models.check("unet", settings, 3, 64)
