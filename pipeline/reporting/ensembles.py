"""The page of the ensembles: what was combined, on what it was fitted, and whether it differs from a single model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.ensembling.combiners import LABELS as FITTED_ON_LABELS
from pipeline.ensembling.fitting import FOLDS, PENALTIES
from pipeline.reporting import prose, sections, tables
from pipeline.reporting.figures import ensembles as figures
from pipeline.reporting.sections import LABELS, RANKING, image, join
from pipeline.reporting.study import Estimate, Results, StudyResults, highest
from pipeline.study.files import write_text

DECIDED = {"multilabel": ("f1", "mcc"), "multiclass": ("accuracy", "balanced_accuracy", "mcc")}
"""Metrics of decisions that the page shows."""
_HOW = {
    "multilabel": "Means over classes, each class decided at the threshold with the highest F1 on validation.",
    "multiclass": "The class with the highest probability is the decision.",
}
"""How they are decided, by task."""
METHODS = {
    "mean": "the mean of the members' probabilities",
    "mean_logit": "the mean of the members' logits (single-label: of their log-probabilities)",
    "rank_mean": "class by class, the mean of an image's ranks among the members' validation scores",
    "vote": "the members' decisions, counted; the mean probability breaks ties",
    "slsqp": "the mean probability under the weights of least log-loss, one weight a member",
    "greedy": "the mean probability of members added one by one for the highest AUROC, one weight a member",
    "stack": "a penalised logistic regression on the members' logits",
    "features": "a new linear head on the members' joined features",
}
"""What each method of `pipeline.ensemble` and `pipeline.fuse` combines."""
_NEGLIGIBLE = 0.0005
"""Weight that is printed as 0.000."""
_NAMED = 4
"""Ties and classes that a sentence names one by one."""


class Difference(NamedTuple):
    """A tested difference in test macro AUROC, ensemble minus single, as comparisons.csv has it but for the sign."""

    ensemble: str
    reference: str
    estimate: Estimate
    p: float
    p_holm: float
    differs: bool
    equivalent: bool
    margin: float
    note: str

    @property
    def verdict(self) -> str:
        """What may be said: "above" and "below" only where the corrected test found a difference."""
        if not math.isfinite(self.p_holm):
            return "not tested"
        if self.differs:
            small = f", by less than {self.margin:g}" if self.equivalent else ""
            return f"{'above' if self.estimate.value > 0 else 'below'}{small}"
        return "as good as equal" if self.equivalent else "within noise"


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write ensembles.md and its figure into `folder`; return what was written, nothing for a study without any."""
    if not listed(study):
        return []
    found = differences(study)
    page, picture = folder / "ensembles.md", folder / "figures" / "ensembles.png"
    first = _single_recipe(study, found)
    apart = {d.ensemble: d.verdict for d in found if first is not None and d.reference == first.key}
    drawn = figures.forest(study, _grouped(study), _references(study, found), apart, _chosen(study), picture)
    text = join(
        f"# Ensembles: {study.title}",
        *sections.banner(study),
        "An ensemble is one prediction made of several trainings. [All results](README.md)",
        "## In short",
        "\n".join(f"- {line}" for line in verdict(study, found)),
        image("Test macro AUROC of every ensemble beside the single recipe and training", f"figures/{picture.name}")
        if drawn
        else "",
        "## Every ensemble",
        _ranking(study),
        _decisions(study),
        _compared(study, found),
        _methods(study),
        _members(study),
        _skipped(study),
    )
    write_text(page, text + "\n")
    return [page, *([drawn] if drawn else [])]


def listed(study: StudyResults) -> tuple[Results, ...]:
    """Return every ensemble; of a bare table those that it has rows of."""
    return study.every_ensemble or study.ensembles


def differences(study: StudyResults) -> list[Difference]:
    """Read the family "ensembles" of the comparisons, each turned so that it is ensemble minus single."""
    if study.comparisons is None:
        return []
    table, keys = study.comparisons, {e.key for e in listed(study)}
    found = []
    for row in table[table["family"] == "ensembles"].to_dict("records"):
        turned = row["first"] not in keys
        ensemble, reference = (row["second"], row["first"]) if turned else (row["first"], row["second"])
        if ensemble not in keys:
            continue
        note = row["note"] if isinstance(row.get("note"), str) else ""
        estimate = Estimate(row["difference"], row["ci_low"], row["ci_high"], note=note)
        estimate = estimate.turned() if turned else estimate
        judged = bool(row["distinguishable"]), bool(row["equivalent"]), float(row["margin"])
        found.append(Difference(ensemble, reference, estimate, row["p"], row["p_holm"], *judged, note))
    return found


def _chosen(study: StudyResults) -> Results | None:
    """Return the ensemble that validation chooses, the same as on the first page."""
    return study.chosen_ensemble or highest(listed(study))


def _single_recipe(study: StudyResults, found: Sequence[Difference]) -> Results | None:
    """Return the recipe that ensembles were compared with: the one that validation chooses, where it is among them."""
    references = {d.reference for d in found}
    if study.chosen is not None and (not references or study.chosen.key in references):
        return study.chosen
    return next((r for r in study.configurations if r.key in references), None)


def _trainings(study: StudyResults) -> dict[str, tuple[Results, int]]:
    """Return every training by the name that comparisons.csv gives it."""
    return {f"{r.key} seed {seed}": (r, seed) for r in study.configurations for seed in r.seeds}


def _best_training(study: StudyResults) -> str | None:
    """Name the training with the highest validation AUROC, the first of those that tie."""
    values = {n: r.get("auroc", None, seed, "val").value for n, (r, seed) in _trainings(study).items()}
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    return max(known, key=known.__getitem__) if known else None


def _references(study: StudyResults, found: Sequence[Difference]) -> list[tuple[str, Estimate]]:
    """Return what the ensembles are set against in the figure: the single recipe, then the single training."""
    configuration, trained = _single_recipe(study, found), _trainings(study)
    single = next((d.reference for d in found if d.reference in trained), None)
    result = (
        [(f"{configuration.key}, {_seeds(configuration)}", configuration.get("auroc"))]
        if configuration is not None
        else []
    )
    if single is not None:
        results, seed = trained[single]
        result.append((single, results.get("auroc", None, seed)))
    return result


def _seeds(results: Results) -> str:
    n = len(results.seeds)
    return f"seed {results.seeds[0]} alone" if n == 1 else f"mean of {n} seeds" if n else "mean over its seeds"


def _role(study: StudyResults, reference: str) -> str:
    """Say what a reference is, and no more than is known of why it is one."""
    if study.chosen is not None and reference == study.chosen.key:
        return f"the single recipe that validation chooses ({_seeds(study.chosen)})"
    if reference == _best_training(study):
        return "the single training with the highest validation AUROC"
    return "a single training" if reference in _trainings(study) else "a single recipe"


# --- in short ----------------------------------------------------------------------------------------------------


def verdict(study: StudyResults, found: Sequence[Difference]) -> list[str]:
    """Say how many ensembles there are, which one validation chooses, and what the paired tests say of it."""
    return [_extent(study), _choice(study), *_tested(study, found)]


def _extent(study: StudyResults) -> str:
    number, about = len(listed(study)), study.described
    if not about:
        made = "what it is made of" if number == 1 else "what they are made of"
        return f"The table holds {prose.count('ensemble', number)}; {made} is not known."
    methods, sets = (list(dict.fromkeys(of[key] for of in about.values())) for key in ("method", "set"))
    parts = prose.count("way", len(methods)) + " to combine predictions", prose.count("set", len(sets))
    product = len(methods) * len(sets) == number
    of = f"{parts[0]} × {parts[1]} of trainings" if product else f"{parts[0]}, {parts[1]} of trainings"
    members = {_name(m) for d in about.values() for m in d["members"]}
    made = prose.count("training", len(members))
    return f"{prose.capital(prose.count('ensemble', number))} ({of}) of {made} in all."


def _choice(study: StudyResults) -> str:
    best, number = _chosen(study), len(listed(study))
    if best is None:
        return "No ensemble has a validation AUROC, so none is chosen: choosing one by the test part would flatter it."
    value = tables.number(best.get("auroc", part="val").value)
    same = [
        e.loss for e in listed(study) if e.key != best.key and tables.number(e.get("auroc", part="val").value) == value
    ]
    tied = f" {_have(same)} the same validation value to three decimals." if same else ""
    how = f"the highest of {number}" if number > 1 else "the only one"
    reached = sections.quoted(study, best.get("auroc"))
    return (
        f"Validation chooses **{best.loss}** (validation macro AUROC {value}, {how}); its test macro AUROC "
        f"is {reached}, "
        f"{sections.sample(study, best)}.{tied}"
    )


def _have(names: list[str]) -> str:
    shown = prose.listing(names) if len(names) <= _NAMED else f"{len(names)} others"
    return f"{shown} {prose.plural('has', len(names))}"


def _tested(study: StudyResults, found: Sequence[Difference]) -> list[str]:
    if not found:
        return [
            "Whether an ensemble differs from a single model is not tested in this report: treat it as within noise."
        ]
    best, lines = _chosen(study), []
    shown = [name for name, _ in _by_reference(found) if _leads(study, found, name)]
    for name in shown:
        rows = [d for d in found if d.reference == name]
        own = next((d for d in rows if best is not None and d.ensemble == best.key), None)
        others = [d for d in rows if d is not own]
        text = f"Against **{name}**, {_role(study, name)}"
        text += f", {_said(own)}." if own is not None else "."
        text += f" {_others(others, own is not None)}" if others else ""
        lines.append(text)
    corrected = f"p is corrected after Holm for all {prose.count('comparison', len(found))} below"
    return [*lines, f"{corrected}. No ensemble is picked out by its test value.", *_cost(study)]


def _cost(study: StudyResults) -> list[str]:
    """Say how many networks the chosen ensemble runs for an image: what its score is paid with."""
    best = _chosen(study)
    members = study.described.get(best.loss, {}).get("members", []) if best is not None else []
    if not members:
        return []
    used = [m for m in members if m["weight"] is None or m["weight"] >= _NEGLIGIBLE]
    spared = len(members) - len(used)
    rest = f"; the other {spared} of its members {prose.plural('has', spared)} a weight below {_NEGLIGIBLE:g}"
    needs = prose.count("network", len(used))
    return [f"{best.loss} runs {needs} for every image{rest if spared else ''}; a single training runs 1 network."]


def _leads(study: StudyResults, found: Sequence[Difference], name: str) -> bool:
    configuration = _single_recipe(study, found)
    return name in _trainings(study) or (configuration is not None and name == configuration.key)


def _said(own: Difference) -> str:
    size = f"{tables.signed(own.estimate.value)} {tables.signed_interval(own.estimate)}"
    if own.verdict == "not tested":
        return f"it is not tested ({own.note or 'no p value'})"
    p = f"p {tables.probability(own.p_holm)}"
    if own.differs:
        return f"it is **{own.verdict}**: {size}, {p}"
    if own.equivalent:
        return f"the two are **as good as equal**: {size}, and {own.margin:g} or more, either way, is refuted"
    return f"the difference of {size} is **within noise**, {p}"


def _others(rows: Sequence[Difference], besides: bool) -> str:
    """Say what was found of the ensembles that are not chosen."""
    if len(rows) == 1:
        return f"{'The other one' if besides else 'The only one'} is {rows[0].verdict}."
    return f"Of the {len(rows)}{' others' if besides else ''}, {_tally(rows)}."


def _tally(rows: Iterable[Difference]) -> str:
    """Count the verdicts, in a fixed order."""
    kinds = [d.verdict.split(",")[0] for d in rows]
    order = ("above", "below", "as good as equal", "within noise", "not tested")
    return prose.listing(f"{kinds.count(k)} {prose.plural('is', kinds.count(k))} {k}" for k in order if k in kinds)


def _by_reference(found: Sequence[Difference]) -> list[tuple[str, list[Difference]]]:
    names = dict.fromkeys(d.reference for d in found)
    return [(name, [d for d in found if d.reference == name]) for name in names]


# --- tables ------------------------------------------------------------------------------------------------------


def _marked(study: StudyResults, results: Results) -> str:
    best = _chosen(study)
    return f"**{results.loss}** ★" if best is not None and results.key == best.key else results.loss


def _ranking(study: StudyResults) -> str:
    shown, about = listed(study), study.described
    metrics = [m for m in RANKING if any(math.isfinite(e.get(m).value) for e in shown)]
    rows = []
    for e in shown:
        of = about.get(e.loss, {})
        known = [str(len(of["members"])), of["fitted_on"]] if of else [tables.DASH] * 2
        values = [tables.number(e.get("auroc", part="val").value), *(tables.estimated(e.get(m)) for m in metrics)]
        rows.append([_marked(study, e), *(known if about else []), *values])
    heads = ["Ensemble", *(["Members", "Fitted on"] if about else []), "Validation AUROC"]
    heads += [f"Test {LABELS[m]} [{study.interval_name}]" for m in metrics]
    body = tables.table(heads, rows, ("lrl" if about else "l") + "r" * (1 + len(metrics)))
    noted = tables.reasons((e.loss, LABELS[m], e.get(m)) for e in shown for m in metrics)
    lines = [f"Macro averages over the classes. Test part, {sections.sample(study, shown[0])}; validation part, "]
    lines[0] += f"{sections.sample(study, shown[0], 'val')}."
    if _chosen(study) is not None:
        lines.append("★ has the highest validation AUROC; the test part had no say in it.")
    if about:
        lines.append("Validation values have no interval: they chose. What they rest on stands under Methods.")
    return join(" ".join(lines), body, noted)


def _decisions(study: StudyResults) -> str:
    columns = {"Ensemble": lambda e: _marked(study, e)}
    return sections.decisions(study, listed(study), DECIDED[study.task], _HOW, columns, lambda e: e.loss)


def _compared(study: StudyResults, found: Sequence[Difference]) -> str:
    if not found:
        return ""
    blocks = [
        "## Against single models",
        "Test macro AUROC, ensemble minus single, scored on the same bootstrap draws of patients. "
        f"p (Holm) is corrected for all {prose.count('comparison', len(found))} of this section, and decides; the "
        "intervals are not widened for their number, so that one may leave out 0 where p (Holm) finds no difference. "
        f'"As good as equal" means that a difference of {found[0].margin:g} or more, either way, is refuted (two '
        "one-sided tests, corrected likewise). The trainings are taken as they are: the tests say nothing about the "
        "same ensembles of other seeds. What ensembles differ by among themselves is not tested.",
    ]
    names = {e.key: _marked(study, e) for e in listed(study)}
    heads = ["Ensemble", "Difference", study.interval_name, "p", "p (Holm)", "Verdict"]
    for name, rows in _by_reference(found):
        lines = [
            [
                names[d.ensemble],
                tables.signed(d.estimate.value),
                tables.interval(d.estimate),
                tables.probability(d.p),
                tables.probability(d.p_holm),
                d.verdict,
            ]
            for d in rows
        ]
        value = _value_of(study, name)
        beside = f" Its test macro AUROC is {tables.estimated(value)}." if math.isfinite(value.value) else ""
        if name not in _trainings(study):
            beside += " That is what one training of it reaches on average, at the cost of one network."
        untested = [d for d in rows if d.verdict == "not tested"]
        why = {d.note or "its standard error is not known" for d in untested}
        blocks += [
            f"### Against {name}",
            f"{prose.capital(_role(study, name))}.{beside}",
            tables.table(heads, lines, "lrrrrl"),
            f"- {tables.DASH} not tested: {tables.escape('; '.join(sorted(why)))}." if untested else "",
        ]
    return join(*blocks)


def _value_of(study: StudyResults, reference: str) -> Estimate:
    if reference in (trained := _trainings(study)):
        results, seed = trained[reference]
        return results.get("auroc", None, seed)
    return next((r.get("auroc") for r in study.configurations if r.key == reference), Estimate())


# --- what was combined, and fitted on what -----------------------------------------------------------------------


def _methods(study: StudyResults) -> str:
    about = study.described
    if not about:
        return ""
    fitted = {of["method"]: of["fitted_on"] for of in about.values()}
    rows = [[name, METHODS.get(name, "not described here"), on] for name, on in fitted.items()]
    best = listed(study)[0]
    lines = [
        "What a method fits, it fits on what the table names, and never on the test part. Members are chosen by their "
        f"validation AUROC. The validation part: {sections.sample(study, best, 'val')}.{_rarest(study, best)}"
    ]
    if FITTED_ON_LABELS in fitted.values():
        lines.append(
            "Where validation labels are fitted, the validation AUROC is cross-fitted: the patients are split into "
            f"{FOLDS} groups, and each group is scored by a fit to the others, so that no weight was fitted to the "
            "labels that score it. Scores of different fits are then ranked together, which can lower that AUROC, "
            "most where a class has few positives."
        )
    lines.append(
        "All validation values are optimistic all the same: the same images chose epochs, members, and the ensemble "
        "marked ★. Only the test part tells what a combination is worth."
    )
    return join("## Methods", tables.table(["Method", "Combines", "Fitted on"], rows, "lll"), " ".join(lines))


def _rarest(study: StudyResults, results: Results) -> str:
    counts = {c: results.get("auroc", c, part="val").n_positive for c in study.classes}
    known = {c: n for c, n in counts.items() if math.isfinite(n)}
    if not known:
        return ""
    least = min(known.values())
    named = [prose.readable(c) for c, n in known.items() if n == least]
    positive = f"{int(least)} positive {prose.plural('image', int(least))}"
    if len(named) > _NAMED:
        return f" {len(named)} of its {prose.count('class', len(known))} have only {positive} each."
    each = " each" if len(named) > 1 else ""
    return (
        f" Its rarest {prose.plural('class', len(named))}, {prose.listing(named)}, "
        f"{prose.plural('has', len(named))} {positive}{each}."
    )


def _name(member: dict[str, Any]) -> str:
    return f"{member['model']}-{member['loss']} seed {member['seed']}"


def _grouped(study: StudyResults) -> dict[str, list[tuple[str, Results]]]:
    """Return the ensembles of each set, each by its method; a bare table has no sets, and names stand for methods."""
    groups: dict[str, list[tuple[str, Results]]] = {}
    for e in listed(study):
        of = study.described.get(e.loss)
        title = f"{of['set']}: {prose.count('training', len(of['members']))}" if of else ""
        groups.setdefault(title, []).append((of["method"] if of else e.loss, e))
    return groups


def _members(study: StudyResults) -> str:
    sets: dict[str, dict[str, dict[str, Any]]] = {}
    for name, of in study.described.items():
        sets.setdefault(of["set"], {})[name] = of
    if not sets:
        return ""
    intro = (
        "A table a set. Where a method has no column, it has no single number for a member: each counts the same, or "
        "what was fitted is described below the table."
    )
    return join("## Members and weights", intro, *(_one_set(study, name, of) for name, of in sets.items()))


def _one_set(study: StudyResults, name: str, ensembles: dict[str, dict[str, Any]]) -> str:
    members = {_name(m): m for of in ensembles.values() for m in of["members"]}
    weights = {of["method"]: {_name(m): m["weight"] for m in of["members"]} for of in ensembles.values()}
    weights = {method: by for method, by in weights.items() if any(w is not None for w in by.values())}
    collapsed = {f"{r.key} seed {seed}" for r, seed, _ in study.collapsed}
    rows = [
        [
            f"{member} (collapsed)" if member in collapsed else member,
            tables.number(of["val_auroc"]),
            *(tables.number(by.get(member)) for by in weights.values()),
        ]
        for member, of in members.items()
    ]
    if weights:
        rows.append(
            ["**Sum**", "", *(tables.number(math.fsum(w or 0.0 for w in by.values())) for by in weights.values())]
        )
    heads = ["Training", "Validation AUROC", *(f"Weight, {method}" for method in weights)]
    fitted = [(of["method"], text) for of in ensembles.values() if (text := _fitted(study, of))]
    return join(
        f"### {name}: {prose.count('training', len(members))}",
        tables.table(heads, rows, "l" + "r" * (len(heads) - 1)),
        "\n".join(f"- {method}: {tables.escape(text)}." for method, text in fitted),
    )


def _fitted(study: StudyResults, of: dict[str, Any]) -> str:
    """Describe in words what a method fitted besides weights; the empty string for nothing."""
    found: dict[str, Any] = of["parameters"]
    if "coefficients" in found:
        return _stack(study, found)
    if "thresholds" in found:
        values = [value for member in found["thresholds"] for value in member]
        return (
            f"{len(found['thresholds'])} × {len(found['thresholds'][0])} thresholds (members × classes) of highest F1, "
            f"{tables.number(min(values))} to {tables.number(max(values))}"
        )
    if "distinct_reference_scores" in found:
        counts = [n for member in found["distinct_reference_scores"] for n in member]
        return f"ranks among {_span(min(counts), max(counts))} distinct validation scores a member and class"
    if "features" in found:
        return (
            f"a head on {found['features']:,} features, trained with {found['loss']} at learning rate {found['lr']:g}; "
            f"validation chose epoch {found['best_epoch']}"
        )
    return f"{prose.listing(found)}, as in members.json" if found else ""


def _stack(study: StudyResults, found: dict[str, Any]) -> str:
    rows = found["coefficients"]
    values = [value for row in rows for value in row]
    penalty, ends = found["penalty"], {PENALTIES[0]: "strongest", PENALTIES[-1]: "weakest"}
    end = f", the {ends[penalty]} penalty tried" if penalty in ends else ""
    text = (
        f"{len(rows)} × {len(rows[0])} coefficients, {tables.number(min(values))} to {tables.number(max(values))}, and "
        f"{prose.count('intercept', len(found['intercepts']))}; C = {penalty:g}{end}, chosen out of "
        f"{prose.listing(f'{c:g}' for c in PENALTIES)} by log-loss on patients left out"
    )
    unfitted = [prose.readable(study.classes[k]) for k in found.get("unfitted_classes", [])]
    return f"{text}; mean logit, for want of positives or negatives, in {prose.listing(unfitted)}" if unfitted else text


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _skipped(study: StudyResults) -> str:
    if not study.skipped:
        return ""
    rows = [[name, reason] for name, reason in study.skipped.items()]
    return join("## Not made", tables.table(["Set, ensemble, or training", "Why"], rows, "ll"))
