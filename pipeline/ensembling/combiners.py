"""Ways to combine the predictions of several models, as they are applied.

Every method is fitted on the validation part: no combiner takes anything of the test part but logits. A fit (`fitting`)
gives a `Combiner`, which turns the members' logits into logits of the ensemble. Whatever a method computes inside, it
hands back numbers whose sigmoid or softmax can be read as a probability, so that an ensemble is scored like a model.

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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import log_softmax, logit, logsumexp

from pipeline.metrics.logistic import log_odds
from pipeline.metrics.thresholds import probabilities

NOTHING, PREDICTIONS, LABELS = "nothing", "validation predictions", "validation labels"
"""What a combiner may have been fitted on."""
TINY = 1e-12
"""Places and probabilities nearer than this to 0 or 1 are moved here before they become log-odds."""
_FAR = 30.0
"""Logit beyond which a probability is 0 or 1 to 13 digits."""


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

    @property
    def left_out(self) -> np.ndarray | None:
        """What such fits make of the validation part, float32 [N, K], where the choice has needed it already."""
        return None

    @property
    def has_intercept(self) -> bool:
        """Whether a fit moves all images of a class up or down, so that images of two fits cannot be ranked as one."""
        return False


class FittedCombiner(NamedTuple):
    """A combiner and what it makes of the validation part.

    Parameters
    ----------
    combiner : Combiner
        FittedCombiner on the whole validation part.
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
        Whose sigmoid or softmax is the members' mean probability, also where that is 0 or 1 to all digits.
    """
    return _as_logits(*pooled(logits, task), task)


def log_probabilities(logits: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Return log p and log(1 - p), float64 [..., K]: where p is 1 to all digits, its order still lies in 1 - p."""
    values = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        return -np.logaddexp(0, -values), -np.logaddexp(0, values)
    likely = log_softmax(values, axis=-1)
    return likely, likely - log_odds(values, task)


def pooled(logits: np.ndarray, task: str, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Average the probabilities of M members, in logarithms.

    Parameters
    ----------
    logits : float [M, N, K]
        Of the members.
    task : {"multilabel", "multiclass"}
        Decides between sigmoid and softmax.
    weights : float [M] or None
        They sum to 1; None gives every member the same.

    Returns
    -------
    log_mean, log_rest : float64 [N, K]
        Logarithms of the mean probability and of 1 minus it.
    """
    if weights is None:
        weights = np.full(len(logits), 1 / len(logits))
    shares = weights[:, None, None]
    log_mean, log_rest = (logsumexp(part, axis=0, b=shares) for part in log_probabilities(logits, task))
    return log_mean, log_rest


def pooled_log_odds(logits: np.ndarray, task: str) -> np.ndarray:
    """Return the log-odds, float64 [N, K], of the members' mean probability."""
    log_mean, log_rest = pooled(logits, task)
    return log_mean - log_rest


def _as_logits(log_likely: np.ndarray, log_rest: np.ndarray, task: str) -> np.ndarray:
    """Turn log p and log(1 - p), both [N, K], into float32 logits."""
    return (log_likely if task == "multiclass" else log_likely - log_rest).astype(np.float32)


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
class Places:
    """The place of a score among reference scores, in (0, 1): strictly increasing, also beyond the reference.

    Equal reference scores share the middle of their places, as in a mid-rank; between two it is interpolated. Beyond
    the ends it approaches 0 and 1 exponentially, over the reference's standard deviation: were it cut off there, the
    images that a model is surest of would all be tied.
    """

    knots: np.ndarray
    places: np.ndarray
    scale: float

    @classmethod
    def of(cls, reference: np.ndarray) -> Places:
        """Note where the scores `reference` [n] lie."""
        knots, counts = np.unique(reference, return_counts=True)
        return cls(knots, (np.cumsum(counts) - counts / 2) / counts.sum(), float(reference.std()) or 1.0)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Place each of `scores` [n]."""
        low = self.places[0] * np.exp(np.minimum(scores - self.knots[0], 0) / self.scale)
        high = 1 - (1 - self.places[-1]) * np.exp(np.minimum(self.knots[-1] - scores, 0) / self.scale)
        middle = np.interp(scores, self.knots, self.places)
        return np.where(scores < self.knots[0], low, np.where(scores > self.knots[-1], high, middle))


@dataclass(frozen=True)
class Curve:
    """A non-decreasing map from (0, 1) to log-odds through knots; beyond them it follows the log-odds of its input."""

    knots: np.ndarray
    values: np.ndarray

    @classmethod
    def between(cls, places: np.ndarray, odds: np.ndarray) -> Curve:
        """Map the j-th smallest of `places` [n] to the j-th smallest of `odds` [n], equal ones to a mean."""
        knots, group = np.unique(np.sort(places), return_inverse=True)
        return cls(knots, np.bincount(group, np.sort(odds)) / np.bincount(group))

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """Return the log-odds [n] of `places` [n]."""
        at = logit(np.clip(places, TINY, 1 - TINY))
        ends = logit(np.clip(self.knots[[0, -1]], TINY, 1 - TINY))
        beyond = np.minimum(at - ends[0], 0) + np.maximum(at - ends[1], 0)
        return np.interp(places, self.knots, self.values) + beyond


@dataclass(frozen=True)
class RankMean(Combiner):
    """The mean of the places that the members give an image among the scores of the validation part.

    The reference is the validation part and not the part that is scored, so that an image's result does not depend on
    which other images are scored with it.
    """

    task: str
    places: tuple[tuple[Places, ...], ...]
    curves: tuple[Curve, ...]

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        means = mean_places(self.places, [log_odds(member, self.task) for member in logits])
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


def mean_places(places: Sequence[Sequence[Places]], odds: Sequence[np.ndarray]) -> np.ndarray:
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
        log_mean, log_rest = pooled(logits, self.task)
        scale = np.log(len(logits) + 1)
        with np.errstate(divide="ignore"):  # no vote, or no vote against: what is left is the mean probability alone
            likely = np.logaddexp(np.log(votes), log_mean) - scale
            rest = np.logaddexp(np.log(len(logits) - votes), log_rest) - scale
        return _as_logits(likely, rest, self.task)

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
        if len(logits) != len(self.weights):
            raise ValueError(f"{len(logits)} members for {len(self.weights)} weights")
        return _as_logits(*pooled(logits, self.task, self.weights), self.task)

    def describe(self) -> dict[str, Any]:
        """See `Combiner.describe`."""
        return {"weights": self.weights.tolist()}

    @property
    def fitted_on(self) -> str:
        """See `Combiner.fitted_on`."""
        return LABELS


@dataclass(frozen=True)
class Stack(Combiner):
    """Logistic regression on the members' logits: multi-label per class from its own M logits, multiclass from all M K.

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
    unseen : float32 [N, K], optional
        See `Combiner.left_out`.
    """

    task: str
    weights: np.ndarray
    intercepts: np.ndarray
    penalty: float
    unfitted: tuple[int, ...]
    unseen: np.ndarray | None = None

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """See `Combiner.apply`."""
        features = stack_features(logits, self.task)
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

    @property
    def left_out(self) -> np.ndarray | None:
        """See `Combiner.left_out`."""
        return self.unseen

    @property
    def has_intercept(self) -> bool:
        """See `Combiner.has_intercept`."""
        return True


def stack_features(logits: np.ndarray, task: str) -> np.ndarray:
    """Return [N, M, K] logits (multi-label) or [N, M K] log-probabilities, squeezed where a probability is 0 or 1."""
    values = np.asarray(logits, dtype=np.float64)
    if task == "multilabel":
        return _squeezed(values).transpose(1, 0, 2)
    return _squeezed(log_softmax(values, axis=-1)).transpose(1, 0, 2).reshape(values.shape[1], -1)


def _squeezed(values: np.ndarray) -> np.ndarray:
    """Draw in what lies beyond 30 of 0, by its logarithm: a regression stays finite, and the order stays as it was."""
    beyond = np.maximum(np.abs(values) - _FAR, 0)
    return np.sign(values) * (np.minimum(np.abs(values), _FAR) + np.log1p(beyond))
