"""Simulated studies whose truth is known: do intervals cover it, do tests err as seldom as they say?

Each class of a drawn data set is a repetition of one and the same study, so that one pass over the draws computes all
repetitions. The scores are normal, so that the true AUROC is Phi(signal / root of twice the variance).
"""

import numpy as np
import pytest
from scipy.stats import norm

from pipeline.metrics.registry import METRICS, measure
from pipeline.metrics.scored import Scored, Weighted
from pipeline.uncertainty.bootstrap import metric_draws, patient_draws
from pipeline.uncertainty.comparisons import compare
from pipeline.uncertainty.delong import delong
from pipeline.uncertainty.intervals import nested_error, percentiles, spread, t_interval
from pipeline.uncertainty.multiplicity import holm, paired_p
from pipeline.uncertainty.ratios import Drawn, expected_interval
from pipeline.uncertainty.seed_suits_class import seed_suits_class
from pipeline.uncertainty.support import support
from pipeline.uncertainty.variance import over_seeds

AUROC = {"auroc": METRICS["auroc"]}


def error(share, repetitions):
    """Three standard errors of a share of `repetitions`."""
    return 3 * np.sqrt(share * (1 - share) / repetitions)


def study(rng, repetitions, patients, images=5, seeds=1, signal=1.2, seed_sd=0.0, own_sd=0.0, ill=0.4):
    """Draw targets [N, R], logits [S, N, R] and patients [N].

    Score = signal * ill + patient (sd 1) + image (sd 0.3) + what a seed makes of a patient (sd `own_sd`); the signal
    of a seed has the standard deviation `seed_sd`.
    """
    of = np.repeat(np.arange(patients), images)
    truth = rng.random((patients, repetitions)) < ill
    shared = rng.normal(size=(patients, repetitions))[of] + 0.3 * rng.normal(size=(patients * images, repetitions))
    signals = signal + seed_sd * rng.normal(size=(seeds, 1, repetitions))
    own = own_sd * rng.normal(size=(seeds, patients, repetitions))[:, of]
    return truth[of], signals * truth[of] + shared + own, of


def true_auroc(signal=1.2, seed_sd=0.0, own_sd=0.0):
    """Expected over seeds and patients: Phi of a normal signal has a closed form."""
    return norm.cdf(signal / np.sqrt(2 * (1 + 0.3**2 + own_sd**2) + seed_sd**2))


def covered(low, high, truth):
    return float(((low <= truth) & (truth <= high)).mean())


def drawn_auroc(targets, logits, patients, draws, seed=0):
    """Return values [S, R] and draws [B, S, R]."""
    counts, index = patient_draws(patients, draws, seed)
    scored = Scored("multilabel", targets, logits, groups=index)
    return (
        measure(AUROC["auroc"], Weighted(scored))[0, :, :-1],
        metric_draws(scored, AUROC, counts)["auroc"][..., :-1],
        scored,
    )


def test_patient_intervals_cover_and_image_level_ones_do_not():
    repetitions = 600
    targets, logits, patients = study(np.random.default_rng(0), repetitions, 80)
    truth = true_auroc()
    value, drawn, scored = drawn_auroc(targets, logits, patients, 600)
    percentile = covered(*percentiles(drawn[:, 0], 0.95), truth)
    freedom = support(AUROC["auroc"], scored).freedom[0, :-1]
    by_patient = covered(*t_interval(value[0], spread(drawn[:, 0]), freedom, 0.95, "share"), truth)
    _, by_image, _ = drawn_auroc(targets, logits, np.arange(len(patients)), 300)
    images = covered(*percentiles(by_image[:, 0], 0.95), truth)
    closed = delong(targets, logits)
    reach = norm.ppf(0.975) * np.sqrt(closed.covariance[:, 0, 0])
    pairs = covered(closed.auroc[0] - reach, closed.auroc[0] + reach, truth)
    # 80 patients leave percentiles a little short of 95 %.
    assert 0.95 - error(0.95, repetitions) - 0.01 < percentile < 0.95 + error(0.95, repetitions)
    assert 0.95 - error(0.95, repetitions) < by_patient < 0.95 + error(0.95, repetitions)
    assert max(images, pairs) < 0.75


@pytest.mark.parametrize("seeds", [3, 5])
def test_nested_intervals_cover_what_a_recipe_reaches_and_one_source_alone_does_not(seeds):
    repetitions = 500
    settings = {"seed_sd": 0.35, "own_sd": 0.3}
    targets, logits, patients = study(np.random.default_rng(2), repetitions, 120, 3, seeds, **settings)
    truth = true_auroc(**settings)
    values, drawn, _ = drawn_auroc(targets, logits, patients, 400)
    nested_se, freedom = nested_error(values, drawn, 39.0)
    low, high = t_interval(values.mean(axis=0), nested_se, freedom, 0.95, "share")
    by_patients = covered(*percentiles(drawn.mean(axis=1), 0.95), truth)
    by_seeds = over_seeds([str(r) for r in range(repetitions)], values)
    nested = covered(low, high, truth)
    images = drawn_auroc(targets, logits, np.arange(len(patients)), 200)[1]
    by_images = covered(*percentiles(images.mean(axis=1), 0.95), truth)
    assert nested > 0.95 - error(0.95, repetitions)
    assert nested < 0.995  # wide, and not so wide that it says nothing
    assert by_patients < 0.92
    assert covered(by_seeds["ci_low"].to_numpy(), by_seeds["ci_high"].to_numpy(), truth) < 0.92
    assert by_images < 0.85


def test_holm_holds_the_family_wise_error_and_uncorrected_tests_do_not():
    """Three models x 14 classes of correlated errors, with a true difference in every other class."""
    rng = np.random.default_rng(3)
    studies, classes = 600, 14

    def errors(*shape):
        return rng.normal(size=(*shape, 3, studies, classes)) + 0.7 * rng.normal(size=(*shape, 3, studies, 1))

    truth = np.zeros((3, 1, classes))
    truth[0, :, ::2] = 4.0
    values, drawn = truth + errors(), errors(120)
    _, _, p = paired_p(values.reshape(3, -1), drawn.reshape(120, 3, -1))
    p = p.reshape(3, studies, classes)
    null = np.broadcast_to(truth[[0, 0, 1]] == truth[[1, 2, 2]], p.shape)
    adjusted = np.stack([holm(p[:, r]) for r in range(studies)], axis=1)
    any_error = [((q < 0.05) & null).any(axis=(0, 2)).mean() for q in (p, adjusted)]
    assert any_error[0] > 0.3
    assert any_error[1] < 0.05 + error(0.05, studies)
    assert (adjusted[~null] < 0.05).mean() > 0.05  # it does find differences


@pytest.fixture(scope="module")
def margins():
    """Two models on 200 patients x 2 images, R repetitions each at three true differences, the margin being 0.05."""
    rng = np.random.default_rng(4)
    repetitions, margin = 400, 0.05
    base = true_auroc(own_sd=0.4)
    tables = {}
    for name, difference in {"equal": 0.0, "at the margin": margin, "beyond": 1.6 * margin}.items():
        targets, logits, patients = study(rng, repetitions, 200, 2, 2, own_sd=0.4)
        signal = norm.ppf(base - difference) * np.sqrt(2 * (1 + 0.3**2 + 0.4**2))
        logits[1] += (signal - 1.2) * targets
        models = {"a": logits[:1], "b": logits[1:]}
        names = [str(r) for r in range(repetitions)]
        table = compare("multilabel", models, targets, patients, draws=200, margin=margin, classes=names)
        tables[name] = table[table["class"] != "macro"]
    return tables


def test_equivalence_is_claimed_falsely_as_seldom_as_said_and_found_where_it_is(margins):
    share = {name: (table["tost_p"] < 0.05).mean() for name, table in margins.items()}
    assert 0.01 < share["at the margin"] < 0.05 + error(0.05, 400)
    assert share["beyond"] < 0.01
    assert share["equal"] > 0.6


def test_difference_is_claimed_falsely_as_seldom_as_said(margins):
    share = {name: (table["p"] < 0.05).mean() for name, table in margins.items()}
    assert 0.01 < share["equal"] < 0.05 + error(0.05, 400)
    assert share["at the margin"] > 0.4
    assert share["beyond"] > share["at the margin"]


def test_exchanging_seeds_has_the_right_size_and_exchanging_images_has_not():
    repetitions, names = 300, [str(r) for r in range(300)]
    targets, logits, patients = study(np.random.default_rng(5), repetitions, 100, 4, 3, own_sd=0.4)
    settings = {"exchanges": 199, "halvings": 1}
    right, wrong = (
        seed_suits_class(Scored("multilabel", targets, logits, groups=of), names, "123", **settings).classes["p"][:-1]
        for of in (patients, np.arange(len(patients)))
    )
    for level in (0.05, 0.2):
        assert abs((right < level + 1e-9).mean() - level) < error(level, repetitions)
    assert (wrong <= 0.05).mean() > 0.2


def test_the_interaction_has_the_right_size_and_power():
    rng = np.random.default_rng(6)
    p = {0.0: [], 1.0: []}
    for planted in p:
        for _ in range(20 if planted else 100):
            targets, logits, patients = study(rng, 6, 60, 2, 3, own_sd=0.4)
            logits[2, :, :2] += planted * targets[:, :2]
            scored = Scored("multilabel", targets, logits, groups=patients)
            p[planted].append(seed_suits_class(scored, "abcdef", "123", exchanges=99, halvings=1).interaction.p)
    assert (np.array(p[0.0]) <= 0.05).mean() < 0.05 + error(0.05, 100)
    assert np.mean(p[0.0]) == pytest.approx(0.5, abs=3 / np.sqrt(12 * 100))
    assert (np.array(p[1.0]) <= 0.05).mean() > 0.8


@pytest.mark.parametrize(("seeds", "patients"), [(1, 40), (2, 40), (3, 20)])
def test_intervals_of_losses_with_an_end_cover_and_stay_within_it(seeds, patients):
    """Brier score and mean size of sets of three exclusive classes, forecasts that are far too sure."""
    rng, repetitions, k = np.random.default_rng(8), 250, 3
    spread_of_seeds = 0.3 if seeds > 1 else 0.0

    def sample(n, models, repeats):
        truth = rng.integers(0, k, (n, repeats))
        signal = 0.8 + spread_of_seeds * rng.normal(size=(models, 1, repeats, 1))
        x = (
            signal * np.eye(k)[truth]
            + rng.normal(size=(n, repeats, k))
            + 0.5 * rng.normal(size=(models, n, repeats, k))
        )
        p = np.exp(3 * x) / np.exp(3 * x).sum(axis=-1, keepdims=True)
        return np.stack([((p - np.eye(k)[truth]) ** 2).sum(axis=-1), (p > 0.05).sum(axis=-1)])  # [2, S, n, repeats]

    truths = sample(2000, 1, 200).mean(axis=(1, 2, 3))
    of_images = sample(patients, seeds, repetitions)
    counts, _ = patient_draws(np.arange(patients).astype(str), 300, 0)
    for values, want, end in zip(of_images, truths, (2.0, float(k))):
        drawn = np.einsum("bn,snr->bsr", counts / patients, values)
        mean, low, high = expected_interval(Drawn(values.mean(axis=1), drawn), float(patients), 0.95, "loss", end=end)
        np.testing.assert_allclose(mean, values.mean(axis=(0, 1)))
        assert covered(low, high, want) > 0.95 - error(0.95, repetitions)
        assert low.min() >= 0
        assert high.max() <= end
