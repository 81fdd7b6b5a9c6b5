"""Measure `dvc repro` with nothing to do, beside the least that DVC takes for as many stages.

The least is a project of as many stages, each with one file to read, one to write and no parameter. Measured are the
study of params.yaml and one of 48 training runs: 4 models x 4 losses x 3 seeds. Small files stand for the outputs of
the stages, as many in a folder as dvc.lock has in it; DVC and dvc.yaml are the real ones. The two projects take turns,
and processor seconds (user and system) count, so that a machine which does other things as well spoils little.
Prints rows of a markdown table and fails if a study takes more than `ALLOWED` times the least.

Run with ``python -m benchmarks.idle`` (two minutes).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.shared.reaper import end_with_me
from benchmarks.shared.standin import COPIED
from benchmarks.shared.tiny import ROOT, copy_tracked
from pipeline.launching import workers

ROUNDS = 5
ALLOWED = 1.4
"""Processor seconds of a study over those of the least project of as many stages."""
WIDE = 4
"""Models, and losses, of the large study."""


def dvc(folder: Path, *arguments: str) -> float:
    """Run DVC in `folder`; return the processor seconds that it takes."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env=workers.base_environment("benchmark"),
        capture_output=True,
        text=True,
        check=False,
    )
    after = os.times()
    if done.returncode or (arguments == ("repro",) and "are up to date" not in done.stdout + done.stderr):
        raise SystemExit(f"dvc {' '.join(arguments)} in {folder}:\n{done.stdout}{done.stderr}")
    return sum(after[2:4]) - sum(before[2:4])


def large(params: dict[str, Any]) -> dict[str, Any]:
    """Return the content of params.yaml for the study of 48 training runs."""
    model = next(iter(params["models"].values()))
    models, losses = ([f"{letter}{number}" for number in range(WIDE)] for letter in "ml")
    return params | {
        "models": dict.fromkeys(models, model),
        "losses": {name: {"kind": "bce"} for name in losses},
        "study": {"models": models, "losses": losses, "replicates": [7, 8]},
    }


def files_of() -> dict[str, list[int]]:
    """Count the files of each stage's outputs, in the order of their paths, in the committed study.

    Items of a matrix count once, and 0 is an output that is a file itself.
    """
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    return {name.split("@")[0]: [out.get("nfiles", 0) for out in entry["outs"]] for name, entry in stages.items()}


def made(folder: Path, params: dict[str, Any]) -> int:
    """Make the project with small files for its outputs, all up to date; return how many stages it has."""
    copy_tracked([*COPIED, "pipeline"], folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    from dvc.repo import Repo

    counts = files_of()
    with Repo(str(folder)) as repo:
        stages = list(repo.index.stages)
        named = [dep.fs_path for stage in stages for dep in stage.deps]
        named += [str(folder / next(iter(plot))) for plot in yaml.safe_load((folder / "dvc.yaml").read_text())["plots"]]
        for stage in stages:
            outs = sorted(Path(out.fs_path) for out in stage.outs)
            for out, count in zip_longest(outs, counts[stage.name.split("@")[0]], fillvalue=0):
                for path in _contents(out, named, count):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(str(path))
    dvc(folder, "commit", "-f")
    return len(stages)


def _contents(out: Path, named: list[str], count: int) -> list[Path]:
    """Return the files of an output: itself, or those that are `named` in it, and others until there are `count`."""
    inside = [Path(path) for path in named if path.startswith(f"{out}/")]
    inside += [out / f"file{number}" for number in range(count - len(inside))]
    return inside or [out]


def least(folder: Path, stages: int) -> None:
    """Make a project of `stages` stages that do nothing, all up to date."""
    folder.mkdir()
    shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    (folder / "dvc.yaml").write_text(
        "stages:\n  first:\n    cmd: echo 1 > out0\n    outs: [out0]\n"
        f"  least:\n    matrix: {{i: {[*range(1, stages)]}}}\n    cmd: echo ${{item.i}} > out${{item.i}}\n"
        "    deps: [out0]\n    outs: ['out${item.i}']\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for number in range(stages):
        (folder / f"out{number}").write_text(str(number))
    dvc(folder, "commit", "-f")


def main() -> None:
    """Print the table."""
    end_with_me()
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    print("| `dvc repro`, nothing to do | stages | processor time | as many least stages | × least |")
    print("| --- | --- | --- | --- | --- |")
    too_slow = []
    with tempfile.TemporaryDirectory() as name:
        for what, content in (("study of params.yaml", params), ("48 training runs", large(params))):
            study, other = (Path(name) / f"{kind} {what}" for kind in ("study", "least"))
            study.mkdir()
            stages = made(study, content)
            least(other, stages)
            seconds = [(dvc(study, "repro"), dvc(other, "repro")) for _ in range(ROUNDS)]
            own, lowest = (median(values) for values in zip(*seconds, strict=True))
            print(f"| {what} | {stages} | {own:.2f} s | {lowest:.2f} s | {own / lowest:.2f} |")
            if own > ALLOWED * lowest:
                too_slow.append(what)
    if too_slow:
        raise SystemExit(f"more than {ALLOWED} times the least: {', '.join(too_slow)}")


if __name__ == "__main__":
    main()
