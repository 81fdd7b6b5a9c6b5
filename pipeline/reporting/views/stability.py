"""Facts of the page about stability: what another training seed makes of the same image, and so of a patient."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.checking.mistakes import Decisions
from pipeline.reporting import page
from pipeline.reporting.figures import stability as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.views import shared
from pipeline.reporting.views.errors import decisions
from pipeline.uncertainty.stability import (
    Flipping,
    Measured,
    Patients,
    Sets,
    Stability,
    answers,
    expected_range,
    log_probabilities,
    of_answers,
    of_class,
    of_ensembles,
)
from pipeline.uncertainty.support import MIN_PATIENTS

LISTED = 12
"""Most images that are listed."""
CHEXNET_SEEDS, CHEXNET_LOG_RATIO, CHEXNET_VARIATION = 50, 2.45, 0.543
"""Zech et al. 2019: networks, mean of ln(max p / min p), and coefficient of variation."""


class ClassRow(NamedTuple):
    """A class of the configuration, or the mean over its classes."""

    name: str
    positives: int
    of: Stability


class ConfigurationRow(NamedTuple):
    """A configuration as a whole."""

    key: str
    seeds: int
    flips: Measured
    pairs: Measured
    log_ratio: float
    variation: float


class Disputed(NamedTuple):
    """An image on which the seeds disagree.

    Parameters
    ----------
    image : str
        Its name; of real data a pseudonym.
    labels, agreed : tuple of str
        Classes of the label, and those that all seeds call.
    disputed : list of (class, seeds, lowest, highest probability)
        Classes that some seeds call, the widest range of probability first.
    answers : int
        Different answers of the seeds.
    """

    image: str
    labels: tuple[str, ...]
    agreed: tuple[str, ...]
    disputed: list[tuple[str, int, float, float]]
    answers: int


@dataclass(frozen=True)
class Stable:
    """What stability.md says of a configuration with several seeds.

    Parameters
    ----------
    made : Decisions
        What its seeds decide.
    rows : list of ClassRow
        Classes that every seed can decide on.
    flips : Measured
        Share of image and class that two seeds decide differently; single-label: of images.
    log_ratio : Measured
        Mean over classes and images of ln(max p / min p).
    log_ratio_50 : float
        What it would be over 50 seeds, if ln p were normal over seeds.
    variation : float
        Coefficient of variation, mean over classes and images.
    answers : Sets
        How alike the whole answers are.
    ensembles : list of Flipping
        Ensembles beside single seeds.
    configurations : list of ConfigurationRow
        The same of every configuration with several seeds.
    disputed : list of Disputed
        Images with the most disagreement.
    n_disputed : int
        Images on which any two seeds disagree.
    undecided : tuple of str
        Classes without a threshold.
    few : bool
        Too few patients for intervals.
    """

    made: Decisions
    rows: list[ClassRow]
    flips: Measured
    log_ratio: Measured
    log_ratio_50: float
    variation: float
    answers: Sets
    ensembles: list[Flipping]
    configurations: list[ConfigurationRow]
    disputed: list[Disputed]
    n_disputed: int
    undecided: tuple[str, ...]
    few: bool


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write stability.md and its figure; no page where no configuration leads or it has no predictions."""
    results = study.subject
    if not study.recorded or results is None or not results.has_predictions:
        return []
    stable = view(study, results)
    picture = figures.stability(study, stable, folder / "figures" / "stability.png") if stable is not None else None
    target = page.write(
        folder / "stability.md",
        "stability.md",
        study=study,
        results=results,
        banner_facts=shared.banner(study),
        stable=stable,
        pictured=picture is not None,
        chexnet={"seeds": CHEXNET_SEEDS, "log_ratio": CHEXNET_LOG_RATIO, "variation": CHEXNET_VARIATION},
        min_patients=MIN_PATIENTS,
    )
    return [target, *([picture] if picture is not None else [])]


def view(study: StudyResults, results: Results) -> Stable | None:
    """Return what the page says of `results`; None of fewer than two seeds with finite logits."""
    made = decisions(study, results)
    if len(made.seeds) < 2 or not made.decided.any():
        return None
    patients = _patients(study, made)
    logs = _logs(results, made)
    kept = np.flatnonzero(made.decided)
    rows = [ClassRow(study.classes[k], int(made.truth[:, k].sum()), _of(made, logs, patients, int(k))) for k in kept]
    ratios = np.ptp(logs[:, :, kept], axis=0).mean(axis=-1)
    log_ratio = patients.mean(ratios)
    scale = expected_range(CHEXNET_SEEDS) / expected_range(len(made.seeds))
    disputed = _disputed(study, made)
    return Stable(
        made,
        rows,
        _flips(made, patients),
        log_ratio,
        log_ratio.value * scale,
        float(np.mean([row.of.variation for row in rows])),
        of_answers(made.called[:, :, kept], patients),
        _ensembles(results, made, patients),
        [row for r in study.configurations if (row := _configuration(study, r)) is not None],
        disputed[:LISTED],
        len(disputed),
        tuple(c for c, known in zip(study.classes, made.decided) if not known),
        patients.number < MIN_PATIENTS,
    )


def _patients(study: StudyResults, made: Decisions) -> Patients:
    return Patients.drawn(made.patients, **study.params.evaluate.draws())


def _logs(results: Results, made: Decisions) -> np.ndarray:
    """Return ln of the probabilities [S, N, K] of the seeds of `made`."""
    trained = results.predictions.seeds.tolist()
    return log_probabilities(results.predictions.test_logits[[trained.index(s) for s in made.seeds]], made.task)


def _of(made: Decisions, logs: np.ndarray, patients: Patients, k: int) -> Stability:
    thresholds = made.thresholds[:, k] if made.task == "multilabel" else None
    return of_class(made.called[:, :, k], logs[:, :, k], patients, thresholds)


def _flips(made: Decisions, patients: Patients) -> Measured:
    """Return the share of decisions that two seeds make differently, over all classes, or of the one class."""
    kept = made.called[:, :, made.decided]
    pairs = [(a, b) for a in range(len(kept)) for b in range(a)]
    if made.task == "multiclass":
        return patients.share(np.mean([(kept[a] != kept[b]).any(axis=-1) for a, b in pairs], axis=0))
    return patients.share(np.mean([(kept[a] != kept[b]).mean(axis=-1) for a, b in pairs], axis=0))


def _configuration(study: StudyResults, results: Results) -> ConfigurationRow | None:
    if not results.has_predictions:
        return None
    made = decisions(study, results)
    if len(made.seeds) < 2 or not made.decided.any():
        return None
    patients, logs = _patients(study, made), _logs(results, made)[:, :, made.decided]
    p = np.exp(logs)
    mean = p.mean(axis=0)
    variation = np.divide(p.std(axis=0, ddof=1), mean, out=np.zeros_like(mean), where=mean > 0)
    return ConfigurationRow(
        results.key,
        len(made.seeds),
        _flips(made, patients),
        of_answers(made.called[:, :, made.decided], patients).pairs,
        float(np.ptp(logs, axis=0).mean()),
        float(variation.mean()),
    )


def _ensembles(results: Results, made: Decisions, patients: Patients) -> list[Flipping]:
    predictions = results.predictions
    places = [predictions.seeds.tolist().index(s) for s in made.seeds]
    val = predictions.val_logits[places]
    if not np.isfinite(val).all():
        return []
    return of_ensembles(made.task, (val, predictions.val_targets), predictions.test_logits[places], patients)


def _disputed(study: StudyResults, made: Decisions) -> list[Disputed]:
    """Return the images on which seeds disagree, those first that have the most different answers."""
    names = dict(zip(study.samples["row"].tolist(), study.samples["sample_id"].tolist()))
    votes, n_seeds = made.called.sum(axis=0), len(made.seeds)
    divided = (votes > 0) & (votes < n_seeds) & made.decided
    low, high = made.probabilities.min(axis=0), made.probabilities.max(axis=0)
    different = answers(made.called[:, :, made.decided])
    widest = np.where(divided, high - low, 0).max(axis=-1)
    order = np.lexsort((-widest, -divided.sum(axis=-1), -different))
    found, seen = [], set()
    for i in order.tolist():
        row = int(made.rows[i])
        if not divided[i].any() or row in seen:
            continue
        seen.add(row)
        found.append(
            Disputed(
                names[row],
                _named(made, made.truth[i]),
                _named(made, votes[i] == n_seeds),
                [
                    (made.classes[k], int(votes[i, k]), float(low[i, k]), float(high[i, k]))
                    for k in np.argsort(low[i] - high[i], kind="stable").tolist()
                    if divided[i, k]
                ],
                int(different[i]),
            )
        )
    return found


def _named(made: Decisions, marked: np.ndarray) -> tuple[str, ...]:
    return tuple(name for name, here in zip(made.classes, marked) if here)
