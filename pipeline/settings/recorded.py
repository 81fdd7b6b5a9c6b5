"""The sections of params.yaml that stand in records of stage `configure`."""

from __future__ import annotations

from pipeline.ensembling.settings import FeatureSections
from pipeline.explaining.settings import ExplainSections
from pipeline.external.settings import ExternalPreparationSections, ExternalRecordSections
from pipeline.scoring.settings import ProbeSections
from pipeline.variants.records import VariantRecordSections
from pipeline.variants.within import WithinSections


class RecordedSections(
    ExternalRecordSections,
    ExternalPreparationSections,
    ProbeSections,
    FeatureSections,
    ExplainSections,
    VariantRecordSections,
    WithinSections,
):
    """The sections that stand in records."""
