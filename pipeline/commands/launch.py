"""Run the study with several cells side by side: what ``dvc repro`` gives, sooner.

``python -m pipeline.commands.launch --jobs N [--gpus 0,1,...]``, a part of the cells with ``--shard i/N``, or all of them on the
machines of a Ray cluster with ``--ray ADDRESS``. A cell that fails is tried once more; the others go on. Ctrl-C, or any
other end, leaves what is done recorded and the rest resumable: type the same again. docs/scale.md says when to use
what.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.launching import carrier, cluster, workers
from pipeline.launching.display import display
from pipeline.launching.log import reason
from pipeline.launching.schedule import GOOD, State, Task, run
from pipeline.launching.status import (
    SHARED,
    StageStatus,
    cache_folder,
    cell_stages,
    evaluation_of,
    name_of,
    read_status,
)
from pipeline.launching.warm import Warm
from pipeline.launching.work import AFTER, DVC, EVALUATIONS, LOGS, cell_tasks, evaluation_tasks, missing, probe_task
from pipeline.learning.settings import train_settings
from pipeline.settings import Params, load
from pipeline.study.errors import UserError, stage_errors
from pipeline.study.runs import configurations, runs

Shard = tuple[int, int] | None


class Launch:
    """One launch of the study.

    Parameters
    ----------
    params : Params
        The study.
    jobs : int
        Cells side by side.
    gpus : sequence of str, optional
        Dealt out to them; see `pipeline.launching.workers.environment`.
    shard : (int, int), optional
        Only every N-th cell, from the i-th (from 1) on, and no evaluation.
    cold : bool
        Start every process anew instead of forking it from one that has imported the libraries.
    """

    def __init__(self, params: Params, jobs: int, gpus: Sequence[str] | None, shard: Shard, cold: bool = False) -> None:
        self.params, self.jobs, self.gpus, self.shard, self.cold = params, jobs, gpus, shard, cold
        self.warm: Warm | None = None
        self.mark = workers.mark_of(Path.cwd(), shard)
        self.stop = workers.Stop()

    def __call__(self) -> int:
        """Run it; return the exit status: 0, 1 if something failed, 128 + signal if it was stopped."""
        with self.stop, self._alone(), contextlib.ExitStack() as self._open:
            if count := workers.end_leftovers(self.mark):
                print(f"{count} processes of a launcher that was killed have been waited for or ended")
            try:
                return self._run()
            except workers.Stopped:
                print("stopped; what is done is recorded, trainings have kept their last epoch: type the same to go on")
                return self.stop.status

    def _alone(self) -> contextlib.AbstractContextManager[object]:
        """Hold the locks that keep two launchers out of one folder, or out of one shard."""
        stack = contextlib.ExitStack()
        stack.enter_context(workers.locked(LOGS / "lock", shared=self.shard is not None))
        if self.shard:
            stack.enter_context(workers.locked(LOGS / "lock-{}-of-{}".format(*self.shard)))
        return stack

    def _run(self) -> int:
        status = self._status()
        if status is None:
            return 1
        self._warm_up(status)
        trainings = cell_tasks(self.params, status, self.shard)
        evaluations = [] if self.shard else evaluation_tasks(self.params, status, trainings)
        beside = [] if self.shard else probe_task(status)
        self._work(trainings, [*evaluations, *beside], status)
        if self.stop():
            raise workers.Stopped
        tasks = [*trainings, *evaluations, *beside]
        if any(task.state is State.FAILED for task in tasks):
            if not self.shard:
                self._report_the_rest(evaluations)
            self._tell_failures(trainings, [*evaluations, *beside])
            return 1
        done = sum(task.state in GOOD for task in trainings)
        if self.shard:
            print(f"shard {self.shard[0]}/{self.shard[1]}: {done} cells are there")
            return 0
        return 1 if self._foreground([*DVC], self.warm) else 0

    def _status(self) -> dict[str, StageStatus] | None:
        """Bring data and split up to date; return the status of cells and evaluations, None if that failed."""
        stages = [
            *cell_stages(self.params),
            *(evaluation_of(configuration) for configuration in configurations(self.params)),
            "probe",
        ]
        status = read_status([*SHARED, *stages])
        if all(status[name].state == "up to date" for name in SHARED if name in status):
            return status
        self._warm_up(status)
        if self._shared_stages([str(status[name].folder) for name in SHARED[1:] if name in status]):
            return None
        return read_status(stages)

    def _warm_up(self, status: dict[str, StageStatus]) -> None:
        """Have the libraries imported, beside whatever comes first, if that is worth it: for several stages."""
        if self.warm is None and not self.cold and sum(s.state != "up to date" for s in status.values()) > 1:
            self.warm = self._open.enter_context(Warm(self._environment(0), LOGS / "warm.log"))

    def _work(self, trainings: list[Task], evaluations: list[Task], status: dict[str, StageStatus]) -> None:
        """Do the tasks; their `state` says how each ended."""
        with display() as show:
            run([*evaluations, *trainings], self.jobs, self._environment, show, self.stop, self.warm)

    def _shared_stages(self, folders: list[str]) -> int:
        """Bring data and split, in `folders`, up to date; shards of clones that share a cache do so in turn."""
        if not self.shard:
            return 1 if self._foreground([*DVC, "split"], None) else 0
        with workers.locked(cache_folder() / "launch.lock", waiting=self.stop):
            # Raw data is not in the cache. A clone that finds what was made of it there does not need it.
            self._foreground(["dvc", "--wait-for-lock", "checkout", "--quiet", *folders], None)
            there = all(Path(folder).exists() for folder in folders)
            return 1 if self._foreground([*DVC, *(["--allow-missing"] if there else []), "split"], None) else 0

    def _foreground(self, command: Sequence[str], warm: Warm | None) -> int:
        print("$ " + shlex.join(command), flush=True)
        return workers.foreground(command, workers.base_environment(self.mark), self.stop, warm)

    def _environment(self, slot: int) -> dict[str, str]:
        return workers.environment(self.mark, slot, self.jobs, self.gpus)

    def _tell_failures(self, trainings: list[Task], evaluations: list[Task]) -> None:
        for task in [*trainings, *evaluations]:
            if task.state is State.FAILED:
                print(f"\nfailed: {task.name}, {task.attempts} times, see {task.log}:\n  {reason(task.log)}")
        for configuration, lost in missing(self.params, trainings).items():
            print(f"missing: {configuration}, seed {', '.join(str(cell.seed) for cell in lost)}")

    def _report_the_rest(self, evaluations: list[Task]) -> None:
        """Write up the recipes that could be evaluated; the report names what is missing."""
        kept = [task for task in evaluations if task.state in GOOD]
        for configuration, task in zip(configurations(self.params), evaluations):
            if task not in kept:  # what lies there is of other settings, or of an earlier study
                shutil.rmtree(EVALUATIONS / str(configuration), ignore_errors=True)
        for stage in AFTER if kept else ():
            if self._foreground([*DVC, "-s", stage], self.warm):
                print(f"stage {stage} failed: the reports are as they were before")
                return


class ClusterLaunch(Launch):
    """One launch of the study whose cells are trained on a Ray cluster; all else is done here.

    Parameters
    ----------
    params : Params
        The study.
    jobs : int
        Evaluations side by side, on this machine.
    address : str
        Of the cluster; see `pipeline.launching.cluster.connected`.
    remote_url : str, optional
        See `pipeline.launching.carrier.remote_of`.
    """

    def __init__(self, params: Params, jobs: int, address: str, remote_url: str | None, cold: bool = False) -> None:
        super().__init__(params, jobs, None, None, cold)
        self.address, self.remote_url = address, remote_url

    def _run(self) -> int:
        self.remote, self.commit = carrier.remote_of(self.remote_url), carrier.check_committed()
        with cluster.connected(self.address) as self.nodes:
            settings = {name_of(cell): train_settings(self.params, cell.model) for cell in runs(self.params)}
            self.needs = {name: self.nodes.needs(train.threads, train.device) for name, train in settings.items()}
            return super()._run()

    def _work(self, trainings: list[Task], evaluations: list[Task], status: dict[str, StageStatus]) -> None:
        for task in trainings:
            if status[task.command[-1]].state == "cached":
                task.state = State.CACHED
        if any(task.state not in GOOD for task in trainings):
            self._train(trainings)
        self.nodes.leave()
        stages = [task.command[-1] for task in trainings if task.state in GOOD]
        if stages and not self.stop():
            carrier.collect(stages, workers.base_environment(self.mark), LOGS / "collect.log", self.stop)
            print(f"collected {len(stages)} cells; 0 were trained on this machine", flush=True)
        super()._work(trainings, evaluations, status)

    def _train(self, trainings: list[Task]) -> None:
        for command in carrier.push_commands():
            if self._foreground(command, None):
                raise UserError(f"{shlex.join(command)} failed: the nodes would not find their inputs")
        work = carrier.work(self.commit, self.remote)
        self.nodes.prepare(work, self.stop)
        with display() as show:
            given = self.nodes.train(trainings, self.needs, work, show, self.stop)
        print("cells of each node: " + (", ".join(f"{node} {n}" for node, n in sorted(given.items())) or "none"))


def advice(params: Params, jobs: int) -> str | None:
    """Return a word on trainings that have more threads together than there are processors, or None."""
    threads = max(train_settings(params, model).threads for model in params.study.models)
    if jobs == 1 or jobs * threads <= workers.processors():
        return None
    return (
        f"note: {jobs} jobs of {threads} threads on {workers.processors()} processors; `train.threads: "
        f"{max(1, workers.processors() // jobs)}` is faster, and another study: threads change the last digits"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line: jobs (int), gpus (list of str or None), shard ((int, int) or None)."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.commands.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="cells side by side; default: one a GPU, 1 without --gpus"
    )
    parser.add_argument("--gpus", type=_gpus, metavar="0,1,...", help="default: those that can be seen; '' = none")
    parser.add_argument("--shard", type=_shard, metavar="i/N", help="every N-th cell alone, from the i-th; 1/N to N/N")
    parser.add_argument("--ray", metavar="ADDRESS", help="train on a Ray cluster: HOST:PORT of its head, or auto")
    parser.add_argument("--remote-url", metavar="URL", help="of the DVC remote as the nodes of --ray reach it")
    parser.add_argument("--cold", action="store_true", help="import all libraries anew for every cell; slower")
    options = parser.parse_args(arguments)
    if options.ray is None and options.remote_url is not None:
        parser.error("--remote-url without --ray; allowed: with it")
    if options.ray is not None and (options.gpus, options.shard) != (None, None):
        parser.error("--ray with --gpus or --shard; allowed: without, the cluster says what each node has")
    if options.jobs is None:
        options.jobs = len(options.gpus or [""])
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}; allowed: 1 or more")
    if options.gpus is None:
        options.gpus = workers.visible_gpus()
    return options


def _gpus(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: i/N with i from 1 to N, for example 1/8")
    return int(found[1]), int(found[2])


def main(arguments: Sequence[str] | None = None) -> None:
    """Launch the study; exit with its status."""
    options = parse(arguments)
    with stage_errors():
        params = load()
        if options.ray is not None:
            sys.exit(ClusterLaunch(params, options.jobs, options.ray, options.remote_url, options.cold)())
        if word := advice(params, options.jobs):
            print(word)
        status = Launch(params, options.jobs, options.gpus, options.shard, options.cold)()
    sys.exit(status)


if __name__ == "__main__":
    main()
