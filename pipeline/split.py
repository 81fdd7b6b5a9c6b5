"""Stage ``split``: the part of every image, and the proof that no patient and no picture is in two of them.

Under ``split.protocol: augment_before_split``, for study only, the proof becomes the count of what is.
"""

from __future__ import annotations

import sys

from pipeline.splitting.audit import audit, check, label_counts
from pipeline.splitting.protocols import PROTOCOLS, entries_of
from pipeline.splitting.settings import SplitSections
from pipeline.study.errors import stage_errors
from pipeline.study.files import AUDIT, SPLIT, write_csv, write_json
from pipeline.study.params import load
from pipeline.study.prepared import partial, read_dataset, read_published, read_samples


def main() -> None:
    """Run the stage."""
    with stage_errors():
        settings = load(SplitSections).split
        samples = read_samples()
        classes = list(read_dataset().classes)

        table = PROTOCOLS[settings.protocol](samples, classes, settings)
        entries = entries_of(samples, table)
        check(entries, table["part"], classes, settings)
        report = audit(entries, table["part"], classes, settings, table)
        if partial(samples, classes):
            report["labels"] = label_counts(entries_of(read_published(), table), table["part"], classes)

        write_csv(SPLIT, table)
        write_json(AUDIT, report)
        sizes = ", ".join(f"{part} {counts['images']}" for part, counts in report["parts"].items())
        leaked, tested = (report["leak"]["test"][key] for key in ("leaked_images", "images"))
        overlap = "no overlap" if settings.protocol == "split_first" else f"LEAK: {leaked} of {tested} test images"
        print(f"{settings.method} split of {len(samples)} images: {sizes}; {overlap}", file=sys.stderr)


if __name__ == "__main__":
    main()
