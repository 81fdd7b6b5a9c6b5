"""The tiny study that tests run, which they share with the benchmarks, and where real images lie."""

import os
from pathlib import Path

from benchmarks.shared.tiny import IDENTITY, ROOT, TINY, copy_tracked

__all__ = ["DATA", "IDENTITY", "ROOT", "TINY", "copy_tracked"]

DATA = Path(os.environ.get("MEDMATRIX_DATA") or ROOT.parent / "shared" / "data")
"""Real images, where there are some; below ``make`` the variable is there, and empty unless DATA is given."""
