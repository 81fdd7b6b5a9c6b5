"""What the networks of a study say of its training images, written for another network to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.deploying.choice import FUSION, Choice, ChoiceSections
from pipeline.learning.teacher import (
    SUFFIX,
    TeacherFile,
    digests_of,
    known_of_rows,
    names_by_part,
    pictures_of,
    read_teacher,
    teacher_sha256,
)
from pipeline.scoring.predict import predict_images
from pipeline.scoring.settings import EvaluationSections
from pipeline.study.errors import UserError
from pipeline.study.files import ENSEMBLES, PREPARED, read_json
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset
from pipeline.study.runs import Configuration, Run
from pipeline.study.trainings import run_folder


class TeachingSections(ChoiceSections, EvaluationSections):
    """The sections that say which networks there are and how they are applied."""


def chosen_ensemble() -> str | None:
    """Return the ensemble that validation has chosen; None where the study has none."""
    members = ENSEMBLES / "members.json"
    return read_json(members, "ensemble")["chosen"] if members.exists() else None


def teach(choice: Choice, params: TeachingSections, out: Path) -> str:
    """Write what the networks of `choice`, combined as validation says, say of each training image.

    Images are seen as they are, without the random changes of training.

    Parameters
    ----------
    choice : Choice
        An ensemble or a configuration, fitted on the validation part.
    params : TeachingSections
        Of the study.
    out : Path
        The file; must not exist: a network that has learned from it would count as learned from another one.

    Returns
    -------
    str
        What a person is to be told: of how many images, and what to write into params.yaml.

    Raises
    ------
    UserError
        If `out` is there or has another ending, if the ensemble is one by features, which has no logits of members, if
        its networks were trained on other data or on another split than those that are there, if one of them has
        learned from a file that is not there any more, or if a logit is not finite.
    """
    if out.suffix != SUFFIX:
        raise UserError(f"--out: {out}; must end in {SUFFIX}")
    if out.exists():
        raise UserError(f"--out: {out} is there already, and networks may have learned from it; name another file")
    if choice.method == FUSION:
        raise UserError(
            f"{choice.name} is a network on the features of its members, which have no logits to combine; name an "
            "ensemble of predictions by --ensemble, such as mean_all"
        )
    parts = names_by_part()
    digests = digests_of(parts)
    before = [seen for run in choice.members if (seen := _checked(run, params, digests)) is not None]
    data, images, part = read_dataset(), open_images(), read_parts(["train"])["train"]
    rows = np.unique(part.rows)
    found: dict[Run, np.ndarray] = {}
    for configuration in dict.fromkeys(Configuration(run.model, run.loss) for run in choice.members):
        runs, logits = predict_images(configuration, params, images, rows, len(data.classes), PREPARED, "preprocess")
        found |= dict(zip(runs, logits, strict=True))
    combined = choice.combiner.apply(np.stack([found[run] for run in choice.members]))
    if not np.isfinite(combined).all():
        raise UserError(f"{choice.name}: some logits of training images are not finite; use other networks")
    # A teacher's own teacher has taught both.
    trained = parts["train"].union(*(each.trained.tolist() for each in before))
    chosen = parts["val"].union(*(each.chosen.tolist() for each in before))
    names, labels = known_of_rows(rows, data.classes)
    TeacherFile(
        name=choice.name,
        how=choice.how,
        members=np.array([str(run) for run in choice.members]),
        dataset=data.name,
        task=data.task,
        classes=np.array(data.classes),
        samples=names,
        pictures=pictures_of(names),
        logits=combined.astype(np.float32),
        labels=labels,
        trained=np.array(sorted(trained)),
        chosen=np.array(sorted(chosen)),
    ).save(out)
    return (
        f"{out}: {choice.name}, {len(choice.members)} training runs, of {len(rows)} training images. A model learns "
        f"from it by, under models of params.yaml:  NAME: {{arch: …, lr: …, teacher: {{file: {out}}}}}"
    )


def _checked(run: Run, params: TeachingSections, digests: dict[str, str]) -> TeacherFile | None:
    """Refuse a training run of other data or another split than are there; return what it has learned from.

    What it was trained on is read from the split as it is there: after an unfinished `dvc repro` that is not what the
    networks have seen; `digests` are of the parts that it has.
    """
    about = read_json(run_folder(run) / "run.json", "train")
    if about.get("parts") != digests:
        raise UserError(f"{run} had other images for training or validation than the split has now; dvc repro first")
    if (taught := about.get("teacher")) is None:
        return None
    key, settings = f"models.{run.model}.teacher", params.models[run.model].teacher
    if settings is None or teacher_sha256(key, settings.file) != taught["sha256"]:
        given = settings.file if settings else "empty"
        raise UserError(
            f"{key}.file: {given}; must be what {run} has learned from, {taught['name']} with the SHA-256 "
            f"{taught['sha256']}: it says what that has seen"
        )
    return read_teacher(key, settings.file)
