"""The command new: from folders of images to a params.yaml, and `make study DATA=...`."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.commands import new
from pipeline.datasets import open_dataset
from pipeline.planning.survey import survey
from pipeline.settings import load
from tests.tiny import ROOT

WIDTH = 100


def image(path: Path, colour: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    pixels = rng.integers(0, 255, (40, 44, 3) if colour else (40, 44), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


@pytest.fixture
def folders(tmp_path, monkeypatch) -> str:
    """Folders of two classes beside the working directory, 24 patients with two images each."""
    for i in range(48):
        image(tmp_path / "my images" / ("ill", "well")[i // 2 % 2] / f"HB{100 + i // 2}_{i % 2:02d}.png")
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    return "../my images"


def test_folders_of_classes(folders, capsys):
    new.main([folders])
    params = load()
    assert params.dataset == "image_folder"
    about = params.datasets["image_folder"]
    assert about["root"] == folders
    samples = list(open_dataset("image_folder", about).samples(Path()))
    assert len({s.patient_id for s in samples}) == 24
    assert params.split.method == "grouped"
    printed = capsys.readouterr().out
    assert "24 patients" in printed
    assert printed.count("  ->  HB1") == 3
    assert max(map(len, printed.splitlines())) <= WIDTH
    text = Path("params.yaml").read_text()
    assert "HB1" not in text  # params.yaml lies in git: it names nobody
    assert "# Written by `medmatrix new '../my images'`." in text


def test_a_file_that_is_there_is_kept_each_time_and_kept_as_it_is_on_request(folders, capsys):
    Path("params.yaml").write_text("mine: 1\n")
    new.main([folders])
    first = Path("params.yaml").read_text()
    assert Path("params.yaml.1").read_text() == "mine: 1\n"
    assert "params.yaml was there: kept as params.yaml.1" in capsys.readouterr().out
    edited = first.replace("epochs: 30", "epochs: 9")
    Path("params.yaml").write_text(edited)
    new.main(["--keep", folders])
    assert Path("params.yaml").read_text() == edited
    assert "kept as it is" in capsys.readouterr().out
    new.main([folders])
    assert Path("params.yaml.2").read_text() == edited
    assert Path("params.yaml").read_text() == first
    Path("params.yaml").write_text("dataset: phantom\ndatasets: {phantom: {}}\n")
    new.main(["--keep", folders])  # about other images
    assert Path("params.yaml").read_text() == first
    assert sorted(p.name for p in Path().iterdir()) == ["params.yaml", *(f"params.yaml.{i}" for i in (1, 2, 3))]


def test_folders_below_parts_and_within_a_wrapping_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(40):
        part, name = ("train", "train", "train", "test")[i % 4], ("a", "b")[i // 4 % 2]
        image(tmp_path / f"x/release 1/{part}/{name}/{i}.png", colour=True)
    new.main(["x"])
    params = load()
    assert params.datasets["image_folder"] == {**params.datasets["image_folder"], "root": "x/release 1"}
    assert params.split.method == "official"
    assert params.preprocess.channels == 3
    assert "NOT KNOWN" in Path("params.yaml").read_text()
    new.main(["x", "--keep"])
    assert not Path("params.yaml.1").exists()


def table(path: Path, *rows) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows(rows)


def test_a_table_beside_the_images_is_found_and_read_as_the_study_will(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        (image(tmp_path / f"films/img/{i}.png").stem, i // 2, ("Mass", "none", "Mass|Edema")[i % 3]) for i in range(30)
    ]
    table(tmp_path / "films/labels.csv", ("Image", "Patient ID", "Findings"), *rows)
    new.main(["films"])
    params = load()
    about = params.datasets["image_table"]
    assert (about["root"], about["table"]) == ("films/img", "films/labels.csv")
    samples = list(open_dataset("image_table", about).samples(Path()))
    assert [s.labels for s in samples[:3]] == [("Mass",), (), ("Mass", "Edema")]
    assert len({s.patient_id for s in samples}) == 15
    assert params.study.losses == ["bce"]


def test_dicom_without_suffix_has_its_patients_in_the_headers(tmp_path, monkeypatch):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(30):
        path = tmp_path / "films" / ("ill", "well")[i % 2] / f"IM{i:05d}"
        path.parent.mkdir(parents=True, exist_ok=True)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        meta.MediaStorageSOPInstanceUID = generate_uid()
        film = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        film.PatientID, film.PatientSex, film.PatientAge = f"Q{i // 3}", "FM"[i % 2], "054Y"
        film.Rows, film.Columns, film.BitsAllocated, film.BitsStored, film.HighBit = 32, 32, 8, 8, 7
        film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
        film.PixelData = rng.integers(0, 255, (32, 32), dtype=np.uint8).tobytes()
        pydicom.dcmwrite(path, film, enforce_file_format=True)
    found = survey("films")
    assert (found.dataset, found.patients_known, found.all.people()) == ("image_folder", True, 10)
    assert found.patients_from == "PatientID of the DICOM headers"
    assert "patient_pattern" not in found.settings
    assert found.pictures.unreadable == 0


def test_classes_that_may_be_grades_are_told_of_an_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i in range(60):
        image(tmp_path / "eyes" / str(i % 3) / f"E{100 + i // 2}_{i % 2}.png")
    new.main(["eyes"])
    assert "If they are grades, set task: ordinal under datasets.image_folder" in capsys.readouterr().out


def test_an_image_without_a_patient_writes_no_study_that_would_part_the_others(folders, tmp_path, capsys):
    image(tmp_path / "my images" / "ill" / "scan.png")
    with pytest.raises(SystemExit):
        new.main([folders])
    said = capsys.readouterr().err
    assert "'ill/scan.png' does not match datasets.image_folder.patient_pattern" in said
    assert "48 of 49 images name a patient (24 in all), 1 does not" in said
    assert not Path("params.yaml").exists()
    new.main([folders, "--without-patient", "exclude"])
    assert "note: 1 image without a patient left out, as asked" in capsys.readouterr().out
    assert load().datasets["image_folder"]["without_patient"] == "exclude"
    assert "Left out: 1 without a patient." in Path("params.yaml").read_text()
    new.main([folders, "--without-patient", "alone"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "48 of 49 images name" in printed
    assert "no name, column or header" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["empty"], "no classes: neither a folder per class nor a table"),
        (["../my images", "--table", "no.csv"], "--table no.csv: no such file"),
        (["../my images", "--weights", "no.pth"], "--weights no.pth: no .safetensors or .pth file"),
        (["../my images", "--patient", "HB[0-9"], "is not a regular expression"),
        (["../my images", "--patient", "XY([0-9]+)"], "does not match datasets.image_folder.patient_pattern"),
    ],
)
def test_what_cannot_be_a_study_is_said_and_nothing_is_written(folders, arguments, said, capsys):
    Path("empty").mkdir()
    Path("params.yaml").write_text("mine: 1\n")
    with pytest.raises(SystemExit) as end:
        new.main(arguments)
    assert end.value.code == 1
    assert said in capsys.readouterr().err
    assert Path("params.yaml").read_text() == "mine: 1\n"
    assert not Path("params.yaml.1").exists()


def test_weights_of_a_file_are_frozen_and_fine_tuned(folders):
    import timm
    from safetensors.torch import save_file

    arch = "mobilenetv3_small_050"
    save_file({k: v.half() for k, v in timm.create_model(arch).state_dict().items()}, f"{arch}.lamb_in1k.safetensors")
    new.main([folders, "--weights", f"{arch}.lamb_in1k.safetensors"])
    params = load()
    assert params.study.models == ["frozen", "tuned"]
    assert {params.models[name].arch for name in params.study.models} == {f"{arch}.lamb_in1k"}


@pytest.mark.parametrize(
    ("data", "labels"),
    [("../my images", ""), ('../o\'brien $HOME `id` "q"; touch broken', "t $(touch broken).csv"), ("-x", "")],
)
def test_make_study_hands_over_what_was_typed_and_runs_the_study(tmp_path, data, labels):
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("medmatrix", "dvc"):
        (programs / name).write_text(f'#!/bin/sh\nfor word in {name} "$@"; do printf "%s\\n" "$word"; done >> typed\n')
        (programs / name).chmod(0o755)
    (tmp_path / ".venv/.installed").touch()
    os.utime(tmp_path / ".venv/.installed", (2**33, 2**33))
    variables = [f"DATA={data}", "JOBS=1", *([f"TABLE={labels}"] if labels else [])]
    subprocess.run(["make", "study", *variables], cwd=tmp_path, check=True, capture_output=True)
    expected = ["medmatrix", "new", "--keep", *(["--table", labels] if labels else []), "--", data]
    expected += ["medmatrix", "check", "dvc", "repro"]
    assert (tmp_path / "typed").read_text().splitlines() == expected
    assert not (tmp_path / "broken").exists()
