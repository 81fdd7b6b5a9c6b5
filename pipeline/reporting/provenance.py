"""Where the numbers come from: commit, versions, device and settings of the trainings."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

from pipeline.reporting import prose, tables
from pipeline.reporting.sections import join
from pipeline.reporting.study import StudyResults
from pipeline.settings import Params


def section(study: StudyResults) -> str:
    """Return the table of provenance and the parameters, folded."""
    runs = [run for results in study.configurations for run in results.runs]
    blocks = ["## Provenance"]
    if runs:
        rows = [
            ["Code of the trainings", _each(runs, commit)],
            ["Versions", _each(runs, versions)],
            ["Device", _each(runs, lambda r: r.get("device"))],
            ["Precision, threads", _each(runs, lambda r: f"{r.get('precision', '?')}, {r.get('threads', '?')}")],
            ["Time of all trainings", _duration(sum(r.get("seconds") or 0.0 for r in runs))],
        ]
        speeds = sorted(r["images_per_second"] for r in runs if r.get("images_per_second"))
        if speeds:
            slowest, fastest = f"{speeds[0]:,.0f}", f"{speeds[-1]:,.0f}"
            rows.append(["Images/s in training", slowest if slowest == fastest else f"{slowest} to {fastest}"])
        blocks.append(tables.table(["", f"{prose.count('training', len(runs))}"], rows, "ll"))
    else:
        blocks.append("Not recorded: the report was rendered from a metrics table.")
    if study.params is not None:
        text = yaml.safe_dump(
            used(study.params), sort_keys=False, allow_unicode=True, width=100, default_flow_style=None
        ).strip()
        blocks.append(f"<details>\n<summary>Parameters of the study</summary>\n\n```yaml\n{text}\n```\n\n</details>")
    return join(*blocks)


def used(params: Params) -> dict[str, Any]:
    """Return the parameters that shaped these results; settings of other data sets, models and losses are left out."""
    content = params.model_dump(mode="json")
    for key, names in (
        ("datasets", [params.dataset]),
        ("models", params.study.models),
        ("losses", params.study.losses),
    ):
        content[key] = {name: content[key][name] for name in names}
    return content


def _each(runs: list[dict[str, Any]], read: Any) -> str:
    """Name every distinct value, with the number of trainings where they differ."""
    found = Counter(str(value) for run in runs if (value := read(run)) is not None)
    if not found:
        return f"{tables.DASH} (not recorded)"
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{value} ({prose.count('training', n)})" for value, n in sorted(found.items()))


def versions(run: dict[str, Any]) -> str:
    """Name the packages that a training ran with; empty where they are not recorded."""
    return ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())


def commit(run: dict[str, Any]) -> str | None:
    """Name the commit of a training, and whether files differed from it; None where it is not recorded."""
    found = run.get("git_commit")
    return found and f"`{found[:12]}`" + (" with uncommitted changes" if run.get("git_dirty") else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
