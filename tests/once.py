"""What takes long to make, made once for all processes that run tests."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.launching.workers import locked
from tests import side_by_side


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder called `name` that the first process to ask for it fills by `make`, from inside the folder."""
    base = factory.getbasetemp()
    folder = (base.parent if side_by_side.NUMBER in os.environ else base) / name
    made = folder.with_suffix(".made")
    with locked(folder.with_suffix(".lock"), waiting=lambda: False):
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with contextlib.chdir(folder):
                make(folder)
            made.touch()
    return folder
