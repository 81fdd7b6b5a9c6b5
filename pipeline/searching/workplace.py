"""Where a trial is trained: a DVC project of one stage, the study's own, which shares data and cache with the study.

The stage has the command, the inputs and the output that it has in the study. So DVC takes a training run that has been
done before from its run-cache, and the study, once it has the values of a trial, takes that trial's. There is no stage
that evaluates, and nothing reads the test part.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.learning.records import training_record
from pipeline.settings import Params
from pipeline.study.code import ROOT
from pipeline.study.files import VARIANTS, WEIGHTS, write_json, write_text
from pipeline.study.params import PARAMS_FILE
from pipeline.study.records import name_within, record_file
from pipeline.study.runs import Run, configurations
from pipeline.study.trainings import run_folder
from pipeline.study.workplaces import STUDY as OF_VARIANT

PLACES = Path(".dvc/tmp/exps/search")
"""Below the folder of DVC's own temporary workspaces: relative paths of params.yaml count from the clone there."""
STUDY = Path("data/study")
STAGE = "train"


def place_of(slot: int, seed: int, fold: int | None = None) -> Path:
    """Return the workplace of the trial that has a place in its batch, under a training seed, within a fold or not."""
    return PLACES / (f"{slot}-{seed}" if fold is None else f"fold{fold}-{slot}-{seed}")


def studies(variant: str | None) -> list[Path]:
    """Return the folders with images and split that a training run depends on."""
    return [STUDY] if variant is None else [STUDY, VARIANTS / variant / OF_VARIANT]


def make(
    folder: Path, content: Mapping[str, Any], params: Params, run: Run, dvc: str, variant: str | None = None
) -> None:
    """Make a workplace, or that of an earlier trial this one's.

    Parameters
    ----------
    folder : Path
        Relative to the project, whose folder is the working directory.
    content : mapping
        Of the trial's params.yaml.
    params : Params
        The same, validated, as it is within the variant.
    run : Run
        The training run, by its folder there.
    dvc : str
        Configuration of DVC.
    variant : str, optional
        Name of the fold within which it is trained.
    """
    project = Path.cwd()
    for path in (*studies(variant), WEIGHTS):
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(project / path)
    (folder / ".dvc/tmp").mkdir(parents=True, exist_ok=True)
    write_text(folder / ".dvc/config", dvc)
    configuration = configurations(params)[0]
    record = record_file(name_within(variant, configuration), "train")
    of_variant = "" if variant is None else f"--variant {variant} "
    stage = {
        "cmd": f"python -m pipeline.train {of_variant}--model {run.model} --loss {run.loss} --seed {run.seed}",
        "deps": [path.as_posix() for path in (*studies(variant), record)],
        "outs": [run_folder(run).as_posix()],
    }
    write_text(folder / "dvc.yaml", json.dumps({"stages": {STAGE: stage}}, indent=1) + "\n")  # JSON is YAML
    write_text(folder / PARAMS_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_json(folder / record, training_record(configuration, params), sort_keys=True)


def command(folder: Path) -> list[str]:
    """Return the Python module, and its arguments, that trains in a workplace or takes the run from the cache."""
    return ["dvc", "--cd", str(folder.absolute()), "--wait-for-lock", "repro", STAGE]


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which ``python -m pipeline.train`` finds this project from anywhere."""
    paths = [str(ROOT), *filter(None, [base.get("PYTHONPATH")])]
    return {**base, "PYTHONPATH": os.pathsep.join(paths)}


def remove() -> None:
    """Remove all workplaces; what was trained in them is in DVC's cache."""
    for folder in PLACES.glob("*-*"):
        shutil.rmtree(folder, ignore_errors=True)
