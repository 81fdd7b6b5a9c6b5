"""No name, id or path of real data on any page, table or figure of a report."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.imaging.settings import Roi
from pipeline.learning.settings import Teacher
from pipeline.report import write_reports
from pipeline.reporting import pseudonyms
from pipeline.reporting.figures import style
from pipeline.reporting.loading import load_study
from pipeline.reporting.registry import PAGES
from pipeline.settings import Params
from pipeline.study.files import AUDIT, BOXES, DATASET, DUPLICATES, EXCLUDED, PSEUDONYM_KEY, PSEUDONYM_SALT, SAMPLES
from pipeline.study.predictions import Predictions

pytestmark = pytest.mark.drawn

FOLDER = "/srv/clinic/Maria Huber"
"""Where the images of the made study lie."""
WEIGHTS = "/home/huber/weights/resnet_of_ours.safetensors"


def image_name(row: int) -> str:
    return f"ward {row % 7}/HB{1000 + row // 2}_{row:02d} x.jpeg"


def patient_name(row: int) -> str:
    return f"HB{1000 + row // 2}"


def make_real(study: Params) -> Params:
    """Give a drawn study the names that a clinic's own has, in every file that a report reads."""
    info = json.loads(DATASET.read_text())
    source = {
        "root": FOLDER,
        "table": f"{FOLDER}/labels.csv",
        "other_files": {"count": 1, "first": ["HB1000 notes.txt"]},
    }
    notes = [f"{image_name(8)} was scanned twice.", f"Patient {patient_name(8)} moved."]
    DATASET.write_text(json.dumps(info | {"synthetic": False, "source": source, "notes": notes}))
    samples = pd.read_csv(SAMPLES, dtype={"duplicate_of": "str"}, keep_default_na=False)
    was = dict(zip(samples["sample_id"], samples["row"]))
    samples["sample_id"] = samples["row"].map(image_name)
    samples["patient_id"] = samples["group_id"] = samples["row"].map(patient_name)
    samples["duplicate_of"] = [image_name(was[d]) if d else "" for d in samples["duplicate_of"]]
    samples.to_csv(SAMPLES, index=False)
    lost, twin = "HB9001_lost.dcm", "HB9002_twin.dcm"
    reasons = ["file missing", f"identical pixels under other labels: {image_name(6)}", f"cannot read {lost}"]
    pd.DataFrame({"file": ["HB9000.png", twin, lost], "reason": reasons}).to_csv(EXCLUDED, index=False)
    pair = {"hamming": [0.0], "correlation": [1.0], "kind": ["exact"], "action": ["excluded"], "labels_agree": [False]}
    pd.DataFrame({"sample_id": [image_name(6)], "other_id": [twin], **pair}).to_csv(DUPLICATES, index=False)
    audit = json.loads(AUDIT.read_text())
    reason = f"published in train, but its group {patient_name(3)} is in test"
    audit["unused"] = [{"row": 3, "sample_id": image_name(3), "reason": reason}]
    AUDIT.write_text(json.dumps(audit))
    if BOXES.exists():
        boxes = pd.read_csv(BOXES)
        boxes.assign(sample_id=boxes["row"].map(image_name)).to_csv(BOXES, index=False)
    for file in Path("evaluations").rglob("predictions.npz"):
        with np.load(file) as content:
            saved = dict(content)
        for part in ("val", "test"):
            if f"{part}_patients" in saved:
                saved[f"{part}_patients"] = np.array([patient_name(row) for row in saved[f"{part}_rows"]])
        np.savez(file, **saved)
        Predictions.load(file)
    teacher = Teacher(file="/home/huber/HB9000/our_ensemble.npz")
    given = {"weights": WEIGHTS, "teacher": teacher}
    models = {name: about.model_copy(update=given) for name, about in study.models.items()}
    about = {study.dataset: {"root": FOLDER, "table": f"{FOLDER}/labels.csv"}}
    regions = study.preprocess.model_copy(update={"roi": Roi(masks="/home/huber/lungs")})
    return study.model_copy(update={"datasets": about, "models": models, "preprocess": regions})


def every_name() -> Iterator[str]:
    for row in range(400):
        yield from (image_name(row), Path(image_name(row)).name, Path(image_name(row)).stem, patient_name(row))
    yield from ("HB9000", "HB9001", "HB9002", "HB1000 notes", FOLDER, "labels.csv", "Maria Huber", "/home/huber")


@pytest.mark.parametrize(("task", "pages"), [("multilabel", PAGES), ("multiclass", ("data", "errors", "summary"))])
def test_no_page_table_or_figure_names_an_image_a_patient_or_a_folder(
    task, pages, tmp_path, monkeypatch, written_studies, settings
):
    monkeypatch.chdir(tmp_path)
    study = settings(task)
    written_studies(tmp_path, task, study)
    study, drawn = make_real(study), []
    monkeypatch.setattr(style, "png", lambda figure, *_: drawn.append(labels(figure)) or b"")
    folder = tmp_path / "reports"
    written = write_reports(load_study(study), folder, but=PAGES.keys() - set(pages))
    texts = {path: path.read_text() for path in written if path.suffix != ".png"}
    assert {path.name for path in texts} >= {"data.md", "errors.md", "metrics.csv"}
    assert drawn
    texts[Path("labels of figures")] = "\n".join(drawn)
    for name in every_name():
        assert not [path for path, text in texts.items() if name in text], name
    errors, data = texts[folder / "errors.md"], texts[folder / "data.md"]
    assert re.search(r"\| row \d+ \([0-9a-f]{8}\) ", errors)
    assert re.search(r"excluded 1 \([0-9a-f]{8}\)", data)
    assert "row 3 (" in data
    if len(pages) == len(PAGES):
        assert "resnet_of_ours.safetensors" in texts[folder / "methods.md"]
        assert "our_ensemble.npz" in texts[folder / "methods.md"]


def labels(figure) -> str:
    """Return every text of a figure."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_the_key_leads_back_to_the_images_and_stays_the_same(tmp_path, monkeypatch, written_studies, settings):
    monkeypatch.chdir(tmp_path)
    study = settings("multiclass")
    written_studies(tmp_path, "multiclass", study)
    study = make_real(study)
    first = load_study(study)
    assert PSEUDONYM_KEY.stat().st_mode & 0o077 == 0
    key = pd.read_csv(PSEUDONYM_KEY)
    back = dict(zip(key["pseudonym"], key["name"]))
    assert len(back) == len(key)
    for row, called in zip(first.samples["row"], first.samples["sample_id"]):
        assert called.startswith(f"row {row} (")
        assert back[called] == image_name(row)
    assert [back[p] for p in first.samples["patient_id"]] == [patient_name(row) for row in first.samples["row"]]
    assert first.samples["group_id"].nunique() == first.samples["row"].floordiv(2).nunique()
    again = load_study(study)
    pd.testing.assert_frame_equal(first.samples, again.samples)
    PSEUDONYM_SALT.unlink()
    assert not set(load_study(study).samples["patient_id"]) & set(first.samples["patient_id"])


def test_a_salt_that_is_there_is_never_replaced(tmp_path, monkeypatch):
    path = tmp_path / "a/salt"
    first = pseudonyms.salt(path)
    assert len(first) == 32
    assert path.stat().st_mode & 0o077 == 0
    exists = Path.exists  # as seen by a process that asked before another had drawn one
    monkeypatch.setattr(Path, "exists", lambda self: False if self == path else exists(self))
    assert pseudonyms.salt(path) == first
    assert [p.name for p in path.parent.iterdir()] == ["salt"]


def test_drawn_data_keeps_its_names_and_draws_no_salt(here):
    study = load_study(here)
    assert study.samples["sample_id"].iloc[0] == "i0.png"
    assert not PSEUDONYM_SALT.exists()
