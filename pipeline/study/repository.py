"""The working directory's project as DVC opens it; what keeps DVC from it is an error that says what to do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from pipeline.study.errors import UserError

WITHOUT_GIT = "git init && git add -A && git commit -m Start, or dvc config --local core.no_scm true"
"""What to type in a copy of the project that is no repository of git."""


@contextlib.contextmanager
def opened(wait: bool = False) -> Iterator[Any]:
    """Yield a `dvc.repo.Repo`, for which DVC is imported: a second.

    Parameters
    ----------
    wait : bool
        For the lock that another DVC holds, once it is asked for.

    Raises
    ------
    UserError
        If DVC cannot open the project, or fails inside of the context.
    """
    import sqlite3

    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with Repo(_wait_for_lock=wait) as repo:
            yield repo
    except NotDvcRepoError as error:
        raise UserError(f"{error}; run from the root of the project (its folder .dvc comes with git)") from None
    except SCMError as error:
        raise UserError(f"{error}: DVC begins nothing in a copy without git; {WITHOUT_GIT}") from None
    except DvcException as error:
        raise UserError(f"DVC: {error}") from None
    except sqlite3.Error as error:
        raise UserError(f"DVC cannot use its databases: {error}; medmatrix doctor says which") from None
