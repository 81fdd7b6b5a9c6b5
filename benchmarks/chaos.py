"""Break a study in every way that a machine can, and see whether it ends as it would have.

A tiny study with its real stages lies in a repository of its own. Again and again it is killed (-9), its files are cut
or zeroed, its disk is full; then the same is typed again. Held each time: every file is, byte for byte, that of a study
that was left in peace (but for what the clock says); no process, no entry of a lock and no half file is left; the
user's own files are as they were.

* ``launch``, ``repro``, ``stage``: kills at random moments of the launcher, of ``dvc repro`` and of single stages;
* ``dvc.lock``, ``rwlock``: DVC is killed after a part of the file was written;
* ``cut``: a file that the study keeps is cut, emptied or filled with zeros;
* ``full``: the disk, a small one in memory, has no room for what a stage writes; needs root, for the mount.

Run with ``python -m benchmarks.chaos`` (an hour or more; it gives way to all other work). It may be stopped and started
again: what is done stands in FOLDER/journal.jsonl.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.shared.chaos_study import ALL, Broken, Study, claim
from benchmarks.shared.reaper import end_with_me
from benchmarks.shared.tiny import ROOT
from pipeline.launching import workers
from pipeline.launching.warm import Warm
from pipeline.study.files import IGNORE

GOALS = {"stage": 110, "cut": 54, "full": 39, "dvc.lock": 25, "rwlock": 15, "repro": 60, "launch": 50}
"""How many kills, cuts and full disks."""
KILLS = 40
"""In one study, before it is left in peace."""
STAGES = {
    "download": ("pipeline.download",),
    "preprocess": ("pipeline.preprocess", "--size", "16"),
    "split": ("pipeline.split",),
    "configure": ("pipeline.configure",),
    "train": ("pipeline.train", "--model", "small", "--loss", "bce", "--seed", "42"),
    "evaluate": ("pipeline.evaluate", "--model", "small", "--loss", "bce"),
    "probe": ("pipeline.probe",),
    "fuse": ("pipeline.fuse",),
    "ensemble": ("pipeline.ensemble",),
    "report": ("pipeline.report",),
}
OUTPUTS = {
    "download": ("data/raw/phantom", "data/inputs", "data/source"),
    "preprocess": ("data/study/prepared",),
    "split": ("data/study/split",),
    "configure": ("data/configurations", "data/weights"),
    "train": ("models/small-bce/seed42",),
    "evaluate": ("evaluations/small-bce",),
    "probe": ("probes",),
    "fuse": ("fused",),
    "ensemble": ("ensembles",),
    "report": ("reports",),
}
HOW = ("cut", "emptied", "zeroed", "with a hole")
PAGE = 4096


def damaged(content: bytes, how: str) -> bytes:
    """Return what a power cut may leave of a file."""
    half = len(content) // 2
    left = {"cut": content[:half], "emptied": b"", "zeroed": bytes(len(content))}
    return left[how] if how in left else content[:half] + bytes(min(64, len(content) - half)) + content[half + 64 :]


class Chaos:
    """The trials, and the journal of those that are done.

    Parameters
    ----------
    folder : Path
        For study and journal.
    study : Study
        The study.
    seed : int
        Of the random moments.
    """

    def __init__(self, folder: Path, study: Study, seed: int) -> None:
        self.study, self.journal = study, folder / "journal.jsonl"
        self.random = random.Random(f"{seed} {len(self.done())}")
        self.seconds: dict[str, float] = {}

    def done(self) -> list[dict[str, Any]]:
        """Read the journal."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    def count(self, kind: str) -> int:
        """Count what was done of a kind."""
        return sum(entry["n"] for entry in self.done() if entry["kind"] == kind)

    def note(self, kind: str, n: int, trial: Callable[[], str | None]) -> None:
        """Do a trial that holds `n` kills or cuts, and note how it ended."""
        started, failed = time.monotonic(), None
        told = None
        try:
            told = trial()
        except (Broken, OSError, subprocess.SubprocessError) as error:
            failed = f"{type(error).__name__}: {error}"
        entry = {"kind": kind, "n": n, "failed": failed, "told": told, "seconds": round(time.monotonic() - started, 1)}
        with self.journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(json.dumps(entry), file=sys.stderr, flush=True)
        if failed:
            self.restart()

    def restart(self) -> None:
        """Begin anew after a failure, so that it is counted once."""
        for process in self.study.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        time.sleep(1)
        kept = self.journal.parent / f"failed-{len(self.done())}"
        with contextlib.suppress(OSError, shutil.Error):
            shutil.copytree(self.study.folder, kept, symlinks=True, ignore=shutil.ignore_patterns("pipeline", "cache"))
        (kept / "printed").write_bytes(self.study.printed.read_bytes())
        self.study.wipe()
        self.finish("repro")

    def command(self, kind: str) -> tuple[str, ...]:
        """Return what is typed."""
        return ("pipeline.commands", "launch", "--jobs", "2") if kind == "launch" else ("dvc", "repro")

    def finish(self, kind: str) -> None:
        """Type it and leave it in peace; where DVC cannot read its own files, one of our commands mends them."""
        started = time.monotonic()
        status = self.study.run(*self.command(kind))
        if status and kind == "repro":
            claim(self.study.run("pipeline.commands", "check") == 0, f"medmatrix check: {self.study.said()}")
            status = self.study.run(*self.command(kind))
        claim(status == 0, f"{kind} ends with {status}: {self.study.said()[-1500:]}")
        self.seconds[kind] = max(time.monotonic() - started, self.seconds.get(kind, 0.0))

    def kills(self, kind: str, kills: int) -> str:
        """Kill the launcher or `dvc repro` several times; then leave it in peace."""
        study, longest = self.study, max(self.seconds.get(kind, 30.0), 10.0) / 12
        study.wipe()
        killed = 0
        while killed < kills:
            process = study.start(*self.command(kind), plain=self.random.random() < 0.1)
            moment = time.monotonic() + self.random.uniform(0, longest)
            while process.poll() is None and time.monotonic() < moment:
                time.sleep(0.01)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
                if self.random.random() < 0.5:
                    study.wait_until_gone()
            elif process.wait() == 0:
                study.check()
                study.wipe()
            elif "is not whole" not in study.said() and kind == "repro":
                claim(
                    any(text in study.said() for text in ("validation failed", "corrupted", "is busy", "acquire lock")),
                    f"{kind} ends with {process.wait()}: {study.said()[-1500:]}",
                )
                claim(study.run("pipeline.commands", "check") == 0, f"medmatrix check: {study.said()}")
        study.wait_until_gone()
        self.finish(kind)
        study.check()
        study.up_to_date()
        return "then bytes equal"

    def stage(self, name: str, kills: int) -> str:
        """Kill a single stage several times; then leave it in peace."""
        study = self.study
        for output in OUTPUTS[name]:
            shutil.rmtree(study.folder / output, ignore_errors=True)
        killed = 0
        longest = self.seconds.get(name, 3.0)
        while killed < kills:
            process = study.start(*STAGES[name])
            moment = time.monotonic() + self.random.uniform(0, longest)
            while process.poll() is None and time.monotonic() < moment:
                time.sleep(0.005)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
            else:
                longest *= 0.8
                claim(process.wait() == 0, f"{name} ends with {process.wait()}: {study.said()[-1500:]}")
            process.wait()
            study.wait_until_gone(10.0)
        started = time.monotonic()
        claim(study.run(*STAGES[name]) == 0, f"{name}: {study.said()[-1500:]}")
        self.seconds[name] = time.monotonic() - started
        study.check()
        return name

    def lock(self, kind: str, kills: int) -> str:
        """Kill DVC while it writes one of its files, several times; then leave it in peace."""
        study, told = self.study, Counter[str]()
        study.wipe()
        for _ in range(kills):
            number, size = self.random.randint(1, 3), self.random.choice([0, self.random.randint(1, 6000)])
            size = size if kind == "dvc.lock" else self.random.randint(0, 40)
            status = study.run("dying", kind, str(number), str(size), "dvc", "repro")
            if status == 0:  # there were fewer stages left
                study.check()
                study.wipe()
                continue
            claim(status == -signal.SIGKILL, f"dvc was to be killed, status {status}: {study.said()[-800:]}")
            study.wait_until_gone()
            claim(study.run("pipeline.commands", "check") == 0, f"medmatrix check: {study.said()}")
            told["mended" if "is kept as" in study.said() or "kept as tmp" in study.said() else "whole for DVC"] += 1
        self.finish("repro")
        study.check()
        study.up_to_date()
        return ", ".join(f"{what} {n}" for what, n in told.items())

    def kept(self) -> list[str]:
        """Name files that the study keeps, some of each place."""
        study, chosen = self.study.folder, list[str]()
        places = [name for outputs in OUTPUTS.values() for name in outputs]
        for place in places:
            files = [path for path in sorted((study / place).rglob("*")) if path.is_file() and not path.is_symlink()]
            chosen += [path.relative_to(study).as_posix() for path in self.random.sample(files, min(5, len(files)))]
        return chosen

    def notes(self) -> list[str]:
        """Name what DVC and the launcher note: locks, databases, and a file of the run-cache."""
        study = self.study.folder
        runs = sorted((study / ".dvc/cache/runs").glob("*/*/*"))
        files = [*sorted((study.parent / "site").rglob("cache.db")), *self.random.sample(runs, min(1, len(runs)))]
        return ["dvc.lock", ".dvc/tmp/rwlock", "tmp/launch/dvc.lock", *(os.path.relpath(path, study) for path in files)]

    def cut(self, name: str) -> str:
        """Cut, empty or zero a file of the finished study, and type the same again."""
        study, path = self.study, self.study.folder / name
        content = path.read_bytes() if path.exists() else b""
        how = self.random.choice(HOW)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(damaged(content, how))
        kind = self.random.choice(["launch", "repro"])
        if path.name == IGNORE:  # no output of a stage: DVC alone takes it as it is
            claim(study.run("pipeline.commands", "check") == 0, f"medmatrix check: {study.said()}")
        self.finish(kind)
        study.check()
        return f"{name} {how}, {kind}"

    def checkpoint(self) -> str:
        """Damage the checkpoint of a training run that was killed, and train on."""
        study = self.study
        shutil.rmtree(study.folder / OUTPUTS["train"][0], ignore_errors=True)
        process, how = study.start(*STAGES["train"]), self.random.choice(HOW)
        while process.poll() is None and not list((study.folder / "tmp/ckpt").glob("[!p]*.pt")):
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for path in (study.folder / "tmp/ckpt").glob("[!p]*.pt"):
            path.write_bytes(damaged(path.read_bytes(), how))
        claim(study.run(*STAGES["train"]) == 0, f"train: {study.said()[-1500:]}")
        said = "begins anew" in study.said()
        study.check()
        return f"checkpoint {how}, {'told' if said else 'had been removed'}"

    def full(self, name: str, share: float) -> str:
        """Run a stage, or DVC, where the disk takes a share of what it writes; then free it and type the same again."""
        study = self.study
        small = study.folder.parent / "small"
        with _mounted(small):
            moved = Study(small / "study", study.warm)
            moved.printed, moved.reference, moved.clock = study.printed, study.reference, study.clock
            shutil.copytree(study.folder, moved.folder, symlinks=True, ignore=shutil.ignore_patterns("cache"))
            command = STAGES.get(name, self.command(name))
            pages = 0
            for output in OUTPUTS.get(name, ALL[1:]):
                files = [path for path in (moved.folder / output).rglob("*") if path.is_file()]
                pages += sum(-(-path.stat().st_size // PAGE) for path in files)
                shutil.rmtree(moved.folder / output)
            filler = small / "filler"
            with filler.open("wb") as file:
                for _ in range(shutil.disk_usage(small).free // PAGE - int(share * pages)):
                    file.write(bytes(PAGE))
            status, said = moved.run(*command), moved.said()
            if status == 0 and name == "launch":  # it trains what failed once more, when others have left some room
                moved.check()
                return f"{name}: found room when it tried again, bytes equal"
            claim(status != 0, f"{name} ends well on a full disk")
            claim("Traceback" not in said, f"{name}: {said[-2500:]}")
            if name in STAGES:
                claim(status == 1, f"{name} ends with {status}: {said[-800:]}")
                errors = [line for line in said.splitlines() if line.startswith("error: ")]
                claim(len(errors) == 1 and "need" in errors[0] and "free" in errors[0], f"{name}: {said[-800:]}")
            filler.unlink()
            if name not in STAGES:
                moved.run("pipeline.commands", "check")
            claim(moved.run(*command) == 0, f"{name}: {moved.said()[-1500:]}")
            moved.check()
            return f"{name}: {[line for line in said.splitlines() if 'rror' in line][:1]}"

    def everything(self, goals: dict[str, int]) -> None:
        """Do what is missing of the goals."""
        while any(self.count(kind) < goal for kind, goal in goals.items()):
            for kind, goal in goals.items():  # in turn, so that whoever stops it has some of each
                if self.count(kind) >= goal:
                    continue
                done = self.count(kind)
                n = min(KILLS, goal - done)
                if kind in ("launch", "repro"):
                    self.note(kind, n, lambda kind=kind, n=n: self.kills(kind, n))
                elif kind == "stage":
                    for name in [*STAGES][(done // 7) % len(STAGES) :][:3]:
                        self.note(kind, 7, lambda name=name: self.stage(name, 7))
                elif kind in ("dvc.lock", "rwlock"):
                    self.note(kind, n, lambda kind=kind, n=n: self.lock(kind, n))
                elif kind == "cut":
                    notes = self.notes()
                    self.note(kind, 1, self.checkpoint)
                    for name in [*self.random.sample(self.kept(), 6), notes[done // 8 % len(notes)]]:
                        self.note(kind, 1, lambda name=name: self.cut(name))
                else:
                    names = [*STAGES, "repro", "launch"]
                    for step in range(6):
                        name = names[(done + step) % len(names)]
                        share = (0.0, 0.5, 0.9)[((done + step) // len(names)) % 3]
                        self.note(kind, 1, lambda name=name, share=share: self.full(name, share))


@contextlib.contextmanager
def _mounted(folder: Path) -> Iterator[None]:
    """Have a disk of 48 MiB in memory at `folder`."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def table(entries: Sequence[dict[str, Any]]) -> str:
    """Lay out the journal as rows of markdown."""
    about = {
        "launch": "`medmatrix launch --jobs 2` killed at random moments",
        "repro": "`dvc repro` killed at random moments",
        "stage": "single stages killed at random moments",
        "dvc.lock": "DVC killed while it writes dvc.lock",
        "rwlock": "DVC killed while it writes rwlock",
        "cut": "files cut, emptied, zeroed or with a hole",
        "full": "disk full in a stage, in `dvc repro`, in the launcher",
    }
    rows = ["| | times | studies or stages then left in peace | of these with the bytes of an undisturbed one |"]
    rows.append("| --- | --- | --- | --- |")
    for kind, text in about.items():
        of_kind = [entry for entry in entries if entry["kind"] == kind]
        good = sum(entry["failed"] is None for entry in of_kind)
        rows.append(f"| {text} | {sum(e['n'] for e in of_kind)} | {len(of_kind)} | {good} |")
    return "\n".join(rows)


def main() -> None:
    """Do what is missing; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "tmp/chaos", help="default: tmp/chaos")
    parser.add_argument("--anew", action="store_true", help="forget what is done")
    parser.add_argument("--seed", type=int, default=0)
    for kind, goal in GOALS.items():
        parser.add_argument(f"--{kind}", dest=kind, type=int, default=goal, metavar="N", help="default: %(default)s")
    arguments = parser.parse_args()
    os.nice(19 - os.nice(0))
    end_with_me()
    folder = arguments.folder.absolute()
    if arguments.anew:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    around = {**workers.base_environment("chaos"), "OMP_NUM_THREADS": "1"}
    del around[workers.MARK]
    goals = {kind: vars(arguments)[kind] for kind in GOALS}
    if os.getuid() != 0:
        goals["full"] = 0
    with Warm(around, folder / "warm.log") as warm:
        claim(warm._ready(), f"the libraries cannot be forked, see {folder / 'warm.log'}")
        study = Study(folder / "study", warm)
        chaos = Chaos(folder, study, arguments.seed)
        kept = folder / "reference.json"
        if not kept.exists():
            study.make()
            study.wipe()
            chaos.finish("repro")
            study.reference = study.contents()
            study.wipe()
            chaos.finish("launch")
            again = study.contents()
            study.clock = {name for name, digest in again.items() if digest != study.reference.get(name)}
            kept.write_text(json.dumps({"reference": study.reference, "clock": sorted(study.clock)}))
        else:
            content = json.loads(kept.read_text())
            study.reference, study.clock = content["reference"], set(content["clock"])
            study.wait_until_gone()
            study.wipe()
            chaos.finish("repro")
        print(f"what the clock says stands in {len(study.clock)} files: {sorted(study.clock)}", file=sys.stderr)
        study.check()
        chaos.everything(goals)
    print(table(chaos.done()))
    sys.exit(1 if any(entry["failed"] for entry in chaos.done()) else 0)


if __name__ == "__main__":
    main()
