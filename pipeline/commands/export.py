"""Write a configuration as files that run without this project.

The folder holds the network, how images are prepared, classes, thresholds and calibration, a model card, the licence of
the training images and hashes. What is written is compared with the study's own network on validation images first,
and refused if a logit differs by more than 0.001.

Examples
--------
  medmatrix export                                     the configuration that validation chose, as ONNX
  medmatrix export densenet-bce --out densenet         a named one
  medmatrix export densenet-bce --format timm          for timm.create_model("local-dir:exported/densenet-bce-timm")
  medmatrix export densenet-bce --format torchscript   for torch.jit.load
  medmatrix export --register chosen                   into registry/, which git and DVC keep as versions
  medmatrix export --ensemble mean_all                 an ensemble as one network
  medmatrix export --folds                             the networks of all folds of a cross-validation as one
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.commands import command_parser
from pipeline.study.errors import stage_errors


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the folder."""
    parser = command_parser("export", __doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("configuration", nargs="?", metavar="MODEL-LOSS", help="default: the one that validation chose")
    which.add_argument(
        "--ensemble", metavar="NAME", help="an ensemble of the study by mean or features, such as mean_all"
    )
    parser.add_argument("--folds", action="store_true", help="the networks of all folds of a cross-validation as one")
    parser.add_argument("--format", choices=["onnx", "timm", "torchscript"], default="onnx", help="default: onnx")
    parser.add_argument("--seed", type=int, help="of timm, which knows single networks; default: best on validation")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: exported/NAME-FORMAT")
    parser.add_argument(
        "--register", metavar="NAME", help="into registry/, where dvc artifacts get finds it by this name"
    )
    options = parser.parse_args(arguments)
    if options.register is not None and options.out is not None:
        parser.error("--register: has its own folder; must be used without --out")
    if options.folds and options.ensemble:
        parser.error("--folds: is of a configuration; must be used without --ensemble")
    with stage_errors():
        from pipeline.deploying.choice import ChoiceSections, choose  # NumPy and SciPy take a moment
        from pipeline.deploying.export import export, registered
        from pipeline.study.params import load

        choice = choose(load(ChoiceSections), options.configuration, options.ensemble, options.folds)
        if options.register is not None:
            print(registered(choice, options.format, options.register, options.seed))
            return
        out = options.out or Path("exported") / f"{choice.name}-{options.format}"
        print(export(choice, options.format, out, options.seed))
