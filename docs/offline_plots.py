"""Write the scripts that `dvc plots show` draws with, so that its page needs no network.

``python docs/offline_plots.py .venv/vega.js``: `make` does so once. The page is ``.dvc/plots/page.html``. The scripts
are Vega, Vega-Lite and Vega-Embed (BSD-3-Clause, University of Washington Interactive Data Lab), 0.9 MB in one file, as
the package vl-convert-python (BSD-3-Clause) carries them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import vl_convert


def write(path: Path) -> None:
    """Write the scripts to `path`, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    # In a function of their own: DVC's page has global variables, which short names of the scripts would collide with.
    partial.write_text(f"(() => {{{vl_convert.javascript_bundle(vl_version='5.21')}}})();\n", encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv/vega.js"))
