"""Facts of where the numbers come from: code, versions and device of the training runs."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import yaml

from pipeline.reporting.results import StudyResults
from pipeline.settings import SECTIONS, Params
from pipeline.study.params import ParamsError, parse_yaml

Run = Mapping[str, Any]
"""What run.json records of a training run."""


class Recorded(NamedTuple):
    """Every distinct value that training runs recorded with their number, and how many recorded none."""

    values: list[tuple[str, int]]
    unknown: int


def recorded(runs: Iterable[Run], read: Callable[[Run], object]) -> Recorded:
    """Return what `runs` recorded; `read` gives None or the empty string where one did not."""
    every = [read(run) for run in runs]
    counted = Counter(str(value) for value in every if value not in (None, ""))
    return Recorded(sorted(counted.items()), len(every) - counted.total())


def entry(name: str) -> Callable[[Run], object]:
    """Return a reader of one key."""
    return lambda run: run.get(name)


def versions(run: Run) -> str:
    """Name the packages of a training run; empty where they are not recorded."""
    return ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())


def commit(run: Run) -> str:
    """Return the commit of a training run, with a + where files differed from it; empty where it is not recorded."""
    return (run.get("git_commit") or "")[:12] + ("+" if run.get("git_commit") and run.get("git_dirty") else "")


class Provenance(NamedTuple):
    """Where the numbers come from.

    Parameters
    ----------
    runs : int
        Training runs with a record; 0 for a bare table.
    code, versions, device, precision, threads : Recorded
        See `commit` and `versions`.
    parameters : str
        YAML of the settings that shaped these results; empty for a bare table.
    """

    runs: int
    code: Recorded
    versions: Recorded
    device: Recorded
    precision: Recorded
    threads: Recorded
    parameters: str


def provenance(study: StudyResults) -> Provenance:
    """Return where the numbers of a study come from."""
    runs = [run for results in study.configurations for run in results.runs]
    text = yaml.dump(used(study.params), Dumper=_Printed, **_YAML).strip() if study.recorded else ""
    return Provenance(
        len(runs),
        recorded(runs, commit),
        recorded(runs, versions),
        recorded(runs, entry("device")),
        recorded(runs, entry("precision")),
        recorded(runs, entry("threads")),
        text,
    )


class _Printed(yaml.SafeDumper):
    """PyYAML, which breaks lines as people do, with quotes also around what is no text by YAML 1.2 (``0o17``)."""


@functools.cache  # the same words come again and again, on several pages
def _is_plain(value: str) -> bool:
    try:
        return bool(parse_yaml(value, "") == value)
    except ParamsError:
        return False


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, None if _is_plain(value) else "'")


_Printed.add_representer(str, _text)
_YAML: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 100, "default_flow_style": None}


def used(params: Params) -> dict[str, Any]:
    """Return the parameters that shaped these results; settings of other data sets, models and losses are left out.

    What a search was over stands in its record: section ``search`` may say something else by now.
    """
    dumped = params.model_dump(mode="json")
    content = {section: dumped[section] for section in SECTIONS if section != "search"}
    for key, names in (
        ("datasets", [params.dataset]),
        ("models", params.study.models),
        ("losses", params.study.losses),
    ):
        content[key] = {name: content[key][name] for name in names}
    content["about"] = params.about.given()
    for section in ("about", "external"):
        if not content[section]:
            del content[section]
    return content
