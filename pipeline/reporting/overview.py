"""The front page of the reports: the question, the study at a glance, the result, and where the rest stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.learning.settings import train_settings
from pipeline.reporting import checks, comparisons, described, method, prose, provenance, sections, tables
from pipeline.reporting.figures import overview as figures
from pipeline.reporting.sections import DECISIONS, LABELS, PARTS, RANKING, image, join
from pipeline.reporting.study import Results, StudyResults
from pipeline.study.files import write_text
from pipeline.study.runs import runs

_PAGES = {
    "data.md": "the images: parts, classes, patients, exclusions, duplicates, the split and its audit",
    "models.md": "the models beside one another: how far each fits, what it costs, its settings, grids",
    "losses.md": "the losses within each model, each against the first",
    "ensembles.md": "every combination of trainings against the best single one",
    "errors.md": "confident errors, confusions, subgroups, calibration",
}
"""Page: what it holds; linked where this study has it, with those of recipes."""
_NAMED = 8
"""Models or losses that the question names; of more it says how many."""
_GALLERY = {
    "figures/roc.png": ("ROC curves, averaged over classes and seeds at equal specificity", "models.md"),
    "figures/curves.png": ("Validation AUROC by epoch", "models.md"),
    "figures/losses.png": ("Losses within each model", "losses.md"),
    "figures/models-grid.png": ("Learning rate by dropout, on validation", "models.md"),
    "figures/models-confusion.png": ("Which class is taken for which", "models.md"),
    "figures/errors-confusion.png": ("What else is there where a finding is called wrongly", "errors.md"),
    "figures/errors-reliability.png": ("Frequency against probability, before and after calibration", "errors.md"),
    "figures/data-classes.png": ("Share of images with each class, by part", "data.md"),
}
"""Figure: its caption, and the page that explains it."""
_DECIDED = {
    "multilabel": "Means over classes, each class decided at its threshold from the validation part.",
    "multiclass": "The class with the highest probability is the decision; F1 is the mean over classes.",
}
"""How the table of decisions is made, by task."""


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write README.md and its figures into `folder`; return what was written.

    Links and gallery hold what lies in `folder`: this page comes after the others.
    """
    forest = figures.forest(study, folder / "figures" / "forest.png")
    others = [
        figures.roc_recipes(study, folder / "figures" / "roc.png"),
        figures.validation_curves(study, folder / "figures" / "curves.png"),
    ]
    page = folder / "README.md"
    text = join(
        f"# Results: {study.title}",
        *sections.banner(study),
        "## The question",
        question(study),
        "## The study at a glance",
        glance(study),
        "## Verdict",
        " ".join(verdict(study)),
        _main(study, forest is not None),
        _classes(study),
        _gallery(folder),
        _links(study, folder),
        method.data(study),
        method.section(study),
        provenance.section(study),
        "## Limits",
        "\n".join(f"- {line}" for line in sections.limits(study)),
    )
    write_text(page, text + "\n")
    return [page, *(p for p in (forest, *others) if p is not None)]


def question(study: StudyResults) -> str:
    """Say what the study asks, as its matrix puts it."""
    models, losses = (list(dict.fromkeys(getattr(r, what) for r in study.configurations)) for what in ("model", "loss"))
    if study.params is not None:
        models, losses = study.params.study.models, study.params.study.losses
    seeds = {s for r in study.configurations for s in r.seeds}
    kind = "finding" if study.task == "multilabel" else "class"
    apart = f"the {prose.count(kind, len(study.classes))} of these images" if study.classes else "the classes"
    where = "" if study.params is None else " in patients it has not seen"
    if len(models) * len(losses) == 1:
        asked = [f"How well does {models[0]}, trained with {losses[0]}, tell apart {apart}{where}?"]
    else:
        of = [
            prose.count(axis, len(names)) + (f" ({', '.join(names)})" if len(names) <= _NAMED else "")
            for axis, names in (("model", models), ("loss", losses))
            if len(names) > 1
        ]
        held = f", all of {models[0]}," if len(models) == 1 else f", all with {losses[0]}," if len(losses) == 1 else ""
        asked = [f"Which of {' × '.join(of)}{held} tells apart {apart} best{where}?"]
    if len(seeds) > 1:
        asked.append(f"How much do the numbers move with the training seed alone ({len(seeds)} seeds)?")
    if study.ensembles:
        asked.append("What does combining trainings add?")
    return " ".join(asked)


def glance(study: StudyResults) -> str:
    """Lay out what was studied: data, parts, trainings, settings, and how it is judged."""
    if study.params is None or study.audit is None or study.dataset is None:
        seeds = sorted({s for r in study.configurations for s in r.seeds})
        rows = [
            ["Recipes", _some([r.key for r in study.configurations])],
            ["Training seeds", ", ".join(map(str, seeds)) or tables.DASH],
            *([["Classes", _some(study.classes)]] if study.classes else []),
        ]
        return tables.table(["", "the table holds"], rows, "ll")
    params, audit = study.params, study.audit
    parts = [
        f"{PARTS[name]} {prose.count('image', part['images'])} of {prose.count('patient', part['patients'])}"
        for name, part in audit["parts"].items()
        if part["images"] and name != "unused"
    ]
    kind = "any number of them an image" if study.task == "multilabel" else "one an image"
    leaks = sum(audit[f"{what}_in_two_parts"] for what in ("patients", "groups", "duplicates"))
    audited = "**leaks, see the data**" if leaks else "no patient, no group, and no identical image in two parts"
    rows = [
        ["Data", f"{study.dataset.title}; licence: {study.dataset.licence.rstrip('.')}"],
        ["Classes", f"{len(study.classes)}, {kind}: {', '.join(map(prose.readable, study.classes))}"],
        ["Parts", prose.listing(parts)],
        ["Split", f"{params.split.method}, with a seed of its own ({params.split.seed}); {audited}"],
        ["Input", method.input_images(params)],
        ["Trainings", _trainings(study)],
        ["Training", _schedule(study)],
        ["Judged by", f"macro AUROC of the test part, {study.interval_name} from draws of whole patients"],
    ]
    return tables.table(["", "this study"], rows, "ll")


def _some(names: Sequence[str]) -> str:
    """List names, or count them where they are many."""
    return ", ".join(names) if len(names) <= 2 * _NAMED else f"{len(names)}, {names[0]} to {names[-1]}"


def _trainings(study: StudyResults) -> str:
    """Count the cells: planned, with results, missing, collapsed."""
    params = study.params
    seeds = [params.seed, *params.study.replicates]
    planned = len(runs(params))
    there = sum(len(r.seeds) for r in study.configurations)
    text = (
        f"{prose.count('model', len(params.study.models))} × {prose.count('loss', len(params.study.losses))} × "
        f"{prose.count('seed', len(seeds))} ({', '.join(map(str, sorted(seeds)))}) = {planned}"
    )
    missing = f"**{planned - there} missing**" if there < planned else "none missing"
    collapsed = f"**{len(study.collapsed)} collapsed**" if study.collapsed else "none collapsed"
    return f"{text}; {missing}, {collapsed}"


def _schedule(study: StudyResults) -> str:
    """Say how the cells were trained, and that models may differ."""
    train = study.params.train
    own = [name for name in study.params.study.models if train_settings(study.params, name) != train]
    text = (
        f"at most {prose.count('epoch', train.epochs)} in batches of {train.batch_size}, "
        f"{described.OPTIMIZERS[train.optimizer]}, {described.SCHEDULES[train.schedule]}; the epoch with the best "
        f"validation {described.CHOSEN_BY[train.select]} is kept"
    )
    whose = "its" if len(own) == 1 else "their"
    return text + (f"; {prose.listing(own)} with settings of {whose} own" if own else "")


def verdict(study: StudyResults) -> list[str]:
    """Say in three sentences what came out: the chosen recipe, whether recipes differ, what the ensemble adds."""
    return [_choice(study), comparisons.sentence(study), _ensemble(study)]


def _choice(study: StudyResults) -> str:
    best = study.subject
    name = sections.leading(study)
    if best is None:
        return f"There is no validation {name}, so no recipe is chosen: choosing one by the test part would flatter it."
    seeds = sections.of_seeds(len(best.seeds))
    score = sections.quoted(study, best.get(study.leading))
    rests = sections.sample(study, best)
    if len(study.configurations) == 1:
        return f"The only recipe, **{best.key}**, has a test {name} ({seeds}) of {score}, {rests}."
    validated = tables.number(best.get(study.leading, part="val").value)
    return (
        f"Validation chooses **{best.key}** out of {len(study.configurations)} recipes (validation {name} {validated}, "
        f"{seeds}); its test {name} is {score}, {rests}."
    )


def _ensemble(study: StudyResults) -> str:
    best, single = study.chosen_ensemble, study.chosen
    if best is None or single is None:
        return (
            "There is no ensemble to report." if not study.ensembles else "No ensemble is chosen: none was validated."
        )
    text = (
        f"The ensemble that validation chooses, **{best.loss}**, has a test macro AUROC of "
        f"{sections.quoted(study, best.get('auroc'))}"
    )
    found = comparisons.pair(study, best.key, single.key)
    if found is None:
        return text + "."
    difference, judged = found
    return text + f"; against the seeds' mean of {single.key} that is {difference}, {judged}."


def _main(study: StudyResults, pictured: bool) -> str:
    reference = study.chosen or study.configurations[0]
    number = len(sections.known_classes(study, reference))
    over = f"Macro averages over {prose.count('class', number)}" if number else "Of the whole part"
    picture = image("Test macro AUROC of every recipe and ensemble, with intervals", "figures/forest.png")
    return join(
        "## Main result",
        f"{over}, test {sections.sample(study, reference)}.",
        *_ranking(study),
        picture if pictured else "",
        comparisons.section(study),
        checks.probes(study),
        checks.signs(study),
        sections.decisions(
            study,
            [*study.configurations, *study.ensembles],
            DECISIONS[study.task],
            _DECIDED,
            {"Recipe": lambda r: _named(study, r), "Seeds": _seeds},
            lambda r: r.key,
        ),
    )


def _named(study: StudyResults, results: Results) -> str:
    """Name a recipe, linked to its page and marked if chosen, or an ensemble."""
    name = f"[{results.key}](seeds/{results.key}.md)" if results.seeds else results.key
    chosen = study.chosen is not None and results.key == study.chosen.key
    return f"**{name}** ★" if chosen else name


def _seeds(results: Results) -> str:
    return str(len(results.seeds) or tables.DASH)


def _ranking(study: StudyResults) -> tuple[str, str]:
    everything = [*study.configurations, *study.ensembles]
    ci, metric = study.interval_name, study.leading
    name = sections.leading(study).removeprefix("macro ")
    columns = {
        f"Validation {name}": lambda r: tables.number(r.get(metric, part="val").value),
        f"Test {name}, mean ± SD": lambda r: tables.mean_sd(r.get(metric).value, r.sd(metric)),
        f"{ci} of the mean": lambda r: tables.interval(r.get(metric)),
        f"Test AP [{ci}]": lambda r: tables.estimated(r.get("average_precision")),
    }
    runs = {head: [write(r) for r in everything] for head, write in columns.items()}
    if study.params is None:  # a bare table may hold less, and an empty column says nothing
        runs = {head: column for head, column in runs.items() if set(column) != {tables.DASH} or "CI" in head[:4]}
    rows = [[_named(study, r), _seeds(r), *row] for r, row in zip(everything, zip(*runs.values()))]
    metrics = [m for m in RANKING if any(math.isfinite(r.get(m).value) for r in everything)]
    noted = [(r.key, LABELS[m], r.get(m)) for r in everything for m in metrics]
    body = tables.table(["Recipe", "Seeds", *runs], rows, "lr" + "r" * len(runs))
    lines = [tables.reasons(noted), *(f"- {line}" for line in _reading(study))]
    return body, "\n".join(line for line in lines if line)


def _reading(study: StudyResults) -> list[str]:
    lines = [
        "± is the standard deviation over training seeds; the interval is about patients: two different questions."
    ]
    if study.params is not None:
        lines.append("Validation values chose epoch and recipe; they are therefore optimistic and carry no interval.")
    if study.chosen is not None and len(study.configurations) > 1:
        lines.append(sections.starred(study))
    if study.ensembles:
        lines.append(f"An ensemble is one prediction made of several trainings, so it has no seeds ({tables.DASH}).")
    return lines


def _classes(study: StudyResults) -> str:
    best = study.subject
    if best is None:
        return ""
    seeds = f"mean of {prose.count('seed', len(best.seeds))}" if len(best.seeds) > 1 else prose.seeds(best.seeds)
    intro = f"Test part, {seeds}, {study.interval_name} in brackets. By chance AP is about the prevalence."
    return join(f"## Classes of {best.key}", intro, sections.class_table(study, best))


def _gallery(folder: Path) -> str:
    """Set the figures of this and the other pages side by side, each linked to the page that explains it."""
    there = [
        (path, caption, page if (folder / page).exists() else path)
        for path, (caption, page) in _GALLERY.items()
        if (folder / path).exists()
    ]
    if not there:
        return ""
    entries = [f"[{image(caption, path)}]({target})<br>{caption}" for path, caption, target in there]
    pairs = [entries[i : i + 2] for i in range(0, len(entries), 2)]
    lines = ["|   |   |", "|:-:|:-:|", *(f"| {' | '.join([*pair, ''][:2])} |" for pair in pairs)]
    return join("## Figures", "\n".join(lines))


def _links(study: StudyResults, folder: Path) -> str:
    """Link the other pages."""
    lines = [f"- [{Path(page).stem}]({page}): {what}" for page, what in _PAGES.items() if (folder / page).exists()]
    for name, what in (("seeds", "seed by seed"), ("model_cards", "model card")):
        pages = [
            f"[{r.key}]({name}/{r.key}.md)" for r in study.configurations if (folder / name / f"{r.key}.md").exists()
        ]
        lines += [f"- {what}: {', '.join(pages)}"] if pages else []
    return join("## Pages", "\n".join(lines)) if lines else ""
