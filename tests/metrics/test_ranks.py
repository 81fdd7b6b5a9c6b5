"""Ranks as scipy.stats has them."""

import numpy as np
import pytest
from scipy.stats import rankdata

from pipeline.metrics.ranks import average_ranks


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), [((40,), 0), ((40, 3), 0), ((3, 40), 1), ((2, 40, 3), 1), ((2, 1, 3), 1)])
def test_ranks_are_those_of_scipy(shape, axis, kind):
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).round(1).astype(kind)
    values.flat[0], values.flat[-1] = -np.inf, np.inf
    np.testing.assert_array_equal(average_ranks(values, axis), rankdata(values, axis=axis))
    values[rng.random(shape) < 0.2] = np.nan
    np.testing.assert_array_equal(average_ranks(values, axis), rankdata(values, axis=axis, nan_policy="omit"))


def test_zeros_of_either_sign_are_tied_and_nothing_has_no_ranks():
    assert average_ranks(np.array([0.0, -0.0, 1.0])).tolist() == [1.5, 1.5, 3.0]
    assert average_ranks(np.empty((0, 2))).shape == (0, 2)
