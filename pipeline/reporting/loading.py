"""Read a whole study from what its stages wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.ensembling.predictions import alone
from pipeline.ensembling.sets import shown
from pipeline.explaining.results import read_explanation, why_none
from pipeline.external.results import read_external
from pipeline.regressing.values import FILE, Values
from pipeline.reporting.bare_table import seeds_of, tidy, with_means
from pipeline.reporting.pseudonyms import hide
from pipeline.reporting.results import FoldSearch, Results, StudyResults
from pipeline.reporting.values import (
    ENSEMBLE,
    MEAN,
    NO_AUGMENTED,
    NO_EXAMPLES,
    NO_KINDS,
    NO_TABLE,
    PROBE,
    Augmented,
    Examples,
    KindPictures,
    ReportError,
)
from pipeline.scoring.clinical import Clinical
from pipeline.searching.record import Record, read_record, read_records
from pipeline.segmenting.results import open_probabilities
from pipeline.settings import Params
from pipeline.study.files import (
    AUDIT,
    AUGMENTED,
    BOXES,
    DUPLICATES,
    ENSEMBLES,
    EXAMPLES,
    EXCLUDED,
    KINDS,
    PROBES,
    READING,
    made_by,
    opened_arrays,
    read_json,
    read_table,
)
from pipeline.study.parts import read_split
from pipeline.study.predictions import Predictions, read_metrics
from pipeline.study.prepared import open_images, open_masks, read_dataset, read_samples
from pipeline.study.runs import Configuration, configurations, runs, seeds
from pipeline.study.trainings import evaluation_folder
from pipeline.variants.ensembles import NO_ENSEMBLES
from pipeline.variants.results import audit_of, read_variants, with_ensembles
from pipeline.variants.settings import folds_of_study

_CLINICAL = (*Clinical._fields, "subgroup_gaps")
_LABELS = ("variable", "first", "second", "method", "point", "metric", "prevalence_from")
"""Columns of these tables that hold names."""


def load_study(params: Params) -> StudyResults:
    """Read what the stages wrote for the training runs of `params`; folders of other runs are never looked at.

    Images and patients of real data are called by pseudonyms, see `pseudonyms`.

    Raises
    ------
    ReportError
        If no configuration has results.
    """
    info = read_dataset()
    of_masks, of_classes = info.task == "segmentation", info.task not in LOADERS
    loaded, missing, trained = [], [], seeds(params)
    for configuration in configurations(params):
        if not (evaluation_folder(configuration) / "metrics.csv").exists():
            missing.append(f"{configuration}, all seeds ({', '.join(map(str, trained))})")
            continue
        results = LOADERS.get(info.task, _load_configuration)(configuration)
        loaded.append(results)
        missing += [f"{configuration}, seed {seed}" for seed in trained if seed not in results.seeds]
    if not loaded:
        raise ReportError(f"none of the {len(runs(params))} training runs has results; run: dvc repro evaluate")
    every, described, skipped = _load_ensembles() if of_classes else _load_other_ensembles()
    samples = _load_samples()
    if info.patients_known:
        patient_of = dict(zip(samples["row"].tolist(), samples["patient_id"].tolist()))
        loaded = [replace(results, patient_of=patient_of) for results in loaded]
        every = tuple(replace(results, patient_of=patient_of) for results in every)
    if of_classes and not (ENSEMBLES / "metrics.csv").exists():
        missing.append("the ensembles")
    external = {name: read_external(name) for name in params.external}
    missing += [f"the external set {name}" for name, of in external.items() if of is None]
    named = [(configuration, method) for configuration in configurations(params) for method in params.explain.methods]
    explained = {(each, method): read_explanation(each, method) for each, method in named}
    for method in params.explain.methods if of_classes else ():
        without = [each for each, by in named if by == method and explained[each, by] is None]
        for why in dict.fromkeys(why_none(each, method) for each in without):
            of = ", ".join(str(each) for each in without if why_none(each, method) == why)
            missing.append(f"heat maps by {method} of {of}" + (f" ({why})" if why else ""))
    variants = with_ensembles(read_variants(params.variants, params, params.split))
    missing += [f"the variant {name}" for name in params.variants if name not in {of.name for of in variants}]
    missing += [f"the ensembles of the variant {of.name}" for of in variants if of.ensembles is NO_ENSEMBLES]
    excluded = read_table(made_by(EXCLUDED, "preprocess"), ("file", "reason")).fillna("")
    study = StudyResults(
        title=info.title,
        task=info.task,
        classes=info.classes,
        configurations=tuple(loaded),
        ensembles=tuple(e for e in every if e.loss in shown(described)) if of_classes else every,
        every_ensemble=every,
        described=described,
        skipped=skipped,
        class_comparisons=_table(ENSEMBLES / "class_comparisons.csv"),
        grade_comparisons=_table(ENSEMBLES / "grade_comparisons.csv"),
        missing=tuple(missing),
        dataset=info,
        audit=read_json(AUDIT, "split"),
        excluded=excluded,
        params=params,
        comparisons=_table(ENSEMBLES / "comparisons.csv"),
        probes=_load_probes(),
        signs=_table(ENSEMBLES / "signs.csv"),
        samples=samples,
        images=open_images(),
        boxes=read_table(BOXES, ("sample_id", "class")) if BOXES.exists() else NO_TABLE,
        duplicates=_load_duplicates(),
        examples=_load_examples(),
        reading=read_json(READING, "preprocess") if READING.exists() else {},
        kinds=_load_kinds(),
        external=tuple(of for of in external.values() if of is not None),
        explanations=tuple(of for of in explained.values() if of is not None),
        variants=tuple(variants),
        searched=_load_search(params),
        searches=_load_searches(params),
        **({"masks": open_masks()} if of_masks else {}),
    )
    return hide(study)


def _load_search(params: Params) -> Record | None:
    """Read the record of a search; None where there is none, or where it is about another study than this."""
    record = read_record()
    return record if record is not None and _is_of(record, params) else None


def _load_searches(params: Params) -> dict[int, FoldSearch]:
    """Read the records of the searches within the study's folds."""
    records, found = read_records(), {}
    for fold, variant in folds_of_study(params).items():
        record, path = records.get(fold), AUDIT if variant is None else audit_of(variant)
        if record is not None and _is_of(record, params) and path.exists():
            found[fold] = FoldSearch(record, variant, read_json(path, "prepare_variant")["sha256"])
    return found


def _is_of(record: Record, params: Params) -> bool:
    about = record.about
    return about["dataset"] == params.dataset and Configuration(about["model"], about["loss"]) in configurations(params)


def _load_samples() -> pd.DataFrame:
    split = read_split()
    if "augmented" not in split:
        split = split.assign(augmented=0)
    table = read_samples().merge(split, on="row", validate="one_to_many")
    return table.sort_values(["row", "augmented"], ignore_index=True)


def _load_duplicates() -> pd.DataFrame:
    if not DUPLICATES.exists():
        return NO_TABLE
    table = read_table(DUPLICATES, ("sample_id", "other_id", "kind", "action", "labels_agree"))
    return table.assign(labels_agree=table["labels_agree"].str.lower().isin(["true", "1"]))


def _load_examples() -> Examples:
    if not EXAMPLES.exists():
        return NO_EXAMPLES
    with opened_arrays(EXAMPLES) as file:
        return Examples(**{name: file[name] for name in Examples._fields})


def _load_kinds() -> KindPictures:
    if not KINDS.exists():
        return NO_KINDS
    with opened_arrays(KINDS) as file:
        return KindPictures(file["kinds"], file["before"], file["after"])


def _load_trained(configuration: Configuration) -> Results:
    """Read what every task has of a configuration: metrics, and what its training runs have told."""
    folder = evaluation_folder(configuration)
    metrics = tidy(read_metrics(folder / "metrics.csv"))
    return Results(
        *configuration,
        seeds=seeds_of(metrics),
        metrics=metrics,
        history=read_table(made_by(folder / "history.csv", "evaluate")),
        runs=tuple(read_json(folder / "runs.json", "evaluate")),
        augmented=_load_augmented(folder / AUGMENTED),
    )


def _load_configuration(configuration: Configuration) -> Results:
    folder = evaluation_folder(configuration)
    results = _load_trained(configuration)
    spread = read_table(made_by(folder / "seeds.csv", "evaluate"), ("class", "metric", "best_seeds"))
    interaction = folder / "seed_by_class.json"
    return replace(
        results,
        metrics=with_means(results.metrics),
        spread=spread[spread["metric"] == "auroc"] if "metric" in spread else spread,
        predictions=Predictions.load(made_by(folder / "predictions.npz", "evaluate")),
        suits=_table(folder / "seed_suits_class.csv", "best_seed"),
        interaction=read_json(interaction, "evaluate") if interaction.exists() else {},
        reliability=_table(folder / "reliability.csv"),
        confusion=_table(folder / "confusion.csv", "truth", "predicted"),
        subgroups=_table(folder / "subgroups.csv", "subgroup", "seed"),
        disagreement=_table(folder / "disagreement.csv"),
        clinical=_load_clinical(folder),
    )


def _load_masks(configuration: Configuration) -> Results:
    """Read the results of a configuration of segmentation."""
    folder = evaluation_folder(configuration)
    images, probabilities = _table(folder / "images.csv", "seed"), open_probabilities(folder, "test")
    return replace(_load_trained(configuration), images=images, probabilities=probabilities)


def _load_values(configuration: Configuration) -> Results:
    """Read the results of a configuration of regression."""
    return replace(_load_trained(configuration), predicted=Values.load(evaluation_folder(configuration) / FILE))


LOADERS: dict[str, Callable[[Configuration], Results]] = {"segmentation": _load_masks, "regression": _load_values}
"""Of tasks without classes."""


def _load_other_ensembles() -> tuple[tuple[Results, ...], dict[str, dict[str, Any]], dict[str, str]]:
    """Read the ensembles of a study of segmentation or regression."""
    if not (ENSEMBLES / "members.json").exists():
        return (), {}, {}
    metrics, about = (
        tidy(read_metrics(ENSEMBLES / "metrics.csv", "ensemble")),
        read_json(ENSEMBLES / "members.json", "ensemble"),
    )
    every = tuple(Results(ENSEMBLE, name, (), metrics[metrics["loss"] == name]) for name in about["ensembles"])
    return every, about["ensembles"], about["skipped"]


def _load_clinical(folder: Path) -> dict[str, pd.DataFrame]:
    return {name: _table(folder / f"{name}.csv", *_LABELS) for name in _CLINICAL if (folder / f"{name}.csv").exists()}


def _table(path: Path, *text: str) -> pd.DataFrame:
    """Read a table that not every study has."""
    return read_table(path, (*text, "class", "note")) if path.exists() else NO_TABLE


def _load_augmented(path: Path) -> Augmented:
    if not path.exists():
        return NO_AUGMENTED
    with opened_arrays(path) as file:
        return Augmented(**{name: file[name] for name in Augmented._fields})


def _load_ensembles() -> tuple[tuple[Results, ...], dict[str, dict[str, Any]], dict[str, str]]:
    path = ENSEMBLES / "metrics.csv"
    if not path.exists():
        return (), {}, {}
    metrics = tidy(read_metrics(path, "ensemble"))
    predictions = Predictions.load(ENSEMBLES / "predictions.npz", "ensemble")
    about = read_json(ENSEMBLES / "members.json", "ensemble")
    every = tuple(
        Results(
            ENSEMBLE,
            str(name),
            (),
            metrics[metrics["loss"] == name],
            predictions=alone(predictions, i),
            clinical=_load_clinical(ENSEMBLES) if name == about.get("chosen") else {},
        )
        for i, name in enumerate(predictions.methods)
    )
    return every, about["ensembles"], about["skipped"]


def _load_probes() -> tuple[Results, ...]:
    path = PROBES / "metrics.csv"
    if not path.exists():
        return ()
    metrics = read_metrics(path, "probe").assign(seed=MEAN)  # as of an ensemble: one prediction, no seeds
    return tuple(Results(PROBE, str(name), (), rows) for name, rows in metrics.groupby("loss", sort=False))
