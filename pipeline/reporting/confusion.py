"""Parts of the errors page: what is taken for what, and how well each subgroup is told."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from pathlib import Path

import pandas as pd

from pipeline.checking.mistakes import Decisions
from pipeline.reporting import prose, sections, tables
from pipeline.reporting.figures import errors as figures
from pipeline.reporting.sections import LABELS, image, join
from pipeline.reporting.study import MEAN, Estimate, Results, StudyResults
from pipeline.uncertainty.intervals import wilson

_LISTED_PAIRS = 10
_WIDEST_MATRIX = 10
"""Classes up to which a confusion matrix is laid out as a table."""
_LOOKED_FOR = ("sex", "view", "age")
"""Variables that stage `evaluate` groups by."""


def draw(study: StudyResults, results: Results, made: Decisions, pairs: pd.DataFrame, path: Path) -> Path | None:
    """Draw the confusion matrix, or which other findings false positives have; None where there is nothing."""
    if study.task == "multiclass":
        matrix = results.confusions(study.classes)
        return figures.confusion(study.classes, matrix, path) if matrix is not None else None
    return figures.lifts(study.classes, pairs, 1 - sections.confidence(study), path)


def section(study: StudyResults, results: Results, made: Decisions, pairs: pd.DataFrame, picture: Path | None) -> str:
    """Say what is taken for what: a matrix, or which other findings false positives have."""
    if study.task == "multiclass":
        return _confused(study, results, picture)
    seen = pairs[(pairs["n_false"] > 0) & (pairs["expected"] > 0)]
    if seen.empty:
        return "No two findings can be looked at together: there are no false positives beside other findings."
    ranked = seen.assign(minus=-seen["lift"]).sort_values(["p", "minus"], kind="stable").head(_LISTED_PAIRS)
    rows = [
        [
            row.called,
            row.present,
            f"{row.n_false:,}",
            f"{row.n_both:,}",
            tables.number(row.expected, 1),
            tables.number(row.lift, 1),
            tables.estimated_percent(Estimate(row.n_both / row.n_false, row.share_low, row.share_high)),
            tables.percent(row.prevalence),
            tables.probability(row.p_holm),
        ]
        for row in ranked.itertuples()
    ]
    heads = ["Called wrongly", "Truly there", "False positives", "With it", "Expected", "Lift"]
    heads += [f"Share [{study.interval_name}]", "Among all", "p (Holm)"]
    more = "more than half of the seeds call" if len(made.seeds) > 1 else "the seed calls"
    return join(
        f"When a finding is called that is not there, which others are? A false positive is what {more}. The lift is "
        "the number of false positives with the other finding over the number expected if it were as frequent among "
        "them as among all images without the finding that is called. A lift says what occurs together, not why.",
        join(
            image("Lift of every finding on the false positives of every other", "figures/errors-confusion.png"),
            "Numbers are false positives with the other finding; a frame marks what is beyond noise, see below.",
        )
        if picture is not None
        else "",
        _verdict(study, pairs),
        tables.table(heads, rows, "ll" + "r" * 9),
        f"The {prose.count('pair', len(rows))} with the smallest p. The share is Wilson's and takes images for "
        "independent, so that it is too narrow where a patient has several."
        + (f" {tables.DASH}: not tested." if ranked["p"].isna().any() else ""),
    )


def _verdict(study: StudyResults, pairs: pd.DataFrame) -> str:
    """Say how pairs were tested and which are more than noise."""
    tested, alpha = pairs[pairs["p_holm"].notna()], 1 - sections.confidence(study)
    method = (
        "Each pair is tested by Fisher's exact test (two-sided) on one image a patient, the first without the finding "
        "that is called, because images of one patient are not independent; a pair can therefore miss what all images "
        "together suggest."
    )
    untested = len(pairs) - len(tested)
    rest = f"; the other {untested} are not tested, as one of their counts is 0 there" if untested else ""
    family = f"Holm's correction is for the {prose.count('pair', len(tested))} tested{rest}."
    held = tested[tested["p_holm"] < alpha]
    if tested.empty:
        return f"{method} No pair can be tested: on these images one of the counts of each is 0."
    if held.empty:
        return f"{method} {family} **No pair survives it: all lifts are within noise.**"
    named = [
        f"{prose.readable(row.present)} is {'more' if row.more else 'less'} frequent on the false positives of "
        f"{prose.readable(row.called)}"
        for row in held.sort_values("p_holm", kind="stable").head(_LISTED_PAIRS).itertuples()
    ]
    more = f"; and {len(held) - len(named)} more" if len(held) > len(named) else ""
    verb = "survives" if len(held) == 1 else "survive"
    return f"{method} {family} **{prose.capital(prose.count('pair', len(held)))} {verb} it: {'; '.join(named)}{more}.**"


def _confused(study: StudyResults, results: Results, picture: Path | None) -> str:
    matrix = results.confusions(study.classes)
    if matrix is None:
        return f"{tables.DASH} The confusion matrix of this recipe is not recorded."
    seeds, mean = len(matrix), matrix.mean(axis=0)
    digits, noted, rows = (1 if seeds > 1 else 0), [], []
    wide = len(study.classes) > _WIDEST_MATRIX
    for k, name in enumerate(study.classes):
        recall = results.get("sensitivity", name)
        noted.append((name, "recall", recall))
        counts = [] if wide else [tables.number(n, digits) for n in mean[k]]
        rows.append([name, f"{int(matrix[0, k].sum()):,}", *counts, tables.estimated(recall)])
    heads = ["Truth", "n", *([] if wide else [f"as {c}" for c in study.classes]), f"Recall [{study.interval_name}]"]
    apart = [(i, j) for i, j in permutations(range(len(mean)), 2) if mean[i, j] > 0]
    apart.sort(key=lambda pair: (-mean[pair], pair))
    listed = [
        [
            study.classes[i],
            study.classes[j],
            tables.number(mean[i, j], digits),
            *([f"{matrix[:, i, j].min():.0f} to {matrix[:, i, j].max():.0f}"] if seeds > 1 else []),
            tables.estimated_percent(_wilson(mean[i, j], mean[i].sum(), sections.confidence(study))),
        ]
        for i, j in apart[:_LISTED_PAIRS]
    ]
    columns = ["Truth", "Decided", "Images", *(["Over seeds"] if seeds > 1 else []), "Share of the true class"]
    unit = f"Images of the test part, {sections.of_seeds(seeds)}."
    return join(
        f"{unit} Recall is the share of a class's images that are decided for it, with its interval by bootstrap over "
        "patients.",
        image("Confusion matrix", "figures/errors-confusion.png") if picture is not None else "",
        tables.table(heads, rows, "l" + "r" * (len(heads) - 1)),
        tables.reasons(noted),
        "The most frequent confusions (the share with Wilson's interval, which takes images for independent and is too "
        "narrow where a patient has several; which confusion is more frequent than which is not tested):"
        if listed
        else "No seed confuses two classes.",
        tables.table(columns, listed, "ll" + "r" * (len(columns) - 2)) if listed else "",
    )


def _wilson(successes: float, n: float, confidence: float) -> Estimate:
    low, high = wilson(successes, n, confidence)
    return Estimate(successes / n, float(low), float(high), n, successes, "") if n else Estimate()


def subgroups(study: StudyResults, results: Results) -> str:
    """Lay out how well each subgroup is told, a table a variable; differences are not tested."""
    table = results.subgroups
    seen = [] if table is None else list(dict.fromkeys(table["variable"]))
    lacking = [name for name in _LOOKED_FOR if name not in seen]
    missing = f"The data set has no values for {prose.listing(lacking, 'or')}, so there are no subgroups by it."
    if len(lacking) > 1:
        missing = f"The data set has no values for {prose.listing(lacking, 'or')}, so there are no subgroups by them."
    if not seen:
        return f"{tables.DASH} {missing}"
    metrics = ("auroc",) if study.task == "multilabel" else ("accuracy", "balanced_accuracy")
    blocks = [_subgroup_table(study, table[table["variable"] == variable], variable, metrics) for variable in seen]
    macro = (
        " AUROC is the mean over classes; means over different classes cannot be compared."
        if metrics[0] == "auroc"
        else ""
    )
    return join(
        f"{prose.capital(sections.of_seeds(len(results.seeds)))}, {study.interval_name} by bootstrap over the patients "
        f"of the subgroup.{macro} **Differences between subgroups are not tested**: subgroups differ in prevalence and "
        "in how hard their images are, and neither overlapping nor separate intervals show that the model treats them "
        "alike or unlike.",
        *blocks,
        missing if lacking else "",
    )


def _subgroup_table(study: StudyResults, table: pd.DataFrame, variable: str, metrics: Iterable[str]) -> str:
    table = table[(table["seed"] == MEAN) & table["class"].isin(["macro", "overall"])]
    counted, rows, noted = study.task == "multilabel", [], []
    for name, found in table.groupby("subgroup", sort=True):
        by_metric = {row.metric: row for row in found.itertuples()}
        estimates = {m: Estimate.of_row(by_metric[m]) if m in by_metric else Estimate() for m in metrics}
        noted += [(str(name), LABELS[m], e) for m, e in estimates.items()]
        first = next(iter(estimates.values()))
        positives = [tables.whole(first.n_positive)] if counted else []
        rows.append([str(name), tables.whole(first.n), *positives, *(tables.estimated(e) for e in estimates.values())])
    heads = [prose.capital(variable), "n images", *(["n positive, all classes"] if counted else [])]
    heads += [f"{LABELS[m]} [{study.interval_name}]" for m in metrics]
    return join(f"### By {variable}", tables.table(heads, rows, "l" + "r" * (len(heads) - 1)), tables.reasons(noted))
