"""Measure the launcher: against `dvc repro`, with many training runs, with many at once, and when it is killed.

* ``study``: the study of params.yaml from nothing to its reports, by ``dvc repro`` and by the launcher with two jobs;
  the stages before the training runs are done beforehand for both. The reports must be the same bytes.
* ``runs``: 48 training runs, 16 evaluations; ``dvc repro`` and ``medmatrix plan`` when there is nothing to do, beside
  the least that DVC takes for as many stages: each with one file to read and no parameter.
* ``lock``: rounds of 8 parallel trivial stages; each must leave its entry in dvc.lock.
* ``kill``: a launcher that is killed with SIGKILL at random moments and started again; no process may be left, no run
  trained to its end twice, and the result must be that of a study that is left in peace.

``runs`` and ``kill`` replace what the stages compute by stand-ins; DVC and the launcher are real.
Prints rows of a markdown table and fails if a claim does not hold.

Run with ``python -m benchmarks.launch`` (about ten minutes; ``--only study`` for a part of it).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

import yaml

from benchmarks.shared.reaper import end_with_me
from benchmarks.shared.standin import Standin
from benchmarks.shared.tiny import ROOT
from pipeline.launching import workers

REPEATS = 5
ROUNDS, PARALLEL = 20, 8
KILLS = 10
COMPARED = ("reports/metrics.json", "models", "evaluations")


def check(holds: bool, claim: str) -> None:
    """Fail if a claim does not hold."""
    if not holds:
        raise SystemExit(f"does not hold: {claim}")


def timed(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """Run a Python module; return the seconds that it takes."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    check(done.returncode == 0, f"{' '.join(command)} succeeds:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def environment() -> dict[str, str]:
    """Return this process's environment, where ``python`` is the one that runs here."""
    return workers.base_environment("benchmark")


def checkout(folder: Path) -> Path:
    """Copy what git tracks, as it lies in the working tree, into a repository of its own."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    others = ["ls-files", "-z", "--others", "--exclude-standard", "pipeline"]
    tracked += subprocess.run(["git", *others], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists() and not name.startswith("reports/") and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Read what two runs must agree in, but for what says when and where they ran."""
    files = [
        f for name in COMPARED for f in ([folder / name] if (folder / name).is_file() else (folder / name).rglob("*"))
    ]
    told = {"run.json", "runs.json", "history.csv"}
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.is_file() and f.name not in told}


def study(folder: Path, jobs: int, threads: int | None) -> None:
    """Measure the study of params.yaml."""
    places = {name: checkout(folder / name) for name in ("serial", "launched")}
    for place in places.values():
        if threads is not None:
            params = yaml.safe_load((place / "params.yaml").read_text())
            params["train"]["threads"] = threads
            (place / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        timed(["dvc", "repro", "split", "configure"], place, environment())
    serial = timed(["dvc", "repro"], places["serial"], environment())
    launched = timed(["pipeline.commands.launch", "--jobs", str(jobs)], places["launched"], environment())
    check(contents(places["serial"]) == contents(places["launched"]), "launched and serial results are the same bytes")
    print(f"| training runs, evaluations, ensembles, reports of params.yaml: `dvc repro` | {serial:.0f} s | 1.0 |")
    print(f"| the same with {jobs} jobs, same bytes | {launched:.0f} s | {serial / launched:.2f} |")


def runs(folder: Path) -> None:
    """Measure 48 training runs with nothing to do."""
    made = Standin(folder / "runs", ("small", "wide"), ("bce", "zlpr"), ())
    models, losses = [f"m{i}" for i in range(4)], [f"l{i}" for i in range(4)]
    made.write(
        models={name: {**made.content["models"]["small"]} for name in models},
        losses={name: {"kind": "bce"} for name in losses},
        study={"models": models, "losses": losses, "replicates": [7, 8]},
    )
    timed(["pipeline.commands.launch", "--jobs", "2"], made.folder, environment())
    stages = len(yaml.safe_load((made.folder / "dvc.lock").read_text())["stages"])
    least = folder / "least"
    least.mkdir()
    matrix = f"{{i: {[*range(1, stages)]}}}"
    (least / "dvc.yaml").write_text(
        "stages:\n  first:\n    cmd: echo 1 > out0\n    outs: [out0]\n"
        f"  least:\n    matrix: {matrix}\n    cmd: echo ${{item.i}} > out${{item.i}}\n    deps: [out0]\n"
        "    outs: ['out${item.i}']\n"
    )
    timed(["dvc", "init", "--no-scm", "-q"], least, environment())
    timed(["dvc", "repro"], least, environment())
    rows = {
        f"{stages} stages of one dependency each, nothing to do: `dvc repro`": (["dvc", "repro"], least),
        f"48 training runs, {stages} stages, nothing to do: `dvc repro`": (["dvc", "repro"], made.folder),
        "the same: `medmatrix plan`": (["pipeline.commands.plan"], made.folder),
    }
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, (command, place) in rows.items():
            seconds[name].append(timed(command, place, environment()))
    for name in rows:
        print(f"| {name} | {median(seconds[name]):.2f} s | — |")


def lock(folder: Path) -> None:
    """Count entries that parallel stages leave in dvc.lock."""
    names = list(range(PARALLEL))
    folder = folder / "lock"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(
        f"stages:\n  trivial:\n    matrix: {{i: {names}}}\n"
        "    cmd: echo ${item.i} > out${item.i}\n    params: [round]\n    outs: ['out${item.i}']\n"
    )
    around = {**environment(), "PYTHONPATH": str(ROOT)}
    timed(["dvc", "init", "--no-scm", "-q"], folder, around)
    before = Path.cwd()
    os.chdir(folder)
    try:
        started = time.perf_counter()
        for number in range(ROUNDS):
            Path("params.yaml").write_text(f"round: {number}\n")
            command = ["dvc", "--wait-for-lock", "repro", "-s"]
            running = [workers.Worker([*command, f"trivial@{i}"], around, Path(f"log{i}")) for i in names]
            check([w.wait() for w in running] == [0] * PARALLEL, f"round {number}: no stage fails")
            entries = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
            rounds = {name: entry["params"]["params.yaml"]["round"] for name, entry in entries.items()}
            check(rounds == {f"trivial@{i}": number for i in names}, f"round {number}: every entry is in dvc.lock")
        seconds = (time.perf_counter() - started) / ROUNDS
    finally:
        os.chdir(before)
    print(
        f"| {ROUNDS} rounds of {PARALLEL} parallel stages: no entry lost, none failed | {seconds:.1f} s a round | — |"
    )


def kill(folder: Path) -> None:
    """Kill launchers."""
    made, moments = Standin(folder / "kill"), random.Random(0)
    lr = 0.01
    made.set_lr(lr)
    timed(["dvc", "repro", "split", "configure"], made.folder, environment())
    for _ in range(KILLS):
        launcher = made.start("--jobs", "2")
        time.sleep(moments.uniform(0.5, 8.0))
        launcher.kill()
        launcher.wait()
    check(made.nothing_left(), "no process is left behind")
    made.launch("--jobs", "2")
    check(made.metrics() == made.expected(lr), "the result is the one of a study that is left in peace")
    check(set(made.ended(lr).values()) == {1}, "no run is trained to its end twice")
    print(f"| launcher killed at {KILLS} random moments: same result, no process left, no run trained twice | — | — |")


def main() -> None:
    """Print the table."""
    end_with_me()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[Path], None]] = {"runs": runs, "lock": lock, "kill": kill}
    parser.add_argument("--only", choices=["study", *parts], help="one part")
    parser.add_argument("--jobs", type=int, default=2, help="of part study; default: %(default)s")
    parser.add_argument("--threads", type=int, help="train.threads of part study; default: as in params.yaml")
    arguments = parser.parse_args()
    parts = {"study": lambda folder: study(folder, arguments.jobs, arguments.threads), **parts}
    print(f"{workers.processors()} cores, Python {sys.version.split()[0]}\n")
    print("| | time | × serial |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        for part, measure in parts.items():
            if arguments.only in (None, part):
                measure(Path(name))


if __name__ == "__main__":
    main()
