"""What the page about the data says of regions of interest: counts that a reader can add up."""

from types import SimpleNamespace

import pandas as pd
import pytest

from pipeline.imaging.settings import Roi
from pipeline.reporting.views.region import region


def study(statuses, roi, copies=0):
    n = len(statuses)
    samples = pd.DataFrame(
        {
            "row": range(n),
            "part": (["train"] * 4 + ["test"] * n)[:n],
            "augmented": 0,
            "width": 100,
            "height": 50,
            "roi": statuses,
            "roi_width": [50 if status == "found" else 100 for status in statuses],
            "roi_height": [20 if status == "found" else 50 for status in statuses],
        }
    )
    samples = pd.concat([samples, samples[:copies].assign(augmented=1)])
    return SimpleNamespace(params=SimpleNamespace(preprocess=SimpleNamespace(roi=roi)), samples=samples)


def test_every_image_is_counted_once_by_what_became_of_its_region():
    unusable = ["mask not usable: of another size", "mask not usable: mask of other values than two"]
    shown = region(study(["found"] * 5 + ["no mask", *unusable, "too small"], Roi(masks="own"), copies=3))
    assert (shown.found.number, shown.whole.number, shown.found.of) == (5, 4, 9)
    assert shown.share == pytest.approx(0.2)
    assert shown.parts == ["training", "test"]
    assert {outcome.name: [(n.number, n.of) for n in outcome.images] for outcome in shown.outcomes} == {
        "found": [(5, 9), (4, 4), (1, 5)],
        "kept whole: no mask": [(1, 9), (0, 4), (1, 5)],
        "kept whole: the mask is too small": [(1, 9), (0, 4), (1, 5)],
        "kept whole: the mask cannot be used": [(2, 9), (0, 4), (2, 5)],
    }
    assert shown.own


def test_without_a_region_nothing_is_said():
    assert region(study(["found"] * 5, None)) is None
    assert not region(study(["found"] * 5, Roi(masks="trained/lungs"))).own
