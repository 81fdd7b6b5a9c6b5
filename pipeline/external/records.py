"""What the stages of external test sets depend on beside their inputs: settings, and the code that they run."""

from __future__ import annotations

from typing import Any

from pipeline.ensembling.records import ensemble_record
from pipeline.external.settings import ExternalPreparationSections, ExternalRecordSections
from pipeline.imaging.records import region_record
from pipeline.learning.records import settings_record
from pipeline.study.code import ROOT, dataset_module, digests
from pipeline.study.runs import configurations


def preparation_record(name: str, params: ExternalPreparationSections) -> dict[str, Any]:
    """Return the record of external set `name` for stage ``prepare_external``.

    Returns
    -------
    dict
        dataset, settings (of its data set) and code, with the module of the data set; region, if a network finds
        regions of interest. Classes are no part of it: they are read after the images have been prepared.
    """
    settings = params.external[name]
    files = [ROOT / "pipeline/prepare_external.py", *dataset_module(settings.dataset)]
    region = {key: value for key, value in region_record(params).items() if value is not None}
    return {"dataset": settings.dataset, "settings": settings.of_dataset, "code": digests(files), **region}


def external_record(name: str, params: ExternalRecordSections) -> dict[str, Any]:
    """Return the record of external set `name` for stage ``evaluate_external``.

    Returns
    -------
    dict
        external (its settings), what stage ensemble has, models (of every configuration) and code.
    """
    masks = any(params.models[each.model].gives_masks for each in configurations(params))
    by_name = [ROOT / "pipeline/segmenting/elsewhere.py"] if masks else []
    return {
        **ensemble_record(params),
        "external": params.external[name].model_dump(mode="json", include={"classes", "unmapped", "recalibrate"}),
        "evaluate": params.evaluate.model_dump(mode="json", exclude={"margin", "probes", "prevalence"}),
        "models": {str(each): settings_record(each, params) for each in configurations(params)},
        "code": digests([ROOT / "pipeline/evaluate_external.py", *by_name]),
    }
