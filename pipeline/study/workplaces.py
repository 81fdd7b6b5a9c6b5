"""Workplaces of variants: folders that look to a stage like a project whose params.yaml has the variant's settings.

A stage that runs inside of one reads and writes the paths that it always does. Some are links to what the variant
shares with the study; the others lead to ``variants/<name>``, where DVC knows them.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.study.files import (
    CONFIGURATIONS,
    ENSEMBLES,
    EVALUATIONS,
    FUSED,
    INPUTS,
    MODELS,
    PREPARED,
    RAW,
    SOURCE_FOLDER,
    SPLIT_FOLDER,
    VARIANTS,
    WEIGHTS,
)
from pipeline.study.inputs import relative_to_project
from pipeline.study.params import PARAMS_FILE, ParamsError, read

WORKPLACES = Path("tmp/variants")
SHARED = (RAW, INPUTS, SOURCE_FOLDER, WEIGHTS, CONFIGURATIONS)
"""What every variant has of the study."""
OWN = (MODELS, EVALUATIONS, FUSED, ENSEMBLES)
"""What it has of its own, below ``variants/<name>``."""
STUDY = "study"
"""Below ``variants/<name>``: the split, and prepared images where they are the variant's own."""
FOUND = "found"
"""Of a variant that is a fold: settings of training, key with dots to value, that its own search has found."""


def merged(section: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section of params.yaml with the keys of `changes` in the place of its own, map by map."""
    content = dict(section)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(content.get(key), Mapping)
        content[key] = merged(content[key], value) if both else value
    return content


def with_values(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of params.yaml with other values under the given keys.

    Raises
    ------
    KeyError
        If a key lies below something that is no map.
    """
    changed = dict(content)
    for key, value in values.items():
        *above, last = key.split(".")
        place = changed
        for name in above:
            below = place.get(name)
            if below is not None and not isinstance(below, Mapping):
                raise KeyError(key)
            # A copy: YAML lets several places hold one and the same map.
            place[name] = dict(below or {})
            place = place[name]
        place[last] = value
    return changed


def params_of(name: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of params.yaml as variant `name` has it: without variants and external sets.

    What a search has found for a fold (key ``found``) takes the place of the study's own values, each as a whole.

    Raises
    ------
    ParamsError
        If `content` has no such variant.
    KeyError
        If a key under ``found`` lies below something that is no map; `pipeline.settings` has refused it.
    """
    variants = content.get("variants") or {}
    if name not in variants:
        known = ", ".join(variants) or "none is there"
        raise ParamsError(f"--variant: '{name}' is not in section variants of params.yaml; must be one of: {known}")
    changes = {key: value for key, value in (variants[name] or {}).items() if value}
    found = changes.pop(FOUND, {})
    changed = {key: merged(content.get(key) or {}, value) for key, value in changes.items()}
    return with_values({**content, **changed, "variants": {}, "external": {}}, found)


def asked_variant(description: str | None) -> str | None:
    """Read the command line of a stage that takes nothing but ``--variant``; None for the study itself."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--variant", help="a name under variants in params.yaml; by default the study itself")
    return parser.parse_args().variant


@contextmanager
def inside(name: str | None) -> Iterator[None]:
    """Run the body in the workplace of variant `name`; None = in the project, as if nothing was said.

    Raises
    ------
    ParamsError
        If params.yaml has no such variant.
    """
    if name is None:
        yield
        return
    project, folder = Path.cwd(), _workplace(name)
    os.chdir(folder)
    try:
        with relative_to_project(project):
            yield
    finally:
        os.chdir(project)


def _workplace(name: str) -> Path:
    """Make the workplace of a variant, or bring it up to date; several stages may do so at once."""
    content = read()
    params, changes = params_of(name, content), content["variants"][name] or {}
    folder, own = WORKPLACES / name, VARIANTS / name
    links = {path: path for path in SHARED}
    links |= {path: own / path for path in OWN} | {SPLIT_FOLDER: own / STUDY / SPLIT_FOLDER.name}
    links[PREPARED] = own / STUDY / PREPARED.name if changes.get("preprocess") else PREPARED
    for path, target in links.items():
        target.mkdir(parents=True, exist_ok=True)
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        leads = os.path.relpath(target, link.parent)
        if not (link.is_symlink() and os.readlink(link) == leads):
            partial = link.with_name(f"{link.name}.{os.getpid()}")
            partial.symlink_to(leads)
            os.replace(partial, link)
    text = json.dumps(params, indent=1, ensure_ascii=False) + "\n"  # JSON is YAML
    file = folder / PARAMS_FILE
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, file)
    return folder
