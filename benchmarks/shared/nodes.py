"""A Ray cluster on this machine, in a network of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from benchmarks.shared.waiting import until
from pipeline.launching import cluster_task

ADDRESS = "127.0.0.1:6399"
MARK = "MEDMATRIX_TEST_CLUSTER"
SPARING = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""Environment of a cluster on which nothing runs but what is asked of it."""


@contextlib.contextmanager
def namespace() -> Iterator[list[str] | None]:
    """Words before a command that put it into a network with nothing but loopback; None where there can be none."""
    user = [] if os.getuid() == 0 else ["-r"]
    holder = None
    if shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip"):
        holder = subprocess.Popen(
            ["unshare", "-n", *user, "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    if holder is None or holder.stdout is None or holder.stdout.readline() != b"up\n":
        yield None
        return
    join = ["-U", "--preserve-credentials"] if user else []
    try:
        yield ["nsenter", "-t", str(holder.pid), "-n", *join]
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


class Nodes:
    """A Ray cluster whose nodes are processes of this machine, in a network that has only loopback."""

    def __init__(self, folder: Path, namespace: list[str], more: Mapping[str, str] | None = None) -> None:
        self.folder, self.namespace, self.more = folder, namespace, more or {}
        self.mark = str(folder)
        self.sockets = tempfile.mkdtemp(prefix="ray-")  # a path of pytest is too long for a socket's name
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.launchers: list[subprocess.Popen[bytes]] = []
        self.start(
            "head",
            1,
            "--head",
            "--port=6399",
            "--include-dashboard=false",
            f"--temp-dir={self.sockets}",
            "--num-cpus=0",
        )

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the nodes' processes, which marks them."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return {**kept, **SPARING, MARK: self.mark}

    def start(self, name: str, number: int, *arguments: str) -> None:
        """Start a node with the address 127.0.0.`number`; all but the head have one processor."""
        arguments = arguments or (f"--address={ADDRESS}", "--num-cpus=1")
        quiet = ("--object-store-memory=80000000", "--include-log-monitor=false")
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        with (self.folder / f"{name}.log").open("w") as log:
            self.running[name] = subprocess.Popen(
                [*self.namespace, *command, f"--node-ip-address=127.0.0.{number}", "--num-gpus=0", *quiet, *arguments],
                env={**self.environment, **self.more, cluster_task.FOLDER: str(self.folder / name)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until(lambda: "Ray runtime started" in self.log(name) or self.running[name].poll() is not None)
        assert self.running[name].poll() is None, self.log(name)

    def log(self, name: str) -> str:
        """Read what a node has printed."""
        return (self.folder / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        """As if the machine had lost its power, but for what the node's workers have started."""
        process = self.running.pop(name)
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(pid) == process.pid:  # their environment cannot be read: they write over it
                    os.kill(pid, signal.SIGKILL)
        process.wait()

    def processes(self) -> list[psutil.Process]:
        """List the processes of all nodes and of what they have started."""
        processes = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    processes.append(process)
        return processes

    def end(self) -> None:
        """End all nodes and whatever is left of them."""
        for name in [*self.running]:
            self.kill(name)
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def journal(self, *names: str) -> list[str]:
        """Read what the stand-in stages noted on the named nodes."""
        return [
            line
            for name in names
            for journal in sorted((self.folder / name).glob("*/tmp/journal"))
            for line in journal.read_text().splitlines()
        ]
