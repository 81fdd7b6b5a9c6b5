"""How often training images are drawn: every balancing after every method."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.splitting.audit import audit, check
from pipeline.splitting.balancing import BALANCES
from pipeline.splitting.errors import SplitError
from pipeline.splitting.protocols import METHODS, split_first
from pipeline.splitting.settings import Split

CLASSES = ["a", "b", "c"]


def cohort(n, seed, task="multiclass", shares=(0.6, 0.3, 0.1)):
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, n // 2, n))
    if task == "multiclass":
        labels = np.eye(3, dtype=np.uint8)[rng.choice(3, n, p=shares)]
    else:
        labels = (rng.random((n, 3)) < shares).astype(np.uint8)
    ids = [f"p{p:05d}" for p in patient]
    frame = pd.DataFrame(
        {
            "row": np.arange(n),
            "sample_id": [f"s{i:06d}" for i in range(n)],
            "patient_id": ids,
            "group_id": ids,
            "duplicate_of": "",
            "official_split": np.where(patient % 4 == 0, "test", "train"),
        }
    )
    return pd.concat([frame, pd.DataFrame(labels, columns=CLASSES)], axis=1)


def how(method, balance, seed=0, to=None, **more):
    settings = {"method": method, "seed": seed, "validation": 0.2, "test": 0.2, "allow_missing_classes": True}
    return Split.model_validate(
        settings
        | {"per_class": {"train": 12, "validation": 5, "test": 5}, "balance": {"method": balance, "to": to}}
        | more
    )


def wanted(balance, before, to):
    present = before[before > 0]
    each = {"undersample": present.min(), "oversample": present.max(), "augment_to": to}
    return before if balance == "none" else np.where(before > 0, each[balance], 0)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "time"])  # these images have no dates
@pytest.mark.parametrize("balance", BALANCES)
@settings(max_examples=25)
@given(n=st.integers(400, 700), cohort_seed=st.integers(0, 1000), seed=st.integers(0, 50), to=st.integers(1, 400))
def test_classes_get_exactly_their_draws_and_only_in_training(method, balance, n, cohort_seed, seed, to):
    samples = cohort(n, cohort_seed)
    assume(method != "per_class" or samples[CLASSES].sum().min() >= 30)
    chosen = how(method, balance, seed, to if balance == "augment_to" else None)
    try:
        table = split_first(samples, CLASSES, chosen)
    except SplitError:
        assert method == "per_class"  # patients with images of several classes may fit nowhere
        assume(False)
    pd.testing.assert_frame_equal(split_first(samples, CLASSES, chosen), table)
    check(samples, table["part"], CLASSES, chosen)
    assert table["row"].tolist() == samples["row"].tolist()
    pd.testing.assert_series_equal(
        table["part"], METHODS[method](samples, CLASSES, chosen), check_names=False
    )  # who is in which part is not the balancing's to say
    assert (table["augmented"] == 0).all()
    assert (table.loc[table["part"] != "train", "copies"] == 1).all()

    training = table["part"] == "train"
    labels, copies = samples.loc[training, CLASSES].to_numpy(), table.loc[training, "copies"].to_numpy()
    before = labels.sum(axis=0)
    assert (copies @ labels).tolist() == wanted(balance, before, to).tolist()
    for column in labels.T.astype(bool):
        if column.any():  # no image of a class is drawn twice more than another
            assert np.ptp(copies[column]) <= 1

    counted = audit(samples, table["part"], CLASSES, chosen, table)["balance"]
    assert [c["before"] for c in counted["classes"].values()] == before.tolist()
    assert [c["after"] for c in counted["classes"].values()] == wanted(balance, before, to).tolist()
    assert counted["images"] == {"before": int(training.sum()), "after": int(copies.sum())}
    assert counted["no_finding"] is None
    assert (counted["never_drawn"], counted["most_draws"]) == ((copies == 0).sum(), copies.max())


def test_another_split_seed_leaves_out_other_images_and_not_always_the_first():
    samples = cohort(600, 1)
    kept = {}
    for seed in range(4):
        chosen = how("official", "undersample", seed)
        table = split_first(samples, CLASSES, chosen)
        kept[seed] = frozenset(table.index[(table["part"] == "train") & (table["copies"] == 1)])
    assert len(set(kept.values())) == 4
    positions = np.array([i for rows in kept.values() for i in rows]) / len(samples)
    assert 0.4 < positions.mean() < 0.6


@settings(max_examples=40)
@given(n=st.integers(200, 800), cohort_seed=st.integers(0, 1000), seed=st.integers(0, 50))
def test_multi_label_oversampling_lifts_every_class_and_brings_frequencies_nearer(n, cohort_seed, seed):
    samples = cohort(n, cohort_seed, "multilabel", (0.5, 0.2, 0.05))
    training = samples[METHODS["grouped"](samples, CLASSES, how("grouped", "oversample", seed)) == "train"]
    labels = training[CLASSES].to_numpy(int)
    before = labels.sum(axis=0)
    assume(before.min() >= 3)
    copies = BALANCES["oversample"](training, CLASSES, how("grouped", "oversample", seed))
    factor = (labels * (before.max() / before)).max(axis=1)
    assert ((copies == np.floor(factor)) | (copies == np.ceil(factor)) | (factor == 0)).all()
    assert (copies[labels.sum(axis=1) == 0] == 1).all()
    assert (copies >= 1).all()
    after = copies @ labels
    # Every image of a class is drawn its factor or, after the decimal point, one more or less: 6 SD of that chance.
    assert (after >= before.max() - 6 * np.sqrt(before) / 2 - 1).all()
    assert after.max() / after.min() < before.max() / before.min()


def test_multi_label_draws_meet_their_expectation_over_seeds():
    samples = cohort(500, 3, "multilabel", (0.5, 0.2, 0.05))
    before = samples[CLASSES].sum().to_numpy()
    factor = np.maximum(1, (samples[CLASSES].to_numpy() * (before.max() / before)).max(axis=1))
    drawn = [BALANCES["oversample"](samples, CLASSES, how("grouped", "oversample", seed)) for seed in range(300)]
    assert np.abs(np.mean(drawn, axis=0) - factor).max() < 5 * 0.5 / np.sqrt(300)


@pytest.mark.parametrize("balance", ["undersample", "augment_to"])
def test_what_has_no_meaning_for_multi_label_data_is_refused_with_the_way_out(balance):
    chosen = how("grouped", balance, to=50 if balance == "augment_to" else None)
    with pytest.raises(SplitError, match=rf"split\.balance\.method: {balance} .*multi-label.*to oversample"):
        split_first(cohort(200, 0, "multilabel"), CLASSES, chosen)


def test_class_without_training_images_stays_without_draws():
    samples = cohort(300, 0)
    samples = samples[~((samples["official_split"] == "train") & (samples["c"] == 1))]
    for balance in ("undersample", "oversample"):
        table = split_first(samples, CLASSES, how("official", balance))
        report = audit(samples, table["part"], CLASSES, how("official", balance), table)["balance"]["classes"]
        assert report["c"] == {"before": 0, "after": 0}
        assert report["a"]["after"] == report["b"]["after"] > 0


def test_images_without_a_class_are_counted_apart():
    samples = cohort(400, 2, "multilabel")
    chosen = how("grouped", "oversample")
    table = split_first(samples, CLASSES, chosen)
    none = (samples[CLASSES].sum(axis=1) == 0) & (table["part"] == "train")
    counted = audit(samples, table["part"], CLASSES, chosen, table)["balance"]["no_finding"]
    assert counted == {"before": none.sum(), "after": none.sum()}
