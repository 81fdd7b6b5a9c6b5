"""Means of scores over images, and their intervals."""

import numpy as np
import pytest

from pipeline.explaining.scores import means as of_explain
from pipeline.segmenting import intervals


def values(runs=3, images=60, classes=2, seed=0):
    """Scores [S, N, K] of images that half of the time lack the second structure, and their patients."""
    rng = np.random.default_rng(seed)
    scores = np.clip(rng.normal(0.8, 0.1, (runs, images, classes)), 0.01, 0.99)
    scores[:, rng.random(images) < 0.5, 1:] = np.nan
    return scores, np.sort(rng.integers(0, 25, images)).astype(str)


def test_means_are_over_the_images_that_have_the_structure_and_the_last_is_over_the_structures():
    scores, patients = values()
    of = intervals.means(scores, patients, 200, 0)
    expected = np.nanmean(scores, axis=1)
    assert np.allclose(of.whole[:, :2], expected)
    assert np.allclose(of.whole[:, 2], expected.mean(1))
    assert of.images.tolist() == [60, int(np.isfinite(scores[0, :, 1]).sum()), 60]
    assert of.patients[0] == len(np.unique(patients))
    assert of.drawn.shape == (200, 3, 3)


def test_intervals_of_one_run_are_those_of_other_scores_of_images():
    scores, patients = values(runs=1, classes=1)
    ours = intervals.of_run(intervals.means(scores, patients, 500, 3), 0, 0.9)
    theirs = of_explain(scores[0], patients, "share", 500, 3, 0.9)[0]
    assert (ours.value[0], ours.low[0], ours.high[0]) == pytest.approx(theirs[:3], rel=1e-12)


def test_intervals_of_a_mean_over_seeds_grow_with_their_spread_and_differences_are_paired():
    scores, patients = values(classes=1)
    apart = scores + np.array([-0.2, 0, 0.2])[:, None, None] * scores.std()
    alike = np.repeat(scores[:1], 3, axis=0)
    wide, narrow = (intervals.of_mean(intervals.means(each, patients, 500, 0), 0.95, 0) for each in (apart, alike))
    assert np.all(wide.high - wide.low > narrow.high - narrow.low)
    better = intervals.means(np.minimum(alike + 0.01, 1), patients, 500, 0)
    found = intervals.difference(better, intervals.means(alike, patients, 500, 0), 0.95, 0)
    assert found.value == pytest.approx(0.01, abs=1e-9)
    assert np.all(np.isnan(found.low) | (found.low > 0))  # every image is better by as much: nothing varies


def test_few_patients_have_no_interval():
    scores, _ = values(runs=2, images=9)
    of = intervals.means(scores, np.arange(9).astype(str), 100, 0)
    for found in (intervals.of_run(of, 0, 0.95), intervals.of_mean(of, 0.95, 0)):
        assert np.isfinite(found.value).all()
        assert np.isnan(found.low).all()
    assert np.isnan(intervals.difference(of, of, 0.95, 0).low).all()


def test_a_structure_that_no_image_has_is_no_number_and_is_left_out_of_the_mean():
    scores, patients = values()
    scores[..., 1] = np.nan
    of = intervals.of_mean(intervals.means(scores, patients, 100, 0), 0.95, 0)
    assert np.isnan(of.value[1])
    assert of.value[2] == of.value[0]
