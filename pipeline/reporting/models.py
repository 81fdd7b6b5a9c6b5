"""The page about models: what they score on each part, how they were set up and trained, what they confuse, grids."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from pipeline.reporting import described, grid, grid_section, prose, sections, tables
from pipeline.reporting.figures import models as figures
from pipeline.reporting.grid import Grid
from pipeline.reporting.sections import PARTS, image, join
from pipeline.reporting.study import Estimate, Results, StudyResults
from pipeline.study.files import write_text

MOST = 12
"""Recipes that tables and figures show one by one; of more, a grid is represented by its best on validation."""


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write models.md and its figures into `folder`; return what was written, nothing where no recipe has a score."""
    metric = grid.leading(study)
    scored = any(math.isfinite(r.get(metric, part=part).value) for r in study.configurations for part in grid.PARTS)
    if not scored:
        return []
    found = grid.grids(study)
    shown = _shown(study, found)
    pictures = folder / "figures"
    panels = [(grid_section.title(g, found), g, grid.best(study, g)) for g in found]
    drawn = {
        "curves": figures.curves(_highest(study, shown, MOST), pictures / "models-curves.png"),
        "confusion": figures.confusions(_matrices(study, shown), study.classes, pictures / "models-confusion.png"),
        "grid": figures.heat(
            study, panels, metric, f"validation {grid_section.called(metric)}", pictures / "models-grid.png"
        )
        if panels
        else None,
    }
    page = folder / "models.md"
    text = join(
        "# Models: scores by part, settings, and training",
        *sections.banner(study),
        f"{_lead(study)} [All results](README.md)",
        _performance(study, shown, found),
        _losses(study, shown),
        described.settings(study),
        _trainings(study, shown, drawn["curves"] is not None),
        _confusion(study, shown, drawn["confusion"] is not None, folder),
        grid_section.section(study, found, _heat(study, drawn["grid"] is not None)),
    )
    write_text(page, text + "\n")
    return [page, *(path for path in drawn.values() if path is not None)]


def _lead(study: StudyResults) -> str:
    if study.params is None:
        return "What every model scores on each part of the data, as far as the table tells."
    return (
        "What every model scores on the part it was trained on, on the part that chose its epoch, and on the part that "
        "chose nothing; how it was set up; and how its training went."
    )


def _shown(study: StudyResults, found: Sequence[Grid]) -> list[Results]:
    """Return all recipes if they are few, else those in no grid and the best of every grid."""
    if len(study.configurations) <= MOST or not found:
        return list(study.configurations)
    inside = {p.results.key for g in found for p in g.points}
    best = {p.results.key for g in found for p in grid.best(study, g)}
    return [r for r in study.configurations if r.key not in inside or r.key in best]


def _left_out(study: StudyResults, shown: Sequence[Results]) -> str:
    """Say which recipes a table leaves out."""
    rest = len(study.configurations) - len(shown)
    if not rest:
        return ""
    return (
        f"Of every grid the best on validation is shown; the other {prose.count('recipe', rest)} "
        f"{prose.plural('is', rest)} in the grids' tables below."
    )


def _highest(study: StudyResults, shown: Sequence[Results], most: int) -> list[Results]:
    """Return the `most` recipes that validation values highest, in the order of `shown`."""

    def value(results: Results) -> float:
        score = results.get(grid.leading(study), part="val").value
        return score if math.isfinite(score) else -math.inf

    kept = {r.key for r in sorted(shown, key=value, reverse=True)[:most]}
    return [r for r in shown if r.key in kept]


def _matrices(study: StudyResults, shown: Sequence[Results]) -> list[Results]:
    """Return the recipes whose confusion matrices are drawn: fewer of many classes, which need more room."""
    k = len(study.classes)
    return _highest(study, [r for r in shown if r.confusion is not None], MOST if k <= 4 else 4 if k <= 6 else 2)


def _cut(study: StudyResults, drawn: Sequence[Results], of: Sequence[Results]) -> str:
    """Say which recipes a figure leaves out."""
    if len(drawn) == len(of):
        return ""
    name = grid_section.called(grid.leading(study))
    return f" The figure shows the {len(drawn)} of {len(of)} recipes with the highest validation {name}."


def _named(study: StudyResults, results: Results) -> str:
    """Return the name of a recipe, linked to its page, and marked if it was chosen among several."""
    name = f"[{results.key}](seeds/{results.key}.md)" if results.seeds else results.key
    chosen = len(study.configurations) > 1 and study.chosen is not None and study.chosen.key == results.key
    return f"**{name}** ★" if chosen else name


def _sizes(study: StudyResults, metric: str) -> str:
    """Say what the numbers of every part rest on."""
    first = study.configurations[0]
    known = []
    for part in grid.PARTS:
        estimate = first.get(metric, part=part)
        if first.predictions is not None and part != "train":
            known.append(f"{PARTS[part]} {sections.sample(study, first, part)}")
        elif math.isfinite(estimate.n):
            known.append(f"{PARTS[part]} n = {prose.count('image', int(estimate.n))}")
    if not known:
        return "How many images the parts have is not given in the table."
    return prose.capital(f"{'; '.join(known)}.")


def _performance(study: StudyResults, shown: Sequence[Results], found: Sequence[Grid]) -> str:
    """Lay out the leading metric by part, a recipe a row."""
    metric = grid.leading(study)
    name, ci = grid_section.called(metric), study.interval_name
    columns: dict[str, Callable[[Results], str]] = {
        f"{prose.capital(PARTS[part])} {name}": lambda r, part=part: _mean(r, metric, part) for part in grid.PARTS
    }
    columns[f"{ci} of the test mean"] = lambda r: tables.interval(r.get(metric))
    columns["Training − test"] = lambda r: _difference(r, metric, "train", "test")
    if metric != "auroc":
        columns[f"Test balanced accuracy [{ci}]"] = lambda r: tables.estimated(r.get("balanced_accuracy"))
        columns["Validation AUROC"] = lambda r: tables.number(r.get("auroc", part="val").value)
    body = _table(study, shown, columns)
    noted = [(r.key, f"test {name}", r.get(metric)) for r in shown]
    other = [(r, p, r.get(metric, part=p)) for p in ("train", "val") for r in shown]
    noted += [(r.key, f"{PARTS[p]} {name}", e) for r, p, e in other if _lacks(e)]
    if metric != "auroc":
        noted += [(r.key, "balanced accuracy", r.get("balanced_accuracy")) for r in shown if r.predictions is not None]
    return join(
        f"## {prose.capital(name) if name.islower() else name} by part",
        " ".join(
            text
            for text in (
                _sizes(study, metric),
                "Macro average over classes." if metric == "auroc" else _majority(study),
                _left_out(study, shown),
            )
            if text
        ),
        body,
        "\n".join(line for line in (tables.reasons(noted), *(f"- {t}" for t in _reading(study, shown))) if line),
    )


def _mean(results: Results, metric: str, part: str, digits: int = 3) -> str:
    return tables.mean_sd(results.get(metric, part=part).value, results.sd(metric, part=part), digits)


def _lacks(estimate: Estimate) -> bool:
    return not math.isfinite(estimate.value)


def _difference(results: Results, metric: str, first: str, second: str, digits: int = 3) -> str:
    """Write a part less another, the mean over seeds and its SD: each seed's own difference."""
    gaps = results.values(metric, part=first) - results.values(metric, part=second)
    if not results.seeds:
        gaps = np.array([results.get(metric, part=first).value - results.get(metric, part=second).value])
    if not np.isfinite(gaps).all():
        return tables.DASH
    text = prose.signed(float(gaps.mean()), digits)
    return f"{text} ± {tables.number(float(gaps.std(ddof=1)), digits)}" if len(gaps) > 1 else text


def _table(study: StudyResults, shown: Sequence[Results], columns: dict[str, Callable[[Results], str]]) -> str:
    """Lay out a table of recipes; of a bare table without the columns that it has no number for."""
    cells = {head: [write(r) for r in shown] for head, write in columns.items()}
    if study.params is None:
        cells = {head: column for head, column in cells.items() if set(column) - {tables.DASH, f"{tables.DASH} [—]"}}
    rows = [[_named(study, r), str(len(r.seeds) or tables.DASH), *row] for r, row in zip(shown, zip(*cells.values()))]
    return tables.table(["Recipe", "Seeds", *cells], rows, "lr" + "r" * len(cells))


def _majority(study: StudyResults) -> str:
    """Say what a constant answer would score on the test part."""
    first = study.configurations[0].predictions
    if first is None:
        return "What always answering the most frequent class would score is not known from the table."
    share = first.test_targets.mean(axis=0)
    largest = int(share.argmax())
    return (
        f"Always answering {prose.readable(str(first.classes[largest]))} would score a test accuracy of "
        f"{tables.number(float(share[largest]))} and a balanced accuracy of "
        f"{tables.number(1 / int((share > 0).sum()))}: near both, a recipe shows no skill."
    )


def _reading(study: StudyResults, shown: Sequence[Results]) -> Iterable[str]:
    if any(len(r.seeds) > 1 for r in shown):
        yield (
            "A value is the mean over training seeds, ± their standard deviation; the interval is about patients, with "
            "these seeds."
        )
    if any(not _lacks(r.get(grid.leading(study), part="train")) for r in shown):
        yield (
            "Training values are of the training images as they are, without augmentation. They say how far a training "
            "fitted, not how good it is; neither they nor the difference to the test part say which recipe is better."
            if study.params is not None
            else "Training values say how far a training fitted, not how good it is."
        )
    if study.params is not None:
        yield "Validation chose the epoch, so its values are optimistic; they carry no interval."
    if study.chosen is not None and len(study.configurations) > 1:
        yield sections.starred(study)
    if len(study.configurations) > 1:
        tested = study.comparisons is not None
        where = "those that were tested are in [all results](README.md)" if tested else "none is tested in this report"
        yield f"Differences between rows are no findings by themselves: {where}."


def _losses(study: StudyResults, shown: Sequence[Results]) -> str:
    """Lay out the loss that was minimised, by part."""
    if all(_lacks(r.get("loss", part=p)) for r in shown for p in grid.PARTS):
        return ""
    columns: dict[str, Callable[[Results], str]] = {
        f"{prose.capital(PARTS[part])} loss": lambda r, part=part: _mean(r, "loss", part, 4) for part in grid.PARTS
    }
    columns["Test − training"] = lambda r: _difference(r, "loss", "test", "train", 4)
    missing = [(r.key, f"{PARTS[p]} loss", e) for r in shown for p in grid.PARTS if _lacks(e := r.get("loss", part=p))]
    what = (
        "The loss as the table gives it."
        if study.params is None
        else "The loss that the training minimised, of the weights that were kept."
    )
    return join(
        "## Loss by part",
        f"{what} It compares the parts of a row, and rows with the same loss function; never rows with different ones. "
        "So it has no interval.",
        _table(study, shown, columns),
        tables.reasons(missing) if study.params is not None else "",
    )


def _trainings(study: StudyResults, shown: Sequence[Results], pictured: bool) -> str:
    """Lay out how long the trainings took, and their curves."""
    table = described.trainings([(_named(study, r), r.runs) for r in shown if r.runs])
    if not table and not pictured:
        return ""
    times = "Images/s (in training) and minutes are medians over seeds, epochs from the least to the most."
    picture = (
        "A line a seed; on the pages of the recipes, which the tables link, seeds are told apart. Losses are of the "
        f"scale of their function: compare them within a panel.{_cut(study, _highest(study, shown, MOST), shown)}",
        image("Validation metrics and losses by epoch, a panel a recipe", "figures/models-curves.png"),
    )
    return join("## Training", times if table else "", table, *(picture if pictured else ()))


def _confusion(study: StudyResults, shown: Sequence[Results], pictured: bool, folder: Path) -> str:
    """Say which class is taken for which."""
    if study.task == "multilabel":
        if study.params is None:
            return ""
        where = "the pages of the recipes, which the tables above link"
        where += " and in [the errors](errors.md)" if (folder / "errors.md").exists() else ""
        return join(
            "## Confusion",
            "An image may have several classes or none, and each class is decided for itself: there is no matrix of "
            f"classes taken for one another. Decisions by class are on {where}.",
        )
    chosen = study.subject
    if not any(r.confusion is not None for r in shown):
        return ""
    text = (
        "Test part, the class with the highest probability against the true one. Counts are summed over seeds, so that "
        "an image counts once a seed; shares are of the true class."
    )
    if pictured:
        having = [r for r in shown if r.confusion is not None]
        picture = join(
            f"Each cell: share of the true class, and count.{_cut(study, _matrices(study, shown), having)}",
            image("Confusion matrix of every recipe, counts summed over seeds", "figures/models-confusion.png"),
        )
    else:
        picture = f"With more than {figures.MOST_CLASSES} classes there is no figure."
    return join("## Confusion", text, picture, _matrix(study, chosen))


def _matrix(study: StudyResults, results: Results | None) -> str:
    """Lay out the counts of a recipe."""
    if results is None or results.confusion is None:
        return ""
    counts = figures.matrix(results, study.classes)
    share = figures.shares(counts)
    rows = [
        [
            name,
            *(f"{tables.whole(n)} ({tables.percent(s)})" for n, s in zip(counts[i], share[i])),
            f"{counts[i].sum():,}",
        ]
        for i, name in enumerate(study.classes)
    ]
    over = f"{prose.count('seed', len(results.seeds))}" + (" summed" if len(results.seeds) > 1 else "")
    heads = ["True \\ decided", *study.classes, "All"]
    which = "the recipe that validation chose, " if len(study.configurations) > 1 else ""
    return join(f"**{results.key}**, {which}{over}:", tables.table(heads, rows, "l" + "r" * (len(study.classes) + 1)))


def _heat(study: StudyResults, pictured: bool) -> str:
    name = (
        f"Validation {grid_section.called(grid.leading(study))} by learning rate and dropout, collapsed cells hatched"
    )
    return image(name, "figures/models-grid.png") if pictured else ""
