"""What a split is, counted from the table alone, and whether it may be used."""

from __future__ import annotations

import hashlib
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pipeline.splitting.by_time import dates
from pipeline.splitting.errors import SplitError
from pipeline.splitting.settings import LEAKS, Split
from pipeline.study.parts import PARTS
from pipeline.study.unknown import IN_TABLE, differ, without_any

USED = PARTS[:3]
_NAMED = 5
"""How many offending names a message lists."""


def audit(
    samples: pd.DataFrame,
    parts: pd.Series,
    classes: list[str],
    settings: Split,
    table: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Describe a split. Overlaps are counted here from the ids, whatever the method believes.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`, or one line per entry, as from
        `pipeline.splitting.protocols.entries_of`.
    parts : Series of str
        Part of each line, indexed as `samples`.
    classes : list of str
        Class names.
    settings : Split
        Recorded with the numbers.
    table : DataFrame, optional
        `copies` and `augmented` of each line, indexed as `samples`; without it 1 and 0.

    Returns
    -------
    dict
        JSON-compatible. ``method``, ``protocol``, ``seed``, ``validation``, ``test``, and ``per_class`` (None for other
        methods): settings; ``sha256`` of the sorted lines "sample_id<TAB>part" (and "<TAB>number" for augmented
        copies); ``parts`` (part: images, patients, groups; an augmented copy counts as an image); ``classes`` (class:
        part: positives, prevalence, and ``known`` labels where some are not); ``no_finding`` (part: positives,
        prevalence; images known to be without a class; None where there are none);
        ``largest_prevalence_difference`` (class, parts, difference; None where two parts are empty);
        ``patients_in_two_parts``, ``groups_in_two_parts``, ``duplicates_in_two_parts`` (0 in a split that `check`
        passes, but under protocol augment_before_split); ``leak`` (see `leak`); ``balance`` (see `draws`);
        ``dates`` (see `pipeline.splitting.by_time.dates`; only where the data set has dates);
        ``duplicates`` (images identical to an earlier one) and ``duplicates_with_other_labels``; ``unused`` (row,
        sample_id, reason).
    """
    if table is None:
        table = pd.DataFrame({"copies": 1, "augmented": 0}, index=samples.index)
    none = without_any(samples[classes])
    by_class = {name: _by_part(samples[name], parts) for name in classes}
    images = samples.drop_duplicates("sample_id")
    return {
        "method": settings.method,
        "protocol": settings.protocol,
        "seed": settings.seed,
        "validation": settings.validation,
        "test": settings.test,
        "per_class": settings.per_class.model_dump() if settings.method == "per_class" else None,
        "sha256": _digest(samples, parts, table["augmented"]),
        "parts": {
            part: {
                "images": len(rows),
                "patients": int(rows["patient_id"].nunique()),
                "groups": int(rows["group_id"].nunique()),
            }
            for part, rows in ((p, samples[parts == p]) for p in PARTS)
        },
        "classes": by_class,
        "no_finding": _by_part(none, parts) if (none == 1).any() else None,
        "largest_prevalence_difference": _largest_difference(by_class),
        **{name: len(shared) for name, shared in overlaps(samples, parts).items()},
        "leak": leak(samples, parts, table["augmented"]),
        "balance": draws(samples, parts, table["copies"], classes, settings),
        **({"dates": of_dates} if (of_dates := dates(samples, parts)) is not None else {}),
        "duplicates": int((images["duplicate_of"] != "").sum()),
        "duplicates_with_other_labels": _relabelled(images, classes),
        "unused": _unused(samples, parts, settings.method),
    }


def label_counts(published: pd.DataFrame, parts: pd.Series, classes: list[str]) -> dict[str, dict[str, dict[str, int]]]:
    """Count the labels of each class and part that are known, uncertain and unknown.

    Parameters
    ----------
    published : DataFrame
        As from `pipeline.study.prepared.read_published`, one line per entry.
    parts : Series of str
        Part of each line, indexed as `published`.
    classes : list of str
        Class names.

    Returns
    -------
    dict
        class: part: ``positive``, ``negative``, ``uncertain``, ``unknown``; of train, val and test.
    """
    kinds: dict[str, float] = {"positive": 1, "negative": 0, "uncertain": IN_TABLE}
    counted: dict[str, dict[str, dict[str, int]]] = {}
    for name in classes:
        by_part = {part: published.loc[parts == part, name] for part in USED}
        counted[name] = {
            part: {kind: int((labels == value).sum()) for kind, value in kinds.items()}
            | {"unknown": int(labels.isna().sum())}
            for part, labels in by_part.items()
        }
    return counted


def leak(samples: pd.DataFrame, parts: pd.Series, augmented: pd.Series) -> dict[str, dict[str, int]]:
    """Count what validation and test share with training.

    Returns
    -------
    dict
        ``train``, ``val``, ``test``: ``images`` (entries), ``augmented_images`` (those that are augmented copies); in
        ``val`` and ``test`` also ``leaked_images`` (entries whose source image, or a copy of it, is in the training
        part), ``patients`` and ``leaked_patients`` (those with an entry in the training part), and
        ``images_of_leaked_patients`` (entries). The leaks are 0 in a split that keeps groups whole.
    """
    training = samples[parts == "train"]
    counted = {}
    for part in USED:
        here = samples[parts == part]
        counted[part] = {"images": len(here), "augmented_images": int((augmented[parts == part] > 0).sum())}
        if part != "train":
            shared = here["patient_id"].isin(training["patient_id"])
            counted[part] |= {
                "leaked_images": int(here["row"].isin(training["row"]).sum()),
                "patients": int(here["patient_id"].nunique()),
                "leaked_patients": int(here.loc[shared, "patient_id"].nunique()),
                "images_of_leaked_patients": int(shared.sum()),
            }
    return counted


def draws(
    samples: pd.DataFrame, parts: pd.Series, draws_per_epoch: pd.Series, classes: list[str], settings: Split
) -> dict[str, Any]:
    """Count what an epoch draws from the training part, before and after balancing.

    Returns
    -------
    dict
        ``method`` and ``to`` (settings); ``images``, each of ``classes``, and ``no_finding`` (None where every training
        image has a class): ``before`` and ``after``, draws per epoch; ``never_drawn`` (images); ``most_draws`` (of one
        image).
    """
    training = samples[parts == "train"]
    draws_per_epoch = draws_per_epoch[parts == "train"]
    none = (training[classes] == 0).all(axis=1)

    def count(which: pd.Series) -> dict[str, int]:
        return {"before": int(which.sum()), "after": int(draws_per_epoch[which].sum())}

    return {
        "method": settings.balance.method,
        "to": settings.balance.to,
        "images": count(pd.Series(True, index=training.index)),
        "classes": {name: count(training[name] == 1) for name in classes},
        "no_finding": count(none) if none.any() else None,
        "never_drawn": int((draws_per_epoch == 0).sum()),
        "most_draws": int(draws_per_epoch.max()) if len(draws_per_epoch) else 0,
    }


def overlaps(samples: pd.DataFrame, parts: pd.Series) -> dict[str, list[str]]:
    """Name what is in two of train, val and test.

    Returns
    -------
    dict
        ``patients_in_two_parts`` (patient ids), ``groups_in_two_parts`` (group ids) and ``duplicates_in_two_parts``
        (sample id of the first of the identical images).
    """
    pictures = samples["duplicate_of"].where(samples["duplicate_of"] != "", samples["sample_id"])
    keys = {"patients": samples["patient_id"], "groups": samples["group_id"], "duplicates": pictures}
    used = parts.isin(USED)
    shared = {}
    for what, key in keys.items():
        pairs = pd.DataFrame({"key": key[used], "part": parts[used]}).drop_duplicates()
        shared[f"{what}_in_two_parts"] = sorted(pairs.loc[pairs["key"].duplicated(), "key"].unique().tolist())
    return shared


def check(samples: pd.DataFrame, parts: pd.Series, classes: list[str], settings: Split, negatives: bool = True) -> None:
    """Refuse a split that leaks or that cannot be evaluated. Arguments as for `audit`.

    Of segmentation no `negatives` are asked for: every image may have a structure.

    The one leak that passes is the one asked for by name, `settings.protocol` augment_before_split: its size is in the
    audit.

    Raises
    ------
    SplitError
        If a row has no part; a patient, a group or an image is in two of train, val and test; one of them is empty; or
        a class has no positive or no negative image in one of them (unless `settings.allow_missing_classes`).
    """
    wrong = sorted(set(parts.tolist()) - set(PARTS), key=str)
    if wrong:
        raise SplitError(f"part '{wrong[0]}' is not one of {', '.join(PARTS)}")
    for what, shared in overlaps(samples, parts).items():
        if shared and settings.protocol != LEAKS:
            more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
            raise SplitError(
                f"{what.replace('_', ' ')}: {', '.join(shared[:_NAMED])}{more}; this is a leak, no split was written; "
                f"split.method '{settings.method}' must keep groups whole"
            )
    sizes = {part: int((parts == part).sum()) for part in USED}
    for part, size in sizes.items():
        if size == 0:
            raise SplitError(
                f"part '{part}' is empty ({_listed(sizes)}); raise split.validation or split.test, or use more data"
            )
    if not settings.allow_missing_classes:
        _check_classes({name: _by_part(samples[name], parts) for name in classes}, sizes, negatives)


def _check_classes(by_class: dict[str, dict[str, dict[str, Any]]], sizes: dict[str, int], negatives: bool) -> None:
    problems = []
    for name, counted in by_class.items():
        positives = {part: counted[part]["positives"] for part in USED}
        for part in USED:
            known = counted[part].get("known", sizes[part])
            if positives[part] in (0, known if negatives else 0):
                kind = "positive" if positives[part] == 0 else "negative"
                of = f"the {sizes[part]}" if known == sizes[part] else f"the {known} with a known label"
                problems.append(
                    f"class '{name}' has no {kind} image among {of} of part '{part}' (positives: {_listed(positives)})"
                )
    if problems:
        raise SplitError(
            "\n".join(problems) + "\nsuch a class cannot be scored there; choose another split.seed, larger "
            "split.validation or split.test, or accept it with split.allow_missing_classes: true"
        )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{part} {count}" for part, count in counts.items())


def _by_part(column: pd.Series, parts: pd.Series) -> dict[str, dict[str, Any]]:
    """Positives and prevalence in train, val and test; the prevalence of an empty part is None."""
    labels = column.to_numpy()
    positive, known, counted = labels == 1, (labels == 0) | (labels == 1), {}
    for part in USED:
        mask = (parts == part).to_numpy() & known
        counted[part] = {
            "positives": int(positive[mask].sum()),
            "prevalence": round(float(positive[mask].mean()), 6) if mask.any() else None,
        }
        if not known.all():
            counted[part]["known"] = int(mask.sum())
    return counted


def _largest_difference(by_class: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any] | None:
    differences = [
        (abs(counted[a]["prevalence"] - counted[b]["prevalence"]), name, [a, b])
        for name, counted in by_class.items()
        for a, b in combinations(USED, 2)
        if counted[a]["prevalence"] is not None and counted[b]["prevalence"] is not None
    ]
    if not differences:
        return None
    difference, name, between = max(differences, key=lambda d: d[0])
    return {"class": name, "parts": between, "difference": round(difference, 6)}


def _relabelled(samples: pd.DataFrame, classes: list[str]) -> int:
    """Images with the same pixels as an earlier one and other labels: at least one of the two is wrong."""
    labels = samples[classes].to_numpy()
    position = pd.Series(range(len(samples)), index=samples["sample_id"])
    copies = np.flatnonzero((samples["duplicate_of"] != "").to_numpy())
    originals = position[samples["duplicate_of"].iloc[copies]].to_numpy()
    return int(differ(labels[copies], labels[originals]).any(axis=1).sum()) if len(copies) else 0


def _unused(samples: pd.DataFrame, parts: pd.Series, method: str) -> list[dict[str, Any]]:
    unused = parts == "unused"
    groups = {part: set(samples.loc[parts == part, "group_id"]) for part in USED}
    rows = []
    columns = (samples.loc[unused, column].tolist() for column in ("row", "sample_id", "group_id", "official_split"))
    for row, sample_id, group_id, official_split in zip(*columns, strict=True):
        holders = [part for part in ("test", "val") if group_id in groups[part]]
        if method == "time":
            reason = "without a study date"
        elif method == "per_class":
            reason = "beyond the images of each class that split.per_class asks for"
        elif official_split == "":
            reason = "in no published part"
        elif holders:
            reason = f"published in {official_split}, but its group {group_id} is in {holders[0]}"
        else:
            reason = f"left out of published part {official_split}"
        rows.append({"row": int(row), "sample_id": sample_id, "reason": reason})
    return rows


def _digest(samples: pd.DataFrame, parts: pd.Series, augmented: pd.Series) -> str:
    entries = zip(samples["sample_id"].tolist(), parts.tolist(), augmented.tolist(), strict=True)
    lines = sorted(f"{sample}\t{part}" + (f"\t{number}\n" if number else "\n") for sample, part, number in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
