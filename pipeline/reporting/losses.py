"""The page of losses: every loss against the baseline loss, within each model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline.reporting import prose, sections, tables
from pipeline.reporting.figures import losses as figures
from pipeline.reporting.figures.losses import NOISE
from pipeline.reporting.loss_differences import Difference, differences
from pipeline.reporting.sections import LABELS, RANKING, image, join
from pipeline.reporting.study import Results, StudyResults, highest
from pipeline.study.files import write_text

_DECIDED = {
    "multilabel": "Every metric is a mean over classes, each class decided at its threshold from the validation part.",
    "multiclass": "The class with the highest probability is the decision; AUROC, AP, F1, and precision are means over "
    "classes.",
}
METRICS = {
    "multilabel": ("average_precision", "f1", "sensitivity", "specificity", "mcc", "brier", "ece", "log_loss"),
    "multiclass": (
        *("average_precision", "accuracy", "balanced_accuracy", "f1", "precision", "mcc", "kappa"),
        *("brier", "ece", "log_loss"),
    ),
}
"""Columns beside the AUROC."""
_NAMES = LABELS | {"precision": "Precision", "kappa": "Kappa", "brier": "Brier score", "ece": "ECE"}
_LOWER_IS_BETTER = ("brier", "ece", "log_loss")
_CHOSEN, _FAILED = "★", "†"
_NAMED = 8
"""Pairs up to which sentences name every one of them."""
_FULL_INTERVALS = 3
"""Losses up to which the table of classes has room for both ends of an interval."""


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write losses.md and its figure into `folder`; nothing where no model has two losses."""
    models = by_model(study)
    if not any(len(configurations) > 1 for configurations in models.values()):
        return []
    base = loss_order(study)[0]
    compared = differences(study, study.comparisons, models, base, ("macro",))
    by_class = differences(study, study.class_comparisons, models, base, study.classes)
    drawn = _draw(study, models, base, compared, folder / "figures" / "losses.png")
    page = folder / "losses.md"
    text = join(
        f"# Losses, compared within each model: {study.title}",
        *sections.banner(study),
        f"{' '.join(lead(study, models, base, compared))} [All recipes](README.md)",
        image(f"Test macro AUROC of every loss, and its difference from {base}", "figures/losses.png") if drawn else "",
        _settings(study),
        *(_model(study, name, configurations, base, (compared, by_class)) for name, configurations in models.items()),
        _method(study, base, compared, by_class),
    )
    write_text(page, text + "\n")
    return [page, *([drawn] if drawn else [])]


def loss_order(study: StudyResults) -> list[str]:
    """Return the losses in the order of params.yaml, or of a bare table; the first is the baseline."""
    return study.params.study.losses if study.params else list(dict.fromkeys(r.loss for r in study.configurations))


def by_model(study: StudyResults) -> dict[str, list[Results]]:
    """Return the recipes of each model that has results, in the order of `loss_order`."""
    order = loss_order(study)
    models = dict.fromkeys(r.model for r in study.configurations)
    return {
        m: sorted((r for r in study.configurations if r.model == m), key=lambda r: order.index(r.loss)) for m in models
    }


def lead(study: StudyResults, models: dict[str, list[Results]], base: str, compared: Sequence[Difference]) -> list[str]:
    """Say in a few sentences what was compared and what the tests say."""
    several = {m: configurations for m, configurations in models.items() if len(configurations) > 1}
    sizes = sorted({len(configurations) for configurations in several.values()})
    number = prose.count("loss", sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {prose.count('loss', sizes[-1])}"
    where = f"model {next(iter(several))}" if len(several) == 1 else f"each of {len(several)} models"
    origin = "`study.losses` in params.yaml" if study.params else "the table"
    lines = [f"Within {where}, {number} are compared; the baseline is **{base}**, the first in {origin}."]
    if without := [m for m, configurations in several.items() if base not in (r.loss for r in configurations)]:
        lines.append(f"Within {prose.listing(without)}, {base} has no results, so nothing is compared with it there.")
    return lines + _tests(study, base, compared)


def _tests(study: StudyResults, base: str, compared: Sequence[Difference]) -> list[str]:
    """Say what differs, what is as good as equal, and what is neither."""
    tested = [d for d in compared if d.tested]
    if not tested:
        return [f"Differences between losses are not tested: {_untested(study, compared)}. Treat them as within noise."]
    apart, equal = [d for d in tested if d.apart], [d for d in tested if d.equal]
    noise = [d for d in tested if d.verdict == NOISE]
    n, margin = len(tested), f"{tested[0].margin:g}"
    found = f"is {'' if apart else 'not '}found" if n == 1 else f"is found in {_share(len(apart), n)}"
    named = _directions(apart, base) if apart else ""
    lines = [
        f"Paired on the same patients, with Holm's correction for {prose.count('comparison', n)}, a difference from "
        f"{base} in test macro AUROC {found}{named}."
    ]
    if equal:
        listed = _equals(equal, n)
        lines.append(f"As good as equal to {base}, that is, shown to differ from it by less than {margin}: {listed}.")
    else:
        lines.append(f"No loss is as good as equal to {base}, that is, shown to differ from it by less than {margin}.")
    if noise:
        every = "The one comparison is" if n == 1 else "Both comparisons are" if n == 2 else f"All {n} comparisons are"
        some = f"{len(noise)} of {n} comparisons {prose.plural('is', len(noise))}"
        which = every if len(noise) == n else some
        lines.append(f"{which} within noise: neither a difference nor equality is shown.")
    if left := len(compared) - n:
        lines[-1] += f" {prose.capital(prose.count('comparison', left))} could not be tested."
    return lines


def _untested(study: StudyResults, compared: Sequence[Difference]) -> str:
    if compared:
        return prose.listing(dict.fromkeys(d.estimate.note for d in compared))
    if study.params is None:
        return "the table holds no predictions"
    return "stage ensemble has not compared them" if study.comparisons is None else "there is no pair to compare"


def _share(part: int, total: int) -> str:
    if part == total:
        return "both of them" if total == 2 else "all of them"
    return f"{part or 'none'} of them"


def _equals(equal: Sequence[Difference], n: int) -> str:
    """Name the losses that are as good as equal to the baseline, model by model; many are counted."""
    if len(equal) > _NAMED:
        return f"the loss in {len(equal)} of {n} comparisons, named below"
    models = dict.fromkeys(d.model for d in equal)
    return "; ".join(f"within {m}, {prose.listing(d.loss for d in equal if d.model == m)}" for m in models)


def _directions(apart: Sequence[Difference], base: str) -> str:
    """Say which losses are above the baseline and which below it, model by model; many are counted."""
    if len(apart) > _NAMED:
        above = sum(d.estimate.value > 0 for d in apart)
        return f" ({above} above, {len(apart) - above} below {base}; named below)"
    models: dict[str, dict[str, list[str]]] = {}
    for d in apart:
        side = "above" if d.estimate.value > 0 else "below"
        models.setdefault(d.model, {}).setdefault(side, []).append(d.loss)
    return ": " + "; ".join(
        f"within {model}, "
        + prose.listing(
            f"{prose.listing(sides[side])} {prose.plural('is', len(sides[side]))} {side} {base}"
            for side in ("above", "below")
            if side in sides
        )
        for model, sides in models.items()
    )


def _settings(study: StudyResults) -> str:
    """Lay out what each loss is."""
    text = (
        "The value of a loss is in no comparison: every loss has a scale of its own, so that a low value of one says "
        "nothing against a high value of another."
    )
    if study.params is None:
        return join("## The losses", text)
    rows = []
    for name in loss_order(study):
        given = dict(study.params.losses[name] or {})
        kind = given.pop("kind", name)
        rows.append([name, kind, ", ".join(f"{key} {value}" for key, value in given.items()) or "its defaults"])
    return join("## The losses", tables.table(["Loss", "Kind", "Settings"], rows, "lll"), text)


def _model(
    study: StudyResults,
    name: str,
    configurations: Sequence[Results],
    base: str,
    compared: tuple[Sequence[Difference], Sequence[Difference]],
) -> str:
    if len(configurations) < 2:
        return join(
            f"## {name}", f"With this model only {configurations[0].loss} has results: there is nothing to compare."
        )
    whole, classes = ([d for d in family if d.model == name] for family in compared)
    return join(
        f"## {name}",
        f"Test part, {sections.sample(study, configurations[0])}; {study.interval_name} in brackets.",
        metrics_table(study, configurations),
        _against(study, configurations, whole, base),
        _classes(study, name, configurations, classes, base),
    )


def failed(results: Results) -> list[int]:
    """Return the seeds under which the recipe learned nothing."""
    return [run["seed"] for run in results.runs if run.get("collapsed")]


def _named(results: Results, chosen: Results | None) -> str:
    name = f"[{results.loss}](seeds/{results.key}.md)"
    marked = f"**{name}** {_CHOSEN}" if chosen is not None and results.key == chosen.key else name
    return f"{marked} {_FAILED}" if failed(results) else marked


def metrics_table(study: StudyResults, configurations: Sequence[Results]) -> str:
    """Lay out every metric of the whole test part, a loss a row; the best on validation is marked."""
    metrics = [m for m in ("auroc", *METRICS[study.task]) if any(math.isfinite(r.get(m).value) for r in configurations)]
    if not metrics:
        return "The table holds no metric of the whole test part."
    names = {m: _NAMES[m] for m in metrics} | ({"f1": "Macro F1"} if study.task == "multiclass" else {})
    validated = any(math.isfinite(r.get("auroc", part="val").value) for r in configurations)
    spread = any(math.isfinite(r.sd("auroc")) for r in configurations)
    chosen = highest(configurations)
    blocks = []
    for group in (RANKING, [m for m in metrics if m not in (*RANKING, *_LOWER_IS_BETTER)], _LOWER_IS_BETTER):
        known = [m for m in metrics if m in group]
        if not known:
            continue
        leading = "auroc" in known
        heads, rows = ["Loss"], [[_named(r, chosen)] for r in configurations]
        columns = {"Seeds": lambda r: str(len(r.seeds))} if not blocks else {}
        if leading and validated:
            columns["Validation AUROC"] = lambda r: tables.number(r.get("auroc", part="val").value)
        for m in known:
            columns[f"{names[m]} ↓" if m in _LOWER_IS_BETTER else names[m]] = partial(_estimated, m)
            if m == "auroc" and spread:
                columns["SD of AUROC over seeds"] = lambda r: tables.number(r.sd("auroc"))
        for head, write in columns.items():
            heads.append(head)
            rows = [[*row, write(r)] for row, r in zip(rows, configurations)]
        blocks.append(tables.table(heads, rows, "l" + "r" * (len(heads) - 1)))
    lines = [tables.reasons((r.loss, names[m], r.get(m)) for r in configurations for m in metrics)]
    if single := [r.loss for r in configurations if spread and not math.isfinite(r.sd("auroc"))]:
        lines.append(f"- {tables.DASH} SD of {prose.listing(single)}: fewer than two seeds with a value.")
    if chosen is not None:
        lines.append(f"- {sections.starred(study)}")
    if any(failed(r) for r in configurations):
        lines.append(f"- {_FAILED} has a training that learned nothing (named above): its means say little.")
    if any(m in _LOWER_IS_BETTER for m in metrics):
        lines.append("- ↓ lower is better.")
    return join(*blocks, "\n".join(line for line in lines if line))


def _estimated(metric: str, results: Results) -> str:
    return tables.estimated(results.get(metric))


def _against(study: StudyResults, configurations: Sequence[Results], compared: Sequence[Difference], base: str) -> str:
    """Lay out the paired differences of the macro AUROC."""
    if base not in (r.loss for r in configurations):
        return f"There are no results of {base} with this model, so that no loss is compared with it."
    if not compared:
        return ""
    rows = [
        [
            d.loss,
            tables.signed(d.estimate.value),
            tables.signed_interval(d.estimate),
            *(tables.probability(p) for p in (d.p, d.p_holm, d.tost_p_holm)),
            f"differ, but by less than {d.margin:g}" if d.apart and d.equal else d.verdict,
        ]
        for d in compared
    ]
    heads = ["Loss", f"Loss minus {base}", study.interval_name, "p", "p (Holm)", "p of equality (Holm)", "Verdict"]
    return join(
        f"### {configurations[0].model}: against {base}",
        "Test macro AUROC, means over seeds, paired on the same draws of patients.",
        tables.table(heads, rows, "lrrrrrl"),
        tables.reasons((d.loss, "difference", d.estimate) for d in compared),
        _failures(configurations),
    )


def _failures(configurations: Sequence[Results]) -> str:
    """Say which of the means contain trainings that learned nothing."""
    seeds = {r.loss: failed(r) for r in configurations if failed(r)}
    if not seeds:
        return ""
    n = sum(map(len, seeds.values()))
    named = prose.listing(f"{loss} ({prose.seeds(of)})" for loss, of in seeds.items())
    verb = "counts" if n == 1 else "count"
    return (
        f"{prose.count('training', n)} that learned nothing {verb} in these means: {named}. A difference that contains "
        "one shows this failure before anything else."
    )


def _classes(
    study: StudyResults, model: str, configurations: Sequence[Results], compared: Sequence[Difference], base: str
) -> str:
    """Lay out the paired differences of every class, a loss a column; those that survive Holm are bold."""
    if not compared:
        return ""
    found = {(d.group, d.loss): d for d in compared}
    losses = list(dict.fromkeys(d.loss for d in compared))
    wide = len(losses) > _FULL_INTERVALS
    rows = []
    for name in study.classes:
        cells = (_class_cell(found[name, loss], wide) for loss in losses)
        rows.append([name, tables.whole(configurations[0].get("auroc", name).n_positive), *cells])
    form = f"half the width of the {study.interval_name}, which is symmetric," if wide else study.interval_name
    return join(
        f"### {model}: classes",
        f"Test AUROC, loss minus {base}, with {form} in brackets; without an interval there is no test. "
        f"{_classes_apart(compared)}",
        tables.table(["Class", "n positive", *losses], rows, "l" + "r" * (1 + len(losses))),
        tables.reasons((d.group, d.loss, d.estimate) for d in compared),
    )


def _classes_apart(compared: Sequence[Difference]) -> str:
    """Say in which classes losses differ from the baseline, within one model."""
    n, apart = sum(d.tested for d in compared), [d for d in compared if d.apart]
    if not n:
        return "No class could be tested."
    if not apart:
        which = {1: "the one comparison here is", 2: "both comparisons here are"}.get(
            n, f"all {n} comparisons here are"
        )
        return f"After Holm's correction {which} within noise."
    named = prose.listing(
        f"{prose.readable(d.group)} ({d.loss} {'above' if d.estimate.value > 0 else 'below'})" for d in apart
    )
    named = f": {named}" if len(apart) <= _NAMED else ""
    some = f"{len(apart)} of {n} comparisons here {'shows' if len(apart) == 1 else 'show'}"
    which = "the one comparison here shows" if n == 1 else some
    rest = "; the rest is within noise" if len(apart) < n else ""
    return f"After Holm's correction {which} a difference (bold){named}{rest}."


def _class_cell(difference: Difference, wide: bool) -> str:
    estimate = difference.estimate
    text = tables.signed(estimate.value)
    if math.isfinite(estimate.low):
        half = (estimate.high - estimate.low) / 2
        text += f" ({tables.number(half)})" if wide else f" {tables.signed_interval(estimate)}"
    elif math.isfinite(estimate.value):
        text += f" ({tables.DASH})" if wide else f" [{tables.DASH}]"
    return f"**{text}**" if difference.apart else text


def _method(study: StudyResults, base: str, compared: Sequence[Difference], by_class: Sequence[Difference]) -> str:
    lines = ["Losses are compared within a model only: between models more than the loss changes."]
    if study.params is None:
        lines.append("Differences are not tested, since the table holds no predictions; intervals are no test.")
    else:
        thresholds = ["the thresholds"] if study.task == "multilabel" else []
        chosen = prose.listing(["the epoch of every training", *thresholds, f"the loss marked {_CHOSEN}"])
        lines += [
            _DECIDED[study.task],
            f"Chosen on the validation part: {chosen}. The test part is scored and chooses nothing.",
            f"Intervals: {study.interval_name} from {study.params.evaluate.bootstrap:,} bootstrap draws of whole "
            "patients; that of a mean over seeds takes these seeds as given. SD is over training seeds (n − 1).",
            "Brier score, ECE, and log-loss judge the probabilities as trained, before any scaling: a loss that is "
            "not made for probabilities is at a disadvantage there, which says nothing about how it ranks.",
        ]
    n, tested = (sum(d.tested for d in family) for family in (by_class, compared))
    if tested:
        lines.append(_correction(base, tested, n))
        lines += _scope(compared)
        lines.append(
            f'"As good as equal" means that a difference of {_margin(compared):g} or more, either way, is refuted (two '
            'one-sided tests, corrected likewise). "Within noise" means that neither a difference nor equality is '
            "shown; with more patients or seeds it may become either. The intervals are of single comparisons, not "
            "corrected for their number: one that leaves out 0 is no verdict."
        )
    return join("## How the numbers were made", "\n".join(f"- {line}" for line in lines))


def _margin(compared: Sequence[Difference]) -> float:
    return next(d.margin for d in compared if d.tested)


def _correction(base: str, tested: int, of_classes: int) -> str:
    text = (
        "p is the two-sided one of the paired difference; p of equality, small where a difference of the margin or "
        f"more is refuted, is adjusted likewise. Holm's correction is for this page: every loss against {base} within "
        f"every model, {prose.count('comparison', tested)} of macro AUROC"
    )
    text += f" and, apart, {prose.count('comparison', of_classes)} of single classes" if of_classes else ""
    return f"{text}. The first page corrects for all pairs of recipes, so that a p (Holm) there is another number."


def _scope(compared: Sequence[Difference]) -> list[str]:
    """Say what the error of a difference counts."""
    lines = []
    if vary := {d.loss for d in compared if d.tested and d.seeds == "vary"}:
        lines.append("The error of a difference counts the spread over training seeds besides the sample of patients.")
    if fixed := [f"{d.loss} within {d.model}" for d in compared if d.tested and d.seeds == "fixed"]:
        which = f"of {prose.listing(fixed)} " if vary else ""
        lines.append(
            f"The error {which}counts the sample of patients alone, because a loss was trained under one seed: these "
            "verdicts are about these trainings, not about other seeds."
        )
    return lines


def _draw(
    study: StudyResults, models: dict[str, list[Results]], base: str, compared: Sequence[Difference], path: Path
) -> Path | None:
    found = {(d.model, d.loss): d for d in compared}
    panels = []
    for name, configurations in models.items():
        if len(configurations) < 2:
            continue
        chosen, lines = highest(configurations), []
        for r in configurations:
            label = f"{r.loss} {_CHOSEN}" if chosen is not None and r.key == chosen.key else r.loss
            label += f" {_FAILED}" if failed(r) else ""
            d = found.get((name, r.loss))
            of = (d.estimate, d.verdict) if d else ()
            lines.append(figures.Line(label, r.get("auroc"), r.values("auroc"), *of))
        middle = next((r.get("auroc").value for r in configurations if r.loss == base), math.nan)
        panels.append(figures.Panel(name, tuple(lines), middle))
    return figures.forest(
        panels,
        path,
        baseline=base,
        margin=_margin(compared) if any(d.tested for d in compared) else None,
        interval_name=study.interval_name,
        keys={_CHOSEN: "best on validation", _FAILED: "a training learned nothing"},
    )
