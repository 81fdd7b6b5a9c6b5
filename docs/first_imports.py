"""Import what the stages and the launcher import, so that Python writes the bytecode of these modules.

``python docs/first_imports.py``: `make` does so once, two processes side by side. All of the packages' modules are five
times as many; without any bytecode, the first study would wait for it while its second processor has nothing to do.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from pipeline.launching.quick_dvc import heat
from pipeline.launching.warm import LIBRARIES

ROOT = Path(__file__).parents[1]
APART = "stages"
"""Argument of the process that imports the stages."""


def main() -> None:
    """Import the stages in a process of their own, and DVC in this one."""
    if sys.argv[1:] == [APART]:
        for stage in sorted((ROOT / "pipeline").glob("[!_]*.py")):
            importlib.import_module(f"pipeline.{stage.stem}")
        importlib.import_module("pipeline.learning.training.libraries")  # which they import when they train
        return
    stages = subprocess.Popen([sys.executable, __file__, APART])
    for name in (name for name in LIBRARIES if name.startswith(("dvc", "scmrepo", "dulwich"))):
        importlib.import_module(name)
    heat("repro", "--dry", "--single-item", "only")
    sys.exit(stages.wait())


if __name__ == "__main__":
    main()
