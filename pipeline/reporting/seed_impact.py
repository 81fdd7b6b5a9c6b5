"""A page a recipe: what the training seed changes, and whether that is more than noise."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.special import gammaincinv, stdtrit

from pipeline.reporting import prose, sections, tables
from pipeline.reporting.figures import seeds as figures
from pipeline.reporting.sections import LABELS, image, join
from pipeline.reporting.study import Results, StudyResults
from pipeline.study.files import write_text

DIGITS = 4
"""Decimals of the tables by seed; seeds that agree in all of them are tied."""

COLUMNS = {
    "multilabel": ("log_loss", "auroc", "average_precision", "f1", "mcc"),
    "multiclass": ("log_loss", "auroc", "average_precision", "accuracy", "balanced_accuracy", "f1", "mcc"),
}
_AVERAGED = ("auroc", "average_precision", "f1")


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write seeds/<model>-<loss>.md and its figures for every recipe into `folder`; return what was written."""
    written = []
    for results in study.configurations:
        pictures = folder / "figures"
        drawn = [
            figures.strip(results, study.classes, study.interval_name, pictures / f"seeds-{results.key}.png"),
            figures.roc_seeds(results, study.classes, pictures / f"roc-{results.key}.png"),
            figures.training_curves(results, pictures / f"curves-{results.key}.png"),
        ]
        page = folder / "seeds" / f"{results.key}.md"
        write_text(page, _page(study, results, [p is not None for p in drawn]) + "\n")
        written += [page, *(p for p in drawn if p is not None)]
    return written


def _page(study: StudyResults, results: Results, drawn: list[bool]) -> str:
    strip, roc, curves = drawn
    several = len(results.seeds) > 1
    summary = [*separation(study, results), *leads(study, results)]
    pictures = f"../figures/{{}}-{results.key}.png"
    return join(
        f"# {results.model} with {results.loss}: impact of the training seed",
        *sections.banner(study, results),
        f"{_setting(study, results)} [All recipes](../README.md)",
        "## Summary",
        "\n".join(f"- {line}" for line in summary),
        "## Overall, by seed",
        overall_table(study, results),
        join(
            "## AUROC by class and seed",
            class_seed_table(study, results),
            image("AUROC of every class, a mark a seed", pictures.format("seeds")) if strip else "",
        )
        if study.classes
        else "",
        join("## Best seed by class", best_table(study, results)) if several and study.classes else "",
        join("## Classes", _classes_intro(study, results), sections.class_table(study, results))
        if any(np.isfinite(results.get(m, c).value) for c in study.classes for m in ("average_precision", "f1"))
        else "",
        join("## ROC", image("ROC curves by seed and by class", pictures.format("roc"))) if roc else "",
        join(
            "## Training",
            _training_intro(results),
            image("Losses and validation AUROC by epoch", pictures.format("curves")),
        )
        if curves
        else "",
    )


def _setting(study: StudyResults, results: Results) -> str:
    n = len(results.seeds)
    if study.params is None:
        return f"{prose.capital(prose.count('seed', n))}: {', '.join(map(str, results.seeds))}."
    only = " Split, images and settings are the same; only the training seed differs." if n > 1 else ""
    return (
        f"{prose.capital(prose.count('training', n))} ({prose.seeds(results.seeds)}), "
        f"scored on the test part, {sections.sample(study, results)}.{only}"
    )


def label(metric: str, loss: str, task: str = "multilabel") -> str:
    """Head of a column by seed."""
    if metric == "loss":
        return f"Loss ({loss})"
    average = "Avg " if task == "multilabel" else "Macro "
    return f"{average}{LABELS[metric]}" if metric in _AVERAGED else LABELS[metric]


def overall_table(study: StudyResults, results: Results) -> str:
    """Lay out the whole test part, a seed a row, then mean ± SD and the interval of the mean."""
    metrics = [m for m in ("loss", *COLUMNS[study.task]) if np.isfinite(results.values(m)).any()]
    trained = bool(results.runs)
    labels = {m: label(m, results.loss, study.task) for m in metrics}
    heads = ["Seed", *labels.values(), *(["Best epoch"] if trained else [])]
    rows = []
    for seed in results.seeds:
        run = results.run(seed)
        epochs = [f"{tables.whole(run.get('best_epoch'))} of {tables.whole(run.get('epochs'))}"] if trained else []
        rows.append([str(seed), *(tables.number(results.get(m, None, seed).value, DIGITS) for m in metrics), *epochs])
    blank = [""] if trained else []
    if len(results.seeds) > 1:
        means = [tables.mean_sd(results.get(m).value, results.sd(m), DIGITS) for m in metrics]
        rows.append(["**Mean ± SD**", *means, *blank])
    rows.append(
        [f"**{_interval_of(study, results)}**", *(tables.interval(results.get(m), DIGITS) for m in metrics), *blank]
    )
    notes = []
    if "f1" in metrics and study.params is None:
        notes.append("How the thresholds behind F1 were chosen is not known from the table.")
    elif study.task == "multilabel" and {"f1", "mcc"} & set(metrics):
        notes.append("F1 and MCC use one threshold a class, chosen on the validation part.")
    if "loss" in metrics:
        notes.append("The loss is comparable between these seeds, not with other losses.")
    body = tables.table(heads, rows, "l" + "r" * (len(heads) - 1))
    return join(body, " ".join(notes), tables.reasons(("the mean", labels[m], results.get(m)) for m in metrics))


def _interval_of(study: StudyResults, results: Results) -> str:
    return f"{study.interval_name} of the mean" if len(results.seeds) > 1 else study.interval_name


def class_seed_table(study: StudyResults, results: Results) -> str:
    """Lay out test AUROC, a class a row and a seed a column."""
    several = len(results.seeds) > 1
    rows, noted = [], []
    for name in study.classes:
        mean = results.get("auroc", name)
        noted.append((name, "AUROC", mean))
        row = [name, tables.whole(mean.n_positive)]
        row += [tables.number(results.get("auroc", name, seed).value, DIGITS) for seed in results.seeds]
        row += [tables.mean_sd(mean.value, results.sd("auroc", name), DIGITS)] if several else []
        rows.append([*row, tables.interval(mean, DIGITS)])
    spread = ["Mean ± SD"] if several else []
    heads = [
        "Class",
        "n positive",
        *(f"Seed {s}" for s in results.seeds),
        *spread,
        _interval_of(study, results),
    ]
    return join(tables.table(heads, rows, "l" + "r" * (len(heads) - 1)), tables.reasons(noted))


def best_seeds(results: Results, name: str | None) -> list[int]:
    """Return the seeds with the highest AUROC as printed: more than one where they are tied, none without a value."""
    printed = {s: round(results.get("auroc", name, s).value, DIGITS) for s in results.seeds}
    known = {s: v for s, v in printed.items() if math.isfinite(v)}
    return [s for s, v in known.items() if v == max(known.values())] if known else []


def best_table(study: StudyResults, results: Results) -> str:
    """Lay out which seed leads in which class, beside what is needed to judge it."""
    judged = {} if results.spread is None else {str(r["class"]): r for r in results.spread.to_dict("records")}
    rows = []
    for name in study.classes:
        values = results.values("auroc", name)
        values = values[np.isfinite(values)]
        best = best_seeds(results, name)
        row = [name, "/".join(map(str, best)) or tables.DASH]
        row += [tables.number(values.max() if len(values) else math.nan, DIGITS)]
        row += [tables.number(np.ptp(values) if len(values) > 1 else math.nan, DIGITS)]
        row += [tables.number(results.sd("auroc", name), DIGITS)]
        if judged:
            test = judged.get(name, {})
            row += [tables.number(test.get("sampling_se"), DIGITS), tables.probability(_float(test.get("p_holm")))]
            row += [_judgement(test)]
        rows.append(row)
    heads = ["Class", "Best seed", "Highest AUROC", "Range", "SD of the seeds"]
    heads += ["SE of the test set", "p (Holm)", "Seeds"] if judged else []
    caption = f"Seeds that agree in {DIGITS} decimals share a place."
    untested = {}
    for name in study.classes:
        test = judged.get(name, {})
        if test and not math.isfinite(_float(test.get("p_holm"))):
            untested.setdefault(_text(test.get("note")) or "not tested", []).append(name)
    missing = [f"- {tables.DASH} {prose.listing(names)}: {tables.escape(note)}." for note, names in untested.items()]
    align = "lcrrr" + ("rrl" if judged else "")
    return join(caption, tables.table(heads, rows, align), "\n".join(missing))


def _judgement(test: dict[str, object]) -> str:
    if not math.isfinite(_float(test.get("p_holm"))):
        return tables.DASH
    return "differ" if _true(test.get("distinguishable")) else "within noise"


def _float(value: object) -> float:
    return math.nan if value is None or value == "" else float(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _true(value: object) -> bool:
    return str(value).lower() in ("true", "1", "1.0")


def leads(study: StudyResults, results: Results) -> list[str]:
    """Name the classes in which each seed has the highest AUROC; ties are named with whom."""
    if len(results.seeds) < 2 or not study.classes:
        return []
    best = {name: best_seeds(results, name) for name in study.classes}
    total = sum(bool(b) for b in best.values())
    lines = []
    for seed in results.seeds:
        alone = [prose.readable(c) for c, b in best.items() if b == [seed]]
        shared: dict[tuple[int, ...], list[str]] = {}
        for name, tied in best.items():
            if seed in tied and len(tied) > 1:
                shared.setdefault(tuple(s for s in tied if s != seed), []).append(prose.readable(name))
        ties = prose.listing(
            f"with {prose.seeds(others)} in {prose.listing(names)}" for others, names in shared.items()
        )
        share = f"in {len(alone)} of {prose.count('class', total)}" if alone else "in no class alone"
        text = f"Seed {seed} has the highest AUROC {share}"
        text += f": {prose.listing(alone)}" if alone else ""
        lines.append(text + (f"; it ties {ties}." if ties else "."))
    return lines


def separation(study: StudyResults, results: Results) -> list[str]:
    """Say whether the spread over seeds is more than noise, and claim no more than was tested."""
    n = len(results.seeds)
    if n < 2:
        return [f"{prose.capital(prose.count('seed', n))}: how much the training seed changes cannot be told."]
    sd, mean = results.sd("auroc"), results.get("auroc")
    lines = []
    if math.isfinite(sd):
        text = f"Macro AUROC: {tables.mean_sd(mean.value, sd, DIGITS)} (mean ± SD of {n} seeds)."
        if not any(run.get("collapsed") for run in results.runs):  # one failure among successes is nothing normal
            text += f" {_seed_intervals(mean.value, sd, n)}"
        lines.append(text)
    tested = _tested(study, results, sd) if results.spread is not None else _from_intervals(study, results, sd)
    return lines + tested + _suits(results)


def _suits(results: Results) -> list[str]:
    """Say whether a seed suits a class: by exchanging seeds, by halving the patients, and what choosing flatters."""
    if results.suits is None:
        return []
    classes = results.suits[results.suits["class"] != "macro"]
    tested = classes[np.isfinite(classes["p_holm"])]
    if tested.empty:
        return ["No class has enough patients to ask whether a seed suits it."]
    suited = [prose.readable(name) for name in tested["class"][[_true(v) for v in tested["suits"]]]]
    p = tables.probability(float(tested["p_holm"].min()))
    lines = [
        f"Exchanging the seeds' predictions patient by patient, the range over seeds is larger than exchange alone "
        f"makes it in {prose.listing(suited)} (smallest adjusted p {p})."
        if suited
        else f"Exchanging the seeds' predictions patient by patient gives ranges as large in every class (smallest "
        f"adjusted p {p}): **no seed suits a class.**"
    ]
    if results.interaction is not None and math.isfinite(_float(results.interaction["p"])):
        p_all = tables.probability(float(results.interaction["p"]))
        lines[-1] += f" Over all classes together the interaction of seed and class has p {p_all}."
    halved = classes[np.isfinite(classes["replication"])]
    if not halved.empty:
        again, chance = float(halved["replication"].mean()), float(halved["chance"].iloc[0])
        gap = float(halved["winners_gap"].mean())
        lines.append(
            f"When the patients are halved at random, the best seed of one half is the best of the other in "
            f"{100 * again:.0f} % of cases (chance: {100 * chance:.0f} %; mean of "
            f"{prose.count('class', len(halved))}), and its AUROC there is {tables.number(abs(gap), DIGITS)} "
            f"{'lower' if gap >= 0 else 'higher'} than on the half that chose it."
        )
    return lines


def _seed_intervals(mean: float, sd: float, n: int) -> str:
    """Say what `n` seeds allow to be said of all seeds, the test set as it is."""
    low, high = (sd * math.sqrt((n - 1) / (2 * gammaincinv((n - 1) / 2, q))) for q in (0.975, 0.025))
    half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    means, sds = _range(mean - half, min(mean + half, 1.0)), _range(low, high)
    return (
        f"On this test set these seeds place the mean over all seeds in {means} and their SD in {sds} "
        "(95 % t and χ² intervals, which take seeds as normally distributed)."
    )


def _range(low: float, high: float) -> str:
    return f"[{tables.number(low, DIGITS)}, {tables.number(high, DIGITS)}]"


def compare(sd: float, se: float) -> str:
    """Set the spread over seeds against the sampling error of the test set."""
    spread = f"the spread over seeds (SD {tables.number(sd, DIGITS)})"
    error = f"the sampling error of the test set (SE {tables.number(se, DIGITS)})"
    if sd < 0.5 * 10**-DIGITS:
        return f"{spread} is too small to be seen beside {error}"
    ratio = se / sd
    if ratio >= 1.05:
        return f"{spread} is {ratio:.1f} times smaller than {error}"
    if ratio <= 1 / 1.05:
        return f"{spread} is {1 / ratio:.1f} times larger than {error}"
    return f"{spread} is as large as {error}"


def _tested(study: StudyResults, results: Results, sd: float) -> list[str]:
    spread = results.spread
    lines = []
    macro = next(iter(spread[spread["class"] == "macro"].to_dict("records")), {})
    if math.isfinite(se := _float(macro.get("sampling_se"))) and math.isfinite(sd):
        lines.append(f"{prose.capital(compare(sd, se))}.")
    if math.isfinite(p_macro := _float(macro.get("p_holm"))):
        found = (
            "at least one pair of seeds differs"
            if _true(macro["distinguishable"])
            else "no pair of seeds can be told apart"
        )
        p_text = tables.probability(p_macro)
        lines.append(f"In macro AUROC {found} (seeds paired on the same patients, smallest adjusted p {p_text}).")
    classes = spread[spread["class"].isin(study.classes)]
    p = classes["p_holm"].to_numpy(float)
    tested = classes[np.isfinite(p)]
    apart = tested[[_true(v) for v in tested["distinguishable"]]]
    if tested.empty:
        lines.append("In no class could the seeds be tested against each other, so none can be called better.")
    elif apart.empty:
        where = f"any of the {len(tested)} classes tested" if len(tested) > 1 else "the one class tested"
        what = "a seed for a class" if _true(macro.get("distinguishable")) else "a seed"
        lines.append(
            f"**After Holm correction no pair of seeds can be told apart in {where} (smallest adjusted p "
            f"{tables.probability(float(np.nanmin(p)))}): choosing {what} by this table would be choosing noise.**"
        )
    else:
        named = prose.listing(
            f"{prose.readable(c)} (p {tables.probability(q)})"
            for c, q in zip(apart["class"], apart["p_holm"].astype(float))
        )
        rest = len(tested) - len(apart)
        text = (
            f"**After Holm correction seeds differ in {len(apart)} of {prose.count('class', len(tested))}: {named}.**"
        )
        if rest:
            others = prose.count("class", rest) if rest > 1 else "class"
            text += f" In the other {others} the order of the seeds is within noise."
        text += (
            " That sets these trained networks apart, not their seeds: trained once more on another machine or another "
            "draw of patients, the same seed gives another network."
        )
        lines.append(text)
    if len(tested) < len(classes) and not tested.empty:
        lines.append(f"Not tested: {prose.listing(prose.readable(c) for c in classes['class'][~np.isfinite(p)])}.")
    return lines


def _from_intervals(study: StudyResults, results: Results, sd: float) -> list[str]:
    """Derive what a table without a test allows: intervals of single seeds give the sampling error."""
    unknown = (
        "**Whether the seeds differ by more than noise cannot be told from this table**: that needs "
        "the predictions of every seed, image by image."
    )
    singles = [results.get("auroc", None, seed) for seed in results.seeds]
    lines = []
    widths = [e.high - e.low for e in singles if math.isfinite(e.high) and math.isfinite(e.low)]
    if len(widths) == len(singles) and math.isfinite(sd):
        se = float(np.mean(widths)) / (2 * 1.959964)
        lines.append(f"{prose.capital(compare(sd, se))}, which is taken from the seeds' intervals as 95 % intervals.")
    known = {c: [results.get("auroc", c, s) for s in results.seeds] for c in study.classes}
    known = {c: e for c, e in known.items() if all(math.isfinite(x.low) and math.isfinite(x.high) for x in e)}
    if not known:
        return [
            *lines,
            f"{unknown} The table has no intervals by class either."
            if lines
            else f"{unknown} The table has no intervals either.",
        ]
    overlap = [c for c, e in known.items() if all(a.low <= b.high and b.low <= a.high for a, b in combinations(e, 2))]
    lines.append(
        f"The intervals of all seeds overlap in {len(overlap)} of {prose.count('class', len(known))}. "
        "Overlap is no test, as the seeds were scored on the same images."
    )
    return [*lines, unknown]


def _classes_intro(study: StudyResults, results: Results) -> str:
    what = (
        f"Mean of {prose.count('seed', len(results.seeds))}"
        if len(results.seeds) > 1
        else prose.capital(prose.seeds(results.seeds))
    )
    return f"{what}, test part, {study.interval_name} in brackets."


def _training_intro(results: Results) -> str:
    return (
        "The marker is the epoch with the best validation AUROC, whose weights are scored. A curve that ends before "
        "the others was stopped early."
    )
