"""Facts of the page about variants: the same study on other pictures of its images, or on another split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.reporting import page
from pipeline.reporting.results import Results, StudyResults
from pipeline.reporting.values import Estimate, Outcome, outcome
from pipeline.reporting.views import shared
from pipeline.reporting.views.folds import whole
from pipeline.study.files import write_csv
from pipeline.study.predictions import Predictions
from pipeline.study.runs import Configuration
from pipeline.uncertainty.comparisons import compare_measured, measured_auroc
from pipeline.uncertainty.multiplicity import holm
from pipeline.variants.folds import Fold, out_of_fold
from pipeline.variants.grouping import is_fold
from pipeline.variants.results import VariantResults

STUDY = "study"
DIGITS = 6


class Row(NamedTuple):
    """A configuration, or an ensemble, in the study and in a variant: AUROC of both, and variant minus study."""

    results: Results
    study: Estimate
    variant: Estimate
    difference: Estimate
    p_holm: float
    alpha: float

    @property
    def verdict(self) -> str:
        """What the corrected test allows to be said."""
        found = outcome(self.p_holm, self.p_holm < self.alpha, False, False)
        if found is Outcome.DIFFER:
            return "better" if self.difference.value > 0 else "worse"
        return found.value


class Compared(NamedTuple):
    """A variant of other pictures: its keys and values, the rows, and the classes of the chosen configuration."""

    name: str
    changes: list[str]
    rows: list[Row]
    by_class: list[tuple[str, Estimate, Estimate, Estimate]]


class OtherSplit(NamedTuple):
    """A variant of another split: its keys and values, images tested, and AUROC of each of `subjects`."""

    name: str
    changes: list[str]
    images: int
    rows: list[tuple[Results, Estimate, Estimate]]


def changes_of(changes: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield each changed key with its value: ``preprocess.clahe.enabled: False``."""
    for key, value in changes.items():
        if isinstance(value, Mapping):
            yield from changes_of(value, f"{path}{key}.")
        else:
            yield f"{path}{key}: {value}"


def _changes(study: StudyResults, name: str) -> list[str]:
    """Return what a variant has of its own, as pages may print it."""
    return [*changes_of({key: of for key, of in study.params.variants[name].model_dump().items() if of})]


def subjects(study: StudyResults) -> list[Results]:
    """Return what is shown of every variant: the configurations, and the ensemble that validation chooses."""
    return [*study.configurations, *([study.chosen_ensemble] if study.chosen_ensemble is not None else [])]


def _in_variant(study: StudyResults, of: Results, variant: VariantResults) -> Predictions | None:
    """Return what a variant has of one of `subjects`: of an ensemble, the same method on the same set made anew."""
    if of is not study.chosen_ensemble:
        return variant.predictions.get(Configuration(of.model, of.loss))
    about = study.described[of.loss]
    name = variant.ensembles.find(about["method"], about["set"])
    return None if name is None else variant.ensembles.predictions[name]


def compared(study: StudyResults) -> tuple[list[Compared], pd.DataFrame]:
    """Compare every variant of other pictures with the study, on the same test images.

    Returns
    -------
    list of Compared
        p is corrected for all `subjects` of all variants together.
    DataFrame
        variant, model, loss, class, study, variant_auroc, difference, ci_low, ci_high, p, p_holm, note.
    """
    variants = [v for v in study.variants if v.other_pictures]
    tested: dict[tuple[str, str], pd.DataFrame] = {}
    values: dict[tuple[str, str], np.ndarray] = {}
    evaluate = study.params.evaluate
    for results in subjects(study):
        own = results.predictions
        sides = {v.name: p for v in variants if (p := _in_variant(study, results, v)) is not None}
        same = {name: p for name, p in sides.items() if _same_images(own, p)}
        if not same or not results.has_predictions:
            continue
        logits = {STUDY: own.test_logits, **{f"variant {name}": p.test_logits for name, p in same.items()}}
        measured = measured_auroc(
            own.task, logits, own.test_targets, own.test_patients, draws=evaluate.bootstrap, seed=evaluate.seed
        )
        for name in same:
            pair = compare_measured(
                {name: measured[f"variant {name}"], STUDY: measured[STUDY]},
                confidence=evaluate.confidence,
                margin=evaluate.margin,
                classes=study.classes,
                seed=evaluate.seed,
            )
            tested[name, results.key] = pair
            values[name, results.key] = measured[f"variant {name}"].values.mean(axis=0)
            values[STUDY, results.key] = measured[STUDY].values.mean(axis=0)
    macros = [table[table["class"] == "macro"].iloc[0] for table in tested.values()]
    adjusted = dict(zip(tested, holm(np.array([row["p"] for row in macros], float)).tolist())) if macros else {}
    found, tables = [], []
    for variant in variants:
        rows, by_class = [], []
        for results in subjects(study):
            if (variant.name, results.key) not in tested:
                continue
            pair = tested[variant.name, results.key]
            here, there = values[STUDY, results.key], values[variant.name, results.key]
            difference = {row["class"]: _difference(row) for row in pair.to_dict("records")}
            p_holm = adjusted[variant.name, results.key]
            rows.append(Row(results, Estimate(here[-1]), Estimate(there[-1]), difference["macro"], p_holm, study.alpha))
            order = [*study.classes, "macro"]
            if study.subject is not None and results.key == study.subject.key:
                by_class = [
                    (name, Estimate(here[k]), Estimate(there[k]), difference[name]) for k, name in enumerate(order[:-1])
                ]
            about = pd.DataFrame({"class": order, STUDY: here, "variant_auroc": there})
            kept = pair[["class", "difference", "ci_low", "ci_high", "p", "note"]].merge(about, on="class")
            holms = np.where(kept["class"] == "macro", p_holm, np.nan)
            tables.append(kept.assign(variant=variant.name, model=results.model, loss=results.loss, p_holm=holms))
        found.append(Compared(variant.name, _changes(study, variant.name), rows, by_class))
    order = ["variant", "model", "loss", "class", STUDY, "variant_auroc", "difference", "ci_low", "ci_high", "p"]
    columns = [*order, "p_holm", "note"]
    return found, pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def _same_images(first: Predictions, second: Predictions) -> bool:
    return np.array_equal(first.test_rows, second.test_rows) and np.array_equal(first.test_targets, second.test_targets)


def _difference(row: Mapping[Any, Any]) -> Estimate:
    return Estimate(row["difference"], row["ci_low"], row["ci_high"], note=str(row["note"]))


def other_splits(study: StudyResults) -> list[OtherSplit]:
    """Return the variants that are tested on other images and are no folds of this study."""
    found = []
    for variant in study.variants:
        if variant.other_pictures or is_fold(variant, study.params.split):
            continue
        rows, images = [], 0
        for results in subjects(study):
            predictions = _in_variant(study, results, variant)
            if predictions is not None:
                scored = out_of_fold([Fold(1, predictions)], **study.params.evaluate.draws())  # one split is one fold
                scores = whole(results, scored)
                images = len(predictions.test_rows)
                rows.append((results, scores.get("auroc"), scores.get("average_precision")))
        found.append(OtherSplit(variant.name, _changes(study, variant.name), images, rows))
    return found


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write variants.md and variants.csv into `folder`; nothing where the study has no such variant."""
    if not study.recorded or all(is_fold(v, study.params.split) for v in study.variants):
        return []
    found, table = compared(study)
    out = folder / "variants.md"
    write_csv(folder / "variants.csv", table.round(DIGITS))
    page.write(
        out,
        "variants.md",
        study=study,
        results=study.subject,
        banner_facts=shared.banner(study),
        compared=found,
        ensemble=study.chosen_ensemble,
        splits=other_splits(study),
    )
    return [out, folder / "variants.csv"]
