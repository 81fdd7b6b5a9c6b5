"""Results of what has left a study, which are moved out of the way."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from pipeline.explaining.results import explanation_folder
from pipeline.external.sets import results_folder
from pipeline.settings.recorded import RecordedSections
from pipeline.study.files import EVALUATIONS, EXPLANATIONS, EXTERNAL, LEFT, MODELS, VARIANTS
from pipeline.study.runs import configurations, runs
from pipeline.study.trainings import evaluation_folder, run_folder


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
