"""What takes long to make, made once for all processes of pytest-xdist, and copies of it."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.launching.workers import locked


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder called `name` that the first process to ask for it fills by `make`, from inside the folder."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    made = folder.with_suffix(".made")
    with locked(folder.with_suffix(".lock"), waiting=lambda: False):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with contextlib.chdir(folder):
                make(folder)
            made.touch()
    return folder


def enter_copy(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a fresh copy of a study the working directory."""
    copy = tmp_path / "study"
    shutil.copytree(folder, copy)
    monkeypatch.chdir(copy)
    return copy
