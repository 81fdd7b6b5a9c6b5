"""The training runs of a study on the nodes of a Ray cluster that share nothing but a DVC remote.

The head pushes the inputs; one task per training run (`pipeline.launching.cluster_task`) pulls them, trains
and pushes the result; the head pulls that and must have nothing to train (`pipeline.launching.carrier`).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.launching import cluster_task
from pipeline.launching.log import Progress
from pipeline.launching.schedule import ATTEMPTS, OVER, Show, State, Task
from pipeline.launching.workers import Stopped
from pipeline.study.errors import UserError

LOST = 3
"""How often Ray starts a training run again that lost its node, or whose node could not clone, pull or push."""
POLL_SECONDS = 0.2
CONNECT_SECONDS = 5.0
END_SECONDS = 30.0
"""For the nodes to end what runs: the guards end a training run in less time, and record one that has just finished."""


def import_ray() -> Any:
    """Import ray, which only this way of launching needs.

    Raises
    ------
    UserError
        If it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise UserError("--ray needs Ray, here and on the nodes: pip install -r requirements-cluster.txt") from None
    return ray


@contextlib.contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Join the cluster at `address` ("host:port" or "auto") as its driver, for as long as the context lasts.

    Raises
    ------
    UserError
        If Ray is not installed, nobody answers, or Ray does not let this machine in.
    """
    ray = import_ray()
    if address != "auto":
        _check_answers(address)
    ray.cloudpickle.register_pickle_by_value(cluster_task)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="warning")
    except Exception as error:
        raise UserError(f"--ray {address}: {str(error).strip() or type(error).__name__}") from error
    finally:
        signal.signal(signal.SIGTERM, terminate)  # Ray's own would end this process at once
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ask for a connection first: Ray itself tries for more than ten minutes."""
    match = re.fullmatch(r"(.+):(\d+)", address)
    if not match:
        raise UserError(f"--ray {address}: must be HOST:PORT of the cluster's head, or auto")
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(f"--ray {address}: no answer ({error}); is the cluster started? See docs/scale.md") from None


class Cluster:
    """A Ray cluster with this process as its driver; see `connected`.

    Parameters
    ----------
    ray : module
        Connected.
    """

    def __init__(self, ray: Any) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._ray, self._on = ray, NodeAffinitySchedulingStrategy
        self._barred: list[str] = []
        here = self._on(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(cluster_task.Board)
        self._board = actor.remote()
        self._messages = self._board.take.remote()

    def leave(self) -> None:
        """Leave the cluster: what it has free belongs to others."""
        self._ray.shutdown()

    def nodes(self) -> list[dict[str, Any]]:
        """Return Ray's description of the nodes that are alive."""
        return [node for node in self._ray.nodes() if node["Alive"]]

    def needs(self, threads: int, device: str) -> dict[str, float]:
        """Return what a training run takes of a node: a GPU where the cluster has any, else its threads.

        Parameters
        ----------
        threads : int
            ``train.threads`` of the run.
        device : {"auto", "cpu", "cuda"}
            ``train.device`` of the run.

        Raises
        ------
        UserError
            If no node has that.
        """
        return needs([node["Resources"] for node in self.nodes()], threads, device)

    def prepare(self, work: cluster_task.Work, stopping: Callable[[], bool]) -> None:
        """Have every node that can train make its clone; bar those that cannot.

        Raises
        ------
        UserError
            If none can.
        Stopped
            If `stopping` said so.
        """
        sent = self._ray.put(work)
        task = self._ray.remote(num_cpus=0, max_retries=0)(cluster_task.prepare_node)
        able = [node for node in self.nodes() if {"CPU", "GPU"} & node["Resources"].keys()]
        waiting = {task.options(scheduling_strategy=self._on(n["NodeID"], soft=False)).remote(sent): n for n in able}
        while waiting:
            done, _ = self._ray.wait(list(waiting), timeout=POLL_SECONDS)
            for ref in done:
                self._prepared(ref, waiting.pop(ref))
            if stopping():
                raise Stopped
        if len(self._barred) == len(able):
            raise UserError("no node of the cluster can work on the study; the reasons stand above")

    def _prepared(self, ref: Any, node: Mapping[str, Any]) -> None:
        try:
            facts = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            self._barred.append(node["NodeID"])
            print(f"node {node['NodeManagerHostname']} is left out:\n{_message(error)}", flush=True)
            return
        here = {name: importlib.metadata.version(name) for name in cluster_task.COMPARED}
        if other := [f"{name} {facts[name]}" for name in here if facts[name] != here[name]]:
            print(
                f"note: node {facts['node']} has {', '.join(other)}, this machine "
                f"{', '.join(f'{name} {version}' for name, version in here.items())}: the last digits may differ",
                flush=True,
            )

    def train(
        self,
        tasks: Sequence[Task],
        needs: Mapping[str, Mapping[str, float]],
        work: cluster_task.Work,
        show: Show,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Counter[str]:
        """Train the runs `tasks` that are not `OVER`; their `state` says how each ended.

        Parameters
        ----------
        tasks : sequence of Task
            Of `pipeline.launching.work.run_tasks`: the last word of the command names the stage.
        needs : mapping of str to mapping
            What a training run takes of a node, by the task's name; see `needs`.
        work : Work
            See `work`.
        show : Show
            Told of every change.
        stopping : callable
            Once it returns True, what runs is ended and the rest is left.

        Returns
        -------
        counter
            Training runs that each node has done, by the node's name.
        """
        sent = self._ray.put(work)
        remote = self._ray.remote(max_retries=LOST, retry_exceptions=True)(cluster_task.train)
        selector = {"ray.io/node-id": f"!in({','.join(self._barred)})"} if self._barred else {}

        def submit(task: Task) -> Any:
            run = cluster_task.RunWork(name=task.name, stage=task.command[-1], finished=str(task.finished))
            options = {**needs[task.name], **({"label_selector": selector} if selector else {})}
            task.attempts += 1
            return remote.options(name=task.name, **options).remote(sent, run, self._board)

        attempts = {task.name: Attempt(task, show) for task in tasks if task.state not in OVER}
        pending = {submit(attempt.task): attempt for attempt in attempts.values()}
        nodes: Counter[str] = Counter()
        try:
            while pending and not stopping():
                for name, execution, node, text in self._heard():
                    attempts[name].told(execution, node, text)
                done, _ = self._ray.wait(list(pending), timeout=POLL_SECONDS)
                for ref in done:
                    attempt = pending.pop(ref)
                    attempt.ended(self._outcome(ref))
                    if attempt.task.state is State.RETRY:
                        pending[submit(attempt.task)] = attempt
                    nodes[attempt.node] += attempt.task.state is not State.RETRY
                show.refresh(tasks)
        finally:
            self._cancel(pending)
            show.refresh(tasks)
        return +nodes

    def _heard(self) -> list[tuple[str, str, str, str]]:
        try:
            messages = self._ray.get(self._messages, timeout=0)
        except self._ray.exceptions.GetTimeoutError:
            return []
        except self._ray.exceptions.RayError:
            messages = []  # the board is started again by Ray; the logs come with the results, too
        self._messages = self._board.take.remote()
        return messages

    def _outcome(self, ref: Any) -> cluster_task.Outcome:
        try:
            return self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            return cluster_task.Outcome(status=1, log=_message(error) + "\n", node="", seconds=0.0)

    def _cancel(self, pending: Mapping[Any, Attempt]) -> None:
        for ref in pending:
            self._ray.cancel(ref)
        if pending:
            _, left = self._ray.wait(list(pending), num_returns=len(pending), timeout=END_SECONDS)
            # One is interrupted once, and may be where that is lost, as within a call of Ray's. Without its process the
            # training run ends, too.
            for ref in left:
                self._ray.cancel(ref, force=True)
            if left:
                self._ray.wait(left, num_returns=len(left), timeout=END_SECONDS)
        for attempt in pending.values():
            attempt.change(State.STOPPED)


class Attempt:
    """What the head knows of a training run on a node; its log is ``task.log``, as on one machine.

    Parameters
    ----------
    task : Task
        The training run.
    show : Show
        Told of every change.
    """

    def __init__(self, task: Task, show: Show) -> None:
        self.task, self._show = task, show
        self.node, self._execution = "", ""
        task.log.parent.mkdir(parents=True, exist_ok=True)
        task.log.write_bytes(b"")
        self._start = 0
        """Where in the log the present execution begins."""

    def told(self, execution: str, node: str, text: str) -> None:
        """Take in what `execution` printed on `node`; an execution with another name is a new one."""
        if self.task.state in OVER:
            return
        if execution != self._execution:
            if text:
                return  # of an execution that is over
            again = self._execution and self.task.state in (State.STARTING, State.RUNNING)
            self._begin(execution, node, f"; {self.node} was lost or could not go on" if again else "")
        self._append(text)

    def ended(self, outcome: cluster_task.Outcome) -> None:
        """Take in how the training run ended; the outcome's log takes the place of what has been told of it.

        An outcome without a node is Ray's word that there is none, and is added.
        """
        if outcome["node"]:
            with self.task.log.open("r+b") as log:
                log.truncate(self._start)
        self.node = outcome["node"] or self.node
        self.task.progress = Progress()
        self._append(outcome["log"])
        self.task.status, self.task.seconds = outcome["status"], outcome["seconds"]
        if outcome["status"]:
            self._execution, self._start = "", self.task.log.stat().st_size
            self.change(State.RETRY if self.task.attempts < ATTEMPTS else State.FAILED)
        else:
            self.change(State.DONE if self.task.progress.running else State.CACHED)

    def change(self, state: State) -> None:
        """Give the task another state and show it, with its node."""
        self.task.state = state
        self._show.changed(replace(self.task, name=f"{self.task.name} on {self.node}") if self.node else self.task)

    def _begin(self, execution: str, node: str, remark: str) -> None:
        self._execution, self.node = execution, node
        self.task.progress = Progress()
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        with self.task.log.open("a", encoding="utf-8") as log:
            log.write(f"--- {self.task.name}, attempt {self.task.attempts} on {node}, {moment}{remark}\n")
        self._start = self.task.log.stat().st_size
        self.change(State.STARTING)

    def _append(self, text: str) -> None:
        with self.task.log.open("a", encoding="utf-8") as log:
            log.write(text)
        for line in text.splitlines():
            self.task.progress.read(line)
        if self.task.progress.running and self.task.state is State.STARTING:
            self.change(State.RUNNING)


def needs(nodes: Sequence[Mapping[str, float]], threads: int, device: str) -> dict[str, float]:
    """Return what a training run takes of a node, where `nodes` are the resources of all; see `Cluster.needs`."""
    gpus = device != "cpu" and any(node.get("GPU", 0) >= 1 for node in nodes)
    if device == "cuda" and not gpus:
        raise UserError("train.device is cuda, and no node of the cluster has a GPU")
    if not gpus and not any(node.get("CPU", 0) >= threads for node in nodes):
        most = max((node.get("CPU", 0) for node in nodes), default=0)
        raise UserError(f"train.threads is {threads}, and no node of the cluster has more than {most:g} processors")
    return {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": threads}


def _message(error: BaseException) -> str:
    cause = getattr(error, "cause", None)
    return f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else str(error).strip()
