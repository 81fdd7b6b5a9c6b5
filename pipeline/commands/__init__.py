"""What a person types, ``medmatrix NAME``: one file per command.

A command is added by adding its file, ``pipeline/commands/<name>.py``, with a function ``main(arguments)``. The first
line of its docstring is its line in ``medmatrix --help``; the whole of it, examples included, is shown by ``medmatrix
<name> --help``. Only the chosen command is imported, so that none waits for the libraries of another.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

PROGRAM = "medmatrix"
_HELP = 14
"""Column in which the line of a command begins; that of one with a longer name stands below it."""


def available() -> list[str]:
    """Return the names of all commands, sorted; a file named with ``_`` is typed with ``-``."""
    names = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in names)


def summary(name: str) -> str:
    """Return the first line of a command's docstring, without importing it."""
    text = Path(__file__).with_name(f"{_module(name)}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of command `name`, to which the command adds its arguments.

    Parameters
    ----------
    name : str
        As it is typed after ``medmatrix``.
    description : str or None
        Its docstring, printed as it is.
    """
    return argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names with the others.

    Parameters
    ----------
    arguments : sequence of str, optional
        None = those of the installed command. Where the working directory holds another copy of the project than the
        installed one, that copy runs: its stages would, too.
    """
    if arguments is None:
        arguments = sys.argv[1:]
        if _is_elsewhere():
            os.execv(sys.executable, [sys.executable, "-m", __name__, *arguments])
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Commands for a study; `dvc repro` runs its stages.",
        epilog=f"`{PROGRAM} NAME --help` describes a command and its options.",
        formatter_class=partial(argparse.HelpFormatter, max_help_position=_HELP),
    )
    commands = parser.add_subparsers(title="commands", dest="name", metavar="NAME", required=True)
    for name in available():
        commands.add_parser(name, help=summary(name).replace("%", "%%"), add_help=False)
    chosen = parser.parse_args(arguments[:1]).name
    try:
        importlib.import_module(f"{__name__}.{_module(chosen)}").main(arguments[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # `medmatrix plan | head` has read enough: no traceback, nor one as Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _module(name: str) -> str:
    """Return the module of a command."""
    return name.replace("-", "_")


def _is_elsewhere() -> bool:
    """Return whether the working directory holds this package in another copy."""
    here = Path("pipeline/commands/__main__.py")
    return here.exists() and not here.samefile(Path(__file__).with_name("__main__.py"))
