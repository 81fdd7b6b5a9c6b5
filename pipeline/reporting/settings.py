"""Settings of the report: sections ``report`` and ``about`` of params.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from pipeline.study.params import Section


class Report(Section):
    """What the pages show."""

    private_figures: bool | None = Field(
        None, description="keep figures that show images out of git; null = for all data sets but drawn ones"
    )


class About(Section):
    """What no program can know of a study: texts for the checklist, each None where nothing has been written."""

    title: str | None = None
    abstract: str | None = None
    background: str | None = None
    intended_use: str | None = None
    inequalities: str | None = None
    objectives: str | None = None
    design: str | None = None
    site: str | None = None
    dates: str | None = None
    eligibility: str | None = None
    treatments: str | None = None
    acquisition: str | None = None
    de_identification: str | None = None
    missing_data: str | None = None
    reference_standard: str | None = None
    annotators: str | None = None
    agreement: str | None = None
    blinding: str | None = None
    sample_size: str | None = None
    explainability: str | None = None
    external_test: str | None = None
    ethics: str | None = None
    registration: str | None = None
    protocol: str | None = None
    funding: str | None = None
    conflicts: str | None = None
    data_access: str | None = None
    code_access: str | None = None
    public_involvement: str | None = None
    interpretation: str | None = None
    use_in_practice: str | None = None
    next_steps: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("*", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """Take blank text for none; what YAML reads as a number or a date is for the user to quote."""
        if value is None or isinstance(value, str):
            return (value or "").strip() or None
        raise ValueError(f"{value!s} is no text to YAML; must stand in quotes")

    def given(self) -> dict[str, str]:
        """Return what has been written, by key."""
        return {key: text for key, text in self.model_dump().items() if text is not None}
