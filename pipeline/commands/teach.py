"""Write an ensemble's answers, for one network to learn from.

They are its logits of the training images (knowledge distillation). The study must have run. A further model of
params.yaml, a student, names the file (models.NAME.teacher.file); it is trained, evaluated and compared like every
other. It is refused where its teacher has seen an image, or a patient, that the student is validated or tested on.

Examples
--------
  medmatrix teach                          teachers/NAME.npz, of the ensemble that validation chose
  medmatrix teach --ensemble mean_all      of a named one
  medmatrix teach densenet-bce             of all seeds of a configuration

and then, in params.yaml, a model such as

  student: {arch: baseline_cnn, lr: 0.004, teacher: {file: teachers/mean_all.npz}}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.commands import command_parser
from pipeline.study.errors import stage_errors


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file."""
    parser = command_parser("teach", __doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("configuration", nargs="?", metavar="MODEL-LOSS", help="all its seeds, their mean probability")
    which.add_argument("--ensemble", metavar="NAME", help="an ensemble of the study, such as mean_all")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: teachers/NAME.npz")
    options = parser.parse_args(arguments)
    with stage_errors():
        from pipeline.deploying.choice import choose  # NumPy and SciPy take a moment
        from pipeline.deploying.teaching import TeachingSections, chosen_ensemble, teach
        from pipeline.study.params import PARAMS_FILE, read, validate

        # Without the checks of a study: a model may name the file that is about to be written.
        params = validate(read(), TeachingSections, str(PARAMS_FILE))
        named = options.configuration is not None or options.ensemble is not None
        choice = choose(params, options.configuration, options.ensemble if named else chosen_ensemble())
        if not named:
            choice = replace(choice, how="chosen by validation")
        print(teach(choice, params, options.out or Path("teachers") / f"{choice.name}.npz"))
