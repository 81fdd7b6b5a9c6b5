"""Errors of the system that a user can mend are one line."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipeline.study.errors import stage_errors
from tests.tiny import ROOT


def said(capsys, call) -> str:
    with pytest.raises(SystemExit) as end, stage_errors():
        call()
    assert end.value.code == 1
    return capsys.readouterr().err


def test_places_that_cannot_be_written_to(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("loop").symlink_to("loop")
    Path("folder").mkdir()
    for call, text in (
        (lambda: Path("file/x").mkdir(parents=True), "error: file/x: Not a directory\n"),
        (lambda: Path("folder").write_text(""), "error: folder: Is a directory\n"),
        (lambda: Path("loop").mkdir(exist_ok=True), "error: loop: File exists\n"),
        (lambda: Path("loop/x").write_text(""), "error: loop/x: Too many levels of symbolic links\n"),
        (lambda: Path("loop").resolve(), f"error: {tmp_path}/loop: Too many levels of symbolic links\n"),
        (lambda: Path("x" * 300).write_text(""), f"error: {'x' * 300}: File name too long\n"),
        (lambda: os.replace("folder", "file"), "error: folder -> file: Not a directory\n"),
    ):
        assert said(capsys, call) == text


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_places_that_are_read_only(number, capsys):
    def call():
        raise OSError(number, os.strerror(number), "data/x")

    assert said(capsys, call) == f"error: data/x: {os.strerror(number)}\n"


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(errno.ENOENT, "gone", "x"), OSError(errno.EACCES, "no name"), RuntimeError("x"), KeyError("x")],
)
def test_anything_else_keeps_its_trace(error):
    with pytest.raises(type(error)), stage_errors():
        raise error


def test_a_stage_collects_no_garbage_while_it_imports_and_does_while_it_works():
    code = """
        import gc, sys
        sys.orig_argv = {argv!r}
        import pipeline.study
        assert gc.isenabled() is {collects}
        from pipeline.study.errors import stage_errors
        with stage_errors():
            assert gc.isenabled() and (gc.get_freeze_count() > 1000) is not {collects}
        circle = []
        circle.append(circle)
        del circle
        assert gc.collect() >= 1
    """
    for argv, collects in ((["python", "-m", "pipeline.train"], False), (["python", "-m", "pytest"], True)):
        command = [sys.executable, "-c", textwrap.dedent(code).format(argv=argv, collects=collects)]
        subprocess.run(command, check=True, cwd=ROOT, timeout=60)


@pytest.mark.parametrize("argv", [["python", "-m", "pipeline.train"], ["medmatrix", "plan"]])
def test_ctrl_c_is_one_line_and_the_status_of_the_signal(argv):
    importing = "" if argv[0] == "medmatrix" else "os.kill(os.getpid(), signal.SIGINT)"
    code = f"""
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born deaf to it
        sys.orig_argv = {argv!r}
        import pipeline.study
        {importing}
        from pipeline.study.errors import stage_errors
        with stage_errors():
            os.kill(os.getpid(), signal.SIGINT)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, timeout=60, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "interrupted\n")
