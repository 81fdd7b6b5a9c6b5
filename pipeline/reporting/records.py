"""What the reports depend on beside their inputs and settings: the code that writes them, and the pages' templates."""

from __future__ import annotations

from typing import Any

from pipeline.study.code import ROOT, digests, file_digests

PAGES = ROOT / "pipeline/reporting/pages"
"""The templates: `pipeline.reporting.page` has them, too, with what stage configure need not import to write this."""


def report_record() -> dict[str, Any]:
    """Return the record of stage report: code and pages. All settings are printed: dvc.yaml lists them itself."""
    scripts = [ROOT / "pipeline/report.py", ROOT / "pipeline/settings/__init__.py"]
    return {"code": digests(scripts), "pages": file_digests(PAGES.rglob("*.md"))}
