import math

import pytest

from pipeline.scoring.rows import stated


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.8123, 0.7811, 0.8402, ""), "0.8123 [0.7811, 0.8402]"),
        ((0.8123, math.nan, math.nan, "9 patients"), "0.8123 (no interval: 9 patients)"),
        ((0.8123, math.nan, math.nan, ""), "0.8123 (no interval)"),
        ((math.nan, math.nan, math.nan, ""), "undefined"),
    ],
)
def test_a_value_without_an_interval_says_so(values, said):
    assert stated(*values) == said
