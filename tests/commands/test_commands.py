"""The command medmatrix and its register."""

import json
import subprocess
import sys
import tomllib

import pytest

from pipeline import commands
from tests.tiny import ROOT

LINE = 64
"""Columns that argparse leaves for a command's line on a terminal of 80."""


def test_every_file_is_a_command_and_nothing_else():
    files = {path.stem.replace("_", "-") for path in (ROOT / "pipeline/commands").glob("*.py")}
    assert commands.available() == sorted(name for name in files if not name.startswith("-"))
    assert {"launch", "plan", "report"} <= set(commands.available())


def test_help_lists_each_command_with_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        commands.main(["--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.replace("export-tables\n", "export-tables ").splitlines()  # longer than its column
    for name in commands.available():
        summary = commands.summary(name)
        assert 0 < len(summary) <= LINE
        assert [line.split(maxsplit=1) for line in lines if line.split()[:1] == [name]] == [[name, summary]]


@pytest.mark.parametrize("name", commands.available())
def test_help_of_a_command_shows_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        commands.main([name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: medmatrix {name} ")
    assert f"\n  medmatrix {name} " in text.split("Examples\n--------")[1]


@pytest.mark.parametrize("wrong", [[], ["no_such_command"]])
def test_a_wrong_command_line_names_the_commands(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        commands.main(wrong)
    assert end.value.code == 2
    assert "NAME" in capsys.readouterr().err


def test_a_command_is_given_the_other_arguments(monkeypatch):
    given = []
    monkeypatch.setattr("pipeline.commands.plan.main", given.extend)
    commands.main(["plan", "--jobs", "3"])
    assert given == ["--jobs", "3"]


def test_a_reader_that_has_read_enough_ends_a_command_without_a_traceback(monkeypatch, capfd):
    def enough(arguments):
        raise BrokenPipeError

    monkeypatch.setattr("pipeline.commands.plan.main", enough)
    monkeypatch.setattr("os.dup2", lambda opened, standard: None)
    with pytest.raises(SystemExit) as end:
        commands.main(["plan"])
    assert end.value.code == 1
    assert capfd.readouterr().err == ""


def test_the_pages_of_a_table_are_written_by_the_stage(monkeypatch):
    given = []
    monkeypatch.setattr("pipeline.report.main", given.extend)
    commands.main(["report", "--metrics", "a.csv", "--out", "pages"])
    assert given == ["--metrics", "a.csv", "--out", "pages"]


def test_the_entry_point_is_the_main_of_this_package():
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["medmatrix"]
    module, _, function = script.partition(":")
    assert (module, getattr(commands, function)) == (commands.__name__, commands.main)


LIGHT = ("", ".compare", ".export_tables", ".launch", ".new", ".plan", ".report")
"""What is imported within moments."""


@pytest.fixture(scope="module")
def imported():
    """What a new Python has imported after each of `LIGHT`, one after the other; a process for each takes as long."""
    code = (
        "import importlib, json, sys\nbefore = set(sys.modules)\nfound = {}\n"
        f"for module in {LIGHT}:\n"
        "    importlib.import_module(f'pipeline.commands{module}')\n"
        "    found[module] = sorted(set(sys.modules) - before)\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


@pytest.mark.parametrize("module", LIGHT)
def test_neither_torch_nor_pandas_nor_numpy_is_imported(module, imported):
    assert f"pipeline.commands{module}" in imported[module]
    assert not {"torch", "pandas", "numpy"} & set(imported[module])


def test_the_package_itself_imports_no_other_of_the_project_and_nothing_that_is_installed(imported):
    new = {name.split(".")[0] for name in imported[""]} - sys.stdlib_module_names
    assert new == {"pipeline"}, new
    assert {n for n in imported[""] if n.startswith("pipeline")} == {"pipeline", "pipeline.commands"}


def test_the_installed_command_runs_the_copy_in_the_working_directory(tmp_path):
    package = tmp_path / "pipeline/commands"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys; print('copy', sys.argv[1:])")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pipeline.commands import main; main()"
    command = [sys.executable, "-I", "-c", code, "plan", "--jobs", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "copy ['plan', '--jobs', '2']\n"
