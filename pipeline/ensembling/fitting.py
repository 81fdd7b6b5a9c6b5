"""Fitting the combiners on the validation part: one function per method, and predictions of patients left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.ensembling.combiners import (
    LABELS,
    TINY,
    Combiner,
    Curve,
    FittedCombiner,
    LinearPool,
    MeanLogit,
    MeanProbability,
    Places,
    RankMean,
    Stack,
    Vote,
    log_probabilities,
    mean_places,
    pooled_log_odds,
    stack_features,
)
from pipeline.metrics.functions import rank_auroc
from pipeline.metrics.logistic import fit_logistic, fit_logistics, log_odds, mean_log_loss, truth_probabilities
from pipeline.metrics.thresholds import best_f1_thresholds, probabilities
from pipeline.study.unknown import known_of, sides

FOLDS = 5
"""Groups of validation patients that are left out in turn where labels are fitted."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C of the L2 penalty of `fit_stack`, scikit-learn's meaning."""
_CLIP = (TINY, 1.0)
"""Of the probability of the truth, before its logarithm."""
_STARTS = 4
_ROUNDS, _PATIENCE = 20, 3


def fit_mean(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> MeanProbability:
    """Fit nothing; see `MeanProbability`."""
    return MeanProbability(task)


def fit_mean_logit(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> MeanLogit:
    """Fit nothing; see `MeanLogit`."""
    return MeanLogit(task)


def fit_rank_mean(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> RankMean:
    """Note the validation scores of each member and class; labels are not looked at. See `RankMean`."""
    odds = [log_odds(member, task) for member in logits]
    places = tuple(tuple(Places.of(z[:, k]) for k in range(z.shape[1])) for z in odds)
    means, mean = mean_places(places, odds), pooled_log_odds(logits, task)
    return RankMean(task, places, tuple(Curve.between(means[:, k], mean[:, k]) for k in range(means.shape[1])))


def fit_vote(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> Vote:
    """Choose each member's thresholds of highest F1; multiclass needs none. See `Vote`."""
    if task == "multiclass":
        return Vote(task, np.full((len(logits), targets.shape[1]), np.nan))
    chosen = np.stack([best_f1_thresholds(targets, probabilities(member, task)) for member in logits])
    return Vote(task, np.where(np.isnan(chosen), 0.5, chosen))


def fit_slsqp(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> LinearPool:
    """Find the weights on the simplex with the least log-loss, one set for all classes.

    Notes
    -----
    The loss is convex in the weights, so that every start ends at the same loss; starting from equal weights, from the
    best member and from random weights (fixed seed) guards against a solver that stops early. Kraft, "A software
    package for sequential quadratic programming", DFVLR-FB 88-28, 1988.
    """
    likely = np.stack([truth_probabilities(member, targets, task, _CLIP).ravel() for member in logits], axis=1)
    n_members = likely.shape[1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(likely @ weights, TINY)
        return float(-np.log(mixed).mean()), -(1 / mixed) @ likely / len(mixed)

    from scipy.optimize import minimize  # not at the top: a quarter of a second

    equal = np.full(n_members, 1 / n_members)
    best_member = np.eye(n_members)[np.argmax(np.log(likely).sum(axis=0))]
    at_random = np.random.default_rng(0).dirichlet(np.ones(n_members), _STARTS - 2)
    candidates = [equal]
    for start in (equal, (best_member + equal) / 2, *at_random):
        solution = minimize(
            loss,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * n_members,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-10, "maxiter": 200},
        )
        weights = np.clip(solution.x, 0, 1)
        if np.isfinite(weights).all() and weights.sum() > 0:
            candidates.append(weights / weights.sum())
    return LinearPool(task, min(candidates, key=lambda w: loss(w)[0]))


def fit_greedy(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> LinearPool:
    """Add members one by one, each as often as it helps, by the macro AUROC of their mean probability.

    Of equal candidates the first is taken; the set with the highest value met on the way is kept, the smallest of
    equal ones. The search ends after 20 additions, or 3 without a better value.

    Notes
    -----
    Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble selection from libraries of models", ICML 2004,
    doi:10.1145/1015330.1015432.
    """
    # The members' sums of p and of 1 - p, in logarithms, so that members who are sure keep their order.
    likely = np.stack([np.stack(log_probabilities(member, task)) for member in logits])
    picked = np.zeros(len(likely))
    total = np.full_like(likely[0], -np.inf)
    best, kept, since = -np.inf, np.full(len(likely), 1 / len(likely)), 0
    for _ in range(_ROUNDS):
        sums = np.logaddexp(total, likely)
        values = _macro_aurocs(targets, sums[:, 0] - sums[:, 1])
        choice = int(np.argmax(values))
        picked[choice] += 1
        total = sums[choice]
        if values[choice] > best:
            best, kept, since = values[choice], picked / picked.sum(), 0
        else:
            since += 1
            if since == _PATIENCE:
                break
    return LinearPool(task, kept)


def _macro_aurocs(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Macro AUROC [C] of scores [C, N, K] over the classes with both kinds of truth; 0 without any: all are equal."""
    known = np.logical_and(*(side > 0 for side in sides(targets)))
    if not known.any():
        return np.zeros(len(scores))
    # All candidates' classes side by side: a call for each takes longer for its checks than for its ranks.
    side_by_side = scores[..., known].transpose(1, 0, 2).reshape(len(targets), -1)
    return rank_auroc(np.tile(targets[:, known], len(scores)), side_by_side).reshape(len(scores), -1).mean(axis=1)


def fit_stack(
    logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray, *, penalty: float | None = None
) -> Stack:
    """Fit a logistic regression on the members' logits.

    Parameters
    ----------
    logits, targets, task, patients
        As for every method of `METHODS`.
    penalty : float or None
        Inverse strength of the penalty; None takes that of `PENALTIES` with the least log-loss on patients that a fit
        has not seen, one for all classes, the stronger of equals.

    Notes
    -----
    Wolpert, "Stacked generalization", Neural Networks 5(2), 1992, doi:10.1016/S0893-6080(05)80023-1.
    """
    if penalty is not None:
        return _stacks(logits, targets, task, (penalty,))[0]
    of_each = _left_out(
        lambda seen, truth, _: _stacks(seen, truth, task, PENALTIES), logits, targets, patients, len(PENALTIES)
    )
    best = int(np.argmin([mean_log_loss(z, targets, task, _CLIP) for z, _ in of_each]))
    return replace(_stacks(logits, targets, task, (PENALTIES[best],))[0], unseen=of_each[best][1])


def _stacks(logits: np.ndarray, targets: np.ndarray, task: str, penalties: Sequence[float]) -> list[Stack]:
    """Fit a stack under each of `penalties`."""
    features = stack_features(logits, task)
    n_members, _, n_classes = logits.shape
    if task == "multilabel":
        truth, known = (np.asarray(targets) == 1).T, known_of(np.asarray(targets))
        fitted = np.logical_and(*(side > 0 for side in sides(np.asarray(targets))))
        rows = None if known is None else known.T[fitted]
        unfitted = tuple(np.flatnonzero(~fitted).tolist())
        stacks = []
        for penalty, found in zip(
            penalties, fit_logistics(features.transpose(2, 0, 1)[fitted], truth[fitted], penalties, rows)
        ):
            weights, intercepts = np.full((n_classes, n_members), 1 / n_members), np.zeros(n_classes)
            weights[fitted], intercepts[fitted] = found
            stacks.append(Stack(task, weights, intercepts, penalty, unfitted))
        return stacks
    chosen = np.asarray(targets).argmax(axis=1)
    return [
        _softmax_stack(fit_logistic(features, chosen, c, n_classes), task, c, n_members, n_classes) for c in penalties
    ]


def _softmax_stack(
    fitted: tuple[np.ndarray, np.ndarray] | None, task: str, penalty: float, n_members: int, n_classes: int
) -> Stack:
    """Make a stack of a regression on all M K log-probabilities."""
    if fitted is None:
        equal = np.tile(np.eye(n_classes) / n_members, n_members), np.zeros(n_classes)
        return Stack(task, *equal, penalty, tuple(range(n_classes)))
    weights, intercepts = fitted
    if n_classes == 2:  # log-odds of class 1 are a softmax whose class 0 stays at 0
        weights, intercepts = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, intercepts)
    return Stack(task, weights, intercepts, penalty, ())


METHODS: dict[str, Callable[..., Combiner]] = {
    "mean": fit_mean,
    "mean_logit": fit_mean_logit,
    "rank_mean": fit_rank_mean,
    "vote": fit_vote,
    "slsqp": fit_slsqp,
    "greedy": fit_greedy,
    "stack": fit_stack,
}
"""Each is called with (val_logits [M, N, K], val_targets [N, K], task, val_patients [N]) and returns a `Combiner`."""


@threadpool_limits.wrap(limits=1, user_api="blas")  # the products are small: threads only wait for each other
def fit(method: str, logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> FittedCombiner:
    """Fit `method` on the validation part, and compute its validation logits as those of images that it has not seen.

    Parameters
    ----------
    method : str
        A key of `METHODS`.
    logits : float [M, N, K]
        Validation predictions of at least two members, finite.
    targets : 0/1 [N, K]
        Validation truth.
    task : {"multilabel", "multiclass"}
        Of the data set.
    patients : str or int [N]
        Patient of each image: the unit that is left out.

    Raises
    ------
    ValueError
        If shapes do not fit or a logit is not finite.
    """
    logits, targets = np.asarray(logits), np.asarray(targets)
    if logits.ndim != 3 or len(logits) < 2 or logits.shape[1:] != targets.shape or len(patients) != len(targets):
        shapes = f"logits {logits.shape}, targets {targets.shape}, {len(patients)} patients"
        raise ValueError(f"{shapes}; expected [M, N, K] with M > 1, [N, K] and [N]")
    if not np.isfinite(logits).all():
        raise ValueError("a logit is not finite")
    combiner = METHODS[method](logits, targets, task, patients)
    if combiner.fitted_on != LABELS:
        return FittedCombiner(combiner, combiner.apply(logits))
    unseen = combiner.left_out
    if unseen is None:
        unseen = left_out(METHODS[method], logits, targets, task, patients, **combiner.chosen)
    return FittedCombiner(combiner, unseen)


def left_out(
    method: Callable[..., Combiner],
    logits: np.ndarray,
    targets: np.ndarray,
    task: str,
    patients: np.ndarray,
    *,
    aligned: bool = True,
    **chosen: Any,
) -> np.ndarray:
    """Combine the validation part of each fold of patients by a fit on the other folds.

    Parameters
    ----------
    method, logits, targets, task, patients
        As for `fit`; a function of `METHODS`.
    aligned : bool
        Whether the folds are brought to one scale, to be ranked together.
    **chosen
        What the fits are not to choose again.

    Returns
    -------
    float32 [N, K]
        With fewer than two patients nothing can be left out: that of the fit on all.

    Notes
    -----
    A fold that holds more than its share of a class leaves less of it to its fit, whose intercept is then lower: ranked
    together, the folds would work against the class (the validation AUROC of the default study's stacks was 0.09 too
    low). Fits with an intercept are therefore moved until all have the same mean logit over all validation images,
    which looks at no label.
    """
    [(raw, moved)] = _left_out(
        lambda seen, truth, of: [method(seen, truth, task, of, **chosen)], logits, targets, patients, 1
    )
    return moved if aligned else raw


def _left_out(
    fits: Callable[[np.ndarray, np.ndarray, np.ndarray], Sequence[Combiner]],
    logits: np.ndarray,
    targets: np.ndarray,
    patients: np.ndarray,
    n_fits: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the logits of `left_out` as they are, and brought to one scale, of each of the `n_fits` fits to a fold."""
    patients = np.asarray(patients)
    of_fold = patient_folds(patients, FOLDS)
    folds = int(of_fold.max()) + 1
    if folds < 2:
        return [(whole := combiner.apply(logits), whole) for combiner in fits(logits, targets, patients)]
    raw = np.empty((n_fits, *targets.shape), np.float32)
    means = np.zeros((n_fits, folds, targets.shape[1]))
    for f in range(folds):
        new = of_fold == f
        for i, combiner in enumerate(fits(logits[:, ~new], targets[~new], patients[~new])):
            if combiner.has_intercept:
                everyone = combiner.apply(logits)
                raw[i, new], means[i, f] = everyone[new], everyone.mean(axis=0, dtype=np.float64)
            else:
                raw[i, new] = combiner.apply(logits[:, new])
    shifts = (means.mean(axis=1, keepdims=True) - means).astype(np.float32)
    return [(unmoved, unmoved + shift[of_fold]) for unmoved, shift in zip(raw, shifts)]


def patient_folds(patients: np.ndarray, folds: int) -> np.ndarray:
    """Deal patients out to folds of as equal numbers of images as can be, those with the most images first.

    Parameters
    ----------
    patients : str or int [N]
        Patient of each image.
    folds : int
        At most; no more than there are patients.

    Returns
    -------
    int64 [N]
        Fold of each image, as by scikit-learn's GroupKFold (whose import takes longer than all fits of a small study).
    """
    _, group, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    weights = np.zeros(min(folds, len(sizes)))
    of_group = np.empty(len(sizes), dtype=np.int64)
    for g in np.argsort(sizes, kind="stable")[::-1]:
        of_group[g] = lightest = int(np.argmin(weights))
        weights[lightest] += sizes[g]
    return of_group[group]
