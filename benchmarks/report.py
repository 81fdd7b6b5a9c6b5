"""Time stage `report` for 12 and for 48 training runs: the limits are 15 s and 60 s.

The stage runs as DVC runs it, on evaluations that are drawn in the run: a multi-label study of 14 findings, 384 test
images of 98 patients, 2 models x 2 losses (x 4: 4 models x 4 losses) x 3 seeds, with every table that stage `evaluate`
leaves. Run with ``python -m benchmarks.report`` (about five minutes, most of it to draw the studies).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.shared import drawn_study
from benchmarks.shared.reaper import end_with_me
from benchmarks.shared.tiny import ROOT

PREVALENCE = (0.25, 0.2, 0.15, 0.12, 0.1, 0.1, 0.08, 0.08, 0.07, 0.06, 0.05, 0.05, 0.04, 0.03)
FINDINGS = {f"Finding_{letter}": prevalence for letter, prevalence in zip("ABCDEFGHIJKLMN", PREVALENCE)}
"""Prevalence by name."""
IMAGES = 1400
LIMITS = {12: 15.0, 48: 60.0}
REPEATS = 3


def study(folder: Path, models: int, losses: int) -> int:
    """Write what the report reads; return the number of training runs."""
    params = drawn_study.settings(
        "multilabel", [f"model{i}" for i in range(models)], ["bce", "zlpr", "asl", "focal"][:losses], (12, 22)
    )
    before = Path.cwd()
    os.chdir(folder)
    try:
        drawn_study.write_study("multilabel", params, n=IMAGES, prevalence=FINDINGS)
        Path("params.yaml").write_text(json.dumps(params.model_dump(mode="json", exclude_unset=True)))
    finally:
        os.chdir(before)
    return models * losses * 3


def main() -> None:
    """Print the table."""
    end_with_me()
    print("| stage `report` | pages and figures | s, median | limit, s | of the limit |")
    print("| --- | --- | --- | --- | --- |")
    for models, losses in ((2, 2), (4, 4)):
        with tempfile.TemporaryDirectory() as name:
            runs = study(Path(name), models, losses)
            seconds = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                command = [sys.executable, "-m", "pipeline.report"]
                subprocess.run(
                    command,
                    cwd=name,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                    stdout=subprocess.DEVNULL,
                    check=True,
                )
                seconds.append(time.perf_counter() - started)
            files = [*Path(name, "reports").rglob("*.md"), *Path(name, "reports").rglob("*.png")]
        took, limit = median(seconds), LIMITS[runs]
        print(f"| {runs} training runs | {len(files)} | {took:.1f} | {limit:.0f} | {took / limit:.2f} |")


if __name__ == "__main__":
    main()
