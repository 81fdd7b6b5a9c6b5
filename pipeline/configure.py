"""Stage `configure`: write down what each configuration is, its settings and the code that it runs.

Training runs and evaluations depend on these records in place of params.yaml and folders of code: a comment, another
loss or another model's learning rate changes no record, and trains nothing again. The stages after them have one each.

The files of trained weights that models start from are linked, wherever they lie: another content behind a link is a
changed output of this stage, which then runs again and records another hash, and the model's training runs with it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

from pipeline import settings
from pipeline.ensembling.records import ensemble_record, fuse_record
from pipeline.ensembling.settings import FeatureSections
from pipeline.explaining.names import explanation_name
from pipeline.explaining.records import explanation_record
from pipeline.explaining.results import explanation_folder
from pipeline.explaining.settings import ExplainSections
from pipeline.external.records import external_record, preparation_record
from pipeline.external.sets import results_folder
from pipeline.external.settings import ExternalPreparationSections, ExternalRecordSections
from pipeline.imaging.records import region_record
from pipeline.imaging.region import model_files
from pipeline.learning.records import training_record
from pipeline.learning.teacher import teacher_path
from pipeline.learning.weights import description_of, source, weights_file
from pipeline.reporting.records import report_record
from pipeline.scoring.records import evaluation_record, probe_record
from pipeline.scoring.settings import ProbeSections
from pipeline.settings import checks
from pipeline.study.errors import stage_errors
from pipeline.study.files import (
    EVALUATIONS,
    EXPLANATIONS,
    EXTERNAL,
    LEFT,
    MODELS,
    VARIANTS,
    WEIGHTS,
    replaced,
    write_json,
)
from pipeline.study.params import PARAMS_FILE, ParamsError, load, read
from pipeline.study.records import record_file, remove_other_weights, write_records
from pipeline.study.runs import configurations, runs
from pipeline.study.trainings import evaluation_folder, run_folder
from pipeline.variants.records import VariantRecordSections, variant_record
from pipeline.variants.settings import as_variant, preprocess_of
from pipeline.variants.within import WithinSections, records_within

REGION = "roi-masks"
"""Link to the weights of the network that finds regions of interest; no model may have a name with a dash."""
DESCRIBED = "described"
"""Ends the name of a link to what lies beside a file of weights and says how it was normalised."""
TEACHER = "teacher"
"""Ends the name of a link to what a model learns from beside its labels."""
ASKED = "asked.json"
"""In folders that stage report depends on, and that no other stage fills where nothing is asked for."""


class RecordedSections(
    ExternalRecordSections,
    ExternalPreparationSections,
    ProbeSections,
    FeatureSections,
    ExplainSections,
    VariantRecordSections,
    WithinSections,
):
    """The sections that stand in records."""


def configure(params: RecordedSections) -> None:
    """Write the records of each configuration of the study, and of the stages that are about all of them."""
    records: dict[Any, dict[str, Any]] = {
        record_file(None, "preprocess"): region_record(params),
        record_file(None, "probe"): probe_record(params),
        record_file(None, "fuse"): fuse_record(params),
        record_file(None, "ensemble"): ensemble_record(params),
        record_file(None, "report"): report_record(),
    }
    for configuration in configurations(params):
        records[record_file(configuration, "train")] = training_record(configuration, params)
        records[record_file(configuration, "evaluate")] = evaluation_record(configuration, params)
        for method in params.explain.methods:
            record = explanation_record(configuration, method, params)
            records[record_file(explanation_name(configuration, method), "explain")] = record
    for name in params.variants:
        records[record_file(name, "prepare_variant")] = variant_record(name, params)
        records[record_file(name, "fuse")] = fuse_record(as_variant(params, name))
        records |= records_within(name, params)
    for name in params.external:
        records[record_file(name, "prepare_external")] = preparation_record(name, params)
        records[record_file(name, "evaluate_external")] = external_record(name, params)
    link_weights(params)
    set_aside(params)
    write_json(EXPLANATIONS / ASKED, params.explain.methods)
    write_json(EXTERNAL / ASKED, list(params.external))
    write_json(VARIANTS / ASKED, list(params.variants))
    write_records(records)


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


def set_aside(params: RecordedSections) -> None:
    """Move results of runs, maps and external sets that have left the study to `LEFT`, in the place of an earlier one.

    Stages from evaluate to report depend on whole folders, of which DVC leaves nothing out. With what earlier studies
    left in them, a clone of this one would not be up to date, and going back to it would evaluate it again.
    """
    kept = {run_folder(run) for run in runs(params)} | {evaluation_folder(each) for each in configurations(params)}
    kept |= {results_folder(name) for name in params.external} | {VARIANTS / name for name in params.variants}
    for name in params.variants:
        kept |= {VARIANTS / name / run_folder(run) for run in runs(params)}
        kept |= {VARIANTS / name / evaluation_folder(each) for each in configurations(params)}
    kept |= {explanation_folder(each, m) for each in configurations(params) for m in params.explain.methods}
    found = [*EXPLANATIONS.glob("*-*"), *EXTERNAL.glob("*"), *VARIANTS.glob("*")]
    for folder in (Path(), *(VARIANTS / name for name in params.variants)):
        found += [*folder.glob(f"{MODELS}/*-*/seed*"), *folder.glob(f"{EVALUATIONS}/*-*")]
    for folder in found:
        if folder not in kept and folder.is_dir():
            shutil.rmtree(LEFT / folder, ignore_errors=True)
            (LEFT / folder).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, LEFT / folder)
            with contextlib.suppress(OSError):  # other seeds are left, or it is evaluations/, external/ or so
                folder.parent.rmdir()


def main() -> None:
    """Write the records, unless DVC would miss a section later.

    Raises
    ------
    ParamsError
        If params.yaml has no section ``about``, as it had not before there was one: every value of it has a default,
        but DVC, at the end of a study, refuses a stage whose parameters are not in the file.
    """
    if "about" not in read():
        raise ParamsError(f"{PARAMS_FILE}: about: missing; DVC asks for it, though it may be empty: about: {{}}")
    checks.check_disk(settings.load(), own=False)
    configure(load(RecordedSections))


if __name__ == "__main__":
    with stage_errors():
        main()
