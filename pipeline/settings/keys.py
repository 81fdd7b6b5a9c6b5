"""Where in params.yaml a setting of a model's training stands."""

from __future__ import annotations

from pipeline.settings import Params


def key_of(params: Params, model: str, key: str) -> str:
    """Return the key path under which `model` has setting `key` of training."""
    return f"models.{model}.{key}" if key in params.models[model].model_fields_set else f"train.{key}"
