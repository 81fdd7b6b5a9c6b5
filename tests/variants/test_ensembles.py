"""Ensembles followed through folds whose sets of training runs are not the same."""

import dataclasses

import numpy as np
import pytest

from pipeline.ensembling.predictions import alone
from pipeline.ensembling.sets import member_sets, twin_of
from pipeline.study.predictions import Predictions
from pipeline.variants.ensembles import NOT_FOLDED, Ensembles, over_folds

RUNS = ["a", "a", "b", "b"]


def made(number, val_auroc, methods=("mean", "vote")):
    """Return the ensembles of a fold: the sets that its validation values make, by some methods."""
    rng = np.random.default_rng(number)
    sets, skipped = member_sets(RUNS, val_auroc, 2)
    names = [f"{method}_{name}" for name in sets for method in methods]
    content = {}
    for part in ("val", "test"):
        targets = (rng.random((40, 2)) < 0.4).astype(np.uint8)
        content[f"{part}_rows"] = 100 * number + np.arange(40)
        content[f"{part}_targets"] = targets
        content[f"{part}_logits"] = (targets + rng.normal(0, 1, (len(names), 40, 2))).astype(np.float32)
        content[f"{part}_patients"] = np.array([f"p{number}-{i // 2}" for i in range(40)])
    of = Predictions("multilabel", np.arange(len(names)), np.array(["x", "y"]), **content, methods=np.array(names))
    described = {
        f"{method}_{name}": {"method": method, "set": name, "members": list(places), "val_auroc": 0.6 + number / 100}
        for name, places in sets.items()
        for method in methods
    }
    return Ensembles({name: alone(of, i) for i, name in enumerate(names)}, described, skipped)


BOTH_OF_A, ONE_OF_EACH = (0.9, 0.8, 0.7, 0.6), (0.9, 0.7, 0.8, 0.6)


def test_a_set_that_another_stands_for_in_a_fold_is_followed_under_its_own_name():
    folds = {1: made(1, BOTH_OF_A), 2: made(2, ONE_OF_EACH)}
    assert twin_of("seeds_a", folds[1].skipped) == "top2"
    assert twin_of("seeds_a", folds[2].skipped) is None
    assert folds[1].find("vote", "seeds_a") == "vote_top2"
    assert folds[1].find("vote", "seeds_c") is None
    over = over_folds(folds, draws=20)
    assert over.others == []
    assert {of.members for of in over.followed.values()} == {"all", "top2", "seeds_a", "seeds_b"}
    first, second = over.followed["mean_seeds_a"].folds, over.followed["mean_top2"].folds
    same = [np.array_equal(a.predictions.test_logits, b.predictions.test_logits) for a, b in zip(first, second)]
    assert same == [True, False]
    assert [of["set"] for of in over.followed["mean_seeds_a"].described] == ["top2", "seeds_a"]
    assert over.followed["mean_all"].validation == pytest.approx([0.61, 0.62])


def test_what_some_fold_could_not_make_is_named_and_not_scored():
    fewer = made(2, ONE_OF_EACH, methods=("mean",))
    over = over_folds({1: made(1, BOTH_OF_A), 2: fewer}, draws=20)
    assert over.others == ["vote_all", "vote_top2", "vote_seeds_b"]
    assert {of.method for of in over.followed.values()} == {"mean"}
    assert set(over.leading) <= set(over.followed)


def test_the_best_is_that_of_the_highest_mean_validation_over_folds():
    folds = {1: made(1, BOTH_OF_A), 2: made(2, BOTH_OF_A)}
    for fold, value in ((1, 0.99), (2, 0.70)):
        folds[fold].described["vote_all"]["val_auroc"] = value
    folds[1].described["mean_top2"]["val_auroc"] = None
    over = over_folds(folds, draws=20)
    assert over.best == "vote_all"
    assert list(over.leading) == ["mean_all", "vote_all"]
    assert np.isnan(over.followed["mean_top2"].validation).tolist() == [True, False]


def test_fewer_than_two_folds_with_ensembles_have_none_over_folds():
    one = made(1, BOTH_OF_A)
    assert over_folds({1: one, 2: Ensembles({}, {}, {})}) is NOT_FOLDED
    assert NOT_FOLDED.best is None
    lone = dataclasses.replace(one.predictions["mean_all"])
    assert lone.methods.tolist() == ["mean_all"]
