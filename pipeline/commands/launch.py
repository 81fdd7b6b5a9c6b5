"""Run the study with several training runs side by side.

The results are those of `dvc repro`, sooner. A training run that fails is tried once more; the others go on. Ctrl-C, or
any other end, leaves what is done recorded and the rest resumable: type the same again. docs/scale.md says when to use
what.

Examples
--------
  medmatrix launch --jobs 2               two training runs at a time
  medmatrix launch --gpus 0,1,2,3         one on each of four GPUs
  medmatrix launch --shard 2/8            every 8th training run from the 2nd on, as one task of a Slurm array
  medmatrix launch --ray HEAD:6379        on the machines of a Ray cluster
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.commands import command_parser
from pipeline.launching import carrier, cluster, schedule, workers
from pipeline.launching.display import display
from pipeline.launching.log import reason
from pipeline.launching.schedule import GOOD, State, Task
from pipeline.launching.status import (
    CONFIGURE,
    DATA,
    SHARED,
    StageStatus,
    cache_folder,
    ensembles_of,
    evaluation_of,
    explanations_of,
    preparations,
    read_status,
    run_stages,
)
from pipeline.launching.warm import Warm
from pipeline.launching.work import (
    AFTER,
    DVC,
    EVALUATIONS,
    LOGS,
    OF_VARIANT,
    VARIANTS,
    ensemble_tasks,
    evaluation_tasks,
    explanation_tasks,
    missing,
    probe_task,
    run_tasks,
)
from pipeline.learning.settings import train_settings
from pipeline.reporting.english import count
from pipeline.settings import Params
from pipeline.settings.checks import ELSEWHERE, load
from pipeline.study import locks, mending
from pipeline.study.errors import UserError, stage_errors
from pipeline.study.memory import free_host_memory
from pipeline.study.parallel import processors
from pipeline.study.runs import VariantRun, configurations, every_run

Shard = tuple[int, int] | None


class Launch:
    """One launch of the study.

    Parameters
    ----------
    params : Params
        The study.
    jobs : int
        Training runs side by side.
    gpus : sequence of str, optional
        Dealt out to them; see `pipeline.launching.workers.environment`.
    shard : (int, int), optional
        Only every N-th training run from the i-th on, counted from 1, and no evaluation.
    cold : bool
        Start every process anew instead of forking it from one that has imported the libraries.
    """

    def __init__(self, params: Params, jobs: int, gpus: Sequence[str] | None, shard: Shard, cold: bool = False) -> None:
        self.params, self.jobs, self.gpus, self.shard, self.cold = params, jobs, gpus, shard, cold
        self.memory = free_host_memory()
        self.warm: Warm | None = None
        self.mark = workers.mark_of(Path.cwd(), shard)
        self.stop = workers.Stop()

    def __call__(self) -> int:
        """Run it; return the exit status: 0, 1 if something failed, 128 + signal if it was stopped."""
        with self.stop, self._alone(), contextlib.ExitStack() as self._open:
            if count := workers.end_leftovers(self.mark):
                print(f"{count} processes of a launcher that was killed have been waited for or ended")
            self._mend()
            locks.remember()
            try:
                status = self._run()
                locks.remember()
                return status
            except workers.Stopped:
                print("stopped; what is done is recorded, training runs keep their last epoch: type the same to go on")
                return self.stop.status

    @staticmethod
    def _mend() -> None:
        """Mend what a kill of DVC has left cut; one that was ended by force, for its memory say, leaves it any time."""
        for line in mending.mend():
            print(f"note: {line}", flush=True)

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
        trainings = run_tasks(self.params, status, self.shard)
        evaluations = [] if self.shard else evaluation_tasks(self.params, status, trainings)
        others, maps = evaluations, list[Task]()
        if not self.shard:
            others = [*evaluations, *probe_task(status), *ensemble_tasks(self.params, status, evaluations)]
            maps = explanation_tasks(self.params, self.params.explain.methods, status, evaluations)
        self._work(trainings, others, maps, status)
        if self.stop():
            raise workers.Stopped
        if any(task.state is State.FAILED for task in [*trainings, *others, *maps]):
            if not self.shard:
                self._report_the_rest(evaluations)
            self._tell_failures(trainings, [*others, *maps])
            return 1
        done = sum(task.state in GOOD for task in trainings)
        if self.shard:
            print(f"shard {self.shard[0]}/{self.shard[1]}: {count('training run', done)} done")
            return 0
        return 1 if self._foreground([*DVC], self.warm) else 0

    def _status(self) -> dict[str, StageStatus] | None:
        """Bring the shared stages up to date; return the status of runs and evaluations, None if that failed."""
        sides = (None, *self.params.variants)
        stages = [
            *run_stages(self.params),
            *(evaluation_of(each, side) for side in sides for each in configurations(self.params)),
            *(stage for side in sides for stage in ensembles_of(side)),
            *(s for each in configurations(self.params) for s in explanations_of(each, self.params.explain.methods)),
        ]
        first = [*SHARED, *preparations(self.params)]
        status = self._known([*first, "probe"], stages)
        if all(status[name].state == "up to date" for name in first if name in status):
            return status
        self._warm_up(status)
        if self._shared_stages({name: str(status[name].folder) for name in SHARED if name in status}):
            return None
        locks.remember()
        return self._known(["probe"], stages)

    @staticmethod
    def _known(others: Sequence[str], stages: Sequence[str]) -> dict[str, StageStatus]:
        """Read the status of `others` and `stages`; the latter are gone where params.yaml was edited meanwhile."""
        status = read_status([*others, *stages])
        if gone := [name for name in stages if name not in status]:
            raise UserError(
                f"params.yaml has changed since this launch began: {gone[0]} is no longer a stage; start it again"
            )
        return status

    def _warm_up(self, status: dict[str, StageStatus]) -> None:
        """Have the libraries imported, beside whatever comes first, if that is worth it: for several stages."""
        if self.warm is None and not self.cold and sum(s.state != "up to date" for s in status.values()) > 1:
            self.warm = self._open.enter_context(Warm(self._environment(0), LOGS / "warm.log"))

    def _work(
        self, trainings: list[Task], others: list[Task], maps: list[Task], status: dict[str, StageStatus]
    ) -> None:
        """Do the tasks; their `state` says how each ended."""
        with display() as show:
            # Of what is ready the first is begun: short work that nothing waits for comes last.
            tasks = [*others, *trainings, *maps]
            schedule.run(tasks, self.jobs, self._environment, show, self.stop, self.warm, self._mend)

    def _shared_stages(self, outputs: dict[str, str]) -> int:
        """Bring the shared stages, whose `outputs` are given, up to date; clones that share a cache do so in turn."""
        if not self.shard:
            return 1 if self._foreground([*DVC, DATA[-1], CONFIGURE, *preparations(self.params)], None) else 0
        with workers.locked(cache_folder() / "launch.lock", waiting=self.stop):
            # Raw data is not in the cache. A clone that finds what was made of it there does not need it.
            kept = [output for name, output in outputs.items() if name != DATA[0]]
            self._foreground(["dvc", "--wait-for-lock", "checkout", "--quiet", *kept], None)
            there = all(Path(outputs[name]).exists() for name in DATA[1:] if name in outputs)
            data = [*DVC, *(["--allow-missing"] if there else []), DATA[-1]]
            then = [*DVC, CONFIGURE, *preparations(self.params)]
            return 1 if self._foreground(data, None) or self._foreground(then, None) else 0

    def _foreground(self, command: Sequence[str], warm: Warm | None) -> int:
        self._mend()
        print("$ " + shlex.join(command), flush=True)
        return workers.foreground(command, workers.base_environment(self.mark), self.stop, warm)

    def _environment(self, slot: int) -> dict[str, str]:
        return workers.environment(self.mark, slot, self.jobs, self.gpus, self.memory)

    def _tell_failures(self, trainings: list[Task], evaluations: list[Task]) -> None:
        for task in [*trainings, *evaluations]:
            if task.state is State.FAILED:
                print(f"\nfailed: {task.name}, {task.attempts} times, see {task.log}:\n  {reason(task.log)}")
        for configuration, lost in missing(self.params, trainings).items():
            said = [f"{run.seed} of {run.variant}" if isinstance(run, VariantRun) else str(run.seed) for run in lost]
            print(f"missing: {configuration}, seed {', '.join(said)}")

    def _report_the_rest(self, evaluations: list[Task]) -> None:
        """Write up the configurations that could be evaluated; the report names what is missing."""
        kept = [task for task in evaluations if task.state in GOOD]
        sides = [Path(), *(Path(VARIANTS, name) for name in self.params.variants)]
        folders = [side / EVALUATIONS / str(each) for side in sides for each in configurations(self.params)]
        for folder, task in zip(folders, evaluations, strict=True):
            if task not in kept:  # its folder is of other settings, or of an earlier study
                shutil.rmtree(folder, ignore_errors=True)
        for variant in self.params.variants:
            there = any(
                Path(VARIANTS, variant, EVALUATIONS, str(each)).exists() for each in configurations(self.params)
            )
            for stage, made in zip(ensembles_of(variant), OF_VARIANT, strict=True):
                if not there or self._foreground([*DVC, "-s", stage], self.warm):
                    shutil.rmtree(Path(VARIANTS, variant, made), ignore_errors=True)
        for stage in AFTER if kept else ():
            if self._foreground([*DVC, "-s", stage], self.warm):
                print(f"stage {stage} failed: the reports are as they were before")
                return


class ClusterLaunch(Launch):
    """One launch of the study whose training runs are on a Ray cluster; all else is done here.

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
            settings = {run.name: train_settings(self.params, run.model) for run in every_run(self.params)}
            self.needs = {name: self.nodes.needs(train.threads, train.device) for name, train in settings.items()}
            return super()._run()

    def _work(
        self, trainings: list[Task], others: list[Task], maps: list[Task], status: dict[str, StageStatus]
    ) -> None:
        for task in trainings:
            if status[task.command[-1]].state == "cached":
                task.state = State.CACHED
        if any(task.state not in GOOD for task in trainings):
            self._train(trainings)
        self.nodes.leave()
        stages = [task.command[-1] for task in trainings if task.state in GOOD]
        if stages and not self.stop():
            carrier.collect(stages, workers.base_environment(self.mark), LOGS / "collect.log", self.stop)
            print(f"collected {count('training run', len(stages))}; 0 were trained on this machine", flush=True)
        super()._work(trainings, others, maps, status)

    def _inputs(self) -> list[str]:
        """Return the stages whose outputs the training runs read."""
        return [*DATA[1:], CONFIGURE, *preparations(self.params)]

    def _train(self, trainings: list[Task]) -> None:
        for command in carrier.push_commands(self._inputs()):
            if self._foreground(command, None):
                raise UserError(f"{shlex.join(command)} failed: the nodes would not find their inputs")
        work = carrier.work(self.commit, self.remote, self._inputs())
        self.nodes.prepare(work, self.stop)
        with display() as show:
            given = self.nodes.train(trainings, self.needs, work, show, self.stop)
        counts = ", ".join(f"{node} {n}" for node, n in sorted(given.items()))
        print(f"training runs of each node: {counts or 'none'}")


def advice(params: Params, jobs: int) -> str | None:
    """Return a note if training runs side by side have more threads than there are processors, else None."""
    threads = max(train_settings(params, model).threads for model in params.study.models)
    if jobs == 1 or jobs * threads <= processors():
        return None
    return (
        f"note: {jobs} jobs of {threads} threads on {processors()} processors; `train.threads: "
        f"{max(1, processors() // jobs)}` is faster, and makes another study: threads change the last digits"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line: jobs (int), gpus (list of str or None), shard ((int, int) or None)."""
    parser = command_parser("launch", __doc__)
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs side by side; default: one per GPU of --gpus, 1 without"
    )
    parser.add_argument("--gpus", type=_gpus, metavar="0,1,...", help="default: all that are visible; '' = none")
    parser.add_argument("--shard", type=_shard, metavar="i/N", help="only every N-th run from the i-th on; 1/N to N/N")
    parser.add_argument("--ray", metavar="ADDRESS", help="train on a Ray cluster: HOST:PORT of its head, or auto")
    parser.add_argument("--remote-url", metavar="URL", help="of the DVC remote as the nodes of --ray reach it")
    parser.add_argument("--cold", action="store_true", help="import all libraries anew for every run; slower")
    options = parser.parse_args(arguments)
    if options.ray is None and options.remote_url is not None:
        parser.error("--remote-url needs --ray")
    if options.ray is not None and (options.gpus, options.shard) != (None, None):
        parser.error("--ray excludes --gpus and --shard: the cluster says what each node has")
    if options.jobs is None:
        options.jobs = len(options.gpus or [""])
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: must be at least 1")
    if options.gpus is None:
        options.gpus = workers.visible_gpus()
    return options


def _gpus(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: must be i/N with i from 1 to N, for example 1/8")
    return int(match[1]), int(match[2])


def main(arguments: Sequence[str] | None = None) -> None:
    """Launch the study; exit with its status."""
    options = parse(arguments)
    with stage_errors():
        if options.ray is not None:
            os.environ[ELSEWHERE] = "1"  # the training runs: this machine may have no GPU
        params = load()
        if options.ray is not None:
            sys.exit(ClusterLaunch(params, options.jobs, options.ray, options.remote_url, options.cold)())
        if note := advice(params, options.jobs):
            print(note)
        status = Launch(params, options.jobs, options.gpus, options.shard, options.cold)()
    sys.exit(status)


if __name__ == "__main__":
    main()
