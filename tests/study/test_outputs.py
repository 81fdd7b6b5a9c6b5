"""What commands write where a user says, beside the user's own files."""

import os

import pytest

from pipeline.study.outputs import LIST, keep, keep_others, note_written


def test_the_users_files_are_kept_and_ours_are_written_anew(tmp_path):
    mine, ours = tmp_path / "a.csv", tmp_path / "b.csv"
    mine.write_text("mine")
    assert keep_others(tmp_path, ["a.csv", "b.csv"]) == [f"{mine} was there: kept as {mine}.1"]
    for path in (mine, ours):
        path.write_text("ours")
    note_written(tmp_path, ["a.csv", "b.csv"])
    assert keep_others(tmp_path, ["a.csv", "b.csv"]) == []
    ours.write_text("ours, and edited")
    assert keep_others(tmp_path, ["a.csv", "b.csv"]) == [f"{ours} was there: kept as {ours}.1"]
    assert (tmp_path / "a.csv.1").read_text() == "mine"
    assert (tmp_path / "b.csv.1").read_text() == "ours, and edited"
    assert keep_others(tmp_path / "none", ["a.csv"]) == []


@pytest.mark.parametrize("content", ["", "[]", '{"a.csv": ', "\0\0"])
def test_a_cut_list_keeps_what_is_there(tmp_path, content):
    (tmp_path / "a.csv").write_text("x")
    note_written(tmp_path, ["a.csv"])
    (tmp_path / LIST).write_text(content)
    assert len(keep_others(tmp_path, ["a.csv"])) == 1


def test_no_copy_is_written_over_and_none_is_half(tmp_path, monkeypatch):
    path = tmp_path / "params.yaml"
    assert keep(path) is None
    path.write_text("x")
    (tmp_path / "params.yaml.1").symlink_to("nowhere")
    (tmp_path / "params.yaml.2").mkdir()
    link, rivals = os.link, [tmp_path / "params.yaml.3"]

    def slower(source, target):
        if rivals:
            rivals.pop().write_text("another command was faster")
        return link(source, target)

    monkeypatch.setattr(os, "link", slower)
    assert keep(path) == tmp_path / "params.yaml.4"

    def no_links(source, target):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert keep(path) == tmp_path / "params.yaml.5"
    assert (tmp_path / "params.yaml.5").read_text() == "x"

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        keep(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["params.yaml", *(f"params.yaml.{n}" for n in range(1, 6))]


def test_what_a_killed_command_left_of_a_copy_is_removed(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("mine")
    gone = tmp_path / f"partial-params.yaml.{2**22 + 1}"  # Linux gives no higher number than 2^22
    living, others = tmp_path / f"partial-params.yaml.{os.getppid()}", tmp_path / "partial-params.yaml.old"
    for left in (gone, living, others):
        left.write_text("half")
    assert keep(path) == tmp_path / "params.yaml.1"
    assert not gone.exists()
    assert living.exists()
    assert others.exists()
