"""Settings of external test sets: section ``external`` of params.yaml, a name for each set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.ensembling.settings import EnsembleSections
from pipeline.imaging.settings import PreprocessSection, PreprocessSections
from pipeline.scoring.settings import EvaluationSections
from pipeline.study.params import Name, Section, Sections


class ExternalSet(Section):
    """One external test set; keys that are not named here are settings of its data set.

    Parameters
    ----------
    dataset : str
        A name of `pipeline.datasets`; its settings are those given here alone, not those under ``datasets``.
    classes : dict of str to str or None
        Class of the set to class of the study, several to one if need be. None: none of the study's classes, which a
        multi-label study can use. Empty: classes of the same name.
    unmapped : {"exclude", "negative"} or None
        What becomes of images of a class that is not in `classes`, see `pipeline.external.classes.ClassMap`.
    recalibrate : float
        Share of the set's patients on which a recalibration is tried; 0 = none.
    """

    model_config = ConfigDict(extra="allow")

    dataset: Name
    classes: dict[str, str | None] = {}
    unmapped: Literal["exclude", "negative"] | None = None
    recalibrate: float = Field(0.25, ge=0, le=0.9, description="share of the set's patients")

    @model_validator(mode="before")
    @classmethod
    def _empty_is_the_default(cls, given: Any) -> Any:
        """Take a key without a value for one that is not there."""
        if not isinstance(given, Mapping):
            return given
        return {
            key: value for key, value in given.items() if value is not None or key not in ("classes", "recalibrate")
        }

    @property
    def of_dataset(self) -> dict[str, Any]:
        """Settings of its data set."""
        return dict(self.__pydantic_extra__ or {})


class ExternalSections(Sections):
    """The section of external test sets."""

    external: dict[Name, ExternalSet] = {}

    @field_validator("external", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        """Take a section without content for one without a set."""
        return {} if value is None else value


class ExternalPreparationSections(ExternalSections, PreprocessSection):
    """The sections that stand in the record of stage ``prepare_external``."""


class ExternalPrepareSections(PreprocessSections, ExternalPreparationSections):
    """The sections that stage ``prepare_external`` reads."""


class ExternalRecordSections(EnsembleSections, EvaluationSections, ExternalSections):
    """The sections that stand in the record of stage ``evaluate_external``."""


class ExternalEvaluationSections(PreprocessSections, ExternalRecordSections):
    """The sections that stage ``evaluate_external`` reads."""
