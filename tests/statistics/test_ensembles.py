import numpy as np
import pytest
from scipy.special import expit, softmax

from pipeline.statistics.ensembles import mean_probability_logits


@pytest.mark.parametrize(("task", "link"), [("multilabel", expit), ("multiclass", lambda z: softmax(z, axis=-1))])
def test_the_probability_of_the_result_is_the_mean_probability(task, link):
    logits = np.random.default_rng(0).normal(0, 3, (4, 50, 3)).astype(np.float32)
    result = mean_probability_logits(logits, task)
    assert result.dtype == np.float32
    np.testing.assert_allclose(link(result.astype(float)), link(logits.astype(float)).mean(0), rtol=1e-5)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_extreme_logits_stay_finite(task):
    logits = np.array([[[1e4, -1e4, 0.0]], [[1e4, -1e4, 0.0]]], np.float32)
    assert np.isfinite(mean_probability_logits(logits, task)).all()
