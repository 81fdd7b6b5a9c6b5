"""Stage ``split``: the part of every image, and the proof that no patient and no picture is in two of them.

Under ``split.protocol: augment_before_split``, for study only, the proof becomes the count of what is.
"""

from __future__ import annotations

from pipeline.splitting.making import make_split
from pipeline.splitting.settings import SplitSections
from pipeline.study.errors import stage_errors
from pipeline.study.params import load


def main() -> None:
    """Run the stage."""
    with stage_errors():
        make_split(load(SplitSections).split)


if __name__ == "__main__":
    main()
