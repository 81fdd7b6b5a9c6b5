"""What keeps DVC from starting, mended as a command or a stage begins."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.study import locks
from pipeline.study.files import EXTERNAL_DATA, IGNORE, INPUTS
from pipeline.study.inputs import KEYS, has_all_patterns
from pipeline.study.orphans import STAGE


def mend() -> list[str]:
    """Mend the files of DVC in the working directory's project where that is needed.

    Below a DVC, which has read its databases and run-cache already, only dvc.lock and rwlock are looked at.

    Returns
    -------
    list of str
        One sentence for each file, of what was wrong and what was done.

    Raises
    ------
    UserError
        If dvc.lock holds both sides of a merge, between which only the user can choose.
    """
    if not Path(".dvc").is_dir():
        return []
    told = [line for line in (locks.mend_lock(), locks.mend_rwlock()) if line]
    if STAGE in os.environ:
        return told
    from pipeline.study import dvc_state  # SQLite and others, which a stage below a DVC does without

    return [*told, *dvc_state.mend_databases(), *dvc_state.mend_runs(), *mend_links()]


def mend_links() -> list[str]:
    """Where what DVC is to pass over in the inputs is cut, remove it and the links, so that DVC makes them again."""
    told = []
    for path in (INPUTS / IGNORE, *EXTERNAL_DATA.glob(f"*/inputs/{IGNORE}")):
        if path.is_file() and not has_all_patterns(path.read_text(encoding="utf-8", errors="replace")):
            with locks.alone(locks.OWN / "lock") as had:
                for name in (*KEYS, IGNORE) if had else ():
                    path.with_name(name).unlink(missing_ok=True)
            if had:
                told.append(f"{path} is not whole; it and the links beside it are removed: DVC makes them again")
    return told
