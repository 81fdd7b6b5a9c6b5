"""Where curves are highest, against a search one by one."""

import numpy as np
import pytest

from pipeline.metrics.places import best_places


def one_by_one(curve):
    highest = np.flatnonzero([value == np.nanmax(curve) for value in curve])
    return int(highest[len(highest) // 2])


@pytest.mark.parametrize("values", [2, 3, 9])
def test_of_places_that_tie_the_middle_one_is_taken(values):
    curves = np.random.default_rng(values).integers(0, values, (40, 3, 11)) / values
    curves[0, 0] = 0.5
    curves[1, 0, 4:] = np.nan
    found = best_places(curves)
    assert found.dtype == np.int64
    assert found.tolist() == [[one_by_one(curve) for curve in of] for of in curves]
    assert found[0, 0] == 5


def test_values_that_differ_by_rounding_tie():
    assert best_places(np.array([0.1 + 0.2, 0.3, 0.3, 0.0])) == 1


def test_where_nothing_is_known_a_place_is_given_all_the_same():
    assert best_places(np.full(4, np.nan)) == 2
