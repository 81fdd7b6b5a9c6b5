"""Time of an earlier commit and of as many plain scripts, against that of the code as it stands: ratios in one run.

``python -m benchmarks.against COMMIT`` takes each in turn, round after round, in fresh clones that share the packages
of the Python that runs this. For both: the study of params.yaml from prepared packages to its reports by the launcher
with two jobs, the 12 training runs within it (from the first that begins to the last that ends), evaluate, ensemble and
report alone, one after the other, and training images a second of two networks of timm at 128 px, one thread. Then
twelve processes of benchmarks/plain.py, two at a time, on this code's prepared images: the training runs' own. Half an
hour and more on two cores that do nothing else; every figure is entered into tmp/against.csv as it is there, and what
is there is not measured again.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd
import yaml

from benchmarks import launch
from benchmarks.shared.reaper import end_with_me
from benchmarks.shared.tiny import ROOT
from pipeline.settings import load

TABLE = Path("tmp/against.csv")
NETWORKS = {"lite0": "tf_efficientnet_lite0", "mobilenetv2": "mobilenetv2_100"}
AFTER = ("evaluate", "ensemble", "report")
LIMITS = {
    "study": "0.65",
    "12 training runs": "0.72",
    "evaluate + ensemble + report": "0.5",
    "plain scripts": "at least 2",
    **dict.fromkeys(NETWORKS, "at least 1.2"),
}
"""Of the earlier commit's time; of the plain scripts' time and of images a second, the gain."""


def environment() -> dict[str, str]:
    """Return what the commands of a fresh clone see: its own code first, and no setting of this process."""
    own = ("PYTHONPATH", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")  # without bytecode every process compiles torch
    return {key: value for key, value in launch.environment().items() if key not in own}


def timed(command: Sequence[str], folder: Path) -> float:
    """Run a Python module in a clone; return the seconds that it takes."""
    return launch.timed(command, folder, environment())


def clone(folder: Path, commit: str) -> Path:
    """Make a fresh clone of a commit, without what DVC knows of its results."""
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "-q", commit], cwd=folder, check=True)
    (folder / "dvc.lock").unlink()
    shutil.rmtree(folder / "reports")
    return folder


def launcher(folder: Path) -> list[str]:
    """Return the launcher's command at a commit."""
    module = "pipeline.commands.launch" if (folder / "pipeline/commands").is_dir() else "pipeline.launch"
    return [module, "--jobs", "2"]


def study(folder: Path, commit: str) -> Iterator[tuple[str, float]]:
    """Measure the study of params.yaml in a fresh clone."""
    clone(folder, commit)
    began = time.time()
    yield "study", timed(launcher(folder), folder)
    records = [
        json.loads(file.read_text()) | {"at": file.stat().st_mtime} for file in folder.glob("models/*/*/run.json")
    ]
    first = min(record["at"] - record["seconds"] for record in records)
    yield "12 training runs", max(record["at"] for record in records) - max(began, first)
    seconds = {stage: timed(["dvc", "repro", "-q", "-f", "-s", stage], folder) for stage in AFTER}
    yield from seconds.items()
    yield "evaluate + ensemble + report", sum(seconds.values())


def networks(folder: Path, commit: str) -> Iterator[tuple[str, float]]:
    """Measure training images a second of networks of timm, in a clone that is prepared the first time."""
    if not folder.exists():
        clone(folder, commit)
        params = yaml.safe_load((folder / "params.yaml").read_text())
        params["models"] |= {name: {"arch": arch, "lr": 0.001} for name, arch in NETWORKS.items()}
        params["study"] = {"models": [*NETWORKS], "losses": ["bce"], "replicates": []}
        params["ensemble"]["top_k"] = len(NETWORKS)
        params["datasets"]["phantom"]["images"] = 600
        params["preprocess"]["size"] = 128
        params["train"] |= {"epochs": 3, "threads": 1, "batch_size": 16}
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
        timed(["dvc", "repro", "-q", "split"], folder)
        if (folder / "pipeline/configure.py").exists():
            timed(["dvc", "repro", "-q", "configure"], folder)
    for name in NETWORKS:
        timed(["dvc", "repro", "-q", "-f", "-s", f"train@{name}-bce-42"], folder)
        yield name, json.loads((folder / f"models/{name}-bce/seed42/run.json").read_text())["images_per_second"]


def scripts(folder: Path, commit: str) -> Iterator[tuple[str, float]]:
    """Measure twelve plain scripts, two at a time, on the prepared images of a study of this code."""
    if not folder.exists():
        timed(["dvc", "repro", "-q", "split"], clone(folder, commit))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    seeds = [params["seed"], *params["study"]["replicates"]]
    cells = [(m, s) for m in params["study"]["models"] for _ in params["study"]["losses"] for s in seeds]
    here = {**environment(), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def one(cell: tuple[str, int]) -> None:
        code = "import sys; from benchmarks.against import plain; plain(sys.argv[1], int(sys.argv[2]))"
        command = [sys.executable, "-c", code, cell[0], str(cell[1])]
        subprocess.run(command, cwd=folder, env=here, check=True, capture_output=True)

    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, cells))
    yield "plain scripts", time.perf_counter() - began


def plain(model: str, seed: int) -> None:
    """Train one network by the plain script on the project in the working directory."""
    from benchmarks import parity  # late: torch, which the measuring process does without

    params = load()
    parity.trained(params.models[model], params.train, parity.PLAIN, seed, None)


def enter(commit: str, number: int, wanted: Sequence[str], measure: Callable[[], Iterator[tuple[str, float]]]) -> None:
    """Measure, unless all that is wanted is in the table already, and write figures into it as they come."""
    fresh = not TABLE.exists()
    if not fresh:
        with TABLE.open(newline="") as file:
            there = {
                row["what"] for row in csv.DictReader(file) if (row["commit"], int(row["round"])) == (commit, number)
            }
        if there.issuperset(wanted):
            return
    TABLE.parent.mkdir(exist_ok=True)
    with TABLE.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(("commit", "round", "what", "value"))
        for name, value in measure():
            writer.writerow((commit, number, name, f"{value:.2f}"))
            file.flush()
            print(f"round {number}, {commit}: {name} {value:.1f}", file=sys.stderr, flush=True)


def run(then: str, now: str, rounds: int, folder: Path) -> None:
    """Measure both, round after round; the plain scripts once, as they take as long as the rest."""
    for number in range(1, rounds + 1):
        for commit in (then, now):
            place = folder / f"{commit}-{number}"
            enter(commit, number, ["evaluate + ensemble + report"], partial(study, place, commit))
            if commit == now and number == 1:
                enter(commit, number, ["plain scripts"], partial(scripts, place, commit))
            shutil.rmtree(place, ignore_errors=True)
        for commit in (then, now):
            enter(commit, number, [*NETWORKS], partial(networks, folder / f"{commit}-networks", commit))


def lines(table: pd.DataFrame, then: str, now: str) -> Iterator[str]:
    """Write the medians and their ratios as a table."""
    table = table.drop_duplicates(["commit", "round", "what"], keep="last")  # a study that was stopped is measured anew
    values = table.groupby(["what", "commit"], sort=False)["value"].agg(list)
    yield f"| medians of {table['round'].max()} rounds | {then} | now | ratio | limit |"
    yield "| --- " * 5 + "|"
    for what in table["what"].unique():
        if what == "plain scripts":
            mine, other = median(values["12 training runs", now]), median(values[what, now])
            label = "12 plain scripts, two at a time, and the 12 training runs now"
            yield f"| {label} | {other:.1f} s | {mine:.1f} s | {other / mine:.2f} | {LIMITS[what]} |"
            continue
        before, after = median(values[what, then]), median(values[what, now])
        unit, label = ("images/s", f"{NETWORKS[what]}, 128 px, batches of 16") if what in NETWORKS else ("s", what)
        yield f"| {label} | {before:.1f} {unit} | {after:.1f} {unit} | {after / before:.2f} | {LIMITS.get(what, '—')} |"


def main() -> None:
    """Measure, and print the table."""
    end_with_me()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="2a9b530", help="the earlier one; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--table", action="store_true", help="print what tmp/against.csv holds, measure nothing")
    options = parser.parse_args()
    asked = ["git", "rev-parse", "--short=7", "HEAD"]
    now = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    if not options.table:
        with tempfile.TemporaryDirectory() as folder:
            run(options.commit, now, options.rounds, Path(folder))
    table = pd.read_csv(TABLE, dtype={"commit": str})
    if options.table:
        now = [commit for commit in table["commit"] if commit != options.commit][-1]  # the last that was measured
    for line in lines(table[table["commit"].isin([options.commit, now])], options.commit, now):
        print(line)


if __name__ == "__main__":
    main()
