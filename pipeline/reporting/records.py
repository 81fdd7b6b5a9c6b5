"""What the reports depend on beside their inputs and settings: the code that writes them, and the pages' templates."""

from __future__ import annotations

from typing import Any

from pipeline.reporting.page import TEMPLATES
from pipeline.study.code import ROOT, digests, file_digests


def report_record() -> dict[str, Any]:
    """Return the record of stage report: code and pages. All settings are printed: dvc.yaml lists them itself."""
    scripts = [ROOT / "pipeline/report.py", ROOT / "pipeline/settings/__init__.py"]
    return {"code": digests(scripts), "pages": file_digests(TEMPLATES.rglob("*.md"))}
