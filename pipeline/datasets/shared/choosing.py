"""Which files are images of the study: patterns, masks that belong to an image, and blocks of neighbours by number."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field

Pattern = Annotated[str, Field(min_length=1)]
"""A pattern of paths below root as shells have them: ``*`` and ``?`` also match ``/``."""
Groups = Annotated[str, Field(pattern=r"^blocks of [1-9][0-9]{0,5}$")]
"""``blocks of 100``: what keeps images together where no patient is known."""

_MASK = re.compile(r"(?P<image>.+?)[ _-](?:mask|masks|seg|segmentation|lesion_mask)(?:[ _-]?\d+)?", re.IGNORECASE)
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")
_MASK_FOLDERS = ("mask", "masks", "segmentation", "segmentations")


def chosen(paths: Iterable[str], include: Sequence[str], exclude: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide paths into those that the patterns take and the others, both in their order.

    Parameters
    ----------
    paths : iterable of str
        Relative, with ``/``.
    include, exclude : sequence of str
        Shell patterns of a whole path or of its last part. Without `include` every path is included; `exclude` goes
        before it.
    """

    def any_of(path: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(path, p) or fnmatch.fnmatchcase(path.rpartition("/")[2], p) for p in patterns)

    taken: list[str] = []
    left: list[str] = []
    for path in paths:
        wanted = (not include or any_of(path, include)) and not any_of(path, exclude)
        (taken if wanted else left).append(path)
    return taken, left


def masks(paths: Collection[str]) -> dict[str, str]:
    """Find the files that are masks of other files.

    Parameters
    ----------
    paths : collection of str
        All images, relative, with ``/``.

    Returns
    -------
    dict of str to str
        Path of a mask to that of its image: ``a_mask.png`` and ``a_mask_1.png`` to ``a.png`` in the same folder,
        ``masks/a.png`` to ``images/a.png`` or ``a.png`` beside the folder. A name that says mask without an image of
        its own is none, unless other names in its folder are.
    """
    stems = {path.rpartition(".")[0] if "." in path.rpartition("/")[2] else path: path for path in sorted(paths)}
    found: dict[str, str] = {}
    lonely: list[str] = []
    for stem, path in stems.items():
        folder, _, name = stem.rpartition("/")
        match = _MASK.fullmatch(name)
        if match is not None:
            image = stems.get(f"{folder}/{match['image']}" if folder else match["image"])
            if image is not None:
                found[path] = image
            else:
                lonely.append(path)
            continue
        parts = PurePosixPath(stem).parts
        for place, part in enumerate(parts[:-1]):
            if part.lower() in _MASK_FOLDERS:
                for beside in (["images"], ["image"], ["Images"], []):
                    image = stems.get("/".join([*parts[:place], *beside, *parts[place + 1 :]]))
                    if image is not None:
                        found[path] = image
    folders = {path.rpartition("/")[0] for path in found}
    return found | {path: "" for path in lonely if path.rpartition("/")[0] in folders}


def block(path: str, groups: str) -> str:
    """Return the block of an image that the last number in its name puts it into.

    Parameters
    ----------
    path : str
        Relative, with ``/``; its folder and the text before the number must agree within a block.
    groups : str
        ``blocks of N``: numbers 1 to N are the first block.

    Returns
    -------
    str
        For ``a/Pro 003.jpg`` and blocks of 100: ``a/Pro 1-100``; a name without a number is a block of its own.
    """
    size = int(groups.rpartition(" ")[2])
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    match = _NUMBERED.fullmatch(stem)
    if match is None:
        return path
    first = max(int(match[2]) - 1, 0) // size * size
    return f"{folder}/{match[1]}{first + 1}-{first + size}{match[3]}".removeprefix("/")


def blocks_of(paths: Iterable[str], groups: str | None) -> dict[str, int | str] | None:
    """Count what blocks do.

    Parameters
    ----------
    paths : iterable of str
        All images, see `block`.
    groups : str or None
        ``blocks of N``.

    Returns
    -------
    dict or None
        groups, images, and alone: images that share their block with no other. None without `groups`.
    """
    if groups is None:
        return None
    sizes = Counter(block(path, groups) for path in paths)
    return {"groups": groups, "images": sizes.total(), "alone": sum(size == 1 for size in sizes.values())}


def block_notes(groups: str | None) -> tuple[str, ...]:
    """Return what reports must say about blocks, as `Dataset.notes`."""
    if groups is None:
        return ()
    return (
        f"Images are kept together in {groups} whose file names end with neighbouring numbers, in the place of "
        "patients: images of one person that lie further apart, or on two sides of a border, may be in several sets.",
    )
