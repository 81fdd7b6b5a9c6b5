"""The words of every page of a small study, as they were last read: what changes them shows in a diff.

``MEDMATRIX_SNAPSHOTS=write python -m pytest tests/reporting/test_snapshots.py`` writes them anew.
"""

import contextlib
import os
from pathlib import Path

import pytest

from pipeline.study.prepared import read_dataset

SNAPSHOTS = Path(__file__).parent / "snapshots"
PAGES = (
    "README.md",
    "checklist.md",
    "claims.md",
    "clinical.md",
    "clinical-ensemble.md",
    "data.md",
    "ensembles.md",
    "errors.md",
    "losses.md",
    "methods.md",
    "model_cards/densenet-bce.md",
    "model_cards/small_cnn-bce.md",  # the chosen one
    "models.md",
    "seeds/README.md",
    "seeds/small_cnn-zlpr.md",
    "stability.md",
    "timing.md",
)


@pytest.fixture(scope="module")
def written(root, pages):
    """The task of a whole study, and its reports."""
    with contextlib.chdir(root[0]):
        return read_dataset().task, pages


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_it_said(page, written):
    task, folder = written
    text, kept = (folder / page).read_text(), SNAPSHOTS / task / page
    if os.environ.get("MEDMATRIX_SNAPSHOTS") == "write":
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(text)
    assert text == kept.read_text()


def test_every_kind_of_page_is_kept(written):
    kinds = {
        str(path.relative_to(written[1]).parent / "_" if path.parent != written[1] else path.name)
        for path in written[1].rglob("*.md")
    }
    assert kinds == {str(Path(page).parent / "_" if "/" in page else page) for page in PAGES}
