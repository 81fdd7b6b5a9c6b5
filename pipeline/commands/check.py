"""Say what in params.yaml cannot run, before any work.

Images, tables and weights that it names are looked for; of data sets that are fetched nothing can be said before.
Every stage and every command checks the same as it begins. One mistake only this command tells in plain words where
`dvc repro` has advice of DVC's that does not help: a seed that is also one of the further seeds.

Examples
--------
  medmatrix check                         params.yaml
  medmatrix check studies/kermany_cpu.yaml
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.commands import command_parser
from pipeline.reporting.english import count
from pipeline.settings.checks import check_disk, load
from pipeline.study.errors import stage_errors
from pipeline.study.params import PARAMS_FILE
from pipeline.study.runs import every_run


def main(arguments: Sequence[str] | None = None) -> None:
    """Check a params file; exit with 1 if it cannot run."""
    parser = command_parser("check", __doc__)
    parser.add_argument("file", nargs="?", default=str(PARAMS_FILE), help="default: %(default)s")
    options = parser.parse_args(arguments)
    with stage_errors():
        params = load(options.file)
        check_disk(params)
    number = len(every_run(params))
    print(
        f"{options.file}: {count('training run', number)} of {params.dataset}; no setting stands in "
        f"{'its' if number == 1 else 'their'} way"
    )
