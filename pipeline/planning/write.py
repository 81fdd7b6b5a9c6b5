"""params.yaml of a new study: the project's own file with all its keys and comments, and the chosen values."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from pipeline.planning.choices import Choice
from pipeline.planning.survey import Survey
from pipeline.study.files import write_text
from pipeline.study.locks import alone_in
from pipeline.study.outputs import keep

TEMPLATE = Path(__file__).with_name("template.yaml")
"""params.yaml of the default study; docs/make_studies.py keeps the copy."""
_WIDTH = 118


def render(survey: Survey, choices: Sequence[Choice], command: str) -> str:
    """Return the content of params.yaml.

    Parameters
    ----------
    survey : Survey
        What was found; no name of an image or a patient of it is written.
    choices : sequence of Choice
        What the rules chose.
    command : str
        What was typed, for the first comment.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    content = yaml.load(TEMPLATE.read_text(encoding="utf-8"))
    content["dataset"] = survey.dataset
    for name in [name for name in content["datasets"] if name != survey.dataset]:
        del content["datasets"][name]
    for key, value in survey.settings.items():
        _set(content["datasets"], [survey.dataset, key], value)
    for choice in choices:
        for path, value in choice.settings.items():
            _set(content, path.split("."), value)
    out = io.StringIO()
    yaml.dump(content, out)
    # ruamel keeps a comment's column, and puts one space where a longer value has reached it.
    body = re.sub(r"^([^#'\"\n]*[^#'\"\s]) (# .*)$", r"\1  \2", out.getvalue(), flags=re.MULTILINE)
    return "\n".join(_header(survey, choices, command)) + "\n\n" + body


def write(path: Path, text: str) -> Path | None:
    """Write `text`; what `path` held before is kept, and its new name returned."""
    with alone_in(path.resolve().parent, f"another process is writing {path}: waiting for it"):
        kept = keep(path)
        write_text(path, text)
    return kept


def _set(content: CommentedMap, path: Sequence[str], value: Any) -> None:
    *above, key = path
    for part in above:
        content = content[part]
    flow = isinstance(content.get(key), CommentedMap) and content[key].fa.flow_style()
    content[key] = _node(
        value, flow=bool(flow) or not isinstance(value, Mapping) or (_is_flat(value) and key != "models")
    )


def _is_flat(value: Mapping[str, Any]) -> bool:
    return not any(isinstance(item, Mapping) for item in value.values())


def _node(value: Any, flow: bool) -> Any:
    """Return `value` as ruamel writes it: maps of models in lines of their own, options and lists within { } or [ ]."""
    if isinstance(value, Mapping):
        node = CommentedMap()
        for key, item in value.items():
            node[key] = _node(item, flow=flow or key == "options" or not isinstance(item, Mapping))
        if flow:
            node.fa.set_flow_style()
        return node
    if isinstance(value, (list, tuple)):
        items = CommentedSeq([_node(item, flow=True) for item in value])
        items.fa.set_flow_style()
        return items
    # Text that a YAML reader could take for something else is quoted, and so is a pattern or a path.
    if isinstance(value, str) and not value.replace("_", "a").isalnum():
        return SingleQuotedScalarString(value)
    return value


def _header(survey: Survey, choices: Iterable[Choice], command: str) -> list[str]:
    from textwrap import wrap

    lines = [f"# Written by `{command}`. Edit it as you like, then `dvc repro`.", "#"]
    said = [
        f"Images: {survey.all.images.total():,}, {'multi-label' if survey.task == 'multilabel' else 'one class each'}."
    ]
    counts = ", ".join(f"{name} {of.images.total():,}" for name, of in survey.classes.items())
    said.append(f"Classes: {counts}.")
    if survey.patients_known:
        said.append(f"Patients: {survey.all.people():,}, from {survey.patients_from}.")
        if survey.nobody:
            said.append(f"Left out: {survey.nobody:,} without a patient.")
    elif survey.nobody:
        said.append(
            f"Patients: NOT KNOWN of {survey.nobody:,} of {survey.all.images.total():,} images. Who is on them may be "
            "in training and test, and results are then too good: without_patient: exclude leaves them out."
        )
    else:
        said.append(
            "Patients: NOT KNOWN. Images of one person can be in training and test, and results are then too good. If "
            "names of files or a column tell whose an image is, set patient_pattern or patient_column below."
        )
    said += [f"{choice.what.capitalize()}: {choice.chosen} ({choice.why})." for choice in choices]
    for text in said:
        lines += [f"# {line}" for line in wrap(text, _WIDTH, subsequent_indent="  ")]
    return lines
