"""Run the study of params.yaml on two Ray nodes of this machine that share nothing but a folder as DVC remote.

The nodes are processes in a network that has loopback only; each has one processor, a clone and a cache of its own.
``spread``: the training runs must be spread over both nodes, the head must train none, and the results must be the
bytes of a launch without Ray. ``lost``: the same with one node killed while it trains. Prints rows of a markdown table
and fails if a claim does not hold.

Run with ``python -m benchmarks.cluster`` (about twelve minutes) where Ray is installed (``requirements-cluster.txt``).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.launch import check, checkout, contents, environment, timed
from benchmarks.shared.nodes import ADDRESS, Nodes, namespace
from benchmarks.shared.reaper import end_with_me
from benchmarks.shared.tiny import IDENTITY
from benchmarks.shared.waiting import until

RECORD = "models/*/*/run.json"


def head_of(folder: Path, start: Path) -> Path:
    """Make a committed clone with the data of `start` and a folder as remote."""
    head = checkout(folder / "head")
    for name in ("data", "dvc.lock", ".dvc/cache"):
        subprocess.run(["cp", "-r", str(start / name), str(head / name)], check=True)
    for command in (
        [sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "store", str(folder / "store")],
        ["git", "add", "-A"],
        ["git", "commit", "-q", "-m", "study"],
    ):
        subprocess.run(command, cwd=head, env={**environment(), **IDENTITY}, check=True)
    return head


def trained(nodes: Nodes, name: str) -> set[str]:
    """Name the training runs that have ended on a node."""
    return {"/".join(file.parts[-3:-1]) for file in (nodes.folder / name).glob(f"*/{RECORD}")}


def launch(folder: Path, start: Path, here: Path, words: list[str], kill: bool) -> tuple[float, dict[str, int]]:
    """Launch the study on nodes a and b; return seconds, and how many runs each has trained.

    Parameters
    ----------
    folder : Path
        For all that is made.
    start : Path
        Clone whose data, split and losses are up to date.
    here : Path
        The same after a launch without Ray.
    words : list of str
        Of `namespace`.
    kill : bool
        Whether node b is killed when it has done one training run and is at another.
    """
    folder.mkdir()
    head = head_of(folder, start)
    runs = len([*here.glob(RECORD)])
    nodes = Nodes(folder, words)
    try:
        for number, name in enumerate("ab", start=2):
            nodes.start(name, number)
        started = time.perf_counter()
        with (folder / "printed").open("w") as printed:
            launcher = subprocess.Popen(
                [*words, sys.executable, "-m", "pipeline.commands.launch", "--ray", ADDRESS, "--jobs", "2"],
                cwd=head,
                env={**environment(), **nodes.environment, "PATH": environment()["PATH"]},
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
        if kill:
            kept = folder / "b"
            until(lambda: (trained(nodes, "b") and any(kept.glob("*/tmp/ckpt/*"))) or launcher.poll() is not None)
            time.sleep(1)
            nodes.kill("b")
        status = launcher.wait()
        seconds = time.perf_counter() - started
        told = (folder / "printed").read_text()
        check(status == 0, f"the launch succeeds:\n{told}")
        check(f"collected {runs} training runs; 0 were trained on this machine" in told, "the head trains none")
        check(contents(head) == contents(here), "the results are the bytes of a launch without Ray")
        return seconds, {name: len(trained(nodes, name)) for name in "ab"}
    finally:
        nodes.end()


def main() -> None:
    """Print the table."""
    end_with_me()
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    check(importlib.util.find_spec("ray") is not None, "Ray is installed: pip install -r requirements-cluster.txt")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        words = stack.enter_context(namespace())
        check(words is not None, "a network namespace can be made here")
        assert words is not None
        here = checkout(folder / "here")
        timed(["dvc", "repro", "split", "configure"], here, environment())
        start = folder / "start"
        subprocess.run(["cp", "-r", str(here), str(start)], check=True)
        seconds = timed(["pipeline.commands.launch", "--jobs", "2"], here, environment())
        print(f"| {len([*here.glob(RECORD)])} training runs, two processors | time | runs of node a, b |")
        print("| --- | --- | --- |")
        print(f"| `medmatrix launch --jobs 2` | {seconds:.0f} s | |")
        for name, kill in (("`--ray`, two nodes, head trains 0, same bytes", False), ("the same, b killed", True)):
            seconds, given = launch(folder / ("lost" if kill else "spread"), start, here, words, kill)
            check(all(given.values()), "both nodes train")
            print(f"| {name} | {seconds:.0f} s | {given['a']}, {given['b']} |", flush=True)


if __name__ == "__main__":
    main()
