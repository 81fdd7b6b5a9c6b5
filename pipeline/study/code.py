"""What code a result depends on, by content: which modules a script imports, and what each says without its comments.

Two files with the same syntax tree, docstrings aside, compute the same. So a comment, a docstring or a line break may
change without a training run being done again.

To read all modules of a training run took most of a second, and more than a small network takes to learn. What was
found of a source is kept beside Python's bytecode, under the hash of that source, for the next process.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
"""Of the project, which holds the package ``pipeline``."""
AT_MOST = 2000
"""Sources that are kept: about ten versions of the project."""


class Program(NamedTuple):
    """What a module does, and what it imports of this project.

    Parameters
    ----------
    digest : str
        See `digest`.
    imports : list of str
        Names of modules, and of what is imported from them; with leading dots if they are relative.
    """

    digest: str
    imports: list[str]


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Find the project's modules that `files` consist of, and digest each.

    Parameters
    ----------
    files : iterable of Path
        Modules of the project. What they import by a computed name is not found: name it here, too.

    Returns
    -------
    dict of str to str
        Path relative to the project, in alphabetical order, to `digest`. A module without code is left out.
    """
    found: dict[Path, str] = {}
    missing = list(files)
    while missing:
        file = missing.pop()
        if file not in found:
            found[file], imported = _module(file)
            missing += imported
    _keep()
    empty = _digest(ast.Module([], []))
    return {path.relative_to(ROOT).as_posix(): found[path] for path in sorted(found) if found[path] != empty}


def file_digests(files: Iterable[Path]) -> dict[str, str]:
    """Hash files that are no modules as they are: path relative to the project, sorted, to SHA-256."""
    return {path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def digest(source: str | bytes) -> str:
    """Digest what a module does: SHA-256 of its syntax tree without docstrings, comments and layout."""
    return _read(source.encode() if isinstance(source, str) else source).digest


def dataset_module(name: str) -> list[Path]:
    """Return the file of a data set, which is imported by a computed name; none where there is no such data set."""
    path = ROOT / "pipeline/datasets" / name / "dataset.py"
    return [path] if path.exists() else []


def digests_of(files: Iterable[Path]) -> list[str]:
    """Digest modules, each for itself, as `digest` does."""
    found = [digest(file.read_bytes()) for file in files]
    _keep()
    return found


@cache
def _module(file: Path) -> tuple[str, tuple[Path, ...]]:
    """Digest a module and find what it imports, once for all configurations."""
    program = _read(file.read_bytes())
    return program.digest, tuple(_files(program.imports, file))


_known: dict[str, Program] = {}
"""By the SHA-256 of a source."""
_unkept: set[str] = set()
"""Those of them that are not in the file yet."""


def _read(source: bytes) -> Program:
    """Find what a source does, unless it is known."""
    if not _known:
        _known.update(_kept(_file()))
    key = hashlib.sha256(source).hexdigest()
    if key not in _known:
        with _no_collection():
            tree = ast.parse(source)  # as Python reads it: a mark of the byte order, a declared encoding
            _known[key] = Program(_digest(tree), sorted({*_imported(tree)}))
        _unkept.add(key)
    return _known[key]


@cache
def _file() -> Path:
    """Return the file of what is known, which is of this version of Python and of this module."""
    bytecode = Path(importlib.util.cache_from_source(__file__))
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return bytecode.with_name(f"{bytecode.stem}.{version}.json")


def _kept(file: Path) -> dict[str, Program]:
    """Read what is known; nothing, if the file is not there or not whole."""
    try:
        content = json.loads(file.read_text(encoding="ascii"))
        return {key: Program(str(found), [str(name) for name in imports]) for key, (found, imports) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep() -> None:
    """Add what was found to the file, where Python may write bytecode."""
    if not _unkept or sys.dont_write_bytecode:
        return
    known = _kept(_file()) | {key: _known[key] for key in _unkept}
    _unkept.clear()
    partial = _file().with_name(f"{_file().name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # to find it once more is slow, and no error
        partial.parent.mkdir(exist_ok=True)
        partial.write_text(json.dumps(dict([*known.items()][-AT_MOST:])), encoding="ascii")
        os.replace(partial, _file())


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no cycles: a syntax tree has none, and Python would look for them most of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _digest(tree: ast.Module) -> str:
    return hashlib.sha256(_plain(tree).encode()).hexdigest()


def _plain(node: Any) -> str:
    """Write a syntax tree as nested tuples; empty fields are left out, as Python's versions differ in them."""
    if isinstance(node, ast.AST):
        parts = [repr(type(node).__name__)]
        for name in node._fields:
            value = getattr(node, name, None)
            if name not in ("kind", "type_comment") and value is not None and (text := _plain(value)) != "()":
                parts.append(f"({name!r}, {text})")
        return _tuple(parts)
    if isinstance(node, list):
        return _tuple([_plain(item) for item in node if not _is_docstring(item)])
    return repr((type(node).__name__, node)) if node is not None else "None"


def _tuple(parts: list[str]) -> str:
    """Write a tuple as Python does."""
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def _is_docstring(node: Any) -> bool:
    """Whether a statement is a string alone: a docstring, of whatever it follows."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _statements(block: Iterable[Any]) -> Iterator[ast.stmt]:
    """Yield the statements of a block and of all blocks within; `ast.walk` spends its time on their expressions."""
    for statement in block:
        yield statement
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(statement, name, ()))
        for inner in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
            yield from _statements(inner.body)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Yield what a module imports that may be of this project, at its top or inside a function."""
    for node in _statements(tree.body):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            names = [start, *(f"{start}.{alias.name}" if node.module else start + alias.name for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] in ("", "pipeline"))


def _files(names: Iterable[str], file: Path) -> Iterator[Path]:
    """Yield the modules that `file` imports by such names, and their packages."""
    for name in names:
        relative = name.lstrip(".")
        level = len(name) - len(relative)
        above = file.relative_to(ROOT).parts[:-level] if level else ()
        parts = [*above, *(relative.split(".") if relative else [])]
        if parts and parts[0] == "pipeline":
            places = [ROOT.joinpath(*parts[: i + 1], "__init__.py") for i in range(len(parts))]
            yield from (file for file in (*places, ROOT.joinpath(*parts).with_suffix(".py")) if file.exists())
