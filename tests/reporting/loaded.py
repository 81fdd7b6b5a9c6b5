"""A study as the reports load it; of the same files it is read once, which takes longer than many a page."""

import copy
import os
from pathlib import Path

from pipeline.reporting.loading import load_study
from pipeline.reporting.results import StudyResults
from pipeline.settings import Params

_KEPT: dict[tuple, StudyResults] = {}


def load_once(params: Params) -> StudyResults:
    """Return what `load_study` returns, as a copy: of files of the same size and time, wherever they lie."""
    files = []
    for folder, _, names in os.walk("."):
        for name in names:
            about = Path(folder, name).stat()
            files.append((folder, name, about.st_size, about.st_mtime_ns))
    key = (params.model_dump_json(), params.model_dump_json(exclude_unset=True), *sorted(files))
    if key not in _KEPT:
        _KEPT[key] = load_study(copy.deepcopy(params))
    return copy.deepcopy(_KEPT[key])
