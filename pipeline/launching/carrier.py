"""How a study travels without a shared file system: its commit as a bundle of git, data and results by a DVC remote."""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.launching import cluster_task
from pipeline.launching.log import Tail, reason
from pipeline.launching.status import SHARED
from pipeline.launching.workers import Stopped, Worker
from pipeline.study.errors import UserError
from pipeline.study.params import dump_yaml, parse_yaml
from pipeline.study.repository import opened

SOURCES = ("pipeline", "params.yaml", "dvc.yaml", "requirements.txt", ".dvcignore")
"""What the result of a training run depends on, beside its inputs."""
POLL_SECONDS = 0.1
RUNNING = re.compile(r"^Running stage '((?:train|replicate)@[^']+)'")


@dataclass(frozen=True)
class Remote:
    """A remote of DVC, with a URL that means the same on every node."""

    name: str
    url: str


def remote_of(url: str | None = None) -> Remote:
    """Return the default remote of the working directory's project.

    Parameters
    ----------
    url : str, optional
        Under which the nodes reach it; None = the one that DVC's configuration has here.

    Raises
    ------
    UserError
        If there is none, or if it cannot hold a run-cache.
    """
    with opened() as repo:
        name = repo.config["core"].get("remote")
        settings = repo.config["remote"].get(name, {})
    if not name or "url" not in settings:
        raise UserError(
            "--ray needs a default DVC remote, over which the machines exchange data and results: "
            "dvc remote add -d NAME URL (a folder that all nodes mount, ssh://, s3://, ...)"
        )
    address = url or str(settings["url"])
    if address.startswith(("http://", "https://")):
        raise UserError(f"remote {name}, {address}: DVC keeps no run-cache in an HTTP remote; use a folder, ssh or S3")
    return Remote(name, address if "://" in address else str(Path(address).absolute()))


def check_committed() -> str:
    """Return the commit that the nodes will work on.

    Raises
    ------
    UserError
        If there is none, if git has only a part of the history, or if code or parameters differ from the commit.
    """
    try:
        commit = _git("rev-parse", "--verify", "HEAD").decode().strip()
    except subprocess.CalledProcessError:
        raise UserError(
            "--ray sends the nodes a commit, and there is none here; launch from a git repository with one"
        ) from None
    if _git("rev-parse", "--is-shallow-repository").decode().strip() == "true":
        raise UserError("--ray cannot send a shallow clone; type git fetch --unshallow")
    if changed := changed_sources():
        raise UserError(
            f"--ray sends the nodes the last commit, and these differ from it: {', '.join(changed)}; "
            "commit them or undo the change"
        )
    return commit


def changed_sources() -> list[str]:
    """Return the files of `SOURCES` that differ from the commit or are in none."""
    entries = _git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *SOURCES).decode()
    return sorted(entry[3:] for entry in entries.split("\0") if entry)


def bundle(commit: str) -> bytes:
    """Return the history up to HEAD as one file of git.

    Raises
    ------
    UserError
        If HEAD is no longer `commit`.
    """
    packed = _git("bundle", "create", "--quiet", "-", "HEAD")
    if f"{commit} HEAD".encode() not in packed.split(b"\n\n", 1)[0]:
        raise UserError(f"another commit than {commit} was checked out while the launcher started; start it again")
    return packed


def push_commands(inputs: Sequence[str]) -> list[list[str]]:
    """Return the commands with which the head publishes `inputs`, the stages whose outputs the training runs read."""
    return [[*cluster_task.DVC, "push", *inputs], [*cluster_task.DVC, "push", "--run-cache", *inputs]]


def collect_command(stages: Sequence[str]) -> list[str]:
    """Return the command with which the head takes the results of the training runs `stages`."""
    return [*cluster_task.DVC, "repro", "--pull", "-s", *stages]


def work(commit: str, remote: Remote, inputs: Sequence[str]) -> cluster_task.Work:
    """Return what the nodes are sent, once the shared stages are up to date; `inputs` as for `push_commands`."""
    content = parse_yaml(Path("dvc.lock").read_text(encoding="utf-8"), "dvc.lock")
    content["stages"] = {name: entry for name, entry in content["stages"].items() if name in SHARED}
    lock = dump_yaml(content)
    key = hashlib.sha256("\0".join([commit, lock, remote.name, remote.url]).encode()).hexdigest()[:16]
    return cluster_task.Work(
        key=key,
        commit=commit,
        bundle=bundle(commit),
        lock=lock,
        remote=remote.name,
        url=remote.url,
        inputs=[*inputs],
    )


def collect(
    stages: Sequence[str], environment: Mapping[str, str], log: Path, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Take the results of the nodes from the remote.

    Parameters
    ----------
    stages : sequence of str
        Of the training runs that are done.
    environment : mapping
        Of the process.
    log : Path
        For its output.
    stopping : callable
        Once it returns True, DVC is ended.

    Raises
    ------
    UserError
        If DVC fails, and as soon as it would train one of them here.
    Stopped
        If `stopping` said so.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    tail, status = Tail(log), None
    with Worker(collect_command(stages), environment, log) as worker:
        while status is None:
            time.sleep(POLL_SECONDS)
            status = worker.poll()
            if again := trainings(tail.lines()):
                raise UserError(_trains_again(again[0]))
            if stopping():
                raise Stopped
    if status:
        raise UserError(f"dvc could not take the results from the remote, see {log}: {reason(log)}")


def trainings(lines: Sequence[str]) -> list[str]:
    """Return the stages that DVC, which printed `lines`, has in no cache and began to train."""
    return [match[1] for line in lines if (match := RUNNING.match(line))]


def _trains_again(stage: str) -> str:
    changed = changed_sources()
    why = (
        f"{', '.join(changed)} changed meanwhile"
        if changed
        else "its inputs here are not those of the nodes, or its files are not in the remote"
    )
    return (
        f"{stage} was reported done, yet would be trained here: {why} (see dvc status {stage}); it was stopped. "
        "medmatrix launch without --ray trains what is missing on this machine"
    )


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], capture_output=True, check=True).stdout
