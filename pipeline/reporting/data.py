"""The page about the images: who and what is in them, what was left out, how they were divided."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.learning.settings import Augment, train_settings
from pipeline.reporting import prose, sections, tables
from pipeline.reporting.figures import data as figures
from pipeline.reporting.sections import PARTS, image, join
from pipeline.reporting.study import StudyResults
from pipeline.study.files import PRIVATE_FIGURES, write_text

ALL = "all"
NONE = "none of them"
_NAMED = 5
"""File names given with a reason."""
_CONFLICTS = 20
"""Pairs of duplicates with different labels that are named."""
_LEAST_TOGETHER = 10
"""Images that two classes must share for their lift to be listed: of fewer it is mostly chance."""
_LISTED_PAIRS = 10
_LEAST_EXPECTED = 5
"""Images that chance would give two classes for their absence to be worth a word."""
_MOST_VALUES = 6
"""Distinct values of a column such as view that are counted one by one."""
_MOST_PICTURED = 24
"""Classes in the figure of sample images."""

Frames = dict[str, pd.DataFrame]


def render(study: StudyResults, folder: Path) -> list[Path]:
    """Write data.md and its figures; return what was written. Without the samples (a bare table) there is no page.

    Figures that show images lie outside `folder` unless ``report.private_figures`` allows them there.
    """
    if study.samples is None or study.dataset is None or study.audit is None:
        return []
    page = folder / "data.md"
    pictures = folder / "figures"
    together = _together(study)
    drawn = {
        "shares": figures.class_shares(study, pictures / "data-classes.png"),
        "pairs": figures.class_pairs(study, together, pictures / "data-pairs.png") if together is not None else None,
        "samples": figures.sample_images(
            study, picks(study), sections.figure_of_images(study, folder, "data-samples.png")
        ),
        "clahe": _clahe_figure(study, folder),
    }
    augmented = _augmented_figures(study, folder)
    frames = _frames(study)
    text = join(
        f"# Data: {study.title}",
        *sections.banner(study),
        f"{_source(study)} [The results](README.md)",
        "Numbers on this page count these images. They carry no interval: nothing is inferred from them.",
        "## From listed to used",
        _flow(study),
        "## Parts",
        _parts(frames),
        "An augmented copy counts as an image here and in the next table." if _copied(study) else "",
        _images_a_patient(_images(study)),
        "## Classes",
        _classes(study, frames),
        image("Share of the images with each class, by part", "figures/data-classes.png"),
        _pairs(study, together, drawn["pairs"] is not None),
        _people(frames),
        "## Image files",
        _sizes(study),
        "## Sample images",
        _samples_section(study, drawn["samples"], page),
        "## Contrast enhancement",
        _clahe_section(study, drawn["clahe"], page),
        "## Augmentation",
        _augmentation_section(study, augmented, page),
        "## Excluded",
        _excluded(study),
        "## Duplicates",
        _duplicates(study),
        "## The split",
        _split(study.audit),
        _unused(study.audit),
        _balance(study),
        "## Where figures that show images are kept",
        _privacy(study),
    )
    write_text(page, text + "\n")
    return [page, *(path for path in (*drawn.values(), *augmented.values()) if path is not None)]


def _frames(study: StudyResults) -> Frames:
    """Return the samples of every part that has any, and all of them."""
    samples = study.samples
    found = {name: samples[samples["part"] == part] for part, name in PARTS.items()}
    return {**{name: rows for name, rows in found.items() if len(rows)}, ALL: samples}


def _images(study: StudyResults) -> pd.DataFrame:
    """Return every kept image once, without augmented copies."""
    return study.samples[study.samples["augmented"] == 0]


def _copied(study: StudyResults) -> bool:
    return len(_images(study)) < len(study.samples)


def _columns(frames: Frames) -> list[str]:
    return [f"{name} (n = {len(rows):,})" for name, rows in frames.items()]


def _counted(number: int, of: int) -> str:
    """Write a count and its share."""
    return f"{number:,} ({tables.percent(number / of if of else math.nan)})"


def _quartiles(values: Iterable[float]) -> str:
    """Write median and quartiles, ``47 [34, 58]``."""
    known = np.asarray(list(values), float)
    if not len(known):
        return tables.DASH
    low, middle, high = (f"{round(q, 1):,g}" for q in np.quantile(known, [0.25, 0.5, 0.75]))
    return f"{middle} [{low}, {high}]"


def _source(study: StudyResults) -> str:
    info = study.dataset
    name = f"[{info.title}]({info.url})" if info.url else info.title
    kind = "one class an image" if info.task == "multiclass" else "any number of classes an image"
    return (
        f"{name}: {prose.count('class', len(info.classes))}, {kind}. Licence: {info.licence.rstrip('.')}. "
        f"{info.citation.rstrip('.')}."
    )


def _flow(study: StudyResults) -> str:
    kept, excluded = len(_images(study)), 0 if study.excluded is None else len(study.excluded)
    copies = len(study.samples) - kept
    counts = study.samples["part"].value_counts()
    rows = [
        ["listed by the data set", kept + excluded],
        ["excluded", excluded],
        ["kept", kept],
        *([["augmented copies, made before the split", copies]] if copies else []),
        *([f"of these {name}", int(counts.get(part, 0))] for part, name in PARTS.items()),
    ]
    return tables.table(["", "Images"], [[name, tables.whole(n)] for name, n in rows], "lr")


def _parts(frames: Frames) -> str:
    measured: dict[str, Callable[[pd.DataFrame], str]] = {
        "Images": lambda rows: f"{len(rows):,}",
        "Patients": lambda rows: f"{rows['patient_id'].nunique():,}",
        "Groups kept together": lambda rows: f"{rows['group_id'].nunique():,}",
        "Images a patient, median [quartiles]": lambda rows: _quartiles(rows["patient_id"].value_counts()),
        "Most images of one patient": lambda rows: f"{rows['patient_id'].value_counts().max():,}",
    }
    rows = [[label, *(write(part) for part in frames.values())] for label, write in measured.items()]
    return tables.table(["", *frames], rows, "l" + "r" * len(frames))


def _images_a_patient(samples: pd.DataFrame) -> str:
    counts = samples["patient_id"].value_counts()
    bins = {"1 image": (1, 1), "2": (2, 2), "3 to 5": (3, 5), "6 to 10": (6, 10), "11 or more": (11, math.inf)}
    found = {name: int(counts.between(low, high).sum()) for name, (low, high) in bins.items()}
    listed = "; ".join(f"{name}: {n:,}" for name, n in found.items() if n)
    group = "A group is a patient, or patients who share a picture, and must stay in one part."
    return f"Patients by their number of images: {listed}. {group}"


def _classes(study: StudyResults, frames: Frames) -> str:
    classes = list(study.classes)
    rows = [
        [
            name,
            *(_counted(int(part[name].sum()), len(part)) for part in frames.values()),
            *(f"{part.loc[part[name] == 1, 'patient_id'].nunique():,}" for part in _test_and_all(frames)),
        ]
        for name in classes
    ]
    free = {name: ~part[classes].any(axis=1) for name, part in frames.items()}
    if free[ALL].any():
        patients = [part.loc[free[name], "patient_id"].nunique() for name, part in _test_and_all_named(frames)]
        counted = [_counted(int(mask.sum()), len(mask)) for mask in free.values()]
        rows.append([NONE, *counted, *(f"{n:,}" for n in patients)])
    patient_heads = [f"patients, {name}" for name, _ in _test_and_all_named(frames)]
    heads = ["Class", *_columns(frames), *patient_heads]
    labels = _images(study)[classes].sum(axis=1).value_counts().sort_index()
    listed = "; ".join(f"{k} {prose.plural('class', k)}: {n:,}" for k, n in labels.items())
    lines = [
        "Images with the class, and their share of the part; then patients with at least one such image. How well "
        "a class can be scored depends on its positive patients in the test part.",
        tables.table(heads, rows, "l" + "r" * (len(heads) - 1)),
        f"Images by the number of their classes: {listed}." if study.task == "multilabel" else "",
    ]
    return join(*lines)


def _test_and_all_named(frames: Frames) -> list[tuple[str, pd.DataFrame]]:
    return [(name, frames[name]) for name in (PARTS["test"], ALL) if name in frames]


def _test_and_all(frames: Frames) -> list[pd.DataFrame]:
    return [rows for _, rows in _test_and_all_named(frames)]


def _together(study: StudyResults) -> np.ndarray | None:
    """Count the images that have two classes; None where an image has one class only."""
    if study.task == "multiclass" or len(study.classes) < 2:
        return None
    labels = _images(study)[list(study.classes)].to_numpy(np.int64)
    return labels.T @ labels


def _pairs(study: StudyResults, counts: np.ndarray | None, pictured: bool) -> str:
    if counts is None:
        return ""
    samples, classes = _images(study), study.classes
    total = len(samples)
    expected = np.outer(np.diag(counts), np.diag(counts)) / total
    every = list(combinations(range(len(classes)), 2))
    often = [(i, j) for i, j in every if counts[i, j] >= _LEAST_TOGETHER]
    often.sort(key=lambda pair: (-counts[pair] / expected[pair], -counts[pair], pair))
    rows = []
    for i, j in often[:_LISTED_PAIRS]:
        both = samples[(samples[classes[i]] == 1) & (samples[classes[j]] == 1)]
        rows.append(
            [
                f"{classes[i]}, {classes[j]}",
                f"{counts[i, j]:,}",
                f"{both['patient_id'].nunique():,}",
                tables.number(float(expected[i, j]), 1),
                tables.number(float(counts[i, j] / expected[i, j]), 2),
            ]
        )
    least = f"{_LEAST_TOGETHER} images"
    if rows:
        shown = f"the {len(rows)} strongest of {len(often):,}" if len(often) > len(rows) else f"all {len(rows)}"
        table = join(
            f"Pairs with at least {least} in common, by lift ({shown}). Lift is the number of images with both divided "
            "by the number expected if the classes were independent; images of one patient are alike, which "
            "raises it for pairs with few patients.",
            tables.table(["Pair", "Images with both", "Patients", "Expected", "Lift"], rows, "lrrrr"),
        )
    else:
        table = f"No two classes have {least} in common, so no lift is listed: of fewer images it is mostly chance."
    apart = [(i, j) for i, j in every if counts[i, j] == 0 and expected[i, j] >= _LEAST_EXPECTED]
    apart.sort(key=lambda pair: (-expected[pair], pair))
    named = [f"{prose.readable(classes[i])} with {prose.readable(classes[j])}" for i, j in apart[:_NAMED]]
    more = f" Never together, though chance alone would give {_LEAST_EXPECTED} images or more: {'; '.join(named)}"
    rest = f"; and {len(apart) - len(named)} more." if len(apart) > len(named) else "."
    figure = image("Images with two classes, counted", "figures/data-pairs.png") if pictured else ""
    return join(
        "### Classes that occur together",
        f"All {total:,} kept images.{more + rest if apart else ''}",
        figure,
        table,
    )


def _people(frames: Frames) -> str:
    """Describe age, sex and view where the data set knows them."""
    own = {column.lower(): column for column in frames[ALL].columns}
    rows = []
    if "age" in own:
        ages = {name: pd.to_numeric(part[own["age"]], errors="coerce") for name, part in frames.items()}
        rows += [
            ["Age at the image, years: median [quartiles]", *(_quartiles(a.dropna()) for a in ages.values())],
            ["Age: lowest to highest", *(_range(a.dropna()) for a in ages.values())],
            ["Age: images with, without it", *(f"{a.notna().sum():,}, {a.isna().sum():,}" for a in ages.values())],
        ]
    if "sex" in own:
        sexes = {name: _sex_of_patients(part, own["sex"]) for name, part in frames.items()}
        rows += _shares(sexes, "Sex", "patients")
    if "view" in own:
        rows += _shares({name: part[own["view"]] for name, part in frames.items()}, "View", "images")
    lacking = [name for name in ("age", "sex", "view") if name not in own]
    missing = f"The data set has no column for {prose.listing(lacking, 'or')}." if lacking else ""
    if not rows:
        return join("## Patients and views", missing)
    gaps = f"{tables.DASH}: no image of the part has a value." if any(tables.DASH in row for row in rows) else ""
    return join("## Patients and views", tables.table(["", *frames], rows, "l" + "r" * len(frames)), gaps, missing)


def _range(values: pd.Series) -> str:
    return f"{values.min():g} to {values.max():g}" if len(values) else tables.DASH


def _sex_of_patients(rows: pd.DataFrame, column: str) -> pd.Series:
    """Return the sex of every patient; missing where none or more than one is recorded."""
    names = {"f": "female", "female": "female", "m": "male", "male": "male"}
    read = rows[column].map(lambda v: v if pd.isna(v) else names.get(str(v).strip().lower(), str(v)))
    return read.groupby(rows["patient_id"]).agg(lambda v: v.dropna().iloc[0] if v.dropna().nunique() == 1 else None)


def _shares(columns: dict[str, pd.Series], label: str, unit: str) -> list[list[str]]:
    """Count the values of a column in every part; shares are of those that are known."""
    values = columns[ALL].dropna().astype(str).value_counts()
    ranked = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    shown = [value for value, _ in ranked[:_MOST_VALUES]]
    known = {name: column.dropna().astype(str) for name, column in columns.items()}
    rows = [
        [
            f"{label}: {value}, {unit}",
            *(_counted(int((k == value).sum()), len(k)) if len(k) else tables.DASH for k in known.values()),
        ]
        for value in shown
    ]
    if len(ranked) > len(shown):
        others = [int((~k.isin(shown)).sum()) for k in known.values()]
        rest = f"{label}: {len(ranked) - len(shown)} other values, {unit}"
        rows.append([rest, *(_counted(n, len(k)) for n, k in zip(others, known.values()))])
    missing = [f"{len(columns[name]) - len(known[name]):,}" for name in columns]
    return [*rows, [f"{label}: not known, {unit}", *missing]]


def _sizes(study: StudyResults) -> str:
    samples = _images(study)
    rows = [
        [side, *(f"{v:,.0f}" for v in (samples[side].min(), samples[side].median(), samples[side].max()))]
        for side in ("width", "height")
    ]
    sizes = samples.groupby(["width", "height"]).size()
    (width, height), most = sizes.idxmax(), int(sizes.max())
    if len(sizes) == 1:
        distinct = f"All files are {width} × {height} px."
    else:
        distinct = (
            f"{prose.capital(prose.count('size', len(sizes)))}, the most frequent {width} × {height} px "
            f"({_counted(most, len(samples))})."
        )
    stored = " × ".join(f"{n}" for n in study.images.shape[2:0:-1])
    return join(
        f"Pixels of the kept files as published. {distinct} Models see {stored} px.",
        tables.table(["", "Smallest", "Median", "Largest"], rows, "lrrr"),
    )


def picks(study: StudyResults) -> dict[str, list[int]]:
    """Choose the images of the sample figure by rule, so that nobody chooses the pretty ones.

    Returns
    -------
    dict
        Class, and `NONE` where there are such images, to rows: images with a box of the class first, then those of
        the training part, then those with the fewest other classes, then by row; one a patient.
    """
    samples, classes = _images(study), list(study.classes)
    if len(classes) > _MOST_PICTURED:
        counts = samples[classes].sum()
        classes = sorted(sorted(classes, key=lambda c: -counts[c])[:_MOST_PICTURED], key=study.classes.index)
    each = 3 if len(classes) > 8 else 4 if len(classes) > 4 else 6
    labels = samples[list(study.classes)].sum(axis=1)
    order = samples["part"].map({part: i for i, part in enumerate(PARTS)})
    chosen = {}
    for name in [*classes, NONE]:
        has = labels == 0 if name == NONE else samples[name] == 1
        boxes = study.boxes
        boxed = set() if boxes is None else set(boxes.loc[boxes["class"] == name, "row"])
        keys = pd.DataFrame(
            {
                "boxless": ~samples["row"].isin(boxed),
                "part": order,
                "labels": labels,
                "row": samples["row"],
                "patient": samples["patient_id"],
            }
        )[has]
        ranked = keys.sort_values(["boxless", "part", "labels", "row"]).drop_duplicates("patient")
        if len(ranked) or name != NONE:
            chosen[name] = ranked["row"].head(each).tolist()
    return chosen


def _samples_section(study: StudyResults, path: Path | None, page: Path) -> str:
    if path is None:
        return "No class has an image."
    fewest = " with the fewest other classes" if study.task == "multilabel" else ""
    rule = f"Chosen by rule: of each class the training images{fewest}, in the order of the data set, one a patient."
    if study.boxes is not None and len(study.boxes):
        rule += (
            f" Images with a box of the class come first, from any part; the box is drawn. There "
            f"{prose.plural('is', len(study.boxes))} {prose.count('box', len(study.boxes))} on "
            f"{prose.count('image', study.boxes['row'].nunique())}."
        )
    else:
        rule += " The data set has no boxes."
    if len(study.classes) > _MOST_PICTURED:
        rule += f" Shown are the {_MOST_PICTURED} most frequent classes."
    picture = sections.image_of_images(study, "Sample images of every class, as the models see them", path, page)
    return join(f"As the models see them. {rule}", picture)


def _clahe_figure(study: StudyResults, folder: Path) -> Path | None:
    path = sections.figure_of_images(study, folder, "data-clahe.png")
    return figures.before_after(study, study.examples, path) if study.examples is not None else None


def _clahe_section(study: StudyResults, path: Path | None, page: Path) -> str:
    clahe = study.params.preprocess.clahe if study.params is not None else None
    if path is not None:
        settings = f" (clip {clahe.clip:g}, {clahe.tiles} × {clahe.tiles} tiles)" if clahe is not None else ""
        return join(
            f"CLAHE{settings} spreads the grey levels of each tile. Images from equal stretches of the beginning of "
            "the data set, chosen by their place alone, at the size that models see, and below how often each grey "
            "level occurs in them.",
            sections.image_of_images(study, "Images without and with CLAHE, and their grey levels", path, page),
        )
    if clahe is not None and not clahe.enabled:
        return "CLAHE is off: images are resized only."
    return f"{tables.DASH} No pairs of images before and after: the data were prepared without examples.npz."


def _augmentations(study: StudyResults) -> list[tuple[list[str], Augment]]:
    """Return every distinct augmentation of the study with the models that are trained with it."""
    found: list[tuple[list[str], Augment]] = []
    for model in study.params.study.models if study.params is not None else ():
        settings = train_settings(study.params, model).augment
        same = next((models for models, other in found if other == settings), None)
        if same is None:
            found.append(([model], settings))
        else:
            same.append(model)
    return found


def _operations(settings: Augment) -> list[list[str]]:
    """Return a row an operation that is on, in the order in which they are done: name, range, probability."""
    every, turn, zoom, contrast = "every image", settings.rotation, settings.zoom, settings.contrast
    jpeg, erase = settings.jpeg, settings.erase
    rows: list[tuple[float, str, str, str]] = [
        (settings.horizontal_flip, "mirrored, left and right", "", _share(settings.horizontal_flip)),
        (settings.vertical_flip, "mirrored, top and bottom", "", _share(settings.vertical_flip)),
        (turn, "rotated", f"−{turn:g}° to {turn:g}°", every),
        (settings.shift, "shifted along each axis", f"up to {_share(settings.shift)} of the side, either way", every),
        (zoom, "zoomed", f"factor {1 - zoom:g} to {1 + zoom:g}", every),
        (contrast, "contrast about the image's mean", f"factor {1 - contrast:g} to {1 + contrast:g}", every),
        (
            settings.brightness,
            "brightness",
            f"up to {_share(settings.brightness)} of the grey range, up or down",
            every,
        ),
        (settings.noise, "Gaussian noise", f"SD up to {_share(settings.noise)} of the grey range", every),
    ]
    if jpeg is not None:
        name, span = "JPEG compression", f"quality {jpeg.quality[0]} to {jpeg.quality[1]}"
        rows.append((jpeg.probability, name, span, _share(jpeg.probability)))
    if erase is not None:
        name, span = "a rectangle erased", f"{_share(erase.area[0])} to {_share(erase.area[1])} of the image"
        rows.append((erase.probability, name, span, _share(erase.probability)))
    return [row for on, *row in rows if on]


def _share(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _augmented_figures(study: StudyResults, folder: Path) -> dict[str, Path | None]:
    """Draw the examples of every distinct augmentation; return the figures by the first model of each."""
    drawn: dict[str, Path | None] = {}
    for models, settings in _augmentations(study):
        name = f"data-augmentation-{models[0]}.png" if drawn else "data-augmentation.png"
        path = sections.figure_of_images(study, folder, name)
        found = next((r.augmented for r in study.configurations if r.model in models and r.augmented is not None), None)
        shown = found is not None and len(found.rows) and _operations(settings)
        drawn[models[0]] = figures.augmented_images(study, found, path) if shown else None
    return drawn


def _augmentation_section(study: StudyResults, drawn: dict[str, Path | None], page: Path) -> str:
    groups = _augmentations(study)
    if not groups:
        return f"{tables.DASH} The settings of training are not known."
    blocks = [
        "Validation and test images are never changed. A training image is changed anew each time that it is drawn, by "
        "values of its own, uniform in the ranges."
    ]
    for models, settings in groups:
        if len(groups) > 1:
            blocks.append(f"### {prose.listing(models)}")
        blocks += _one_augmentation(study, models, settings, drawn[models[0]], page)
    return join(*blocks)


def _one_augmentation(
    study: StudyResults, models: list[str], settings: Augment, path: Path | None, page: Path
) -> list[str]:
    operations = _operations(settings)
    if not operations:
        return ["None: training images are shown to the network as they are prepared."]
    table = tables.table(["Operation", "Range", "Probability"], operations, "lll")
    if path is None:
        return [table, f"{tables.DASH} No examples: the models were trained without augmented.npz."]
    verb = "sees" if len(models) == 1 else "see"
    description = f"The same training images as {prose.listing(models)} {verb} them"
    return [table, sections.image_of_images(study, description, path, page)]


def _excluded(study: StudyResults) -> str:
    excluded = study.excluded
    if excluded is None or excluded.empty:
        return "No file was excluded."
    rows = _by_reason(excluded["reason"].map(sections.kind_of_reason), excluded["file"])
    return join(
        f"{prose.capital(prose.count('file', len(excluded)))} of the data set "
        f"{prose.plural('is', len(excluded))} not in the study.",
        tables.table(["Reason", "Files", "Names"], rows, "lrl"),
    )


def _by_reason(reasons: pd.Series, names: pd.Series) -> list[list[str]]:
    """Return a row a reason, the most frequent first: how many, and the first names."""
    listed = names.groupby(reasons.to_numpy()).agg(list)
    ranked = sorted(listed.items(), key=lambda item: (-len(item[1]), item[0]))
    return [[reason, f"{len(found):,}", _first(found)] for reason, found in ranked]


def _first(names: list[str], most: int = _NAMED) -> str:
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _duplicates(study: StudyResults) -> str:
    found = study.duplicates
    if found is None:
        images = _images(study)
        copies = images[images["duplicate_of"] != ""]
        verb = prose.plural("is", len(copies))
        named = [f"{s} = {o}" for s, o in zip(copies["sample_id"], copies["duplicate_of"])]
        return (
            f"{prose.capital(prose.count('image', len(copies)))} {verb} identical, pixel by pixel, to an earlier one"
            f"{': ' + tables.escape(_first(named)) if named else ''}. These data were prepared without "
            "duplicates.csv, so similar images were not looked for."
        )
    settings = study.params.preprocess.duplicates if study.params is not None else None
    looked = "Identical are images with the same pixels."
    if settings is not None and settings.near:
        looked += (
            f" Near are those whose perceptual hashes differ in at most {settings.hamming} of 64 bits and whose "
            f"thumbnails correlate with at least {settings.correlation:g}."
        )
    elif settings is not None:
        looked += " Similar images were not looked for (`preprocess.duplicates.near: false`)."
    if found.empty:
        return f"No duplicates were found. {looked}"
    names = {"exact": "identical", "near": "near"}
    rows = [
        [
            names.get(kind, kind),
            f"{len(pairs):,}",
            f"{int((~pairs['labels_agree']).sum()):,}",
            "; ".join(f"{action}: {n:,}" for action, n in sorted(pairs["action"].value_counts().items())),
        ]
        for kind, pairs in found.groupby("kind")
    ]
    return join(
        looked,
        tables.table(["Kind", "Pairs", "With other labels", "What was done"], rows, "lrrl"),
        _conflicts(found[~found["labels_agree"]]),
    )


def _conflicts(pairs: pd.DataFrame) -> str:
    if pairs.empty:
        return "The two images of each pair have the same labels."
    rows = [
        [
            row.sample_id,
            row.other_id,
            row.kind,
            tables.whole(row.hamming),
            tables.number(row.correlation, 4),
            row.action,
        ]
        for row in pairs.head(_CONFLICTS).itertuples()
    ]
    heads = ["Image", "Same as", "Kind", "Hash bits", "Correlation", "What was done"]
    dashes = [head for head, column in zip(heads[3:5], list(zip(*rows))[3:5]) if tables.DASH in column]
    more = f" The first {len(rows)}:" if len(pairs) > len(rows) else ""
    pairs_differ = f"{prose.count('pair', len(pairs))} {prose.plural('has', len(pairs))} different labels"
    return join(
        f"{prose.capital(pairs_differ)}. Of two identical images one is then labelled wrongly, and nothing says which; "
        f"near ones may be two films that truly differ.{more}",
        tables.table(heads, rows, "lllrrl"),
        f"{tables.DASH} {prose.listing(dashes)}: not measured for this pair." if dashes else "",
    )


def _split(audit: dict[str, Any]) -> str:
    rows = []
    if "method" in audit:
        rows += [["Method", str(audit["method"])], ["Seed of the split", str(audit["seed"])]]
    if "protocol" in audit:
        rows.append(["Protocol", str(audit["protocol"])])
    if audit.get("per_class"):
        asked = ", ".join(f"{part} {n:,}" for part, n in audit["per_class"].items())
        rows.append(["Images of each class asked for", asked])
    for what, label in (("patients", "Patients"), ("groups", "Groups"), ("duplicates", "Identical images")):
        rows.append([f"{label} in two parts", tables.whole(audit.get(f"{what}_in_two_parts"))])
    difference = audit.get("largest_prevalence_difference")
    if difference:
        first, second = (PARTS.get(p, p) for p in difference["parts"])
        points = f"{100 * difference['difference']:.1f} percentage points"
        rows.append(["Largest difference of a share", f"{difference['class']}, {first} and {second}: {points}"])
    else:
        rows.append(["Largest difference of a share", f"{tables.DASH} (fewer than two parts have images)"])
    rows.append(["SHA-256 of the split", f"`{audit['sha256']}`" if "sha256" in audit else tables.DASH])
    leaks = any(audit.get(f"{what}_in_two_parts") for what in ("patients", "groups", "duplicates"))
    verdict = (
        "**Something is in two parts: no number of these reports can be trusted.**"
        if leaks
        else "Counted from the ids after the split, whatever its method promises."
    )
    return join(verdict, tables.table(["Audit", ""], rows, "ll"))


def _unused(audit: dict[str, Any]) -> str:
    unused = audit.get("unused") or []
    if not unused:
        return "Every kept image is in a part."
    kinds = pd.Series([sections.kind_of_reason(str(u.get("reason", "not recorded"))) for u in unused])
    names = pd.Series([str(u.get("sample_id", "")) for u in unused])
    return join(
        f"{prose.capital(prose.count('kept image', len(unused)))} {prose.plural('is', len(unused))} in no part:",
        tables.table(["Reason", "Images", "Names"], _by_reason(kinds, names), "lrl"),
    )


def _balance(study: StudyResults) -> str:
    balance = (study.audit or {}).get("balance") or {}
    if balance.get("method", "none") == "none":
        return "The training part is not balanced: an epoch draws each of its images once."
    counted = dict(balance.get("classes") or {})
    if balance.get("no_finding"):
        counted[NONE] = balance["no_finding"]
    if balance.get("images"):
        counted["all images"] = balance["images"]
    rows = [[name, tables.whole(draws["before"]), tables.whole(draws["after"])] for name, draws in counted.items()]
    to = f" to {balance['to']:,} draws a class" if balance.get("to") else ""
    remarks = []
    if never := balance.get("never_drawn"):
        remarks.append(
            f"{prose.capital(prose.count('training image', never))} {prose.plural('is', never)} never drawn."
        )
    if balance.get("most_draws", 0) > 1:
        remarks.append(f"One image is drawn at most {balance['most_draws']:,} times an epoch.")
    return join(
        f"The training part is balanced (`{balance['method']}`{to}); validation and test part are not. Images with "
        "the class that an epoch draws:",
        tables.table(["Class", "Without", "With balancing"], rows, "lrr"),
        " ".join(remarks),
    )


def _privacy(study: StudyResults) -> str:
    setting = "`report.private_figures` in params.yaml"
    if sections.private(study):
        return (
            f"Most data sets may not be handed on. Figures that show images therefore lie in "
            f"`{PRIVATE_FIGURES.as_posix()}/`, which git ignores, and the links to them work only on the "
            f"machine that ran the study. Where the licence allows it, {setting} set to `false` puts them beside the "
            "other figures."
        )
    why = (
        "show no person" if study.dataset is not None and study.dataset.synthetic else f"may be published by {setting}"
    )
    return f"Beside the other figures, in `figures/`: the images {why}."
