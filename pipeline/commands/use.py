"""Make a ready study the params.yaml; the old one is kept.

What was edited is copied to params.yaml.1, or the next number that is free; a copy is never written over. Nothing is
copied that lies elsewhere already: in git's last commit, in studies/ or as an earlier copy.

Examples
--------
  medmatrix use studies/kermany_cpu.yaml
  medmatrix use params.yaml.1             back to what was edited
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline.commands import command_parser
from pipeline.study.errors import UserError, stage_errors

PARAMS = Path("params.yaml")
READY = Path("studies")


def main(arguments: Sequence[str] | None = None) -> None:
    """Exchange params.yaml; say where the earlier one is."""
    parser = command_parser("use", __doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="a file with the content of a params.yaml")
    options = parser.parse_args(arguments)
    with stage_errors():
        print(use(options.file))


def use(file: Path) -> str:
    """Give params.yaml the content of `file`; return what was done.

    Raises
    ------
    UserError
        If `file` cannot be read, or is no text.
    """
    from pipeline.datasets.shared.irregular import read_file
    from pipeline.study.files import write_bytes
    from pipeline.study.locks import alone_in
    from pipeline.study.outputs import keep

    try:
        content = read_file(file)
        if "\0" in content.decode("utf-8"):
            raise UserError(f"{file}: not a text file; must have the content of a params.yaml")
    except OSError as error:
        ready = ", ".join(sorted(str(path) for path in READY.glob("*.yaml")))
        raise UserError(f"{file}: cannot be read ({error.strerror}); ready studies: {ready or 'none here'}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a text file in UTF-8; must have the content of a params.yaml") from None
    with alone_in(Path(), f"another process is writing {PARAMS}: waiting for it"):
        before = PARAMS.read_bytes() if PARAMS.exists() else None
        if before == content:
            return f"{PARAMS} is {file} already"
        kept = None if before is None or is_elsewhere(before) else keep(PARAMS)
        write_bytes(PARAMS, content)
    told = f"; your edited {PARAMS} is kept as {kept}: medmatrix use {kept} brings it back" if kept else ""
    return f"{PARAMS} is {file} now{told}"


def is_elsewhere(content: bytes) -> bool:
    """Whether a params.yaml of this content lies in git's last commit, among the ready studies or as a copy."""
    committed = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, check=False)
    if committed.returncode == 0 and committed.stdout == content:
        return True
    return any(
        path.read_bytes() == content for path in (*READY.glob("*.yaml"), *Path().glob(f"{PARAMS}.*")) if path.is_file()
    )
