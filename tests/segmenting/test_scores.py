"""Scores of masks against definitions that look at every pair of pixels, and against the values of another library."""

import math

import numpy as np
import pytest

from pipeline.segmenting.probabilities import HALF, best_thresholds, dice_curves
from pipeline.segmenting.scores import Scores, score, score_all


def masks(seed, n=6, side=24):
    """Pairs of masks of two ellipses each, bool [n, 2, side, side]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    found = []
    for _ in range(n):
        pair = []
        for _ in range(2):
            mask = np.zeros((side, side), bool)
            for _ in range(2):
                cy, cx, ry, rx = rng.uniform(4, 20), rng.uniform(4, 20), rng.uniform(2, 7), rng.uniform(2, 7)
                mask |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
            pair.append(mask)
        found.append(pair)
    return np.array(found)


def outline(mask):
    """Pixels with one of their four neighbours outside, found one by one."""
    high, wide = mask.shape
    inside = {(y, x) for y in range(high) for x in range(wide) if mask[y, x]}
    around = ((0, 1), (0, -1), (1, 0), (-1, 0))
    return [(y, x) for y, x in sorted(inside) if any((y + a, x + b) not in inside for a, b in around)]


def by_pairs(found, truth):
    """Return the scores by their definitions."""
    edges = outline(found), outline(truth)
    away = [[min(math.dist(a, b) for b in other) for a in edge] for edge, other in zip(edges, edges[::-1])]
    near = sum(d <= 1 for distances in away for d in distances)
    both = (found & truth).sum()
    return (
        2 * both / (found.sum() + truth.sum()),
        both / (found | truth).sum(),
        near / (len(away[0]) + len(away[1])),
        max(np.percentile(away[0], 95), np.percentile(away[1], 95)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_their_definitions_on_random_masks(seed):
    for found, truth in masks(seed):
        assert score(found, truth)[:4] == pytest.approx(by_pairs(found, truth), rel=1e-12)


def test_scores_are_those_of_monai():
    # MONAI 1.6.1, in float32: compute_hausdorff_distance(percentile=95), compute_surface_dice(class_thresholds=[1.0]),
    # compute_iou, all with include_background, of masks(3).
    hd95 = [8.437466621398926, 9.0, 6.4031243324279785, 11.264002799987793, 10.290750503540039, 8.0]
    surface = [0.14666666, 0.25316456, 0.49367088, 0.18055555, 0.19277107, 0.29292929]
    iou = [
        0.11382113821138211,
        0.11891891891891893,
        0.375,
        0.19886363636363635,
        0.11165048543689321,
        0.04597701149425287,
    ]
    found = [score(*pair) for pair in masks(3)]
    assert [each.hd95 for each in found] == pytest.approx(hd95, rel=1e-6)
    assert [each.surface_dice for each in found] == pytest.approx(surface, rel=1e-6)
    assert [each.iou for each in found] == pytest.approx(iou, rel=1e-12)


def test_empty_masks_are_as_the_page_says():
    nothing, some = np.zeros((3, 4), bool), np.eye(3, 4, dtype=bool)
    assert score(nothing, some)[:4] == (0, 0, 0, 5)  # the diagonal of 3 x 4
    assert score(some, some)[:4] == (1, 1, 1, 0)
    for found, alarm in ((nothing, 0), (some, 1)):
        scores = score(found, nothing)
        assert np.isnan(scores[:4]).all()
        assert scores.false_alarm == alarm
    assert np.isnan(score(some, some).false_alarm)
    together = score_all(np.stack([[nothing, some]]), np.stack([[some, some]]))
    assert together.shape == (1, 2, len(Scores._fields))
    assert together[0, :, 0].tolist() == [0, 1]


def test_a_mask_at_the_border_of_the_image_has_its_outline_there():
    whole = np.ones((5, 6), bool)
    less = whole.copy()
    less[:, 0] = False
    assert score(less, whole).hd95 == 1
    assert score(less, whole)[:4] == pytest.approx(by_pairs(less, whole))


def test_dice_at_every_threshold_is_that_of_the_mask_there():
    rng = np.random.default_rng(0)
    probabilities = rng.integers(0, 256, (4, 2, 7, 5), dtype=np.uint8)
    truth = rng.random((4, 2, 7, 5)) < 0.4
    truth[1, 1] = False
    curves = dice_curves(probabilities, truth)
    for at in (1, 17, 128, 255):
        expected = score_all(probabilities >= at, truth)[..., 0]
        assert np.allclose(curves[..., at], expected, equal_nan=True, rtol=1e-12)
    thresholds, dice = best_thresholds(curves)
    for k in range(2):
        every = [np.nanmean(score_all(probabilities >= at, truth)[:, k, 0]) for at in range(1, 256)]
        assert dice[k] == pytest.approx(max(every))
        assert every[thresholds[k] - 1] == pytest.approx(max(every))


def test_without_an_image_that_has_the_structure_the_threshold_is_a_half():
    thresholds, dice = best_thresholds(dice_curves(np.full((2, 1, 3, 3), 200, np.uint8), np.zeros((2, 1, 3, 3), bool)))
    assert thresholds.tolist() == [HALF]
    assert np.isnan(dice).all()
