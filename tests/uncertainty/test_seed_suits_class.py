"""Exchanged seeds against literal exchanges and scikit-learn; halvings by hand; planted and absent effects."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from pipeline.metrics.scored import Scored
from pipeline.uncertainty import seed_suits_class as module
from pipeline.uncertainty.multiplicity import holm
from pipeline.uncertainty.seed_suits_class import COLUMNS, exchanged_auroc, random_orders, seed_suits_class


def example(n_seeds=3, classes=4, patients=60, images=3, seed=0, planted=0.0):
    """Seeds of one recipe; `planted` adds to the signal of the second seed in the first class."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(patients), images)
    targets = np.repeat(rng.random((patients, classes)) < 0.35, images, axis=0).astype(np.uint8)
    own = rng.normal(size=(n_seeds, patients, classes))[:, of]
    logits = 1.5 * targets + rng.normal(size=(patients, classes))[of] + 0.4 * own
    logits = logits + 0.3 * rng.normal(size=logits.shape)
    logits[1 % n_seeds, :, 0] += planted * targets[:, 0]
    return Scored("multilabel", targets, np.round(logits, 2), groups=of, n_groups=patients)


def names(scored):
    return [f"c{k}" for k in range(scored.shape[1])]


def test_orders_are_permutations_and_all_of_them_come_up_equally_often():
    orders = random_orders(50, 3, 200, 0)
    assert orders.shape == (50, 3, 200)
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.broadcast_to(np.arange(3)[:, None], orders.shape))
    codes = np.unique(orders[:, 0].astype(int) * 3 + orders[:, 1], return_counts=True)[1]
    assert len(codes) == 6
    np.testing.assert_allclose(codes / 10_000, 1 / 6, atol=4 * np.sqrt(5 / 36 / 10_000))


@pytest.mark.parametrize("block", [1, 2**26])
def test_exchanged_auroc_is_that_of_literally_exchanged_ranks(monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK_BYTES", block)
    scored = example(patients=20)
    orders = random_orders(6, 3, 20, 1)
    got = exchanged_auroc(scored, orders)
    ranks = np.array([[np.searchsorted(np.sort(z), z, "left") + np.searchsorted(np.sort(z), z, "right") for z in s.T]
                      for s in scored.logits])  # fmt: skip
    for r, order in enumerate(orders):
        for s, k in product(range(3), range(4)):
            handed = ranks[order[s][scored.groups], k, np.arange(60)]
            assert got[r, s, k] == pytest.approx(roc_auc_score(scored.truth[:, k], handed), abs=1e-12)
    np.testing.assert_allclose(got[..., -1], got[..., :-1].mean(axis=-1))


def test_the_order_at_hand_gives_the_values_at_hand():
    scored = example()
    as_is = np.broadcast_to(np.arange(3)[:, None], (1, 3, 60))
    want = [roc_auc_score(scored.truth, z, average=None) for z in scored.logits]
    np.testing.assert_allclose(exchanged_auroc(scored, as_is)[0, :, :-1], want, atol=1e-12)


def test_p_approaches_that_of_all_exchanges(monkeypatch):
    monkeypatch.setattr("pipeline.uncertainty.support.MIN_PATIENTS", 1)  # eight patients have 256 exchanges
    scored = example(n_seeds=2, patients=8, images=2, classes=2, seed=3)
    every = np.array([[np.array(bits), 1 - np.array(bits)] for bits in product((0, 1), repeat=8)])
    values = exchanged_auroc(scored, every)[..., :2]
    by_chance = np.ptp(values - values.mean(axis=2, keepdims=True), axis=1)  # apart from what a seed gains everywhere
    observed = np.array([roc_auc_score(scored.truth, z, average=None) for z in scored.logits])
    found = np.ptp(observed - observed.mean(axis=1, keepdims=True), axis=0)
    exact = (by_chance >= found - 1e-12).mean(axis=0)
    got = seed_suits_class(scored, ["a", "b"], [1, 2], exchanges=3000, halvings=1).classes["p"][:2]
    np.testing.assert_allclose(got, exact, atol=4 * np.sqrt(0.25 / 3000))


def test_table_and_families():
    scored = example()
    table = seed_suits_class(scored, names(scored), [32, 42, 52], exchanges=99, halvings=20).classes
    assert table.columns.tolist() == COLUMNS
    assert table["class"].tolist() == [*names(scored), "macro"]
    values = np.array([roc_auc_score(scored.truth, z, average=None) for z in scored.logits])
    np.testing.assert_allclose(table["range"][:4], np.ptp(values, axis=0))
    np.testing.assert_allclose(table["range"][4], np.ptp(values.mean(axis=1)))
    assert table["best_seed"][:4].tolist() == [["32", "42", "52"][i] for i in values.argmax(axis=0)]
    np.testing.assert_allclose(table["p_holm"][:4], holm(table["p"][:4].to_numpy()))
    assert table["p_holm"][4] == table["p"][4]
    assert (table["chance"] == 1 / 3).all()
    assert (table["halvings"] == 20).all()


def test_a_planted_effect_is_found_in_its_class_and_replicates():
    found = seed_suits_class(example(planted=1.5), list("abcd"), [1, 2, 3], exchanges=199, halvings=100)
    row = found.classes.iloc[0]
    assert row["suits"]
    assert row["best_seed"] == "2"
    assert row["replication"] > 0.95
    assert not found.classes["suits"][1:4].any()
    assert found.interaction.p < 0.02
    assert found.interaction.variance > 2 * found.interaction.by_chance


def test_a_seed_that_is_better_everywhere_is_no_interaction():
    """A seed with a shift of all classes alike shows in the mean over classes, and suits none of them."""
    rng = np.random.default_rng(0)
    scored = example(patients=150)
    better = scored.logits.copy()
    better[0] += 1.0 * scored.truth
    flat = Scored("multilabel", scored.truth, better + rng.normal(0, 0.01, better.shape), None, scored.groups, 150)
    found = seed_suits_class(flat, list("abcd"), [1, 2, 3], exchanges=199, halvings=10)
    assert found.classes["suits"].tolist() == [False] * 4 + [True]
    assert found.interaction.p > 0.05


def test_a_seed_of_another_scale_suits_no_class():
    scored = example()
    stretched = scored.logits.copy()
    stretched[0] = 7 * stretched[0] + 3
    other = Scored("multilabel", scored.truth, stretched, None, scored.groups, scored.n_groups)
    first, second = (
        seed_suits_class(s, list("abcd"), [1, 2, 3], exchanges=50, halvings=5).classes for s in (scored, other)
    )
    np.testing.assert_array_equal(first["p"], second["p"])


def test_halvings_by_hand():
    """Two halvings of three seeds, each read both ways."""
    one, two = np.array([0.9, 0.8, 0.7]), np.array([0.6, 0.75, 0.5])
    three, four = np.array([0.8, 0.7, 0.6]), np.array([0.9, 0.8, 0.4])
    here, there = (np.array(x)[:, :, None] for x in ([one, three, two, four], [two, four, one, three]))
    got = module._replication(here, there)
    assert got["replication"][0] == 0.5
    assert got["halvings"][0] == 2
    # Chosen here, less there: seed 0: .9 - .6, .8 - .9; seed 1: .75 - .8; seed 0: .9 - .8.
    assert got["winners_gap"][0] == pytest.approx((0.3 - 0.1 - 0.05 + 0.1) / 4)
    assert got["spearman"][0] == pytest.approx((spearmanr(one, two)[0] + spearmanr(three, four)[0]) / 2)


def test_ties_for_the_best_share_the_pick():
    here, there = np.array([[0.9, 0.9], [0.8, 0.8]]), np.array([[0.8, 0.7], [0.9, 0.9]])
    got = module._replication(here[:, :, None], there[:, :, None])
    assert got["replication"][0] == pytest.approx(0.5)
    assert got["winners_gap"][0] == pytest.approx((0.9 - 0.75 + 0.8 - 0.9) / 2)


def test_halves_are_complementary_and_of_whole_patients():
    scored = example(patients=31)
    here, there = module._halves(scored, 4, 0)
    np.testing.assert_array_equal(here[4:], there[:4])
    rng = np.random.default_rng([0, 1])
    chosen = np.isin(scored.groups, rng.permutation(31)[:15])
    for rows, values in ((chosen, here[0]), (~chosen, there[0])):
        want = [roc_auc_score(scored.truth[rows], z[rows], average=None) for z in scored.logits]
        np.testing.assert_allclose(values[:, :-1], want, atol=1e-12)


def test_without_an_effect_replication_is_chance_and_choosing_flatters():
    found = [
        seed_suits_class(example(seed=i, classes=20), list("abcdefghijklmnopqrst"), [1, 2, 3], exchanges=1, halvings=25)
        for i in range(8)
    ]
    classes = [f.classes[:20] for f in found]
    # Halves of one sample are not independent: chance is reached from below, the halves being complementary.
    assert np.mean([c["replication"] for c in classes]) == pytest.approx(1 / 3, abs=0.06)
    assert np.mean([c["spearman"] for c in classes]) == pytest.approx(0, abs=0.12)
    assert min(c["winners_gap"].mean() for c in classes) > 0.003


def test_undefined_classes_and_single_seeds_have_no_numbers():
    scored = example()
    truth = scored.truth.copy()
    truth[:, 1] = False
    truth[:, 2] = scored.groups < 2
    few = Scored("multilabel", truth, scored.logits, None, scored.groups, 60)
    found = seed_suits_class(few, list("abcd"), [1, 2, 3], exchanges=50, halvings=40)
    row = found.classes.iloc[1]
    assert row[["range", "p", "p_holm", "replication", "winners_gap"]].isna().all()
    assert row["best_seed"] == ""
    assert row["note"] == "undefined for a seed"
    assert found.classes["note"][2] == "fewer than 10 positive patients (2)"
    assert found.classes["halvings"][2] < 40
    assert np.isnan(found.classes["p"][2])
    assert np.isfinite(found.interaction).all()
    single = seed_suits_class(example(n_seeds=1), list("abcd"), [1], exchanges=5, halvings=5)
    assert single.classes[["range", "p", "replication", "winners_gap", "spearman"]].isna().all(axis=None)
    assert not single.classes["suits"].any()
    assert np.isnan(single.interaction).all()


def test_a_broken_seed_leaves_all_undefined():
    scored = example()
    logits = scored.logits.copy()
    logits[1, 3, 2] = np.nan
    broken = Scored("multilabel", scored.truth, logits, None, scored.groups, 60)
    found = seed_suits_class(broken, list("abcd"), [1, 2, 3], exchanges=9, halvings=5)
    assert found.classes["p"].isna().all()
    assert (found.classes["note"] == "undefined for a seed").all()


def test_multiclass_is_taken_one_against_the_rest():
    rng = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.uint8)[rng.integers(0, 3, 120)]
    scored = Scored("multiclass", targets, rng.normal(size=(2, 120, 3)) + targets, None, np.arange(120) // 2, 60)
    found = seed_suits_class(scored, list("abc"), [1, 2], exchanges=19, halvings=5)
    as_is = np.broadcast_to(np.arange(2)[:, None], (1, 2, 60))
    want = [[roc_auc_score(targets[:, k], z[:, k]) for k in range(3)] for z in scored.ranked_by]
    np.testing.assert_allclose(exchanged_auroc(scored, as_is)[0, :, :-1], want, atol=1e-12)
    assert found.classes["p"].between(0.05, 1).all()


def test_refuses_what_does_not_fit():
    scored = example()
    with pytest.raises(ValueError, match="expected 3 and 4"):
        seed_suits_class(scored, list("abc"), [1, 2, 3])
    with pytest.raises(ValueError, match="at least 1"):
        seed_suits_class(scored, list("abcd"), [1, 2, 3], exchanges=0)
