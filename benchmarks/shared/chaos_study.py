"""The tiny study that benchmarks/chaos.py breaks: real stages in a repository of their own, and what it must end as."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.shared.standin import COPIED
from benchmarks.shared.tiny import IDENTITY, TINY, copy_tracked
from pipeline.launching import workers
from pipeline.launching.warm import Warm

SERVER = "MEDMATRIX_CHAOS"
ALL = ("data", "models", "evaluations", "fused", "ensembles", "probes", "reports")
OWN = {"notes.txt": "mine\n", "tmp/mine.txt": "mine, too\n", "data/mine.csv": "a,b\n"}
"""Files of the user's."""
HALF = ("partial-*", "*.partial", "*.new", "*.part")
BLANK = b"\x89PNG blank"
GONE_SECONDS = 150.0


class Broken(Exception):
    """A claim does not hold."""


def claim(holds: object, text: str) -> None:
    """Fail if a claim does not hold."""
    if not holds:
        raise Broken(text)


class Study:
    """The study on the disk, and what a study that is left in peace has.

    Parameters
    ----------
    folder : Path
        Of the study.
    warm : Warm
        Starts its commands, which import their libraries in no time.
    """

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder, self.warm = folder, warm
        self.printed = folder.parent / "printed"
        self.reference: dict[str, str] = {}
        self.clock: set[str] = set()

    def make(self) -> None:
        """Make the repository, with one commit and nothing computed."""
        shutil.rmtree(self.folder, ignore_errors=True)
        copy_tracked([*COPIED, "pipeline"], self.folder)
        content = copy.deepcopy(TINY)
        content["study"] = {"models": ["small"], "losses": ["bce"], "replicates": []}
        content["datasets"]["phantom"] |= {"images": 200, "size": 64}
        content["preprocess"]["size"] = 16
        content["evaluate"]["probes"] = False
        (self.folder / "params.yaml").write_text("# edited by hand\n" + yaml.safe_dump(content))
        (self.folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (self.folder / ".dvc/config.local").write_text(f"[core]\n    site_cache_dir = {self.folder.parent / 'site'}\n")
        with (self.folder / "pipeline/reporting/figures/style.py").open("a") as style:  # painting takes the longest
            style.write(f"\n\ndef png(*_: object) -> bytes:\n    return {BLANK!r}\n")
        with (self.folder / "pipeline/launching/warm.py").open("a") as file:  # one server for all launchers
            file.write(
                f"\n\nif {SERVER!r} in os.environ:\n"
                f"    Warm.__init__ = lambda self, *_: setattr(self, '_address', os.environ[{SERVER!r}])\n"
                "    Warm.close = lambda self: None\n"
            )
        shutil.copy(Path(__file__).with_name("dying.py"), self.folder / "dying.py")
        for name, text in OWN.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)
        for command in (("init", "-q", "-b", "main"), ("add", "-A"), ("commit", "-qm", "start")):
            subprocess.run(["git", *command], cwd=self.folder, check=True, env=os.environ | IDENTITY)

    def wipe(self) -> None:
        """Take away all that was computed, and what DVC knows of it."""
        for name in (*ALL, ".dvc/cache", ".dvc/tmp", "tmp"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.rmtree(self.folder.parent / "site", ignore_errors=True)
        (self.folder / "dvc.lock").unlink(missing_ok=True)
        subprocess.run(["git", "reset", "-q"], cwd=self.folder, check=True)
        for name, text in OWN.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text)

    def start(self, *command: str, plain: bool = False) -> Any:
        """Start a Python module in the study, as the leader of a session; `plain`: a new process like any other."""
        around = {**workers.base_environment("chaos"), **IDENTITY}
        del around[workers.MARK]
        with self.printed.open("wb") as output:
            if not plain:
                around[SERVER] = str(self.warm._address)
                before = Path.cwd()
                os.chdir(self.folder)
                try:
                    started = self.warm.start(command, around, output)
                finally:
                    os.chdir(before)
                if started is not None:
                    return started
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=self.folder,
                env=around,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def run(self, *command: str, plain: bool = False) -> int:
        """Run a Python module to its end; return its status."""
        return self.start(*command, plain=plain).wait()

    def said(self) -> str:
        """Read what the last command has printed."""
        return self.printed.read_text(errors="replace")

    def contents(self) -> dict[str, str]:
        """Digest all that the stages have made."""
        files = [path for name in ALL for path in sorted((self.folder / name).rglob("*")) if path.is_file()]
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }

    def processes(self) -> list[psutil.Process]:
        """Find the processes that work in the study."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if Path(process.cwd()).is_relative_to(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def wait_until_gone(self, seconds: float = GONE_SECONDS) -> None:
        """Wait for the processes of a killed command to end by themselves."""
        deadline = time.monotonic() + seconds
        while left := self.processes():
            if time.monotonic() > deadline:
                told = [" ".join(process.cmdline()) for process in left]
                for process in left:
                    process.kill()
                raise Broken(f"processes are left: {told}")
            time.sleep(0.1)

    def check(self) -> None:
        """Hold the study to what one that is left in peace has."""
        self.wait_until_gone()
        found = self.contents()
        wrong = [name for name in {*found, *self.reference} if found.get(name) != self.reference.get(name)]
        wrong = sorted(name for name in wrong if name not in self.clock or (name in found) != (name in self.reference))
        claim(not wrong, f"files differ: {wrong[:8]}")
        for name, text in OWN.items():
            claim((self.folder / name).read_text() == text, f"{name} of the user's is lost or changed")
        half = [path for pattern in HALF for path in self.folder.rglob(pattern) if ".git/" not in str(path)]
        claim(not half, f"half files are left: {half[:5]}")
        locked = self.folder / ".dvc/tmp/rwlock"
        if locked.exists():
            text = locked.read_text()
            living = [n for n in map(int, re.findall(r'"pid": (\d+)', text)) if psutil.pid_exists(n)]
            claim(not living, f"rwlock names processes that live: {text[:300]}")

    def up_to_date(self) -> None:
        """Hold that DVC has nothing to do."""
        claim(self.run("dvc", "status") == 0 and "up to date" in self.said(), f"dvc status: {self.said()[-600:]}")
