"""Digests of files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest_of(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file's content in hexadecimal, ``sha256`` or ``md5``.

    MD5 tells accidents here, as it is published with data and as DVC uses it; machines in FIPS mode refuse it for
    anything else.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
