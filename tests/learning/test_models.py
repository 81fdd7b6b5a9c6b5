import numpy as np
import pytest
import torch

from pipeline.learning import models
from pipeline.learning.models import ModelError
from pipeline.params import Model, load

CONFIGURATIONS = {
    **load().models,
    "resnet18": Model(arch="resnet18", lr=0.001),
    "mobilenet": Model(arch="mobilenetv3_small_050", lr=0.001, options={"drop_rate": 0.2}),
    "notebook_cnn": Model(arch="baseline_cnn", lr=0.001, options={"filters": [8, 16], "hidden": 32}),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 64, 64), dtype=np.uint8)


def built(name, channels=1, **changes):
    torch.manual_seed(0)
    settings = CONFIGURATIONS[name].model_copy(update=changes)
    return models.build(name, settings, channels, 5, 64, IMAGES if channels == 1 else np.stack([IMAGES] * 3, -1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_model_trains_a_step_and_gives_the_same_logits_after_saving_and_loading(name, channels, tmp_path):
    model = built(name, channels)
    images = torch.rand(4, channels, 64, 64)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    logits = model(images)
    assert logits.shape == (4, 5)
    logits.square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    optimizer.step()
    before = model.eval()(images)
    models.save(tmp_path / "model.safetensors", model.state_dict(), {"model": name})
    torch.manual_seed(1)
    settings = CONFIGURATIONS[name]
    other = models.build(name, settings, channels, 5, 64, None)
    assert torch.equal(models.load_weights(other, tmp_path / "model.safetensors").eval()(images), before)


def test_the_same_seed_builds_the_same_weights_and_files_are_the_same_bytes(tmp_path):
    for i in range(2):
        models.save(tmp_path / f"{i}.safetensors", built("densenet").state_dict(), {"b": 1, "a": 2})
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()


def test_moments_equal_numpy():
    for images in (IMAGES, np.stack([IMAGES, IMAGES // 2, 255 - IMAGES], -1)):
        mean, std = models.moments(images)
        values = images.reshape(*images.shape[:3], -1) / 255
        np.testing.assert_allclose(mean, values.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(std, values.std((0, 1, 2)), rtol=1e-9)
    assert models.moments(np.full((3, 4, 4), 7, np.uint8))[1] == 1 / 255


def test_input_is_normalised_by_the_training_images():
    model = built("densenet")
    assert model.mean.item() == pytest.approx(IMAGES.mean() / 255, rel=1e-5)
    seen = []
    model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model(torch.from_numpy(IMAGES)[:, None].float() / 255)
    assert abs(seen[0].mean()) < 1e-4
    assert seen[0].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"arch": "densnet121"}, ["models.mine.arch", "densnet121", "baseline_cnn"]),
        ({"arch": "resnet18", "options": {"growth": 3}}, ["models.mine.options", "growth"]),
        ({"arch": "baseline_cnn", "options": {"filter": [3]}}, ["models.mine.options", "filter"]),
        ({"arch": "baseline_cnn", "options": {"filters": [4] * 8}}, ["models.mine.options"]),
        ({"arch": "baseline_cnn", "pretrained": True}, ["models.mine.pretrained"]),
    ],
)
def test_a_model_that_cannot_be_built_names_its_key(settings, said):
    with pytest.raises(ModelError) as error:
        models.build("mine", Model(lr=0.1, **settings), 1, 3, 64, None)
    for part in said:
        assert part in str(error.value)


def test_weights_that_cannot_be_fetched_name_what_was_wanted(monkeypatch):
    import timm

    def refuse(*_, pretrained, **__):
        assert pretrained
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(ModelError, match=r"models.mine.pretrained.*timm/resnet18.*no route to host"):
        models.build("mine", Model(arch="resnet18", lr=0.1, pretrained=True), 1, 3, 64, None)
