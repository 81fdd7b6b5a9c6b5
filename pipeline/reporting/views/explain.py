"""Facts of the page about heat maps: whether they find what is marked, and whether they are about the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.explaining.examples import KINDS
from pipeline.explaining.names import AGREEMENT, BORDERS, DELETION, EVERY, INSERTION, MAP, MEAN, RANDOM, RANDOM_ORDER
from pipeline.explaining.results import Explanation
from pipeline.reporting import page
from pipeline.reporting.figures import explain as figures
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate
from pipeline.reporting.views.shared import Picture, banner, boxes_of, path_of_images, picture_of_images
from pipeline.study.files import write_csv
from pipeline.study.runs import Configuration
from pipeline.uncertainty.support import MIN_PATIENTS

LABELS = {"pointing": "Pointing game", "energy": "Energy inside", "overlap": "IoU", "pixel_ap": "Pixel AP"}
MOST = 6
"""Classes in the figure of examples: those with the most positive test images."""
_FEW = f"fewer than {MIN_PATIENTS} patients"
DIGITS = 6


class ClassRow(NamedTuple):
    """A class, or all: the map beside what needs no network, by the pointing game; `energy` and so on of the map."""

    name: str
    images: int
    map: Estimate
    mean_box: Estimate
    centre: Estimate
    difference: Estimate
    others: list[Estimate]

    @property
    def largest_gain(self) -> float:
        """By how much a map that is always right would be above the mean box."""
        return 1 - self.mean_box.value

    @property
    def reach(self) -> float:
        """How far the interval of the difference reaches to either side; NaN without one."""
        return (self.difference.high - self.difference.low) / 2 if self.difference.bounded else np.nan

    @property
    def without_room(self) -> bool:
        """Whether the mean box is right so often that no gain over it could be told from noise in these images."""
        return bool(self.largest_gain <= self.reach)

    @property
    def verdict(self) -> str:
        """What the interval of the difference from the mean box allows to be said."""
        if not self.difference.bounded:
            return "few patients"
        if self.difference.low > 0:
            return "above"
        return "below" if self.difference.high < 0 else "not told apart"


class ModelRow(NamedTuple):
    """A configuration and a method over every class: the layer, the map, and how far the training runs agree."""

    key: str
    method: str
    layer: str
    scores: list[Estimate]
    difference: Estimate
    agreement: Estimate


class Faithful(NamedTuple):
    """Deletion or insertion: of the map, of a random order, and the difference."""

    name: str
    map: Estimate
    random: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Explained:
    """The chosen configuration by one method, see ``pages/explain.md``."""

    of: Explanation
    classes: list[ClassRow]
    mean_box: str
    cut: float | None
    agreement: Estimate
    random: list[tuple[str, Estimate]]
    faithful: list[Faithful]
    border: tuple[Estimate, float]
    pictured: dict[str, Picture | str | None] = field(default_factory=dict)

    @property
    def beaten(self) -> list[str]:
        """Classes of which the map is above the mean box."""
        return [row.name for row in self.classes[1:] if row.verdict == "above"]

    @property
    def without_room(self) -> list[ClassRow]:
        """Classes of which no map could be shown to be above the mean box in these images."""
        return [row for row in self.classes[1:] if row.without_room]

    @property
    def tested(self) -> int:
        """Classes with an interval."""
        return sum(row.difference.bounded for row in self.classes[1:])


class _Lookup:
    """Rows of a table by the text in its first columns."""

    def __init__(self, table: pd.DataFrame, keys: list[str]) -> None:
        rows = table.fillna(dict.fromkeys(keys, "")).to_dict("records") if len(table) else []
        self._rows = {tuple(str(row[key]) for key in keys): row for row in rows}

    def __call__(self, *keys: str) -> Estimate:
        row = self._rows.get(keys)
        if row is None:
            return Estimate(note="not measured")
        value, low, high, n = (float(row[name]) for name in ("value", "low", "high", "images"))
        return Estimate(value, low, high, n, np.nan, "" if np.isfinite(low) else _FEW)


def _class_rows(of: Explanation) -> list[ClassRow]:
    table = of.localisation
    if table.empty:
        return []
    get = _Lookup(table, ["map", "class", "metric"])
    names = list(dict.fromkeys(table["class"]))
    return [
        ClassRow(
            name,
            int(get(MEAN, name, "pointing").n),
            get(MEAN, name, "pointing"),
            get("mean box", name, "pointing"),
            get("centre", name, "pointing"),
            get(f"{MEAN} - mean box", name, "pointing"),
            [get(MEAN, name, metric) for metric in LABELS if metric != "pointing"],
        )
        for name in names
    ]


def facts_of(of: Explanation) -> Explained:
    """Return what the page says of the maps of a configuration."""
    get = _Lookup(of.checks, ["check", "step"])
    steps = [str(row["step"]) for row in of.checks.to_dict("records") if row["check"] == RANDOM]
    share = of.checks[(of.checks["check"] == BORDERS) & (of.checks["step"] != MAP)]["value"]
    return Explained(
        of,
        _class_rows(of),
        of.about.get("mean_box", ""),
        of.about.get("thresholds", {}).get(MEAN),
        get(AGREEMENT, ""),
        [(step, get(RANDOM, step)) for step in steps],
        [
            Faithful(name, get(name, MAP), get(name, RANDOM_ORDER), get(name, f"{MAP} - {RANDOM_ORDER}"))
            for name in (DELETION, INSERTION)
        ],
        (get(BORDERS, MAP), float(share.iloc[0])),
    )


def _model_row(of: Explanation) -> ModelRow:
    get, checks = _Lookup(of.localisation, ["map", "class", "metric"]), _Lookup(of.checks, ["check", "step"])
    scored = [get(MEAN, EVERY, metric) for metric in LABELS]
    difference = get(f"{MEAN} - mean box", EVERY, "pointing")
    layer = of.about["layer"]
    named = "" if layer is None else f"{layer['name']}, {' × '.join(map(str, layer['grid']))}"
    return ModelRow(str(of.configuration), of.method, named, scored, difference, checks(AGREEMENT, ""))


def table(study: StudyResults) -> pd.DataFrame:
    """Return every score and check: model, loss, method, then the columns of both tables."""
    parts = []
    for of in study.explanations:
        about = {"model": of.configuration.model, "loss": of.configuration.loss, "method": of.method}
        boxes = of.localisation if len(of.localisation) else pd.DataFrame(columns=["map", "class", "metric"])
        parts.append(boxes.assign(**about))
        parts.append(of.checks.rename(columns={"check": "metric", "step": "map"}).assign(**about, **{"class": ""}))
    whole = pd.concat([part for part in parts if len(part)], ignore_index=True)
    order = ["model", "loss", "method", "map", "class", "metric", "value", "low", "high", "images", "patients"]
    return whole[order].round(DIGITS)


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write explain.md, explain.csv and their figures into `folder`; nothing where there are no heat maps."""
    subject = study.subject
    if not study.explanations or subject is None:
        return []
    chosen = Configuration(subject.model, subject.loss)
    explained, drawn = [], []
    out = folder / "explain.md"
    for of in study.explanations:
        if of.configuration != chosen:
            continue
        facts = facts_of(of)
        forest = figures.beside_the_mean_box(
            facts.classes, study.interval_name, folder / "figures" / f"explain-{of.method}.png"
        )
        images = _examples(study, subject, of, path_of_images(study, folder, f"explain-{of.method}-images.png"))
        drawn += [path for path in (forest, images) if path]
        facts.pictured.update(
            forest=f"figures/{forest.name}" if forest else None,
            images=picture_of_images(study, images, out) if images else None,
        )
        explained.append(facts)
    write_csv(folder / "explain.csv", table(study))
    rows = [_model_row(of) for of in study.explanations]
    page.write(
        out,
        "explain.md",
        study=study,
        results=subject,
        banner_facts=banner(study),
        explained=explained,
        models=rows,
        labels=LABELS,
    )
    return [out, folder / "explain.csv", *drawn]


def _examples(study: StudyResults, subject: Results, of: Explanation, path: Path) -> Path | None:
    """Draw an image for each kind of decision of the classes with the most positive test images."""
    if not len(study.images) or of.examples.empty:
        return None
    positives = (subject.predictions.test_targets == 1).sum(axis=0)
    shown = [study.classes[k] for k in np.argsort(-positives.astype(np.int64), kind="stable")[:MOST]]
    middle = of.examples[of.examples["quantile"].isin([0.5, 1.0])]
    panels: dict[tuple[str, str], figures.Panel] = {}
    for at, row in middle.iterrows():
        if row["class"] in shown:
            panels[row["class"], row["kind"]] = figures.Panel(
                int(row["row"]),
                of.maps[int(str(at))],
                float(row["probability"]),
                boxes_of(study, int(row["row"]), row["class"]),
            )
    return figures.examples(study, shown, KINDS, panels, path)
