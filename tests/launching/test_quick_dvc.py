"""dvc.lock is written as DVC alone writes it."""

import pytest
from dvc import dvcfile
from dvc.utils.serialize import _yaml

from pipeline.launching import quick_dvc
from tests.tiny import ROOT

VALUES = [
    *("yes", "no", "on", "off", "null", "~", "", " ", "true", "1e-3", "012", "0o7", "0x1f", "1:30", "1_000", ".5", "="),
    *("2001-01-01", "a: b", "- a", "a\nb\n", "a\n\n b", "é", "\u200b", "😀", "'", '"', "\\", "\t", "%", "@", "`", "&a"),
    *("!t", "|", ">", "{", "[", "x" * 200, "word " * 60, "...", "---", "?", ":", ",", "a,b", "\x07", "\ufeff", "*a"),
    *(1e-05, 1e22, 0.1, 1.0, -0.0, 3, 10**20, True, False, None, float("inf"), float("-inf"), 1.5e-300, 123456789.125),
    *("a\u2028b", "<<", [], {}, [[]], [{}], {"a": []}, [1, [2, {"b": None}]], {"yes": 1, "1": 2}),
]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(dvcfile, "modify_yaml", dvcfile.modify_yaml)
    quick_dvc.read_quickly()
    return dvcfile.modify_yaml


def added(modify, path, content):
    """Return the file after a stage was added to `content`."""
    path.write_text(content, encoding="utf-8", newline="")
    with modify(str(path)) as data:
        data.setdefault("stages", {})["new"] = {"cmd": "python", "deps": [{"path": "a", "md5": "0", "size": 3}]}
    return path.read_bytes()


def test_the_lock_of_this_study_comes_out_the_same(quick, tmp_path):
    content = (ROOT / "dvc.lock").read_text()
    assert "#" not in content
    found = added(quick, tmp_path / "dvc.lock", content)
    assert found == added(_yaml.modify_yaml, tmp_path / "dvc.lock", content)
    assert found.startswith(content.encode())


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
def test_whatever_a_parameter_is(quick, tmp_path, value):
    path = tmp_path / "dvc.lock"
    _yaml.dump_yaml(
        path, {"schema": "2.0", "stages": {"a": {"params": {"params.yaml": {"key": value, "list": [value]}}}}}
    )
    content = path.read_text(encoding="utf-8")
    assert added(quick, path, content) == added(_yaml.modify_yaml, path, content)


def test_what_has_comments_keeps_them_and_other_files_are_read_as_ever(quick, tmp_path):
    content = "# by hand\nschema: '2.0'\nstages:\n  a: {cmd: b}  # flow\n"
    for name in ("dvc.lock", "dvc.yaml"):
        assert added(quick, tmp_path / name, content).startswith(content.encode())
    plain = "stages:\n  a: {cmd: b}\n"
    assert added(quick, tmp_path / "dvc.yaml", plain).startswith(plain.encode())


def test_a_file_that_is_cut_or_not_there(quick, tmp_path):
    with pytest.raises(_yaml.YAMLFileCorruptedError):
        added(quick, tmp_path / "dvc.lock", "schema: '2.0'\nstages:\n  a: {cm")
    (tmp_path / "dvc.lock").unlink()
    with quick(str(tmp_path / "dvc.lock")) as data:
        assert data == {}
        data["schema"] = "2.0"
    assert (tmp_path / "dvc.lock").read_text() == "schema: '2.0'\n"
