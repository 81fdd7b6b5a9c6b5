"""Files to results on disk: predictions.csv, predictions.json and index.html."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.datasets.shared.irregular import printable
from pipeline.deploying.bundle import MODEL, RECIPE, Bundle, Engine, bundle, onnx_engine, study_regions, torch_engine
from pipeline.deploying.choice import COVERAGE, FUSION, Choice
from pipeline.deploying.dicom import COLUMNS as DICOM_COLUMNS
from pipeline.deploying.dicom import FOLDER as DICOM_FOLDER
from pipeline.deploying.dicom import Filing
from pipeline.deploying.page import write_page
from pipeline.deploying.recipe import Recipe
from pipeline.deploying.running import FAILED, HeatMaps, Journal, Predictor, Row, in_batches
from pipeline.deploying.sources import Source
from pipeline.imaging.region import NO_REGIONS, Regions
from pipeline.reporting.english import count
from pipeline.study.cells import harmless
from pipeline.study.disk import disk_full, told_of, why_full
from pipeline.study.errors import UserError
from pipeline.study.files import READING, read_json, replaced, write_json
from pipeline.study.locks import alone_in
from pipeline.study.outputs import keep_others, note_written

if TYPE_CHECKING:
    from pipeline.deploying.heat import Heat

Progress = Callable[[Iterator[int], int], None]
"""Runs through work that yields the number of files done, given the number that there is to do."""
JOURNAL = ".unfinished.jsonl"
"""In the folder of the results until they are whole."""
RESULTS = ("predictions.csv", "predictions.json", "index.html")
LEADING = ("file", "frame", "status", "reason", "decision", "prediction set", "flags", "distance")
"""First columns of predictions.csv; then for each class probability, low and high; then those of a table."""
HEAT = "heat maps"
"""Follows `LEADING` where there are any."""
EMPTY = "0 all over"
"""Stands for the picture of a map that has nothing to show."""


def predict(
    choice: Choice,
    named: Sequence[Source],
    out: Path,
    device: str = "cpu",
    threads: int = 2,
    pictures: bool = True,
    progress: Progress | None = None,
    heat: str | None = None,
    dicom: bool = False,
) -> str:
    """Apply a model to files.

    Parameters
    ----------
    choice : Choice
        The model.
    named : sequence of Source
        The files.
    out : Path
        Folder of the results; is made.
    device : {"cpu", "cuda"}
        On a CPU, ONNX Runtime computes; on CUDA, torch.
    threads : int
        Batches side by side on a CPU.
    pictures : bool
        Whether the page is to show the images.
    progress : callable, optional
        See `Progress`.
    heat : {"grad-cam", "grad-cam++", "layercam"}, optional
        How heat maps are made; none without it.
    dicom : bool
        Whether the results of DICOM files are to be written as DICOM, too.

    Returns
    -------
    str
        What a person is to be told: counts, and where the results are.

    Raises
    ------
    UserError
        If `out` cannot be written to, or the model cannot be made ready or has no heat maps.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out: {out} is a file; must be a folder")
    if heat is not None and choice.method == FUSION:
        raise UserError(
            f"--heatmaps: {choice.name} decides by features that its members share; it has no maps of its own"
        )
    regions = study_regions()
    if device == "cuda":
        from pipeline.learning.session import choose_device  # imports torch

        choose_device(device, "--device")
    made = bundle(choice)
    engine = onnx_engine(made.folder / MODEL, 1) if device == "cpu" else torch_engine(choice, device)
    maps = None
    if heat is not None:
        from pipeline.deploying.heat import Heat  # imports torch

        maps = Heat(choice, out, heat, device)
    predictor = _predictor(choice, made, engine, pictures, maps, regions)
    names = [_state(source) for source in named]
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone_in(out, f"--out: another process is writing into {out}: waiting for it"))
            kept = [] if (out / JOURNAL).exists() else keep_others(out, RESULTS)  # an interrupted call has kept them
            journal = stack.enter_context(closing(Journal(out / JOURNAL, _key(made, pictures, heat, dicom))))
        except OSError as error:
            if (why := why_full(error)) is not None:
                raise disk_full(f"--out: {out}", out, why, "more than there is") from None
            raise UserError(f"--out: {out}: {error.strerror}; must be a folder that can be written to") from None
        with told_of(f"--out: {out}", out):
            filing = Filing(made.recipe, out, heat or "", regions) if dicom else None
            counts = _run(predictor, named, names, journal, out, threads if device == "cpu" else 1, progress, filing)
            if filing is not None:
                filing.clean(journal.read(names))
            write_json(out / "predictions.json", _about(made, named, counts, maps))
            about_maps = None if maps is None else maps.about
            write_page(out / "index.html", made.recipe, journal.read(names), counts, about_maps)
        note_written(out, RESULTS)
        (out / JOURNAL).unlink()
    flagged = f", {counts['flagged']} of them flagged" if counts["flagged"] else ""
    told = (
        f"{count('image', counts['images'])} of {count('file', len(named))}: {counts['predicted']} predicted{flagged}"
    )
    reasons = "".join(f"\n  {n} x {reason}" for reason, n in _reasons(counts))
    failed = f"{counts['failed']} not predicted:{reasons}\n" if counts["failed"] else ""
    filed = f"{counts['filed']} of them also as DICOM in {out / DICOM_FOLDER}\n" if dicom else ""
    return "\n".join([told, *kept, f"{failed}{filed}{out / 'predictions.csv'}, {out / 'index.html'}"])


def _run(
    predictor: Predictor,
    named: Sequence[Source],
    names: Sequence[str],
    journal: Journal,
    out: Path,
    threads: int,
    progress: Progress | None,
    filing: Filing | None,
) -> Counter[str]:
    """Compute what is not in the journal yet, and write the table."""
    todo = [i for i, name in enumerate(names) if name not in journal]
    work = in_batches(predictor, [named[i] for i in todo], threads)
    done = _journalled(work, [names[i] for i in todo], journal, filing)
    if progress is None:
        deque(done, maxlen=0)
    else:
        progress(done, len(todo))
    extra = list(dict.fromkeys(column for source in named for column in source.extra))
    leading = LEADING if predictor.heat is None else (*LEADING, HEAT)
    outputs = () if filing is None else DICOM_COLUMNS
    return _write_table(out / "predictions.csv", predictor.recipe, journal.read(names), extra, leading, outputs)


def _predictor(
    choice: Choice, made: Bundle, engine: Engine, pictures: bool, heat: HeatMaps | None, regions: Regions = NO_REGIONS
) -> Predictor:
    kinds = read_json(READING, "preprocess")["kinds"]
    return Predictor(choice, made.recipe, engine, made.reference(), kinds, pictures, heat, regions)


def _journalled(
    work: Iterable[tuple[Source, list[Row]]], names: Sequence[str], journal: Journal, filing: Filing | None
) -> Iterator[int]:
    for name, (source, rows) in zip(names, work):
        journal.add(name, rows if filing is None else filing.file(source, rows))
        yield 1


def _state(source: Source) -> str:
    """Return what changes with a file: its name, what a table says of it, its size and time."""
    try:
        found = os.stat(source.path)
        state = f"{found.st_size} {found.st_mtime_ns}"
    except OSError:
        state = "gone"
    return f"{printable(os.path.abspath(source.path))} {state} {source.name} {json.dumps(source.extra, sort_keys=True)}"


def _key(made: Bundle, pictures: bool, heat: str | None, dicom: bool) -> str:
    settings = bytes([pictures, dicom]) + (heat or "").encode()
    return hashlib.sha256((made.folder / RECIPE).read_bytes() + settings).hexdigest()


def _write_table(
    path: Path,
    recipe: Recipe,
    rows: Iterable[Row],
    extra: Sequence[str],
    first: Sequence[str],
    outputs: Sequence[str],
) -> Counter[str]:
    """Write predictions.csv row by row; return counts of images, also by "reason: …"."""
    counts: Counter[str] = Counter(images=0, predicted=0, failed=0, flagged=0, filed=0)
    columns = [f"{what} {name}" for name in recipe.classes for what in ("probability", "low", "high")]
    columns += [f"set {name}" for name in recipe.classes] if recipe.task == "multilabel" else []
    theirs = _apart(extra, {*first, *columns, *outputs})
    with replaced(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([*first, *columns, *outputs, *map(harmless, theirs)])
        for row in rows:
            counts["images"] += 1
            counts["flagged"] += bool(row.flags)
            counts["filed"] += bool(row.outputs.get(DICOM_COLUMNS[0]))
            if row.status == FAILED:
                counts["failed"] += 1
                counts[f"reason: {row.reason.partition(':')[0]}"] += 1
            else:
                counts["predicted"] += 1
                counts.update(f"class: {name}" for name in row.decision)
            numbers = [f"{v:.6g}" for triple in zip(row.probability, row.low, row.high) for v in triple]
            numbers += row.sets
            leading = [
                harmless(row.file),
                row.frame or "",
                row.status,
                row.reason,
                harmless("|".join(row.decision)),
                harmless("|".join(row.prediction_set)),
                "; ".join(row.flags),
                "" if row.distance is None else f"{row.distance:.6g}",
                "|".join(each["file"] or EMPTY for each in row.heat),
            ][: len(first)]
            values = [
                *(row.outputs.get(name, "") for name in outputs),
                *(harmless(row.extra.get(name, "")) for name in extra),
            ]
            table.writerow([*leading, *(numbers or [""] * len(columns)), *values])
    return counts


def _apart(names: Sequence[str], taken: set[str]) -> list[str]:
    """Return what columns of a table are called beside others: no two alike."""
    called: list[str] = []
    for name in names:
        new = name
        while new in taken or new in called:
            new = f"table {new}"
        called.append(new)
    return called


def _reasons(counts: Counter[str]) -> list[tuple[str, int]]:
    return [(key.removeprefix("reason: "), n) for key, n in counts.most_common() if key.startswith("reason: ")]


def _about(made: Bundle, named: Sequence[Source], counts: Counter[str], heat: Heat | None) -> dict[str, object]:
    recipe = made.recipe
    about: dict[str, object] = {} if heat is None else {"heat_maps": heat.about}
    return {
        "for": "research only, not for clinical use",
        "model": recipe.record(),
        "files": len(named),
        "counts": {key: counts[key] for key in ("images", "predicted", "failed", "flagged")},
        "not_predicted": dict(_reasons(counts)),
        "decided_for": {name: counts[f"class: {name}"] for name in recipe.classes},
        "columns": {
            "probability": "calibrated on the study's validation set",
            "low, high": "smallest and largest of the single training runs, under the same calibration",
            "decision": "classes at or above their validation thresholds"
            if recipe.task == "multilabel"
            else "the most probable class",
            "set": f"multi-label: present, absent, open (both) or neither; holds the truth of {COVERAGE:.0%} of images "
            "with the class, and of those without, if they are like the validation set's",
            "prediction set": f"single-label: holds the truth of {COVERAGE:.0%} of images like the validation set's",
            "distance": "Mahalanobis, of the first training run's features from those of the training images",
        },
        **about,
    }
