"""Look at a folder of images and write the params.yaml of a study.

The folder holds one folder per class (also below train/, val/ and test/), or images that a table describes, as PNG,
JPEG, TIFF, BMP, WebP or DICOM. What was seen, what was chosen and why is printed. A params.yaml that is there already
is kept as params.yaml.1. Nothing is run; `dvc repro` does that, and `make study DATA=IMAGES` does both.

Examples
--------
  medmatrix new ../my_images                               folders of classes
  medmatrix new ../my_images --table ../my_images/labels.csv
  medmatrix new ../my_images --patient 'HB([0-9]+)'        whose image it is, in the names of the files
  medmatrix new ../my_images --without-patient exclude     images of which nothing names the patient are left out
  medmatrix new ../my_images --weights mobilenetv2_100.safetensors
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.commands import command_parser
from pipeline.study.errors import stage_errors

if TYPE_CHECKING:
    from pipeline.planning.choices import Choice
    from pipeline.planning.survey import Survey

PARAMS = Path("params.yaml")
_WIDTHS = [12, 24, 24, 27]


def main(arguments: Sequence[str] | None = None) -> None:
    """Survey the folder, apply the rules, write the file and print why."""
    parser = command_parser("new", __doc__)
    parser.add_argument("images", metavar="IMAGES", help="folder of images")
    parser.add_argument("--table", metavar="CSV", help="one row per image, with its labels")
    parser.add_argument("--label", metavar="COLUMN", help="column of the table that has the labels")
    parser.add_argument("--patient", metavar="COLUMN|PATTERN", help="whose image it is; default: guessed")
    parser.add_argument(
        "--without-patient",
        choices=["exclude", "alone"],
        help="images that name none where others do: left out, or each for itself; default: refused",
    )
    parser.add_argument("--weights", metavar="FILE", help="pretrained: .safetensors, .pth or package:NAME")
    parser.add_argument("--arch", metavar="NAME", help="timm architecture of the weights; default: from their name")
    parser.add_argument("--pretrained", action="store_true", help="timm's hub can be reached: use its weights")
    parser.add_argument("--out", type=Path, default=PARAMS, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--keep", action="store_true", help="leave a file that is about these images as it is")
    options = parser.parse_args(arguments)
    if options.weights and options.pretrained:
        parser.error("--weights FILE with --pretrained; use one of them")
    with stage_errors():
        from pipeline.planning.about import is_about

        if options.keep and is_about(options.out, options.images, options.table):
            print(f"{options.out} is about {options.images} already: kept as it is")
            return
        from pipeline.planning.about import check, weights_of
        from pipeline.planning.rules import choose
        from pipeline.planning.survey import survey
        from pipeline.planning.write import render, write

        weights = weights_of(options.weights, options.arch, options.pretrained)
        found = survey(options.images, options.table, options.label, options.patient, options.without_patient)
        choices = choose(found, weights)
        given = sys.argv[2:] if arguments is None else arguments
        typed = shlex.join(["medmatrix", "new", *(word for word in given if word not in ("--keep", "--"))])
        content = render(found, choices, typed)
        check(content, options.out)
        kept = write(options.out, content)
        print(text(found, choices))
        print()
        if kept:
            print(f"{options.out} was there: kept as {kept}")
        print(f"{options.out} is written. What will train: medmatrix plan. Run it: dvc repro, or make study")


def text(found: Survey, choices: Sequence[Choice]) -> str:
    """Write what was seen, what was chosen and why, as a table for a terminal of 100 columns."""
    from textwrap import wrap

    from tabulate import tabulate

    counts = ", ".join(f"{name} {of.images.total():,}" for name, of in found.classes.items())
    patients = found.patients
    if found.patients_known:
        told = [f"{found.all.people():,} patients", f"from {found.patients_from}", "they stay within one set"]
    elif found.nobody:
        named = found.all.images.total() - found.nobody
        told = [
            f"{named:,} of {found.all.images.total():,} images name one, by {found.patients_from}",
            f"NOT KNOWN of {found.nobody:,}: each image alone",
            "who is on them may be in another set, too: results may be too good",
        ]
    else:
        told = [
            "no name, column or header tells them",
            "NOT KNOWN: each image alone",
            "results may be too good: give --patient",
        ]
    own = found.dataset in ("image_folder", "image_table")
    rows = [
        ["images", f"{found.all.images.total():,}", found.dataset, "own images" if own else "a published layout"],
        ["task", f"{len(found.classes)} classes: {counts}", found.task, "what folders or columns say"],
        ["patients", *told],
        *_about(found),
        *([choice.what, choice.seen, choice.chosen, choice.why] for choice in choices),
    ]
    # Wrapped here: tabulate 0.10.0 reads "1,500" as a number where it wraps cells itself, and fails.
    wrapped = [["\n".join(wrap(cell, width)) for cell, width in zip(row, _WIDTHS, strict=True)] for row in rows]
    lines = [tabulate(wrapped, ["", "seen", "chosen", "why"], tablefmt="simple_outline", disable_numparse=True)]
    if patients.pattern:
        lines += [f"\npatients by {patients.where}:", f"  {patients.pattern}"]
        lines += [f"  {path}  ->  {name}" for path, name in patients.examples]
        lines.append("If that is not who is on the images: --patient PATTERN, with ( ) around whose image it is.")
    lines += [f"note: {remark}" for remark in found.remarks]
    if found.pictures.unreadable:
        lines.append(f"note: {found.pictures.unreadable} of {found.pictures.looked_at} images looked at cannot be read")
    return "\n".join(lines)


def _about(found: Survey) -> list[list[str]]:
    """Return the row about sex, age, view and date, if any of them was found."""
    if not found.about:
        return []
    total = found.all.images.total()
    seen = [
        name.replace("study_date", "date") + ("" if images == total else f" (of {images:,} images)")
        for name, images in found.about.items()
    ]
    divided = [name for name in seen if not name.startswith("date")]
    why = "the reports give results by each" if divided else ""
    if len(divided) < len(seen):
        why += ("; " if why else "") + "`split.method: time` goes by the date"
    return [["about them", ", ".join(seen), "kept", why]]
