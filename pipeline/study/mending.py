"""What keeps DVC from starting, mended as a command or a stage begins."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.study import dvc_state, locks
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
    return told if STAGE in os.environ else [*told, *dvc_state.mend_databases(), *dvc_state.mend_runs()]
