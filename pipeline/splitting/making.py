"""The parts of all images, as stage ``split`` writes them."""

from __future__ import annotations

import sys

import pandas as pd

from pipeline.splitting.audit import audit, check, label_counts
from pipeline.splitting.earlier import moved
from pipeline.splitting.protocols import PROTOCOLS, entries_of
from pipeline.splitting.settings import Split
from pipeline.study.files import AUDIT, SPLIT, write_csv, write_json
from pipeline.study.prepared import partial, read_dataset, read_published, read_samples


def make_split(settings: Split) -> None:
    """Split the prepared images as `settings` say, and write split.csv and audit.json; say what that changes.

    Raises
    ------
    SplitError
        If it leaks, or cannot be evaluated; nothing is written then.
    """
    info, samples = read_dataset(), read_samples()
    classes = list(info.classes)
    table = PROTOCOLS[settings.protocol](samples, classes, settings)
    write_split(samples, table, classes, settings)
    if (said := moved(info.name, samples, table, settings)) is not None:
        print(f"note: {said}", file=sys.stderr)


def write_split(samples: pd.DataFrame, table: pd.DataFrame, classes: list[str], settings: Split) -> None:
    """Check a split, and write it with its audit.

    Parameters
    ----------
    samples : DataFrame
        As from `pipeline.study.prepared.read_samples`.
    table : DataFrame
        Content of split.csv.
    classes : list of str
        Class names.
    settings : Split
        By which it was made.

    Raises
    ------
    SplitError
        See `pipeline.splitting.audit.check`.
    """
    entries = entries_of(samples, table)
    check(entries, table["part"], classes, settings, negatives=read_dataset().task != "segmentation")
    report = audit(entries, table["part"], classes, settings, table)
    if partial(samples, classes):
        report["labels"] = label_counts(entries_of(read_published(), table), table["part"], classes)

    write_csv(SPLIT, table)
    write_json(AUDIT, report)
    sizes = ", ".join(f"{part} {counts['images']}" for part, counts in report["parts"].items())
    leaked, tested = (report["leak"]["test"][key] for key in ("leaked_images", "images"))
    overlap = "no overlap" if settings.protocol == "split_first" else f"LEAK: {leaked} of {tested} test images"
    print(f"{settings.method} split of {len(samples)} images: {sizes}; {overlap}", file=sys.stderr)
