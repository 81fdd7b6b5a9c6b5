"""Which variants are folds of one cross-validation."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.splitting.settings import Split
from pipeline.study.predictions import Predictions
from pipeline.study.runs import Configuration
from pipeline.variants.folds import Fold
from pipeline.variants.results import VariantResults
from pipeline.variants.settings import is_fold_of


def is_fold(variant: VariantResults, split: Split) -> bool:
    """Whether a variant differs from the study by the tested fold alone."""
    return not variant.other_pictures and is_fold_of(variant.split, split)


def folds_of(
    configuration: Configuration, own: Predictions, variants: Sequence[VariantResults], split: Split
) -> list[Fold]:
    """Return the folds on which a configuration has results, the study's own among them, by number."""
    folds = [Fold(split.fold, own)]
    for variant in variants:
        if is_fold(variant, split) and configuration in variant.predictions:
            folds.append(Fold(variant.split.fold, variant.predictions[configuration]))
    return sorted(folds, key=lambda fold: fold.number)
