"""Run the study with several cells side by side: what ``dvc repro`` gives, sooner.

``python -m pipeline.launch --jobs N [--gpus 0,1,...]``, or a part of the cells with ``--shard i/N``. A cell that fails
is tried once more; the others go on. Ctrl-C, or any other end, leaves what is done recorded and the rest resumable:
type the same again. docs/scale.md says when to use what.
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

from pipeline.errors import stage_errors
from pipeline.launching import workers
from pipeline.launching.display import display
from pipeline.launching.log import reason
from pipeline.launching.schedule import GOOD, State, Task, run
from pipeline.launching.status import SHARED, cache_folder, cell_stages, evaluation_of, read_status
from pipeline.launching.work import AFTER, DVC, EVALUATIONS, LOGS, cell_tasks, evaluation_tasks, missing
from pipeline.params import Params, load, recipes, train_settings

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
    """

    def __init__(self, params: Params, jobs: int, gpus: Sequence[str] | None, shard: Shard) -> None:
        self.params, self.jobs, self.gpus, self.shard = params, jobs, gpus, shard
        self.mark = workers.mark_of(Path.cwd(), shard)
        self.stop = workers.Stop()

    def __call__(self) -> int:
        """Run it; return the exit status: 0, 1 if something failed, 128 + signal if it was stopped."""
        with self.stop, self._alone():
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
        stages = [*cell_stages(self.params), *(evaluation_of(recipe) for recipe in recipes(self.params))]
        status = read_status([*SHARED, *stages])
        if any(status[name].state != "up to date" for name in SHARED if name in status):
            if failed := self._shared_stages([str(status[name].folder) for name in SHARED[1:] if name in status]):
                return failed
            status = read_status(stages)
        trainings = cell_tasks(self.params, status, self.shard)
        evaluations = [] if self.shard else evaluation_tasks(self.params, status, trainings)
        with display() as show:
            run([*evaluations, *trainings], self.jobs, self._environment, show, self.stop)
        if self.stop():
            raise workers.Stopped
        tasks = [*trainings, *evaluations]
        if any(task.state is State.FAILED for task in tasks):
            if not self.shard:
                self._report_the_rest(evaluations)
            self._tell_failures(trainings, evaluations)
            return 1
        done = sum(task.state in GOOD for task in trainings)
        if self.shard:
            print(f"shard {self.shard[0]}/{self.shard[1]}: {done} cells are there")
            return 0
        return 1 if self._foreground([*DVC]) else 0

    def _shared_stages(self, folders: list[str]) -> int:
        """Bring data and split, in `folders`, up to date; shards of clones that share a cache do so in turn."""
        if not self.shard:
            return 1 if self._foreground([*DVC, "split"]) else 0
        with workers.locked(cache_folder() / "launch.lock", waiting=self.stop):
            # Raw data is not in the cache. A clone that finds what was made of it there does not need it.
            self._foreground(["dvc", "--wait-for-lock", "checkout", "--quiet", *folders])
            there = all(Path(folder).exists() for folder in folders)
            return 1 if self._foreground([*DVC, *(["--allow-missing"] if there else []), "split"]) else 0

    def _foreground(self, command: Sequence[str]) -> int:
        print("$ " + shlex.join(command), flush=True)
        return workers.foreground(command, workers.base_environment(self.mark), self.stop)

    def _environment(self, slot: int) -> dict[str, str]:
        return workers.environment(self.mark, slot, self.jobs, self.gpus)

    def _tell_failures(self, trainings: list[Task], evaluations: list[Task]) -> None:
        for task in [*trainings, *evaluations]:
            if task.state is State.FAILED:
                print(f"\nfailed: {task.name}, {task.attempts} times, see {task.log}:\n  {reason(task.log)}")
        for recipe, lost in missing(self.params, trainings).items():
            print(f"missing: {recipe}, seed {', '.join(str(cell.seed) for cell in lost)}")

    def _report_the_rest(self, evaluations: list[Task]) -> None:
        """Write up the recipes that could be evaluated; the report names what is missing."""
        kept = [task for task in evaluations if task.state in GOOD]
        for recipe, task in zip(recipes(self.params), evaluations):
            if task not in kept:  # what lies there is of other settings, or of an earlier study
                shutil.rmtree(EVALUATIONS / str(recipe), ignore_errors=True)
        for stage in AFTER if kept else ():
            if self._foreground([*DVC, "-s", stage]):
                print(f"stage {stage} failed: the reports are as they were before")
                return


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
        prog="python -m pipeline.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="cells side by side; default: one a GPU, 1 without --gpus"
    )
    parser.add_argument("--gpus", type=_gpus, metavar="0,1,...", help="default: those that can be seen; '' = none")
    parser.add_argument("--shard", type=_shard, metavar="i/N", help="every N-th cell alone, from the i-th; 1/N to N/N")
    options = parser.parse_args(arguments)
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
        if word := advice(params, options.jobs):
            print(word)
        status = Launch(params, options.jobs, options.gpus, options.shard)()
    sys.exit(status)


if __name__ == "__main__":
    main()
