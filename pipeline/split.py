"""Stage ``split``: the part of every image, and the proof that no patient and no picture is in two of them."""

from __future__ import annotations

import sys

import pandas as pd

from pipeline import artifacts, params
from pipeline.errors import stage_errors
from pipeline.splitting import METHODS
from pipeline.splitting.audit import audit, check


def main() -> None:
    """Run the stage."""
    with stage_errors():
        settings = params.load().split
        samples = artifacts.read_samples()
        classes = list(artifacts.read_dataset().classes)

        parts = METHODS[settings.method](samples, classes, settings)
        check(samples, parts, classes, settings)
        report = audit(samples, parts, classes, settings)

        table = pd.DataFrame({"row": samples["row"], "part": parts, "copies": 1})
        artifacts.write_csv(artifacts.SPLIT, table)
        artifacts.write_json(artifacts.AUDIT, report)
        sizes = ", ".join(f"{part} {counts['images']}" for part, counts in report["parts"].items())
        print(f"{settings.method} split of {len(samples)} images: {sizes}; no overlap", file=sys.stderr)


if __name__ == "__main__":
    main()
