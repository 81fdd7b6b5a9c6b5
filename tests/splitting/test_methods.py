"""What methods per_class and global promise beyond what every method does."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.splitting.audit import audit, check
from pipeline.splitting.errors import SplitError
from pipeline.splitting.protocols import METHODS
from pipeline.splitting.settings import Split

CLASSES = ["benign", "early", "pre", "pro"]


def single_label(counts, sizes=(1,), seed=0):
    """Groups (patients) of one class each with sizes drawn from `sizes`, the numbers of images as in `counts`."""
    rng = np.random.default_rng(seed)
    label, patient = [], []
    for which, count in enumerate(counts):
        done = 0
        while done < count:
            size = min(int(rng.choice(sizes)), count - done)
            patient += [f"p{which}-{done:05d}"] * size
            label += [which] * size
            done += size
    order = rng.permutation(len(label))
    frame = pd.DataFrame(
        {
            "row": np.arange(len(label)),
            "sample_id": [f"s{i:05d}" for i in range(len(label))],
            "patient_id": np.array(patient)[order],
            "group_id": np.array(patient)[order],
            "duplicate_of": "",
            "official_split": "",
        }
    )
    return pd.concat([frame, pd.DataFrame(np.eye(len(CLASSES), dtype=np.uint8)[label][order], columns=CLASSES)], axis=1)


def how(method, numbers=None, seed=0, **more):
    more |= {"per_class": dict(zip(("train", "validation", "test"), numbers))} if numbers else {}
    return Split.model_validate({"method": method, "seed": seed, "validation": 0.15, "test": 0.15} | more)


def test_single_images_are_dealt_in_exactly_the_numbers_asked():
    samples = single_label([1040, 1000, 2000, 1100])
    chosen = how("per_class", (700, 150, 150))
    parts = METHODS["per_class"](samples, CLASSES, chosen)
    check(samples, parts, CLASSES, chosen)
    report = audit(samples, parts, CLASSES, chosen)
    for counted in report["classes"].values():
        assert [counted[p]["positives"] for p in ("train", "val", "test")] == [700, 150, 150]
    assert report["per_class"] == {"train": 700, "validation": 150, "test": 150}
    assert len(report["unused"]) == 1140
    assert {u["reason"] for u in report["unused"]} == {"beyond the images of each class that split.per_class asks for"}


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    surplus=st.integers(0, 200),
    numbers=st.tuples(st.integers(10, 60), st.integers(10, 30), st.integers(10, 30)),
)
def test_whole_groups_never_exceed_the_number_and_miss_it_by_less_than_a_group(seed, sizes, surplus, numbers):
    samples = single_label([sum(numbers) + surplus] * 4, sizes, seed)
    parts = METHODS["per_class"](samples, CLASSES, how("per_class", numbers, seed))
    for name in CLASSES:
        of_class = samples[samples[name] == 1]
        largest = of_class["group_id"].value_counts().max()
        for part, number in zip(("train", "val", "test"), numbers):
            dealt = (parts[of_class.index] == part).sum()
            assert number - largest < dealt <= number
    assert (samples.assign(part=parts).groupby("group_id")["part"].nunique() == 1).all()


def test_small_groups_and_large_ones_are_as_often_left_out():
    """A surplus is not spent on the patients with many images alone; what fills the last places are small groups."""
    samples = single_label([4000] * 4, (1, 8))
    sizes = samples["group_id"].map(samples["group_id"].value_counts())
    dealt = [METHODS["per_class"](samples, CLASSES, how("per_class", (900, 450, 450), seed)) for seed in range(6)]
    for part in ("train", "val", "test"):
        share = np.mean([(sizes[parts == part] == 8).mean() for parts in dealt])
        assert share == pytest.approx((sizes == 8).mean(), abs=0.025)


def test_too_few_images_name_class_available_and_asked():
    with pytest.raises(SplitError) as error:
        METHODS["per_class"](single_label([504, 985, 1000, 804]), CLASSES, how("per_class", (700, 150, 150)))
    said = str(error.value)
    assert "class 'benign' has 504 images; split.per_class asks for 1000 (train 700, val 150, test 150)" in said
    assert "class 'early' has 985" in said
    assert "class 'pre'" not in said


@pytest.mark.parametrize(("row", "held"), [([1, 1, 0, 0], 2), ([0, 0, 0, 0], 0)])
def test_multi_label_data_are_refused_with_the_reason(row, held):
    samples = single_label([20] * 4)
    samples.loc[7, CLASSES] = row
    with pytest.raises(SplitError, match=rf"multi-label: 1 of 80 .*'s00007' has {held}.* split\.method to grouped"):
        METHODS["per_class"](samples, CLASSES, how("per_class", (5, 5, 5)))


def test_groups_of_several_classes_that_fit_nowhere_are_said_so():
    samples = single_label([80, 80, 80, 80])
    # All images of early come with twice as many of benign: benign is full where early still lacks most.
    early, benign = samples.index[samples["early"] == 1], samples.index[samples["benign"] == 1]
    for i in range(40):
        samples.loc[[early[2 * i], early[2 * i + 1], benign[2 * i], benign[2 * i + 1]], "group_id"] = f"g{i}"
    extra = samples[samples["benign"] == 1].assign(sample_id=lambda t: "x" + t["sample_id"])
    samples = pd.concat([samples, extra], ignore_index=True)
    with pytest.raises(SplitError, match=r"lacks \d+ of the \d+ images of class 'early'.*several classes"):
        METHODS["per_class"](samples, CLASSES, how("per_class", (50, 15, 15)))


@settings(max_examples=60)
@given(seed=st.integers(0, 1000), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), n=st.integers(20, 200))
def test_global_misses_a_share_by_at_most_a_group(seed, sizes, n):
    samples = single_label([n, n, n // 2, n // 4], sizes, seed)
    parts = METHODS["global"](samples, CLASSES, how("global", seed=seed))
    largest = samples["group_id"].value_counts().max()
    for part, share in {"train": 0.7, "val": 0.15, "test": 0.15}.items():
        assert abs((parts == part).sum() - share * len(samples)) <= (1 if largest == 1 else largest)
    assert (samples.assign(part=parts).groupby("group_id")["part"].nunique() == 1).all()


def test_global_leaves_classes_to_chance_where_grouped_stratifies():
    samples = single_label([1000, 600, 300, 100])
    spread = {}
    for method in ("global", "grouped"):
        tests = [METHODS[method](samples, CLASSES, how(method, seed=seed)) == "test" for seed in range(60)]
        assert {int(test.sum()) for test in tests} == {300}
        spread[method] = np.std([samples.loc[test, "benign"].sum() for test in tests])
    # Drawing 300 of 2,000 images of which half are benign: the hypergeometric distribution.
    expected = np.sqrt(300 * 0.25 * (2000 - 300) / (2000 - 1))
    assert spread["global"] == pytest.approx(expected, rel=0.3)
    assert spread["grouped"] == 0
