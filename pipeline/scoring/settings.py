"""Settings of scoring: section ``evaluate`` of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from pipeline.learning.settings import RunSections, Tta
from pipeline.study.params import Section, Sections, Seed


class Evaluate(Section):
    """Scoring. Thresholds and calibration are chosen on the validation part."""

    bootstrap: int = Field(2000, ge=100, le=1_000_000, description="patient-bootstrap draws")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    margin: float = Field(0.005, gt=0, lt=0.5, description="equivalence margin of macro AUROC")
    seed_sd: float | None = Field(None, gt=0, lt=0.5, description="SD over seeds assumed of what was trained once")
    seed: Seed = 0
    tta: Tta = Tta()
    probes: bool = Field(True, description="score thumbnails and facts about the picture beside the models")
    batch_size: int = Field(256, ge=1, le=65_536)
    threads: int = Field(2, ge=1, le=256)

    def draws(self) -> dict[str, Any]:
        """Return the draws of patients, as arguments of the functions of `pipeline.uncertainty` that draw."""
        return {"draws": self.bootstrap, "confidence": self.confidence, "seed": self.seed}


class ProbeSections(Sections):
    """The section that stage ``probe`` reads."""

    evaluate: Evaluate = Evaluate()


class EvaluationSections(RunSections):
    """The sections that stage ``evaluate`` reads."""

    evaluate: Evaluate = Evaluate()
