"""Settings of stage ``explain``: section ``explain`` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from pipeline.scoring.settings import EvaluationSections
from pipeline.study.params import Section, Sections

Method = Literal["grad-cam", "grad-cam++", "layercam", "occlusion"]


class Explain(Section):
    """Where the networks look: heat maps of test images, scored.

    Parameters
    ----------
    methods : list of str
        Each is a stage of its own for every configuration; none = no heat maps.
    images : int
        Test images of the checks that need no boxes.
    """

    methods: list[Method] = []
    images: int = Field(48, ge=10, le=10_000, description="test images of the checks that need no boxes")

    @field_validator("methods")
    @classmethod
    def _each_once(cls, methods: list[Method]) -> list[Method]:
        """Refuse what DVC refuses, too, but as two stages of one name."""
        for method in methods:
            if methods.count(method) > 1:
                raise ValueError(f"'{method}' is listed twice; name it once")
        return methods


class ExplainSection(Sections):
    """The section of heat maps."""

    explain: Explain = Explain()


class ExplainSections(EvaluationSections, ExplainSection):
    """The sections that stage ``explain`` reads."""
