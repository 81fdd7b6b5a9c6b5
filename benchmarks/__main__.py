"""Run benchmarks one after another and enter what they print into benchmarks/RESULTS.md.

``python -m benchmarks [NAME ...]``, or ``make bench``: all of them, about half an hour on two cores that do nothing
else. Each section of RESULTS.md has a block between two marks, which is replaced by the date, the machine and the
output; what stands around it (peers, limits, what is to be learnt) is written by hand. A benchmark that fails leaves
its block as it was, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.shared.reaper import end_with_me

RESULTS = Path(__file__).parent / "RESULTS.md"
BENCHMARKS = {
    "preprocess": "decoding, CLAHE and shrinking against a plain script",
    "duplicates": "near-duplicates of 112,120 images",
    "input": "the training loop's input against a fixed batch",
    "coverage": "how often intervals and tests are right, simulated",
    "claims": "how often claims are false that are said to be, simulated",
    "statistics": "bootstrap, DeLong and exchange of seeds against loops",
    "parity": "training against a plain script: the table of what `benchmarks.parity run` trained; only if it is named",
    "soup": "the mean weights of a configuration's seeds, where they are trained; only if it is named",
    "transductive": "batch normalisation of the test images, where networks are trained; only if it is named",
    "folds": "how often intervals of a cross-validation hold the truth; only if it is named",
    "search": "how far the best score of a search is from the truth; only if it is named",
    "missing": "labels taken away: left out of the loss, or set to 0; only if it is named",
    "explain": "memory and time of heat maps, 250 against 1,000 images",
    "predict": "a model on new images against a plain loop",
    "report": "the report stage for 12 and 48 training runs",
    "idle": "DVC's own time with nothing to do",
    "launch": "training runs side by side, DVC's own time, kills",
    "against": "the default study, its stages and two networks against an earlier commit; only if it is named",
    "gpu": "one CUDA card: right, repeatable, how fast; only if it is named",
    "cluster": "training runs on two Ray nodes of this machine",
    "chaos": "kills, cut files and full disks; an hour or more, only if it is named",
}
"""Name of a module of this package: what it measures."""
LONG = frozenset({"against", "chaos", "folds", "gpu", "missing", "parity", "search", "soup", "transductive"})
"""Those that run only if they are named."""
PACKAGES = ("torch", "numpy", "opencv-python-headless", "dvc")


def found(package: str) -> bool:
    """Say whether a package is installed: a machine that only trains may lack some."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def processor() -> str:
    """Name the processor and count the cores that may be used."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return f"{len(os.sched_getaffinity(0))} cores ({named[1] if named else platform.processor()})"


def entered(text: str, name: str, output: str, head: str) -> str:
    """Return `text` with the block of benchmark `name` replaced.

    Raises
    ------
    ValueError
        If there is no such block.
    """
    begin, end = f"<!-- {name}: written by python -m benchmarks -->", f"<!-- /{name} -->"
    if begin not in text or end not in text:
        raise ValueError(f"{RESULTS} has no block for {name}: {begin} ... {end}")
    before, rest = text.split(begin, 1)
    _, after = rest.split(end, 1)
    return f"{before}{begin}\n{head}\n\n{output.strip()}\n{end}{after}"


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(f"{k}: {v}" for k, v in BENCHMARKS.items()))
    names = parser.parse_args().names or [name for name in BENCHMARKS if name not in LONG]
    end_with_me()
    if "cluster" in names and find_spec("ray") is None:
        print("cluster: left out, Ray is not installed (pip install -r requirements-cluster.txt)")
        names.remove("cluster")
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"{', '.join(unknown)}; use some of: {', '.join(BENCHMARKS)}")
    failed = []
    for name in names:
        print(f"{name}: {BENCHMARKS[name]}", flush=True)
        around = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        load = os.getloadavg()[0]
        done = subprocess.run(command, env=around, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{name} failed with status {done.returncode}", file=sys.stderr)
            failed.append(name)
            continue
        packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES if found(package))
        head = (
            f"{datetime.date.today().isoformat()}; {processor()}; Python {platform.python_version()}, {packages}; load "
            f"at the start {load:.1f}. `python -m benchmarks.{name}`"
        )
        RESULTS.write_text(entered(RESULTS.read_text(encoding="utf-8"), name, done.stdout, head), encoding="utf-8")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
