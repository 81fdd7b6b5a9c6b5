"""Forks of one process run each test once, file by file, and one that dies fails its test alone."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET

from tests.tiny import ROOT

FILE = """
import os, pytest
from pathlib import Path

@pytest.fixture(scope="module")
def process(tmp_path_factory):
    yield os.getpid()
    with (Path(__file__).parent / "ended").open("a") as file:
        file.write(f"{os.getpid()}\\n")

@pytest.mark.parametrize("i", range(3))
def test_one_process(i, process, capfd, tmp_path):
    os.system("echo said")
    assert capfd.readouterr().out == "said\\n"
    assert process == os.getpid() != COLLECTED
    assert not [*tmp_path.iterdir()]

@pytest.mark.skipif(True, reason="for a reason")
def test_skipped():
    raise AssertionError

def test_fails():
    print("told before it")
    assert COLLECTED == "a number"

COLLECTED = os.getpid()
"""
DIES = """
import os, signal

def test_before():
    pass

def test_dies():
    os.kill(os.getpid(), signal.SIGKILL)

def test_after():
    pass
"""


def test_each_test_runs_once_and_what_becomes_of_it_is_told(tmp_path):
    for name, text in {"a": FILE, "b": FILE, "c": DIES}.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.side_by_side"]
    command += ["--processes", "2", f"--junitxml={tmp_path / 'told.xml'}", f"--rootdir={tmp_path}", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "3 failed, 8 passed, 2 skipped" in done.stdout
    assert done.stdout.count("\ntold before it\n") == 2
    assert "the process ended with -9 while it ran test_c.py::test_dies" in done.stdout
    outcomes = ("failure", "skipped")
    told = {
        (case.attrib["classname"], case.attrib["name"]): [inner.tag for inner in case if inner.tag in outcomes]
        for case in ET.parse(tmp_path / "told.xml").iter("testcase")
    }
    of_each = {f"test_one_process[{i}]": [] for i in range(3)}
    of_each |= {
        "test_skipped": ["skipped"],
        "test_fails": ["failure"],
    }
    expected = {(file, name): found for file in ("test_a", "test_b") for name, found in of_each.items()}
    of_dying = {"test_before": [], "test_dies": ["failure"], "test_after": []}
    assert told == expected | {("test_c", name): found for name, found in of_dying.items()}
    assert len((tmp_path / "ended").read_text().split()) == 2  # a fixture of a file is taken down with its last test
