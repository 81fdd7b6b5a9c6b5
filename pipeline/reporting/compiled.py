"""Templates of pages, compiled once: to compile all of them takes longer than to fill them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket


class Compiled(jinja2.BytecodeCache):
    """Keeps compiled templates as Python keeps compiled modules: in ``__pycache__`` beside them, if it may write there.

    What is kept is used while the template, the version of Jinja2 and the module that sets the environment up are the
    same; anything else, a damaged file included, is compiled anew.

    Parameters
    ----------
    templates : Path
        Folder of the templates.
    environment : Path
        Module that sets the environment up: its options are part of what is compiled.
    """

    def __init__(self, templates: Path, environment: Path) -> None:
        self._folder = templates / "__pycache__"
        self._made_by = hashlib.sha256(jinja2.__version__.encode() + environment.read_bytes()).hexdigest()

    def get_cache_key(self, name: str, filename: str | None = None) -> str:
        """Name a template wherever the project lies, so that copies of it need not compile."""
        return hashlib.sha256(f"{self._made_by} {sys.implementation.cache_tag} {name}".encode()).hexdigest()[:32]

    def load_bytecode(self, bucket: Bucket) -> None:
        """Read a compiled template; the bucket stays empty if there is none of this source."""
        with contextlib.suppress(OSError), (self._folder / f"{bucket.key}.jinja").open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write a compiled template, whole or not at all."""
        if sys.dont_write_bytecode:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            descriptor, partial = tempfile.mkstemp(dir=self._folder)
            try:
                with open(descriptor, "wb") as file:
                    bucket.write_bytecode(file)
                os.replace(partial, self._folder / f"{bucket.key}.jinja")
            except BaseException:
                os.unlink(partial)
                raise
