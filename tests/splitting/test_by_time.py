"""The split by time, against the definition on small cohorts drawn at random."""

import numpy as np
import pandas as pd
import pytest

from pipeline.splitting.audit import audit, check
from pipeline.splitting.by_time import by_time, dates
from pipeline.splitting.errors import SplitError
from pipeline.splitting.settings import Split

HOW = Split(method="time", validation=0.2, test=0.3, allow_missing_classes=True)


def cohort(groups, days):
    count = len(groups)
    return pd.DataFrame(
        {
            "row": range(count),
            "sample_id": [f"s{i}" for i in range(count)],
            "patient_id": groups,
            "group_id": groups,
            "duplicate_of": "",
            "official_split": "",
            "a": np.arange(count) % 2,
            "b": np.arange(count) % 3 == 0,
            "study_date": [None if d is None else f"2020-01-{d:02d}" for d in days],
        }
    )


def test_small_cohort_by_hand():
    #        p and q overlap in time; r has no date; t shares its day with u
    samples = cohort(list("ppqqrstuvw"), [1, 9, 2, 3, None, 4, 5, 5, 6, None])
    parts = by_time(samples, ["a", "b"], HOW)
    # Latest dates: q 3 (2 images), s 4, t and u 5, v 6, p 9 (2). Of 8 images, 6 lie before the 9th (asked: 5.6), and
    # 3 before the 5th (asked: 4, as near as the 5 before the 6th).
    assert parts.tolist() == ["test", "test", "train", "train", "unused", "train", "val", "val", "val", "unused"]
    counted = dates(samples, parts)
    assert counted["parts"]["train"] == {"first": "2020-01-02", "last": "2020-01-04", "without_date": 0}
    assert counted["parts"]["unused"] == {"first": None, "last": None, "without_date": 2}
    assert counted["test_images_before_last_training"] == 1  # the first image of p
    check(samples, parts, ["a", "b"], HOW)
    report = audit(samples, parts, ["a", "b"], HOW)
    assert report["dates"] == counted
    assert [u["reason"] for u in report["unused"]] == ["without a study date"] * 2


@pytest.mark.parametrize("seed", range(20))
def test_what_it_promises(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, 120).astype(str).tolist()
    samples = cohort(groups, [None if rng.random() < 0.1 else int(d) for d in rng.integers(1, 29, 120)])
    parts = by_time(samples, ["a", "b"], HOW)
    assert (parts.groupby(samples["group_id"]).nunique() == 1).all()
    latest = samples.groupby("group_id")["study_date"].transform("max")
    ends = {part: (latest[parts == part].min(), latest[parts == part].max()) for part in ("train", "val", "test")}
    assert ends["train"][1] < ends["val"][0] <= ends["val"][1] < ends["test"][0]
    assert ((parts == "unused") == latest.isna()).all()
    # No other change of date is nearer to the share of the test part.
    dated = latest.dropna()
    sizes = [(dated > day).sum() for day in sorted(dated.unique())[1:-1]]
    share = 0.3 * len(dated)
    assert abs((parts == "test").sum() - share) == min(abs(size - share) for size in sizes)


@pytest.mark.parametrize("days", [[None] * 6, [1] * 6, [1, 1, 1, 2, 2, 2]])
def test_too_few_dates(days):
    with pytest.raises(SplitError, match=r"needs images of three dates at least.*date_column"):
        by_time(cohort(list("abcdef"), days), ["a", "b"], HOW)


def test_without_the_column():
    samples = cohort(list("abc"), [1, 2, 3])
    assert sorted(by_time(samples, ["a", "b"], HOW)) == ["test", "train", "val"]
    with pytest.raises(SplitError, match="has 0"):
        by_time(samples.drop(columns="study_date"), ["a", "b"], HOW)
    assert dates(samples.drop(columns="study_date"), by_time(samples, [], HOW)) is None
