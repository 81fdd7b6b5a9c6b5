"""What the stages of variants have written, in terms of the study's own images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.splitting.settings import Split
from pipeline.study.files import (
    AUDIT,
    ENSEMBLES,
    EVALUATIONS,
    PREPARED,
    SAMPLES,
    SPLIT_FOLDER,
    VARIANTS,
    intact,
)
from pipeline.study.predictions import Predictions
from pipeline.study.prepared import read_samples
from pipeline.study.runs import Configuration, StudySections, configurations
from pipeline.study.workplaces import STUDY
from pipeline.variants.ensembles import NO_ENSEMBLES, Ensembles, read_ensembles
from pipeline.variants.settings import Variant, split_of


@dataclass(frozen=True)
class VariantResults:
    """A variant with results.

    Parameters
    ----------
    name : str
        In params.yaml.
    other_pictures : bool
        Whether the same images were prepared in another way, under the study's split.
    split : Split
        As the variant has it.
    predictions : dict of Configuration to Predictions
        Rows are those of the study's images, in their order. A configuration that has not been evaluated is missing.
    ensembles : Ensembles
        Likewise; none before `with_ensembles`.
    """

    name: str
    other_pictures: bool
    split: Split
    predictions: dict[Configuration, Predictions]
    ensembles: Ensembles = NO_ENSEMBLES


def audit_of(name: str) -> Path:
    """Return the file about the split of a variant."""
    return VARIANTS / name / STUDY / SPLIT_FOLDER.name / AUDIT.name


def read_variants(variants: Mapping[str, Variant], params: StudySections, split: Split) -> list[VariantResults]:
    """Read every variant that has at least one evaluation."""
    found = []
    for name, variant in variants.items():
        folder = VARIANTS / name
        predictions = {
            each: Predictions.load(path, "evaluate_variant")
            for each in configurations(params)
            if (path := folder / EVALUATIONS / str(each) / "predictions.npz").exists()
        }
        if not predictions:
            continue
        if variant.preprocess:
            row_of = _rows_of_the_study(folder)
            predictions = {each: in_order(of, row_of) for each, of in predictions.items()}
        found.append(VariantResults(name, bool(variant.preprocess), split_of(variant, split), predictions))
    return found


def with_ensembles(variants: Sequence[VariantResults]) -> list[VariantResults]:
    """Read the ensembles of variants, too."""
    found = []
    for variant in variants:
        folder = VARIANTS / variant.name
        made = read_ensembles(folder / ENSEMBLES)
        if variant.other_pictures and made.predictions:
            row_of = _rows_of_the_study(folder)
            made = made._replace(predictions={name: in_order(of, row_of) for name, of in made.predictions.items()})
        found.append(replace(variant, ensembles=made))
    return found


def _rows_of_the_study(folder: Path) -> np.ndarray:
    """Return the study's row of every image that a variant has prepared itself, int64 [N]."""
    prepared = folder / STUDY / PREPARED.name
    own, ours = read_samples(prepared, "prepare_variant"), read_samples()
    with intact(prepared / SAMPLES.name):
        rows = dict(zip(ours["sample_id"].tolist(), ours["row"].tolist()))
        return np.array([rows[name] for name in own.sort_values("row")["sample_id"]], np.int64)


def in_order(predictions: Predictions, row_of: Sequence[int] | np.ndarray) -> Predictions:
    """Give predictions the rows `row_of` [N] of their own, and sort them by these."""
    content: dict[str, Any] = {}
    for part in ("val", "test"):
        rows = np.asarray(row_of)[getattr(predictions, f"{part}_rows")]
        order = np.argsort(rows, kind="stable")
        content[f"{part}_rows"] = rows[order]
        content[f"{part}_logits"] = getattr(predictions, f"{part}_logits")[:, order]
        for name in ("targets", "patients"):
            content[f"{part}_{name}"] = getattr(predictions, f"{part}_{name}")[order]
    return replace(predictions, **content)
