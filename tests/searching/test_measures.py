"""What trials are compared by: scikit-learn's numbers, their draws plainly, and a simulation whose truth is known."""

import numpy as np
import pytest
import sklearn.metrics as sk

from benchmarks.search import SEARCHES, off
from pipeline.searching.measures import of_classes, of_masks, of_numbers
from pipeline.searching.record import MEASURES
from pipeline.segmenting.probabilities import best_thresholds, dice_curves, macro
from pipeline.settings.regression import ERRORS
from pipeline.uncertainty.bootstrap import patient_draws
from pipeline.uncertainty.optimism import corrected_best

DRAWS = {"draws": 40, "seed": 5}
PATIENTS = np.repeat(np.arange(25), 2).astype(str)
TRIALS, N = 3, len(PATIENTS)
OWNERS = [0, 1, 2, 0, 1, 2]
"""Two training runs of each trial."""


def drawn_rows():
    """Return the rows of each draw, as often as they were drawn, and those that it leaves out."""
    counts, index = patient_draws(PATIENTS, **DRAWS)
    return [(np.repeat(np.arange(N), of[index]), np.flatnonzero(of[index] == 0)) for of in counts]


def plainly(score, higher=True, squares=False):
    """Choose and score in every draw by a function of a training run, rows to choose what it decides by, and rows."""
    sign, values = 1 if higher else -1, []
    for inside, outside in drawn_rows():
        means = [np.mean([score(run, inside, inside) for run in (t, t + TRIALS)]) for t in range(TRIALS)]
        best = int(np.argmax(sign * np.array(means)))
        values.append(np.mean([score(run, inside, outside) for run in (best, best + TRIALS)]))
    whole = [np.mean([score(run, np.arange(N), np.arange(N)) for run in (t, t + TRIALS)]) for t in range(TRIALS)]
    mean = np.sqrt(np.nanmean(np.square(values))) if squares else np.nanmean(values)
    return sign * max(sign * np.array(whole)), mean


def check(of, score, **how):
    found = corrected_best(of, OWNERS, **DRAWS)
    best, corrected = plainly(score, **how)
    assert found.best == pytest.approx(best, abs=1e-12)
    assert found.corrected == pytest.approx(corrected, abs=1e-12)
    assert found.low < found.corrected < found.high
    assert found.optimism == pytest.approx(best - corrected if of.higher_is_better else corrected - best)
    return found


@pytest.mark.parametrize(
    ("metric", "function"), [("mae", sk.mean_absolute_error), ("rmse", sk.root_mean_squared_error)]
)
def test_errors_are_scikit_learns_and_the_lowest_is_the_best(metric, function):
    rng = np.random.default_rng(0)
    truth = rng.normal(500, 12, N)
    values = truth + rng.normal(0, np.array([6, 5, 5.5] * 2)[:, None], (6, N))
    of = of_numbers(metric, truth, values, PATIENTS)
    assert of.whole[:, 0] == pytest.approx([function(truth, each) for each in values])
    found = check(of, lambda r, _, at: function(truth[at], values[r, at]), higher=False, squares=metric == "rmse")
    assert found.best == of.whole[:, 0].reshape(2, 3).mean(0).min()
    assert not MEASURES[metric].higher_is_better


def test_quadratic_weighted_kappa_is_scikit_learns():
    rng = np.random.default_rng(1)
    grades = rng.integers(0, 4, N)
    decided = np.clip(grades + rng.integers(-1, 2, (6, N)), 0, 3)
    of = of_classes("qwk", "multiclass", np.eye(4)[grades], np.eye(4)[decided], PATIENTS, ordered=True)

    def kappa(run, _, at):
        return sk.cohen_kappa_score(grades[at], decided[run, at], labels=range(4), weights="quadratic")

    assert of.whole[:, 0] == pytest.approx([kappa(run, None, np.arange(N)) for run in range(6)])
    check(of, kappa)


def test_macro_f1_is_scikit_learns_and_a_class_that_a_draw_has_not_is_not_0_there():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, N)
    decided = np.where(rng.random((6, N)) < 0.3, 1 - truth, truth)
    logits = np.eye(2)[decided]

    def f1(run, _, at):
        return sk.f1_score(truth[at], decided[run, at], average="macro")

    check(of_classes("macro_f1", "multiclass", np.eye(2)[truth], logits, PATIENTS), f1)
    rare = np.where(np.arange(N) < 2, 2, truth)  # one patient has the third class
    called = np.where((np.arange(N) % 9 == 0) | (rare == 2), 2, decided)  # and some without it are called so
    of = of_classes("macro_f1", "multiclass", np.eye(3)[rare], np.eye(3)[called], PATIENTS)
    assert of.whole.mean(1) == pytest.approx([sk.f1_score(rare, each, average="macro") for each in called])
    absent = np.array([not (rare[at] == 2).any() for _, at in drawn_rows()])
    assert 0 < absent.sum() < 40
    counts, _ = patient_draws(PATIENTS, **DRAWS)
    outside = of.sides(counts, counts == 0)[1]
    assert np.array_equal(np.isnan(outside[:, 0, 2]), absent)
    assert corrected_best(of, OWNERS, **DRAWS).classes == 3


def test_dice_is_that_of_the_evaluation_with_thresholds_chosen_by_the_patients_drawn():
    rng = np.random.default_rng(3)
    truth = rng.random((N, 2, 5, 6)) < 0.4
    truth[::3, 1] = False  # images without the second structure
    noise = rng.normal(0, 60, (6, *truth.shape)) + rng.normal(0, 30, (6, N, 1, 1, 1))
    found = np.clip(np.where(truth, 150, 90) + noise, 0, 255).astype(np.uint8)
    curves = np.stack([dice_curves(of, truth) for of in found])
    of = of_masks(curves, PATIENTS)
    assert of.whole == pytest.approx(np.stack([best_thresholds(each)[1] for each in curves]))

    def dice(run, inside, at):
        chosen = best_thresholds(curves[run, inside])[0]
        return macro(np.array([np.nanmean(curves[run, at, k, chosen[k]]) for k in range(2)]))

    assert check(of, dice).classes == 2


@pytest.mark.parametrize("name", ["mae", "rmse", "qwk", "macro_f1", "dice"])
def test_the_corrected_score_is_nearer_to_the_truth_than_the_best(name):
    rng = np.random.default_rng(6)
    many = [off(SEARCHES[name](rng, 12, 40, 0.05), 40, seed) for seed in range(25)]
    best, corrected, held = np.array(many, dtype=float).T
    sign = 1 if MEASURES[name].higher_is_better else -1
    assert (sign * best).mean() > 3 * best.std(ddof=1) / 5  # too good
    assert (sign * corrected).mean() < 2 * corrected.std(ddof=1) / 5  # no longer
    # Of few images kappa and F1 are a little low by themselves.
    assert abs(corrected.mean()) < max(0.5 * abs(best.mean()), 0.02)
    assert held.sum() >= 22


def test_what_chooses_epochs_is_what_trials_are_compared_by():
    from pipeline.learning.settings import Train

    allowed = Train.model_fields["select"].annotation.__args__
    assert set(allowed) == set(MEASURES)
    assert {name for name, of in MEASURES.items() if not of.higher_is_better} == set(ERRORS)


def test_too_few_patients_have_no_interval():
    rng, patients = np.random.default_rng(7), (np.arange(18) // 2).astype(str)
    of = of_numbers("mae", rng.normal(size=18), rng.normal(size=(2, 18)), patients)
    found = corrected_best(of, [0, 1], **DRAWS)
    assert found.refused == "fewer than 10 patients (9)"
    assert np.isnan([found.low, found.high]).all()
    curves = rng.random((2, 18, 1, 256))
    curves[:, 10:] = np.nan  # five patients have the structure
    assert of_masks(curves, patients).refused == "fewer than 10 patients (5)"


def test_a_training_run_that_is_not_finite_is_never_chosen():
    rng = np.random.default_rng(8)
    truth, values = rng.normal(size=N), rng.normal(size=(2, N))
    values[0, 3] = np.nan
    assert corrected_best(of_numbers("rmse", truth, values, PATIENTS), [0, 1], **DRAWS).chosen.tolist() == [0, 40]
