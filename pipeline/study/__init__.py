"""The base layer that every package imports: runs, files and tables between stages, params.yaml, errors. No torch."""

import gc
import sys
from itertools import pairwise
from types import TracebackType


def end_without_trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say one line where Ctrl-C ends the process, which Python then ends by the signal; else show the trace."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr, flush=True)
    else:
        sys.__excepthook__(kind, error, trace)


if any(option == "-m" and name.startswith("pipeline.") for option, name in pairwise(sys.orig_argv)):
    gc.disable()  # a stage, importing its libraries; `errors.stage_errors`, in which its work is done, turns it on
    sys.excepthook = end_without_trace  # importing them takes seconds, in which Ctrl-C may come
