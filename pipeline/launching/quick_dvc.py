"""DVC in the forks of one process: what each would do again is done before, and what is slow is done otherwise.

The longest part of ``dvc repro`` beside the stages is dvc.lock. DVC 3.67 reads the whole file in Python, in a way that
keeps comments, adds a stage, and writes it all, after each stage; it grows with the training runs. Elsewhere DVC itself
reads it by libyaml, in a hundredth of the time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCK_FILE = "dvc.lock"


def heat(*command: str) -> None:
    """Have DVC, if it is imported, do a command on an empty stage called ``only``, as a pan is heated.

    It then has its command line, schemas and patterns compiled, which is half of what a fork of it takes for one stage
    that has nothing to do; of one that has, dvc.lock is most: see `read_quickly`. What is written here lies in a folder
    that is removed.
    """
    if (dvc := sys.modules.get("dvc.cli")) is None:
        return
    tqdm = importlib.import_module("tqdm").tqdm
    interval, tqdm.monitor_interval = tqdm.monitor_interval, 0  # or it would start a thread
    with tempfile.TemporaryDirectory(prefix="medmatrix-") as folder, contextlib.chdir(folder):
        Path(".dvc").mkdir()
        core = {"no_scm": "true", "analytics": "false", "check_update": "false", "site_cache_dir": f"{folder}/site"}
        Path(".dvc/config").write_text("[core]\n" + "".join(f"    {key} = {value}\n" for key, value in core.items()))
        Path("params.yaml").write_text("key: 1\n")
        Path("dvc.yaml").write_text("stages: {only: {cmd: ':', deps: [params.yaml], params: [key], outs: [made]}}\n")
        dvc.main([*command, "--quiet"])
    tqdm.monitor_interval = interval
    read_quickly()


def read_quickly() -> None:
    """Have DVC, in this process, read dvc.lock by libyaml when it adds a stage: the same bytes are written.

    That is for a file without comments, as DVC writes it; one with a ``#``, and every other file, is read as ever.
    """
    from dvc import dvcfile
    from dvc.utils.serialize import _common, _yaml

    needed = (_common, "_modify_data"), (_yaml, "_dump"), (_yaml, "parse_yaml_for_update"), (_yaml, "parse_yaml")
    if not all(hasattr(module, name) for module, name in needed):
        return  # another version of DVC: as it is
    as_ever = dvcfile.modify_yaml

    def parse(text: str, path: str) -> Any:
        return _yaml.parse_yaml_for_update(text, path) if "#" in text else _yaml.parse_yaml(text, path)

    @contextlib.contextmanager
    def modify_yaml(path: str | os.PathLike[str], fs: Any = None) -> Iterator[Any]:
        of_lock = os.path.basename(path) == LOCK_FILE
        with _common._modify_data(path, parse, _yaml._dump, fs=fs) if of_lock else as_ever(path, fs=fs) as data:
            yield data

    dvcfile.modify_yaml = modify_yaml
