"""Settings of the report: section ``report`` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from pipeline.study.params import Section


class Report(Section):
    """What the pages show."""

    private_figures: bool | None = Field(
        None, description="keep figures that show images out of git; null = for all data sets but drawn ones"
    )
