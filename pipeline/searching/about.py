"""What decides the trials of a search: a search whose facts are these goes on, any other is a new one."""

from __future__ import annotations

from typing import Any

from pipeline.learning.settings import train_settings
from pipeline.learning.teacher import teacher_sha256
from pipeline.learning.weights import checked_sha256, description_of, sha256_of, source
from pipeline.searching.record import digest
from pipeline.searching.sides import Side
from pipeline.settings import Params
from pipeline.settings.search import Search, ends, of_trial
from pipeline.study.files import read_json
from pipeline.study.locks import locked_stages


def about_search(side: Side) -> dict[str, Any]:
    """Return what decides the trials of a search, JSON-compatible; see `pipeline.searching.record.Record`.

    Raises
    ------
    ModelError
        If the file of weights that the model starts from is missing.
    """
    params, search = side.params, side.params.search
    assert search is not None
    model, key = params.models[search.model], f"models.{search.model}.weights"
    # Of all that are tried, where they are searched: which of them params.yaml has says nothing about the trials.
    tried = search.over.get(key, [model.weights])
    found = [given and checked_sha256(key, source(key, given), model.sha256) for given in tried]
    weights = found if key in search.over else found[0]
    beside = [path for given in tried if given and (path := description_of(source(key, given))) is not None]
    metric = train_settings(params, search.model).select
    return {
        "dataset": params.dataset,
        "model": search.model,
        "loss": search.loss,
        "seeds": search.seeds or [params.seed],
        "over": {key: of if isinstance(of, list) else of.model_dump() for key, of in search.ranges().items()},
        "seed": search.seed,
        "batch": search.batch,
        "settings": settings_digest(params, search),
        "weights": weights,
        "data": digest(data_outputs(side.variant)),
        "split": read_json(side.audit, "split" if side.variant is None else "prepare_variant")["sha256"],
        **({"described": [sha256_of(path) for path in beside]} if beside else {}),
        **_teachers(params, search),
        **({} if side.fold is None else {"fold": side.fold}),
        **({"metric": metric} if metric != "auroc" else {}),  # the records of searches by AUROC do not name it
    }


def _teachers(params: Params, search: Search) -> dict[str, list[str]]:
    """Hash the files that the model learns from in any trial; nothing where it has no teacher."""
    key, teacher = f"models.{search.model}.teacher", params.models[search.model].teacher
    tried = search.over.get(f"{key}.file", [teacher.file] if teacher else [])
    return {"teachers": [teacher_sha256(key, str(each)) for each in tried]} if tried else {}


def settings_digest(params: Params, search: Search) -> str:
    """Digest the settings of training beside those that are searched.

    These count as their first ends, so that applying the best values changes nothing of it. Of a file of weights the
    name counts, not its folder, which no page shows; its content stands beside this digest.
    """
    first = {key: ends(of)[0] for key, of in search.ranges().items()}
    trial = Params.model_validate(of_trial(params.model_dump(mode="json", exclude_unset=True), search, first))
    train = train_settings(trial, search.model).model_dump(mode="json", exclude={"log_every"})
    model = trial.models[search.model].without_paths().model_dump(mode="json")
    return digest([model, train, trial.losses[search.loss]])


def data_outputs(variant: str | None) -> dict[str, str]:
    """Return the checksums of images and split, as dvc.lock has them."""
    stages = locked_stages()
    makers = {"preprocess": "preprocess", "split": "split" if variant is None else f"prepare_variant@{variant}"}
    return {name: stages[maker]["outs"][0]["md5"] for name, maker in makers.items() if maker in stages}
