"""docs/security.md names a test for each of its claims."""

import ast
import functools
import os
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import ROOT

TEXT = (ROOT / "docs/security.md").read_text()


@functools.cache
def calls_of_the_code() -> dict[Path, list[ast.Call]]:
    """All calls in all files of the pipeline."""
    trees = {path: ast.parse(path.read_text()) for path in (ROOT / "pipeline").rglob("*.py")}
    return {path: [node for node in ast.walk(tree) if isinstance(node, ast.Call)] for path, tree in trees.items()}


def test_every_claim_names_tests_that_exist():
    table = TEXT.partition("## Not trusted")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 14
    for what, _, _, shown in rows:
        named = re.findall(r"`([a-z_/]+(?:\.py|/))`", shown)
        assert named, what
        for path in named:
            assert (ROOT / "tests" / path).exists(), path


def test_tables_are_read_by_readers_that_take_no_name_for_a_missing_value():
    """Only an empty cell is missing: pandas by itself takes ``None``, ``NA`` and a dozen more names for nothing."""
    for path, calls in calls_of_the_code().items():
        for node in calls:
            if getattr(node.func, "attr", "").startswith(("read_csv", "read_excel")):
                keywords = {k.arg: k.value for k in node.keywords}
                given = ast.unparse(node)
                assert "keep_default_na" in keywords or "'keep_default_na': False" in given, f"{path}: {given}"
                assert "keep_default_na=True" not in given


class Canary:
    """Unpickled, it makes a file in the working directory."""

    def __reduce__(self):
        return os.mkdir, ("taken",)


def pickled(path, name="archive"):
    """Write what `torch.load` would unpickle: a ZIP, as torch writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/data.pkl", pickle.dumps(Canary()))
        archive.writestr(f"{name}/version", "3\n")


def test_the_canary_would_sing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Canary()))
    assert Path("taken").is_dir()


def test_no_weights_and_no_checkpoint_run_code(tmp_path, monkeypatch, capsys):
    from pipeline.learning.networks import transfer
    from pipeline.learning.training.checkpoints import Checkpoint
    from pipeline.learning.weights import ModelError

    monkeypatch.chdir(tmp_path)
    pickled("w.pth")
    Path("bare.pth").write_bytes(pickle.dumps(Canary()))
    for name in ("w.pth", "bare.pth"):
        with pytest.raises(ModelError, match="cannot be read as weights"):
            transfer.read_weights("models.x.weights", Path(name))
    pickled("key.pt")
    assert Checkpoint(Path(), "key").load() is None
    assert "key.pt cannot be read as a checkpoint" in capsys.readouterr().err
    with zipfile.ZipFile("key.pt", "w") as archive:
        archive.writestr("a.txt", "whole, and of something else")
    assert Checkpoint(Path(), "key").load() is None
    assert not Path("taken").exists()


def test_no_array_runs_code(tmp_path, monkeypatch):
    from pipeline.study.files import IMAGES, ArtifactError, opened_arrays
    from pipeline.study.prepared import open_images

    monkeypatch.chdir(tmp_path)
    hostile = np.array([Canary()], dtype=object)
    IMAGES.parent.mkdir(parents=True)
    np.save(IMAGES, hostile, allow_pickle=True)
    with pytest.raises(ArtifactError, match="is damaged"):
        open_images()
    np.savez("a.npz", x=hostile)
    with pytest.raises(ArtifactError, match="is damaged"), opened_arrays(Path("a.npz")) as arrays:
        arrays["x"]
    assert not Path("taken").exists()


def test_a_file_of_more_than_4_gib_is_not_read(tmp_path):
    from pipeline.datasets.shared.irregular import why_unreadable

    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(2**32 + 1)  # a hole: it takes no room
    assert why_unreadable(tmp_path / "large.png") == "larger than 4 GiB"


FORBIDDEN = {
    "pickle.load": None,
    "pickle.loads": None,
    "yaml.unsafe_load": None,
    "os.system": None,
    "eval": None,
    "exec": None,
    "np.load": ("allow_pickle", False),
    "torch.load": ("weights_only", True),
    "subprocess.run": ("shell", False),
    "subprocess.Popen": ("shell", False),
    "subprocess.check_output": ("shell", False),
}
"""Calls that run what they are given: none is allowed, or with one value of a keyword (the default, but torch's)."""


def test_the_code_has_no_call_that_runs_what_it_reads():
    last = {name.rpartition(".")[2] for name in FORBIDDEN}
    for path, calls in calls_of_the_code().items():
        for node in calls:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            assert called != "extractall", path
            if called not in last or (name := ast.unparse(node.func)) not in FORBIDDEN:
                continue
            allowed = FORBIDDEN[name]
            assert allowed is not None, f"{path}:{node.lineno}: {name}"
            keyword, value = allowed
            given = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg == keyword}
            assert given.get(keyword, value if name != "torch.load" else None) is value, f"{path}:{node.lineno}: {name}"
