"""Signs of a training run that learned nothing, and of labels that do not belong to their images.

Each gate looks at one training run and returns None, or a sentence with the numbers that raised it. A gate says what a
number looks like, not what its cause is: a sentence is a reason to look. The signs are those of published notebooks and
tables whose results they would have stopped; the tests re-create them.

The part to show is the validation part. The test part may be shown as well, since nothing is chosen by a gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy.special import ndtr, ndtri

from pipeline.metrics.collapse import too_few, unclear
from pipeline.metrics.functions import rank_auroc
from pipeline.metrics.logistic import mean_log_loss
from pipeline.metrics.thresholds import probabilities
from pipeline.study.unknown import shares, sides

KERAS_EPSILON = 1e-7
"""Where Keras cuts probabilities off before it takes their logarithm."""


WELL_BELOW = 0.8
"""A loss under this share of the prior's is not one that a constant prediction gives by chance."""


_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """Predictions of one training run for one part, and how it got there.

    Parameters
    ----------
    task : {"multilabel", "multiclass"}
        Of the data set.
    targets : 0/1 [N, K]
        Truth; exactly one 1 per row for multiclass. NaN where it is not known.
    logits : float [N, K]
        Predictions.
    history : sequence of float
        Validation metric of each epoch; empty if unknown.
    calibrated : bool
        Whether the sigmoid or softmax of the logits is meant as a probability. After training with ZLPR, focal loss,
        class weights or margins it is not, and its log-loss is no sign of anything.
    """

    task: str
    targets: np.ndarray
    logits: np.ndarray
    history: Sequence[float] = ()
    calibrated: bool = True

    @cached_property
    def truth(self) -> np.ndarray:
        """Bool [N, K]."""
        return np.asarray(self.targets) == 1

    @cached_property
    def known(self) -> np.ndarray:
        """Bool [N, K]: which labels are known."""
        return ~np.isnan(np.asarray(self.targets, dtype=np.float64))

    @cached_property
    def likely(self) -> np.ndarray:
        """Probabilities, float64 [N, K]."""
        return probabilities(self.logits, self.task)

    @cached_property
    def accuracy(self) -> float:
        """Share of images (multiclass), or of images and classes (multi-label, at 0.5), that are decided rightly."""
        if self.task == "multiclass":
            return float((np.asarray(self.logits).argmax(axis=1) == self.truth.argmax(axis=1)).mean())
        return float(((self.likely >= 0.5) == self.truth)[self.known].mean())

    @cached_property
    def majority(self) -> float:
        """Share of the most frequent class (multiclass)."""
        return float(self.truth.mean(axis=0).max())

    @cached_property
    def auroc(self) -> float:
        """Mean over the classes that have an AUROC, NaN if none has."""
        values = rank_auroc(
            np.asarray(self.targets), np.asarray(self.logits) if self.task == "multilabel" else self.likely
        )
        return float(np.mean(values[np.isfinite(values)])) if np.isfinite(values).any() else math.nan

    @cached_property
    def loss(self) -> float:
        """Mean log-loss, probabilities cut off at `KERAS_EPSILON` as Keras does: finite also for a saturated run."""
        return mean_log_loss(self.logits, self.targets, self.task, (KERAS_EPSILON, 1 - KERAS_EPSILON))

    @cached_property
    def prior_loss(self) -> float:
        """Mean log-loss of the best constant prediction, the shares of the classes in this part."""
        frequent = shares(np.asarray(self.targets))
        return prior_loss(frequent[~np.isnan(frequent)], self.task)


def prior_loss(shares: np.ndarray, task: str) -> float:
    """Return the mean log-loss of predicting the `shares` [K] of the classes for every image, in nats."""
    shares = np.asarray(shares, dtype=np.float64)
    both = shares if task == "multiclass" else np.stack([shares, 1 - shares])
    entropy = -np.sum(both * np.log(np.where(both > 0, both, 1)), axis=0)
    return float(entropy.sum() if task == "multiclass" else entropy.mean())


# --- signs in bare numbers, as a published table gives them -------------------------------------------------------


def is_majority(accuracy: float, share: float, images: int) -> bool:
    """Say whether `accuracy` is the majority class's `share` of `images`, to less than one image."""
    return abs(accuracy - share) * images < 1 - _SAME


def is_saturated(accuracy: float, loss: float, epsilon: float = KERAS_EPSILON, tolerance: float = 1e-3) -> bool:
    """Say whether `loss` is what wrong decisions alone give when each is made with full certainty.

    A run whose probabilities are 0 and 1 loses nothing on what it gets right and -ln(epsilon) on what it gets wrong.

    Parameters
    ----------
    accuracy, loss : float
        Share decided rightly, and mean log-loss in nats.
    epsilon : float
        Where the loss cuts probabilities off; Keras: 1e-7, so that -ln(epsilon) = 16.118.
    tolerance : float
        Relative.
    """
    expected = (1 - accuracy) * -math.log(epsilon)
    return expected > 0 and abs(loss - expected) <= tolerance * expected


def same_vectors(vectors: Mapping[str, np.ndarray], tolerance: float = _SAME) -> list[tuple[str, str]]:
    """Return the pairs of names whose metric vectors are equal: all numbers defined in both, and at least two of them.

    Two training runs agree in every number by copying, by a cache, or because neither depends on what differs.
    """

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        finite = np.isfinite(a)
        agree = a.shape == b.shape and np.array_equal(finite, np.isfinite(b)) and finite.sum() > 1
        return bool(agree and np.abs(a[finite] - b[finite]).max() <= tolerance)

    arrays = {name: np.asarray(vector, dtype=np.float64) for name, vector in vectors.items()}
    return [(a, b) for a, b in combinations(arrays, 2) if same(arrays[a], arrays[b])]


# --- gates of one run ---------------------------------------------------------------------------------------------


def not_finite(run: TrainedRun) -> str | None:
    """NaN or infinity among the predictions or in the history."""
    bad = int((~np.isfinite(np.asarray(run.logits, dtype=np.float64))).sum())
    epochs = [i + 1 for i, value in enumerate(run.history) if not math.isfinite(value)]
    if bad:
        return f"{bad} of {np.size(run.logits)} logits are not finite"
    return f"the validation metric is not finite in epochs {', '.join(map(str, epochs))}" if epochs else None


def one_prediction(run: TrainedRun) -> str | None:
    """One class predicted for every image (multiclass), or the same probabilities for every image (multi-label)."""
    images = len(run.truth)
    if run.task == "multiclass":
        chosen = np.unique(np.asarray(run.logits).argmax(axis=1))
        there = int(run.truth.any(axis=0).sum())
        if len(chosen) == 1 and there > 1:
            return f"class {chosen[0]} is predicted for all {images} images, {there} classes are there"
        return None
    spread = float(np.ptp(run.likely, axis=0).max())
    return f"all {images} images have the same probabilities (they differ by {spread:.1g})" if spread < 1e-6 else None


def majority_accuracy(run: TrainedRun) -> str | None:
    """Accuracy equal to the share of the most frequent class (multiclass)."""
    if run.task != "multiclass" or not is_majority(run.accuracy, run.majority, len(run.truth)):
        return None
    if run.majority == 1:
        return None  # one class only: there is nothing that could be got wrong
    return f"accuracy {run.accuracy:.4f} is the share of the most frequent class ({run.majority:.4f})"


def saturated_loss(run: TrainedRun) -> str | None:
    """Every wrong decision made with full certainty: loss = (1 - accuracy) x -ln epsilon, see `is_saturated`."""
    if not is_saturated(run.accuracy, run.loss):
        return None
    return (
        f"loss {run.loss:.4f} = (1 - accuracy {run.accuracy:.4f}) x {-math.log(KERAS_EPSILON):.3f}: "
        "all wrong decisions are made with probability 1"
    )


def class_blind_labels(run: TrainedRun) -> str | None:
    """Loss well below the prior's while accuracy stays at the majority's share (multiclass).

    The images tell the labels apart a little, and never enough to decide for another class. That is what labels look
    like that were mixed up by a cut at the wrong place, as 1,344 images per class given 3,616 zeros and 416 ones; a
    class that is rare and hard looks the same.
    """
    if majority_accuracy(run) is None or not run.calibrated or run.loss >= WELL_BELOW * run.prior_loss:
        return None
    return (
        f"loss {run.loss:.4f} is well below the prior's ({run.prior_loss:.4f}), yet accuracy {run.accuracy:.4f} is "
        "the share of the most frequent class: are the labels those of the images?"
    )


def constant_metric(run: TrainedRun) -> str | None:
    """The same validation metric in every epoch, of two or more; a perfect one may stay so."""
    values = np.asarray(run.history, dtype=np.float64)
    if len(values) < 2 or np.ptp(values) >= 1e-6 or values.min() >= 1 - 1e-6:
        return None
    return f"the validation metric is {values[0]:.4f} in all {len(values)} epochs"


def chance_auroc(run: TrainedRun) -> str | None:
    """AUROC of every class within what noise reaches, their mean too low for a run that learned (`unclear`).

    For one class that is 0.5 plus or minus 2 standard errors of the null (Mann & Whitney 1947,
    doi:10.1214/aoms/1177730491); for K classes the reach is widened (Sidak) so that noise stays inside it for all of
    them together as often as it does for one.
    """
    targets = np.asarray(run.targets)
    positives, negatives = (side.astype(float) for side in sides(targets))
    both = (positives > 0) & (negatives > 0)
    if not both.any():
        return None
    scores = np.asarray(run.logits) if run.task == "multilabel" else run.likely
    auroc = rank_auroc(targets[:, both], scores[:, both])
    error = np.sqrt((positives[both] + negatives[both] + 1) / (12 * positives[both] * negatives[both]))
    inside = ndtr(2) - ndtr(-2)
    reach = ndtri((1 + inside ** (1 / both.sum())) / 2)
    if (np.abs(auroc - 0.5) > reach * error).any() or unclear(targets, run.auroc):
        return None
    return (
        f"AUROC of {both.sum()} classes lies between {auroc.min():.3f} and {auroc.max():.3f}, "
        f"each within 0.5 ± {reach:.2f} standard errors"
    )


def no_better_than_prior(run: TrainedRun) -> str | None:
    """Loss not below that of the best constant prediction, where the predictions are meant as probabilities."""
    if not run.calibrated or run.prior_loss == 0 or run.loss < run.prior_loss:
        return None
    return f"loss {run.loss:.4f} is not below that of the classes' shares alone ({run.prior_loss:.4f})"


GATES: dict[str, Callable[[TrainedRun], str | None]] = {
    "not_finite": not_finite,
    "one_prediction": one_prediction,
    "majority_accuracy": majority_accuracy,
    "saturated_loss": saturated_loss,
    "class_blind_labels": class_blind_labels,
    "constant_metric": constant_metric,
    "chance_auroc": chance_auroc,
    "no_better_than_prior": no_better_than_prior,
}
"""Every gate of one training run, by name; `check_study` adds "identical_metrics", which takes two."""
TOO_FEW_TO_TELL = "too_few_to_tell"
"""Name under which `check_run` says that it cannot be told whether a run learned: a remark, no sign of failure."""
_OF_FEW = ("not_finite", "saturated_loss")
"""Gates that mean something on any number of images; so does one_prediction for multi-label data."""


def check_run(run: TrainedRun) -> dict[str, str]:
    """Show `run` to every gate.

    Returns
    -------
    dict of str to str
        Sentences by the names of `GATES`; empty for a run without a sign. Where predictions are not finite nothing
        else can be computed, and "not_finite" stands alone; where there are too few images to tell, "too_few_to_tell"
        stands in the place of those that chance raises, and alone where there is no sign but no certainty either.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    if np.ndim(run.targets) != 2 or np.shape(run.targets) != np.shape(run.logits) or not np.size(run.targets):
        raise ValueError(f"targets {np.shape(run.targets)} and logits {np.shape(run.logits)}; expected [N, K] twice")
    if not np.isfinite(np.asarray(run.logits, dtype=np.float64)).all():
        return {"not_finite": str(not_finite(run))}
    sentences = {name: gate(run) for name, gate in GATES.items()}
    if few := too_few(np.asarray(run.targets)):
        kept = (*_OF_FEW, "one_prediction") if run.task == "multilabel" else _OF_FEW
        sentences = {**{name: sentences[name] for name in kept}, TOO_FEW_TO_TELL: few}
    elif not any(sentences.values()):
        sentences = {TOO_FEW_TO_TELL: unclear(np.asarray(run.targets), run.auroc)}
    return {name: sentence for name, sentence in sentences.items() if sentence is not None}


def check_study(runs: Mapping[str, TrainedRun]) -> list[tuple[str, str, str]]:
    """Show every run to every gate, and all runs to each other.

    Parameters
    ----------
    runs : mapping of str to TrainedRun
        By name; all of the same part.

    Returns
    -------
    list of (name of the run, gate, sentence)
        In the order of `runs`; then the pairs with identical metrics ("identical_metrics", the run is the second).
    """
    signs = [(name, gate, text) for name, run in runs.items() for gate, text in check_run(run).items()]
    vectors = {name: _metric_vector(run) for name, run in runs.items() if np.isfinite(run.logits).all()}
    for first, second in same_vectors(vectors):
        numbers = int(np.isfinite(vectors[first]).sum())
        signs.append((second, "identical_metrics", f"all {numbers} metrics are those of {first}"))
    return signs


def _metric_vector(run: TrainedRun) -> np.ndarray:
    """Return accuracy, log-loss, mean probabilities [K] and AUROC [K]: enough numbers to tell two runs apart."""
    scores = np.asarray(run.logits) if run.task == "multilabel" else run.likely
    return np.array([run.accuracy, run.loss, *run.likely.mean(axis=0), *rank_auroc(np.asarray(run.targets), scores)])
