"""The tiny study that tests run, which they share with the benchmarks."""

from benchmarks.shared.tiny import IDENTITY, ROOT, TINY, copy_tracked

__all__ = ["IDENTITY", "ROOT", "TINY", "copy_tracked"]

BLANK = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a4944415478"
    "9c63f80f0001010100b138f6140000000049454e44ae426082"
)
"""A PNG of one pixel."""
