"""Settings of ensembles: section ``ensemble`` of params.yaml."""

from __future__ import annotations

from pydantic import Field

from pipeline.learning.settings import RunSections
from pipeline.scoring.settings import Evaluate
from pipeline.study.params import Section
from pipeline.study.runs import StudySections, runs


class Ensemble(Section):
    """Combinations of training runs; the best runs and configurations are those of the validation part."""

    top_k: int = Field(ge=1)
    features: bool = Field(False, description="also a feature ensemble: a head on the features of the best top_k runs")


class _MemberSections(StudySections):
    """The sections that say which training runs there are, and how many of the best are combined."""

    ensemble: Ensemble

    @property
    def top_k(self) -> int:
        """``ensemble.top_k``, or all training runs where there are fewer."""
        return min(self.ensemble.top_k, len(runs(self)))


class EnsembleSections(_MemberSections):
    """The sections that stage ``ensemble`` reads."""

    evaluate: Evaluate = Evaluate()


class FeatureSections(_MemberSections, RunSections):
    """The sections that stage ``fuse`` reads."""
