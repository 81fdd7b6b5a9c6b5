"""Which weights a file holds, by its name, its folders and what describes it."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.learning.networks import models
from pipeline.learning.settings import Model
from pipeline.learning.weights import ModelError
from pipeline.planning import pretrained
from pipeline.planning.about import weights_of
from pipeline.planning.pretrained import Known
from pipeline.study.errors import UserError

NAMES = timm.list_pretrained()
ENTRIES = {name: timm.get_pretrained_cfg(name) for name in NAMES}


def found(path) -> str | None:
    known = pretrained.identify(Path(path), {})
    return None if known is None else known.arch


def test_every_entry_of_the_table_is_found_by_each_name_that_it_goes_by():
    for name, entry in ENTRIES.items():
        assert found(f"x/{name}.safetensors") == name
        assert found(f"hub/models--timm--{name}/snapshots/0a1b2c/model.safetensors") == name
        if entry.url:
            assert found(f"x/{entry.url.rpartition('/')[2]}") == name


def test_without_a_tag_it_is_asked_for_exactly_where_normalisations_differ():
    names: dict[str, list[str]] = {}
    for name in NAMES:
        names.setdefault(name.partition(".")[0], []).append(name)
    for arch, tagged in names.items():
        pretrained.ask_if_unclear("f.pth", Known(tagged[0], "its name"))
        if len({str((ENTRIES[name].mean, ENTRIES[name].std)) for name in tagged}) == 1:
            pretrained.ask_if_unclear("f.pth", Known(arch, "its name"))
            continue
        with pytest.raises(UserError, match="--arch NAME, with one of: ") as asked:
            pretrained.ask_if_unclear("f.pth", Known(arch, "its name"))
        assert all(name in str(asked.value) for name in tagged)


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("mobilenetv2_100.timm.fp16.safetensors", "mobilenetv2_100"),
        ("mobilenetv2_100_ra-b33bc2c4.pth", "mobilenetv2_100.ra_in1k"),
        ("resnet50-0676ba61.pth", "resnet50.tv_in1k"),
        ("efficientnet-lite0-57934424.pth", "efficientnet_lite0"),
        ("resnet50x.pth", None),
        ("weights.pth", None),
    ],
)
def test_names(name, arch):
    assert found(name) == arch


@pytest.mark.parametrize(
    ("name", "arch"), [("b0-355c32eb", "tf_efficientnet_b0.aa_in1k"), ("lite1-6e", "tf_efficientnet_lite1")]
)
def test_the_names_of_efficientnet_pytorch_stand_for_networks_that_pad_as_tensorflow(name, arch):
    known = pretrained.identify(Path(f"efficientnet-{name}.pth"), {"_conv_stem.weight": torch.zeros(1)})
    assert known.arch == arch
    pretrained.ask_if_unclear("f.pth", known)


@pytest.fixture
def hub(tmp_path):
    """A folder as timm pushes it to a hub: weights under a name that tells nothing, and what describes them."""

    def write(**about):
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(about))
        return str(tmp_path)

    return write


def test_what_describes_them_beside_them_is_followed(hub):
    entry = timm.get_pretrained_cfg("test_resnet.r160_in1k")
    about = {"tag": "r160_in1k", "mean": list(entry.mean), "std": list(entry.std)}
    weights = weights_of(hub(architecture="test_resnet", pretrained_cfg=about), None, False)
    assert (weights.arch, dict(weights.extra)) == ("test_resnet.r160_in1k", {})
    about = {"mean": [0.1, 0.2, 0.3], "std": [0.2, 0.2, 0.2]}
    weights = weights_of(hub(architecture="test_resnet", pretrained_cfg=about), None, False)
    assert (weights.arch, dict(weights.extra)) == ("test_resnet", {"input": about})


@pytest.mark.parametrize(
    ("arch", "options", "side"),
    [("mobilenetv2_035", {"pad_type": "same"}, None), ("test_vit", {"img_size": 48}, 48)],
)
def test_the_options_that_a_network_was_built_with_are_taken_from_beside_it(tmp_path, arch, options, side):
    torch.manual_seed(0)
    built = timm.create_model(arch, **options)
    save_file(built.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": arch, "model_args": options}))
    weights = weights_of(str(tmp_path), None, False)
    assert (weights.arch, weights.size) == (arch, side)
    given = {"arch": weights.arch, "weights": str(tmp_path), "lr": 0.001, **weights.extra}
    images = torch.rand(2, 3, side or 64, side or 64)
    drawn = np.zeros((2, 64, 64, 3), np.uint8)
    network = models.build("m", Model.model_validate(given), 3, 2, side or 64, drawn).eval()
    torch.testing.assert_close(
        network.backbone.forward_features(images), built.eval().forward_features(images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("about", [{}, {"architectures": ["BertModel"]}, {"architecture": "no_such"}, []])
def test_what_is_not_timms_description_tells_nothing(hub, about):
    folder = hub(**about) if isinstance(about, dict) else hub()
    if not isinstance(about, dict):
        (Path(folder) / "config.json").write_text("[]")
    with pytest.raises(UserError, match="begins with no architecture of timm"):
        weights_of(folder, None, False)


def test_folded_batch_norms_are_said(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    for name, tensor in state.items():
        if name.endswith("running_mean"):
            tensor.fill_(0.5)
    save_file(state, tmp_path / "test_resnet.safetensors")
    assert weights_of(str(tmp_path), None, False).doubt is None
    save_file({k: v * (not k.endswith("running_mean")) for k, v in state.items()}, tmp_path / "test_resnet.safetensors")
    assert "batch norms are folded" in weights_of(str(tmp_path), None, False).doubt


def test_a_network_of_one_size_gets_that_and_another_is_refused_before_it_trains(tmp_path):
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "test_vit.r160_in1k.safetensors")
    weights = weights_of(str(tmp_path), None, False)
    assert weights.size == timm.create_model("test_vit").patch_embed.img_size[0]
    settings = Model(arch="mixer_s32_224", lr=0.01)
    models.check("mixer", settings, 3, 224)
    with pytest.raises(ModelError, match=r"takes images of 224 px alone, not of 96 \(preprocess.size\)"):
        models.check("mixer", settings, 3, 96)
    models.check("mixer", Model(arch="mixer_s32_224", lr=0.01, options={"img_size": 96}), 3, 96)


@pytest.mark.parametrize("arch", ["no_such_network", "resnet18.no_such_tag", "test_resnet_unheard"])
def test_the_hub_has_no_such_weights(arch):
    with pytest.raises(UserError, match=f"--arch {arch} with --pretrained: "):
        weights_of(None, arch, True)
