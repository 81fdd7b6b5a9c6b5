"""Where things outside of the project lie: the images, tables and weights that params.yaml names by a path."""

from __future__ import annotations

from pathlib import Path

_EXPERIMENTS = (".dvc", "tmp", "exps")
"""Where ``dvc exp run --temp`` and ``--queue`` make a workspace of their own, below the clone."""


def main_checkout() -> Path | None:
    """Return the clone in whose temporary workspace of an experiment the study runs; None if it runs in the clone."""
    parts = Path.cwd().parts
    places = [i for i in range(1, len(parts)) if parts[i : i + len(_EXPERIMENTS)] == _EXPERIMENTS]
    return Path(*parts[: places[-1]]) if places else None


def located(path: str) -> Path:
    """Return where a path of params.yaml leads.

    Parameters
    ----------
    path : str
        Absolute, below the home folder (``~``), or relative to the folder of params.yaml. In a temporary workspace of
        an experiment a relative path counts from the clone: ``../my_images`` is the same folder in both.

    Returns
    -------
    Path
        As it is written, absolute in such a workspace. Links in it are not resolved: where a link is turned to another
        folder, the path leads there.
    """
    return (main_checkout() or Path()) / Path(path).expanduser()
