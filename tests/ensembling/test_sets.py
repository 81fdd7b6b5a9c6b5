"""Sets of members, and the questions that pairs answer."""

import itertools

import numpy as np
import pandas as pd

from pipeline.ensembling.sets import member_sets, questions
from pipeline.uncertainty.multiplicity import holm

RECIPES = [r for r in "abcd" for _ in range(2)]
AUROC = [0.7, 0.8, 0.9, 0.6, 0.72, 0.74, 0.5, 0.95]  # means: a .75, b .75, c .73, d .725


def test_sets_are_those_of_the_best_by_validation():
    sets, skipped = member_sets(RECIPES, AUROC, 3)
    assert sets == {
        "all": tuple(range(8)),
        "top3": (7, 2, 1),
        "top3recipes": (0, 1, 2, 3, 4, 5),
        "seeds_a": (0, 1),
        "seeds_b": (2, 3),
        "seeds_c": (4, 5),
        "seeds_d": (6, 7),
    }
    assert skipped == {"top5recipes": "the same members as all"}


def test_a_set_of_one_or_of_the_same_members_is_skipped_and_says_why():
    sets, skipped = member_sets(["a", "b", "b"], [0.6, 0.8, 0.7], 2, (1,))
    assert sets == {"all": (0, 1, 2), "top2": (1, 2)}
    assert skipped == {
        "top1recipes": "the same members as top2",
        "seeds_a": "one member only",
        "seeds_b": "the same members as top2",
    }


def test_an_undefined_recipe_ranks_last_whatever_its_other_seeds_are_worth():
    sets, _ = member_sets(["a", "a", "b", "b", "c", "c"], [0.99, np.nan, 0.6, 0.6, 0.7, 0.7], 2, (2,))
    assert sets["top2recipes"] == (4, 5, 2, 3)
    assert sets["top2"] == (0, 4)


def test_p_is_corrected_within_each_question():
    names = ["r1", "r2", "r3", "cell", "e1", "e2"]
    rng = np.random.default_rng(0)
    rows = [
        {"first": a, "second": b, "p": rng.random() ** 3, "tost_p": rng.random()}
        for a, b in itertools.combinations(names, 2)
    ]
    kept = questions(pd.DataFrame(rows), names[:3], ["r2", "cell"], names[4:], 0.05)
    asked = [("r1", "r2"), ("r1", "r3"), ("r2", "r3"), ("r2", "e1"), ("r2", "e2"), ("cell", "e1"), ("cell", "e2")]
    assert list(zip(kept["first"], kept["second"])) == asked
    assert kept["family"].tolist() == ["recipes"] * 3 + ["ensembles"] * 4
    for rows in (slice(0, 3), slice(3, 7)):
        np.testing.assert_allclose(kept["p_holm"][rows], holm(kept["p"][rows].to_numpy()))
    assert kept["distinguishable"].tolist() == (kept["p_holm"] < 0.05).tolist()
    assert kept["equivalent"].tolist() == (kept["tost_p_holm"] < 0.05).tolist()
