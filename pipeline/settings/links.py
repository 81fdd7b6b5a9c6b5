"""Links to what lies elsewhere and training begins with, so that DVC finds another content behind them."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.imaging.region import model_files
from pipeline.learning.teacher import teacher_path
from pipeline.learning.weights import description_of, source, weights_file
from pipeline.settings.recorded import RecordedSections
from pipeline.study.files import WEIGHTS, replaced
from pipeline.study.records import remove_other_weights
from pipeline.variants.settings import as_variant, preprocess_of

REGION = "roi-masks"
"""Link to the weights of the network that finds regions of interest; no model may have a name with a dash."""
DESCRIBED = "described"
"""Ends the name of a link to what lies beside a file of weights and says how it was normalised."""
TEACHER = "teacher"
"""Ends the name of a link to what a model learns from beside its labels."""


def link_weights(params: RecordedSections) -> None:
    """Link the weights file of each model of the study, or write that it starts from none; remove all other links.

    The file of a model's teacher is linked, too, that of the network that finds regions of interest, if the study or a
    variant has one, and what a fold's own search has found.
    """
    files: dict[str, Path | None] = {}
    given = {model: (model, params.models[model].weights) for model in params.study.models}
    for name in (name for name, variant in params.variants.items() if variant.found):
        own = as_variant(params, name).models
        given |= {f"{model}-of-{name}": (model, own[model].weights) for model in params.study.models}
    for name, (model, path) in given.items():
        key = f"models.{model}.weights"
        if path is None and name == model:
            files[name] = None
        elif path is not None and (name == model or path != params.models[model].weights):
            files[name] = file = weights_file(key, source(key, path))
            if (beside := description_of(file)) is not None:
                files[f"{name}-{DESCRIBED}"] = beside
    for model in params.study.models:
        if (teacher := params.models[model].teacher) is not None:
            files[f"{model}-{TEACHER}"] = teacher_path(f"models.{model}.teacher", teacher.file)
    regions = {REGION: params.preprocess.roi}
    for name, variant in params.variants.items():
        regions[f"{REGION}-{name}"] = preprocess_of(variant, params.preprocess).roi if variant.preprocess else None
    files |= {name: found[0] for name, roi in regions.items() if (found := model_files(roi))}
    for name, target in files.items():
        with replaced(WEIGHTS / "files" / name) as link:
            link.unlink(missing_ok=True)
            if target is None:
                link.write_text("no file\n", encoding="utf-8")  # DVC warns of empty ones
            else:
                os.symlink(target.absolute(), link)
    remove_other_weights(files)
