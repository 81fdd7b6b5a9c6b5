"""Parts of the first page that doubt its numbers: what far less than the image tells, and what looks broken."""

from __future__ import annotations

import math

from pipeline.checking.probes import MARGIN, alarm
from pipeline.reporting import prose, tables
from pipeline.reporting.sections import join
from pipeline.reporting.study import Results, StudyResults

_SEEN = {
    "thumbnail": "the image shrunk to 8 × 8 pixels",
    "metadata": "size of the file, brightness, border, and colour",
}
"""Probe: what it sees of an image."""


def probe_warnings(study: StudyResults, results: Results) -> list[str]:
    """Name the shortcut probes that `results` is not clearly above, a sentence each; see `probes.alarm`."""
    reached = results.get("auroc").value
    found = (alarm(reached, probe.get("auroc").value, probe.loss) for probe in study.probes)
    return [text for text in found if text]


def probes(study: StudyResults) -> str:
    """Set the chosen recipe against what is told by far less than the image."""
    best = study.subject
    if not study.probes or best is None:
        return ""
    reached, rows = best.get("auroc"), []
    scores = {probe.loss: probe.get("auroc") for probe in study.probes}
    for name, score in scores.items():
        above = reached.value - score.value
        rows.append([name, _SEEN.get(name, ""), tables.estimated(score), tables.signed(above)])
    heads = ["Probe", "What it sees", f"Test macro AUROC [{study.interval_name}]", f"{best.key} less the probe"]
    noted = tables.reasons((name, "AUROC", score) for name, score in scores.items())
    known = all(math.isfinite(e.value) for e in (reached, *scores.values()))
    return join(
        "### Shortcut probes",
        f"A probe is a logistic regression on a few numbers an image, fitted on the training part. {best.key} is set "
        "against it by its mean over seeds; the difference is not tested, so it has no interval.",
        tables.table(heads, rows, "llrr"),
        noted,
        _alarms(probe_warnings(study, best), best.key, known),
    )


def _alarms(sentences: list[str], key: str, known: bool) -> str:
    """Say which probes come close to the recipe `key`, and what follows from it; `known` if all numbers are."""
    points = f"{100 * MARGIN:g} points"
    if sentences:
        meaning = (
            "Being close does not show that it does. But what goes with a class by accident (hospital, device, "
            "exposure, file format) would explain such a score too, so the score alone is no evidence that it reads "
            "the images."
        )
        return f"**{prose.capital('; '.join(sentences))}.** {meaning}"
    if not known:
        return f"Where a number is missing, nothing is known of whether {key} is more than {points} above the probe."
    enough = "what they see is not enough for its score. Other shortcuts are not ruled out."
    return f"{key} is more than {points} above every probe: {enough}"


def signs(study: StudyResults) -> str:
    """Name the trainings that look as if something were wrong with them or their labels."""
    if study.signs is None:
        return ""
    if study.signs.empty:
        text = (
            "None of the trainings shows one: no class predicted for all images, no accuracy that is the largest "
            "class's share, no loss of certain mistakes or worse than the classes' shares, no constant metric, no "
            "AUROC of chance, no two trainings with the same numbers."
        )
        return join("### Signs of failure", text)
    rows = [[row.cell, row.gate.replace("_", " "), tables.escape(row.sentence)] for row in study.signs.itertuples()]
    intro = "On the validation part. A sign is a reason to look, not a verdict."
    return join("### Signs of failure", intro, tables.table(["Training", "Sign", "What was seen"], rows, "lll"))
