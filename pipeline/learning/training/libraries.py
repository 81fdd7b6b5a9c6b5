"""What training takes from timm, imported as `pipeline.learning.eager` says; evaluation does without."""

from __future__ import annotations

from typing import Any

from pipeline.learning.eager import library

optim: Any = library("timm.optim")
scheduler: Any = library("timm.scheduler")
utils: Any = library("timm.utils")
