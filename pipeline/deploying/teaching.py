"""What the networks of a study say of its training images, written for another network to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.deploying.choice import FUSION, Choice, ChoiceSections
from pipeline.learning.teacher import SUFFIX, TeacherFile, names_of, read_teacher
from pipeline.scoring.predict import predict_images
from pipeline.scoring.settings import EvaluationSections
from pipeline.study.errors import UserError
from pipeline.study.files import ENSEMBLES, PREPARED, read_json
from pipeline.study.parts import read_parts
from pipeline.study.prepared import open_images, read_dataset, read_published
from pipeline.study.runs import Configuration, Run


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
        If `out` is there or has another ending, if the ensemble is one by features, which has no logits of members, or
        if a logit is not finite.
    """
    if out.suffix != SUFFIX:
        raise UserError(f"--out: {out}; must end in {SUFFIX}")
    if out.exists():
        raise UserError(f"--out: {out} is there already, and networks may have learned from it; name another file")
    if choice.method == FUSION:
        raise UserError(
            f"--ensemble: {choice.name} is a network on the features of its members, which have no logits to combine; "
            "must be an ensemble of predictions, such as mean_all"
        )
    data, images, part = read_dataset(), open_images(), read_parts(["train"])["train"]
    rows, first = np.unique(part.rows, return_index=True)
    found: dict[Run, np.ndarray] = {}
    for configuration in dict.fromkeys(Configuration(run.model, run.loss) for run in choice.members):
        runs, logits = predict_images(configuration, params, images, rows, len(data.classes), PREPARED, "preprocess")
        found |= dict(zip(runs, logits, strict=True))
    combined = choice.combiner.apply(np.stack([found[run] for run in choice.members]))
    if not np.isfinite(combined).all():
        raise UserError(f"{choice.name}: some logits of training images are not finite; use other networks")
    trained, chosen = names_of({"train"}), names_of({"val"})
    for model in dict.fromkeys(run.model for run in choice.members):  # a teacher's own teacher has taught both
        if (settings := params.models[model].teacher) is not None:
            before = read_teacher(f"models.{model}.teacher", settings.file)
            trained, chosen = trained | set(before.trained.tolist()), chosen | set(before.chosen.tolist())
    TeacherFile(
        name=choice.name,
        how=choice.how,
        members=np.array([str(run) for run in choice.members]),
        dataset=data.name,
        task=data.task,
        classes=np.array(data.classes),
        samples=read_published().set_index("row").loc[rows, "sample_id"].to_numpy(str),
        logits=combined.astype(np.float32),
        labels=part.targets[first].astype(np.float32),
        trained=np.array(sorted(trained)),
        chosen=np.array(sorted(chosen)),
    ).save(out)
    return (
        f"{out}: {choice.name}, {len(choice.members)} training runs, of {len(rows)} training images. A model learns "
        f"from it by, under models of params.yaml:  NAME: {{arch: …, lr: …, teacher: {{file: {out}}}}}"
    )
