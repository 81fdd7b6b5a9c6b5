"""MedMatrix: a medical-image classification study as one DVC pipeline."""

import gc
import sys

if sys.argv[:1] == [
    "-m"
]:  # ``python -m pipeline.train`` and the like, still finding its module: imports, then the work
    gc.disable()  # until `pipeline.study.errors.stage_errors`, which every program of this package begins with
