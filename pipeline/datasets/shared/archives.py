"""Read and unpack zip and tar archives that strangers made: nothing escapes, nothing explodes, nothing ends early.

The checks are those that https://docs.python.org/3/library/zipfile.html#decompression-pitfalls and PEP 706 ask for,
and some of theirs that both modules leave out: bounds on what a member really holds, and a tar archive that ends
early, which `tarfile` takes for a short one.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from pipeline.datasets import DatasetError

MAX_MEMBER_BYTES = 256 << 20
"""Default bound of one member; the largest image of the data sets read here has 4 MB."""

_CHUNK = 1 << 20
_LARGEST_READ = 8 << 20
"""Above what a header may ask for: `tarfile` reads long names and extended headers at once, of any size claimed."""
_LONGEST_PADDING = 64 << 20
"""Bytes of zeros after the end mark of a tar archive; writers pad to their block size, kilobytes as a rule."""
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    gzip.BadGzipFile,
    NotImplementedError,
)
_TAR_KINDS = (
    (tarfile.TarInfo.issym, "a symbolic link"),
    (tarfile.TarInfo.islnk, "a hard link"),
    (tarfile.TarInfo.isdev, "a device or pipe"),
    (tarfile.TarInfo.issparse, "a sparse file"),
)


def extract(archive: Path, folder: Path, max_member_bytes: int, max_total_bytes: int) -> Path:
    """Unpack a zip, tar or tar.gz archive.

    Parameters
    ----------
    archive : Path
        The kind is told by its content, not by its name.
    folder : Path
        Must not exist, or be empty. It appears when everything is unpacked; until then the files lie beside it in
        ``<folder>.partial``, and what an interrupted call left there is removed.
    max_member_bytes, max_total_bytes : int
        Bounds in bytes of one member and of all of them, unpacked.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    DatasetError
        If the archive is missing, damaged, cut off or encrypted, a member would lie outside `folder`, is a link or a
        device, occurs twice, or exceeds a bound, or the disk does not take it. Nothing is left in `folder` then.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder}: exists already; move it away to unpack {archive.name} again")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    total = 0
    try:
        for name, content in _members(archive, max_member_bytes):
            target = partial.joinpath(*name.rstrip("/").split("/"))
            try:
                if content is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                # "x": a second member of the same name, or of one that this disk takes for the same, must not replace
                # the first.
                with target.open("xb") as out:
                    for chunk in content:
                        total += len(chunk)
                        if total > max_total_bytes:
                            raise DatasetError(
                                f"{archive}: unpacks to more than {max_total_bytes:,} bytes (reached in '{name}'); "
                                "this is not the published archive"
                            )
                        out.write(chunk)
            except (FileExistsError, NotADirectoryError):
                raise DatasetError(f"{archive}: member '{name}' takes the place of another one") from None
            except OSError as error:
                raise DatasetError(f"{archive}: member '{name}' cannot be written ({error.strerror})") from None
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def iter_tar_members(
    path: Path, max_member_bytes: int = MAX_MEMBER_BYTES, wanted: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Stream the files of a tar or tar.gz archive in its order, without unpacking it.

    Parameters
    ----------
    path : Path
        The archive.
    max_member_bytes : int
        Bound in bytes of one member.
    wanted : callable or None
        Takes a name and says whether its content is to be read; all are where None. The checks are made for all.

    Yields
    ------
    (str, bytes)
        Name with ``/`` between folders and without a leading ``./``, and content; folders are passed over.

    Raises
    ------
    DatasetError
        As `extract`, when the member or the damage is reached.
    """
    for name, content in _tar_members(path, max_member_bytes, wanted):
        if content is not None:
            yield name, b"".join(content)


def iter_zip_members(
    path: Path, max_member_bytes: int = MAX_MEMBER_BYTES, names: Sequence[str] | None = None
) -> Iterator[tuple[str, bytes]]:
    """Read the files of a zip archive without unpacking it.

    Parameters
    ----------
    path : Path
        The archive.
    max_member_bytes : int
        Bound in bytes of one member.
    names : sequence of str or None
        Members to read, in this order, as `zip_sizes` names them; all files in the archive's order where None.

    Yields
    ------
    (str, bytes)
        Name and content, whose CRC-32 was checked.

    Raises
    ------
    DatasetError
        As `extract`, and if a name in `names` is not in the archive.
    """
    for name, content in _zip_members(path, max_member_bytes, names):
        if content is not None:
            yield name, b"".join(content)


def zip_sizes(path: Path) -> dict[str, int]:
    """Return the unpacked size in bytes of every file of a zip archive, from its directory alone.

    Raises
    ------
    DatasetError
        If the archive is missing or cut off (the directory lies at the end), or a name leads elsewhere.
    """
    with _reading(path), zipfile.ZipFile(path) as archive:
        return {name: info.file_size for name, info in _zip_directory(path, archive) if not info.is_dir()}


_Content = Iterator[bytes] | None
"""Pieces of a file, to be read before the next member; None for a folder."""


def _members(path: Path, limit: int) -> Iterator[tuple[str, _Content]]:
    with _reading(path), path.open("rb") as file:
        start = file.read(2)
    # By the first bytes and not by `zipfile.is_zipfile`: a tar archive may hold a zip as its last member, and a zip
    # that is cut off must be called that.
    return _zip_members(path, limit, None) if start == b"PK" else _tar_members(path, limit, None)


def _zip_members(path: Path, limit: int, names: Sequence[str] | None) -> Iterator[tuple[str, _Content]]:
    with _reading(path), zipfile.ZipFile(path) as archive:
        listed = _zip_directory(path, archive)
        if names is not None:
            by_name = dict(listed)
            absent = [name for name in names if name not in by_name]
            if absent:
                raise DatasetError(f"{path}: no member '{absent[0]}' ({len(absent)} such names)")
            listed = [(name, by_name[name]) for name in names]
        for name, info in listed:
            if info.is_dir():
                yield name, None
                continue
            if info.flag_bits & 1:
                raise DatasetError(f"{path}: member '{name}' is encrypted; fetch the published archive")
            _check_size(path, name, info.file_size, limit)
            with archive.open(info) as file:
                yield name, _pieces(path, name, file, limit)


def _zip_directory(path: Path, archive: zipfile.ZipFile) -> list[tuple[str, zipfile.ZipInfo]]:
    listed: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = _safe_name(path, info.orig_filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a symbolic link" if kind == stat.S_IFLNK else "a device or pipe"
            raise DatasetError(f"{path}: member '{name}' is {what}; it must be a file or a folder")
        if name in listed and not info.is_dir():
            raise DatasetError(f"{path}: member '{name}' occurs twice")
        listed[name] = info
    return list(listed.items())


def _tar_members(path: Path, limit: int, wanted: Callable[[str], bool] | None) -> Iterator[tuple[str, _Content]]:
    with _reading(path), contextlib.ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        plain: io.BufferedIOBase = stack.enter_context(gzip.GzipFile(fileobj=raw)) if packed else raw
        source = _Bounded(path, plain)
        archive = stack.enter_context(tarfile.TarFile.open(fileobj=source, mode="r:"))  # type: ignore[call-overload]
        while (info := archive.next()) is not None:
            archive.members.clear()  # tarfile would keep every header of a long archive
            name = _safe_name(path, info.name)
            for is_kind, what in _TAR_KINDS:
                if is_kind(info):
                    raise DatasetError(f"{path}: member '{name}' is {what}; it must be a file or a folder")
            if info.isdir():
                yield name, None
                continue
            if not info.isreg():
                raise DatasetError(f"{path}: member '{name}' is of the unknown kind {info.type!r}, refused")
            _check_size(path, name, info.size, limit)
            if wanted is None or wanted(name):
                file = archive.extractfile(info)
                if file is None:
                    raise DatasetError(f"{path}: member '{name}' cannot be read")
                with file:
                    yield name, _pieces(path, name, file, limit, info.size)
        source.check_end(packed)


class _Bounded:
    """What `tarfile` reads from: refuses absurd reads, and remembers whether the archive ended with its end mark."""

    def __init__(self, path: Path, source: io.BufferedIOBase) -> None:
        self._path, self._source = path, source
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise DatasetError(f"{self._path}: a header claims {size:,} bytes; the archive is damaged or hostile")
        data = self._source.read(size)
        self._last = data
        if 0 < len(data) < size:
            raise EOFError
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def check_end(self, packed: bool) -> None:
        """Read the rest, so that the checksum at the end of a gzip file is seen, and refuse one that is no padding.

        `tarfile` stops without a word at a header that it does not understand and at the end of the file.
        """
        if not self._last and not packed:
            raise EOFError
        rest, length = self._last, 0
        while True:
            length += len(rest)
            if rest.strip(b"\0") or length > _LONGEST_PADDING:
                raise DatasetError(f"{self._path}: damaged after its last readable member; fetch it again")
            rest = self._source.read(_CHUNK)
            if not rest:
                return


def _pieces(path: Path, name: str, file: IO[bytes], limit: int, size: int | None = None) -> Iterator[bytes]:
    """Yield the content of a member, counted: the size in a header is a claim."""
    done = 0
    with _reading(path, f" in member '{name}'"):
        while chunk := file.read(min(_CHUNK, limit - done + 1)):
            done += len(chunk)
            _check_size(path, name, done, limit)
            yield chunk
        if size is not None and done != size:
            raise EOFError


def _check_size(path: Path, name: str, size: int, limit: int) -> None:
    if not 0 <= size <= limit:
        raise DatasetError(f"{path}: member '{name}' has {size:,} bytes or more; it must have at most {limit:,}")


def _safe_name(path: Path, name: str) -> str:
    """Return the name relative to the archive, or refuse one that leads elsewhere on any system."""
    plain = name.replace("\\", "/")
    parts = plain.split("/")
    if plain.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", plain) or "\0" in plain:
        raise DatasetError(f"{path}: member '{name}' would lie outside its folder; refused, nothing was written there")
    return "/".join(part for part in parts if part not in ("", ".")) + ("/" if plain.endswith("/") else "")


@contextlib.contextmanager
def _reading(path: Path, where: str = "") -> Iterator[None]:
    """Turn what the readers raise of a bad archive into one message."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file; run stage download to fetch it") from None
    except _DAMAGED as error:
        why = "it ends early" if isinstance(error, EOFError) else str(error) or type(error).__name__
        raise DatasetError(f"{path}: damaged or cut off{where} ({why}); move it away and fetch it again") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read{where} ({error.strerror or error})") from None
