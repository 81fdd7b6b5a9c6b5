"""Facts of the page about external test sets of a study of segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.external.results import External
from pipeline.reporting import page
from pipeline.reporting.figures import external as figures
from pipeline.reporting.figures import segmentation as outlines
from pipeline.reporting.figures.segmentation import Panel
from pipeline.reporting.results import StudyResults
from pipeline.reporting.terms import LABELS
from pipeline.reporting.values import Estimate
from pipeline.reporting.views import shared
from pipeline.reporting.views.external import Row, estimate, pair, table
from pipeline.reporting.views.segmentation import SHOWN, WHOLE
from pipeline.reporting.views.shared import Picture
from pipeline.segmenting.scores import DICE, FALSE_ALARM
from pipeline.study.files import write_csv


class Structure(NamedTuple):
    """A structure of the study: which of theirs it is, images with it on both sides, and why it is not compared."""

    name: str
    theirs: list[str]
    here: float
    there: float
    reason: str


class Alarms(NamedTuple):
    """False alarms of a structure on both sides."""

    name: str
    here: Estimate
    there: Estimate


@dataclass(frozen=True)
class Facts:
    """One external set, see ``pages/segmentation/external.md``.

    Parameters
    ----------
    of : External
        What was read.
    structures : list of Structure
        Every structure of the study.
    ranking : list of Row
        Mean Dice of every configuration and ensemble.
    scores : list of (str, list of Row)
        Scores of each structure compared, of the chosen configuration.
    alarms : list of Alarms
        Of the structures that an image lacks on either side.
    forest : str
        The figure of `ranking`, "" without.
    picture : Picture or None
        The figure of images.
    shown : list of Panel
        What it shows.
    """

    of: External
    structures: list[Structure]
    ranking: list[Row]
    scores: list[tuple[str, list[Row]]]
    alarms: list[Alarms]
    forest: str
    picture: Picture | None
    shown: list[tuple[Panel, int]]

    @property
    def seed(self) -> int:
        """Of the training run that the pictures are of."""
        return int(self.of.pictures["seed"])

    @property
    def noted(self) -> shared.Noted:
        """What is missing in the tables, for `formats.reasons`."""
        rows = [*self.ranking, *(row for _, rows in self.scores for row in rows)]
        of_scores = [(row.name, row.label, each) for row in rows for each in (row.here, row.there) if each.note]
        of_alarms = [(each.name, LABELS[FALSE_ALARM], side) for each in self.alarms for side in (each.here, each.there)]
        return of_scores + [noted for noted in of_alarms if noted[2].exists and noted[2].note]


def _panels(pictures: dict[str, Any]) -> list[tuple[Panel, int]]:
    """Return the images that are shown, each with its row."""
    keys = ("names", "kinds", "dice", "images", "truth", "found")
    return [
        (Panel(str(name), str(kind), float(dice), *arrays), int(row))
        for row, name, kind, dice, *arrays in zip(pictures["rows"], *(pictures[key] for key in keys))
    ]


def facts_of(study: StudyResults, of: External, folder: Path) -> Facts:
    """Return the facts of one set; draws its figures into `folder`."""
    subject = study.subject or study.configurations[0]
    name, about = (subject.model, subject.loss), of.about
    ranking = [
        pair(of, (r.model, r.loss), WHOLE, DICE, f"{r.key} ★" if study.is_chosen(r) else r.key, LABELS[DICE])
        for r in study.everything
        if (r.model, r.loss) in of.models
    ]
    structures = [
        Structure(
            each,
            [their for their, ours in about["pairs"].items() if ours == each],
            subject.get(DICE, each).n,
            about["with"].get(each, 0),
            about["not_compared"].get(each, ""),
        )
        for each in study.classes
    ]
    scores = [
        (each, [pair(of, name, each, metric, each, LABELS[metric]) for metric in SHOWN]) for each in about["compared"]
    ]
    alarms = [
        Alarms(each, *(estimate(of.row(*name, side, each, FALSE_ALARM)) for side in ("here", "there")))
        for each in about["compared"]
    ]
    shown = _panels(of.pictures)
    asked = study.params.report.private_figures
    private = (study.private_figures or not about["dataset"]["synthetic"]) if asked is None else asked
    place = shared.path_of_images(study, folder, f"external-{of.name}-images.png", private)
    drawn = outlines.outlines([panel for panel, _ in shown], place)
    forest = folder / "figures" / f"external-{of.name}.png"
    written = figures.both_sides(ranking, of.name, study.interval_name, forest, LABELS[DICE])
    return Facts(
        of,
        structures,
        ranking,
        scores,
        [each for each in alarms if each.here.exists or each.there.exists],
        f"figures/{forest.name}" if written else "",
        shared.picture_of_images(study, drawn, folder / "external.md", private) if drawn else None,
        shown,
    )


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write external.md, external.csv and their figures into `folder`; nothing where there is no external set."""
    if not study.external:
        return []
    sets = [facts_of(study, of, folder) for of in study.external]
    write_csv(folder / "external.csv", table(study))
    written = page.write(
        folder / "external.md",
        "segmentation/external.md",
        study=study,
        subject=study.subject or study.configurations[0],
        banner_facts=shared.banner(study),
        sets=sets,
    )
    drawn = [folder / each.forest for each in sets if each.forest]
    drawn += [folder / each.picture.link for each in sets if each.picture is not None]
    return [written, folder / "external.csv", *drawn]
