"""A configuration as files that run elsewhere: they compute what the study computes."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pipeline.commands.export import main
from pipeline.deploying import bundle as bundles
from pipeline.deploying import predict_onnx
from pipeline.deploying.bundle import network_of
from pipeline.deploying.choice import choose
from pipeline.deploying.sums import lacking
from pipeline.ensembling.settings import EnsembleSections
from pipeline.imaging.decoding import decode
from pipeline.imaging.enhance import prepare
from pipeline.imaging.settings import Clahe, Preprocess
from pipeline.metrics.thresholds import probabilities
from pipeline.study.params import load
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import as_input, open_images, read_samples
from tests.tiny import ROOT

RAW = Path("data/raw/phantom/images")


def test_the_script_gives_the_probabilities_of_the_study(deployed, tmp_path):
    main(["--out", "out"])
    choice = choose(load(EnsembleSections))
    kept = Predictions.load(Path(f"evaluations/{choice.name}/predictions.npz"))
    names = read_samples().set_index("row").loc[kept.test_rows[:12], "sample_id"].tolist()
    elsewhere = tmp_path / "elsewhere"
    shutil.move("out", elsewhere)
    # -P and -I: nothing of this project can be imported, only NumPy, OpenCV and ONNX Runtime.
    command = [sys.executable, "-I", elsewhere / "predict_onnx.py", *(str(RAW / name) for name in names)]
    head, *lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert head.split("\t") == ["file", *kept.classes]
    found = np.array([line.split("\t")[1:] for line in lines], float)
    expected = probabilities(choice.calibration.apply(choice.combiner.apply(kept.test_logits[:, :12])), kept.task)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("aspect", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("order", ["before_resize", "after_resize", None])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("store", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(50, 91), (20, 13), (32, 32)])
def test_the_script_prepares_as_the_study_does(aspect, order, channels, store, shape):
    settings = Preprocess(
        size=32,
        channels=channels,
        keep_aspect=aspect,
        store=store,
        clahe=Clahe(enabled=order is not None, order=order or "before_resize"),
    )
    picture = np.random.default_rng(3).integers(0, 256, (*shape, 3), np.uint8)
    for colours in (picture, picture[..., 0]):
        data = cv2.imencode(".png", colours[..., ::-1] if colours.ndim == 3 else colours)[1].tobytes()
        wanted = decode(data, channels, depth=store).pixels
        found = predict_onnx.prepared(data, settings.model_dump(mode="json"))
        np.testing.assert_array_equal(found, as_input(prepare(wanted, settings)[None])[0])


@pytest.mark.parametrize(("data", "store"), [(b"no image", "uint8"), (b"", "uint8"), (None, "uint8"), (None, "uint16")])
def test_the_script_refuses_what_it_would_read_otherwise(data, store):
    deep = cv2.imencode(".png", np.full((40, 40), 300, np.uint16))[1].tobytes()
    how = Preprocess(size=16, store=store).model_dump(mode="json")
    with pytest.raises((ValueError, cv2.error)):
        predict_onnx.prepared(deep if data is None else data, how)


def test_what_lies_in_the_folder(deployed):
    main(["small-bce", "--out", "out"])
    out = Path("out")
    sums = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {path.name for path in out.iterdir()} - {"SHA256SUMS"}
    for name, expected in sums.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == expected
    assert {"model.onnx", "predict_onnx.py", "preprocess.json", "labels.json", "README.md", "LICENCE.txt"} <= set(sums)
    labels = json.loads((out / "labels.json").read_text())
    assert labels["training_runs"] == ["small-bce-42", "small-bce-7"]
    choice = choose(load(EnsembleSections), "small-bce")
    given = [np.nan if cut is None else cut for cut in labels["thresholds_of_calibrated_probabilities"]]
    np.testing.assert_allclose(given, choice.thresholds)
    assert "Not for clinical use" in (out / "README.md").read_text()
    network = (out / "model.onnx").read_bytes()
    assert b"site-packages" not in network
    assert b".py" not in network


def test_an_export_that_was_killed_is_completed_and_nothing_of_the_users_is_taken_for_one(deployed, capsys):
    out, beside = Path("out"), Path("partial-out/mine.txt")
    out.mkdir(mode=0o700)
    beside.parent.mkdir()
    beside.write_text("mine")
    main(["small-bce", "--out", "out"])
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    assert lacking(out) == 0
    assert out.stat().st_mode & 0o777 == 0o700
    (out / "model.onnx").unlink()
    (out / "labels.json").unlink()
    assert lacking(out) == 2
    main(["small-bce", "--out", "out"])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole
    assert beside.read_text() == "mine"
    (out / "model.onnx").unlink()
    (out / "README.md").write_text("mine")
    assert lacking(out) is None
    with pytest.raises(SystemExit):
        main(["small-bce", "--out", "out"])
    assert "not an empty folder" in capsys.readouterr().err
    assert (out / "README.md").read_text() == "mine"


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:FutureWarning")
def test_the_card_goes_along_without_links_to_what_does_not(deployed):
    card = Path("reports/model_cards/small-bce.md")
    card.parent.mkdir(parents=True)
    card.write_text(
        "# Card\n\n![curves](../figures/x.png)\n[methods](../methods.md) and [paper](https://example.org)\n"
    )
    main(["small-bce", "--format", "torchscript", "--out", "out"])
    assert Path("out/MODEL_CARD.md").read_text() == "# Card\n\nmethods and [paper](https://example.org)\n"
    assert "`MODEL_CARD.md`" in Path("out/README.md").read_text()
    assert "MODEL_CARD.md" in Path("out/SHA256SUMS").read_text()


def test_a_folder_with_something_in_it_is_left_alone(deployed, capsys):
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        main(["--out", "out"])
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in Path("out").iterdir()] == ["mine.txt"]


def test_another_network_is_refused(deployed, monkeypatch, capsys):
    """What ONNX Runtime computes is compared before anything is written."""
    real = bundles.onnx_engine

    def off(path, threads):
        run = real(path, threads)
        return lambda images: tuple(values + 0.002 for values in run(images))

    monkeypatch.setattr(bundles, "onnx_engine", off)
    with pytest.raises(SystemExit):
        main(["small-bce", "--out", "out"])
    assert re.search(r"off by 0.002 in a logit of \d+ validation images; allowed is 0.001", capsys.readouterr().err)
    assert not Path("out").exists()


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:FutureWarning")
def test_torchscript(deployed):
    import torch

    main(["--format", "torchscript", "--out", "out"])
    choice = choose(load(EnsembleSections))
    images = torch.from_numpy(as_input(open_images()[:7]))
    with torch.no_grad():
        for ours, theirs in zip(network_of(choice)(images), torch.jit.load("out/model.pt")(images)):
            torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


def small_of_timm(channels, arch="test_resnet", **options):
    """A network of timm's in the place of a tiny one; its weights are random, which is all the same to an export."""
    import torch

    from pipeline.learning.networks import models
    from pipeline.learning.settings import TrainingSections

    content = yaml.safe_load(Path("params.yaml").read_text())
    shape = {"mean": [0.4] * channels, "std": [0.2] * channels}
    content["models"]["small"] = {"arch": arch, "lr": 0.01, "input": shape, "options": options}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    described = load(TrainingSections).models["small"]
    for seed in (42, 7):
        torch.manual_seed(seed)
        network = models.build("small", described, 1, 14, 24, np.asarray(open_images()[:20]))
        models.save(Path(f"models/small-bce/seed{seed}/model.safetensors"), network.state_dict(), {})
    return described


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:FutureWarning")
def test_torchscript_of_a_network_whose_operators_ask_for_a_newer_format(deployed):
    """GELU does: torch then keeps the version of the format in another place."""
    import torch

    from pipeline.learning.networks import models

    described = small_of_timm(3, "test_vit", img_size=24, patch_size=8)
    main(["small-bce", "--format", "torchscript", "--out", "out"])
    assert torch._C.PyTorchFileReader("out/model.pt").has_record(".data/version")
    images = torch.from_numpy(as_input(open_images()[:7]))
    ours = models.rebuild("small", described, 14, 24, Path("models/small-bce/seed7/model.safetensors"))
    with torch.no_grad():
        theirs = torch.jit.load("out/model.pt")(images)[0]
        torch.testing.assert_close(theirs[1], ours(images), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated:FutureWarning")
def test_no_file_holds_a_path_of_this_machine(deployed):
    """Of any format, also inside of archives."""
    homes = {str(Path.home()), str(Path.cwd()), str(ROOT), sys.prefix, sys.base_prefix, tempfile.gettempdir()}
    names = {"site-packages", ".py(", "<stdin>", *(path for path in homes if path not in ("/", "/tmp")), "/tmp/"}
    for form in ("onnx", "torchscript", "timm"):
        if form == "timm":
            small_of_timm(1)
        main(["small-bce", "--format", form, *(["--seed", "7"] if form == "timm" else []), "--out", form])
        for path in Path(form).iterdir():
            contents = [path.read_bytes()]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    contents += [archive.read(name) for name in archive.namelist()]
            found = {name for name in names for content in contents if name.encode() in content}
            assert not found, (path, found)


def test_records_of_torchscript_lie_where_they_may_be_mapped(deployed):
    import torch

    main(["small-bce", "--format", "torchscript", "--out", "out"])
    reader = torch._C.PyTorchFileReader("out/model.pt")
    weights = [name for name in reader.get_all_records() if re.fullmatch(r"(data|constants)/\d+", name)]
    assert len(weights) > 5
    assert {reader.get_record_offset(name) % 64 for name in weights} == {0}


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_builds_it_again(deployed, channels):
    import timm
    import torch

    from pipeline.learning.networks import models

    described = small_of_timm(channels)
    main(["small-bce", "--format", "timm", "--seed", "7", "--out", "out"])
    again = timm.create_model("local-dir:out", pretrained=True).eval()
    np.testing.assert_allclose(again.pretrained_cfg["mean"], [0.4] * channels, rtol=1e-6)
    images = torch.from_numpy(as_input(open_images()[:7]))
    ours = models.rebuild("small", described, 14, 24, Path("models/small-bce/seed7/model.safetensors"))
    with torch.no_grad():
        theirs = again((images.expand(-1, channels, -1, -1) - 0.4) / 0.2)
        torch.testing.assert_close(theirs, ours(images), atol=1e-5, rtol=0)
    assert json.loads(Path("out/config.json").read_text())["label_names"][0]


def test_an_export_states_no_licence_or_origin_of_other_weights(deployed):
    """timm's entry of an architecture is about other weights; the licence of the images is none of the network."""
    import timm

    of_entry = timm.get_pretrained_cfg("test_resnet")
    assert (of_entry.license, of_entry.tag) == ("apache-2.0", "r160_in1k")
    small_of_timm(3)
    record = Path("models/small-bce/seed7/run.json")
    weights = {"hub": "timm/test_resnet.r160_in1k", "licence": "apache-2.0"}
    for given, said in (
        (None, "random weights"),
        (weights, "weights of timm/test_resnet.r160_in1k (licence: apache-2.0)"),
        ({"file": "my_secret.pth", "sha256": "0"}, "weights of a file (licence: not recorded)"),
    ):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"weights": given}))
        shutil.rmtree("out", ignore_errors=True)
        main(["small-bce", "--format", "timm", "--seed", "7", "--out", "out"])
        entry = json.loads(Path("out/config.json").read_text())["pretrained_cfg"]
        assert not {"license", "tag", "origin_url", "paper_ids", "url", "hf_hub_id", "test_input_size"} & entry.keys()
        assert f"Licence of the trained weights: not recorded. Training began with {said}." in (
            Path("out/README.md").read_text()
        )
        assert said in Path("out/LICENCE.txt").read_text()
        assert all(b"my_secret" not in path.read_bytes() for path in Path("out").iterdir())
    told = json.loads(Path("out/labels.json").read_text())["trained_on"]
    assert (told["data"]["name"], told["parts"]) == ("phantom", json.loads(record.read_text())["parts"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["small-bce", "--format", "timm"], "baseline_cnn is no network of timm's"),
        (["small-bce", "--seed", "7"], "--seed: is of --format timm alone"),
        (["nothing-bce"], "--configuration: 'nothing-bce'; use one of: "),
    ],
)
def test_what_cannot_be_exported(deployed, capsys, arguments, message):
    with pytest.raises(SystemExit):
        main([*arguments, "--out", "out"])
    assert message in capsys.readouterr().err
    assert not Path("out").exists()
