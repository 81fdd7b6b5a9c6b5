"""Models with a name in the registry that git and DVC are: `FOLDER` holds them, and its dvc.yaml says what they are.

DVC tracks the files; dvc.yaml names them under ``artifacts:``; an annotated tag of git is a version. So
``dvc artifacts get``, GTO, and the extension of VS Code find them, in this repository and from elsewhere.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.deploying.choice import Choice
from pipeline.deploying.sums import lacking
from pipeline.study.errors import UserError
from pipeline.study.locks import alone_in
from pipeline.study.repository import opened

FOLDER = Path("registry")
"""In the repository, and in git but for the models themselves."""
_NAME = r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?"
"""What a tag can hold of it (GTO), without a folder."""


def register(choice: Choice, name: str, form: str, write: Callable[[Path], str], about: dict[str, Any]) -> str:
    """Write a model into the registry, in the place of the one that had the name.

    Parameters
    ----------
    choice : Choice
        The model.
    name : str
        Letters, digits, ``-`` and ``_``: what does not change with the model, such as "chosen".
    form : str
        Of the export.
    write : callable
        Writes the export into a new folder, and returns what a person is to be told.
    about : dict
        What dvc.yaml says beside: dataset, task, licence.

    Returns
    -------
    str
        What a person is to be told: what was written, and the commands that make it a version.

    Raises
    ------
    UserError
        If the name cannot be one, this is no repository of git and DVC, or a folder of that name is not DVC's.
    """
    if not re.fullmatch(_NAME, name):
        raise UserError(f"--register: '{name}'; must be letters, digits, - and _, with a letter or digit at both ends")
    from dvc.annotations import Artifact  # takes a second
    from dvc.exceptions import DvcException

    folder = FOLDER / name
    # One that was killed before DVC knew of it has the sums of an export, and nothing that they do not name.
    if folder.exists() and not folder.with_name(f"{name}.dvc").exists() and lacking(folder) is None:
        raise UserError(f"--register: {folder} is there, and not from here (not in DVC); move it, or take another name")
    with contextlib.ExitStack() as stack:
        try:
            repo = stack.enter_context(opened())
        except UserError as error:
            raise UserError(f"--register: {error}") from None
        FOLDER.mkdir(exist_ok=True)
        stack.enter_context(alone_in(FOLDER, f"--register: another process is writing into {FOLDER}: waiting for it"))
        new = FOLDER / f"partial-{name}"
        shutil.rmtree(new, ignore_errors=True)
        try:
            told = write(new)
            shutil.rmtree(folder, ignore_errors=True)  # what DVC has of it stays in its cache
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        card = f"{name}/MODEL_CARD.md" if (folder / "MODEL_CARD.md").exists() else f"{name}/README.md"
        described = Artifact(
            path=name,
            type="model",
            desc=f"{choice.name} ({choice.how}), as {form}. For research, not for clinical use.",
            labels=[form, "research-only"],
            meta={"model": choice.name, "training_runs": [run.name for run in choice.members], "card": card, **about},
        )
        try:
            repo.add(str(folder))
            repo.artifacts.add(name, described, dvcfile=str(FOLDER / "dvc.yaml"))
        except DvcException as error:
            raise UserError(f"--register: DVC: {error}") from None
    return (
        f"{told.replace(str(new), str(folder))}\nIt is {FOLDER}:{name}. To make it a version:\n"
        f"  git add {FOLDER} && git commit -m 'Register {choice.name}' && dvc push\n"
        f"  gto register {FOLDER}:{name}   # or git tag -a '{FOLDER}={name}@v1.0.0' -m 'Register'\n"
        f"Elsewhere:\n  dvc artifacts get URL {FOLDER}:{name}"
    )
