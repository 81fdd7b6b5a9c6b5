"""Stages prepare_external and evaluate_external on the tiny study, and the page that follows."""

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import configure, evaluate_external, prepare_external
from pipeline.commands import check as check_command
from pipeline.reporting import page, summary
from pipeline.reporting.loading import load_study
from pipeline.reporting.views import external as view
from pipeline.settings import load
from pipeline.settings.checks import check
from pipeline.study.errors import UserError
from pipeline.study.files import read_table
from pipeline.study.params import ParamsError
from pipeline.study.parts import read_split
from pipeline.study.predictions import read_metrics
from pipeline.study.prepared import read_dataset, read_samples
from tests.tiny import TINY

PICTURES = "data/raw/phantom/images"


def parts():
    return read_samples().merge(read_split(), on="row")


def table(name, part, **settings):
    """Write the table of a part of the study's own images; return the settings of the set that it makes."""
    images = parts().query("part == @part")
    classes = list(read_dataset().classes)
    images[["sample_id", "patient_id", *classes]].to_csv(f"{name}.csv", index=False)
    given = {"dataset": "image_table", "root": PICTURES, "table": f"{name}.csv", "image_column": "sample_id"}
    return {**given, "class_columns": classes, "patient_column": "patient_id", **settings}


def use(sets):
    Path("params.yaml").write_text(yaml.safe_dump({**TINY, "external": sets}))
    return load()


@pytest.fixture(scope="module")
def tested(evaluated_once, tmp_path_factory):
    """A study with three sets: a copy of its test part, the same by one class and without patients, training images."""
    folder = tmp_path_factory.mktemp("external") / "study"
    shutil.copytree(evaluated_once, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        images = parts().query("part == 'test'")
        for row in images.itertuples():
            kind = "with" if row.Infiltration else "without" if row.row % 5 else "other"
            Path("folder", kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(PICTURES, row.sample_id), Path("folder", kind, row.sample_id))
        mapped = {"with": "Infiltration", "without": None}
        sets = {
            "copy": table("copy", "test", recalibrate=0.0),
            "folder": {"dataset": "image_folder", "root": "folder", "classes": mapped, "recalibrate": 0.4},
            "seen": table("seen", "train"),
        }
        params = use(sets)
        configure.configure(params)
        for name in sets:
            prepare_external.prepare(name, params)
        for name in ("copy", "folder"):
            evaluate_external.evaluate(name, params)
    return folder


@pytest.fixture
def inside(tested, monkeypatch):
    monkeypatch.chdir(tested)
    return tested


def metrics(name):
    kept = read_table(Path("external", name, "metrics.csv"), ("seed", "note", "class"))
    return kept.assign(note=kept["note"].fillna(""))


def test_a_copy_of_the_test_part_has_its_numbers_and_no_drop(inside):
    found = metrics("copy")
    keys = ["seed", "class", "metric"]
    for model in TINY["study"]["models"]:
        for loss in TINY["study"]["losses"]:
            stage = read_metrics(Path("evaluations", f"{model}-{loss}", "metrics.csv"))
            stage = stage[(stage["part"] == "test") & (stage["metric"] != "loss")].set_index(keys).sort_index()
            of = found[(found["model"] == model) & (found["loss"] == loss)]
            for side in ("here", "there"):
                ours = of[of["part"] == side].set_index(keys).sort_index()
                assert ours.index.equals(stage.index)
                for column in ("value", "ci_low", "ci_high", "n", "n_positive"):
                    assert np.allclose(
                        ours[column], stage[column], rtol=1e-9, atol=1e-12, equal_nan=True
                    )  # some are fits
                assert (ours["note"] == stage["note"]).all()
    stage = read_metrics(Path("ensembles/metrics.csv"), "ensemble").query("part == 'test'")
    of = found[(found["model"] == "ensemble") & (found["part"] == "there")]
    both = of.merge(stage, on=["loss", "class", "metric"], suffixes=("", "_stage"))
    assert len(both) == len(of) > 1000
    assert np.allclose(both["value"], both["value_stage"], rtol=0, atol=1e-6, equal_nan=True)
    dropped = found[found["part"] == "drop"]
    assert dropped["value"].abs().max() < 1e-6


def test_copies_of_test_images_are_counted_and_those_of_training_images_left_out(inside):
    given = yaml.safe_load(Path("params.yaml").read_text())["external"]
    about = json.loads(Path("external/copy/about.json").read_text())
    n = len(parts().query("part == 'test'"))
    assert about["overlap"] == {"test exact": n}
    assert about["images"]["used"] == n
    assert set(about["known"].values()) == {n}
    params = use({"folder": {"dataset": "image_folder", "root": "folder", "classes": {"wiht": "Infiltration"}}})
    with pytest.raises(ParamsError, match=r"external.folder.classes: 'wiht' is no class of the set"):
        evaluate_external.evaluate("folder", params)  # edited since the images were prepared
    use(given)
    with pytest.raises(UserError, match=r"external.seen: no image is left .*the study has trained or validated"):
        evaluate_external.evaluate("seen", load())


def test_a_set_of_one_class_per_image_is_compared_on_what_is_mapped(inside):
    about = json.loads(Path("external/folder/about.json").read_text())
    assert about["compared"] == ["Infiltration"]
    assert set(about["not_compared"].values()) == {"not in the external set"}
    excluded = read_table(Path("external/folder/excluded.csv"))
    assert excluded["sample_id"].str.startswith("other/").all()
    assert len(excluded) + about["images"]["used"] == about["images"]["prepared"]
    whole = metrics("folder")
    auroc = whole[(whole["metric"] == "auroc") & (whole["class"] == "Infiltration") & (whole["seed"] == "mean")]
    here = read_metrics(Path("evaluations/small-bce/metrics.csv"))
    here = here.query("part == 'test' and seed == 'mean' and metric == 'auroc' and `class` == 'Infiltration'")
    ours = auroc[(auroc["part"] == "here") & (auroc["model"] == "small") & (auroc["loss"] == "bce")]
    assert ours["value"].item() == pytest.approx(here["value"].item())


def test_the_page_says_what_was_compared_and_the_headlines_follow(inside, unpainted_figures, tmp_path):
    study = load_study(load())
    with page.about(study):
        written = view.render(study, tmp_path)
    assert {path.name for path in written} >= {"external.md", "external.csv", "external-copy.png"}
    text = (tmp_path / "external.md").read_text()
    copy, folder = text.split("\n## ")[1:]
    assert "also in the test set of this study" in copy
    assert "not a test: adapted" not in copy
    assert "not a test: adapted" in folder
    assert "**Another task.**" in folder
    assert "whose the images are is not known" in folder
    assert "patients, which intervals draw" in copy
    headlines = summary.headlines(study, "test")
    assert headlines["external-copy"] == headlines[study.subject.key]
    assert headlines["external-copy-drop"] == 0
    assert "external-copy" not in summary.headlines(study, "val")
    assert study.missing == ("the external set seen",)
    assert study.params.external["copy"].of_dataset["root"] == "(not shown)"
    assert set(pd.read_csv(tmp_path / "external.csv")["part"]) == {"here", "there", "drop"}


def test_a_set_that_has_left_the_study_is_moved_out_of_the_reports_dependencies(inside, tmp_path, monkeypatch):
    shutil.copytree(inside, tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    configure.configure(use({"folder": {"dataset": "image_folder", "root": "folder"}}))
    assert sorted(path.name for path in Path("external").iterdir()) == ["asked.json", "folder"]
    assert Path("tmp/left/external/copy/about.json").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"dataset": "nowhere"}, "external.x.dataset: 'nowhere' is not a data set; use one of"),
        ({}, "external.x.dataset: missing"),
        ({"dataset": "medmnist", "flags": "x"}, "external.x.flags: unknown key .did you mean 'flag'"),
        (
            {"dataset": "phantom", "recalibrate": 1.0},
            "external.x.recalibrate: must be less than|external.x.recalibrate: must be at most 0.9",
        ),
        ({"dataset": "phantom", "unmapped": "drop"}, "external.x.unmapped: must be 'exclude' or 'negative'"),
        ({"dataset": "phantom", "classes": {"Mass": "Lump"}}, "external.x.classes: 'Mass: Lump': 'Lump' is no class"),
        ({"dataset": "phantom", "classes": {"Lump": "Mass"}}, "external.x.classes: 'Lump' is no class of the set"),
        ({"dataset": "leukemia"}, "external.x.classes: missing, and no class of the set"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_work(given, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=said):
        check(use({"x": given}))


FOLDER = {"dataset": "image_folder", "root": "films"}
TABLE = {"dataset": "image_table", "root": "films", "table": "labels.csv", "label_column": "kind"}


@pytest.fixture
def films(tmp_path, monkeypatch):
    """Two class folders with an image each, and a table of them."""
    monkeypatch.chdir(tmp_path)
    for kind in ("Mass", "Edema"):
        Path("films", kind).mkdir(parents=True)
        cv2.imwrite(f"films/{kind}/1.png", np.zeros((8, 8), np.uint8))
    Path("labels.csv").write_text("image,kind,age\nMass/1.png,Mass,40\nEdema/1.png,Edema,50\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**FOLDER, "root": "nowhere"}, "external.x.root: 'nowhere' does not exist"),
        ({**TABLE, "table": "no.csv"}, "external.x.table: 'no.csv' is not a file"),
        ({**TABLE, "label_column": "class"}, "column 'class' .external.x.label_column. is not in the header"),
        (
            {**TABLE, "class_columns": ["Hernia"], "label_column": None},
            "column 'Hernia' .external.x.class_columns. is not in the",
        ),
        ({**TABLE, "suffix": ".tif"}, "external.x.root: 'films' holds none of the 2 images"),
        ({**FOLDER, "classes": {"Masx": "Mass"}}, "external.x.classes: 'Masx' is no class of the set; must be one of"),
        (
            {**FOLDER, "label_map": {"Mass": "a", "Edema": "b"}},
            r"external.x.classes: missing, and no class of the set \(a",
        ),
        (
            {"dataset": "medmnist", "root": "nowhere", "classes": {"pneumonia": "Mass"}},
            "external.x.root: 'nowhere' does not exist",
        ),
    ],
)
def test_external_sets_that_are_not_on_the_disk_are_refused_before_any_training(given, said, films, capsys):
    use({"x": given})
    for begin in (check_command.main, configure.main):
        with pytest.raises((ParamsError, SystemExit)) as error:
            begin([]) if begin is check_command.main else begin()
        assert re.search(said, f"{error.value}{capsys.readouterr().err}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"root": "nowhere"}, "datasets.image_table.root: 'nowhere' does not exist"),
        ({"label_column": "class"}, "column 'class' .datasets.image_table.label_column. is not in the header"),
        ({}, "models.small.metadata: the data set has no column 'agee'; use some of: age"),
    ],
)
def test_own_images_that_are_not_on_the_disk_are_refused_by_check(changes, said, films, capsys):
    own = {key: value for key, value in {**TABLE, **changes}.items() if key != "dataset"}
    study = {**TINY, "dataset": "image_table", "datasets": {"image_table": own}}
    small = {**TINY["models"]["small"], **({} if changes else {"metadata": ["age", "agee"]})}
    study |= {"losses": {"ce": {}}, "models": {"small": small}}
    study["study"] = {"models": ["small"], "losses": ["ce"], "replicates": []}
    Path("params.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(SystemExit):
        check_command.main([])
    assert re.search(said, capsys.readouterr().err)


def test_errors_of_a_data_set_speak_of_the_key_of_the_external_set(prepared):
    params = use({"x": {"dataset": "image_folder", "root": "nowhere", "classes": {"a": "Mass"}}})
    with pytest.raises(UserError, match=r"external\.x\.root: 'nowhere'"):
        prepare_external.prepare("x", params)
    for kind, picture in zip("bc", Path(PICTURES).glob("*.png")):
        Path("some", kind).mkdir(parents=True)
        shutil.copy(picture, Path("some", kind))
    params = use({"x": {"dataset": "image_folder", "root": "some", "classes": {"a": "Mass"}}})
    with pytest.raises(ParamsError, match=r"external\.x\.classes: 'a' is no class of the set; must be one of b, c"):
        prepare_external.prepare("x", params)
    assert not Path("data/external/x/prepared/images.npy").exists()
