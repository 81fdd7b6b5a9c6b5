"""Coverage and error rates of docs/statistics.md in a small form: the levels that intervals and tests must keep.

The simulations are those of `benchmarks.coverage`, with fixed seeds and few draws, so that a result is the same every
time; each takes a fraction of a second. A bound of the levels is widened by what so few studies leave open.
"""

import numpy as np
import pytest

from benchmarks.coverage import PARTS, Part, main, share
from benchmarks.shared import simulated
from benchmarks.shared.simulated import signal_of, truths
from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted

COVERAGE, TYPE_I = (0.92, 0.985), (0.02, 0.07)


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(simulated, "DRAWS", 100)


def rng(*key):
    return np.random.default_rng(key)


def within(share, bounds, n, errors=2.0):
    """Whether a share of n studies lies within bounds, give or take `errors` standard errors at them."""
    low, high = (b + sign * errors * np.sqrt(b * (1 - b) / n) for b, sign in zip(bounds, (-1, 1)))
    return low <= share <= high


@pytest.mark.parametrize(("positives", "images", "auroc"), [(30, 1, 0.7), (30, 4, 0.99), (100, 1, 0.9)])
def test_intervals_of_a_class_keep_their_level(positives, images, auroc):
    held = simulated.of_one_class(rng(positives, images), 300, positives, images, auroc)
    for key, hits in held.items():
        given = hits[~np.isnan(hits)]
        assert len(given) > 250
        assert within(given.mean(), COVERAGE, len(given)), (key, given.mean())


def test_ten_patients_have_intervals_that_err_on_the_safe_side_and_five_have_none():
    held = simulated.of_one_class(rng(10), 300, 10, 1, 0.9)
    for key, hits in held.items():
        assert within(np.nanmean(hits), (COVERAGE[0], 1.0), (~np.isnan(hits)).sum()), key
    assert np.isnan(simulated.of_one_class(rng(5), 100, 5, 1, 0.9)["auroc"]).mean() > 0.9


@pytest.mark.parametrize("seeds", [2, 3])
def test_total_intervals_keep_their_level(seeds):
    hits = simulated.of_seeds(rng(seeds), 200, seeds, 0.15)["total interval"]
    assert within(hits.mean(), COVERAGE, 200)


def test_means_over_classes_keep_their_level_or_are_refused():
    even = simulated.of_means(rng(1), 40, [40] * 4)
    assert all(within(np.nanmean(hits), COVERAGE, 40) for hits in even.values())
    tail = simulated.of_means(rng(2), 5, [40, 30, 6, 5, 4, 3, 2, 1])
    assert np.isnan(tail["auroc"]).all()


@pytest.mark.parametrize("share_of_right", [0.8, 0.99])
def test_means_over_seeds_of_decisions_are_covered(share_of_right):
    held = simulated.of_decisions(rng(9), 200, 3, 40, share_of_right)["sensitivity"]
    assert within(np.nanmean(held), COVERAGE, 200)


def test_single_label_studies_keep_their_level():
    held = simulated.of_single_label(rng(3), 40, 120, 1, (0.5, 0.3, 0.2), 1.5)
    assert all(within(np.nanmean(hits), COVERAGE, 40) for hits in held.values())


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_configurations_alike_are_called_different_as_seldom_as_said(seeds):
    found = simulated.of_configurations(rng(seeds), 200, 150, seeds, 0.0, earlier=False)["found"]
    assert within(found.mean(), TYPE_I, 200)


def test_networks_and_ensembles_alike_are_called_different_as_seldom_as_said():
    for seeds in (1, 3):
        assert within(simulated.of_networks(rng(seeds), 200, 150, seeds)["found"].mean(), TYPE_I, 200)


def test_equivalence_is_false_as_seldom_as_said():
    found = simulated.at_the_margin(rng(4), 100, 600, 3)["found"].mean()
    assert found < TYPE_I[1] + 2 * np.sqrt(0.07 * 0.93 / 100)


def test_a_family_errs_as_seldom_as_one_test_and_would_not_without_holm():
    found = simulated.of_family(rng(6), 60, 150, 5)
    assert found["any, after Holm"].mean() < TYPE_I[1] + 2 * np.sqrt(0.07 * 0.93 / 60)
    assert found["any, without"].mean() > 0.15


def test_a_true_difference_is_found_more_often_than_when_patients_were_counted_twice():
    found = simulated.of_configurations(rng(7), 200, 150, 3, 0.04)
    assert found["found"].mean() > 1.15 * found["found by the earlier test"].mean()


@pytest.mark.parametrize(("auroc", "own"), [(0.7, 0.0), (0.99, 0.0), (0.82, 0.4)])
def test_the_truth_of_the_simulation_is_that_of_a_large_sample(auroc, own):
    n, signal = 200_000, signal_of(auroc, own)
    targets, logits, _ = simulated.study(rng(8), 1, n // 4, n * 3 // 4, 1, np.full((1, 1), signal), own)
    shifted = Scored("multilabel", targets, logits - signal / 2, np.full((1, 1), 0.5), np.zeros(n, int))
    keys = simulated.KEYS if not own else ("auroc",)
    want = truths(auroc, 0.25) if not own else {"auroc": auroc}
    for key in keys:
        assert measure(METRICS[key], Weighted(shifted))[0, 0, 0] == pytest.approx(want[key], abs=0.006), key


def test_a_stopped_simulation_goes_on_and_gives_the_same(tmp_path, monkeypatch, capsys):
    rows = {("2", "1"): lambda rng, n: {"any": rng.random(n) < 0.5}}
    monkeypatch.setitem(PARTS, "seeds", Part("Seeds", "", ("seeds", "pairs"), {"any": "any"}, rows))
    for repetitions, file in ((100, "a"), (300, "a"), (300, "b")):
        arguments = ["", "seeds", "--repetitions", str(repetitions), "--results", str(tmp_path / file)]
        monkeypatch.setattr("sys.argv", arguments)
        main()
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text()
    assert " | 300 |" in capsys.readouterr().out
    assert share(95, 100) == "0.950 ± 0.043"  # 1.96 sqrt(0.95 x 0.05 / 100)
    assert share(9, 10) == "—"
