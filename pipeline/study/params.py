"""params.yaml, section by section: reading it as DVC does, and saying what is wrong with it.

A section is a pydantic model that lies in the package it is about (``pipeline/<package>/settings.py``). A stage reads
the sections that it names; `pipeline.settings` has them all, with what must hold between them.
"""

from __future__ import annotations

import copy
import difflib
import functools
import importlib
import io
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from pipeline.study.errors import UserError

PARAMS_FILE = Path("params.yaml")

Fraction = Annotated[float, Field(gt=0, lt=1)]

Probability = Annotated[float, Field(ge=0, le=1)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]
"""No dot (DVC's key separator) and no dash (it joins model and loss in folder names)."""

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class ParamsError(UserError):
    """params.yaml holds something that cannot be run. The message names key, value and what it must be."""


class Section(BaseModel):
    """A part of params.yaml: unknown keys refused, values fixed once read, no silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Sections(BaseModel):
    """Some sections of params.yaml; those that a subclass does not name are not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


SectionsT = TypeVar("SectionsT", bound=Sections)


def describe(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Write a pydantic error as one line per problem: key path, value, what it must be.

    Parameters
    ----------
    error : ValidationError
        As raised by ``model.model_validate``.
    model : type of BaseModel
        What was validated; its field names are the allowed keys.
    prefix : str
        Key path of `model` in params.yaml.
    """
    lines: list[str] = []
    demands: dict[str, list[str]] = {}
    for item in error.errors():
        # Of what may be one of several types, pydantic puts the type into the path.
        path = [str(p) for p in item["loc"] if not re.match(r"\[key\]$|literal\[|constrained-", str(p))]
        key = ".".join([*([prefix] if prefix else []), *path])
        given = item["input"]
        if item["type"] == "extra_forbidden":
            allowed = [field.alias or name for name, field in _section_at(model, path[:-1]).model_fields.items()]
            close = difflib.get_close_matches(path[-1], allowed, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            lines.append(f"{key}: unknown key{hint}; use one of: {', '.join(allowed)}")
        elif item["type"] == "missing":
            lines.append(f"{key}: missing; it has no default")
        elif item["type"] == "value_error":
            message = str(item["ctx"]["error"])
            lines += [f"{key}: {line}" if key and key != line.split(":")[0] else line for line in message.split("\n")]
        else:
            demand = _demand(item["msg"])
            said = demands.setdefault(f"{key} {given!r}", [])
            before = f"{key}: {' or '.join(said)}, not {given!r}"
            said.append(demand.removeprefix("must be ") if said else demand)
            line = f"{key}: {' or '.join(said)}, not {given!r}"
            lines = [line if each == before else each for each in lines] if len(said) > 1 else [*lines, line]
    return "\n".join(lines)


def _demand(message: str) -> str:
    """Say in plain English what pydantic asks for: must be at least 1."""
    for theirs, ours in (
        (r"^(Input|Value|String|List) should ", "must "),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
        (r" after validation, not 0", ""),
        (", got .*", ""),
        (r", unable to parse .*", ""),
    ):
        message = re.sub(theirs, ours, message)
    return message if message.startswith("must") else f"must be valid ({message})"


def _section_at(model: type[BaseModel], path: list[str]) -> type[BaseModel]:
    """Follow `path` through nested sections and maps of sections."""
    for part in path:
        if not (isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields):
            continue  # a key of a map: the map's value type was entered with the map's own name
        annotation = model.model_fields[part].annotation
        for candidate in (annotation, *getattr(annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                model = candidate
    return model


def parse_yaml(text: str, source: str) -> Any:
    """Read text by YAML 1.2, as DVC does: ``no`` is a word, ``012`` is twelve.

    Parameters
    ----------
    text : str
        One document.
    source : str
        The file, for messages.

    Raises
    ------
    ParamsError
        If it is no YAML, or names a key twice.
    """
    return copy.deepcopy(_parsed(text, source))


@functools.lru_cache(maxsize=8)
def _parsed(text: str, source: str) -> Any:
    """Parse, which takes 65 ms for params.yaml; a process reads it more than once."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        key = re.findall(r'duplicate key "(.*?)" with', str(error.problem))[0]
        raise ParamsError(f"{source}: key '{key}' is written twice, line {error.problem_mark.line + 1}") from None
    except (YAMLError, ValueError, TypeError, RecursionError) as error:  # a date that is none is a ValueError
        said = " ".join(str(error).split())
        raise ParamsError(f"{source}: not YAML: {said}") from None


def dump_yaml(content: Any) -> str:
    """Write `content` so that `parse_yaml`, and DVC, read the same."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width = False, 4096
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel declares it as None
    text = io.StringIO()
    yaml.dump(content, text)
    return text.getvalue()


def read(path: Path | str = PARAMS_FILE) -> dict[str, Any]:
    """Read a params file as DVC does, by YAML 1.2, without looking at what its sections say.

    Raises
    ------
    ParamsError
        If the file is missing or is no YAML map.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run from the root of the project") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: cannot be read: {error}") from None
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: {type(content).__name__}; it must be a map of sections")
    return content


def validate(content: dict[str, Any], sections: type[SectionsT], source: str = "params.yaml") -> SectionsT:
    """Validate the sections that `sections` names.

    Raises
    ------
    ParamsError
        With one line per problem.
    """
    try:
        return sections.model_validate(content)
    except ValidationError as error:
        raise ParamsError(f"{source}:\n{describe(error, sections)}") from None


def load(sections: type[SectionsT], path: Path | str = PARAMS_FILE) -> SectionsT:
    """Read the sections that a stage uses, after the whole file has been checked.

    Parameters
    ----------
    sections : type of Sections
        Names the sections, and says what each may hold.
    path : Path or str
        The params file.

    Raises
    ------
    ParamsError
        If the file is missing, is no YAML map, or holds something anywhere that cannot be run.

    Notes
    -----
    A mistake in any section stops the first stage that runs, before work is spent. `pipeline.settings` is imported by
    its name for that: it only refuses, so that no result depends on it, and no stage lists it as a dependency.
    """
    content = read(path)
    whole = validate(content, importlib.import_module("pipeline.settings").Params, str(path))
    importlib.import_module("pipeline.settings.checks").check(whole)
    return validate(content, sections, str(path))
