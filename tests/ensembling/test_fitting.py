import itertools

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GroupKFold

from pipeline.ensembling.fitting import METHODS, PENALTIES, _macro_aurocs, fit, left_out, patient_folds
from pipeline.metrics.logistic import log_odds
from tests.ensembling.simulated import TASKS, link, simulated


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_logits_of_a_sensible_scale(method, task):
    """Members agree with the truth, so whatever combines them is a probability that beats the prior, and ranks."""
    logits, targets, patients = simulated(task, 400, noise=(0.3, 0.5, 0.7, 0.9))
    val, new = slice(0, 240), slice(240, 400)
    fitted = fit(method, logits[:, val], targets[val], task, patients[val])
    result = fitted.combiner.apply(logits[:, new])
    assert result.dtype == fitted.val_logits.dtype == np.float32
    assert fitted.val_logits.shape == (240, 3)
    likely = link(result, task)
    shares = targets[new].mean(0)
    if task == "multilabel":
        prior = -(shares * np.log(shares) + (1 - shares) * np.log(1 - shares)).mean()
        loss = -np.where(targets[new], np.log(likely), np.log(1 - likely)).mean()
    else:
        prior, loss = -(shares * np.log(shares)).sum(), log_loss(targets[new], likely)
    assert loss < (1.1 if method == "vote" else 0.9) * prior  # counted votes are too sure of themselves
    assert roc_auc_score(targets[new], likely) > 0.75
    # An image's result does not depend on the others that it is combined with.
    alone = np.concatenate([fitted.combiner.apply(logits[:, [i]]) for i in range(240, 250)])
    np.testing.assert_allclose(alone, result[:10], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_extreme_and_constant_members_leave_every_method_finite(method, task):
    logits, targets, patients = simulated(task)
    logits[0] *= 1e4
    logits[3] = 0.25
    fitted = fit(method, logits, targets, task, patients)
    assert np.isfinite(fitted.val_logits).all()
    assert np.isfinite(fitted.combiner.apply(10 * logits)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_is_repeatable_to_the_bit(method):
    first, second = (fit(method, *simulated("multilabel")[:2], "multilabel", simulated("multilabel")[2]) for _ in "ab")
    assert first.val_logits.tobytes() == second.val_logits.tobytes()
    assert first.combiner.describe() == second.combiner.describe()


def test_a_member_votes_at_its_own_validation_threshold():
    targets = np.array([[1], [1], [0], [0], [0], [0]], np.uint8)
    low = logit(np.array([0.2, 0.15, 0.05, 0.04, 0.03, 0.02]))[:, None]
    high = logit(np.array([0.9, 0.85, 0.8, 0.7, 0.6, 0.55]))[:, None]
    fitted = fit("vote", np.stack([low, high]), targets, "multilabel", np.arange(6)).combiner
    np.testing.assert_allclose(fitted.thresholds, [[0.10], [0.825]], rtol=1e-9)
    assert (fitted.apply(np.stack([low, high]))[:, 0] > 0).tolist() == [True, True, False, False, False, False]


def test_a_class_without_a_positive_is_voted_for_at_one_half():
    logits, targets, patients = simulated("multilabel")
    targets[:, 1] = 0
    thresholds = fit("vote", logits, targets, "multilabel", patients).combiner.thresholds
    assert (thresholds[:, 1] == 0.5).all()
    assert (thresholds[:, 0] != 0.5).all()


def test_one_distorted_scale_does_not_move_the_rank_mean():
    """Only the order within the validation part counts: a monotone distortion of a member leaves the order alone."""
    logits, targets, patients = simulated("multilabel")
    distorted = logits.copy()
    distorted[1] = np.exp(logits[1] / 2).clip(-20, 20)
    order = [fit("rank_mean", z, targets, "multilabel", patients).val_logits.argsort(0) for z in (logits, distorted)]
    assert np.array_equal(*order)
    means = [fit("mean_logit", z, targets, "multilabel", patients).val_logits.argsort(0) for z in (logits, distorted)]
    assert not np.array_equal(*means)


def test_rank_mean_keeps_the_distribution_of_the_mean_probability_on_validation():
    logits, targets, patients = simulated("multilabel")
    ranks = fit("rank_mean", logits, targets, "multilabel", patients).val_logits
    expected = logit(expit(logits.astype(float)).mean(0))
    for k in range(3):
        np.testing.assert_allclose(np.sort(ranks[:, k]), np.sort(expected[:, k]), atol=0.1)


def grid_minimum(loss, steps=200):
    """The least loss over two weights."""
    return min(((loss(np.array([w, 1 - w])), w) for w in np.linspace(0, 1, steps + 1)), key=lambda pair: pair[0])


@pytest.mark.parametrize("task", TASKS)
def test_slsqp_finds_the_weights_that_a_grid_finds(task):
    logits, targets, patients = simulated(task, members=2, noise=(0.8, 1.0))
    found = fit("slsqp", logits, targets, task, patients).combiner.weights
    likely = link(logits, task)

    def loss(weights):
        mixed = np.tensordot(weights, likely, 1)
        if task == "multiclass":
            return -np.log(mixed[targets.astype(bool)]).mean()
        return -np.where(targets, np.log(mixed), np.log(1 - mixed)).mean()

    best, weight = grid_minimum(loss)
    assert loss(found) <= best + 1e-9
    assert found[0] == pytest.approx(weight, abs=0.01)
    assert 0.05 < found[0] < 0.95  # an inner minimum, or the test would show nothing


def test_slsqp_gives_noise_no_weight_and_stays_on_the_simplex():
    logits, targets, patients = simulated("multilabel")
    logits[3] = np.random.default_rng(5).normal(0, 3, logits[3].shape)
    weights = fit("slsqp", logits, targets, "multilabel", patients).combiner.weights
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights[3] < 0.1 < weights[:3].max()


def test_greedy_selection_finds_the_best_of_all_small_multisets():
    """Three members, chosen with repetition: on this draw the greedy path passes the best set of up to four picks."""
    logits, targets, patients = simulated("multilabel", members=3, noise=(1.0, 1.0, 3.0))
    likely = expit(logits.astype(float))

    def value(picks):
        return roc_auc_score(targets, likely[list(picks)].mean(0))

    weights = fit("greedy", logits, targets, "multilabel", patients).combiner.weights
    reached = roc_auc_score(targets, np.tensordot(weights, likely, 1))
    best = max(value(p) for n in range(1, 5) for p in itertools.combinations_with_replacement(range(3), n))
    assert reached >= best - 1e-12
    assert reached > max(value([m]) for m in range(3))


def test_greedy_selection_starts_with_the_best_and_leaves_out_what_harms():
    logits, targets, patients = simulated("multilabel")
    logits[3] = -logits[0]
    weights = fit("greedy", logits, targets, "multilabel", patients).combiner.weights
    assert weights[3] == 0
    assert weights[0] == weights.max()
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("ties", [False, True])
def test_the_auroc_that_greedy_selection_uses_is_that_of_scikit_learn(ties):
    logits, targets, _ = simulated("multilabel")
    scores = logits[2].round(0) if ties else logits[2]
    [value, other] = _macro_aurocs(targets, np.stack([scores, -scores]))
    assert value == pytest.approx(roc_auc_score(targets, scores), abs=1e-12)
    assert other == pytest.approx(1 - value, abs=1e-12)


def test_stacking_is_scikit_learns_regression_in_raw_units():
    logits, targets, patients = simulated("multilabel")
    found = fit("stack", logits, targets, "multilabel", patients).combiner
    for k in range(3):
        raw = logits[:, :, k].T.astype(float)
        standard = (raw - raw.mean(0)) / raw.std(0)
        model = LogisticRegression(C=found.penalty, tol=1e-10, max_iter=1000).fit(standard, targets[:, k])
        np.testing.assert_allclose(found.apply(logits)[:, k], model.decision_function(standard), atol=1e-3)


def test_stacking_weighs_the_sharper_member_more_and_corrects_a_wrong_scale():
    logits, targets, patients = simulated("multilabel", 900, members=2, noise=(0.3, 3.0))
    logits = logits * 5  # five times too sure
    found = fit("stack", logits, targets, "multilabel", patients).combiner
    assert (found.weights[:, 0] > 3 * np.abs(found.weights[:, 1])).all()
    likely, shares = expit(found.apply(logits).astype(float)), targets.mean(0)
    np.testing.assert_allclose(likely.mean(0), shares, atol=0.01)  # a fitted intercept balances the books
    assert log_loss(targets[:, 0], likely[:, 0]) < log_loss(targets[:, 0], expit(logits[0, :, 0].astype(float)))


def test_the_penalty_is_the_one_with_the_least_loss_on_patients_left_out():
    logits, targets, patients = simulated("multilabel", 90, noise=(2.0, 2.0, 2.0, 2.0))
    losses = {}
    for penalty in PENALTIES:
        unseen = np.empty(targets.shape)
        for seen, new in GroupKFold(5).split(targets, groups=patients):
            for k in range(3):
                raw = logits[:, :, k].T.astype(float)
                mean, sd = raw[seen].mean(0), raw[seen].std(0)
                model = LogisticRegression(C=penalty, tol=1e-8, max_iter=1000)
                model.fit((raw[seen] - mean) / sd, targets[seen, k])
                unseen[new, k] = model.predict_proba((raw[new] - mean) / sd)[:, 1]
        losses[penalty] = -np.where(targets, np.log(unseen), np.log(1 - unseen)).mean()
    fitted = fit("stack", logits, targets, "multilabel", patients)
    assert fitted.combiner.penalty == min(losses, key=losses.get)
    as_fitted = left_out(
        METHODS["stack"], logits, targets, "multilabel", patients, aligned=False, **fitted.combiner.chosen
    )
    loss = -np.where(targets, np.log(expit(as_fitted)), np.log(1 - expit(as_fitted))).mean()
    assert loss == pytest.approx(min(losses.values()), rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_a_class_with_nothing_to_fit_has_the_mean_logit(task):
    logits, targets, patients = simulated(task)
    if task == "multilabel":
        targets[:, 2] = 0
    else:
        targets[targets[:, 2] == 1] = [1, 0, 0]
    found = fit("stack", logits, targets, task, patients)
    assert found.combiner.unfitted == ((2,) if task == "multilabel" else (0, 1, 2))
    expected = fit("mean_logit", logits, targets, task, patients).combiner.apply(logits)
    columns = [2] if task == "multilabel" else [0, 1, 2]
    np.testing.assert_allclose(found.combiner.apply(logits)[:, columns], expected[:, columns], atol=1e-5)


def test_stacking_of_two_classes_is_a_softmax_too():
    logits, targets, patients = simulated("multiclass", classes=2)
    likely = link(fit("stack", logits, targets, "multiclass", patients).combiner.apply(logits), "multiclass")
    np.testing.assert_allclose(likely.mean(0), targets.mean(0), atol=1e-3)
    assert roc_auc_score(targets[:, 1], likely[:, 1]) > 0.8


@pytest.mark.parametrize("method", ["vote", "slsqp", "greedy", "stack"])
def test_validation_logits_of_a_patient_come_from_a_fit_without_that_patient(method):
    logits, targets, patients = simulated("multilabel", 120)
    fitted = fit(method, logits, targets, "multilabel", patients)
    fold = next(iter(GroupKFold(5).split(targets, groups=patients)))[1]
    flipped = targets.copy()
    flipped[fold] = 1 - flipped[fold]
    again = left_out(METHODS[method], logits, flipped, "multilabel", patients, **fitted.combiner.chosen)
    shift = again[fold] - fitted.val_logits[fold]
    if method == "stack":  # all folds are moved to one mean, by as much for every image of the fold
        np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), atol=1e-5)
    else:
        assert not shift.any()
    assert not np.array_equal(again, fitted.val_logits)


@pytest.mark.parametrize("method", ["mean", "mean_logit", "rank_mean"])
def test_methods_that_say_so_look_at_no_label(method):
    logits, targets, patients = simulated("multilabel")
    a, b = (fit(method, logits, t, "multilabel", patients) for t in (targets, 1 - targets))
    assert np.array_equal(a.val_logits, b.val_logits)
    assert a.combiner.fitted_on in ("nothing", "validation predictions")


def test_one_patient_has_nothing_to_leave_out():
    logits, targets, _ = simulated("multilabel")
    fitted = fit("slsqp", logits, targets, "multilabel", np.zeros(len(targets)))
    assert np.array_equal(fitted.val_logits, fitted.combiner.apply(logits))


@pytest.mark.parametrize("what", ["one member", "shape", "patients", "nan"])
def test_a_fit_refuses_what_it_cannot_combine(what):
    logits, targets, patients = simulated("multilabel")
    if what == "nan":
        logits[0, 0, 0] = np.nan
    arguments = {
        "one member": (logits[:1], targets, patients),
        "shape": (logits, targets[:, :2], patients),
        "patients": (logits, targets, patients[:-1]),
        "nan": (logits, targets, patients),
    }[what]
    with pytest.raises(ValueError, match="finite" if what == "nan" else "expected"):
        fit("mean", *arguments[:2], "multilabel", arguments[2])


def test_stacks_of_noise_are_worth_as_much_on_validation_as_elsewhere():
    """Members that know nothing: folds ranked with their own intercepts would come out below one half."""
    values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        targets = (rng.random((100, 1)) < 0.1).astype(np.uint8)
        targets[:2] = [[0], [1]]
        logits = rng.normal(size=(3, 100, 1)).astype(np.float32)
        unseen = left_out(METHODS["stack"], logits, targets, "multilabel", np.arange(100), penalty=1e-3)
        values.append(roc_auc_score(targets, unseen))
    assert np.mean(values) == pytest.approx(0.5, abs=3 * np.std(values) / np.sqrt(40))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_members_who_are_sure_of_everything_keep_their_order(method, task):
    """Every probability is 1 to all digits; what ranks the images lies in the logits."""
    rng = np.random.default_rng(0)
    targets = np.eye(2, dtype=np.uint8)[(rng.random(200) < 0.5).astype(int)]
    score = 98.5 + targets[:, 1] + 0.3 * rng.normal(size=(3, 200))
    logits = np.stack([np.zeros_like(score), score], axis=-1).astype(np.float32)
    if task == "multilabel":
        logits, targets = logits[..., 1:], targets[:, 1:]
    fitted = fit(method, logits, targets, task, np.arange(200))
    combined = log_odds(fitted.combiner.apply(logits), task)[:, -1]
    member = np.mean([roc_auc_score(targets[:, -1], z) for z in score])
    assert roc_auc_score(targets[:, -1], combined) >= member


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_are_those_of_scikit_learn(folds):
    patients = np.array([f"p{i}" for i in np.random.default_rng(0).integers(0, 40, size=130)])
    found = patient_folds(patients, folds)
    for f, (_, new) in enumerate(GroupKFold(folds).split(patients, groups=patients)):
        np.testing.assert_array_equal(np.flatnonzero(found == f), new)


@pytest.mark.parametrize("method", METHODS)
def test_a_class_is_fitted_on_the_images_whose_label_is_known(method):
    logits, targets, patients = simulated("multilabel", 200, 3, noise=(0.3, 0.5, 0.9))
    hidden = targets.astype(np.float32)
    hidden[:60, 1], hidden[150:, 1] = np.nan, np.nan
    fitted = METHODS[method](logits, hidden, "multilabel", patients)
    known = slice(60, 150)
    if method in ("stack", "vote"):  # each class by itself
        options = {"penalty": 0.1} if method == "stack" else {}
        fitted = METHODS[method](logits, hidden, "multilabel", patients, **options)
        alone = METHODS[method](logits[:, known], targets[known], "multilabel", patients[known], **options)
        whole = METHODS[method](logits, targets, "multilabel", patients, **options)
        result = fitted.apply(logits)
        np.testing.assert_allclose(result[:, 1], alone.apply(logits)[:, 1], rtol=1e-5)
        np.testing.assert_allclose(result[:, [0, 2]], whole.apply(logits)[:, [0, 2]], rtol=1e-5)
    assert np.isfinite(fitted.apply(logits)).all()
    assert np.isfinite(fit(method, logits, hidden, "multilabel", patients).val_logits).all()


def test_weights_of_least_loss_are_those_of_the_known_labels():
    logits, targets, patients = simulated("multilabel", 200, 3, noise=(0.3, 0.5, 0.9))
    hidden = np.where(np.random.default_rng(0).random(targets.shape) < 0.4, np.nan, targets)
    weights = METHODS["slsqp"](logits, hidden, "multilabel", patients).describe()["weights"]

    def loss(of):
        likely = np.einsum("m,mnk->nk", of, expit(logits.astype(np.float64)))
        known = ~np.isnan(hidden)
        return log_loss(targets[known], likely[known])

    for other in ([1, 0, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3], [0.8, 0.2, 0]):
        assert loss(np.array(weights)) <= loss(np.array(other)) + 1e-9
