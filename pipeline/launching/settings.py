"""The sections of params.yaml that a launcher reads: which training runs there are, and what each takes."""

from __future__ import annotations

from pipeline.learning.settings import TrainingSections
from pipeline.study.runs import StudySections


class LaunchSections(StudySections, TrainingSections):
    """The sections that say which training runs a study has and with which settings each is trained."""
