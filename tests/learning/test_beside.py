"""config.json beside a file of weights, as timm writes it."""

import json

import numpy as np
import pytest
import timm
import torch

from pipeline.learning.networks import models
from pipeline.learning.networks.beside import described
from pipeline.learning.settings import Input, Model
from pipeline.learning.weights import ModelError

IMAGES = np.random.default_rng(0).integers(0, 255, (4, 48, 48, 3), np.uint8)
MEAN, STD = [0.1, 0.4, 0.7], [0.2, 0.3, 0.4]


def saved(folder, arch="test_resnet", mean=MEAN, std=STD, **options):
    """Save random weights as timm does, with their description beside them."""
    torch.manual_seed(0)
    network = timm.create_model(arch, num_classes=3, **options)
    network.pretrained_cfg |= {"mean": tuple(mean), "std": tuple(std)}
    timm.models.save_for_hf(network, str(folder), model_args=options, safe_serialization=True)
    return str(folder)


def test_what_a_network_sees_is_what_timm_gives_it_by_the_same_folder(tmp_path):
    folder = saved(tmp_path)
    settings = Model(arch="test_resnet", lr=0.1, weights=folder)
    models.check("m", settings, 3, 48)
    model = models.build("m", settings, 3, 3, 48, IMAGES).eval()
    again = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(again)
    torch.testing.assert_close(model.mean.flatten(), torch.tensor(config["mean"]))
    torch.testing.assert_close(model.std.flatten(), torch.tensor(config["std"]))
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        ours = model.backbone.forward_features((pixels - model.mean) / model.std)
        mean, std = (torch.tensor(config[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
        torch.testing.assert_close(ours, again.forward_features((pixels - mean) / std))
    asked = settings.model_copy(update={"input": Input(mean=[0.5] * 3, std=[0.25] * 3)})
    assert models.build("m", asked, 3, 3, 48, IMAGES).mean.flatten().tolist() == [0.5] * 3


def test_of_a_grey_network_it_is_the_mean_of_the_colours(tmp_path):
    settings = Model(arch="test_resnet", lr=0.1, weights=saved(tmp_path, in_chans=1))
    config = json.loads((tmp_path / "config.json").read_text())
    for mean in (MEAN, [sum(MEAN) / 3]):
        config["pretrained_cfg"]["mean"] = mean
        (tmp_path / "config.json").write_text(json.dumps(config))
        model = models.build("m", settings, 3, 3, 48, IMAGES)
        assert model.mean.flatten().tolist() == pytest.approx([0.4])


def test_an_encoder_is_normalised_as_its_file_says(tmp_path):
    options = {"encoder_name": "tu-resnet18", "encoder_depth": 3, "decoder_channels": [8, 8, 8]}
    settings = Model(arch="smp/unet", lr=0.1, weights=saved(tmp_path, "resnet18"), options=options)
    assert models.build("m", settings, 3, 1, 64, IMAGES).mean.flatten().tolist() == pytest.approx(MEAN)


def test_another_network_with_the_same_tensors_is_refused_at_check(tmp_path):
    folder = saved(tmp_path, "test_efficientnet", pad_type="same")
    assert described(tmp_path / "model.safetensors").options == {"pad_type": "same"}
    refused = (
        r'models\.m\.options\.pad_type: not set; .*config\.json says of these weights: must be "same", as in optio'
    )
    with pytest.raises(ModelError, match=refused):
        models.check("m", Model(arch="test_efficientnet", lr=0.1, weights=folder), 3, 48)
    options = {"pad_type": "same", "drop_rate": 0.1}
    models.check("m", Model(arch="test_efficientnet", lr=0.1, weights=folder, options=options), 3, 48)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "test_efficientnet_evos"}))
    with pytest.raises(ModelError, match=r"models\.m\.arch: 'test_efficientnet'; .*must be test_efficientnet_evos"):
        models.check("m", Model(arch="test_efficientnet", lr=0.1, weights=folder, options=options), 3, 48)


def test_the_size_of_a_vit_is_asked_for(tmp_path):
    folder = saved(tmp_path, "test_vit", img_size=48)
    with pytest.raises(ModelError, match=r"models\.m\.options\.img_size: not set; .*must be 48"):
        models.check("m", Model(arch="test_vit", lr=0.1, weights=folder), 3, 48)
    models.check("m", Model(arch="test_vit", lr=0.1, weights=folder, options={"img_size": 48}), 3, 48)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"architecture": 3}', '{"architecture": "bert"}', '{"a": {"mean"'])
def test_what_is_none_of_timms_says_nothing(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert described(tmp_path / "model.safetensors") is None
    (tmp_path / "config.json").unlink()
    assert described(tmp_path / "model.safetensors") is None
