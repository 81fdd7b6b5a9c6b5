"""Scores of heat maps against closed forms and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score, jaccard_score

from pipeline.explaining import scores

RNG = np.random.default_rng(4)
BOX = scores.mask_of([[2, 1, 4, 3]], 8, 10)


def test_masks_of_boxes():
    assert BOX.sum() == 12
    assert BOX[1:4, 2:6].all()
    assert scores.mask_of([[1.4, 0, 1.2, 1]], 1, 5).tolist() == [[False, True, True, False, False]]
    two = scores.mask_of([[0, 0, 2, 2], [1, 1, 2, 2]], 4, 4)
    assert two.sum() == 7
    assert not scores.mask_of(np.zeros((0, 4)), 3, 3).any()


def test_scores_of_maps_with_a_known_answer():
    inside = BOX.astype(np.float32)
    assert [scores.pointing(inside, BOX), scores.energy_inside(inside, BOX)] == [1, 1]
    assert [scores.overlap(inside, BOX, 0.5), scores.pixel_ap(inside, BOX)] == [1, 1]
    half = np.zeros((8, 10))
    half[1:4, 4:8] = 1  # half in the box, half beside it
    assert [scores.pointing(half, BOX), scores.energy_inside(half, BOX)] == [0.5, 0.5]
    assert scores.overlap(half, BOX, 0.5) == pytest.approx(6 / 18)
    even = scores.uniform(8, 10)
    share = 12 / 80
    for score in (scores.pointing, scores.energy_inside, scores.pixel_ap):
        assert score(even, BOX) == pytest.approx(share)
    assert scores.overlap(even, BOX, 0.95) == pytest.approx(share)
    nothing = np.zeros((8, 10))
    assert scores.pointing(nothing, BOX) == scores.energy_inside(nothing, BOX) == scores.overlap(nothing, BOX, 0.1) == 0
    assert scores.pixel_ap(nothing, BOX) == pytest.approx(share)
    empty = np.zeros((8, 10), bool)
    for score in (scores.pointing, scores.energy_inside, scores.pixel_ap):
        assert np.isnan(score(even, empty))


def test_scores_are_those_of_scikit_learn():
    heat = RNG.random((8, 10))
    assert scores.pixel_ap(heat, BOX) == pytest.approx(average_precision_score(BOX.ravel(), heat.ravel()))
    for cut in (0.2, 0.7):
        assert scores.overlap(heat, BOX, cut) == pytest.approx(jaccard_score(BOX.ravel(), heat.ravel() >= cut))


def test_the_threshold_is_the_one_with_the_highest_overlap():
    """Maps that are 0.6 in the mask and 0.4 around it: any threshold between is best, of them the lowest."""
    heats = [np.where(BOX, 0.6, 0.4), np.where(BOX, 0.62, 0.41)]
    at_each = [scores.overlaps(heat, BOX) for heat in heats]
    at_each.append(scores.overlaps(np.ones((8, 10)), np.zeros((8, 10), bool)))
    assert scores.best_threshold(at_each) == pytest.approx(0.45)
    assert np.isnan(scores.best_threshold([]))


def test_baselines():
    middle = scores.centre(9, 7)
    assert np.unravel_index(middle.argmax(), middle.shape) == (4, 3)
    assert middle.min() > 0
    np.testing.assert_allclose(middle, middle[::-1, ::-1])
    shifted = scores.mask_of([[4, 1, 4, 3]], 8, 10)
    mean = scores.mean_mask([BOX, shifted])
    assert (mean[1:4, 4:6] == 1).all()
    assert mean.sum() == 6 + 0.5 * 12
    with pytest.raises(ValueError, match="none has a pixel"):
        scores.mean_mask([np.zeros((2, 2), bool)])


def test_intervals_are_of_patients():
    """Each patient's images are alike: the standard error is that of the patients, not of the images."""
    of_patient = np.clip(RNG.normal(0.5, 0.1, 400), 0, 1)
    (mean,) = scores.means(np.repeat(of_patient, 5)[:, None], np.repeat(np.arange(400).astype(str), 5))
    half = norm.ppf(0.975) * of_patient.std() / np.sqrt(400)
    assert mean.value == pytest.approx(of_patient.mean())
    assert (mean.high - mean.low) / 2 == pytest.approx(half, rel=0.08)
    assert (mean.images, mean.patients) == (2000, 400)


def test_a_mean_at_an_end_has_the_interval_of_wilson():
    patients = np.arange(12).astype(str)
    always, never, undefined = scores.means(np.column_stack([np.ones(12), np.zeros(12), np.full(12, np.nan)]), patients)
    (low, high) = binomtest(12, 12).proportion_ci(method="wilson")
    assert (always.low, always.high) == (pytest.approx(low), 1)
    assert (never.low, never.high) == (0, pytest.approx(1 - low))
    assert np.isnan(undefined[:3]).all()
    assert high == 1


def test_few_patients_have_no_interval():
    (few,) = scores.means(np.ones((9, 1)), np.arange(9).astype(str))
    assert few.value == 1
    assert np.isnan([few.low, few.high]).all()
    (none,) = scores.means(np.ones((0, 1)), np.array([], str))
    assert np.isnan(none.value)
    assert (none.images, none.patients) == (0, 0)


def test_differences_are_paired():
    """Two maps that are equally right on every image differ by nothing, however much images differ."""
    right = RNG.random(40)
    (difference,) = scores.means(
        (right - right + 0.1 * RNG.normal(size=40))[:, None], np.arange(40).astype(str), "correlation"
    )
    assert -0.05 < difference.low < difference.value < difference.high < 0.06
