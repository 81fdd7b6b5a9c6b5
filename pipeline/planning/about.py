"""Whether a params.yaml is about certain images, whether one can be run, and what weights there are."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.learning.weights import SUFFIXES, ModelError, source
from pipeline.planning.rules import LARGER, Weights
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
        If the file is not there, its name tells no architecture, or it does not fit the architecture.
    """
    if file is None:
        return Weights(None, hub, arch or ("mobilenetv2_100.ra_in1k" if hub else "mobilenetv2_100"))
    path = source("--weights", file)
    if not path.is_file() and not (path.is_dir() and any(p.suffix in SUFFIXES for p in path.iterdir())):
        raise UserError(
            f"--weights {file}: no .safetensors or .pth file; the weights must be a file or a folder with one"
        )
    arch = arch or _arch_of(file, path)
    _check_fit(file, arch)
    return Weights(file, False, arch)


def _arch_of(file: str, path: Path) -> str:
    """Return timm's architecture that the name of a file begins with; dashes may stand for underscores."""
    import timm  # takes seconds

    from pipeline.learning.networks.naming import pads_as_tensorflow
    from pipeline.learning.networks.transfer import read_weights
    from pipeline.learning.weights import weights_file

    name = weights_file("--weights", path).name
    written = name.replace("-", "_")
    known = [a for a in timm.list_models() if re.match(rf"{re.escape(a)}(?![a-z0-9])", written)]
    if not known:
        raise UserError(
            f"--weights {file}: the name '{name}' begins with no architecture of timm; name it: --arch NAME"
        )
    longest = max(known, key=len)
    if pads_as_tensorflow(read_weights("--weights", path).state) and timm.is_model(f"tf_{longest}"):
        return f"tf_{longest}"
    return longest


def _check_fit(file: str, arch: str) -> None:
    """Refuse weights that are not of `arch`, saying which are."""
    from pipeline.learning.networks import models  # torch with it
    from pipeline.learning.settings import Model

    try:
        models.check("weights", Model(arch=arch, weights=file, lr=0.001), channels=3, size=LARGER)
    except ModelError as error:
        reason = str(error).removeprefix("models.weights.")
        raise UserError(f"--weights {file} with architecture {arch}: {reason}; name another: --arch NAME") from None
