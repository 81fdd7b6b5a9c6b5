"""Whether a params.yaml is about certain images, whether one can be run, and what weights there are."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.planning.rules import Weights
from pipeline.study.errors import UserError
from pipeline.study.params import ParamsError, parse_yaml


def is_about(path: Path, images: str, table: str | None = None) -> bool:
    """Whether the study of `path` reads these images (and this table, if one is named), whatever else was edited.

    A folder within `images`, where a wrapped data set begins, counts as the images.
    """
    if not path.is_file():
        return False
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), str(path))
        about = content["datasets"][content["dataset"]]
        root, named = about["root"], about.get("table")
    except (OSError, ValueError, ParamsError, KeyError, TypeError):
        return False
    if not isinstance(root, str) or (table is not None and (not isinstance(named, str) or not _same(named, table))):
        return False
    return Path(root).expanduser().resolve().is_relative_to(Path(images).expanduser().resolve())


def _same(one: str, other: str) -> bool:
    return Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def check(content: str, path: Path) -> None:
    """Refuse a params file that could not be run, before it takes the place of one that can.

    Raises
    ------
    ParamsError
        What `pipeline.settings` or a loss refuses.
    """
    from pipeline.settings import parse  # with what it imports

    parse(parse_yaml(content, str(path)), str(path))


def weights_of(file: str | None, arch: str | None, hub: bool) -> Weights:
    """Return the weights that the user says there are.

    Parameters
    ----------
    file : str or None
        A file or a folder with one.
    arch : str or None
        Its architecture; None takes the part of the file's name that is a name of timm's.
    hub : bool
        Whether timm's hub can be reached.

    Raises
    ------
    UserError
        If the file is not there, or its name tells no architecture.
    """
    if file is None:
        return Weights(None, hub, arch or ("mobilenetv2_100.ra_in1k" if hub else "mobilenetv2_100"))
    path = Path(file).expanduser()
    inside = sorted(p for p in path.glob("*") if p.suffix in (".safetensors", ".pth", ".pt")) if path.is_dir() else []
    if not path.is_file() and not inside:
        raise UserError(
            f"--weights {file}: no .safetensors or .pth file; the weights must be a file or a folder with one"
        )
    if arch is None:
        import timm  # takes seconds

        name = (inside[0] if inside else path).name
        known = [a for a in timm.list_models() if re.match(rf"{re.escape(a)}(?![a-z0-9_])", name)]
        if not known:
            raise UserError(
                f"--weights {file}: the name '{name}' begins with no architecture of timm; name it: --arch NAME"
            )
        arch = max(known, key=len)
    return Weights(file, False, arch)
