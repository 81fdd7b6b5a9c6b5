"""What DVC knows of the stages: which are up to date, which it has in its cache, which must run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.study.repository import opened
from pipeline.study.runs import Configuration, Run, StudySections, VariantRun, every_run, variants_of

DATA = ("download", "preprocess", "split")
"""The stages that make the data of all training runs, in order."""
CONFIGURE = "configure"
"""The stage whose records the runs and the evaluations depend on, each on that of its configuration."""
SHARED = (*DATA, CONFIGURE)
"""The stages that must be up to date before anything is trained: data, then records."""
RECORD = "run.json"
"""The record that a training run writes last."""
StageState = Literal["up to date", "cached", "to run", "unknown"]


@dataclass(frozen=True)
class StageStatus:
    """One stage.

    Parameters
    ----------
    folder : Path
        Its first output, relative to the root of the project.
    state : {"up to date", "cached", "to run", "unknown"}
        cached: ``dvc repro`` takes the result from the cache; unknown: what it reads is not there yet.
    size : int, optional
        Bytes of its output, as dvc.lock or the run-cache has it.
    record : dict, optional
        Content of the run.json in its output, of an earlier run if it is to run again.
    altered : bool
        Of a stage that must run: whether its settings or what lies at its outputs are others than recorded, not its
        code alone. The outputs of ``download`` are links to the images and the table.
    """

    folder: Path
    state: StageState
    size: int | None = None
    record: dict[str, Any] | None = None
    altered: bool = False


def stage_of(run: Run, params: StudySections) -> str:
    """Return the name by which DVC knows `run`: stage train under `seed`, replicate under the further seeds."""
    of_variant = "_variant" if isinstance(run, VariantRun) else ""
    return f"{'train' if run.seed == params.seed else 'replicate'}{of_variant}@{run.name}"


def run_stages(params: StudySections) -> list[str]:
    """Return `stage_of` of every training run, in the study's order."""
    return [stage_of(run, params) for run in every_run(params)]


def preparations(params: StudySections) -> list[str]:
    """Return the stages that make the split, or the images, of each variant."""
    return [f"prepare_variant@{name}" for name in variants_of(params)]


def evaluation_of(configuration: Configuration, variant: str | None = None) -> str:
    """Return the name by which DVC knows the evaluation of `configuration`, in the study or in a variant."""
    return f"evaluate@{configuration}" if variant is None else f"evaluate_variant@{variant}-{configuration}"


def explanations_of(configuration: Configuration, methods: Iterable[str]) -> list[str]:
    """Return the names by which DVC knows the heat maps of `configuration`, one for each method."""
    return [f"explain@{configuration}-{method}" for method in methods]


def ensembles_of(variant: str | None = None) -> list[str]:
    """Return the names by which DVC knows the stages that make the ensembles of the study or a variant, in order."""
    return ["fuse", "ensemble"] if variant is None else [f"fuse_variant@{variant}", f"ensemble_variant@{variant}"]


def read_status(names: Iterable[str]) -> dict[str, StageStatus]:
    """Ask DVC for the state of the named stages, all in one go; nothing is written but DVC's table of checksums.

    Parameters
    ----------
    names : iterable of str
        Such as ``train@cnn-bce-42``. What is no stage of dvc.yaml is left out of the answer.

    Notes
    -----
    Whether a stage that must run is in the run-cache can be told only if all that it reads is there; data that is
    missing but for which dvc.lock has a checksum counts as there.
    """
    with opened(wait=True) as repo:
        from dvc.repo import lock_repo

        with lock_repo(repo):
            stages = {stage.addressing: stage for stage in repo.index.stages}
            return {name: _status(repo, stages[name]) for name in names if name in stages}


def cache_folder() -> Path:
    """Return the folder of DVC's cache: of this clone, or one that several share."""
    with opened() as repo:
        return Path(repo.cache.legacy.path)


def _status(repo: Any, stage: Any) -> StageStatus:
    from dvc.dependency import ParamsDependency

    out = stage.outs[0]
    folder, size, record = Path(out.def_path), out.meta.size if out.meta else None, _record(out)
    changed = [dep for dep in stage.deps if dep.status()]
    altered = any(isinstance(dep, ParamsDependency) for dep in changed) or any(
        out.exists and out.changed_checksum() for out in stage.outs
    )
    if not stage.changed_stage() and not changed and not stage.changed_outs():
        return StageStatus(folder, "up to date", size, record)
    if any(not dep.exists and not dep.hash_info for dep in changed):
        return StageStatus(folder, "unknown", size, record, altered)
    for dep in changed:
        if dep.exists:
            dep.save()  # in memory: dvc.lock is not written
    restored = stage if not stage.changed_stage() and not changed else _from_run_cache(repo, stage)
    if restored is None or not all(out.hash_info for out in restored.outs) or not restored.outs_cached():
        return StageStatus(folder, "to run", size, record, altered)
    return StageStatus(folder, "cached", restored.outs[0].meta.size, _record(restored.outs[0]), altered)


def _from_run_cache(repo: Any, stage: Any) -> Any:
    """Return the stage as the run-cache remembers it under its present inputs, or None."""
    from dvc.stage.cache import _can_hash

    cache = repo.stage_cache
    # DVC would hash what a fresh clone does not have.
    entry = cache._load(stage) if all(dep.exists for dep in stage.deps) and _can_hash(stage) else None
    return cache._create_stage(entry, wdir=stage.wdir) if entry else None


def _record(out: Any) -> dict[str, Any] | None:
    """Read run.json of a training run's folder: as it lies there, else as the cache has it."""
    try:
        lying = Path(out.fs_path) / RECORD
        if lying.exists():
            return json.loads(lying.read_text(encoding="utf-8"))
        if not out.hash_info or not out.hash_info.isdir:
            return None
        listing = json.loads(Path(out.cache.oid_to_path(out.hash_info.value)).read_text(encoding="utf-8"))
        hashes = [entry["md5"] for entry in listing if entry["relpath"] == RECORD]
        return json.loads(Path(out.cache.oid_to_path(hashes[0])).read_text(encoding="utf-8")) if hashes else None
    except (OSError, ValueError):
        return None
