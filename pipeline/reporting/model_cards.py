"""A model card a recipe, under the headings of Mitchell et al., "Model Cards for Model Reporting", arXiv 1810.03993.

A card says what was recorded and nothing else: what the study does not know stands as "not recorded".
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.checking.probes import MARGIN
from pipeline.learning.settings import Train, train_settings
from pipeline.reporting import checks, prose, provenance, sections, tables
from pipeline.reporting.sections import DECISIONS, LABELS, PARTS, RANKING, join
from pipeline.reporting.study import MEAN, Estimate, Results, StudyResults
from pipeline.study.files import write_text
from pipeline.study.prepared import SAMPLE_COLUMNS

UNKNOWN = "not recorded"
CALIBRATION = {"ece": "Calibration error (ECE)", "brier": "Brier score", "log_loss": "Log-loss"}
"""Metrics that are stated before and after calibration; each has a twin `<name>_calibrated`."""
SUBGROUPS = {"multilabel": ("auroc", "average_precision"), "multiclass": ("accuracy", "balanced_accuracy")}
"""What stage `evaluate` measures in a subgroup."""
_OF_SPLIT = ("part", "copies", "augmented")
_OTHER_FACTORS = ("sex", "age", "view", "hospital", "device", "exposure")
"""Factors of radiographs that a reader will ask for; those that the data set's table holds are named as such."""
_SETTINGS = ("epochs", "patience", "batch_size", "optimizer", "schedule", "weight_decay", "clip_grad", "ema")


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write model_cards/<model>-<loss>.md for every recipe into `folder`; nothing for a bare metrics table."""
    if study.dataset is None or study.params is None or study.audit is None:
        return []
    written = []
    for results in study.configurations:
        page = folder / "model_cards" / f"{results.key}.md"
        write_text(page, _page(study, results) + "\n")
        written.append(page)
    return written


def _page(study: StudyResults, results: Results) -> str:
    data = ", [the data](../data.md)" if study.samples is not None else ""
    return join(
        f"# Model card: {results.model} with {results.loss}",
        *sections.banner(study, results),
        "Written by the study's own program from what its stages recorded. See also [all results](../README.md), "
        f"[its training seeds](../seeds/{results.key}.md){data}.",
        "## Model details",
        _details(study, results),
        "## Intended use",
        _use(study),
        "## Factors",
        _factors(study, results),
        "## Metrics",
        _metrics(study, results),
        "## Evaluation data",
        _evaluation_data(study, results),
        "## Training data",
        _training_data(study, results),
        "## Quantitative analyses",
        "### Unitary results",
        _overall(study, results),
        "Class by class, by chance AP is about the prevalence:",
        sections.class_table(study, results),
        _calibration(study, results),
        "### Subgroups and intersections",
        _subgroups(study, results),
        "## Ethical considerations",
        _ethics(study, results),
        "## Caveats and recommendations",
        _caveats(study, results),
    )


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


# --- what it is --------------------------------------------------------------------------------------------------


def _recorded(results: Results, read: Callable[[dict[str, Any]], object]) -> str:
    """Return what all trainings recorded; every distinct value with its number of trainings where they differ."""
    found = Counter(str(value) for run in results.runs if (value := read(run)) not in (None, ""))
    if len(found) == 1 and found.total() == len(results.runs):
        return next(iter(found))
    if not found:
        return UNKNOWN
    counted = [*sorted(found.items()), (UNKNOWN, len(results.runs) - found.total())]
    return "; ".join(f"{value} ({prose.count('training', n)})" for value, n in counted if n)


def _number(name: str) -> Callable[[dict[str, Any]], str | None]:
    return lambda run: f"{run[name]:,}" if run.get(name) is not None else None


def _details(study: StudyResults, results: Results) -> str:
    params, n = study.params, len(study.classes)
    model, train = params.models[results.model], train_settings(params, results.model)
    image = params.preprocess
    output = "one sigmoid a class" if study.task == "multilabel" else "one softmax over the classes"
    options = ", ".join(f"{name} {value}" for name, value in model.options.items())
    rate = f"{model.lr:g}" + (f", head {model.head_lr:g}" if model.head_lr is not None else "")
    rows = [
        ["Architecture", f"{_recorded(results, lambda run: run.get('arch'))}{f' ({options})' if options else ''}"],
        ["Parameters", _recorded(results, _number("parameters"))],
        ["Trained parameters", _recorded(results, _number("trainable_parameters"))],
        ["Multiply-accumulates an image", _recorded(results, _number("macs"))],
        ["Input", f"{image.size} × {image.size} px, {'grey' if image.channels == 1 else 'colour'}"],
        ["Output", f"{prose.count('logit', n)}, {output}: {prose.listing(study.classes)}"],
        ["Initial weights", _recorded(results, _origin)],
        ["Loss", _loss(study, results)],
        ["Learning rate", rate],
        ["Training settings", _training_settings(train)],
        ["Device", _recorded(results, lambda run: run.get("device"))],
        ["Precision", _recorded(results, lambda run: run.get("precision"))],
        ["Versions", _recorded(results, provenance.versions)],
        ["Code", _recorded(results, provenance.commit)],
        ["Developers, contact, date, licence of the weights", UNKNOWN],
    ]
    weights = f"models/{results.key}/seed<seed>/model.safetensors"
    return join(
        tables.table(["", "What was recorded"], rows, "ll"),
        f"{prose.capital(prose.count('training', len(results.seeds)))}, each a model of its own; the numbers below are "
        f"{'their means' if len(results.seeds) > 1 else 'of this one'}. Weights: `{weights}`, where the study was run.",
        _trainings(results),
    )


def _origin(run: dict[str, Any]) -> str | None:
    """Say where a training began; None where the record does not say."""
    if "weights" not in run:
        return None
    return ", ".join(f"{name} {value}" for name, value in (run["weights"] or {}).items()) or "random, from the seed"


def _loss(study: StudyResults, results: Results) -> str:
    given = dict(study.params.losses[results.loss] or {})
    kind = given.pop("kind", results.loss)
    settings = ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)
    named = kind if kind == results.loss else f"{results.loss} (kind {kind})"
    weighted = any(run.get("class_weights") for run in results.runs)
    return f"{named}{f', {settings}' if settings else ''}{', classes weighted' if weighted else ''}"


def _training_settings(train: Train) -> str:
    found = {name: value for name in _SETTINGS if (value := getattr(train, name)) is not None}
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in found.items()
    )


def _trainings(results: Results) -> str:
    rows = []
    for seed in results.seeds:
        run = results.run(seed)
        scores = [tables.number(results.get("auroc", None, seed, part).value) for part in ("val", "test")]
        counts = [tables.whole(run.get(key)) for key in ("best_epoch", "epochs", "images_per_second", "seconds")]
        rows.append([str(seed), *counts, *scores, str(run.get("collapsed") or "no") if run else UNKNOWN])
    heads = ["Seed", "Best epoch", "Epochs", "Images/s", "Seconds", "Validation AUROC", "Test AUROC", "Collapsed"]
    return tables.table(heads, rows, "lrrrrrrl")


# --- what it is for, and what it was tried on --------------------------------------------------------------------


def _use(study: StudyResults) -> str:
    what = "any number of" if study.task == "multilabel" else "one of"
    n = prose.count("class", len(study.classes))
    lines = [
        f"Made for: research on how architectures, losses, and training seeds change what is learned from "
        f"{study.dataset.title}, by people who can judge such studies. It assigns {what} {n} to an image.",
        "**Out of scope: clinical use of any kind**, diagnosis, triage, and screening included. It was not tested for "
        "that, and no body has approved it for that.",
        "Out of scope: images of other sources, devices, or views than the training data; findings that are not among "
        "its classes, which it cannot report; decisions at its thresholds where classes are more or less frequent.",
    ]
    if study.dataset.synthetic:
        lines.append("Out of scope: every real image. It has seen drawn ones only.")
    return _bullets(lines)


def _factors(study: StudyResults, results: Results) -> str:
    measured = [] if results.subgroups is None else [*dict.fromkeys(results.subgroups["variable"])]
    own = [] if study.samples is None else list(study.samples.columns)
    others = [c for c in own if c not in {*SAMPLE_COLUMNS, *study.classes, *_OF_SPLIT, *measured}]
    lines = [
        f"Measured in subgroups of the test part: {prose.listing(measured)}."
        if measured
        else "Not measured in any subgroup of the test part."
    ]
    if others:
        lines.append(f"In the data set's table, and not measured: {tables.escape(prose.listing(others))}.")
    unknown = [name for name in _OTHER_FACTORS if name not in {*measured, *others}]
    lines.append(f"Whatever else can change its answers, {prose.listing(unknown, 'or')} for instance, is {UNKNOWN}.")
    lines.append("Classes differ in how often they occur; the tables of classes therefore state the positives.")
    return _bullets(lines)


def _metrics(study: StudyResults, results: Results) -> str:
    evaluate = study.params.evaluate
    decided = prose.listing(LABELS[m] for m in DECISIONS[study.task])
    several = len(results.seeds) > 1
    lines = [
        f"Ranking: {prose.listing(LABELS[m] for m in RANKING)}, class by class and as the unweighted mean (macro). "
        f"Decisions: {decided}. Probabilities: ECE, Brier score, and log-loss, before and after calibration.",
        *_changed_at_test_time(evaluate.tta.model_dump()),
        f"Intervals: {study.interval_name} from {evaluate.bootstrap:,} bootstrap draws of whole patients"
        f"{', of the mean over these seeds: they say nothing about further seeds' if several else ''}.",
    ]
    if several:
        lines.append("The SD over training seeds (n − 1) is that of one and the same test part.")
    if study.task == "multiclass":
        return _bullets([*lines, "Decision: the class with the highest probability; there is no threshold."])
    lines.append(
        "Decision thresholds, on the probability: of each class the one with the highest F1 on the validation part, "
        "each training its own."
    )
    return join(_bullets(lines), _thresholds(study, results))


def _changed_at_test_time(settings: dict[str, Any]) -> list[str]:
    on = [name if value is True else f"{name} {value:g}" for name, value in settings.items() if value]
    return [f"Logits are means over the image and its changes: {prose.listing(on)}."] if on else []


def _thresholds(study: StudyResults, results: Results) -> str:
    rows, missing = [], []
    for name in study.classes:
        values = results.values("threshold", name, "val")
        known = values[np.isfinite(values)]
        missing += [] if len(known) == len(values) else [name]
        span = (known.min(), known.max()) if len(known) else (math.nan, math.nan)
        mean = results.get("threshold", name, part="val")
        positives = results.get("auroc", name, part="val").n_positive
        rows.append([name, tables.whole(positives), *(tables.number(v) for v in (mean.value, *span))])
    heads = ["Class", "n positive, validation", "Mean threshold", "Lowest", "Highest"]
    why = f"- {tables.DASH} {prose.listing(missing)}: no threshold in every training." if missing else ""
    return join(tables.table(heads, rows, "lrrrr"), why)


def _counts(study: StudyResults, parts: tuple[str, ...]) -> str:
    """Lay out images, patients, and positives of some parts of the split."""
    audit = study.audit
    shown = [p for p in parts if p in audit["parts"]]
    rows = [
        [what.capitalize(), *(tables.whole(audit["parts"][p].get(what)) for p in shown)]
        for what in ("images", "patients")
    ]
    for name in study.classes:
        of = audit["classes"][name]
        cells = [f"{tables.whole(of[p]['positives'])} ({tables.percent(of[p]['prevalence'])})" for p in shown]
        rows.append([name, *cells])
    return tables.table(["", *(prose.capital(PARTS[p]) for p in shown)], rows, "l" + "r" * len(shown))


def _source(study: StudyResults) -> str:
    info = study.dataset
    name = f"[{info.title}]({info.url})" if info.url else info.title
    licence, citation = (text.rstrip(".") or UNKNOWN for text in (info.licence, info.citation))
    drawn = " **The images are synthetic: a program drew them.**" if info.synthetic else ""
    return f"{name}.{drawn} Licence: {licence}. Citation: {citation}."


def _evaluation_data(study: StudyResults, results: Results) -> str:
    audit = study.audit
    shared = [audit.get(f"{what}_in_two_parts") for what in ("patients", "groups", "duplicates")]
    lines = [
        f"Test part: {sections.sample(study, results)}. It was scored, and chose nothing. It is a part of the training "
        "data's own source, so that nothing is shown about other sources.",
        f"Split: {audit.get('method', UNKNOWN)}, with a seed of its own ({audit.get('seed', UNKNOWN)}).",
        "Audited: no patient, group of near-duplicates, or identical image is in two parts."
        if shared == [0, 0, 0]
        else "**Audited: patients, groups, or identical images are in two parts; the numbers are not estimates of "
        "performance.**",
        f"Preprocessing is that of the training data: {_preprocessing(study)}",
    ]
    return join(
        _source(study), _bullets(lines), "Positive images, and their share of the part:", _counts(study, ("test",))
    )


def _preprocessing(study: StudyResults) -> str:
    given = study.params.preprocess
    clahe = f"CLAHE with clip {given.clahe.clip:g}" if given.clahe.enabled else "no CLAHE"
    fitted = {"stretch": "stretched", "pad": "padded", "crop": "cropped"}[given.keep_aspect]
    return f"{fitted} to {given.size} × {given.size} px, 8 bit, {clahe}."


def _training_data(study: StudyResults, results: Results) -> str:
    augment = train_settings(study.params, results.model).augment.model_dump()
    on = ", ".join(f"{name} {value}" for name, value in augment.items() if value)
    balance = (study.audit.get("balance") or {}).get("method", "none")
    excluded = 0 if study.excluded is None else len(study.excluded)
    unused = study.audit["parts"].get("unused", {}).get("images", 0)
    left_out = f"{prose.count('file', excluded)} {prose.plural('was', excluded)} excluded before the split"
    rest = f"{prose.count('image', unused)} of the rest {prose.plural('is', unused)} in no part" if unused else ""
    lines = [
        "The same source as the evaluation data. The training part was fitted; the validation part chose the epoch"
        f"{', the thresholds,' if study.task == 'multilabel' else ''} and the calibration.",
        "An epoch draws each image once." if balance == "none" else f"The training part was balanced ({balance}).",
        f"Augmentation, drawn anew for each image: {on}." if on else "Nothing was augmented.",
        f"{prose.capital(left_out)}; {rest or 'every other image is in a part'}.",
        "Labels: what the program drew."
        if study.dataset.synthetic
        else "Who made the labels, and how well they "
        "agree with a reference standard, is not recorded here beyond the notes below.",
    ]
    return join(_bullets(lines), "Positive images, and their share of the part:", _counts(study, ("train", "val")))


# --- how it does -------------------------------------------------------------------------------------------------


def _overall(study: StudyResults, results: Results) -> str:
    metrics = [
        m for m in (*RANKING, *DECISIONS[study.task]) if math.isfinite(results.get(m).value) or results.get(m).note
    ]
    rows, noted, several = [], [], len(results.seeds) > 1
    for metric in metrics:
        estimate = results.get(metric)
        noted.append((LABELS[metric], study.interval_name, estimate))
        spread = [tables.number(results.sd(metric))] if several else []
        rows.append([LABELS[metric], tables.number(estimate.value), tables.interval(estimate), *spread])
    heads = ["Metric", "Mean of the seeds" if several else "Value", study.interval_name]
    heads += ["SD over seeds"] if several else []
    intro = f"Test part, {sections.sample(study, results)}, {prose.seeds(results.seeds)}; over classes, macro means."
    return join(intro, tables.table(heads, rows, "l" + "r" * (len(heads) - 1)), tables.reasons(noted))


def _calibration(study: StudyResults, results: Results) -> str:
    rows, noted = [], []
    for metric, label in CALIBRATION.items():
        raw, after = results.get(metric), results.get(f"{metric}_calibrated")
        if math.isfinite(raw.value) or math.isfinite(after.value):
            noted += [(label, "As trained", raw), (label, "Calibrated", after)]
            rows.append([label, tables.estimated(raw), tables.estimated(after)])
    if not rows:
        return ""
    if study.task == "multiclass":
        value = results.get("temperature", part="val").value
        how = f"one temperature a training (mean {tables.number(value, 2)})"
    else:
        how = "a slope and an intercept a class (Platt)"
    honest = [run.get("proper_loss") for run in results.runs]
    meant = (
        ""
        if not honest or None in honest or all(honest)
        else (
            f" {results.loss} is not least at the true probabilities: before calibration its outputs are not meant as "
            "such."
        )
    )
    return join(
        "Probabilities:",
        tables.table(["", f"As trained [{study.interval_name}]", f"Calibrated [{study.interval_name}]"], rows, "lrr"),
        tables.reasons(noted),
        f"Lower is better. Calibration is {how}, fitted on the validation part; ECE has 15 bins of equal mass; "
        "chance inflates it, and its interval, corrected for that, may end at the value. The change is not tested."
        f"{meant}",
    )


def _subgroups(study: StudyResults, results: Results) -> str:
    table = results.subgroups
    if table is None or table.empty:
        return "Unknown: no subgroup is measured, nor any intersection of subgroups."
    seed = MEAN if (table["seed"] == MEAN).any() else str(results.seeds[0])
    whole = table[(table["seed"] == seed) & (table["part"] == "test") & table["class"].isin(["macro", "overall"])]
    metrics = SUBGROUPS[study.task]
    rows, noted = [], []
    for (variable, subgroup), of in whole.groupby(["variable", "subgroup"], sort=False):
        by_metric = {row.metric: row for row in of.itertuples()}
        cells = {m: Estimate.of_row(by_metric[m]) if m in by_metric else Estimate() for m in metrics}
        noted += [(f"{variable} {subgroup}", LABELS[m], e) for m, e in cells.items()]
        rows.append(
            [variable, subgroup, *_sizes(study, cells[metrics[0]]), *(tables.estimated(e) for e in cells.values())]
        )
    everyone = {m: results.get(m) for m in metrics}
    rows.insert(
        0, ["everyone", "", *_sizes(study, everyone[metrics[0]]), *(tables.estimated(e) for e in everyone.values())]
    )
    counted = ["n images", *(["Positives of all classes"] if study.task == "multilabel" else [])]
    heads = ["Variable", "Subgroup", *counted, *(f"{LABELS[m]} [{study.interval_name}]" for m in metrics)]
    rare = (
        " A macro mean of a subgroup is over the classes that have a value in it: two subgroups may be means of "
        "different classes."
        if study.task == "multilabel"
        else ""
    )
    return join(
        f"Test part, mean over the seeds.{rare} Differences between subgroups are not tested: read none as shown. "
        "Intersections of two variables are not measured.",
        tables.table(heads, rows, "ll" + "r" * (len(heads) - 2)),
        tables.reasons(noted),
    )


def _sizes(study: StudyResults, estimate: Estimate) -> list[str]:
    """Return what a subgroup's numbers rest on; for single-label data each image is one positive."""
    positives = [tables.whole(estimate.n_positive)] if study.task == "multilabel" else []
    return [tables.whole(estimate.n), *positives]


# --- what to beware of -------------------------------------------------------------------------------------------


def _ethics(study: StudyResults, results: Results) -> str:
    if study.dataset.synthetic:
        lines = ["A program drew the images: they show no person, and no patient stands behind a row."]
    else:
        lines = [
            f"The images show people. They are used under the data set's licence: {study.dataset.licence.rstrip('.')}. "
            "Consent and approval by an ethics committee are matters of its publication, and not recorded here.",
            "The weights were fitted to these images; whether images can be told from them was not examined.",
        ]
    found = results.get("sensitivity")
    if math.isfinite(found.value):
        known = math.isfinite(found.low)
        within = (
            f" ({study.interval_name} {tables.percent(found.low)} to {tables.percent(found.high)})" if known else ""
        )
        lines.append(
            f"It errs: in the mean over classes its decisions find {tables.percent(found.value)} of the positive "
            f"test images{within} and miss the others."
        )
    lines.append(
        "Subgroups are measured where they are recorded, and not made equal."
        if results.subgroups is not None
        else "Whether it serves some people worse than others is not known."
    )
    return _bullets(lines)


def _caveats(study: StudyResults, results: Results) -> str:
    lines = _shortcuts(study, results)
    for run in results.runs:
        if run.get("collapsed"):
            lines.append(f"Collapsed, seed {run['seed']}: {tables.escape(str(run['collapsed']).rstrip('.'))}.")
    lines += _signs(study, results)
    lines += [tables.escape(note) for note in sections.limits(study)]
    lines.append(
        "Before any other study builds on it: score it on images of another source, choose thresholds and calibration "
        "anew on data with the class frequencies in question, and train more seeds."
    )
    return _bullets(lines)


def _shortcuts(study: StudyResults, results: Results) -> list[str]:
    """Set the recipe against the shortcut probes: what comes close, what does not, what is not known."""
    if not study.probes:
        return ["No shortcut probe was scored: whether less than the image explains its numbers is not known."]
    scores = {probe.loss: probe.get("auroc") for probe in study.probes}
    beside = ", ".join(f"{name} {tables.estimated(score)}" for name, score in scores.items())
    lines = [f"Shortcut probes, test macro AUROC on the same images: {beside}."]
    warnings = checks.probe_warnings(study, results)
    lines += [f"**{prose.capital(text)}.** Being close does not show that it does." for text in warnings]
    if not all(math.isfinite(e.value) for e in (results.get("auroc"), *scores.values())):
        lines[0] += " Where a number is missing, nothing is known."
    elif not warnings:
        lines[0] += f" It is more than {100 * MARGIN:g} points above each; other shortcuts are not ruled out."
    return lines


def _signs(study: StudyResults, results: Results) -> list[str]:
    """Name the signs of failure that the gates saw in this recipe's trainings."""
    if study.signs is None:
        return ["Signs of failure: not examined."]
    mine = {f"{results.key} seed {seed}" for seed in results.seeds}
    rows = [row for row in study.signs.itertuples() if row.cell in mine or _names(row.sentence, mine)]
    if not rows:
        return ["Signs of failure on the validation part: none was seen."]
    return [
        f"Sign of failure, {row.cell}: {tables.escape(row.sentence)} ({row.gate.replace('_', ' ')})." for row in rows
    ]


def _names(sentence: str, cells: set[str]) -> bool:
    """Whether a sentence names one of `cells`: of two trainings with the same numbers it names the first."""
    return any(re.search(rf"{re.escape(cell)}(?!\d)", sentence) for cell in cells)
