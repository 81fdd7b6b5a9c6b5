"""Whether a params.yaml is about certain images, whether one can be run, and what weights there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.learning.weights import SUFFIXES, ModelError, source
from pipeline.planning.choices import Weights
from pipeline.planning.rules import LARGER
from pipeline.study.errors import UserError
from pipeline.study.params import ParamsError, parse_yaml

if TYPE_CHECKING:
    from pipeline.planning.pretrained import Known


HUB = "mobilenetv2_100.ra_in1k"
"""Weights of timm's hub where no others are named."""


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
        Its architecture, with or without a tag; None = what config.json, the name or the folders tell.
    hub : bool
        Whether timm's hub can be reached.

    Raises
    ------
    UserError
        If the file is not there, its name tells no architecture, or it does not fit the architecture.
    """
    if file is None:
        return _of_the_hub(arch) if hub else Weights()
    path = source("--weights", file)
    if not path.is_file() and not (path.is_dir() and any(p.suffix in SUFFIXES for p in path.iterdir())):
        raise UserError(
            f"--weights {file}: no .safetensors or .pth file; the weights must be a file or a folder with one"
        )
    from pipeline.learning.networks.beside import described
    from pipeline.learning.networks.transfer import read_weights
    from pipeline.learning.weights import weights_file
    from pipeline.planning import pretrained

    path = weights_file("--weights", path)
    state = read_weights("--weights", path).state
    known = pretrained.Known(arch, "--arch") if arch else pretrained.identify(path, state)
    if known is None:
        raise UserError(
            f"--weights {file}: the name '{path.name}' begins with no architecture of timm; name it: --arch NAME"
        )
    options = {} if (said := described(path)) is None or known.arch.partition(".")[0] != said.arch else said.options
    side = pretrained.only_size(known.arch)
    side = _built_for(options) or side
    _check_fit(file, known.arch, side or LARGER, options)
    pretrained.ask_if_unclear(file, known)
    doubt = None
    if pretrained.is_converted(state):
        doubt = (
            "if they are timm's. Their batch norms are folded, as of weights converted from another program: if that "
            "is TensorFlow or Keras, set input: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]} and options: {pad_type: "
            "same} under models"
        )
    extra = {} if known.input is None else {"input": known.input}
    extra |= {"options": options} if options else {}
    return Weights(file, False, known.arch, extra, side, known.told_by, _input_in_words(known), doubt)


def _built_for(options: Mapping[str, Any]) -> int | None:
    """Return the side in pixels that a network was built for, where its options name one."""
    size = options.get("img_size")
    return int(size[-1] if isinstance(size, list | tuple) else size) if size else None


def _of_the_hub(arch: str | None) -> Weights:
    from pipeline.learning.networks import models  # torch with it
    from pipeline.learning.settings import Model
    from pipeline.planning import pretrained

    arch = arch or HUB
    try:
        side = pretrained.only_size(arch)
        models.check("", Model(arch=arch, pretrained=True, lr=0.001), channels=3, size=side or LARGER)
    except (ModelError, RuntimeError) as error:  # RuntimeError: timm, of a name that it does not know
        raise UserError(f"--arch {arch} with --pretrained: {str(error).removeprefix('models..')}") from None
    return Weights(None, True, arch, {}, side, "timm's hub", pretrained.input_of(arch))


def _input_in_words(known: Known) -> str:
    from pipeline.planning import pretrained

    return pretrained.input_of(known.arch) if known.input is None else "mean and SD of that file"


def _check_fit(file: str, arch: str, size: int, options: dict[str, Any]) -> None:
    """Refuse weights that are not of `arch` with these options, saying which are."""
    from pipeline.learning.networks import models  # torch with it
    from pipeline.learning.settings import Model

    try:
        models.check("weights", Model(arch=arch, weights=file, lr=0.001, options=options), channels=3, size=size)
    except ModelError as error:
        reason = str(error).removeprefix("models.weights.")
        raise UserError(f"--weights {file} with architecture {arch}: {reason}; name another: --arch NAME") from None
