"""The page about what goes wrong: which errors, whose, how many seeds share them, and what a probability is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

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
from pipeline.metrics.thresholds import probabilities
from pipeline.reporting import calibration, confusion, prose, sections, tables
from pipeline.reporting.figures import errors as figures
from pipeline.reporting.sections import join
from pipeline.reporting.study import Estimate, Results, StudyResults
from pipeline.study.files import write_text
from pipeline.uncertainty.intervals import MIN_PATIENTS

PICTURED = 12
"""Most images in the figure."""


def decisions(study: StudyResults, results: Results) -> Decisions | None:
    """Decide on every test image as the trainings of `results` do; None without a training whose logits are finite."""
    p = results.predictions
    trained = p.seeds.tolist()
    finite = [s for s in results.seeds if np.isfinite(p.test_logits[trained.index(s)]).all()]
    if not finite:
        return None
    logits = p.test_logits[[trained.index(seed) for seed in finite]]
    thresholds = [[results.get("threshold", c, seed, part="val").value for c in study.classes] for seed in finite]
    return Decisions(
        task=p.task,
        classes=study.classes,
        seeds=tuple(finite),
        rows=p.test_rows,
        patients=p.test_patients,
        truth=p.test_targets.astype(bool),
        probabilities=probabilities(logits, p.task),
        thresholds=np.array(thresholds, dtype=np.float64),
    )


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write errors.md and its figures; return what was written.

    There is no page for a bare table, where validation chooses no recipe, or where no logit of the recipe is finite.
    The figure that shows images lies outside `folder` unless ``report.private_figures`` allows it there.
    """
    results = study.subject
    if study.samples is None or study.params is None or results is None or results.predictions is None:
        return []
    made = decisions(study, results)
    if made is None:
        return []
    page = folder / "errors.md"
    found, pairs = confident_errors(made), co_occurrence(made, sections.confidence(study))
    pictures = {
        "images": _images_figure(study, made, found, folder),
        "confusion": confusion.draw(study, results, made, pairs, folder / "figures" / "errors-confusion.png"),
        "reliability": calibration.draw(study, results, folder / "figures" / "errors-reliability.png"),
    }
    shared = shared_errors(made, **study.params.evaluate.draws()) if len(made.seeds) > 1 else None
    text = join(
        f"# Errors: {study.title}",
        *sections.banner(study),
        " ".join(_lead(study, results, made, shared, pairs)),
        _rule(study, results, made),
        "## Errors that seeds share",
        _shared(study, results, made, shared),
        "## Most confident errors",
        _confident(study, made, found, pictures["images"], page),
        "## Confusion",
        confusion.section(study, results, made, pairs, pictures["confusion"]),
        "## Subgroups",
        confusion.subgroups(study, results),
        "## Calibration",
        calibration.section(study, results, pictures["reliability"]),
    )
    write_text(page, text + "\n")
    return [page, *(path for path in pictures.values() if path is not None)]


def _lead(
    study: StudyResults, results: Results, made: Decisions, shared: pd.DataFrame | None, pairs: pd.DataFrame
) -> list[str]:
    sentences = [_subject(study, results)]
    if shared is not None and (last := shared.iloc[-1]).n:
        every = Estimate(last.every, last.every_low, last.every_high)
        which = "both" if len(made.seeds) == 2 else "all"
        what = "images" if study.task == "multiclass" else "pairs of an image and a class"
        sentences.append(
            f"Of the {last.n:,} {what} that at least one of its {len(made.seeds)} seeds decides wrongly, {which} seeds "
            f"decide {tables.estimated_percent(every)} wrongly and a single seed {tables.percent(last.one)}."
        )
    tested = int(pairs["p_holm"].notna().sum())
    if study.task == "multilabel" and tested:
        n = int((pairs["p_holm"] < 1 - sections.confidence(study)).sum())
        sentences.append(
            f"Of {prose.count('pair', tested)} of findings that could be tested, {n or 'none'} "
            f"{prose.plural('is', n or 1)} beyond noise after Holm's correction: one finding called wrongly where "
            "another is truly there more, or less, often than elsewhere."
        )
    before, after = results.get("ece"), results.get("ece_calibrated")
    if math.isfinite(before.value) and math.isfinite(after.value):
        sentences.append(
            f"The expected calibration error is {tables.estimated(before)} as trained and {tables.estimated(after)} "
            "after calibration on validation; that change and the subgroups are described, not tested."
        )
    return sentences


def _subject(study: StudyResults, results: Results) -> str:
    rests = f"{sections.of_seeds(len(results.seeds))}, test part, {sections.sample(study, results)}"
    if len(study.configurations) == 1:
        return f"This page is about **{results.key}**, the only recipe ({rests})."
    return f"This page is about **{results.key}**, which validation chooses out of {len(study.configurations)} recipes ({rests})."


def _rule(study: StudyResults, results: Results, made: Decisions) -> str:
    """Say how an image is decided on, and on which classes nothing can be decided."""
    lines = []
    if study.task == "multiclass":
        lines.append("A seed decides for the class of its highest probability.")
    else:
        lines.append(
            "A seed calls a finding where its probability reaches the threshold of highest F1 on validation, chosen "
            "for each seed and class."
        )
    undecided = [c for c, known in zip(study.classes, made.decided) if not known]
    if undecided:
        notes = dict.fromkeys(
            results.get("threshold", c, made.seeds[0], part="val").note or "no threshold" for c in undecided
        )
        n = len(undecided)
        lines.append(
            f"{prose.listing(undecided)} {prose.plural('has', n)} no threshold ({'; '.join(notes)}), so no error of "
            f"{'it' if n == 1 else 'them'} is counted."
        )
    left = [seed for seed in results.seeds if seed not in made.seeds]
    if left:
        lines.append(f"The logits of {prose.seeds(left)} are not finite; errors are those of the other seeds.")
    if "augmented" in study.samples and len(np.unique(made.rows)) < len(made.rows):
        lines.append("The test part holds augmented copies; a copy goes by the name of its source.")
    return f"{' '.join(lines)} [The results](README.md)"


def _shared(study: StudyResults, results: Results, made: Decisions, shared: pd.DataFrame | None) -> str:
    if shared is None:
        return f"{tables.DASH} Only one seed is there: whether another training makes the same errors is not known."
    rows = [
        [
            row.kind,
            f"{row.n:,}",
            tables.number(row.a_seed, 1),
            f"{row.patients:,}",
            tables.estimated_percent(Estimate(row.every, row.every_low, row.every_high)),
            tables.estimated_percent(Estimate(row.one, row.one_low, row.one_high)),
        ]
        for row in shared.itertuples()
    ]
    every = "By both seeds" if len(made.seeds) == 2 else f"By all {len(made.seeds)} seeds"
    heads = ["Kind", "By any seed", "By one seed, mean", "Patients", every, "By a single seed"]
    unit = "an image" if study.task == "multiclass" else "an image and a class"
    gaps = []
    if (shared["n"] == 0).any():
        gaps.append(f"- {tables.DASH} no error, no share.")
    if ((shared["n"] > 0) & (shared["patients"] < MIN_PATIENTS)).any():
        gaps.append(f"- [{tables.DASH}] fewer than {MIN_PATIENTS} patients with such an error.")
    return join(
        f"An error is {unit} decided wrongly. Shares are of the errors that any seed makes, with "
        f"{study.interval_name} by bootstrap over patients. What an error comes from, the "
        "image, its label, or the training, is not tested.",
        tables.table(heads, rows, "l" + "r" * 5),
        "\n".join(gaps),
        "### Disagreement on single images",
        _disagreement(study, results, made),
    )


def _disagreement(study: StudyResults, results: Results, made: Decisions) -> str:
    table = results.disagreement
    if table is None or not np.isfinite(table["mean_sd"]).any():
        return f"{tables.DASH} How far the seeds' probabilities lie apart is not recorded for this recipe."
    measured = table.set_index("class")
    rows = [
        [
            name,
            f"{int(made.truth[:, k].sum()):,}",
            *(tables.number(measured.loc[name, column]) for column in ("mean_sd", "sd_95th")),
            *(tables.percent(measured.loc[name, column]) for column in ("differing", "pairwise")),
        ]
        for k, name in enumerate(study.classes)
        if name in measured.index
    ]
    images, seeds = int(table["n"].iloc[0]), int(table["n_seeds"].iloc[0])
    heads = ["Class", "n positive", "SD, mean", "SD, 95th percentile", "Decided differently", "By two seeds at random"]
    gap = any(tables.DASH in row for row in rows)
    return join(
        f"Standard deviation over {prose.count('seed', seeds)} of the probability of an image (mean and 95th percentile"
        f" over n = {prose.count('image', images)}), the share of images that the seeds do not all decide alike, and "
        "the share that two seeds picked at random decide differently. No intervals: the numbers describe these "
        "trainings on these images.",
        tables.table(heads, rows, "l" + "r" * 5),
        f"- {tables.DASH} a seed has no threshold or its logits are not finite." if gap else "",
    )


def _names(study: StudyResults) -> pd.Series:
    """Return the id of the image at every row."""
    return study.samples.drop_duplicates("row").set_index("row")["sample_id"]


def _labels(made: Decisions, marked: np.ndarray) -> str:
    """Name the classes that are set in `marked` [K]."""
    return ", ".join(name for name, here in zip(made.classes, marked) if here) or "none"


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
        Rows of `found`, the surest first, an image once. Multi-label: at most one error of a class and kind, and at
        most half of `most` of a kind.
    """
    chosen: list[int] = []
    seen: set[int] = set()
    for kind in (POSITIVE, NEGATIVE, CONFUSED):
        ranked = found[found["kind"] == kind].sort_values("probability", ascending=kind == NEGATIVE, kind="stable")
        room, classes = most if kind == CONFUSED else most // 2, set()
        for number, error in ranked.iterrows():
            row = int(rows[error["place"]])
            if room and row not in seen and (kind == CONFUSED or error["class"] not in classes):
                chosen.append(number)
                seen.add(row)
                classes.add(error["class"])
                room -= 1
    return found.loc[chosen]


def _images_figure(study: StudyResults, made: Decisions, found: pd.DataFrame, folder: Path) -> Path | None:
    path = sections.figure_of_images(study, folder, "errors-images.png")
    chosen = pictured(found, made.rows)
    if study.images is None or chosen.empty:
        return None
    names, panels = _names(study), []
    for error in chosen.itertuples():
        row, truth = int(made.rows[error.place]), f"true: {_labels(made, made.truth[error.place])}"
        lines = [f"called {prose.readable(error.decided)}: {tables.number(error.probability)}", truth]
        boxes: list[tuple[float, float, float, float]] = []
        if error.kind == NEGATIVE:
            called = _labels(made, made.mostly_called[error.place])
            lines = [f"missed {prose.readable(error.decided)}: {tables.number(error.probability)}", f"called: {called}"]
            boxes = _boxes(study, row, error.decided)
        panels.append(figures.Panel(row, names[row], tuple(lines), error.kind == NEGATIVE, tuple(boxes)))
    return figures.wrong_images(study, panels, path)


def _boxes(study: StudyResults, row: int, name: str) -> list[tuple[float, float, float, float]]:
    """Return x, y, width and height of the boxes of a class on an image."""
    if study.boxes is None:
        return []
    found = study.boxes[(study.boxes["row"] == row) & (study.boxes["class"] == name)]
    return list(found[["x", "y", "width", "height"]].itertuples(index=False, name=None))


def _confident(study: StudyResults, made: Decisions, found: pd.DataFrame, picture: Path | None, page: Path) -> str:
    seeds = len(made.seeds)
    if found.empty:
        return "There is none: no image is decided wrongly by more than half of the seeds."
    if study.task == "multiclass":
        rule = (
            f"Of every true class the {EACH} images whose mean probability over seeds is highest for another class. "
            "The mean decides here, so that it is one decision an image."
        )
        drawn = "Drawn are the surest of them."
    else:
        by = "more than half of the seeds decide" if seeds > 1 else "the seed decides"
        rule = (
            f"Of every class the {EACH} false positives with the highest and the {EACH} false negatives with the "
            f"lowest probability {'(mean over seeds) ' if seeds > 1 else ''}among the images that {by} wrongly."
        )
        drawn = "Drawn are the surest of each kind, one of a class"
        drawn += "; boxes show what was missed, where the data set marks it." if study.boxes is not None else "."
    labels = (
        ""
        if study.dataset is None or study.dataset.synthetic
        else " The label may be what is wrong: nobody looked again."
    )
    shown = ""
    if picture is not None:
        shown = join(drawn, sections.image_of_images(study, "The most confident errors", picture, page))
    lists = [
        f"<details>\n<summary>{title}: {prose.count('image', len(rows))}</summary>\n\n"
        f"{_confident_table(study, made, rows)}\n\n</details>"
        for title, kind in (("False positives", POSITIVE), ("False negatives", NEGATIVE), ("Wrong class", CONFUSED))
        if len(rows := found[found["kind"] == kind])
    ]
    return join(
        f"{rule}{labels} Images go by their names in the data set; nothing of a patient is shown. One "
        "probability of one image has no interval; the range is over seeds.",
        shown,
        *lists,
    )


def _confident_table(study: StudyResults, made: Decisions, found: pd.DataFrame) -> str:
    names, several, single = _names(study), len(made.seeds) > 1, study.task == "multiclass"
    rows = []
    for error in found.itertuples():
        truth = made.truth[error.place]
        row = [error._1, *([error.decided] if single else [])]
        spread = f" ({tables.number(error.low)} to {tables.number(error.high)})" if several else ""
        row += [names[made.rows[error.place]], tables.number(error.probability) + spread]
        row += [tables.number(made.mean[error.place, truth.argmax()]) if single else tables.number(error.threshold)]
        row += [f"{error.wrong} of {len(made.seeds)}"] if several else []
        rows.append([*row, *([] if single else [_labels(made, truth)])])
    heads = ["True class", "Decided"] if single else ["Class"]
    heads += ["Image", "Mean probability (range)" if several else "Probability"]
    heads += ["Of the true class" if single else "Mean threshold" if several else "Threshold"]
    heads += ["Seeds wrong"] if several else []
    heads += [] if single else ["Labels of the image"]
    text = {"Class", "True class", "Decided", "Image", "Labels of the image"}
    return tables.table(heads, rows, "".join("l" if head in text else "r" for head in heads))
