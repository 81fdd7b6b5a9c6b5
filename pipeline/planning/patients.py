"""Who is on an image, guessed from its path: a pattern that groups the images as patients would.

A wrong guess has two sides. A patient parted between two groups can be trained on and tested: results are too good, and
nothing shows it. Two patients joined into one group cost a little choice of images. So of what a name may mean the
coarsest is taken that groups plausibly: the first number, whatever numbers follow it.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEAST_GROUPS = 10
"""Patients without which nothing can be split."""
LEAST_IMAGES = 1.02
"""Images per patient, in the mean, below which a pattern groups nothing: it found a running number."""
MOST_SHARE, MOST_TIMES = 0.1, 20
"""The largest group has at most this share of all images, or so many times the mean: what a class or a device is called
has more."""
LEAST_NAMED = 0.5
"""Share of the images that a pattern must name where it does not name all."""
EXAMPLES = 3
_PARTS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_PERSON = re.compile(
    r"(?<![A-Za-z])(?P<word>patients?|pat|pt|subjects?|subj|sub|persons?|participants?|volunteers?|cases?|pid|mrn)"
    r"(?:[-_ ]?id)?[-_ #.]*\d",
    re.IGNORECASE,
)
"""Words before the number of a person."""
_LETTER = re.compile(r"(?<![A-Za-z])(?P<word>p)[-_ #.]*\d", re.IGNORECASE)
"""Less sure: shelves of patients begin with it as well."""
_NO_PERSON = re.compile(
    r"(?:^|[^a-z])(?P<word>batch|centers?|centres?|class|crop|day|exam|fold|frame|grade|group|hospital|image|img|level|machine"
    r"|month|part|patch|photo|roi|scan|scanner|scn|ser|series|ses|session|set|site|slice|sl|split|stage|study|tile|type"
    r"|view|visit|week|year)[-_ #.]*$",
    re.IGNORECASE,
)
"""The end of a text whose number counts images, examinations or places."""
_DATE = r"(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)"
_IDENTIFIERS = {
    "the TCGA barcode of the participant": r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}(?![A-Z0-9])",
    "the identifier that begins the name": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Fa-f])"
    r"|[0-9A-Fa-f]{16,}(?![0-9A-Za-z])|\d+(?:\.\d+){4,}(?=[-_])",
}
_NUMBER = re.compile(rf"(?P<date>(?<!\d){_DATE})|\d+")
_AFTER = re.compile(r"[-_. ()]|$|(?:[lr]|o[ds]|left|right)(?![a-z0-9])", re.IGNORECASE)
"""What may follow a number that names something: within letters and digits it is part of a code."""
_COPY = re.compile(r"(?: ?\(\d+\)| - copy| - kopie|[-_ ]copy)$", re.IGNORECASE)
_WORD = r"(?:[-_ ][A-Za-z]{3,}(?=[-_. (]*\d))?"


class _Candidate(NamedTuple):
    """A pattern, what it takes in words, and a finer one, for which there must be evidence."""

    where: str
    pattern: str
    finer: str | None = None


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
        Patients whose names differ from another's by case, zeros before a number or separators only.
    """

    pattern: str | None
    where: str
    number: int
    examples: tuple[tuple[str, str], ...] = ()
    doubtful: int = 0


def guess(paths: Sequence[str], classes: int = 1, parts: Sequence[str] = ()) -> Patients:
    """Return the coarsest pattern that groups `paths` as patients would.

    Parameters
    ----------
    paths : sequence of str
        Of every image, below the root, with "/" between folders: perhaps a folder of a published part, one of a class,
        and whatever lies within.
    classes : int
        Folders of classes: a pattern that finds about one group in each finds what a class is called.
    parts : sequence of str, optional
        Published part of each image. A finer pattern is taken where they speak for it: under the coarse one patients
        are in several parts, under the finer one nobody is.

    Returns
    -------
    Patients
        Without a pattern where no candidate is plausible by the constants above. A pattern that misses some of the
        paths is taken only where none finds a patient in every one.
    """
    found = _guess(paths, classes, parts)
    if found.pattern is not None:
        return found
    for named in _named(paths):
        some = [parts[place] for place in named] if parts else []
        found = _guess([paths[place] for place in named], classes, some)
        if found.pattern is not None:
            return found
    return Patients(None, "", len(paths))


def _named(paths: Sequence[str]) -> Iterator[list[int]]:
    """Yield the places of most, but not all, of the paths, those that have what may name a patient, the most first."""
    depth = Counter(path.count("/") for path in paths).most_common(1)[0][0] if paths else 0
    signs: list[Callable[[str], object]] = [
        _PERSON.search,
        *(re.compile(rf"(?:^|/)(?:{of})[^/]*$").search for of in _IDENTIFIERS.values()),
        lambda path: path.count("/") >= depth,
        lambda path: re.search(r"\d", _stem(path)),
        lambda path: re.match(r"[^/\d]*\d+(?![A-Za-z0-9])", _stem(path)),
    ]
    several = [[place for place, path in enumerate(paths) if sign(path)] for sign in signs]
    fitting = [places for places in several if LEAST_NAMED * len(paths) <= len(places) < len(paths)]
    yield from sorted(fitting, key=len, reverse=True)


def _guess(paths: Sequence[str], classes: int, parts: Sequence[str]) -> Patients:
    """Return what `guess` does of paths that must all name a patient."""
    copied = _copied(paths)
    for candidate in _candidates(paths):
        found = patients_of(candidate.pattern, paths)
        # That a file has a copy tells nothing of whom it shows.
        if found is None or not _plausible([p for p, c in zip(found, copied, strict=True) if not c], classes):
            continue
        where, pattern = candidate.where, candidate.pattern
        if parts and candidate.finer and _shared(found, parts) >= LEAST_GROUPS:
            finer = patients_of(candidate.finer, paths)
            if finer is not None and _plausible(finer, classes) and _shared(finer, parts) == 0:
                where, pattern, found = f"{where} and the word after it", candidate.finer, finer
        return Patients(pattern, where, len(set(found)), _examples(paths, found), len(_alike(set(found))))
    return Patients(None, "", len(paths))


def patients_of(pattern: str, paths: Sequence[str]) -> list[str] | None:
    """Return the patient that `pattern` finds in each path, None if it finds none in one of them."""
    compiled = re.compile(pattern)
    found = [match["patient"] if (match := compiled.search(path)) else "" for path in paths]
    return found if all(found) else None


def copies(paths: Sequence[str]) -> int:
    """Count the files that are called copies of another: ``a (2).png`` beside ``a.png``."""
    return sum(_copied(paths))


def _copied(paths: Sequence[str]) -> list[bool]:
    stems = {_stem(path) for path in paths}
    return [_COPY.sub("", stem) != stem and _COPY.sub("", stem) in stems for stem in map(_stem, paths)]


def _candidates(paths: Sequence[str]) -> Iterator[_Candidate]:
    """Yield what may be the patient, in the order of trust: words for people, folders from the outermost, names."""
    above = 2 if all(path.split("/")[0].lower() in _PARTS for path in paths) else 1
    start = "^" + "[^/]+/" * above if all(path.count("/") >= above for path in paths) else "^"
    yield from _worded(paths, start, _PERSON)
    yield from _folders(paths, above)
    yield from _worded(paths, start, _LETTER)
    for where, identifier in _IDENTIFIERS.items():
        yield _Candidate(where, rf"(?:^|/)(?P<patient>{identifier})[^/]*$")
    for words in (True, False):
        name = _name(paths, words)
        if name is not None:
            yield name


def _worded(paths: Sequence[str], start: str, word: re.Pattern[str]) -> Iterator[_Candidate]:
    """Yield the number after a word for a person, wherever below the class it stands, if every path has one."""
    skipped = re.compile(start)
    said = [word.search(path, match.end()) for path in paths if (match := skipped.match(path))]
    if all(said):
        words = "|".join(sorted({match["word"].lower() for match in said if match}, key=len, reverse=True))
        number = rf"{start}.*?(?<![A-Za-z])(?i:{words})(?i:[-_ ]?id)?[-_ #.]*0*(?P<patient>\d+"
        yield _Candidate(f"the number after {words.replace('|', ' or ')}", f"{number})", f"{number}{_WORD})")


def _folders(paths: Sequence[str], above: int) -> Iterator[_Candidate]:
    """Yield the folders below the class, but those of dates, of what is no person, and those that gather by prefix."""
    folders = [path.split("/")[:-1] for path in paths]
    for level in range(above, min(map(len, folders))):
        names = {of[level] for of in folders}
        within = [(of[level], of[level + 1]) for of in folders if len(of) > level + 1]
        if within and all(inner.startswith(outer) and inner != outer for outer, inner in within):
            continue  # p10/p10000032: shelves
        numbers = [_NUMBER.search(name) for name in names]
        if all(n and n["date"] is None and not _NO_PERSON.search(n.string[: n.start()]) for n in numbers):
            yield _Candidate(
                "the folder below the class" if level == above else "a folder below the class",
                "^" + "[^/]+/" * level + r"(?P<patient>[^/]+)/",
            )


def _name(paths: Sequence[str], words: bool) -> _Candidate | None:
    """Return the name up to the first number that may be a person's.

    Dates are passed over, and numbers after words for images (with `words`). So is a number that its word always has,
    in so many names that they cannot be one person (``NORMAL2-IM-0012-0001``).
    """
    ways: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        stem = _COPY.sub("", _stem(path))
        ways[_passed(stem, words)].append(stem)
    begun = [re.match(rf"{skipped}([^/\d]*\d+)", stem) for skipped, of in ways.items() for stem in of]
    if not all(match and _AFTER.match(match.string, match.end()) for match in begun):
        return None
    counts = Counter(match[1] for match in begun if match)
    largest = max(MOST_SHARE * len(paths), MOST_TIMES * len(paths) / len(counts))
    if len(counts) < LEAST_GROUPS:
        largest = MOST_SHARE * len(paths)
    fixed = sorted((name for name, count in counts.items() if count > largest), key=len, reverse=True)
    numbers = Counter(name.rstrip("0123456789") for name in counts)
    for word in fixed:
        rest = [match.string[match.end() :] for match in begun if match and match[1] == word]
        if numbers[word.rstrip("0123456789")] > 1 or not all(re.match(r"[^/\d]+\d", of) for of in rest):
            return None
    skips = "|".join(sorted(ways, key=len, reverse=True))
    skip = f"(?:{skips})" if skips else ""
    patient = "|".join([*(rf"{re.escape(word)}[^/\d]+\d+" for word in fixed), r"[^/\d]*\d+"])
    finer = "|".join([*(rf"{re.escape(word)}[^/\d]+\d+" for word in fixed), rf"[^/\d]*\d+{_WORD}"])
    where = "the name up to its first number" if not (fixed or skip) else "the name up to a number"
    return _Candidate(where, rf"(?:^|/){skip}(?P<patient>{patient})[^/]*$", rf"(?:^|/){skip}(?P<patient>{finer})[^/]*$")


def _passed(stem: str, words: bool) -> str:
    """Return a pattern of the beginning of a name, up to the last number that is no person's, if one follows it."""
    pattern, end = "", 0
    numbers = list(_NUMBER.finditer(stem))
    for number in numbers[:-1]:
        word = _NO_PERSON.search(stem[end : number.start()]) if words else None
        if number["date"]:
            pattern += rf"[^/\d]*{_DATE}[-_. ]*"
        elif word:  # it comes from the list: no name of a person gets into a pattern
            pattern += rf"[^/\d]*{re.escape(word['word'])}[-_ #.]*\d+[-_. ]*"
        else:
            break
        end = number.end()
    return pattern


def _stem(path: str) -> str:
    """Return the name of a file without its suffix; the last number of a UID is none."""
    return re.sub(r"\.[A-Za-z][A-Za-z0-9]*$", "", path.rpartition("/")[2])


def _plausible(patients: Sequence[str], classes: int) -> bool:
    counts = Counter(patients)
    mean = len(patients) / len(counts)
    return (
        len(counts) >= max(LEAST_GROUPS, 2 * classes + 1)
        and mean >= LEAST_IMAGES
        and max(counts.values()) <= max(MOST_SHARE * len(patients), MOST_TIMES * mean)
    )


def _shared(patients: Sequence[str], parts: Sequence[str]) -> int:
    """Count patients who are in more than one published part."""
    found: dict[str, set[str]] = defaultdict(set)
    for patient, part in zip(patients, parts, strict=True):
        found[patient].add(part)
    return sum(len(of) > 1 for of in found.values())


def _alike(names: set[str]) -> list[tuple[str, ...]]:
    """Return groups of names that differ by case, zeros before a number or separators only, sorted."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        found[re.sub(r"[-_. ]+", " ", re.sub(r"(?<!\d)0+(?=\d)", "", name)).strip().casefold()].append(name)
    return [tuple(of) for of in found.values() if len(of) > 1]


def _examples(paths: Sequence[str], patients: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the first image of the first, the middle and the last patient; before them, two who may be one person."""
    first = dict(zip(reversed(patients), reversed(paths)))
    names = sorted(first)
    shown = list(next(iter(_alike(set(names))), ()))[:2]
    shown += [names[place] for place in (0, len(names) // 2, len(names) - 1)]
    return tuple((first[name], name) for name in dict.fromkeys(shown))[:EXAMPLES]
