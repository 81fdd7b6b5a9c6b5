"""A search from its first trial to its record; one that was ended goes on where it was.

A study with folds has one in each of them, one after another.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.launching import schedule, workers
from pipeline.launching.display import display
from pipeline.launching.log import reason
from pipeline.launching.schedule import GOOD, State, Task
from pipeline.launching.status import CONFIGURE, RECORD, cache_folder, evaluation_of
from pipeline.launching.warm import Warm
from pipeline.launching.work import LOGS as LAUNCH
from pipeline.learning.losses import create
from pipeline.searching import workplace
from pipeline.searching.about import about_search
from pipeline.searching.proposing import propose, within
from pipeline.searching.record import RECORD as FILE
from pipeline.searching.record import Record as SearchRecord
from pipeline.searching.record import Trial, read_record, read_records, with_trials, write_record, write_records
from pipeline.searching.scores import keep_outputs, only_run, optimism_of, outputs_file, score_of, validation_outputs
from pipeline.searching.sides import Side, sides_of
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
        How many there are to be, those of earlier calls included; in a study with folds, within each of them.
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
        self.params, self.trials, self.jobs, self.gpus = params, trials, jobs, gpus
        self.sides = sides_of(params)
        self.memory, self.mark = free_host_memory(), workers.mark_of(Path.cwd(), None)
        self.stop = workers.Stop()
        self.warm: Warm | None = None
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
        abouts = {side.fold: about_search(side) for side in self.sides}
        begin_anew(abouts)
        finished = [Trials(self, side, abouts[side.fold]).run() for side in self.sides]
        workplace.remove()
        return 0 if all(finished) else 1

    def _shared_stages(self) -> None:
        """Bring data and records of the study up to date, as `dvc repro` does."""
        folds = [f"prepare_variant@{side.variant}" for side in self.sides if side.variant is not None]
        for stages in (["split"], [CONFIGURE], *([folds] if folds else [])):
            command = ["dvc", "--wait-for-lock", "repro", *stages]
            print("$ " + " ".join(command), flush=True)
            if workers.foreground(command, workers.base_environment(self.mark), self.stop):
                raise UserError(f"stage {stages[0]} failed: no trial was begun")

    def _train(self, tasks: list[Task]) -> None:
        if self.warm is None and tasks:
            self.warm = self._stack.enter_context(Warm(self._environment(0), LOGS / "warm.log"))
        with display() as show:
            schedule.run(tasks, self.jobs, self._environment, show, self.stop, self.warm, mending.mend)
        locks.remember()

    def _environment(self, slot: int) -> dict[str, str]:
        return workplace.environment(workers.environment(self.mark, slot, self.jobs, self.gpus, self.memory))


def begin_anew(abouts: Mapping[int | None, dict[str, Any]]) -> None:
    """Begin the record anew, but for the folds whose search is still the same; what was there is kept.

    Parameters
    ----------
    abouts : mapping
        Number of each fold, or None, to what its search is about: `about_search`.
    """
    old = read_records()
    same = {fold: record for fold, record in old.items() if abouts.get(fold) == record.about}
    if len(same) == len(old):
        return
    changed: dict[str, None] = {}
    for fold, record in old.items():
        now = abouts.get(fold)
        keys = ["folds"] if now is None else [key for key in now if record.about.get(key) != now[key]]
        changed |= dict.fromkeys(keys)
    but = f" but for folds {', '.join(map(str, same))}" if same else ""
    print(f"a new search{but}: {', '.join(changed)} differ from {FILE}, which is kept as {keep(FILE)}")
    if same:
        write_records(same)
    else:
        FILE.unlink()


class Trials:
    """The trials of one search: of the study, or of a fold, which never sees the scores of another.

    Parameters
    ----------
    call : Searching
        What trains them.
    side : Side
        Where.
    about : dict
        `about_search` of it.
    """

    def __init__(self, call: Searching, side: Side, about: dict[str, Any]) -> None:
        assert side.params.search is not None
        self.call, self.side, self.about = call, side, about
        self.params, self.search, self.stop = side.params, side.params.search, call.stop
        self.space = self.search.ranges()
        self.seeds = self.search.seeds or [side.params.seed]
        self.drawn_by = self.search.seed if side.fold is None else [self.search.seed, side.fold]
        self.content = side.params.model_dump(mode="json", exclude_unset=True)
        self.whole = whole_numbers(self.search, self.content)
        self.begun: dict[str, int] = {}
        self.data: set[tuple[str, ...] | None] = set()

    def run(self) -> bool:
        """Do the trials that are missing, and write the record; return whether one has finished."""
        self.record, trials, where = self._record(), self.call.trials, self.side.of
        there = len(self.record.trials)
        if there >= trials and self.record.optimism:
            print(f"{there} trials{where} are there already, in {FILE}; more: --trials N")
            return True
        if there:
            print(f"goes on: {there} of {trials} trials{where} are in {FILE}")
        self.record = replace(self.record, asked=max(trials, there), optimism={})
        for first in range(0, self.record.asked, self.search.batch):
            self._batch(first)
            if self.stop():
                raise workers.Stopped
        with self.side.inside():
            optimism = optimism_of(self.record, self.params)
        self.record = replace(self.record, optimism=optimism)
        write_record(self.record)
        return bool(self.record.finished)

    def _record(self) -> SearchRecord:
        """Return the record of this search, without trials if it is a new one."""
        old = read_record(fold=self.side.fold)
        if old is not None and old.finished:  # where all have failed, they are tried once more
            return old
        return SearchRecord(self.about, {"optuna": version("optuna")}, asked=self.call.trials)

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
        self.call.train([task for work in works for _, _, task in work.runs])
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
            first,
            propose(self.space, self.whole, trials, first, self.search.batch, self.drawn_by, self._higher),
        )

    def _with_present(self, first: int, proposed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Have the search begin with the values of params.yaml, if they lie in the ranges: it does not lose to them."""
        begins = first == 0 and self._present is not None and within(self.space, self.whole, self._present)
        return [self._present or {}, *proposed[1:]] if begins else proposed

    @property
    def _higher(self) -> bool:
        return self.record.measure.higher_is_better

    @functools.cached_property
    def _present(self) -> dict[str, Any] | None:
        """The values of params.yaml, but none that another fold's search may have found.

        When another fold has been searched before, its values may have been applied since, and images that it has
        chosen by are tested here: what this fold has no value of its own for is as that one began with it.
        """
        held = held_values(self.search, self.params)
        others = [record for fold, record in read_records().items() if fold != self.side.fold and record.trials]
        shared = [key for key in self.space if key not in self.side.found]
        if not others or not shared:
            return held
        began = others[0].trials[0]
        return {**held, **{key: began.values[key] for key in shared}} if began.origin == "params.yaml" else None

    def _begin(self, number: int, values: dict[str, Any]) -> Work | None:
        """Make the workplaces of a trial; None if its values cannot be, or are those of an earlier one."""
        if self._equal(values, number) is not None:
            return None
        if why := refused(self.search, self.content, values, Params):
            self._note(Trial(number, values, "failed", reason=why))
            return None
        side, runs = self.side, []
        params = parse(of_trial(self.content, self.search, values), f"trial {number}")
        for seed in self.seeds:
            run = only_run(params, seed)
            folder = workplace.place_of(number % self.search.batch, seed, side.fold)
            dvc = self.call.configuration
            workplace.make(folder, side.content(values), params, side.run(run), dvc, side.variant)
            name = f"trial {number}{side.of}" + (f" seed {seed}" if len(self.seeds) > 1 else "")
            log = LOGS / ("" if side.fold is None else f"fold{side.fold}") / f"{number}-{seed}.log"
            finished = folder.absolute() / run_folder(side.run(run)) / RECORD
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
        used = workplace.studies(self.side.variant)
        locked = [locked_stages(folder / LOCK).get(workplace.STAGE, {}) for _, folder, _ in work.runs]
        self.data |= {_data_of(stage, used) for stage in locked}
        if len(self.data) > 1:
            raise UserError(
                f"{used[-1]}: has changed since the first trial of this call, so that trial {work.number} is "
                "not recorded; medmatrix search begins another search with what is there now"
            )
        scores: dict[str, float] = {}
        logits, seconds, collapsed, rows = [], 0.0, False, None
        for run, folder, _ in work.runs:
            with contextlib.chdir(folder), self.side.inside():
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
        print(f"trial {trial.number}{self.side.of}: {said}{told}; {values}{leading}", flush=True)

    def _evaluated_before(self) -> None:
        """Note it if the test part has been scored for this configuration, by dvc.lock, which names its images."""
        searched = Configuration(self.search.model, self.search.loss)
        if not self.record.evaluated_before and evaluated(searched, self.side.variant):
            self.record = replace(self.record, evaluated_before=True)


def _key(values: dict[str, Any] | None) -> str:
    return as_word(values)


def without_paths(text: str) -> str:
    """Return a message without the folders of this machine: the record lies in git."""
    return re.sub(r"(?<![\w.])/(?:[^\s/:'\"]+/)+", "", text)


def evaluated(configuration: Configuration, variant: str | None = None) -> bool:
    """Whether dvc.lock has an evaluation of a configuration on the images that the trials are trained on."""
    used = workplace.studies(variant)
    of_study = _data_of(locked_stages().get(evaluation_of(configuration, variant), {}), used)
    trials = (locked_stages(lock).get(workplace.STAGE, {}) for lock in workplace.PLACES.glob("*-*/dvc.lock"))
    return of_study is not None and of_study in (_data_of(stage, used) for stage in trials)


def _data_of(stage: dict[str, Any], used: Sequence[Path]) -> tuple[str, ...] | None:
    """Return the checksums of the folders with images and split that a stage of a dvc.lock depends on."""
    found = {dep.get("path"): dep.get("md5") for dep in stage.get("deps", [])}
    return tuple(found[path.as_posix()] for path in used) if all(path.as_posix() in found for path in used) else None


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
