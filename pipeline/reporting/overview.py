"""The front page of the reports: what was run, what came out, what it rests on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import artifacts
from pipeline.params import Model, Train, cells
from pipeline.reporting import prose, provenance, sections, tables
from pipeline.reporting.figures import overview as figures
from pipeline.reporting.sections import DECISIONS, LABELS, PARTS, RANKING, image, join
from pipeline.reporting.study import Estimate, Results, StudyResults
from pipeline.statistics.probes import MARGIN, alarm

_NAMED_PAIRS = 4
"""Pairs that differ, named in the verdict."""
_LISTED_PAIRS = 15
"""Pairs that the table of differences lists in full: those of four recipes and two ensembles."""
_SEEN = {
    "thumbnail": "the image shrunk to 8 × 8 pixels",
    "metadata": "size of the file, brightness, border, and colour",
}
"""Probe: what it sees of an image."""


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write README.md and its figures into `folder`; return what was written."""
    pictures = {
        "forest": figures.forest(study, folder / "figures" / "forest.png"),
        "roc": figures.roc_recipes(study, folder / "figures" / "roc.png"),
        "curves": figures.validation_curves(study, folder / "figures" / "curves.png"),
    }
    page = folder / "README.md"
    text = join(
        f"# Results: {study.title}",
        *sections.banner(study),
        "## In short",
        " ".join(verdict(study)),
        _run(study),
        _main(study, pictures["forest"] is not None),
        _classes(study),
        _roc(pictures["roc"] is not None),
        _training(study, pictures["curves"] is not None),
        _data(study),
        _method(study),
        provenance.section(study),
        "## Limits",
        "\n".join(f"- {line}" for line in sections.limits(study)),
    )
    artifacts.write_text(page, text + "\n")
    return [page, *(p for p in pictures.values() if p is not None)]


def _quoted(study: StudyResults, estimate: Estimate) -> str:
    """Write a value in a sentence, with its interval or the reason why there is none."""
    if not math.isfinite(estimate.value):
        return f"not known ({estimate.note})"
    if not math.isfinite(estimate.low):
        return f"{tables.number(estimate.value)} ({estimate.note or 'no interval in the table'})"
    return f"{tables.estimated(estimate)} ({study.interval_name})"


def verdict(study: StudyResults) -> list[str]:
    """Say in three sentences what came out: the chosen recipe, whether recipes differ, what the ensemble adds."""
    return [_choice(study), _differences(study), _ensemble(study)]


def _choice(study: StudyResults) -> str:
    best = study.chosen or (study.recipes[0] if len(study.recipes) == 1 else None)
    if best is None:
        return "There is no validation AUROC, so no recipe is chosen: choosing one by the test part would flatter it."
    n = len(best.seeds)
    seeds = f"mean of {n} seeds" if n > 1 else "1 seed"
    score = _quoted(study, best.get("auroc"))
    rests = sections.sample(study, best)
    if len(study.recipes) == 1:
        return f"The only recipe, **{best.key}**, has a test macro AUROC ({seeds}) of {score}, {rests}."
    validated = tables.number(best.get("auroc", part="val").value)
    return (
        f"Validation chooses **{best.key}** out of {len(study.recipes)} recipes (validation macro AUROC {validated}, "
        f"{seeds}); its test macro AUROC is {score}, {rests}."
    )


def _differences(study: StudyResults) -> str:
    if len(study.recipes) < 2:
        return "With one recipe there is nothing to compare it with."
    if study.comparisons is None:
        return "Differences between recipes are not tested in this report: treat them as within noise."
    keys = [r.key for r in study.recipes]
    every = study.comparisons
    pairs = every[every["first"].isin(keys) & every["second"].isin(keys)]
    apart = pairs[pairs["distinguishable"]]
    tested = f"paired on the same patients, with Holm's correction for {prose.count('comparison', len(pairs))}"
    if apart.empty:
        which = "the two recipes" if len(pairs) == 1 else f"none of the {len(pairs)} pairs of recipes"
        verb = "cannot be told apart" if len(pairs) == 1 else "can be told apart"
        return f"{prose.capital(tested)}, {which} {verb}: their differences are within noise."
    head = "the two recipes differ" if len(pairs) == 1 else f"{len(apart)} of {len(pairs)} pairs of recipes differ"
    named = [_ordered(row) for row in apart.itertuples()] if len(apart) <= _NAMED_PAIRS else []
    listed = f" ({prose.listing(f'{better} above {worse}' for better, worse in named)})" if named else ""
    rest = "" if len(apart) == len(pairs) else "; the other differences are within noise"
    return f"{prose.capital(tested)}, {head}{listed}{rest}."


def _ordered(row: Any) -> tuple[str, str]:
    """Name the better of a pair first."""
    return (row.first, row.second) if row.difference > 0 else (row.second, row.first)


def _ensemble(study: StudyResults) -> str:
    best, single = study.chosen_ensemble, study.chosen
    if best is None or single is None:
        return (
            "There is no ensemble to report." if not study.ensembles else "No ensemble is chosen: none was validated."
        )
    text = (
        f"The ensemble that validation chooses, **{best.loss}**, has a test macro AUROC of "
        f"{_quoted(study, best.get('auroc'))}"
    )
    pair = _pair(study, best.key, single.key)
    if pair is None:
        return text + "."
    difference, verdict = pair
    return text + f"; against the seeds' mean of {single.key} that is {difference}, {verdict}."


def _pair(study: StudyResults, first: str, second: str) -> tuple[str, str] | None:
    """Return the tested difference first minus second with its interval, and what may be said of it."""
    if study.comparisons is None:
        return None
    for row in study.comparisons.itertuples():
        if {row.first, row.second} == {first, second} and math.isfinite(row.difference):
            sign = 1 if row.first == first else -1
            low, high = sorted((sign * row.ci_low, sign * row.ci_high))
            difference = f"{prose.signed(sign * row.difference)} [{prose.signed(low)}, {prose.signed(high)}]"
            p = tables.probability(row.p_holm).replace("<", "below") if math.isfinite(row.p_holm) else tables.DASH
            return (
                difference,
                f"a difference after Holm's correction (p {p})" if row.distinguishable else "within noise",
            )
    return None


def _comparisons(study: StudyResults) -> str:
    """Lay out the pairs: all of them where they are few, else those with the chosen recipe."""
    every = study.comparisons
    if every is None or every.empty:
        return ""
    chosen, keys = study.chosen, [r.key for r in study.recipes]
    pairs = every[every["first"].isin(keys) & every["second"].isin(keys)]
    if len(pairs) > _LISTED_PAIRS and chosen is not None:
        pairs = pairs[(pairs["first"] == chosen.key) | (pairs["second"] == chosen.key)]
    others = every[every["family"] == "ensembles"]
    named = [e.key for e in study.ensembles]
    rows = pd.concat([pairs, others[others["first"].isin(named) | others["second"].isin(named)]])
    lines = []
    for row in rows.itertuples():
        interval = Estimate(row.difference, row.ci_low, row.ci_high)
        verdict = "differ" if row.distinguishable else "as good as equal" if row.equivalent else "within noise"
        p = tables.escape(tables.probability(row.p_holm))
        lines.append([row.first, row.second, prose.signed(row.difference), tables.interval(interval), p, verdict])
    heads = ["First", "Second", "Difference", study.interval_name, "p (Holm)", ""]
    sizes = every["family"].value_counts(sort=False)
    families = [f"{prose.count('comparison', int(size))} of {family}" for family, size in sizes.items()]
    corrected = f"p is corrected for all {' and, apart, for all '.join(families)}."
    cut = (
        ""
        if len(pairs) == len(every[every["family"] == "recipes"])
        else f" Shown of recipes are those with {chosen.key}."
    )
    return join(
        "### Differences",
        "Test macro AUROC, first minus second, means over seeds. Both are scored on the same bootstrap draws of "
        f'patients; {corrected}{cut}{_scope(every)} "As good as equal" means that a difference of '
        f"{every['margin'].iloc[0]:g} or more, either way, is refuted (two one-sided tests, corrected likewise).",
        tables.table(heads, lines, "llrrrl"),
    )


def _probes(study: StudyResults) -> str:
    """Set the chosen recipe against what is told by far less than the image."""
    best = study.chosen or (study.recipes[0] if len(study.recipes) == 1 else None)
    if not study.probes or best is None:
        return ""
    reached, rows, close = best.get("auroc"), [], []
    scores = {probe.loss: probe.get("auroc") for probe in study.probes}
    for name, score in scores.items():
        above = reached.value - score.value
        difference = prose.signed(above) if math.isfinite(above) else tables.DASH
        rows.append([name, _SEEN.get(name, ""), tables.estimated(score), difference])
        close.append(alarm(reached.value, score.value, name))
    heads = ["Probe", "What it sees", f"Test macro AUROC [{study.interval_name}]", f"{best.key} less the probe"]
    noted = tables.reasons((name, "AUROC", score) for name, score in scores.items())
    known = all(math.isfinite(e.value) for e in (reached, *scores.values()))
    return join(
        "### Shortcut probes",
        f"A probe is a logistic regression on a few numbers an image, fitted on the training part. {best.key} is set "
        "against it by its mean over seeds; the difference is not tested, so it has no interval.",
        tables.table(heads, rows, "llrr"),
        noted,
        _alarms([text for text in close if text], best.key, known),
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


def _signs(study: StudyResults) -> str:
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


def _scope(comparisons: pd.DataFrame) -> str:
    """Say whether the comparisons speak of recipes or of trainings."""
    vary = " Between recipes the error counts the spread over training seeds besides the sample of patients."
    fixed = " With an ensemble or a single training there is no such spread: these rows speak of these trainings only."
    return (vary if (comparisons["seeds"] == "vary").any() else "") + (
        fixed if (comparisons["seeds"] == "fixed").any() else ""
    )


def _run(study: StudyResults) -> str:
    if study.params is None:
        seeds = sorted({s for r in study.recipes for s in r.seeds})
        return join(
            "## What the table holds",
            f"{prose.capital(prose.count('recipe', len(study.recipes)))}, {prose.seeds(seeds)}, "
            f"{prose.count('class', len(study.classes))}.",
        )
    params = study.params
    seeds = [params.seed, *params.study.replicates]
    sizes = [len(params.study.models), len(params.study.losses), len(seeds)]
    text = (
        f"{prose.count('model', sizes[0])} × {prose.count('loss', sizes[1])} × "
        f"{prose.count('training seed', sizes[2])} ({', '.join(map(str, sorted(seeds)))}) = "
        f"{prose.count('training', len(cells(params)))}. "
        f"The split has a seed of its own ({params.split.seed}) and is the same for all of them."
    )
    rows = []
    for name in params.study.models:
        model = params.models[name]
        parameters = {run.get("parameters") for r in study.recipes if r.model == name for run in r.runs} - {None}
        count = f"{parameters.pop():,}" if len(parameters) == 1 else tables.DASH
        options = ", ".join(f"{k} {v}" for k, v in (_own(model) | model.options).items()) or "none"
        rate = f"{model.lr:g}" + (f", head {model.head_lr:g}" if model.head_lr is not None else "")
        rows.append([name, f"`{model.arch}`", count, _weights(model), _trained(model), rate, options])
    heads = ["Model", "Architecture", "Parameters", "Initial weights", "Trained", "Learning rate", "Own settings"]
    losses = []
    for name in params.study.losses:
        settings = ", ".join(f"{k} {v}" for k, v in (params.losses[name] or {}).items())
        losses.append(f"{name} ({settings})" if settings else name)
    train = params.train
    schedule = (
        f"{prose.capital(prose.plural('loss', len(losses)))}: {prose.listing(losses)}. Training: at most "
        f"{prose.count('epoch', train.epochs)} in batches of {train.batch_size}, {_OPTIMIZERS[train.optimizer]}, "
        f"{_SCHEDULES[train.schedule]}, weight decay {train.weight_decay:g}, stopped after "
        f"{prose.count('epoch', train.patience)} without a better validation {_CHOSEN_BY[train.select]}; "
        "the epoch with the best one is kept."
    )
    return join("## What was run", text, tables.table(heads, rows, "llrllrl"), schedule)


_OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD with momentum"}
_SCHEDULES = {
    "cosine": "cosine learning rate",
    "one_cycle": "one-cycle learning rate",
    "plateau": "learning rate that falls on a plateau",
    "constant": "constant learning rate",
}
_CHOSEN_BY = {"auroc": "AUROC", "macro_f1": "macro F1"}


def _weights(model: Model) -> str:
    """Say where a model's training began."""
    if model.weights:
        return f"file {Path(model.weights).name}"
    return "timm's hub" if model.pretrained else "random"


def _trained(model: Model) -> str:
    """Say which layers are trained."""
    if isinstance(model.trainable, str):
        return {"all": "all layers", "head": "head"}[model.trainable]
    return f"last {prose.count('layer', model.trainable.last)} and head"


def _own(model: Model) -> dict[str, Any]:
    """Return what holds for this model alone, besides its architecture, weights and learning rates."""
    own = model.model_dump(exclude_unset=True, include={*Train.model_fields, "head", "hidden", "dropout", "drop_path"})
    return {name: value for name, value in own.items() if value is not None}


def _main(study: StudyResults, pictured: bool) -> str:
    reference = study.chosen or study.recipes[0]
    number = len(sections.known_classes(study, reference))
    picture = image("Test macro AUROC of every recipe and ensemble, with intervals", "figures/forest.png")
    return join(
        "## Main result",
        f"Macro averages over {prose.count('class', number)}, test {sections.sample(study, reference)}.",
        *_ranking(study),
        picture if pictured else "",
        _comparisons(study),
        _probes(study),
        _signs(study),
        _decisions(study),
        _members(study),
    )


def _named(study: StudyResults, results: Results) -> list[str]:
    """Return the first cells of a row: the recipe, linked to its page and marked if chosen, and its seeds."""
    name = f"[{results.key}](seeds/{results.key}.md)" if results.seeds else results.key
    chosen = study.chosen is not None and results.key == study.chosen.key
    return [f"**{name}** ★" if chosen else name, str(len(results.seeds)) if results.seeds else tables.DASH]


def _ranking(study: StudyResults) -> tuple[str, str]:
    everything = [*study.recipes, *study.ensembles]
    ci = study.interval_name
    columns = {
        "Validation AUROC": lambda r: tables.number(r.get("auroc", part="val").value),
        "Test AUROC, mean ± SD": lambda r: tables.mean_sd(r.get("auroc").value, r.sd("auroc")),
        f"{ci} of the mean": lambda r: tables.interval(r.get("auroc")),
        f"Test AP [{ci}]": lambda r: tables.estimated(r.get("average_precision")),
    }
    cells = {head: [write(r) for r in everything] for head, write in columns.items()}
    if study.params is None:  # a bare table may hold less, and an empty column says nothing
        cells = {head: column for head, column in cells.items() if set(column) != {tables.DASH} or "CI" in head[:4]}
    rows = [[*_named(study, r), *row] for r, row in zip(everything, zip(*cells.values()))]
    metrics = [m for m in RANKING if any(math.isfinite(r.get(m).value) for r in everything)]
    noted = [(r.key, LABELS[m], r.get(m)) for r in everything for m in metrics]
    body = tables.table(["Recipe", "Seeds", *cells], rows, "lr" + "r" * len(cells))
    lines = [tables.reasons(noted), *(f"- {line}" for line in _reading(study))]
    return body, "\n".join(line for line in lines if line)


def _reading(study: StudyResults) -> list[str]:
    lines = [
        "± is the standard deviation over training seeds; the interval is about patients: two different questions."
    ]
    if study.params is not None:
        lines.append("Validation values chose epoch and recipe; they are therefore optimistic and carry no interval.")
    if study.chosen is not None and len(study.recipes) > 1:
        lines.append("★ has the best mean validation AUROC; the test part had no say in it.")
    if study.ensembles:
        lines.append(f"An ensemble is one prediction made of several trainings, so it has no seeds ({tables.DASH}).")
    return lines


def _decisions(study: StudyResults) -> str:
    everything = [*study.recipes, *study.ensembles]
    metrics = [m for m in DECISIONS[study.task] if any(math.isfinite(r.get(m).value) for r in everything)]
    if not metrics:
        return ""
    if study.params is None:
        how = "How the decisions behind these numbers were made is not known from the table."
    elif study.task == "multiclass":
        how = "The class with the highest probability is the decision; F1 is the mean over classes."
    else:
        how = "Means over classes, each class decided at its threshold from the validation part."
    rows = [[*_named(study, r), *(tables.estimated(r.get(m)) for m in metrics)] for r in everything]
    body = tables.table(["Recipe", "Seeds", *(LABELS[m] for m in metrics)], rows, "lr" + "r" * len(metrics))
    noted = [(r.key, LABELS[m], r.get(m)) for r in everything for m in metrics]
    return join("### Decisions", f"Test part, {study.interval_name} in brackets. {how}", body, tables.reasons(noted))


def _members(study: StudyResults) -> str:
    lines = []
    for r in study.ensembles:
        members: list[dict[str, Any]] = study.described.get(r.loss, {}).get("members", [])
        if members:
            named = [f"{m['model']}-{m['loss']} seed {m['seed']}" for m in members]
            shown = prose.listing(named) if len(named) <= 6 else f"{', '.join(named[:5])}, and {len(named) - 5} more"
            lines.append(f"- **{r.loss}**: {prose.count('training', len(members))}: {shown}.")
    return join("Members of the ensembles:", "\n".join(lines)) if lines else ""


def _classes(study: StudyResults) -> str:
    best = study.chosen or (study.recipes[0] if len(study.recipes) == 1 else None)
    if best is None:
        return ""
    seeds = f"mean of {prose.count('seed', len(best.seeds))}" if len(best.seeds) > 1 else prose.seeds(best.seeds)
    intro = f"Test part, {seeds}, {study.interval_name} in brackets. By chance AP is about the prevalence."
    return join(f"## Classes of {best.key}", intro, sections.class_table(study, best))


def _roc(pictured: bool) -> str:
    if not pictured:
        return ""
    text = (
        "Averaged over classes and seeds at equal specificity, so that the area below a line is its mean macro AUROC."
    )
    return join("## ROC", text, image("Macro-average ROC curve of every recipe and ensemble", "figures/roc.png"))


def _training(study: StudyResults, pictured: bool) -> str:
    links = "\n".join(f"- [{r.key}](seeds/{r.key}.md): {prose.seeds(r.seeds)}" for r in study.recipes)
    picture = image("Validation AUROC by epoch, a panel a recipe", "figures/curves.png") if pictured else ""
    return join("## Seeds and training", "A page a recipe, seed by seed:", links, picture)


def _data(study: StudyResults) -> str:
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
        _part_counts(study.audit),
        f"{_audited(study.audit)}\n{_excluded(study)}",
        "Positive images, and their share of the part:",
        _positives(study, study.audit),
        "### Preprocessing",
        _preprocessing(study),
    )


def _part_counts(audit: dict[str, Any]) -> str:
    parts = {name: part for name, part in audit["parts"].items() if part["images"]}
    labels = {"images": "Images", "patients": "Patients", "groups": "Groups kept together"}
    rows = [[label, *(tables.whole(p.get(key)) for p in parts.values())] for key, label in labels.items()]
    return tables.table(["", *(PARTS[p] for p in parts)], rows, "l" + "r" * len(parts))


def _positives(study: StudyResults, audit: dict[str, Any]) -> str:
    counted = {name: audit["classes"][name] for name in study.classes}
    if audit.get("no_finding"):
        counted["none of them"] = audit["no_finding"]
    parts = [p for p in PARTS if all(p in by_part for by_part in counted.values())]
    rows = [
        [name, *(f"{tables.whole(n[p]['positives'])} ({tables.percent(n[p]['prevalence'])})" for p in parts)]
        for name, n in counted.items()
    ]
    return tables.table(["Class", *(PARTS[p] for p in parts)], rows, "l" + "r" * len(parts))


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


def _preprocessing(study: StudyResults) -> str:
    if study.params is None:
        return ""
    settings = study.params.preprocess
    clahe = settings.clahe
    channels = "grey" if settings.channels == 1 else "colour"
    text = f"Every image is stored as {settings.size} × {settings.size} px, {channels}, 8 bit"
    if not clahe.enabled:
        return text + ", without CLAHE."
    when = clahe.order.replace("_", " ").replace("resize", "resizing")
    return text + f"; CLAHE (clip {clahe.clip:g}, {clahe.tiles} × {clahe.tiles} tiles) {when}."


def _method(study: StudyResults) -> str:
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
