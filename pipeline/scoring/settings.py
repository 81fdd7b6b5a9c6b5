"""Settings of scoring: section ``evaluate`` of params.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from pipeline.learning.settings import RunSections, Tta
from pipeline.study.classes import told_apart
from pipeline.study.params import Section, Seed


class Evaluate(Section):
    """Scoring. Thresholds and calibration are chosen on the validation part."""

    bootstrap: int = Field(2000, ge=100, le=1_000_000, description="patient-bootstrap draws")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    margin: float = Field(0.005, gt=0, lt=0.5, description="equivalence margin of macro AUROC")
    seed_sd: float | None = Field(None, gt=0, lt=0.5, description="SD over seeds assumed of what was trained once")
    prevalence: float | dict[str, float] | None = Field(
        None, description="for predictive values: of every class, or by class; what is not named: that of the test part"
    )
    seed: Seed = 0
    tta: Tta = Tta()
    probes: bool = Field(True, description="score thumbnails and facts about the picture beside the models")
    batch_size: int = Field(256, ge=1, le=65_536)
    threads: int = Field(1, ge=1, le=256)

    @field_validator("prevalence", mode="before")
    @classmethod
    def _prevalence_is_a_share(cls, value: Any) -> Any:
        """Refuse what is no share; pydantic alone would name both kinds of value that are allowed, and neither key."""
        given = value if isinstance(value, dict) else {} if value is None else {"": value}
        lines = [
            f"evaluate.prevalence: must be a number above 0 and below 1, not {share!r}{f' of {name!r}' if name else ''}"
            for name, share in given.items()
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1
        ]
        if lines:
            raise ValueError("\n".join(lines))
        return value

    def prevalence_problems(self, classes: Sequence[str]) -> list[str]:
        """Name what a prevalence is stated of and what is no class."""
        return [
            f"evaluate.prevalence: '{name}' is no class of the data set; must be one of {', '.join(classes)}"
            for name in (self.prevalence if isinstance(self.prevalence, dict) else ())
            if told_apart(name) not in classes
        ]

    def stated_prevalence(self) -> float | dict[str, float] | None:
        """Return `prevalence`, by what tables call the classes."""
        stated = self.prevalence
        return {told_apart(name): share for name, share in stated.items()} if isinstance(stated, dict) else stated

    def draws(self) -> dict[str, Any]:
        """Return the draws of patients, as arguments of the functions of `pipeline.uncertainty` that draw."""
        return {"draws": self.bootstrap, "confidence": self.confidence, "seed": self.seed}


class ProbeSections(RunSections):
    """The sections that stage ``probe`` reads; of the models nothing but their metadata."""

    evaluate: Evaluate = Evaluate()


def columns_beside(params: RunSections) -> list[str]:
    """Return the columns that a model of the study takes beside the image, each once."""
    named = [params.models[name].metadata or [] for name in params.study.models]
    return list(dict.fromkeys(name for names in named for name in names))


class EvaluationSections(RunSections):
    """The sections that stage ``evaluate`` reads."""

    evaluate: Evaluate = Evaluate()
