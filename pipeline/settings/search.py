"""Section ``search`` of params.yaml: which settings of training are searched, in which ranges, with how many trials."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError, model_validator

from pipeline.learning.settings import train_settings
from pipeline.study.params import Name, Section, Seed, describe
from pipeline.study.workplaces import with_values

KINDS = ("train", "models", "losses")
"""Sections whose keys may be searched: whatever else there is decides which images are trained on and tested."""
FIXED = ("select", "device", "threads", "residency", "precision", "tf32", "compile", "log_every")
"""Keys of training that are no hyperparameters: how it is computed, and what the trials are compared by."""
COMBINATIONS = 128
"""Of the ends of all ranges, so many are tried before a search begins."""
DIGITS = 4
"""Significant digits of a number that is drawn from a range: params.yaml is to be read by people."""


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e300:
        raise ValueError(f"must be a number, not {value!r}")
    return value


Number = Annotated[Any, AfterValidator(_number)]
"""A whole number, or another: which of them it is, is kept."""


class Range(Section):
    """The numbers from `low` to `high`.

    Parameters
    ----------
    low, high : int or float
        Both ends may be drawn. Whole numbers for a setting that takes no others.
    log : bool
        Whether the logarithm is drawn evenly.
    step : int or float, optional
        Distance of the numbers, from `low` on.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low = {self.low:g}, high = {self.high:g}; low must be less than high")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true with low = {self.low:g}; low must be greater than 0")
        if self.log and self.step is not None:
            raise ValueError(f"log = true with step = {self.step:g}; one of them must be left out")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step = {self.step:g}; must be greater than 0")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step = {self.step:g}; must be at most high - low = {self.high - self.low:g}")
        return self


class Search(Section):
    """A search of settings of one configuration, by its validation images.

    Parameters
    ----------
    model, loss : str
        The configuration, one of the study.
    over : dict
        Key of params.yaml, with dots, to a `Range` or a list of values.
    trials : int
        How many sets of values are tried.
    seed : int
        Of the sampler.
    seeds : list of int
        Training seeds of each trial, over which its score is the mean; empty = ``seed`` of the study alone.
    batch : int
        So many trials are proposed at once, from the results of those before: they may run side by side, and are the
        same however many do.
    """

    model: Name
    loss: Name
    over: dict[str, Any]
    trials: int = Field(20, ge=1, le=10_000)
    seed: Seed = 0
    seeds: list[Seed] = []
    batch: int = Field(4, ge=1, le=256)

    def ranges(self) -> dict[str, Range | list[Any]]:
        """Return what each key may be; `problems_of_search` has checked it."""
        return {key: Range.model_validate(of) if isinstance(of, dict) else of for key, of in self.over.items()}


def problem_of_key(key: str, models: Collection[str], losses: Collection[str], whose: str) -> str:
    """Say why no search of these models and losses can be over a key of params.yaml; "" if one can."""
    first, *rest = key.split(".")
    own = {"models": models, "losses": losses}.get(first)
    keys = ["train.KEY", *(f"models.{name}.KEY" for name in models), *(f"losses.{name}.KEY" for name in losses)]
    allowed = f"must be {', '.join(keys[:-1])} or {keys[-1]}"
    if first not in KINDS or not all([rest, *rest]):
        return f"all trials must have the same images and parts: only training is searched; {allowed}"
    if own is not None and (rest[0] not in own or len(rest) < 2):
        return f"is no setting of {whose}; {allowed}"
    if first == "models" and rest[1:] == ["teacher"]:
        return "is a map; must be a key of it, teacher.temperature, teacher.weight or teacher.file"
    if (name := rest[1 if own is not None else 0]) in FIXED:
        return f"'{name}' is how trials are computed or compared; must be none of {', '.join(FIXED)}"
    return ""


def _of_keys(search: Search) -> Iterator[str]:
    """Yield keys that may not be searched, and ranges that are none, each by its key."""
    if len(set(search.seeds)) < len(search.seeds):
        yield f"search.seeds: {search.seeds}; must name each seed once"
    if not search.over:
        yield "search.over: empty; must have a key such as train.weight_decay, with {low: …, high: …} or a list"
    whose = f"{search.model}-{search.loss}, which is searched"
    for key, given in search.over.items():
        at = f"search.over.{key}"
        if why := problem_of_key(key, [search.model], [search.loss], whose):
            yield f"{at}: {why}"
        for other in search.over:
            if other.startswith(f"{key}."):
                yield f"{at}: holds {other}, which is searched, too; must be one of the two"
        if isinstance(given, dict):
            try:
                Range.model_validate(given)
            except ValidationError as error:
                yield from describe(error, Range, at).splitlines()
        elif not isinstance(given, list):
            yield f"{at}: must be {{low: …, high: …}} or a list of values, not {given!r}"
        elif len({as_word(value) for value in given}) < max(2, len(given)):
            yield f"{at}: {given}; must be at least two values, each once, or {{low: …, high: …}}"


def as_word(value: Any) -> str:
    """Write a value of a list so that others differ: 1, 1.0, true and '1' are four."""
    return json.dumps(value, sort_keys=True, default=str)


def present_values(keys: Iterable[str], content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what params.yaml has under the given keys; None where it has nothing."""
    found = {}
    for key in keys:
        value: Any = content
        for name in key.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        found[key] = value
    return found


def of_trial(content: Mapping[str, Any], search: Search, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of params.yaml by which a trial is trained: the configuration that is searched, alone."""
    alone = {"models": [search.model], "losses": [search.loss], "replicates": []}
    kept = {key: value for key, value in content.items() if key != "search"}
    nothing: dict[str, Any] = {"variants": {}, "external": {}, "explain": {"methods": []}}
    return with_values({**kept, "study": alone, **nothing}, values)


def held_values(search: Search, params: Any) -> dict[str, Any]:
    """Return what params.yaml has under the keys that are searched; what is in a list, as the list writes it.

    To the settings a preset is the map that it stands for, and 1 is 1.0; a model that has no key of its own has that of
    ``train``.

    Parameters
    ----------
    search : Search
        The section.
    params : Params
        The whole of params.yaml.
    """
    content, kind = params.model_dump(exclude_unset=True), type(params)
    now = _in_effect(search, params)
    for key, of in search.ranges().items():
        for value in of if isinstance(of, list) else []:
            values = fitting(search, content, {key: value}, kind)
            trial = kind.model_validate(of_trial(content, search, values)) if values is not None else None
            if trial is not None and _in_effect(search, trial)[key] == now[key]:
                now[key] = value
                break
    return now


def _in_effect(search: Search, params: Any) -> dict[str, Any]:
    """Return what training makes of the keys that are searched."""
    content = params.model_dump(mode="json")
    if search.model in params.models:
        own = train_settings(params, search.model).model_dump(mode="json")
        model = content["models"][search.model]
        content["models"][search.model] = {**model, **{key: own[key] for key in own if key in model}}
    return present_values(search.over, content)


def ends(range_: Range | list[Any]) -> list[Any]:
    """Return what a range is checked by: both its ends, or all its values."""
    return list(range_) if isinstance(range_, list) else [range_.low, range_.high]


def problems_of_search(search: Search, content: Mapping[str, Any], kind: type[Any]) -> Iterator[str]:
    """Yield what the settings themselves refuse of the ranges, end by end, and of combinations of ends.

    Parameters
    ----------
    search : Search
        The section.
    content : mapping
        Of params.yaml, as it was validated.
    kind : type
        `Params`: what it is validated as.
    """
    if problems := [*_of_keys(search)]:
        yield from problems
        return
    study = content["study"]
    for key, name, names in (("model", search.model, study["models"]), ("loss", search.loss, study["losses"])):
        if name not in names:
            yield f"search.{key}: '{name}' is not in the study; must be one of: {', '.join(names)}"
            return
    sound, ranges = True, search.ranges()
    for key, range_ in ranges.items():
        between = [range_.low + range_.step] if isinstance(range_, Range) and range_.step else []
        for value in [*ends(range_), *between]:
            why = refused(search, content, {key: value}, kind)
            if why and fitting(search, content, {key: value}, kind) is None:
                sound = False
                yield f"search.over.{key}: {value!r} cannot be: {why}"
    if not sound:
        return
    for combination in itertools.islice(itertools.product(*map(ends, ranges.values())), COMBINATIONS):
        values = dict(zip(ranges, combination))
        if why := refused(search, content, values, kind):
            said = ", ".join(f"{key} = {value!r}" for key, value in values.items())
            yield f"search.over: {said} cannot be together: {why}; narrow a range"
            return


def fitting(
    search: Search, content: Mapping[str, Any], values: Mapping[str, Any], kind: type[Any]
) -> dict[str, Any] | None:
    """Return values that can be a trial and have these, the others as in params.yaml or at the ends of their ranges."""
    ranges = search.ranges()
    for others in ({}, *({key: ends(of)[place] for key, of in ranges.items()} for place in (0, -1))):
        if not refused(search, content, {**others, **values}, kind):
            return {**others, **values}
    return None


def refused(search: Search, content: Mapping[str, Any], values: Mapping[str, Any], kind: type[Any]) -> str:
    """Return why a trial with these values cannot be, in one line; empty if it can."""
    try:
        kind.model_validate(of_trial(content, search, values))
    except KeyError as error:
        return f"{error.args[0]} lies below something that is no map"
    except ValidationError as error:
        return "; ".join(describe(error, kind).splitlines())
    return ""
