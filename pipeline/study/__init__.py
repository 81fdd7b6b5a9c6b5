"""The base layer that every package imports: runs, files and tables between stages, params.yaml, errors. No torch."""

import gc
import sys
from itertools import pairwise

if any(option == "-m" and name.startswith("pipeline.") for option, name in pairwise(sys.orig_argv)):
    gc.disable()  # a stage, importing its libraries; `errors.stage_errors`, in which its work is done, turns it on
