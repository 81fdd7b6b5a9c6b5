"""Stages, page and predict of a study in which a model takes metadata beside the image."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline import ensemble, evaluate, probe, train
from pipeline.datasets.shared.tables import Table
from pipeline.deploying import predict_onnx
from pipeline.deploying.choice import ChoiceSections, choose
from pipeline.deploying.network import Network
from pipeline.deploying.predicting import predict
from pipeline.deploying.sources import Source, sources
from pipeline.deploying.told import encoded, remarks, values
from pipeline.explaining.maps import Mapper, scaled_to_one
from pipeline.explaining.occlusion import Occluder
from pipeline.learning.metadata import Scheme
from pipeline.learning.networks import models
from pipeline.metrics.thresholds import probabilities
from pipeline.reporting import page
from pipeline.reporting.loading import load_study
from pipeline.reporting.views import metadata, methods
from pipeline.scoring.predict import known_metadata
from pipeline.searching.scores import validation_outputs
from pipeline.settings import load
from pipeline.study.params import ParamsError
from pipeline.study.params import load as load_sections
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import as_input, open_images, read_samples
from pipeline.study.runs import Run, configurations, runs
from tests.tiny import TINY

NAMED = ["age", "view"]
TOLD = {"age": "31", "sex": "F"}


def settings(**more):
    """The tiny study with one loss and one seed, and a second model that takes metadata and differs in nothing else."""
    content = yaml.safe_load(yaml.safe_dump(TINY))
    small = content["models"]["small"]
    content["models"] = {"small": small, "told": {**small, "metadata": NAMED, **more}}
    content["study"] = {"models": ["small", "told"], "losses": ["bce"], "replicates": []}
    return content


def test_a_study_with_metadata(prepared, monkeypatch):
    Path("params.yaml").write_text(yaml.safe_dump(settings()))
    study = load()
    for run in runs(study):
        train.train(run, study)
    for configuration in configurations(study):
        evaluate.evaluate(configuration, study)
    told = configurations(study)[1]
    table = read_samples().set_index("row")
    about = json.loads(Path("models/told-bce/seed42/run.json").read_text())
    scheme, file = Scheme.read(about["metadata"]), Path("models/told-bce/seed42/model.safetensors")
    assert scheme == models.scheme_of(file)
    assert "metadata" not in json.loads(Path("models/small-bce/seed42/run.json").read_text())

    # The logits of the test part are those of the network on images and values side by side.
    predictions = Predictions.load(Path("evaluations/told-bce/predictions.npz"))
    rows = predictions.test_rows
    network = models.rebuild("told", study.models["told"], len(predictions.classes), 24, file)
    images = torch.from_numpy(as_input(open_images()[rows]))
    given = torch.from_numpy(scheme.encode(table.loc[rows, NAMED].astype(str)))
    with torch.no_grad():
        np.testing.assert_allclose(network(images, given), predictions.test_logits[0], atol=1e-5)

    # What a search compares its trials by are the logits of the evaluation.
    logits, at = validation_outputs(Run("told", "bce", 42), study)
    np.testing.assert_array_equal(at, predictions.val_rows)
    np.testing.assert_allclose(logits, predictions.val_logits[0], atol=1e-5)

    # The page: gain, known values, and the probe of the columns alone.
    ensemble.ensemble(study)
    probe.probe(study)
    loaded = load_study(study)
    (gain,) = metadata.gains(loaded)
    assert (gain.more.key, gain.fewer.key, gain.columns) == ("told-bce", "small-bce", ("age", "view"))
    by_hand = loaded.configurations[1].get("auroc").value - loaded.configurations[0].get("auroc").value
    assert gain.macro.estimate.value == pytest.approx(by_hand)
    assert [each.known[2] for each in metadata.known(loaded)] == [(len(rows), len(rows))] * 2
    with page.about(loaded):
        (written,) = metadata.render(loaded, Path("pages"))
        described = page.render("methods.md", **methods.facts(loaded, {"roc": False, "curves": False}))
    assert "; told also takes age, view of the table" in described
    assert described.count("Beside the image, ") == described.count("Beside the image, told took age and view: ") == 1
    text = written.read_text()
    assert "told-bce (age, view)" in text
    assert "A logistic regression on these columns alone" in text

    # Elsewhere a column may be lacking: then it is unknown of every image.
    other = Path("other")
    other.mkdir()
    for name in ("dataset.json", "samples.csv"):
        (other / name).write_bytes(Path("data/study/prepared", name).read_bytes())
    pd.read_csv(other / "samples.csv").drop(columns="view").to_csv(other / "samples.csv", index=False)
    assert known_metadata([told], study, rows, other, "stage") == {"age": len(rows), "view": 0}

    # New images get the study's own answers where the table says what the study knew.
    some = table.loc[rows[:4]]
    raw = Path("data/raw/phantom/images").absolute()
    new = pd.DataFrame({"file": some["sample_id"], "Patient Age": some["age"], "ViewPosition": some["view"]})
    new = new.astype("str")
    new.iloc[3, 1:] = ""
    new.to_csv("new.csv", index=False)
    choice = choose(load_sections(ChoiceSections), "told-bce")
    predict(choice, sources(["new.csv"], raw), Path("answers"))
    answers = pd.read_csv("answers/predictions.csv")
    expected = probabilities(choice.calibration.apply(predictions.test_logits[0]), "multilabel")[:4]
    got = answers[[f"probability {name}" for name in predictions.classes]].to_numpy()
    np.testing.assert_allclose(got[:3], expected[:3], atol=1e-5)
    assert np.abs(got[3] - expected[3]).max() > 1e-4
    assert "age is not known; view is not known" in answers["flags"].fillna("").tolist()[3]
    assert not answers["flags"].fillna("").str.contains("known").tolist()[0]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metadata": ["age", "age"]}, "names 'age' twice"),
        ({"arch": "smp/unet", "options": {}}, "which gives masks; must be empty"),
        ({"metadata": "age"}, "models.told.metadata: must be a valid list"),
    ],
)
def test_what_cannot_be_is_refused_as_the_settings_are_read(more, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(settings(**more)))
    with pytest.raises(ParamsError, match=said):
        load()


def test_heat_maps_hold_metadata_as_they_are():
    """Maps of a network that is told are those of one that has the same values inside."""

    class Held(models.Classifier):
        def forward(self, images):
            return told(images, given.repeat(len(images) // 3, 1))  # a covering after another, of all images

    record = [{"name": "x", "mean": 0.0, "sd": 1.0, "levels": [], "known": 9, "missing": 9}]
    torch.manual_seed(0)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 24), np.uint8)
    described = models.Model(arch="baseline_cnn", lr=0.1, options={"filters": [4], "hidden": 8})
    told = models.build("a", described, 1, 2, 24, pictures, scheme=Scheme.read(record)).eval()
    given = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    held = Held(told.backbone, told.mean.flatten(), told.std.flatten(), told.head).eval()
    images, classes = as_input(pictures), np.array([0, 1, 1])
    for make in (Mapper, Occluder):
        with make([told], (1, 24, 24)) as maps:
            found = maps.paired(images, classes, given.numpy())
        with make([held], (1, 24, 24)) as maps:
            np.testing.assert_allclose(found, maps.paired(images, classes), atol=1e-6)
        assert found.max() == scaled_to_one(torch.from_numpy(found)).max() == 1


def test_an_exported_network_gives_each_member_its_own_metadata():
    """Members of several configurations, or folds: the second input has each scheme once, side by side."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 24), np.uint8)
    described = models.Model(arch="baseline_cnn", lr=0.1, options={"filters": [4], "hidden": 8})
    age = {"name": "age", "mean": 50.0, "sd": 15.0, "levels": [], "known": 9, "missing": 9}
    sex = {"name": "sex", "mean": None, "sd": None, "levels": ["F", "M"], "known": 9, "missing": 9}
    schemes = [Scheme.read([age, sex]), None, Scheme.read([{**age, "mean": 40.0}]), Scheme.read([age, sex])]
    members = [models.build("a", described, 1, 2, 24, pictures, scheme=scheme).eval() for scheme in schemes]
    network = Network(members, "multilabel", torch.ones(2), torch.zeros(2))
    assert network.schemes == (schemes[0], schemes[2])
    known = [{"age": "31", "sex": "F"}, {"age": "", "sex": "M"}, {"age": "80", "sex": ""}]
    whole = Scheme(tuple(column for scheme in network.schemes for column in scheme.columns))
    images, metadata = torch.from_numpy(as_input(pictures)), torch.from_numpy(encoded(whole, known))
    with torch.no_grad():
        logits, _, features = network(images, metadata)
        for found, member, scheme in zip(logits, members, schemes):
            alone = () if scheme is None else (torch.from_numpy(encoded(scheme, known)),)
            torch.testing.assert_close(found, member(images, *alone))
    assert features.shape == (3, 8)  # of the image alone: metadata do not make it unlike the training images
    assert "age is not known" in remarks(whole, known[1])
    with pytest.raises(TypeError, match="metadata"):
        network(images)


@pytest.mark.parametrize(
    ("extra", "expected", "said"),
    [
        ({"Patient Age": "031Y", "Gender": "female"}, TOLD, ()),
        ({"age": "31", "sex": "F"}, TOLD, ()),
        (
            {"AGE": "thirty", "Sex": "n/a"},
            {"age": "thirty", "sex": ""},
            ("age 'thirty' is no number", "sex is not known"),
        ),
        ({"age": "", "sex": "X"}, {"age": "", "sex": "X"}, ("age is not known", "sex 'X' is in no training image")),
        ({}, {"age": "", "sex": ""}, ("age is not known", "sex is not known")),
        ({"age": "150", "sex": "F"}, {"age": "150", "sex": "F"}, ("age 150 is far from the training images'",)),
    ],
)
def test_a_table_tells_of_new_images_as_those_of_data_sets_do(extra, expected, said, tmp_path):
    (tmp_path / "a.png").touch()
    found = values(Source(tmp_path / "a.png", "a.png", extra), ["age", "sex"])
    assert found == expected
    age = {"name": "age", "mean": 50.0, "sd": 15.0, "levels": [], "known": 9, "missing": 9}
    sex = {"name": "sex", "mean": None, "sd": None, "levels": ["F", "M"], "known": 9, "missing": 9}
    remarked = remarks(Scheme.read([age, sex]), found)
    assert len(remarked) == len(said)
    assert all(a.startswith(b) for a, b in zip(remarked, said))


@pytest.mark.parametrize(
    ("header", "column"),
    [("Scanner", "Scanner"), ("scanner", "scanner"), ("Scanner|scanner", "Scanner"), ("SCANNER|scanner", None)],
)
def test_a_further_column_of_a_table_is_found_as_those_of_data_sets_are(header, column, tmp_path):
    """By `pipeline.datasets.shared.tables`, which reads the tables of data sets."""
    table = Table(tuple(header.split("|")), [])
    try:
        expected = table.header[table.column("Scanner")]
    except KeyError:
        expected = None
    assert expected == column
    extra = {name: f"of {name}" for name in table.header}
    found = values(Source(tmp_path / "a.png", "a.png", extra), ["Scanner"])
    assert found == {"Scanner": "" if column is None else f"of {column}"}


LEVELS = ["Sie mens", "GE", "ge", "É", "none"]


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("GE", 1),
        ("ge ", 2),
        ("Ge", None),
        ("SIE  MENS ", 0),
        ("siemens", None),
        ("e\u0301", 3),
        ("None", 4),
        ("", None),
    ],
)
def test_the_script_of_an_export_knows_the_levels_that_the_study_knows(value, level):
    record = {"name": "x", "mean": None, "sd": None, "levels": LEVELS, "known": 9, "missing": 9}
    expected = np.eye(6)[5 if level is None else level]
    np.testing.assert_array_equal(Scheme.read([record]).encode(pd.DataFrame({"x": [value]}))[0], expected)
    np.testing.assert_array_equal(predict_onnx.encoded([record], 5.0, {"x": value}), expected)
    said = predict_onnx.unknown([record], 5.0, {"x": value})
    assert said == ([f"x '{value}'"] if level is None else [])


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("60", 0.5),
        ("6e1", 0.5),
        ("1e12", 5),
        ("-1e400", None),
        ("inf", None),
        ("NaN", None),
        ("６０", None),
        ("60,0", None),
    ],
)
def test_the_script_of_an_export_knows_the_numbers_that_the_study_knows(value, number):
    record = {"name": "x", "mean": 50.0, "sd": 20.0, "levels": [], "known": 9, "missing": 9}
    expected = [0, 1] if number is None else [number, 0]
    np.testing.assert_array_equal(Scheme.read([record]).encode(pd.DataFrame({"x": [value]}))[0], expected)
    np.testing.assert_array_equal(predict_onnx.encoded([record], 5.0, {"x": value}), expected)


def test_the_script_of_an_export_says_what_its_table_lacks(tmp_path, capsys):
    path = tmp_path / "new.csv"
    path.write_text("\ufeffAge;file\n31;b.png\n;a.png\n", encoding="utf-8")
    assert predict_onnx.rows_of(path, ["age", "sex"]) == {"b.png": {"age": "31"}, "a.png": {"age": ""}}
    assert "unknown of every image: sex; it has Age, file" in capsys.readouterr().err
    for text, said in (
        ("image,age\na,1\n", "no column 'file'; it has image, age"),
        ("file\na\na\n", "'a' stands in two"),
    ):
        path.write_text(text)
        with pytest.raises(SystemExit, match=said):
            predict_onnx.rows_of(path, [])


def test_a_dicom_file_tells_of_itself(tmp_path):
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    made.PatientAge, made.PatientSex, made.ViewPosition = "031Y", "F", "PA"
    made.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    asked = ["age", "sex", "view", "site"]
    found = values(Source(tmp_path / "a.dcm", "a.dcm", {"Sex": "M"}), asked)
    assert found == {"age": "31", "sex": "M", "view": "PA", "site": ""}  # the table, where it says something
