"""What code a result depends on, by content: which modules a script imports, and what each says without its comments.

Two files with the same syntax tree, docstrings aside, compute the same. So a comment, a docstring or a line break may
change without a training run being done again.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
"""Of the project, which holds the package ``pipeline``."""


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
    missing, empty = list(files), _digest(ast.Module([], []))
    while missing:
        file = missing.pop()
        if file not in found:
            found[file], imported = _module(file)
            missing += imported
    return {path.relative_to(ROOT).as_posix(): found[path] for path in sorted(found) if found[path] != empty}


def file_digests(files: Iterable[Path]) -> dict[str, str]:
    """Hash files that are no modules as they are: path relative to the project, sorted, to SHA-256."""
    return {path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def digest(source: str | bytes) -> str:
    """Digest what a module does: SHA-256 of its syntax tree without docstrings, comments and layout."""
    return _digest(ast.parse(source))


@cache
def _module(file: Path) -> tuple[str, tuple[Path, ...]]:
    """Digest a module and find what it imports, once for all configurations."""
    with _no_collection():
        tree = ast.parse(file.read_bytes())  # as Python reads it: a mark of the byte order, a declared encoding
        return _digest(tree), tuple(_imported(tree, file))


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


def _imported(tree: ast.Module, file: Path) -> Iterator[Path]:
    """Yield the project's modules that `file` imports, at its top or inside a function, and their packages."""
    for node in _statements(tree.body):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = file.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "pipeline":
                places = [ROOT.joinpath(*parts[: i + 1], "__init__.py") for i in range(len(parts))]
                yield from (file for file in (*places, ROOT.joinpath(*parts).with_suffix(".py")) if file.exists())
