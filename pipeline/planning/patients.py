"""Who is on an image, guessed from its path: a pattern that groups the images as patients would."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

CANDIDATES: dict[str, str] = {
    # Name of the guess: pattern searched in the path below the root, "/" between folders.
    "the folder around the image": r"[^/]+/(?P<patient>[^/]*\d[^/]*)/[^/]+$",
    "the name up to its first number": r"(?:^|/)(?P<patient>[^/]*?\d+)[-_. ][^/]*\.[A-Za-z]+$",
    "the name without its last number": r"(?:^|/)(?P<patient>[^/]*\d[^/]*?)[-_. (]+\d+\)?\.[A-Za-z]+$",
}
"""Tried in this order, from the coarsest: a group too wide costs images, one too narrow leaks a patient."""
LEAST_GROUPS = 10
"""Patients without which nothing can be split."""
LEAST_IMAGES = 1.02
"""Images per patient, in the mean, below which a pattern groups nothing: it found a running number."""
MOST_SHARE, MOST_TIMES = 0.1, 20
"""The largest group has at most this share of all images, or so many times the mean: what a class or a device is called
has more."""
EXAMPLES = 3
_LAST_NUMBER = re.compile(r"[-_. (]+\d+\)?$")


@dataclass(frozen=True)
class Patients:
    """How patients are told.

    Parameters
    ----------
    pattern : str or None
        Regular expression with a group ``patient``; None where none groups the images as patients would.
    where : str
        What the pattern takes, in words.
    number : int
        Patients that it finds.
    examples : tuple of (str, str)
        Paths, and the patient found in each. They may name people: to be shown on the screen, never written.
    doubtful : int
        Patients who may be another one again: their name is that of the other and one number more.
    """

    pattern: str | None
    where: str
    number: int
    examples: tuple[tuple[str, str], ...] = ()
    doubtful: int = 0


def guess(paths: Sequence[str], classes: int = 1) -> Patients:
    """Return the first of `CANDIDATES` that groups `paths` as patients would.

    Parameters
    ----------
    paths : sequence of str
        Of every image, below the root, with "/" between folders.
    classes : int
        Folders of classes: a pattern that finds about one group in each finds what a class is called.

    Returns
    -------
    Patients
        Without a pattern where no candidate matches every path and is plausible by the constants above.
    """
    for where, pattern in CANDIDATES.items():
        compiled = re.compile(pattern)
        found = [match["patient"] if (match := compiled.search(path)) else "" for path in paths]
        if all(found) and _plausible(found, classes):
            return Patients(pattern, where, len(set(found)), _examples(paths, found), len(_divided(set(found))))
    return Patients(None, "", len(paths))


def _plausible(patients: Sequence[str], classes: int) -> bool:
    counts = Counter(patients)
    mean = len(patients) / len(counts)
    return (
        len(counts) >= max(LEAST_GROUPS, 2 * classes + 1)
        and mean >= LEAST_IMAGES
        and max(counts.values()) <= max(MOST_SHARE * len(patients), MOST_TIMES * mean)
    )


def _divided(names: set[str]) -> list[tuple[str, str]]:
    """Return pairs of names of which the second is the first and one number more, sorted."""
    pairs = ((_LAST_NUMBER.sub("", name), name) for name in sorted(names))
    return [(shorter, name) for shorter, name in pairs if shorter != name and shorter in names]


def _examples(paths: Sequence[str], patients: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the first image of the first, the middle and the last patient; before them, two who may be one person.

    A name with one number more than another, ``IM-7-1`` beside ``IM-7``, is where a pattern divides a patient.
    """
    first = dict(zip(reversed(patients), reversed(paths)))
    names = sorted(first)
    shown = list(next(iter(_divided(set(names))), ()))
    shown += [names[place] for place in (0, len(names) // 2, len(names) - 1)]
    return tuple((first[name], name) for name in dict.fromkeys(shown))[:EXAMPLES]
