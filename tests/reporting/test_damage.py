"""A file between stages that is damaged is told in one line: the file, what is wrong, the stage that makes it again."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.reporting import loading
from pipeline.reporting.loading import load_study
from pipeline.study.files import ArtifactError
from pipeline.study.parts import read_parts

MAKERS = {"data/study/prepared": "preprocess", "data/study/split": "split", "evaluations": "evaluate"}
MAKERS |= {"ensembles": "ensemble", "probes": "probe", "fused": "fuse"}


def cut(path):
    content = path.read_bytes()
    path.write_bytes(
        content[: len(content) * 2 // 3].rstrip(b"\n")
    )  # a table that ends with a line is told by DVC alone


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def emptied(path):
    path.write_bytes(b"")


def other_bytes(path):
    path.write_bytes(b"\xff\xfe\xfa" * 50)


def folder(path):
    path.unlink()
    path.mkdir()


UNREAD = {"recipe.csv"}
"""Files of a study that no page shows."""


def said(study):
    try:
        load_study(study)
        read_parts(["train"])
    except ArtifactError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("damage", [cut, zeroed, emptied, other_bytes, folder], ids=lambda f: f.__name__)
def test_every_file_that_the_reports_read(damage, here, monkeypatch):
    monkeypatch.setattr(loading, "with_means", lambda metrics: metrics)  # reads nothing, and takes long
    one = here.model_copy(update={"study": here.study.model_copy(update={"models": ["densenet"], "losses": ["bce"]})})
    study = [p for p in Path().rglob("*.*") if p.is_file() and p.suffix in (".csv", ".json", ".npz", ".npy")]
    told, unseen, kinds = set(), set(), {}
    for path in sorted(study):
        maker = next((stage for place, stage in MAKERS.items() if path.is_relative_to(place)), None)
        kinds.setdefault((maker, path.name), path)  # every configuration has the same, which the same code reads
    for (maker, _), path in kinds.items():
        if maker is None:
            continue
        content = path.read_bytes()
        damage(path)
        try:
            text = said(one)
            if not text:
                unseen.add(path.name)
                continue
            assert text.startswith(f"{path} is damaged ("), text
            assert text.endswith(f"; stage '{maker}' makes it again: dvc repro {maker}")
            assert len(text.splitlines()) == 1
            told.add((path.suffix, path.name))
        finally:
            if path.is_dir():
                path.rmdir()
            path.write_bytes(content)
    assert unseen <= UNREAD
    assert len(told) >= 14
    assert {suffix for suffix, _ in told} == {".csv", ".json", ".npz", ".npy"}


@pytest.mark.parametrize("damage", [cut, zeroed, emptied, other_bytes, folder], ids=lambda f: f.__name__)
def test_weights_of_a_training_run(damage, tmp_path, monkeypatch):
    from pipeline.learning.networks import models
    from pipeline.learning.settings import Model

    monkeypatch.chdir(tmp_path)
    described = Model(arch="baseline_cnn", lr=0.1, options={"filters": [2]})
    network = models.build("small", described, 1, 2, 16, np.zeros((2, 16, 16), np.uint8))
    path = Path("models/small-bce/seed1/model.safetensors")
    path.parent.mkdir(parents=True)
    models.save(path, network.state_dict(), {})
    models.load_weights(network, path)
    damage(path)
    with pytest.raises(ArtifactError, match=r"^models/small-bce/seed1/model\.safetensors is damaged \(.*repro train$"):
        models.load_weights(network, path)


def test_a_table_that_lost_whole_lines_is_told_where_others_know_its_length(here):
    split = Path("data/study/split/split.csv")
    content = split.read_bytes()
    split.write_bytes(b"".join(content.splitlines(keepends=True)[:-3]))
    try:
        with pytest.raises(ArtifactError, match=r"split\.csv is damaged \(\d+ of \d+ images have a part\)"):
            read_parts(["train"])
    finally:
        split.write_bytes(content)
