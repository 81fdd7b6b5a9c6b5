"""Facts of the page about errors: which decisions are wrong, how many seeds share them, which are the most confident.

Confusions and subgroups are in `confusion`, the worth of a probability in `calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.checking.mistakes import (
    CONFUSED,
    EACH,
    NEGATIVE,
    POSITIVE,
    Decisions,
    co_occurrence,
    confident_errors,
    shared_errors,
)
from pipeline.reporting.figures import errors as figures
from pipeline.reporting.page import write
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import calibration, confusion
from pipeline.reporting.views.shared import banner, boxes_of, path_of_images, picture_of_images
from pipeline.uncertainty.support import MIN_PATIENTS

PICTURED = 12
"""Most images in the figure."""


class SharedErrors(NamedTuple):
    """Errors of a kind: of any seed, of one seed on average, and the shares that all seeds or one seed make."""

    kind: str
    n: int
    per_seed: float
    patients: int
    every: Estimate
    one: Estimate


class Disagreement(NamedTuple):
    """How far the seeds lie apart on the images, for a class; SDs of probabilities, then shares of the images."""

    name: str
    positives: int
    mean_sd: float
    sd_95th: float
    differing: float
    pairwise: float

    @property
    def complete(self) -> bool:
        """Whether every number exists."""
        return bool(np.isfinite(self[2:]).all())


class Extent(NamedTuple):
    """What `Disagreement` rests on."""

    images: int
    seeds: int


class ConfidentError(NamedTuple):
    """An error of `confident_errors` with its image.

    Parameters
    ----------
    name, kind, decided : str
        True class or finding, kind of error, and the class decided for.
    row : int
        Position in images.npy.
    image : str
        Identifier in the data set.
    probability, low, high, threshold : float
        Mean over seeds, range over seeds, and mean threshold.
    of_truth : float
        Mean probability of the true class; of any use for single-label only.
    wrong : int
        Seeds that err.
    labels, called : tuple of str
        Classes of the label, and those that more than half of the seeds decide for.
    """

    name: str
    kind: str
    decided: str
    row: int
    image: str
    probability: float
    low: float
    high: float
    threshold: float
    of_truth: float
    wrong: int
    labels: tuple[str, ...]
    called: tuple[str, ...]


@dataclass(frozen=True)
class Errors:
    """What errors.md says of the decisions of a configuration.

    Parameters
    ----------
    n_seeds : int
        Seeds with finite logits, which are those that decide.
    undecided, reasons : tuple of str
        Classes without a threshold, and why.
    left_out : tuple of int
        Seeds whose logits are not finite.
    copies : bool
        The test set has augmented copies of images.
    shared : tuple of SharedErrors
        One item per kind, the last over all kinds; empty for a single seed.
    disagreement : tuple of Disagreement
        One item per class; empty where it is not recorded.
    n_disagreeing : Extent
        What `disagreement` rests on.
    confident : dict of str to list of ConfidentError
        By kind; only kinds that occur.
    boxes : bool
        The data set marks findings.
    each, min_patients : int
        Errors listed per class and kind, and patients that an interval needs.
    """

    n_seeds: int
    undecided: tuple[str, ...]
    reasons: tuple[str, ...]
    left_out: tuple[int, ...]
    copies: bool
    shared: tuple[SharedErrors, ...]
    disagreement: tuple[Disagreement, ...]
    n_disagreeing: Extent
    confident: dict[str, list[ConfidentError]]
    boxes: bool
    each: int = EACH
    min_patients: int = MIN_PATIENTS

    @property
    def none_of_a_kind(self) -> bool:
        """Whether errors of a kind do not occur, so that they have no shares."""
        return any(row.n == 0 for row in self.shared)

    @property
    def few_patients(self) -> bool:
        """Whether errors of a kind occur in too few patients for an interval."""
        return any(row.n and row.patients < self.min_patients for row in self.shared)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write errors.md and its figures; return what was written.

    There is no page for a bare table, where no configuration is chosen, or where no logit of it is finite. The figure
    that shows images lies outside `folder` unless ``report.private_figures`` allows it there.
    """
    results = study.subject
    if not study.recorded or results is None or not results.has_predictions:
        return []
    made = decisions(study, results)
    if not made.seeds:
        return []
    page, found = folder / "errors.md", confident_errors(made)
    listed = _listed(study, made, found)
    chosen = [listed[i] for i in pictured(found, made.rows).index]
    pairs = co_occurrence(made, study.params.evaluate.confidence)
    images = _draw_images(study, chosen, path_of_images(study, folder, "errors-images.png"))
    matrix = confusion.draw(study, results, pairs, folder / "figures" / "errors-confusion.png")
    curves = calibration.draw(study, results, folder / "figures" / "errors-reliability.png")
    write(
        page,
        "errors.md",
        study=study,
        results=results,
        banner=banner(study),
        errors=view(study, results, made, listed),
        confusion=confusion.view(study, results, pairs),
        subgroups=confusion.subgroups(study, results),
        clinical_page=(folder / "clinical.md").exists(),
        calibration=calibration.view(study, results),
        pictures={
            "images": picture_of_images(study, images, page) if images else None,
            "confusion": matrix,
            "reliability": curves,
        },
    )
    return [page, *(path for path in (images, matrix, curves) if path)]


def decisions(study: StudyResults, results: Results) -> Decisions:
    """Decide on every test image as the training runs of `results` do; without seeds where no logits are finite."""
    return Decisions.of(
        results.predictions,
        results.seeds,
        lambda seed, name: results.get("threshold", name, seed, part="val").value,
    )


def view(study: StudyResults, results: Results, made: Decisions, listed: Sequence[ConfidentError]) -> Errors:
    """Return what the page says of `made`, whose most confident errors are `listed`."""
    undecided = tuple(c for c, known in zip(study.classes, made.decided) if not known)
    notes = (results.get("threshold", c, made.seeds[0], part="val").note or "no threshold" for c in undecided)
    disagreement = _disagreement(study, results, made)
    first = results.disagreement.iloc[0] if disagreement else {"n": 0, "n_seeds": 0}
    return Errors(
        n_seeds=len(made.seeds),
        undecided=undecided,
        reasons=tuple(dict.fromkeys(notes)),
        left_out=tuple(seed for seed in results.seeds if seed not in made.seeds),
        copies=len(np.unique(made.rows)) < len(made.rows),
        shared=_shared(study, made) if len(made.seeds) > 1 else (),
        disagreement=disagreement,
        n_disagreeing=Extent(int(first["n"]), int(first["n_seeds"])),
        confident={k: of for k in (POSITIVE, NEGATIVE, CONFUSED) if (of := [e for e in listed if e.kind == k])},
        boxes=not study.boxes.empty,
    )


def _shared(study: StudyResults, made: Decisions) -> tuple[SharedErrors, ...]:
    return tuple(
        SharedErrors(
            kind=row["kind"],
            n=row["n"],
            per_seed=row["a_seed"],
            patients=row["patients"],
            every=Estimate(row["every"], row["every_low"], row["every_high"]),
            one=Estimate(row["one"], row["one_low"], row["one_high"]),
        )
        for row in shared_errors(made, **study.params.evaluate.draws()).to_dict("records")
    )


def _disagreement(study: StudyResults, results: Results, made: Decisions) -> tuple[Disagreement, ...]:
    table = results.disagreement
    if table.empty or not np.isfinite(table["mean_sd"]).any():
        return ()
    columns = ["mean_sd", "sd_95th", "differing", "pairwise"]
    measured = {row["class"]: [row[c] for c in columns] for row in table.to_dict("records")}
    positives = made.truth.sum(axis=0).tolist()
    return tuple(
        Disagreement(name, n, *measured[name]) for name, n in zip(study.classes, positives) if name in measured
    )


def _listed(study: StudyResults, made: Decisions, found: pd.DataFrame) -> list[ConfidentError]:
    """Return the `confident_errors` of `made`, which are `found`, with their images."""
    names = dict(zip(study.samples["row"].tolist(), study.samples["sample_id"].tolist()))
    listed = []
    for error in found.to_dict("records"):
        place = error.pop("place")
        row, truth = int(made.rows[place]), made.truth[place]
        listed.append(
            ConfidentError(
                **{"name" if key == "class" else str(key): value for key, value in error.items()},
                row=row,
                image=names[row],
                of_truth=made.mean[place, truth.argmax()],
                labels=_marked(made, truth),
                called=_marked(made, made.mostly_called[place]),
            )
        )
    return listed


def _marked(made: Decisions, marked: np.ndarray) -> tuple[str, ...]:
    """Name the classes that are set in `marked` [K]."""
    return tuple(name for name, here in zip(made.classes, marked) if here)


def pictured(found: pd.DataFrame, rows: Sequence[int] | np.ndarray, most: int = PICTURED) -> pd.DataFrame:
    """Choose by rule which of `confident_errors` are drawn.

    Parameters
    ----------
    found : DataFrame
        Of `confident_errors`.
    rows : int [N]
        Position in images.npy of every test image.
    most : int
        Most images.

    Returns
    -------
    DataFrame
        Rows of `found`, the most confident first, each image once. Multi-label: at most one error per class and kind,
        and at most half of `most` per kind.
    """
    chosen: list[int] = []
    seen: set[int] = set()
    for kind in (POSITIVE, NEGATIVE, CONFUSED):
        ranked = found[found["kind"] == kind].sort_values("probability", ascending=kind == NEGATIVE, kind="stable")
        room = most if kind == CONFUSED else most // 2
        classes: set[str] = set()
        for number, place, name in zip(ranked.index, ranked["place"], ranked["class"]):
            row = int(rows[place])
            if room and row not in seen and (kind == CONFUSED or name not in classes):
                chosen.append(number)
                seen.add(row)
                classes.add(name)
                room -= 1
    return found.loc[chosen]


def _draw_images(study: StudyResults, chosen: Sequence[ConfidentError], path: Path) -> Path | None:
    if not len(study.images) or not chosen:
        return None
    panels = [
        figures.Panel(
            row=error.row,
            title=error.image,
            decided=error.decided,
            probability=error.probability,
            missed=error.kind == NEGATIVE,
            others=error.called if error.kind == NEGATIVE else error.labels,
            boxes=boxes_of(study, error.row, error.decided) if error.kind == NEGATIVE else (),
        )
        for error in chosen
    ]
    return figures.wrong_images(study, panels, path)
