"""Every method on random cohorts, and an audit that finds what a method could get wrong."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline import split
from pipeline.imaging.duplicates import groups
from pipeline.splitting.audit import audit, check, label_counts, overlaps
from pipeline.splitting.errors import SplitError
from pipeline.splitting.protocols import METHODS, PROTOCOLS
from pipeline.splitting.settings import PerClass, Split
from pipeline.study.files import AUDIT, DATASET, SAMPLES, SPLIT, write_csv, write_json
from pipeline.study.parts import PARTS, read_parts, read_split

CLASSES = ["a", "b", "c"]


def cohort(patients, images, seed, task="multilabel", copies=0, prevalence=(0.4, 0.25, 0.1), test=0.25):
    """Patients with 1 to `images` images, labels that agree within patients, and `copies` identical pairs."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, images + 1, patients))
    count = len(patient)
    if task == "multilabel":
        sick = rng.random((patients, len(CLASSES))) < np.array(prevalence)
        labels = (sick[patient] ^ (rng.random((count, len(CLASSES))) < 0.1)).astype(np.uint8)
    else:
        labels = np.eye(len(CLASSES), dtype=np.uint8)[rng.choice(len(CLASSES), patients, p=[0.6, 0.3, 0.1])[patient]]
    hashes = np.arange(count)
    for first, second in rng.integers(0, count, (copies, 2)):
        hashes[second] = hashes[first]
    ids = [f"p{p:05d}" for p in patient]
    published = np.where(rng.random(patients) < test, "test", "train")
    published[:2] = "train", "test"
    samples = pd.DataFrame(
        {
            "row": np.arange(count),
            "sample_id": [f"s{i:06d}" for i in range(count)],
            "patient_id": ids,
            "group_id": groups(ids, [str(h) for h in hashes]),
            "duplicate_of": [f"s{h:06d}" if h != i else "" for i, h in enumerate(hashes)],
            "width": 8,
            "height": 8,
            "official_split": published[patient],
        }
    )
    days = np.random.default_rng(seed + 1).integers(0, 3000, count)
    dates = (np.datetime64("2010-01-01") + days).astype(str)
    return pd.concat([samples, pd.DataFrame(labels, columns=CLASSES)], axis=1).assign(study_date=dates)


def how(method, seed=0, validation=0.15, test=0.2, **more):
    return Split(method=method, seed=seed, validation=validation, test=test, **more)


def fitting(method, samples, seed=0, **more):
    """Settings that `samples` can be split by; method per_class is given numbers that the rarest class has."""
    if method == "per_class":
        rarest = int(samples[CLASSES].sum().min())
        more["per_class"] = PerClass(train=rarest // 2, validation=rarest // 4, test=rarest // 4)
    return how(method, seed, **more)


def random_cohorts(tasks=("multilabel", "multiclass"), copies=5):
    return st.builds(
        cohort,
        patients=st.integers(40, 150) if "multilabel" in tasks else st.integers(150, 250),
        images=st.integers(1, 6),
        seed=st.integers(0, 10_000),
        task=st.sampled_from(tasks),
        copies=st.integers(0, copies),
    )


cohorts = {
    method: random_cohorts(("multiclass",), 0) if method == "per_class" else random_cohorts() for method in METHODS
}


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 100))
def test_nothing_crosses_and_every_row_has_one_part(method, data, seed):
    samples = data.draw(cohorts[method])
    assume(method != "per_class" or samples[CLASSES].sum().min() >= 30)
    chosen = fitting(method, samples, seed, allow_missing_classes=True)
    parts = METHODS[method](samples, CLASSES, chosen)
    assert parts.index.equals(samples.index)
    assert set(parts) <= set(PARTS)
    assert {"train", "val", "test"} <= set(parts)
    check(samples, parts, CLASSES, chosen)
    for column in ("patient_id", "group_id"):
        used = pd.DataFrame({"key": samples[column], "part": parts})[parts != "unused"]
        assert (used.groupby("key")["part"].nunique() == 1).all()
    pd.testing.assert_series_equal(METHODS[method](samples, CLASSES, chosen), parts)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "per_class"])
@settings(max_examples=40, deadline=None)
@given(samples=random_cohorts())
def test_shares_of_images(method, samples):
    """A part overshoots by at most one group, and one more for each class that had to be given to it."""
    parts = METHODS[method](samples, CLASSES, how(method))
    if method == "official":
        pool, shares = samples[parts.isin(["train", "val"])], {"train": 0.85, "val": 0.15}
    else:
        pool, shares = samples, {"train": 0.65, "val": 0.15, "test": 0.2}
    largest = pool["group_id"].value_counts().max()
    for part, share in shares.items():
        assert (parts == part).sum() <= share * len(pool) + largest * (len(CLASSES) + 2)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_the_rows_does_not_matter(method):
    samples = cohort(200, 5, 3, "multiclass", copies=4)
    chosen = fitting(method, samples, balance={"method": "oversample"})
    table = PROTOCOLS["split_first"](samples, CLASSES, chosen)
    again = PROTOCOLS["split_first"](samples.sample(frac=1, random_state=1), CLASSES, chosen)
    pd.testing.assert_frame_equal(again.sort_index(), table)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "time"])
def test_seed_moves_the_split(method):
    samples = cohort(200, 4, 0, "multiclass")
    one, two = (METHODS[method](samples, CLASSES, fitting(method, samples, seed)) for seed in (0, 1))
    assert (one != two).any()
    if method == "official":
        assert ((one == "test") == (two == "test")).all()


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_large_cohort_is_balanced_in_classes_images_and_images_a_patient(task):
    samples = cohort(6000, 8, 1, task, copies=50, prevalence=(0.2, 0.1, 0.02))
    chosen = how("grouped", validation=0.1, test=0.2)
    parts = METHODS["grouped"](samples, CLASSES, chosen)
    report = audit(samples, parts, CLASSES, chosen)
    for part, share in {"train": 0.7, "val": 0.1, "test": 0.2}.items():
        counted = report["parts"][part]
        assert counted["images"] / len(samples) == pytest.approx(share, abs=0.002)
        assert counted["images"] / counted["patients"] == pytest.approx(4.5, abs=0.25)
    assert report["largest_prevalence_difference"]["difference"] < 0.005


def test_rare_class_reaches_every_part():
    samples = cohort(300, 1, 0)
    samples["c"] = 0
    samples.loc[:2, "c"] = 1
    for seed in range(5):
        parts = METHODS["grouped"](samples, CLASSES, how("grouped", seed))
        assert set(parts[:3]) == {"train", "val", "test"}


def of_sizes(sizes, positives):
    """Patients with the given numbers of images, of which the first few show finding a."""
    patient = np.repeat(np.arange(len(sizes)), sizes)
    place = np.concatenate([np.arange(n) for n in sizes])
    samples = pd.DataFrame({"group_id": [f"p{p:03d}" for p in patient], "b": 0, "c": 0})
    samples["a"] = (place < np.asarray(positives)[patient]).astype(np.uint8)
    return samples


def test_large_groups_go_where_they_fit():
    samples = of_sizes([40, 20, *[1] * 40], [0] * 42)
    parts = METHODS["grouped"](samples, CLASSES, how("grouped"))
    assert parts.value_counts().to_dict() == {"train": 65, "val": 15, "test": 20}


@pytest.mark.parametrize("seed", range(10))
def test_full_part_takes_no_more_even_if_it_lacks_a_class(seed):
    sizes = np.random.default_rng(seed).choice([1, 30], 60, p=[0.7, 0.3])
    samples = of_sizes(sizes, [1] * 60)  # one positive each: what a group adds to the class says nothing of its size
    parts = METHODS["grouped"](samples, CLASSES, how("grouped", seed, validation=0.3, test=0.3))
    for part, share in {"train": 0.4, "val": 0.3, "test": 0.3}.items():
        assert (parts == part).sum() < share * len(samples) + 30


def test_size_of_chestxray14_is_split_as_evenly_as_a_small_one():
    samples = cohort(30_805, 6, 0)
    parts = METHODS["grouped"](samples, CLASSES, how("grouped"))
    assert audit(samples, parts, CLASSES, how("grouped"))["largest_prevalence_difference"]["difference"] < 0.001


def test_official_test_part_stays_as_published_and_what_it_shares_becomes_unused():
    samples = cohort(100, 3, 5)
    train, test = (int(samples.index[samples["official_split"] == p][0]) for p in ("train", "test"))
    hashes = np.arange(len(samples))
    hashes[test] = hashes[train]  # one picture under a training and a test patient
    samples["group_id"] = groups(samples["patient_id"].tolist(), [str(h) for h in hashes])
    samples.loc[max(train, test), "duplicate_of"] = samples.loc[min(train, test), "sample_id"]
    chosen = how("official")
    parts = METHODS["official"](samples, CLASSES, chosen)
    assert ((parts == "test") == (samples["official_split"] == "test")).all()
    shared = samples["group_id"] == samples.loc[train, "group_id"]
    expected = shared & (samples["official_split"] == "train")
    assert ((parts == "unused") == expected).all()
    check(samples, parts, CLASSES, chosen)
    report = audit(samples, parts, CLASSES, chosen)
    assert len(report["unused"]) == expected.sum() > 0
    assert "but its group" in report["unused"][0]["reason"]
    assert report["unused"][0]["reason"].endswith("is in test")
    assert report["parts"]["unused"]["images"] == expected.sum()


def test_published_validation_part_is_used():
    samples = cohort(100, 3, 5)
    moved = samples["patient_id"].isin(samples["patient_id"].unique()[10:25])
    samples.loc[moved, "official_split"] = "val"
    parts = METHODS["official"](samples, CLASSES, how("official"))
    assert (parts == samples["official_split"]).all()


def test_rows_without_a_published_part_are_unused_and_said_so():
    samples = cohort(100, 1, 5)
    samples.loc[50:55, "official_split"] = ""
    chosen = how("official")
    parts = METHODS["official"](samples, CLASSES, chosen)
    assert (parts[50:56] == "unused").all()
    assert {u["reason"] for u in audit(samples, parts, CLASSES, chosen)["unused"]} == {"in no published part"}


def test_official_without_a_published_split_names_the_other_method():
    samples = cohort(50, 2, 0)
    samples["official_split"] = ""
    with pytest.raises(SplitError, match=r"split\.method: official .* set split\.method to grouped"):
        METHODS["official"](samples, CLASSES, how("official"))


@pytest.fixture
def sound():
    samples = cohort(150, 3, 2)
    return samples, METHODS["grouped"](samples, CLASSES, how("grouped"))


def test_sound_split_passes(sound):
    check(*sound, CLASSES, how("grouped"))
    report = audit(*sound, CLASSES, how("grouped"))
    assert report["patients_in_two_parts"] == report["groups_in_two_parts"] == report["duplicates_in_two_parts"] == 0


def test_planted_patient_overlap_is_refused(sound):
    samples, parts = sound
    of_train = samples[parts == "train"]
    patient = of_train["patient_id"].value_counts().index[0]
    parts[of_train.index[of_train["patient_id"] == patient][0]] = "test"
    assert overlaps(samples, parts)["patients_in_two_parts"] == [patient]
    with pytest.raises(SplitError, match=f"patients in two parts: {patient}.*leak"):
        check(samples, parts, CLASSES, how("grouped"))
    assert audit(samples, parts, CLASSES, how("grouped"))["patients_in_two_parts"] == 1


def test_planted_duplicate_is_refused_even_if_the_groups_do_not_know_it(sound):
    samples, parts = sound
    train, test = (samples.index[parts == part][0] for part in ("train", "test"))
    samples.loc[test, "duplicate_of"] = samples.loc[train, "sample_id"]
    with pytest.raises(SplitError, match="duplicates in two parts"):
        check(samples, parts, CLASSES, how("grouped"))


def test_two_copies_of_an_unused_image_are_found(sound):
    samples, parts = sound
    train, val, test = (samples.index[parts == part][0] for part in ("train", "val", "test"))
    samples.loc[[val, test], "duplicate_of"] = samples.loc[train, "sample_id"]
    parts[train] = "unused"
    assert overlaps(samples, parts)["duplicates_in_two_parts"] == [samples.loc[train, "sample_id"]]


def test_planted_group_overlap_is_refused(sound):
    samples, parts = sound
    samples.loc[samples.index[parts == "val"][0], "group_id"] = samples.loc[parts == "train", "group_id"].iloc[0]
    with pytest.raises(SplitError, match="groups in two parts"):
        check(samples, parts, CLASSES, how("grouped"))


def test_empty_part_and_unknown_part_are_refused(sound):
    samples, parts = sound
    with pytest.raises(SplitError, match="part 'val' is empty"):
        check(samples, parts.where(parts != "val", "train"), CLASSES, how("grouped"))
    with pytest.raises(SplitError, match="part 'dev' is not one of"):
        check(samples, parts.where(parts != "val", "dev"), CLASSES, how("grouped"))


@pytest.mark.parametrize(("value", "kind"), [(0, "positive"), (1, "negative")])
def test_class_that_cannot_be_scored_is_refused_unless_allowed(sound, value, kind):
    samples, parts = sound
    samples.loc[parts == "test", "b"] = value
    size = (parts == "test").sum()
    with pytest.raises(SplitError, match=f"class 'b' has no {kind} image among the {size} of part 'test'") as error:
        check(samples, parts, CLASSES, how("grouped"))
    assert "split.allow_missing_classes: true" in str(error.value)
    check(samples, parts, CLASSES, how("grouped", allow_missing_classes=True))


def test_audit_counts(sound):
    samples, parts = sound
    report = audit(samples, parts, CLASSES, how("grouped"))
    for part in ("train", "val", "test"):
        rows = samples[parts == part]
        assert report["parts"][part] == {
            "images": len(rows),
            "patients": rows["patient_id"].nunique(),
            "groups": rows["group_id"].nunique(),
        }
        for name in CLASSES:
            assert report["classes"][name][part]["positives"] == rows[name].sum()
            assert report["classes"][name][part]["prevalence"] == pytest.approx(rows[name].mean(), abs=1e-6)
        assert report["no_finding"][part]["positives"] == (rows[CLASSES].sum(axis=1) == 0).sum()
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_audit_of_multiclass_has_no_finding_none_and_counts_contradicting_copies():
    samples = cohort(60, 1, 0, "multiclass")
    first, second = (int(samples.index[samples[c] == 1][0]) for c in ("a", "b"))
    first, second = sorted((first, second))
    samples.loc[second, "duplicate_of"] = samples.loc[first, "sample_id"]
    samples["group_id"] = groups(
        samples["patient_id"].tolist(), ["same" if i in (first, second) else str(i) for i in samples.index]
    )
    parts = METHODS["grouped"](samples, CLASSES, how("grouped"))
    report = audit(samples, parts, CLASSES, how("grouped"))
    assert report["no_finding"] is None
    assert (report["duplicates"], report["duplicates_with_other_labels"]) == (1, 1)


def test_audit_of_an_empty_part_has_no_prevalence(sound):
    samples, parts = sound
    report = audit(samples, parts.where(parts == "train", "unused"), CLASSES, how("grouped"))
    assert report["classes"]["a"]["val"] == {"positives": 0, "prevalence": None}
    assert report["largest_prevalence_difference"] is None


def test_hash_tells_splits_apart_and_ignores_the_order(sound):
    samples, parts = sound
    digest = audit(samples, parts, CLASSES, how("grouped"))["sha256"]
    backwards = audit(samples[::-1], parts[::-1], CLASSES, how("grouped"))["sha256"]
    parts[parts.index[parts == "val"][0]] = "unused"
    assert digest == backwards != audit(samples, parts, CLASSES, how("grouped"))["sha256"]


PARAMS = {
    "seed": 1,
    "dataset": "phantom",
    "study": {"models": ["cnn"], "losses": ["bce"]},
    "datasets": {"phantom": None},
    "preprocess": {"size": 32},
    "split": {"method": "grouped", "validation": 0.2, "test": 0.2},
    "train": {"epochs": 2, "batch_size": 2, "warmup_epochs": 0.5},
    "models": {"cnn": {"arch": "baseline_cnn", "lr": 0.001}},
    "losses": {"bce": None},
    "ensemble": {"top_k": 1},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    info = {"name": "some", "title": "Some", "task": "multilabel", "classes": CLASSES, "synthetic": True}
    write_json(DATASET, {**info, "licence": "", "citation": "", "url": "", "notes": []})
    return cohort(100, 3, 0, copies=3)


def test_stage_writes_what_the_others_read(project):
    write_csv(SAMPLES, project)
    split.main()
    table = read_split()
    assert table.columns.tolist() == ["row", "part", "copies", "augmented"]
    assert table["row"].tolist() == project["row"].tolist()
    assert (table["copies"] == 1).all()
    assert (table["augmented"] == 0).all()
    parts = read_parts(["train", "val"])
    assert len(parts["train"].rows) == (table["part"] == "train").sum()
    report = json.loads(AUDIT.read_text())
    assert report["groups_in_two_parts"] == 0
    first = SPLIT.read_bytes(), AUDIT.read_bytes()
    split.main()
    assert (SPLIT.read_bytes(), AUDIT.read_bytes()) == first


def test_stage_writes_nothing_when_the_split_is_refused(project, capsys):
    project["c"] = 0
    write_csv(SAMPLES, project)
    with pytest.raises(SystemExit) as stop:
        split.main()
    assert stop.value.code == 1
    assert "class 'c' has no positive image" in capsys.readouterr().err
    assert not SPLIT.exists()


def blanked(samples, share=0.3, seed=1):
    """Return samples in which labels are unknown, and those labels."""
    hidden = np.random.default_rng(seed).random((len(samples), len(CLASSES))) < share
    return samples.assign(**samples[CLASSES].astype(np.float32).mask(hidden)), hidden


def test_an_audit_counts_known_labels():
    samples, hidden = blanked(cohort(60, 3, 5))
    parts = METHODS["grouped"](samples, CLASSES, how("grouped"))
    counted = audit(samples, parts, CLASSES, how("grouped"))
    for k, name in enumerate(CLASSES):
        for part, of in counted["classes"][name].items():
            labels = samples.loc[(parts == part) & ~hidden[:, k], name]
            assert of == {"positives": int(labels.sum()), "prevalence": round(labels.mean(), 6), "known": len(labels)}
    none = (samples[CLASSES] == 0).all(axis=1)
    assert sum(of["positives"] for of in counted["no_finding"].values()) == none.sum()
    everything = samples.assign(**samples[CLASSES].fillna(-1))
    table = label_counts(everything.replace({name: {0.5: np.nan} for name in CLASSES}), parts, CLASSES)
    assert sum(sum(of.values()) for of in table["a"].values()) == len(samples)
    assert sum(of["uncertain"] for of in table["a"].values()) == hidden[:, 0].sum()


def test_parts_are_stratified_by_known_positives():
    samples, _ = blanked(cohort(200, 2, 6))
    zero = samples.assign(**samples[CLASSES].fillna(0).astype(np.uint8))
    for method in ("grouped", "official"):
        assert (
            METHODS[method](samples, CLASSES, how(method)).tolist()
            == METHODS[method](zero, CLASSES, how(method)).tolist()
        )


def test_a_class_whose_known_labels_are_all_alike_in_a_part_is_refused_by_name():
    samples = cohort(60, 1, 5)
    parts = METHODS["grouped"](samples, CLASSES, how("grouped"))
    labels = samples["b"].astype(np.float32).where((parts != "test") | (samples["b"] == 1))
    with pytest.raises(
        SplitError, match=r"class 'b' has no negative image among the \d+ with a known label of part 'test'"
    ):
        check(samples.assign(b=labels), parts, CLASSES, how("grouped"))
    check(samples.assign(b=labels), parts, CLASSES, how("grouped", allow_missing_classes=True))


def test_oversampling_goes_by_known_positives():
    samples, _ = blanked(cohort(80, 1, 7))
    balance = {"method": "oversample"}
    zero = samples.assign(**samples[CLASSES].fillna(0).astype(np.uint8))
    tables = [PROTOCOLS["split_first"](of, CLASSES, how("grouped", balance=balance)) for of in (samples, zero)]
    assert tables[0].equals(tables[1])
