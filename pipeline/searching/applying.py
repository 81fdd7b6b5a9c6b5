"""Values written into params.yaml in their places: every other byte, comments included, stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

from pipeline.study.params import PARAMS_FILE, ParamsError, parse_yaml, read
from pipeline.study.workplaces import with_values

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
"""Words, and keys with dots."""


def applied(values: Mapping[str, Any], path: Path = PARAMS_FILE) -> str:
    """Return the text of a params file with these values.

    Parameters
    ----------
    values : mapping
        Key with dots to a value. A key that is not there is added to its map.
    path : Path
        The file.

    Raises
    ------
    ParamsError
        If a key cannot be set in its place alone: it lies below what is no map, or in one that is written once for
        several places.
    """
    text = path.read_text(encoding="utf-8")
    expected = read(path)
    for key, value in values.items():
        try:
            expected = with_values(expected, {key: value})
            text = _with_value(text, key.split("."), value)
        except KeyError:
            raise ParamsError(f"{path}: {key}: does not lie in a map") from None
    try:
        same = parse_yaml(text, str(path)) == expected
    except ParamsError:  # the value had a name by which another place has it, too
        same = False
    if not same:
        named = ", ".join(f"{key}: {as_yaml(value)}" for key, value in values.items())
        raise ParamsError(f"{path}: cannot be changed in these places alone; set by hand: {named}")
    return text


def as_yaml(value: Any) -> str:
    """Write a value on one line, as YAML 1.2 and 1.1 read it alike."""
    if isinstance(value, float):
        # JSON writes 1e-05, which is text in YAML 1.1.
        text = repr(value)
        return f"{value:.20f}".rstrip("0") if "e-" in text and float(f"{value:.20f}") == value else _with_point(text)
    if isinstance(value, str) and _PLAIN.fullmatch(value) and not isinstance(parse_yaml(value, ""), bool):
        return value if value.lower() not in ("yes", "no", "on", "off", "y", "n", "null") else f"'{value}'"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_yaml(key)}: {as_yaml(item) or 'null'}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_yaml(item) or "null" for item in value) + "]"
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _with_point(text: str) -> str:
    """Give a number with an exponent the point without which YAML 1.1 takes it for text."""
    mantissa, sign, exponent = text.partition("e")
    return f"{mantissa}.0{sign}{exponent}" if sign and "." not in mantissa else text


def _with_value(text: str, path: list[str], value: Any) -> str:
    """Return `text` with one value set."""
    node: Node = YAML(typ="safe", pure=True).compose(text)
    key: Node | None = None
    for depth, name in enumerate(path):
        if key is not None and _is_empty(node):
            return _after_key(text, key, _nested(path[depth:], value))
        if not isinstance(node, MappingNode):
            raise KeyError(name)
        found = next((entry for entry in node.value if entry[0].value == name), None)
        if found is None:
            return _added(text, node, path[depth:], value)
        above, (key, node) = node, found
    assert key is not None
    if _is_empty(node):
        return _after_key(text, key, value)
    if isinstance(node, CollectionNode) and not node.flow_style:
        # On lines of its own: these go, the comment behind the key stays.
        start, last = text.rfind("\n", 0, node.start_mark.index), _last(text, node)
        following = text[last:].partition("\n")
        return _after_key(text[:start] + "".join(following[1:]), key, value)
    written = as_yaml(value) or ("null" if above.flow_style else "")
    return text[: node.start_mark.index] + written + text[node.end_mark.index :]


def _last(text: str, node: Node) -> int:
    """Return where the last value of a map or list ends; the end of its lines, for YAML, is where something follows."""
    while isinstance(node, CollectionNode) and not node.flow_style:
        last = node.value[-1]
        key, node = last if isinstance(last, tuple) else (None, last)
        if key is not None and _is_empty(node):
            return text.index(":", key.end_mark.index)
    return len(text[: node.end_mark.index].rstrip())


def _is_empty(node: Node) -> bool:
    """Whether nothing stands there; a comment may."""
    return isinstance(node, ScalarNode) and node.start_mark.index == node.end_mark.index


def _after_key(text: str, key: Node, value: Any) -> str:
    """Return `text` with a value behind the colon of a key that had none; the mark of what is empty lies further on."""
    place = text.index(":", key.end_mark.index) + 1
    return f"{text[:place]} {as_yaml(value)}{text[place:]}" if as_yaml(value) else text


def _nested(path: list[str], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _added(text: str, node: MappingNode, path: list[str], value: Any) -> str:
    """Return `text` with a key added to a map, and those below it that are missing, too."""
    name, value = path[0], _nested(path[1:], value)
    if node.flow_style:
        close = node.end_mark.index - 1
        before = text[:close].rstrip()
        return f"{before}{', ' if node.value else ''}{name}: {as_yaml(value)}{text[len(before) :]}"
    first = node.value[0][0].start_mark
    line = text.rfind("\n", 0, first.index) + 1
    return f"{text[:line]}{' ' * first.column}{name}: {as_yaml(value)}\n{text[line:]}"
