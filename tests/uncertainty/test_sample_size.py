"""Patients for a precise test part, against the R package pmvalsampsize and simulated test parts."""

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import beta, norm

from pipeline.uncertainty.sample_size import Needed, c_statistic, calibration_slope, net_benefit, observed_expected

QUANTILES = (np.arange(200_000) + 0.5) / 200_000


def test_mechanical_heart_valves():
    """The package's example, from its own tests: 905, 4252 and, simulated from 1,000 draws, 4501 and 1641.

    It searches the standard error of O/E upwards in steps of 0.0001 until the width is reached or passed, so that its
    905 is one too few.
    """
    assert observed_expected(0.018, 1.0) == 906
    assert c_statistic(0.018, 0.8) == 4252
    assert calibration_slope(norm.ppf(QUANTILES, -5, 2.5)) == pytest.approx(4501, rel=0.03)
    assert calibration_slope(logit(beta.ppf(QUANTILES, 0.5, 0.5))) == pytest.approx(1641, rel=0.03)


def test_that_many_patients_give_that_precision():
    """Of a calibrated model with normal logits: the spread of slope and net benefit over simulated test parts."""
    rng = np.random.default_rng(0)
    x = norm.ppf(QUANTILES, -1, 1.5)
    n = calibration_slope(x, width=0.4)
    slopes, benefits, events = [], [], []
    threshold = 0.3
    p = expit(x)
    prevalence, called = p.mean(), p >= threshold
    sensitivity = p[called].sum() / p.sum()
    specificity = (1 - p)[~called].sum() / (1 - p).sum()
    for _ in range(400):
        z = rng.normal(-1, 1.5, n)
        y = rng.random(n) < expit(z)
        design = np.stack([np.ones(n), z])
        weight = expit(z) * expit(-z)
        # One step of Newton from the truth is as good as the maximum at this size.
        step = np.linalg.solve((design * weight) @ design.T, design @ (y - expit(z)))
        slopes.append(1 + step[1])
        hit, false = (y & (expit(z) >= threshold)).mean(), (~y & (expit(z) >= threshold)).mean()
        benefits.append((hit - false * threshold / (1 - threshold)) / y.mean())
        events.append(y.mean() / expit(z).mean())
    assert 2 * 1.96 * np.std(slopes) == pytest.approx(0.4, rel=0.12)
    width = 2 * 1.96 * np.std(benefits)
    assert net_benefit(prevalence, sensitivity, specificity, threshold, width) == pytest.approx(n, rel=0.2)


@pytest.mark.parametrize("auroc", [0.6, 0.8, 0.95])
def test_that_many_patients_give_that_auroc(auroc):
    rng, n = np.random.default_rng(0), c_statistic(0.3, auroc, width=0.1)
    shift = norm.ppf(auroc) * np.sqrt(2)
    found = []
    for _ in range(200):
        y = rng.random(n) < 0.3
        x = rng.normal(size=n) + shift * y
        ranks = np.argsort(np.argsort(x)) + 1
        found.append((ranks[y].sum() - y.sum() * (y.sum() + 1) / 2) / (y.sum() * (~y).sum()))
    assert 2 * 1.96 * np.std(found) == pytest.approx(0.1, rel=0.2)


def test_the_largest_counts_and_what_cannot_be_planned_does_not():
    assert Needed(10, np.nan, 30, 20).most == 30
    with pytest.raises(ValueError, match="not all equal"):
        calibration_slope(np.zeros(5))
    with pytest.raises(ValueError, match="must be"):
        observed_expected(0.0)
    with pytest.raises(ValueError, match="must be"):
        net_benefit(0.1, 1.2, 0.5, 0.1)
