"""timm and torchvision, imported without torch's compiler: ``from pipeline.learning.eager import timm``.

Both need torch._dynamo for a few decorators, and its import takes longer than torch's own: 1.3 s of every process that
trains or evaluates, where almost none compiles. While they are imported a stand-in answers in its place, with torch's
own decorator that finds the compiler when a function is first called; whatever else is asked of it comes from the real
one, which is imported then. A process that compiles (`pipeline.learning.session.compiled`) imports it as always.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from torch._compile import _disable_dynamo

COMPILER = "torch._dynamo"


class _StandIn(ModuleType):
    """A module of the compiler that answers what it is given, and imports the real one for anything else."""

    def __getattr__(self, name: str) -> Any:
        # The import itself asks every module for names with underscores; of `config` timm's Kron, which no study can
        # name, would lift a limit for the whole process.
        if name.startswith("__") or name == "config":
            raise AttributeError(name)
        _remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def _remove_stand_ins() -> None:
    for name in [name for name, module in sys.modules.items() if isinstance(module, _StandIn)]:
        del sys.modules[name]


def _is_compile_supported(device: str) -> bool:
    return bool(importlib.import_module(f"{COMPILER}.utils").is_compile_supported(device))


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Stand in for torch's compiler, if it is not there yet, and keep what is imported from collections."""
    collects = gc.isenabled()
    gc.disable()  # a third of the time: what libraries make while they are imported stays
    if COMPILER not in sys.modules:
        package, utils = _StandIn(COMPILER), _StandIn(f"{COMPILER}.utils")
        package.disable = lambda fn=None, recursive=True, **_: _disable_dynamo(fn, recursive)  # type: ignore[attr-defined]
        utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
        sys.modules.update({each.__name__: each for each in (package, utils)})
    try:
        yield
    finally:
        _remove_stand_ins()
        if collects:
            gc.enable()


def library(name: str) -> Any:
    """Import a module that imports timm, torchvision or distributed tensors, without the compiler.

    Parameters
    ----------
    name : str
        Such as ``timm.optim``.
    """
    with _without_compiler():
        return importlib.import_module(name)


def never_compiled(function: Callable[..., Any]) -> None:
    """Have a function that torch keeps out of what it compiles be called without asking the compiler to do so.

    Parameters
    ----------
    function : callable
        As torch has decorated it; one that it has not, or otherwise than it does today, stays as it is.
    """
    inner = inspect.unwrap(function)
    if inner is not function:
        setattr(inner, "__dynamo_disable", inner)  # where torch keeps what the compiler has answered


with _without_compiler():
    import timm

__all__ = ["library", "never_compiled", "timm"]
