"""Combining the predictions of several models, and which of them to combine.

Every method is fitted on the validation part: no function here takes anything of the test part but logits. A fit gives
a `Combiner`, which turns the members' logits into logits of the ensemble. Whatever a method computes inside, it hands
back numbers whose sigmoid or softmax can be read as a probability, so that an ensemble is scored like a model.

========== ==================================================== =====================================================
method     combines                                             its probability
========== ==================================================== =====================================================
mean       probabilities, by their mean                         that mean
mean_logit logits, by their mean (a geometric mean of the odds) the sigmoid or softmax of the mean
rank_mean  places among the validation part's scores, by mean   of the validation image of the same place in the mean
vote       decisions, by counting                               (votes + mean probability) / (members + 1)
slsqp      probabilities, by weights of least log-loss          the weighted mean
greedy     probabilities, by how often each was picked          the weighted mean
stack      logits, by a penalised logistic regression           the regression's
========== ==================================================== =====================================================
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import log_softmax, logit, logsumexp
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from pipeline.statistics.seeds import holm
from pipeline.statistics.thresholds import best_f1_thresholds, probabilities

FOLDS = 5
"""Groups of validation patients that are left out in turn where labels are fitted."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Inverse strengths C of the L2 penalty of `fit_stack`, scikit-learn's meaning."""
TOP_RECIPES = (3, 5)
"""Sizes of the ensembles of the best recipes, as in Rajaraman et al. 2021, arXiv 2109.14433."""
NOTHING, PREDICTIONS, LABELS = "nothing", "validation predictions", "validation labels"
"""What a combiner may have been fitted on."""
_TINY = 1e-12
_STARTS = 4
_ROUNDS, _PATIENCE = 20, 3


class Combiner(ABC):
    """A fitted way to combine M members, in the order in which they were given."""

    @abstractmethod
    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Combine logits [M, N, K] of any part into float32 logits [N, K], each image without a look at the others."""

    def describe(self) -> dict[str, Any]:
        """Return what was fitted, JSON-compatible; `weights` [M] where each member has one number."""
        return {}

    @property
    def fitted_on(self) -> str:
        """What the fit has looked at: `NOTHING`, `PREDICTIONS` or `LABELS`."""
        return NOTHING

    @property
    def chosen(self) -> dict[str, Any]:
        """Settings that validation chose; a fit that leaves patients out takes them over."""
        return {}


class Fitted(NamedTuple):
    """A combiner and what it makes of the validation part.

    Parameters
    ----------
    combiner : Combiner
        Fitted on the whole validation part.
    val_logits : float32 [N, K]
        Of the validation part. Where labels are fitted, each patient's are those of a fit without that patient, so
        that they rank methods fairly and carry thresholds over to new images.
    """

    combiner: Combiner
    val_logits: np.ndarray


def mean_probability_logits(logits: np.ndarray, task: str) -> np.ndarray:
    """Average the members' probabilities, and give the average as logits.

    Parameters
    ----------
    logits : float [M, N, K]
        Of M members.
    task : {"multilabel", "multiclass"}
        Decides between sigmoid and softmax.

    Returns
    -------
    float32 [N, K]
        Whose sigmoid or softmax is the members' mean probability, up to probabilities within 1e-12 of 0 and 1.
    """
    return _as_logits(_mean_probability(logits, task), task)


def _mean_probability(logits: np.ndarray, task: str) -> np.ndarray:
    """Average the members' probabilities: float64 [N, K]."""
    return np.mean([probabilities(member, task) for member in logits], axis=0)


def _as_logits(likely: np.ndarray, task: str) -> np.ndarray:
    """Turn probabilities [N, K] into float32 logits."""
    likely = np.clip(likely, _TINY, 1 - _TINY)
    result = np.log(likely) if task == "multiclass" else np.log(likely) - np.log1p(-likely)
    return result.astype(np.float32)


# --- methods that look at no label --------------------------------------------------------------------------------


@dataclass(frozen=True)
class MeanProbability(Combiner):
    """The mean of the members' probabilities."""

    task: str

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        return mean_probability_logits(logits, self.task)


@dataclass(frozen=True)
class MeanLogit(Combiner):
    """The mean of the members' logits; of log-probabilities for multiclass, whose logits have no zero of their own."""

    task: str

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        values = np.asarray(logits, dtype=np.float64)
        return (log_softmax(values, axis=-1) if self.task == "multiclass" else values).mean(axis=0).astype(np.float32)


@dataclass(frozen=True)
class _Places:
    """The place of a score among reference scores, in (0, 1): strictly increasing, also beyond the reference.

    Equal reference scores share the middle of their places, as in a mid-rank; between two it is interpolated. Beyond
    the ends it approaches 0 and 1 exponentially, over the reference's standard deviation: were it cut off there, the
    images that a model is surest of would all be tied.
    """

    knots: np.ndarray
    places: np.ndarray
    scale: float

    @classmethod
    def of(cls, reference: np.ndarray) -> _Places:
        knots, counts = np.unique(reference, return_counts=True)
        return cls(knots, (np.cumsum(counts) - counts / 2) / counts.sum(), float(reference.std()) or 1.0)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        low = self.places[0] * np.exp(np.minimum(scores - self.knots[0], 0) / self.scale)
        high = 1 - (1 - self.places[-1]) * np.exp(np.minimum(self.knots[-1] - scores, 0) / self.scale)
        middle = np.interp(scores, self.knots, self.places)
        return np.where(scores < self.knots[0], low, np.where(scores > self.knots[-1], high, middle))


@dataclass(frozen=True)
class _Curve:
    """A non-decreasing map from (0, 1) to log-odds through knots; beyond them it follows the log-odds of its input."""

    knots: np.ndarray
    values: np.ndarray

    @classmethod
    def between(cls, places: np.ndarray, odds: np.ndarray) -> _Curve:
        """Map the j-th smallest of `places` [n] to the j-th smallest of `odds` [n], equal ones to a mean."""
        knots, group = np.unique(np.sort(places), return_inverse=True)
        return cls(knots, np.bincount(group, np.sort(odds)) / np.bincount(group))

    def __call__(self, places: np.ndarray) -> np.ndarray:
        at = logit(np.clip(places, _TINY, 1 - _TINY))
        ends = logit(np.clip(self.knots[[0, -1]], _TINY, 1 - _TINY))
        beyond = np.minimum(at - ends[0], 0) + np.maximum(at - ends[1], 0)
        return np.interp(places, self.knots, self.values) + beyond


@dataclass(frozen=True)
class RankMean(Combiner):
    """The mean of the places that the members give an image among the scores of the validation part.

    The reference is the validation part and not the part that is scored, so that an image's result does not depend on
    which other images are scored with it.
    """

    task: str
    places: tuple[tuple[_Places, ...], ...]
    curves: tuple[_Curve, ...]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        means = _mean_places(self.places, [_log_odds(member, self.task) for member in logits])
        odds = np.stack([curve(means[:, k]) for k, curve in enumerate(self.curves)], axis=-1)
        # log sigmoid: softmax then shares 1 out in proportion to each class's own probability.
        return (-np.logaddexp(0, -odds) if self.task == "multiclass" else odds).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """See `Combiner.describe`."""
        return {"distinct_reference_scores": [[len(p.knots) for p in member] for member in self.places]}

    @property
    def fitted_on(self) -> str:
        """See `Combiner.fitted_on`."""
        return PREDICTIONS


def _log_odds(logits: np.ndarray, task: str) -> np.ndarray:
    """Return the log-odds of each class against the rest, float64 [N, K]."""
    values = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        return values
    rest = [logsumexp(np.delete(values, k, axis=-1), axis=-1) for k in range(values.shape[-1])]
    return values - np.stack(rest, axis=-1)


def _mean_places(places: Sequence[Sequence[_Places]], odds: Sequence[np.ndarray]) -> np.ndarray:
    """Average over the members the place of each image, [N, K]."""
    return np.mean([np.stack([p(z[:, k]) for k, p in enumerate(ps)], axis=-1) for ps, z in zip(places, odds)], axis=0)


# --- methods that are fitted to validation labels -----------------------------------------------------------------


@dataclass(frozen=True)
class Vote(Combiner):
    """The share of members that vote for a class, ties broken by the members' mean probability.

    Multi-label: a member votes where its probability reaches its own validation threshold of highest F1 (0.5 where
    validation has no positive). Multiclass: a member votes for its largest logit. With v votes and mean probability p
    of M members, the result is the probability (v + p) / (M + 1): p only decides between equal numbers of votes, 0.5
    is reached by a majority, or by half of the votes with p >= 0.5, and multiclass probabilities sum to 1. Members
    that agree count as proof, so that these probabilities are too sure: their order is meant, not their log-loss.
    """

    task: str
    thresholds: np.ndarray

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        votes = np.sum([self._votes(*pair) for pair in zip(logits, self.thresholds, strict=True)], axis=0)
        return _as_logits((votes + _mean_probability(logits, self.task)) / (len(logits) + 1), self.task)

    def _votes(self, logits: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        """Return which classes [N, K] one member votes for."""
        if self.task == "multilabel":
            return probabilities(logits, self.task) >= thresholds
        return logits.argmax(axis=-1)[:, None] == np.arange(logits.shape[-1])

    def describe(self) -> dict[str, Any]:
        """See `Combiner.describe`."""
        return {"thresholds": self.thresholds.tolist()} if self.task == "multilabel" else {}

    @property
    def fitted_on(self) -> str:
        """See `Combiner.fitted_on`."""
        return LABELS if self.task == "multilabel" else NOTHING


@dataclass(frozen=True)
class LinearPool(Combiner):
    """The mean of the members' probabilities under weights [M] that sum to 1."""

    task: str
    weights: np.ndarray

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        likely = [w * probabilities(member, self.task) for w, member in zip(self.weights, logits, strict=True)]
        return _as_logits(np.sum(likely, axis=0), self.task)

    def describe(self) -> dict[str, Any]:
        """See `Combiner.describe`."""
        return {"weights": self.weights.tolist()}

    @property
    def fitted_on(self) -> str:
        """See `Combiner.fitted_on`."""
        return LABELS


@dataclass(frozen=True)
class Stack(Combiner):
    """Logistic regression on the members' logits: multi-label a class from its own M logits, multiclass from all M K.

    Parameters
    ----------
    task : str
        Of the data set.
    weights : float64 [K, M] or [K, M K]
        Of raw logits (multi-label), or of log-probabilities, member by member.
    intercepts : float64 [K]
        As the name says.
    penalty : float
        Of `PENALTIES`, chosen by cross-fitting.
    unfitted : tuple of int
        Classes for which there was nothing to fit (one kind of truth only): they have the mean logit.
    """

    task: str
    weights: np.ndarray
    intercepts: np.ndarray
    penalty: float
    unfitted: tuple[int, ...]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        features = _stack_features(logits, self.task)
        if self.task == "multilabel":
            return (np.einsum("nmk,km->nk", features, self.weights) + self.intercepts).astype(np.float32)
        return (features @ self.weights.T + self.intercepts).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """See `Combiner.describe`."""
        return {
            "penalty": self.penalty,
            "coefficients": self.weights.tolist(),
            "intercepts": self.intercepts.tolist(),
            "unfitted_classes": list(self.unfitted),
        }

    @property
    def fitted_on(self) -> str:
        """See `Combiner.fitted_on`."""
        return LABELS

    @property
    def chosen(self) -> dict[str, Any]:
        """See `Combiner.chosen`."""
        return {"penalty": self.penalty}


# --- fits ---------------------------------------------------------------------------------------------------------


def fit_mean(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> MeanProbability:
    """Fit nothing; see `MeanProbability`."""
    return MeanProbability(task)


def fit_mean_logit(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> MeanLogit:
    """Fit nothing; see `MeanLogit`."""
    return MeanLogit(task)


def fit_rank_mean(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> RankMean:
    """Note the validation scores of each member and class; labels are not looked at. See `RankMean`."""
    odds = [_log_odds(member, task) for member in logits]
    places = tuple(tuple(_Places.of(z[:, k]) for k in range(z.shape[1])) for z in odds)
    means, mean = _mean_places(places, odds), logit(np.clip(_mean_probability(logits, task), _TINY, 1 - _TINY))
    return RankMean(task, places, tuple(_Curve.between(means[:, k], mean[:, k]) for k in range(means.shape[1])))


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
    likely = _of_truth(logits, targets, task)
    n_members = likely.shape[1]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        mixed = np.maximum(likely @ weights, _TINY)
        return float(-np.log(mixed).mean()), -(1 / mixed) @ likely / len(mixed)

    equal = np.full(n_members, 1 / n_members)
    best_member = np.eye(n_members)[np.argmax(np.log(likely).sum(axis=0))]
    drawn = np.random.default_rng(0).dirichlet(np.ones(n_members), _STARTS - 2)
    found = [equal]
    for start in (equal, (best_member + equal) / 2, *drawn):
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
            found.append(weights / weights.sum())
    return LinearPool(task, min(found, key=lambda w: loss(w)[0]))


def _of_truth(logits: np.ndarray, targets: np.ndarray, task: str) -> np.ndarray:
    """Return the probability that each member gives to what is true: [N K, M] (multi-label) or [N, M]."""
    truth = np.asarray(targets).astype(bool)
    columns = []
    for member in logits:
        likely = probabilities(member, task)
        columns.append(likely[truth] if task == "multiclass" else np.where(truth, likely, 1 - likely).ravel())
    return np.clip(np.stack(columns, axis=1), _TINY, 1.0)


def fit_greedy(logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> LinearPool:
    """Add members one by one, each as often as it helps, by the macro AUROC of their mean probability.

    Of equal candidates the first is taken; the set with the highest value met on the way is kept, the smallest of
    equal ones. The search ends after 20 additions, or 3 without a better value.

    Notes
    -----
    Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble selection from libraries of models", ICML 2004,
    doi:10.1145/1015330.1015432.
    """
    likely = [probabilities(member, task) for member in logits]
    picked = np.zeros(len(likely))
    total = np.zeros_like(likely[0])
    best, kept, since = -np.inf, np.full(len(likely), 1 / len(likely)), 0
    for _ in range(_ROUNDS):
        values = [_macro_auroc(targets, total + member) for member in likely]
        choice = int(np.argmax(values))
        picked[choice] += 1
        total = total + likely[choice]
        if values[choice] > best:
            best, kept, since = values[choice], picked / picked.sum(), 0
        else:
            since += 1
            if since == _PATIENCE:
                break
    return LinearPool(task, kept)


def _macro_auroc(targets: np.ndarray, scores: np.ndarray) -> float:
    """Macro AUROC over the classes with both kinds of truth; 0 without any, so that every candidate is equal."""
    values = rank_auroc(targets, scores)
    return float(values[~np.isnan(values)].mean()) if not np.isnan(values).all() else 0.0


def rank_auroc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """AUROC of each class by mid-ranks: `metrics.class_auroc` without what weights need, for many calls.

    Parameters
    ----------
    targets : 0/1 [N, K]
        Truth.
    scores : float [N, K]
        Finite.

    Returns
    -------
    float64 [K]
        NaN for a class without a positive or a negative.
    """
    truth = np.asarray(targets).astype(bool)
    positives, negatives = truth.sum(axis=0).astype(float), (~truth).sum(axis=0).astype(float)
    wins = (rankdata(scores, axis=0) * truth).sum(axis=0) - positives * (positives + 1) / 2
    pairs = positives * negatives
    return np.divide(wins, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


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
    if penalty is None:
        unseen = [left_out(fit_stack, logits, targets, task, patients, penalty=c) for c in PENALTIES]
        penalty = PENALTIES[int(np.argmin([_log_loss(z, targets, task) for z in unseen]))]
    features = _stack_features(logits, task)
    n_members, _, n_classes = logits.shape
    if task == "multilabel":
        fits = [fit_logistic(features[:, :, k], targets[:, k], penalty) for k in range(n_classes)]
        unfitted = tuple(k for k, found in enumerate(fits) if found is None)
        equal = np.full((1, n_members), 1 / n_members), np.zeros(1)
        weights, intercepts = (np.concatenate(parts) for parts in zip(*(found or equal for found in fits)))
        return Stack(task, weights, intercepts, penalty, unfitted)
    found = fit_logistic(features, np.asarray(targets).argmax(axis=1), penalty, n_classes)
    if found is None:
        equal = np.tile(np.eye(n_classes) / n_members, n_members), np.zeros(n_classes)
        return Stack(task, *equal, penalty, tuple(range(n_classes)))
    weights, intercepts = found
    if n_classes == 2:  # log-odds of class 1 are a softmax whose class 0 stays at 0
        weights, intercepts = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, intercepts)
    return Stack(task, weights, intercepts, penalty, ())


def _stack_features(logits: np.ndarray, task: str) -> np.ndarray:
    """Return [N, M, K] logits (multi-label) or [N, M K] log-probabilities, cut off where a probability is 0 or 1."""
    values = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        return np.clip(values, -30, 30).transpose(1, 0, 2)
    values = np.maximum(log_softmax(values, axis=-1), -30)
    return values.transpose(1, 0, 2).reshape(values.shape[1], -1)


def fit_logistic(
    features: np.ndarray, truth: np.ndarray, penalty: float, n_classes: int = 2
) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit a logistic regression with an L2 penalty on standardised features, and give it in their own units.

    Parameters
    ----------
    features : float [N, F]
        Finite. A feature that does not vary has weight 0.
    truth : int [N]
        Classes 0..n_classes-1.
    penalty : float
        Inverse strength C, scikit-learn's meaning.
    n_classes : int
        Two have one row, the log-odds of class 1; more have a row each, for a softmax.

    Returns
    -------
    (weights float64 [R, F], intercepts float64 [R]) or None
        R = 1 or n_classes. None if `truth` lacks a class: there is nothing to fit then.
    """
    from sklearn.linear_model import LogisticRegression

    truth = np.asarray(truth)
    if len(np.unique(truth)) < n_classes:
        return None
    mean, spread = features.mean(axis=0), features.std(axis=0)
    varies = spread > 1e-12
    scale = np.where(varies, spread, 1.0)
    model = LogisticRegression(C=penalty, solver="newton-cholesky", max_iter=200, tol=1e-6)
    model.fit(np.where(varies, (features - mean) / scale, 0.0), truth)
    weights = np.where(varies, model.coef_, 0.0) / scale
    return weights, model.intercept_ - weights @ mean


def _log_loss(logits: np.ndarray, targets: np.ndarray, task: str) -> float:
    """Mean negative log-likelihood of logits [N, K]."""
    return float(-np.log(_of_truth(logits[None], targets, task)).mean())


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
def fit(method: str, logits: np.ndarray, targets: np.ndarray, task: str, patients: np.ndarray) -> Fitted:
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
        return Fitted(combiner, combiner.apply(logits))
    return Fitted(combiner, left_out(METHODS[method], logits, targets, task, patients, **combiner.chosen))


def left_out(
    method: Callable[..., Combiner],
    logits: np.ndarray,
    targets: np.ndarray,
    task: str,
    patients: np.ndarray,
    **chosen: Any,
) -> np.ndarray:
    """Combine the validation part of each fold of patients by a fit on the other folds.

    Parameters
    ----------
    method, logits, targets, task, patients
        As for `fit`; a function of `METHODS`.
    **chosen
        What the fits are not to choose again.

    Returns
    -------
    float32 [N, K]
        With fewer than two patients nothing can be left out: that of the fit on all.
    """
    folds = min(FOLDS, len(np.unique(patients)))
    if folds < 2:
        return method(logits, targets, task, patients, **chosen).apply(logits)
    from sklearn.model_selection import GroupKFold

    result = np.empty(targets.shape, np.float32)
    for seen, new in GroupKFold(folds).split(targets, groups=patients):
        combiner = method(logits[:, seen], targets[seen], task, np.asarray(patients)[seen], **chosen)
        result[new] = combiner.apply(logits[:, new])
    return result


def member_sets(
    configurations: Sequence[str], val_auroc: Sequence[float], top_k: int, top_recipes: Sequence[int] = TOP_RECIPES
) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Name the sets of cells that are worth combining.

    Parameters
    ----------
    recipes : sequence of str [C]
        Recipe of each cell.
    val_auroc : sequence of float [C]
        Validation macro AUROC of each cell; ties keep the study's order, an undefined one ranks last, and so does a
        recipe with an undefined one.
    top_k : int
        Cells in the set of the best cells.
    top_recipes : sequence of int
        Recipes in the sets of the best recipes, with all their seeds.

    Returns
    -------
    sets : dict of str to tuple of int
        Positions of the members: "all", "top<k>" (cells), "top<n>recipes", "seeds_<recipe>".
    skipped : dict of str to str
        Why a set is not there: fewer than two members, or those of another set.
    """
    values = np.asarray(val_auroc, dtype=np.float64)
    of = {r: tuple(i for i, name in enumerate(configurations) if name == r) for r in dict.fromkeys(configurations)}
    best_cells = ranked(dict(enumerate(values)))
    best_recipes = ranked({r: values[list(cells)].mean() for r, cells in of.items()})
    candidates = {"all": tuple(range(len(configurations))), f"top{top_k}": tuple(best_cells[:top_k])}
    for n in top_recipes:
        candidates[f"top{n}recipes"] = tuple(i for r in best_recipes[:n] for i in of[r])
    candidates |= {f"seeds_{r}": cells for r, cells in of.items()}
    sets: dict[str, tuple[int, ...]] = {}
    skipped: dict[str, str] = {}
    for name, cells in candidates.items():
        same = next((other for other, there in sets.items() if set(there) == set(cells)), None)
        if len(cells) < 2:
            skipped[name] = "one member only"
        elif same is not None:
            skipped[name] = f"the same members as {same}"
        else:
            sets[name] = cells
    return sets, skipped


def ranked(values: Mapping[Any, float]) -> list[Any]:
    """Return the keys of `values`, the highest first; ties keep their order, an undefined one ranks last."""
    return sorted(values, key=lambda key: -np.nan_to_num(values[key], nan=-1.0))


def questions(
    pairs: pd.DataFrame,
    configurations: Sequence[str],
    references: Sequence[str],
    ensembles: Sequence[str],
    alpha: float,
) -> pd.DataFrame:
    """Keep the pairs that answer a question, and correct p for the number of pairs that answer the same one.

    Parameters
    ----------
    pairs : DataFrame
        Every pair of competitors, as `comparisons.compare` returns them.
    recipes : sequence of str
        Family "recipes": each against each.
    references, ensembles : sequence of str
        Family "ensembles": each ensemble against each reference. What ensembles differ by among themselves is not
        asked: the many pairs of near twins would only cost the others their power.
    alpha : float
        Level below which an adjusted p counts.

    Returns
    -------
    DataFrame
        Rows of `pairs`, recipes first, with p_holm, tost_p_holm, distinguishable and equivalent computed anew and the
        column "family" added.
    """
    first, second = pairs["first"], pairs["second"]
    families = {
        "recipes": first.isin(configurations) & second.isin(configurations),
        "ensembles": (first.isin(references) & second.isin(ensembles))
        | (first.isin(ensembles) & second.isin(references)),
    }
    tables = []
    for name, rows in families.items():
        table = pairs[rows].assign(family=name)
        for p in ("p", "tost_p"):
            table[f"{p}_holm"] = holm(table[p].to_numpy(float))
        tables.append(table)
    kept = pd.concat(tables, ignore_index=True)
    return kept.assign(distinguishable=kept["p_holm"] < alpha, equivalent=kept["tost_p_holm"] < alpha)
