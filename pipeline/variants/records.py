"""What stage ``prepare_variant`` depends on beside its inputs: its settings, and the code that it runs."""

from __future__ import annotations

from typing import Any

from pipeline.imaging.records import region_record
from pipeline.study.code import ROOT, dataset_module, digests
from pipeline.variants.settings import PrepareSections, VariantSections, preprocess_of, split_of


class VariantRecordSections(PrepareSections, VariantSections):
    """The sections that stand in the record."""


def variant_record(name: str, params: VariantRecordSections) -> dict[str, Any]:
    """Return the record of variant `name`.

    Returns
    -------
    dict
        For another split, ``split``; for other pictures, ``preprocess``, ``dataset`` and its settings, and ``region``
        (see `pipeline.imaging.records.region_record`); and code, with the module of the data set.
    """
    variant, files = params.variants[name], [ROOT / "pipeline/prepare_variant.py"]
    if not variant.preprocess:
        made: dict[str, Any] = {"split": split_of(variant, params.split).model_dump(mode="json")}
    else:
        changed = preprocess_of(variant, params.preprocess)
        made = {
            "preprocess": changed.model_dump(mode="json"),
            "dataset": params.dataset,
            "settings": params.datasets.get(params.dataset),
            **region_record(params.model_copy(update={"preprocess": changed})),
        }
        files += dataset_module(params.dataset)
    return {**made, "code": digests(files)}
