"""How the numbers of a study were made, and of what: the parts of the first page that a reviewer checks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.reporting import prose, sections, tables
from pipeline.reporting.sections import join
from pipeline.reporting.study import StudyResults
from pipeline.settings import Params


def data(study: StudyResults) -> str:
    """Name the source of the images, what the audit of the split found, and what was left out."""
    if study.dataset is None or study.audit is None:
        return ""
    info = study.dataset
    source = f"[{info.title}]({info.url})" if info.url else info.title
    source = f"{source}. Licence: {info.licence.rstrip('.')}. {info.citation}".strip()
    return join(
        "## Data",
        source,
        "Patients, classes that occur together, sample images, exclusions, and duplicates: [the data](data.md)."
        if study.samples is not None
        else "",
        f"{_audited(study.audit)}\n{_excluded(study)}",
        f"{prose.capital(input_images(study.params))}." if study.params is not None else "",
    )


def _audited(audit: dict[str, Any]) -> str:
    shared = {what: audit[f"{what}_in_two_parts"] for what in ("patients", "groups", "duplicates")}
    lines = []
    if "method" in audit:
        lines.append(f"- Split: {audit['method']}, seed {audit['seed']}, SHA-256 `{audit['sha256'][:12]}…`.")
    if any(shared.values()):
        named = prose.listing(prose.count(what.removesuffix("s"), n) for what, n in shared.items() if n)
        lines.append(f"- **Leak: {named} in two parts; no number of this report can be trusted.**")
    else:
        lines.append("- Audited: no patient, no group, and no identical image is in two of the parts (0, 0, 0).")
    if copies := audit.get("duplicates"):
        other = audit.get("duplicates_with_other_labels", 0)
        labels = f" (with other labels than its first copy: {other:,})" if other else ""
        verb = prose.plural("is", copies)
        lines.append(f"- {prose.count('image', copies)} {verb} identical to an earlier one{labels}.")
    return "\n".join(lines)


def _excluded(study: StudyResults) -> str:
    lines = []
    if study.excluded is not None:
        lines.append(
            f"- Excluded before the split: {prose.count('file', len(study.excluded))}"
            f"{_by(study.excluded['reason'].map(sections.kind_of_reason))}."
        )
    unused = (study.audit or {}).get("unused") or []
    kinds = pd.Series([sections.kind_of_reason(str(u.get("reason", ""))) for u in unused], dtype="str")
    lines.append(f"- In no part (unused): {prose.count('image', len(unused))}{_by(kinds)}.")
    return "\n".join(lines)


def _by(reasons: pd.Series) -> str:
    counted = sorted(reasons.value_counts().items(), key=lambda item: (-item[1], item[0]))
    named = "; ".join(f"{tables.escape(reason)}: {n:,}" for reason, n in counted if reason)
    return f" ({named})" if named else ""


def input_images(params: Params) -> str:
    """Say how the images reach the networks."""
    settings = params.preprocess
    clahe = settings.clahe
    channels = "grey" if settings.channels == 1 else "colour"
    text = f"{settings.size} × {settings.size} px, {channels}, 8 bit"
    if not clahe.enabled:
        return text + ", without CLAHE"
    when = clahe.order.replace("_", " ").replace("resize", "resizing")
    return text + f"; CLAHE (clip {clahe.clip:g}, {clahe.tiles} × {clahe.tiles} tiles) {when}"


def section(study: StudyResults) -> str:
    """Say what was chosen on what, and what means, intervals and signs stand for."""
    lines = ["Macro values are unweighted means over the classes that have a value; a class without one is named."]
    if study.params is None:
        lines.append("A mean over seeds that the table does not hold is computed here, without an interval.")
    else:
        evaluate = study.params.evaluate
        thresholds = ["the thresholds"] if study.task == "multilabel" else []
        chosen = ["the epoch", *thresholds, "the recipe marked ★", "the members of ensembles"]
        lines += [
            f"Chosen on the validation part: {prose.listing(chosen)}. The test part is scored and chooses nothing.",
            f"Intervals: {study.interval_name} from {evaluate.bootstrap:,} bootstrap draws of whole patients, because "
            "images of one patient are not independent. The interval of a mean over seeds takes these seeds as given: "
            "it says nothing about further seeds. A patient drawn twice repeats a positive, which raises AP and moves "
            "F1 in small classes: their intervals are not centred on the value.",
            "± is the standard deviation over training seeds (n − 1) on one and the same test part.",
            "Losses are never compared between recipes: different loss functions have different scales.",
        ]
        if study.task == "multilabel":
            lines.append(
                "A class has one threshold, that with the highest F1 on the validation part, for all decisions."
            )
    return join("## How the numbers were made", "\n".join(f"- {line}" for line in lines))
