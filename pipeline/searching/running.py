"""A search from its first trial to its record; one that was ended goes on where it was."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.launching import schedule, workers
from pipeline.launching.display import display
from pipeline.launching.log import reason
from pipeline.launching.schedule import GOOD, State, Task
from pipeline.launching.status import CONFIGURE, RECORD, cache_folder
from pipeline.launching.warm import Warm
from pipeline.launching.work import LOGS as LAUNCH
from pipeline.learning.losses import create
from pipeline.searching import workplace
from pipeline.searching.about import about_search
from pipeline.searching.proposing import propose, within
from pipeline.searching.record import RECORD as FILE
from pipeline.searching.record import Record as SearchRecord
from pipeline.searching.record import Trial, read_record, with_trials, write_record
from pipeline.searching.scores import keep_outputs, only_run, optimism_of, outputs_file, score_of, validation_outputs
from pipeline.settings import Params, parse
from pipeline.settings.search import Range, Search, as_word, fitting, held_values, of_trial, refused
from pipeline.study import locks, mending
from pipeline.study.dvc_state import configured
from pipeline.study.errors import UserError
from pipeline.study.locks import LOCK, locked_stages
from pipeline.study.memory import free_host_memory
from pipeline.study.outputs import keep
from pipeline.study.params import ParamsError
from pipeline.study.prepared import read_dataset
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import run_folder

LOGS = Path("tmp/search/logs")
IN_A_ROW = 3
"""Trials that fail one after another, with none before that went well, after which a search is given up."""


class Work(NamedTuple):
    """A trial that is to be trained: its number and values, and of each seed the run, its workplace and task."""

    number: int
    values: dict[str, Any]
    params: Params
    runs: list[tuple[Run, Path, Task]]


class Searching:
    """One call of ``medmatrix search``.

    Parameters
    ----------
    params : Params
        The study, with section ``search``.
    trials : int
        How many there are to be, those of earlier calls included.
    jobs : int
        Training runs side by side.
    gpus : sequence of str, optional
        Dealt out to them.
    train : callable, optional
        Does the tasks of a batch; by default `schedule.run`, in processes.
    """

    def __init__(
        self,
        params: Params,
        trials: int,
        jobs: int = 1,
        gpus: Sequence[str] | None = None,
        train: Callable[[list[Task]], None] | None = None,
    ) -> None:
        assert params.search is not None
        self.params, self.search, self.trials, self.jobs, self.gpus = params, params.search, trials, jobs, gpus
        self.space = self.search.ranges()
        self.seeds = self.search.seeds or [params.seed]
        self.content = params.model_dump(mode="json", exclude_unset=True)
        self.memory, self.mark = free_host_memory(), workers.mark_of(Path.cwd(), None)
        self.stop = workers.Stop()
        self.warm: Warm | None = None
        self.begun: dict[str, int] = {}
        self.data: set[str | None] = set()
        self.train = train or self._train

    def __call__(self) -> int:
        """Search; return the exit status: 0, 1 if nothing could be done, 128 + signal if it was stopped."""
        with self.stop, workers.locked(LAUNCH / "lock"), contextlib.ExitStack() as stack:
            self._stack = stack
            if workers.end_leftovers(self.mark):
                print("processes of a search or launch that was killed have been waited for or ended")
            try:
                self._shared_stages()
                return self.run()
            except workers.Stopped:
                print(
                    "stopped; finished trials are recorded, training runs keep their last epoch: type the same to go on"
                )
                return self.stop.status

    def run(self) -> int:
        """Do the trials that are missing, and write the record; the shared stages are up to date."""
        self.configuration = dvc_configuration(cache_folder())
        self.whole = whole_numbers(self.search, self.content)
        self.record = self._record()
        there = len(self.record.trials)
        if there >= self.trials and self.record.optimism:
            print(f"{there} trials are there already, in {FILE}; more: --trials N")
            return 0
        if there:
            print(f"goes on: {there} of {self.trials} trials are in {FILE}")
        self.record = replace(self.record, asked=max(self.trials, there), optimism={})
        for first in range(0, self.record.asked, self.search.batch):
            self._batch(first)
            if self.stop():
                raise workers.Stopped
        write_record(replace(self.record, optimism=optimism_of(self.record, self.params)))
        workplace.remove()
        return 0 if self.record.finished else 1

    def _shared_stages(self) -> None:
        """Bring data and records of the study up to date, as `dvc repro` does."""
        for stages in (["split"], [CONFIGURE]):
            command = ["dvc", "--wait-for-lock", "repro", *stages]
            print("$ " + " ".join(command), flush=True)
            if workers.foreground(command, workers.base_environment(self.mark), self.stop):
                raise UserError(f"stage {stages[0]} failed: no trial was begun")

    def _record(self) -> SearchRecord:
        """Return the record of this search, without trials if it is a new one; an earlier one is kept."""
        about = about_search(self.params)
        old = read_record()
        if old is not None and old.about == about and old.finished:  # where all have failed, they are tried once more
            return old
        if old is not None and old.about != about:
            changed = [key for key in about if old.about.get(key) != about[key]]
            print(f"a new search: {', '.join(changed)} differ from {FILE}, which is kept as {keep(FILE)}")
        return SearchRecord(about, {"optuna": version("optuna")}, asked=self.trials)

    def _batch(self, first: int) -> None:
        """Do those trials of a batch that are not recorded yet, or whose outputs are not there."""
        numbers = range(first, min(first + self.search.batch, self.record.asked))
        known = {trial.number: trial for trial in self.record.trials}
        if all(number in known and self._is_whole(known[number]) for number in numbers):
            return
        proposed = self._proposed(first)
        works: list[Work] = []
        for number in numbers:
            trial = known.get(number)
            if trial is not None and self._is_whole(trial):
                continue
            values = trial.values if trial else proposed[number - first]
            work = self._begin(number, values)
            if work is not None:
                works.append(work)
        self.train([task for work in works for _, _, task in work.runs])
        self._evaluated_before()
        for work in works:
            if all(task.state in GOOD for _, _, task in work.runs):
                self._end(work)
            elif any(task.state is State.FAILED for _, _, task in work.runs):
                logs = [task.log for _, _, task in work.runs if task.state is State.FAILED]
                self._note(Trial(work.number, work.values, "failed", reason=without_paths(reason(logs[0]))))
        if self.stop():
            return
        # Those of the batch that repeat another of it, which has its score by now.
        for number in numbers:
            if number not in {trial.number for trial in self.record.trials}:
                self._repeat(number, proposed[number - first])
        states = [trial.state for trial in self.record.trials]
        if len(states) >= IN_A_ROW and "finished" not in states:
            raise UserError(f"the first {len(states)} trials have failed: {self.record.trials[0].reason}")

    def _is_whole(self, trial: Trial) -> bool:
        """Whether a trial needs no work: its outputs are there, or are those of another, or it has failed."""
        done = trial.state == "failed" or trial.same_as is not None
        return done or outputs_file(self.record.digest, trial.number).exists()

    def _proposed(self, first: int) -> list[dict[str, Any]]:
        trials = [trial for trial in self.record.trials if trial.number < first]
        # A whole batch, so that a search that is made longer is the one that was long from the first.
        return self._with_present(
            first, propose(self.space, self.whole, trials, first, self.search.batch, self.search.seed, self._higher)
        )

    def _with_present(self, first: int, proposed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Have the search begin with the values of params.yaml, if they lie in the ranges: it does not lose to them."""
        begins = first == 0 and within(self.space, self.whole, self._present)
        return [self._present, *proposed[1:]] if begins else proposed

    @property
    def _higher(self) -> bool:
        return self.record.measure.higher_is_better

    @functools.cached_property
    def _present(self) -> dict[str, Any]:
        return held_values(self.search, self.params)

    def _begin(self, number: int, values: dict[str, Any]) -> Work | None:
        """Make the workplaces of a trial; None if its values cannot be, or are those of an earlier one."""
        if self._equal(values, number) is not None:
            return None
        content = of_trial(self.content, self.search, values)
        if why := refused(self.search, self.content, values, Params):
            self._note(Trial(number, values, "failed", reason=why))
            return None
        params, runs = parse(content, f"trial {number}"), []
        for seed in self.seeds:
            run, folder = only_run(params, seed), workplace.place_of(number % self.search.batch, seed)
            workplace.make(folder, content, params, run, self.configuration)
            name = f"trial {number}" + (f" seed {seed}" if len(self.seeds) > 1 else "")
            log = LOGS / f"{number}-{seed}.log"
            finished = folder.absolute() / run_folder(run) / RECORD
            runs.append((run, folder, Task(name, workplace.command(folder), log, finished)))
        self.begun[_key(values)] = number
        return Work(number, values, params, runs)

    def _equal(self, values: dict[str, Any], number: int) -> int | None:
        """Return the number of an earlier trial with the same values."""
        known = {_key(trial.values): trial.number for trial in reversed(self.record.trials)}
        found = {**self.begun, **known}.get(_key(values))
        return found if found is not None and found < number else None

    def _repeat(self, number: int, values: dict[str, Any]) -> None:
        """Record a trial whose values have been tried before."""
        of = {trial.number: trial for trial in self.record.trials}
        same = of.get(self._equal(values, number) or 0)
        if same is None or _key(same.values) != _key(values):
            return
        first = same.number if same.same_as is None else same.same_as
        self._note(replace(same, number=number, origin="sampler", from_cache=True, same_as=first, seconds=0.0))

    def _end(self, work: Work) -> None:
        """Read the scores of a trial, keep its outputs, and record it."""
        self.data |= {_data_of(locked_stages(folder / LOCK).get(workplace.STAGE, {})) for _, folder, _ in work.runs}
        if len(self.data) > 1:
            raise UserError(
                f"{workplace.STUDY}: has changed since the first trial of this call, so that trial {work.number} is "
                "not recorded; medmatrix search begins another search with what is there now"
            )
        scores: dict[str, float] = {}
        logits, seconds, collapsed, rows = [], 0.0, False, None
        for run, folder, _ in work.runs:
            with contextlib.chdir(folder):
                score, took, sign = score_of(run, work.params)
                if score is None:
                    break
                found, rows = validation_outputs(run, work.params)
            scores[str(run.seed)] = score
            logits.append(found)
            seconds, collapsed = seconds + took, collapsed or sign
        if rows is None or len(scores) < len(work.runs):
            why = f"{self.record.measure.name} is undefined on the validation part"
            self._note(Trial(work.number, work.values, "failed", reason=why))
            return
        keep_outputs(outputs_file(self.record.digest, work.number), logits, rows)
        cached = all(task.state is not State.DONE for _, _, task in work.runs)
        first = work.number == 0 and _key(work.values) == _key(self._present)
        before = {trial.number: trial for trial in self.record.trials}.get(work.number)
        trial = Trial(
            work.number,
            work.values,
            "finished",
            sum(scores.values()) / len(scores),
            scores,
            "params.yaml" if first else "sampler",
            cached,
            seconds=round(seconds, 2),
            collapsed=collapsed,
        )
        self._note(trial if before is None else replace(trial, origin=before.origin, from_cache=before.from_cache))

    def _note(self, trial: Trial) -> None:
        self.record = replace(self.record, trials=with_trials(self.record, [trial]))
        write_record(self.record)
        best = self.record.best
        said = f"{trial.score:.4f}" if trial.score is not None else f"failed: {trial.reason}"
        told = ", values tried before" if trial.same_as is not None else ", from cache" if trial.from_cache else ""
        values = ", ".join(f"{key} = {value}" for key, value in trial.values.items())
        leading = f"; best {best.score:.4f} (trial {best.number})" if best and best.score is not None else ""
        print(f"trial {trial.number}: {said}{told}; {values}{leading}", flush=True)

    def _evaluated_before(self) -> None:
        """Note it if the study has scored the test part for this configuration, by dvc.lock, which names its images."""
        if not self.record.evaluated_before and evaluated(Configuration(self.search.model, self.search.loss)):
            self.record = replace(self.record, evaluated_before=True)

    def _train(self, tasks: list[Task]) -> None:
        if self.warm is None and tasks:
            self.warm = self._stack.enter_context(Warm(self._environment(0), LOGS / "warm.log"))
        with display() as show:
            schedule.run(tasks, self.jobs, self._environment, show, self.stop, self.warm, mending.mend)
        locks.remember()

    def _environment(self, slot: int) -> dict[str, str]:
        return workplace.environment(workers.environment(self.mark, slot, self.jobs, self.gpus, self.memory))


def _key(values: dict[str, Any]) -> str:
    return as_word(values)


def without_paths(text: str) -> str:
    """Return a message without the folders of this machine: the record lies in git."""
    return re.sub(r"(?<![\w.])/(?:[^\s/:'\"]+/)+", "", text)


def evaluated(configuration: Configuration) -> bool:
    """Whether dvc.lock has an evaluation of a configuration on the images that the trials are trained on."""
    of_study = _data_of(locked_stages().get(f"evaluate@{configuration}", {}))
    trials = (locked_stages(lock).get(workplace.STAGE, {}) for lock in workplace.PLACES.glob("*-*/dvc.lock"))
    return of_study is not None and of_study in map(_data_of, trials)


def _data_of(stage: dict[str, Any]) -> str | None:
    found = [dep.get("md5") for dep in stage.get("deps", []) if dep.get("path") == workplace.STUDY.as_posix()]
    return found[0] if found else None


def dvc_configuration(cache: Path) -> str:
    """Return the configuration of DVC in a workplace: the project's cache, used as the project says."""
    core = {"no_scm": "true", "analytics": "false", "check_update": "false"}
    found = {key: configured(section, key) for section, key in (("core", "site_cache_dir"), ("cache", "type"))}
    core |= {"site_cache_dir": site} if (site := found["site_cache_dir"]) else {}
    of_cache = {"dir": str(cache)} | ({"type": kind} if (kind := found["type"]) else {})
    return "".join(
        f"[{name}]\n" + "".join(f"    {key} = {value}\n" for key, value in section.items())
        for name, section in (("core", core), ("cache", of_cache))
    )


def whole_numbers(search: Search, content: dict[str, Any]) -> set[str]:
    """Return the keys whose ranges are of whole numbers: both ends are, and the setting takes no others.

    What stands under ``options`` of a model has no kind that is known: whole ends mean whole numbers there.
    """
    found = set()
    for key, of in search.ranges().items():
        if not isinstance(of, Range) or not all(isinstance(each, int) for each in (of.low, of.high, of.step or 1)):
            continue
        between = fitting(search, content, {key: of.low + 0.5}, Params)
        if between is not None and key.startswith("losses.") and not _loss_takes(search, content, between):
            between = None
        if ".options." in key or between is None:
            found.add(key)
    return found


def _loss_takes(search: Search, content: dict[str, Any], values: dict[str, Any]) -> bool:
    data, settings = read_dataset(), of_trial(content, search, values)["losses"][search.loss]
    try:
        create(search.loss, settings, data.task, data.ordered)
    except ParamsError:
        return False
    return True
