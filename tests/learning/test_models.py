import re
import shutil
import warnings

import numpy as np
import pytest
import torch

from pipeline.learning.networks import models
from pipeline.learning.networks.architecture import architecture
from pipeline.learning.networks.heads import CosineHead
from pipeline.learning.networks.origin import origin
from pipeline.learning.networks.transfer import read_weights
from pipeline.learning.settings import Input, Model
from pipeline.learning.weights import ModelError
from pipeline.settings import load

TESTED = {
    "resnet50": 64,
    "vgg16": 32,
    "densenet121": 64,
    "mobilenetv2_100": 64,
    "efficientnet_b2": 64,
    "inception_resnet_v2": 96,
    "nasnetalarge": 64,
    "convnext_tiny": 64,
}
"""Architectures of the published studies that the project re-creates, and the smallest images worth testing them on."""
CONFIGURATIONS = {
    **{name: (model, 64) for name, model in load().models.items()},
    **{name: (Model(arch=name, lr=0.001), size) for name, size in TESTED.items()},
    # Of its 138 million weights 100 are one layer's, which the narrower middle makes 6.
    "vgg16": (Model(arch="vgg16", lr=0.001, options={"mlp_ratio": 1 / 16}), TESTED["vgg16"]),
    "mobilenet": (Model(arch="mobilenetv3_small_050", lr=0.001, dropout=0.2, drop_path=0.1), 64),
    "notebook_cnn": (Model(arch="baseline_cnn", lr=0.001, hidden=32, options={"filters": [8, 16]}), 64),
    "hidden": (Model(arch="resnet18", lr=0.001, hidden=16, dropout=0.5), 64),
    "cosine": (Model(arch="mobilenetv3_small_050", lr=0.001, head="cosine"), 64),
    "cosine_cnn": (Model(arch="baseline_cnn", lr=0.001, head="cosine", options={"filters": [4]}), 64),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 64, 64), dtype=np.uint8)


def built(name, channels=1):
    torch.manual_seed(0)
    settings, size = CONFIGURATIONS[name]
    images = np.random.default_rng(0).integers(0, 256, (4, size, size, 3), dtype=np.uint8)
    return models.build(name, settings, channels, 5, size, images if channels == 3 else images[..., 0])


@pytest.mark.parametrize(
    ("name", "channels"), [(name, 3 if name in TESTED else 1) for name in CONFIGURATIONS] + [("densenet", 3)]
)
def test_each_model_trains_a_step_and_gives_the_same_logits_after_saving_and_loading(name, channels, tmp_path):
    settings, size = CONFIGURATIONS[name]
    model = built(name, channels)
    images = torch.rand(2, channels, size, size)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    logits = model(images)
    assert logits.shape == (2, 5)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert {id(p) for p in model.head_parameters()} < {id(p) for p in model.parameters()}
    optimizer.step()
    with torch.no_grad():
        before = model.eval()(images)
        models.save(tmp_path / "model.safetensors", model.state_dict(), {"model": name})
        other = models.rebuild(name, settings, 5, size, tmp_path / "model.safetensors")
        assert torch.equal(other(images), before)


def test_the_same_seed_builds_the_same_weights_and_files_are_the_same_bytes(tmp_path):
    for i in range(2):
        models.save(tmp_path / f"{i}.safetensors", built("densenet").state_dict(), {"b": 1, "a": 2})
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()


def test_moments_of_16_bits_are_those_of_8():
    images = np.random.default_rng(4).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    np.testing.assert_allclose(models.moments(images.astype(np.uint16) * 257), models.moments(images), rtol=1e-12)
    fine = np.random.default_rng(5).integers(0, 65536, (6, 5, 4)).astype(np.uint16)
    np.testing.assert_allclose(np.ravel(models.moments(fine)), [fine.mean() / 65535, fine.std() / 65535], rtol=1e-9)


def test_moments_equal_numpy():
    for images in (IMAGES, np.stack([IMAGES, IMAGES // 2, 255 - IMAGES], -1)):
        mean, std = models.moments(images)
        values = images.reshape(*images.shape[:3], -1) / 255
        np.testing.assert_allclose(mean, values.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(std, values.std((0, 1, 2)), rtol=1e-9)
    assert models.moments(np.full((3, 4, 4), 7, np.uint8))[1] == 1 / 255


def test_input_from_scratch_is_normalised_by_the_training_images():
    model = models.build("m", CONFIGURATIONS["densenet"][0], 1, 5, 64, IMAGES)
    assert model.mean.item() == pytest.approx(IMAGES.mean() / 255, rel=1e-5)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.from_numpy(IMAGES)[:, None].float() / 255)
    assert abs(seen[0].mean()) < 1e-4
    assert seen[0].std() == pytest.approx(1, abs=1e-3)


def test_hidden_layer_dropout_and_logits_stand_in_the_order_of_the_notebook():
    head = built("hidden").backbone.fc
    assert [type(m).__name__ for m in head] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert (head[0].in_features, head[0].out_features, head[2].p, head[3].out_features) == (512, 16, 0.5, 5)
    cnn = built("notebook_cnn").backbone
    assert cnn.hidden.out_features == 32


def test_dropout_and_stochastic_depth_reach_the_architecture():
    network = built("mobilenet").backbone
    assert network.drop_rate == 0.2
    assert max(getattr(m, "drop_prob", 0) for m in network.modules()) > 0


def test_a_cosine_head_gives_cosines():
    head = CosineHead(6, 3)
    features = torch.randn(4, 6)
    expected = torch.nn.functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), expected)
    assert torch.equal(head(features), head(8 * features))
    assert built("cosine")(torch.rand(3, 1, 64, 64)).abs().max() <= 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"arch": "densnet121"}, ["models.mine.arch", "densnet121", "baseline_cnn"]),
        ({"arch": "resnet18", "options": {"growth": 3}}, ["models.mine.options", "growth"]),
        ({"arch": "baseline_cnn", "options": {"filter": [3]}}, ["models.mine.options", "filter"]),
        ({"arch": "baseline_cnn", "options": {"filters": [4] * 8}}, ["models.mine.options"]),
        ({"arch": "baseline_cnn", "pretrained": True}, ["models.mine.pretrained"]),
        ({"arch": "vgg16", "drop_path": 0.1}, ["models.mine.drop_path: 0.1", "vgg16", "must be empty"]),
        ({"arch": "baseline_cnn", "drop_path": 0.1}, ["models.mine.drop_path: 0.1", "baseline_cnn"]),
        (
            {"arch": "resnet18", "dropout": 0.1, "options": {"drop_rate": 0.2}},
            ["models.mine.dropout = 0.1", "models.mine.options.drop_rate = 0.2", "one of them"],
        ),
        ({"arch": "deit_tiny_distilled_patch16_224"}, ["models.mine.arch", "no single classifier"]),
    ],
)
def test_a_model_that_cannot_be_built_names_its_key(settings, said):
    with pytest.raises(ModelError) as error:
        models.build("mine", Model(lr=0.1, **settings), 1, 3, 64, IMAGES)
    for part in said:
        assert part in str(error.value)


def test_weights_that_cannot_be_fetched_name_the_file_of_the_hub_and_the_way_without_a_network(monkeypatch):
    import timm

    def refuse(*_, pretrained, **__):
        assert pretrained
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    said = r"models\.mine\.pretrained \(or weights: timm/resnet18\).*timm/resnet18.*no route.*models\.mine\.weights"
    with pytest.raises(ModelError, match=said):
        models.build("mine", Model(arch="resnet18", lr=0.1, pretrained=True), 1, 3, 64, IMAGES)


@pytest.fixture
def trained(tmp_path):
    """Weights of a colour network of 7 classes, in timm's own form."""
    import timm

    torch.manual_seed(3)
    network = timm.create_model("resnet18", num_classes=7)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "weights.pth")
    return network, tmp_path / "weights.pth"


def test_a_file_of_weights_gives_the_network_its_features_and_its_normalisation(trained):
    network, path = trained
    settings = Model(arch="resnet18", lr=0.1, weights=str(path))
    model = models.build("m", settings, 1, 3, 64, IMAGES).eval()
    mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    assert model.mean.flatten().tolist() == pytest.approx(mean)
    assert model.std.flatten().tolist() == pytest.approx(std)
    grey = torch.rand(2, 1, 64, 64)
    colour = (grey.repeat(1, 3, 1, 1) - torch.tensor(mean).reshape(1, 3, 1, 1)) / torch.tensor(std).reshape(1, 3, 1, 1)
    with torch.no_grad():
        expected = network.eval().forward_features(colour)
        torch.testing.assert_close(model.backbone.forward_features((grey - model.mean) / model.std), expected)
    assert model(grey).shape == (2, 3)
    again = models.build("m", settings.model_copy(update={"weights": str(path.parent)}), 1, 3, 64, IMAGES)
    assert torch.equal(again.backbone.conv1.weight, network.conv1.weight)
    assert origin(settings)["file"] == "weights.pth"
    own = models.build(
        "m", settings.model_copy(update={"input": Input(mean=[0.5] * 3, std=[0.25] * 3)}), 1, 3, 64, IMAGES
    )
    assert own.mean.flatten().tolist() == [0.5] * 3


def test_a_model_of_this_project_is_a_start_for_another_study(tmp_path):
    first = built("densenet")
    models.save(tmp_path / "model.safetensors", first.state_dict(), {})
    settings = CONFIGURATIONS["densenet"][0].model_copy(update={"weights": str(tmp_path / "model.safetensors")})
    second = models.build("m", settings, 3, 2, 64, np.stack([IMAGES] * 3, -1))
    assert torch.equal(second.mean, first.mean)
    assert torch.equal(second.backbone.features.conv0.weight, first.backbone.features.conv0.weight)
    colour = torch.rand(2, 3, 64, 64)
    assert second(colour).shape == (2, 2)  # grey by the weights of ITU-R BT.601
    seen = []
    second.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    second(colour)
    grey = (0.299 * colour[:, 0] + 0.587 * colour[:, 1] + 0.114 * colour[:, 2])[:, None]
    torch.testing.assert_close(seen[0], (grey - second.mean) / second.std)


@pytest.mark.parametrize("arch", ["densenet121", "resnet18"])
def test_dropout_before_a_head_that_trains_alone_drops_in_training_and_not_in_evaluation(arch):
    import timm

    from pipeline.learning.networks.transfer import freeze

    backbone = timm.create_model(arch, num_classes=3, in_chans=1, drop_rate=0.5)
    head = backbone.pretrained_cfg["classifier"]
    frozen = freeze("m.trainable", backbone, head, 0)
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        backbone.train()
        for module in frozen:
            module.eval()
        assert not torch.equal(backbone(images), backbone(images))
        backbone.eval()
        assert torch.equal(backbone(images), backbone(images))


def test_only_what_is_trainable_moves_and_frozen_batch_norms_keep_their_statistics(trained):
    _, path = trained
    for trainable, moving in (("head", "fc"), ({"last": 6}, "layer4.1|fc"), ({"last": 2}, "layer4.1.bn2|fc")):
        settings = Model(arch="resnet18", lr=0.1, weights=str(path), trainable=trainable)
        torch.manual_seed(0)
        model = models.build("m", settings, 1, 3, 64, IMAGES)
        torch.nn.init.normal_(model.backbone.fc.weight)  # it begins at zero, where nothing below it has a gradient
        before = {k: v.clone() for k, v in model.backbone.state_dict().items()}
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
        for _ in range(2):
            model.train()(torch.rand(4, 1, 64, 64)).square().sum().backward()
            optimizer.step()
        moved = {k for k, v in model.backbone.state_dict().items() if not torch.equal(v, before[k])}
        assert moved
        assert all(any(k.startswith(m) for m in moving.split("|")) for k in moved), moved
        assert ("layer4.1.bn2.running_mean" in moved) == (trainable != "head")
        assert ("layer4.1.conv1.weight" in moved) == (trainable == {"last": 6})


def test_the_last_ten_layers_of_resnet50_are_those_of_keras():
    from pipeline.learning.networks.transfer import freeze

    backbone = architecture("m", Model(arch="resnet50", lr=0.1), 3, 3, 64)[0]
    freeze("m.trainable", backbone, "fc", 10)
    trained = {name.rpartition(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    # conv5_block3 of keras.applications.ResNet50: three convolutions with their norms, activations and the addition
    assert trained == {f"layer4.2.{part}{i}" for part in ("conv", "bn") for i in (1, 2, 3)} | {"fc"}
    with pytest.raises(ModelError, match=r"m\.trainable: last = 1000; must be 1 to 156"):
        freeze("m.trainable", backbone, "fc", 1000)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda s: s.pop("module.layer1.0.conv1.weight"), "1 missing: layer1.0.conv1.weight"),
        (lambda s: s.update({"module.extra.weight": torch.ones(1)}), "1 unknown: extra.weight"),
        (
            lambda s: s.update({"module.layer1.0.bn1.bias": torch.ones(3)}),
            r"layer1\.0\.bn1\.bias \(3,\) instead of \(64,\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_key_by_key(trained, damage, said):
    _, path = trained
    content = torch.load(path, weights_only=True)
    damage(content["state_dict"])
    torch.save(content, path)
    with pytest.raises(ModelError, match=rf"models\.m\.weights: .*weights\.pth: .*{said}"):
        models.build("m", Model(arch="resnet18", lr=0.1, weights=str(path)), 3, 3, 64, IMAGES)


class Dangerous:
    def __reduce__(self):
        return (print, ("this file ran code",))


def test_a_file_that_is_none_of_weights_is_refused_without_running_it(tmp_path, trained, capsys):
    torch.save({"state_dict": Dangerous()}, tmp_path / "bad.pth")
    (tmp_path / "page.safetensors").write_text("<html>not found</html>")
    torch.save({"epoch": 3}, tmp_path / "no_weights.pth")
    shutil.copy(trained[1], tmp_path / "weights.onnx")
    for name in ("bad.pth", "page.safetensors", "no_weights.pth", "weights.onnx", "absent.pth"):
        with pytest.raises(ModelError, match=rf"models\.m\.weights: .*{name}"):
            models.build("m", Model(arch="resnet18", lr=0.1, weights=str(tmp_path / name)), 3, 3, 64, IMAGES)
    with pytest.raises(ModelError, match=r"folder .* holds bad\.pth, no_weights\.pth, page\.safetensors, weights\.pth"):
        models.build("m", Model(arch="resnet18", lr=0.1, weights=str(tmp_path)), 3, 3, 64, IMAGES)
    wrong = Model(arch="resnet18", lr=0.1, weights=str(trained[1]), sha256="0" * 64)
    with pytest.raises(ModelError, match=r"SHA-256.*must be 0000"):
        models.build("m", wrong, 3, 3, 64, IMAGES)
    assert "ran code" not in capsys.readouterr().out


def folded(network):
    """Fold every batch norm's statistics and weight away, as converters do, leaving a bias."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
            module.running_mean.zero_()
            module.running_var.fill_(1 - module.eps)
            module.bias.data.normal_()
    return network


def test_folded_batch_norms_get_their_statistics_back_and_the_network_does_not_change(trained, tmp_path, capsys):
    network = folded(trained[0])
    torch.save(network.state_dict(), tmp_path / "folded.pth")
    settings = Model(arch="resnet18", lr=0.1, weights=str(tmp_path / "folded.pth"))
    torch.manual_seed(0)
    model = models.build("m", settings, 1, 3, 64, IMAGES)
    assert "20 folded batch-norm layers restored, measured on 20 training images" in capsys.readouterr().out
    torch.manual_seed(0)
    as_it_was = models.build("m", settings.model_copy(update={"trainable": "head"}), 1, 3, 64, IMAGES)
    assert (as_it_was(torch.rand(2, 1, 64, 64)) == 0).all()  # a new head begins with equal logits
    for network in (model, as_it_was):
        torch.nn.init.eye_(network.backbone.fc.weight)
    images = torch.from_numpy(IMAGES)[:, None].float() / 255
    with torch.no_grad():
        expected = as_it_was.eval()(images)
        torch.testing.assert_close(model.eval()(images), expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
        # With the statistics of these images entered, a batch of them all is nearly what evaluation gives.
        torch.testing.assert_close(model.train()(images), expected, rtol=1e-2, atol=2e-2 * expected.abs().max().item())
    assert models.unfold_batch_norms(model, images) == 0  # none is folded any more


def test_a_stochastic_depth_of_0_asks_nothing_of_a_network_without_one():
    images = np.zeros((4, 32, 32), np.uint8)
    for arch, options in (("baseline_cnn", {"filters": [4]}), ("densenet121", {"block_config": [1, 1, 1, 1]})):
        settings = Model.model_validate({"arch": arch, "lr": 0.1, "drop_path": 0.0, "options": options})
        assert models.build("mine", settings, 1, 2, 32, images) is not None


@pytest.mark.parametrize(
    ("arch", "size", "others"),
    [("dla34", 80, "64 or 96"), ("hrnet_w18_small", 80, "64 or 96"), ("inception_v3", 32, "96 or 128")],
)
def test_a_size_that_a_network_does_not_take_is_refused_at_check(arch, size, others):
    """What it takes and what not is told by timm's network itself, with numbers in it."""
    import timm

    network = timm.create_model(arch, num_classes=2).eval()
    with torch.no_grad():
        for other in map(int, others.split(" or ")):
            network(torch.zeros(1, 3, other, other))
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 3, size, size))
    said = (
        rf"models\.m\.arch: {arch} does not take images of {size} px \(preprocess\.size\): .*; must be another size, "
    )
    with pytest.raises(ModelError, match=said + f"such as {others}$"):
        models.check("m", Model(arch=arch, lr=0.1), 3, size)
    models.check("m", Model(arch=arch, lr=0.1), 3, int(others.split()[0]))


def test_a_file_that_cannot_be_read_says_what_it_is_and_what_to_do(tmp_path):
    import argparse

    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(network, tmp_path / "whole.pth")
    torch.save({"state_dict": network.state_dict(), "args": argparse.Namespace(a=1)}, tmp_path / "arguments.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own deprecation
        torch.jit.trace(network, torch.zeros(1, 2)).save(tmp_path / "traced.pt")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "pointer.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    for name, said in {
        "whole.pth": r"holds Python objects beside tensors \(.*Linear.*torch\.save\(STATE, .*content\.state_dict\(\)$",
        "arguments.pth": r"holds Python objects beside tensors \(argparse\.Namespace\), which are not unpickled",
        "traced.pt": r"it is TorchScript, .*torch\.jit\.load\('.*traced\.pt'\)\.state_dict\(\), 'weights\.pth'\)$",
        "empty.pth": "it is empty; fetch it again$",
        "empty.safetensors": "it is empty; fetch it again$",
        "pointer.pth": "pointer of Git LFS in the place of the file; git lfs pull$",
        "page.pth": "it is no file of tensors that torch has saved; fetch it again",
    }.items():
        with pytest.raises(
            ModelError, match=rf"^models\.m\.weights: .*{name} cannot be read as weights: .*{said}"
        ) as error:
            read_weights("models.m.weights", tmp_path / name)
        assert "\x1b" not in str(error.value)
    # What is advised works.
    content = torch.load(tmp_path / "arguments.pth", weights_only=False)
    torch.save(content["state_dict"], tmp_path / "weights.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.jit.load(tmp_path / "traced.pt").state_dict(), tmp_path / "of_traced.pth")
    for name in ("weights.pth", "of_traced.pth"):
        assert torch.equal(read_weights("w", tmp_path / name).state["0.weight"], network[0].weight)


def test_weights_with_nan_are_refused_at_check(trained):
    _, path = trained
    content = torch.load(path, weights_only=True)
    content["state_dict"]["module.layer2.0.conv1.weight"][0, 0] = torch.nan
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"models\.m\.weights: .*1 tensors hold NaN: layer2\.0\.conv1\.weight;"):
        models.check("m", Model(arch="resnet18", lr=0.1, weights=str(path)), 3, 64)


@pytest.mark.parametrize("prefix", ["model.", "_orig_mod.module.", "module._orig_mod.", "model._orig_mod.", ""])
def test_prefixes_of_wrappers_are_taken_off(trained, tmp_path, prefix):
    network, _ = trained
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "wrapped.pth")
    assert read_weights("w", tmp_path / "wrapped.pth").state.keys() == network.state_dict().keys()


def test_densenets_with_the_old_names_of_torchvision_load():
    """As torchvision renames them: pattern of densenet.py, `_load_state_dict`."""
    from torchvision.models import densenet

    from pipeline.learning.networks.transfer import load_key_by_key

    theirs = densenet.densenet121(num_classes=3).state_dict()
    new = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))([12]\.(?:weight|bias|running_mean|running_var))$")
    old = {new.sub(r"\1.\2", name): tensor for name, tensor in theirs.items() if "num_batches" not in name}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    backbone = architecture("m", Model(arch="densenet121", lr=0.1), 3, 3, 64)[0]
    load_key_by_key("w", backbone, old, "classifier")
    for name, tensor in backbone.state_dict().items():
        assert "num_batches" in name or name.startswith("classifier") or torch.equal(tensor, theirs[name])


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("tresnet_m", {}),
        ("csatv2", {}),
        ("naflexvit_base_patch16_gap", {"depth": 1, "embed_dim": 32, "num_heads": 2}),
        ("gemma4_vit_167m", {"depth": 1}),
    ],
)
@pytest.mark.parametrize("grey", [True, False])
def test_weights_of_networks_whose_first_layer_is_no_plain_convolution(tmp_path, arch, options, grey):
    """Their channels are told by the network itself; what it computes is what timm's network does."""
    import timm

    torch.manual_seed(3)
    network = timm.create_model(arch, num_classes=7, **options).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    settings = Model(arch=arch, lr=0.1, weights=str(tmp_path / "weights.pth"), options=options, trainable="head")
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    channels = 1 if grey else 3
    models.check("m", settings, channels, 64)
    model = models.build("m", settings, channels, 2, 64, images[..., 0] if grey else images).eval()
    mean, std = (torch.tensor(network.pretrained_cfg[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    pixels = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        expected = network.forward_head(
            network.forward_features((pixels.expand(-1, 3, -1, -1) - mean) / std), pre_logits=True
        )
        found = model.backbone.forward_features((pixels - model.mean) / model.std)
        torch.testing.assert_close(model.backbone.forward_head(found, pre_logits=True), expected)


def test_networks_that_are_none_for_such_images_or_classes_are_refused_at_check():
    with pytest.raises(
        ModelError, match=r"models\.m\.arch: csatv2 takes images in colour alone; set preprocess\.channels: 3"
    ):
        models.check("m", Model(arch="csatv2", lr=0.1), 1, 64)
    models.check("m", Model(arch="csatv2", lr=0.1, input=Input(mean=[0.5] * 3, std=[0.25] * 3)), 1, 64)
    for arch in ("gemma4_vit_167m_enc", "qwen3_vit_88m_enc"):
        with pytest.raises(
            ModelError, match=rf"models\.m\.arch: {arch} .*has no (single )?classifier.*; use one that has"
        ):
            models.check("m", Model(arch=arch, lr=0.1), 3, 96)


@pytest.mark.parametrize("arch", ["dla46_c", "dpn48b", "resnetv2_18", "resnet18"])
def test_a_new_head_begins_with_equal_logits_also_where_it_is_a_convolution(tmp_path, arch):
    import timm

    torch.save(timm.create_model(arch).state_dict(), tmp_path / "weights.pth")
    settings = Model(arch=arch, lr=0.1, weights=str(tmp_path / "weights.pth"), trainable="head")
    model = models.build("m", settings, 3, 3, 64, np.stack([IMAGES] * 3, -1)).eval()
    assert (model(torch.rand(2, 3, 64, 64)) == 0).all()


@pytest.mark.parametrize("arch", ["inception_next_atto", "convnext_atto", "resnet18"])
@pytest.mark.parametrize("last", [1, 2, 4, 5, 6])
def test_only_what_is_frozen_is_in_evaluation_mode(tmp_path, arch, last):
    """Blocks of the first two have a parameter of their own (gamma), which comes before the layers in them."""
    import timm

    torch.manual_seed(0)
    torch.save(timm.create_model(arch).state_dict(), tmp_path / "weights.pth")
    weights = {"weights": str(tmp_path / "weights.pth"), "trainable": {"last": last}}
    model = models.build("m", Model(arch=arch, lr=0.1, **weights), 3, 3, 64, np.stack([IMAGES] * 3, -1)).train()
    names = dict(model.backbone.named_modules())
    for name, module in names.items():
        own = list(module.parameters(recurse=False))
        if own and not any(module.children()):
            assert module.training == own[0].requires_grad, name
        if any(p.requires_grad for p in module.parameters()):
            assert module.training, name
