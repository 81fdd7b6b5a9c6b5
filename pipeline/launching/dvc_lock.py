"""How DVC rewrites dvc.lock after each stage: by far the longest part of ``dvc repro`` beside the stages themselves.

DVC 3.67 reads the whole file in Python, in a way that keeps comments, adds a stage, and writes it all. The file grows
with the training runs. DVC itself reads it elsewhere by libyaml, which takes a hundredth of the time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

LOCK_FILE = "dvc.lock"


def read_quickly() -> None:
    """Have DVC, in this process, read dvc.lock by libyaml when it adds a stage: the same bytes are written.

    That is for a file without comments, as DVC writes it; one with a ``#``, and every other file, is read as ever.
    """
    from dvc import dvcfile
    from dvc.utils.serialize import _common, _yaml

    as_ever = dvcfile.modify_yaml

    def parse(text: str, path: str) -> Any:
        return _yaml.parse_yaml_for_update(text, path) if "#" in text else _yaml.parse_yaml(text, path)

    @contextlib.contextmanager
    def modify_yaml(path: str | os.PathLike[str], fs: Any = None) -> Iterator[Any]:
        of_lock = os.path.basename(path) == LOCK_FILE
        with _common._modify_data(path, parse, _yaml._dump, fs=fs) if of_lock else as_ever(path, fs=fs) as data:
            yield data

    dvcfile.modify_yaml = modify_yaml
