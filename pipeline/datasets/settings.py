"""Settings that say which data set is studied: ``dataset`` and ``datasets`` of params.yaml.

What stands under ``datasets.<name>`` is checked by the class of that data set.
"""

from __future__ import annotations

from typing import Any

from pipeline.study.params import Name, Sections
from pipeline.study.runs import Study


class DataSections(Sections):
    """The sections that name the data set."""

    dataset: Name
    datasets: dict[str, dict[str, Any] | None]


class DownloadSections(DataSections):
    """The sections that stage ``download`` reads: it also refuses losses that do not fit the data set."""

    study: Study
    losses: dict[Name, dict[str, Any] | None]
