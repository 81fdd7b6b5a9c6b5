"""Stability from seed to seed, against plain loops over images and pairs of seeds."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import expit, softmax

from pipeline.metrics.thresholds import best_f1_thresholds
from pipeline.uncertainty.stability import (
    Patients,
    answers,
    expected_range,
    log_probabilities,
    of_answers,
    of_class,
    of_ensembles,
)

SEEDS, IMAGES = 4, 60


@pytest.fixture(scope="module")
def logits():
    rng = np.random.default_rng(0)
    return rng.normal(size=(1, IMAGES, 3)) + 0.7 * rng.normal(size=(SEEDS, IMAGES, 3))


@pytest.fixture(scope="module")
def patients():
    return Patients.drawn(np.array([f"p{i // 3}" for i in range(IMAGES)]), 300, 0.95, 0)


def test_a_class_image_by_image(logits, patients):
    thresholds = np.array([0.4, 0.5, 0.5, 0.6])
    p = expit(logits[..., 0])
    called = p >= thresholds[:, None]
    found = of_class(called, log_probabilities(logits, "multilabel")[..., 0], patients, thresholds)
    pairs = list(combinations(range(SEEDS), 2))
    flips = [np.mean([called[a, i] != called[b, i] for a, b in pairs]) for i in range(IMAGES)]
    one = p >= 0.5
    assert found.flips.value == pytest.approx(np.mean(flips))
    assert found.flips_at_one_threshold == pytest.approx(np.mean([one[a] != one[b] for a, b in pairs]))
    assert found.divided.value == pytest.approx(np.mean([len(set(called[:, i])) > 1 for i in range(IMAGES)]))
    assert found.log_ratio.value == pytest.approx(np.mean(np.log(p.max(axis=0) / p.min(axis=0))))
    assert found.sd == pytest.approx(p.std(axis=0, ddof=1).mean())
    assert found.variation == pytest.approx((p.std(axis=0, ddof=1) / p.mean(axis=0)).mean())
    for measured in (found.flips, found.divided, found.log_ratio):
        assert measured.low < measured.value < measured.high


def test_intervals_are_of_patients(logits):
    """Three copies of every image are no more patients: the interval stays what it was."""
    called = logits[..., 0] > 0
    logs = log_probabilities(logits, "multilabel")[..., 0]
    names = np.array([f"p{i}" for i in range(IMAGES)])
    once = of_class(called, logs, Patients.drawn(names, 300, 0.95, 0))
    copies = of_class(np.tile(called, 3), np.tile(logs, 3), Patients.drawn(np.tile(names, 3), 300, 0.95, 0))
    assert copies.flips == pytest.approx(once.flips)
    few = of_class(called, logs, Patients.drawn(np.array([f"p{i % 9}" for i in range(IMAGES)]), 300, 0.95, 0))
    assert np.isnan(few.flips.low)


def test_seeds_that_agree_have_a_bound_and_not_a_point(patients):
    called = np.ones((2, IMAGES), dtype=bool)
    found = of_class(called, np.full((2, IMAGES), -1.0), patients)
    assert found.flips.value == found.flips.low == 0 < found.flips.high < 0.2
    assert found.log_ratio.value == 0
    with pytest.raises(ValueError, match="2 at least"):
        of_class(called[:1], np.full((1, IMAGES), -1.0), patients)


def test_probabilities_that_are_as_good_as_0_keep_their_ratio():
    logits = np.array([[[-800.0]], [[-750.0]]])
    assert np.ptp(log_probabilities(logits, "multilabel")) == 50
    of_three = np.array([[0.0, -900.0, 1.0]])
    assert log_probabilities(of_three, "multiclass")[0, 1] == pytest.approx(-900 - np.log(1 + np.e))


def test_answers_of_the_seeds(logits, patients):
    called = logits > 0
    sets = [[tuple(called[s, i]) for s in range(SEEDS)] for i in range(IMAGES)]
    different = [len(set(of)) for of in sets]
    assert answers(called).tolist() == different
    found = of_answers(called, patients)
    assert found.alike.value == pytest.approx(np.mean([n == 1 for n in different]))
    assert found.all_different.value == pytest.approx(np.mean([n == SEEDS for n in different]))
    unlike = [np.mean([of[a] != of[b] for a, b in combinations(range(SEEDS), 2)]) for of in sets]
    assert found.pairs.value == pytest.approx(np.mean(unlike))


def test_ensembles_share_no_seed(logits, patients):
    rng = np.random.default_rng(1)
    targets = (rng.random((80, 3)) < 0.4).astype(np.uint8)
    val = rng.normal(size=(SEEDS, 80, 3)) + targets
    found = of_ensembles("multilabel", (val, targets), logits, patients)
    assert [(f.members, f.pairs) for f in found] == [((1, 1), 6), ((1, 3), 4), ((2, 2), 3)]
    apart = []
    for a, b in [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]:
        of = []
        for m in (a, b):
            cut = best_f1_thresholds(targets, expit(val)[list(m)].mean(axis=0))
            of.append(expit(logits)[list(m)].mean(axis=0) >= cut)
        apart.append((of[0] != of[1]).mean())
    assert found[2].flips.value == pytest.approx(np.mean(apart))
    single = of_ensembles("multiclass", (val, targets), logits[:2], patients)
    assert len(single) == 1
    decided = softmax(logits, axis=-1).argmax(axis=-1)
    assert single[0].flips.value == pytest.approx((decided[0] != decided[1]).mean())


def test_averaging_steadies_in_the_long_run():
    rng = np.random.default_rng(0)
    every = rng.normal(size=(1, 2000, 3)) + rng.normal(size=(8, 2000, 3))
    patients = Patients.drawn(np.arange(2000).astype(str), 100, 0.95, 0)
    one, _, four = of_ensembles("multiclass", (every, np.eye(3)[rng.integers(0, 3, 2000)]), every, patients)
    assert four.members == (4, 4)
    assert four.flips.high < 0.8 * one.flips.value


def test_expected_range_is_in_print():
    """Tippett 1925, as d2 of control charts: 1.128, 1.693, 2.326, 3.078, 3.735; 4.498 for 50."""
    assert [round(expected_range(n), 3) for n in (2, 3, 5, 10, 20, 50)] == [1.128, 1.693, 2.326, 3.078, 3.735, 4.498]
    with pytest.raises(ValueError, match="2 at least"):
        expected_range(1)
