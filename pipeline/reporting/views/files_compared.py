"""Facts of the page that compares two tables of predictions, made anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import numpy as np

from pipeline.reporting import page
from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import LABELS
from pipeline.reporting.values import Estimate
from pipeline.scoring.side_by_side import CUT, Beside, Line, Value

PAGE = "README.md"
_NAMES = {
    **LABELS,
    "average_precision": "Average precision",
    "kappa": "Cohen's κ",
    "brier": "Brier score",
    "ece": "ECE",
}
_WIDTH = 100


@dataclass(frozen=True)
class About:
    """What is compared, and what came out."""

    first: Path
    second: Path
    compared: Beside

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called: their file names, or their paths where these are equal."""
        if self.first.name != self.second.name:
            return self.first.name, self.second.name
        return self.first.as_posix(), self.second.as_posix()


@dataclass(frozen=True)
class Row:
    """A line of a table."""

    name: str
    positives: int
    first: Estimate
    second: Estimate
    difference: Estimate
    p: float
    p_holm: float
    false_claim: float
    better: str


def facts(about: About) -> dict[str, object]:
    """Return what ``pages/compare.md`` names."""
    of, predicted = about.compared, about.compared.predicted
    rows = [_row(about, line) for line in (of.lead, *of.metrics)]
    by_class = [_row(about, line, by_class=True) for line in of.by_class]
    return {
        "names": about.names,
        "of": of,
        "predicted": predicted,
        "unit": "patient" if predicted.patients_known else "image",
        "lead": rows[0],
        "lead_name": "AUROC" if rows[0].name == "AUROC" else "macro AUROC",
        "rows": rows,
        "by_class": by_class,
        "several": max(map(len, predicted.seeds)) > 1,
        "one_each": max(map(len, predicted.seeds)) == 1,
        "named_seeds": [[s for s in seeds if s] for seeds in predicted.seeds],
        "cut": CUT,
        "noted": _noted([*rows, *by_class]),
        "level": f"{100 * of.confidence:g} %",
        "significant": bool(of.lead.p < 1 - of.confidence),
        "extremes": _extremes(about),
    }


def render(about: About, folder: Path) -> Path:
    """Write the page into `folder`; return it."""
    with page.about(_words(about)):
        return page.write(folder / PAGE, "compare.md", **facts(about))


def in_short(about: About) -> str:
    """Return the sentences of the page's head as plain text for a terminal."""
    with page.about(_words(about)):
        text = page.render("shared/compared.md", **facts(about))
    lines = [line.removeprefix("- ").replace("**", "").replace("\\", "") for line in text.splitlines() if line.strip()]
    return "\n".join(part for line in lines for part in wrap(line, _WIDTH))


def _words(about: About) -> StudyResults:
    """Return a study of the same classes, whose names the page then shows as they are."""
    predicted = about.compared.predicted
    single = predicted.task == "multiclass"
    return StudyResults(about.second.stem, "multiclass" if single else "multilabel", predicted.classes, ())


def _row(about: About, line: Line, by_class: bool = False) -> Row:
    of_class = line.group in about.compared.predicted.classes
    name = _NAMES[line.metric]
    if not of_class and line.group != "overall":
        name = f"Macro {name if name.isupper() or name == 'F1' else name[0].lower() + name[1:]}"
    better = "" if line.difference.value == 0 or np.isnan(line.difference.value) else about.names[line.second_is_better]
    return Row(
        line.group if by_class else name,
        line.positives,
        _estimate(line.first, line.positives),
        _estimate(line.second, line.positives),
        _estimate(line.difference, line.positives),
        line.p,
        line.p_holm,
        float(line.false_claim.sceptical),
        better,
    )


def _estimate(value: Value, positives: int) -> Estimate:
    return Estimate(value.value, value.low, value.high, n_positive=positives, note=value.note)


def _noted(rows: list[Row]) -> list[tuple[str, str, Estimate]]:
    return [
        (row.name, column, estimate)
        for row in rows
        for column, estimate in (("first", row.first), ("second", row.second), ("difference", row.difference))
    ]


def _extremes(about: About) -> list[tuple[str, int]]:
    """Count for each table the probabilities of 0 for what is true, or of 1 for what is not, where there are any."""
    predicted = about.compared.predicted
    truth, absent = predicted.targets == 1, predicted.targets == 0
    counts = [int(((p == 0) & truth | (p == 1) & absent).sum()) for p in predicted.probabilities]
    return [(name, n) for name, n in zip(about.names, counts) if n]
