"""Sets of members, and the questions that pairs answer."""

import itertools

import numpy as np
import pandas as pd
import pytest

from pipeline.ensembling.sets import member_sets, one_family, questions
from pipeline.uncertainty.multiplicity import holm_in_two_tiers

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


def compared(names, rng, power=3):
    return pd.DataFrame(
        [
            {"first": a, "second": b, "p": rng.random() ** power, "tost_p": rng.random() ** power}
            for a, b in itertools.combinations(names, 2)
        ]
    )


def test_the_pairs_that_answer_a_question_are_kept():
    names = ["r1", "r2", "r3", "cell", "e1", "e2"]
    kept = questions(compared(names, np.random.default_rng(0)), names[:3], ["r2", "cell"], names[4:])
    asked = [("r1", "r2"), ("r1", "r3"), ("r2", "r3"), ("r2", "e1"), ("r2", "e2"), ("cell", "e1"), ("cell", "e2")]
    assert list(zip(kept["first"], kept["second"])) == asked
    assert kept["family"].tolist() == ["recipes"] * 3 + ["ensembles"] * 4


@pytest.mark.parametrize("seed", range(3))
def test_all_comparisons_are_one_family_in_two_tiers(seed):
    rng = np.random.default_rng(seed)
    names = ["r1", "r2", "r3", "cell", "e1", "e2", "e3"]
    kept = questions(compared(names, rng, 8), names[:3], ["r2", "cell"], names[4:])
    by_class = pd.concat([compared(names[:3], rng, 6).assign(**{"class": c}) for c in "xy"], ignore_index=True)
    pairs, classes = one_family(kept, by_class, "e2", 0.05)
    assert pairs["tier"].tolist() == [1] * 3 + [2, 1, 2, 2, 1, 2]
    for p in ("p", "tost_p"):
        of_pairs = {(r["first"], r["second"]): r for r in pairs.to_dict("records")}
        of_class = {(r["first"], r["second"], r["class"]): r for r in classes.to_dict("records")}
        leading = [("r1", "r2"), ("r1", "r3"), ("r2", "r3"), ("r2", "e2"), ("cell", "e2")]
        below = [[(*pair, c) for c in "xy"] for pair in leading[:3]] + [
            [(r, e) for e in ("e1", "e3")] for r in ("r2", "cell")
        ]
        rows = of_pairs | of_class
        adjusted, adjusted_below = holm_in_two_tiers(
            np.array([rows[key][p] for key in leading]), [np.array([rows[key][p] for key in keys]) for keys in below]
        )
        for keys, values in zip([leading, *below], [adjusted, *adjusted_below]):
            np.testing.assert_array_equal([rows[key][f"{p}_holm"] for key in keys], values)
    for table in (pairs, classes):
        assert table["distinguishable"].tolist() == (table["p_holm"] < 0.05).tolist()
        assert table["equivalent"].tolist() == (table["tost_p_holm"] < 0.05).tolist()


def test_without_a_chosen_ensemble_all_of_them_lead():
    names = ["r1", "r2", "e1", "e2"]
    rng = np.random.default_rng(0)
    kept = questions(compared(names, rng), names[:2], ["r1"], names[2:])
    pairs, _ = one_family(kept, compared(names[:2], rng), None, 0.05)
    assert pairs["tier"].tolist() == [1, 1, 1]
