"""Pages in the words of a study: names of classes stay what they are, and nothing unknown is claimed."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt  # rich needs it, and DVC rich

from benchmarks.shared.drawn_study import settings, write_study
from pipeline.report import write_reports
from pipeline.reporting import page
from pipeline.reporting.loading import load_study
from pipeline.study.classes import told_apart
from pipeline.study.files import DATASET
from pipeline.study.prepared import DatasetInfo, read_samples

NAMES = {"NA": 0.2, "*Mass*": 0.2, "$a$": 0.2, "*b_c*": 0.2, "<b>bold</b>": 0.2, "_x_": 0.2, "a|b": 0.2, "None": 0.2}


def pages(folder: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in sorted(folder.rglob("*.md"))}


def test_no_page_speaks_of_patients_that_are_not_known(here, tmp_path, monkeypatch):
    content = json.loads(DATASET.read_text())
    quoted = "Images of 89 patients, as published"
    monkeypatch.setattr("pipeline.reporting.loading.read_dataset", lambda: changed)
    changed = DatasetInfo(
        **{**content, "classes": tuple(content["classes"]), "notes": (quoted,), "patients_known": False}
    )
    secret = {"accession_number": "CANARY-1", "study_uid": "1.2.3.CANARY", "sop_uid": "1.2.3.CANARY"}
    monkeypatch.setattr("pipeline.reporting.loading.read_samples", lambda: read_samples().assign(**secret))
    written = write_reports(load_study(here), tmp_path)
    assert not [path for path in tmp_path.rglob("*.*") if b"CANARY" in path.read_bytes()]
    assert tmp_path / "methods.md" in written
    text = pages(tmp_path)
    assert len(text) > 5
    for path, said in text.items():
        found = re.findall(r".{0,60}\bpatient.{0,40}", said.replace(quoted, ""), re.IGNORECASE)
        assert not found, (path, found)
    limits = text[tmp_path / "methods.md"] + text[tmp_path / "README.md"]
    assert quoted in limits
    assert "leakage between images of one person in different sets cannot be excluded" in limits
    assert "A group is an image with its near-duplicates" in text[tmp_path / "data.md"]


def test_every_page_warns_where_some_images_name_a_patient_and_others_do_not(here, tmp_path, monkeypatch):
    content = json.loads(DATASET.read_text())
    remark = "159 of 160 images name a patient (54 in all)"
    changes = {
        "classes": tuple(content["classes"]),
        "patients_known": False,
        "remarks": (remark,),
        "source": {"patients_named": {"images": 159, "of": 160, "patients": 54}},
    }
    monkeypatch.setattr("pipeline.reporting.loading.read_dataset", lambda: DatasetInfo(**{**content, **changes}))
    write_reports(load_study(here), tmp_path)
    text = pages(tmp_path)
    warning = "> [!CAUTION]\n> **Patients are not known of every image.** 159 of 160 images name a patient"
    assert warning in text[tmp_path / "README.md"]
    assert remark in text[tmp_path / "data.md"]
    assert "or what shows one patient who is named, and must stay within one set" in text[tmp_path / "data.md"]


def test_names_of_classes_mean_nothing_to_markdown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = settings("multilabel", losses=("bce",))
    write_study("multilabel", study, prevalence=NAMES)
    write_reports(load_study(study), tmp_path / "out")
    reader = MarkdownIt("commonmark").enable("table")
    data = reader.render((tmp_path / "out" / "data.md").read_text())
    plain = data.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    for name in NAMES:
        assert f">{name}</td>" in plain, name
    for path, text in pages(tmp_path / "out").items():
        shown = reader.render(text)
        assert "<em>" not in shown, (path, re.findall(r"<em>.{0,80}", shown))
        assert "<b>bold" not in shown, path
        # A dollar sign that is no text would begin a formula on GitHub.
        assert not re.search(r"(?<!\\)\$a(?<!\\)\$", text), path


TAKEN = [
    *("mean", "train", "1.0", "012", "nan", "None", "NA", "null", "true", "1", "seed", "all", "ensemble", "mean_all"),
    *map(told_apart, ("macro", "overall", "part", "age")),
]
"""Names that tables of the study have for columns, sets, seeds and ensembles, or that look like numbers."""
PLAIN = [f"K{number:02d}" for number in range(len(TAKEN))]


def test_results_do_not_depend_on_what_classes_are_called(tmp_path, monkeypatch):
    results = []
    for names in (PLAIN, TAKEN):
        (tmp_path / names[0]).mkdir()
        monkeypatch.chdir(tmp_path / names[0])
        study = settings("multiclass", losses=("ce",), models=("densenet",))
        write_study("multiclass", study, prevalence=dict.fromkeys(names, 0.05))
        write_reports(load_study(study), Path("out"))
        table = pd.read_csv("out/metrics.csv", dtype="str", keep_default_na=False)
        table["class"] = table["class"].replace(dict(zip(names, PLAIN)))
        numbers = {path.name: text.count("\n") for path, text in pages(Path("out")).items()}
        results.append((table, Path("out/metrics.json").read_bytes(), numbers))
    pd.testing.assert_frame_equal(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]


@pytest.mark.pictures
def test_names_of_classes_are_no_formulas(tmp_path):
    from pipeline.reporting.figures.style import figure, named, save, styled

    with styled():
        drawn = figure(3, 2)
        axes = drawn.subplots()
        axes.set_yticks(range(2), [r"$\nonsense{$", "$a$"])
        axes.text(0, 0, r"$\also{$")
        axes.plot([0, 1], label=named("_x"))
        axes.legend()
        save(drawn, tmp_path / "figure.png")  # a formula that cannot be read would raise
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["\u200b_x"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Pleural_Thickening", "Pleural_Thickening"),
        ("_x", r"\_x"),
        ("*Mass*", r"\*Mass\*"),
        ("$a$", r"\$a\$"),
        ("a&amp;b", "a&amp;amp;b"),
        ("R&D", "R&D"),
    ],
)
def test_escaping(name, shown):
    assert page._escaped(name) == shown
