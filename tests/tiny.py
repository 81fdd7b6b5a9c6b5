"""The tiny study that tests run, which they share with the benchmarks."""

from benchmarks.shared.tiny import IDENTITY, ROOT, TINY, copy_tracked

__all__ = ["IDENTITY", "ROOT", "TINY", "copy_tracked"]
