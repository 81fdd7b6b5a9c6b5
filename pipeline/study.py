"""The data set that params.yaml selects."""

from __future__ import annotations

from pydantic import ValidationError

from pipeline.datasets import Dataset, dataset_class
from pipeline.errors import stage_errors  # noqa: F401
from pipeline.params import Params, ParamsError, describe


def open_dataset(params: Params) -> Dataset:
    """Return the selected data set with its settings checked.

    Raises
    ------
    DatasetError
        If there is no such data set.
    ParamsError
        If ``datasets.<name>`` holds an unknown key or a value that is not allowed.
    """
    cls = dataset_class(params.dataset)
    try:
        return cls.model_validate(params.datasets[params.dataset] or {})
    except ValidationError as error:
        raise ParamsError(f"params.yaml:\n{describe(error, cls, f'datasets.{params.dataset}')}") from None
