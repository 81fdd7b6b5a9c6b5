"""A published file, and the same file verified on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from pipeline.datasets import DatasetError


@dataclass(frozen=True)
class RemoteFile:
    """A published file and how to know that it arrived whole.

    Parameters
    ----------
    name : str
        File name in the folder, without a path.
    url : str
        http or https address.
    size : int or None
        Published size in bytes.
    md5, sha256 : str or None
        Published checksums in hexadecimal; SHA-256 is checked where both are given.
    size_range : (int, int) or None
        Smallest and largest plausible size in bytes of a file whose size was published in round figures only.

    Raises
    ------
    DatasetError
        If the name holds a path or the address is neither http nor https.
    """

    name: str
    url: str
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None
    size_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name in (".", "..") or re.search(r"[/\\:\0]", self.name):
            raise DatasetError(f"'{self.name}' is not a file name; it must not hold a folder")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DatasetError(f"{self.name}: address '{self.url}' must name a host by http:// or https://")

    @property
    def checksum(self) -> tuple[str, str | None]:
        """Algorithm and published checksum; where there is none, SHA-256 is what gets recorded."""
        if self.sha256 is None and self.md5 is not None:
            return "md5", self.md5.lower()
        return "sha256", None if self.sha256 is None else self.sha256.lower()

    @property
    def largest(self) -> int | None:
        """Bytes to expect at most, None where nothing is known."""
        return self.size if self.size is not None else self.size_range and self.size_range[1]

    def wrong_size(self, size: int) -> str | None:
        """What is expected instead of `size`, or None where it is plausible."""
        if self.size is not None:
            return None if size == self.size else f"{self.size:,} bytes"
        if self.size_range and not self.size_range[0] <= size <= self.size_range[1]:
            return f"{self.size_range[0]:,} to {self.size_range[1]:,} bytes"
        return None


class Fetched(NamedTuple):
    """A verified file on disk.

    Parameters
    ----------
    path : Path
        Where it lies.
    size : int
        Bytes.
    algorithm : {"md5", "sha256"}
        That of `digest`.
    digest : str
        Checksum in hexadecimal: the published one where there is one, otherwise that of the file as it arrived.
    """

    path: Path
    size: int
    algorithm: str
    digest: str
