"""Fetch published files over HTTP so that a broken line costs minutes and a wrong byte never reaches a study.

A transfer lies in ``<name>.part`` until its size and checksum are right; a second call goes on where the first one
broke off. What was verified is remembered in ``.verified.json``, so that 45 GB are not read again at each call.
Resuming follows RFC 9110, sections 13.1.5 (If-Range) and 14 (Range): https://www.rfc-editor.org/rfc/rfc9110.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

from pipeline.datasets import DatasetError

STAMPS = ".verified.json"
"""Name, size, modification time and checksum of the verified files of a folder."""

RETRIES = 6
"""Failures in a row, without progress in between, after which a transfer gives up."""
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_PROGRESS = 8 << 20
"""Bytes that an attempt must bring for the count of failures to start again: a slow line must not end a long file."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
"""Seconds before the first repetition, doubled each time, and their bound."""
_CHUNK = 1 << 20
_TELLING = 1024
"""Bytes at the start of a file that show whether it is a web page."""
_LINE_EVERY = 10.0
"""Seconds between two progress lines where stderr is no terminal."""
_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Status codes that ask to come back later."""
_SEVERAL_MACHINES = {404: 2}
"""Status codes that the machines of one address may disagree about for a while: asked again so many times."""
_OFFLINE = 2
"""Repetitions where the host has no address: mostly a machine without network, which should hear so soon."""
_HTML = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head)\b", re.I | re.S
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_HANDLE = re.compile(r"[\w.-]+/[\w.-]+(?:/versions/\d+)?")


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
            raise DatasetError(f"{self.name}: address '{self.url}' is refused; allowed: http:// and https://")

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


def fetch_files(
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    otherwise: str = "",
    progress: bool = True,
    retries: int = RETRIES,
    timeout: float = TIMEOUT,
    sleep: Callable[[float], None] | None = None,
) -> list[Fetched]:
    """Make every file complete and verified in `folder`.

    Parameters
    ----------
    files : sequence of RemoteFile
        Fetched one after the other, in this order.
    folder : Path
        Is made; may hold complete files, also such as were put there by hand, and ``.part`` files of broken transfers.
    otherwise : str
        What to do where the network does not help; ends the message of every failed transfer.
    progress : bool
        Show the progress on stderr.
    retries : int
        Failures in a row after which a transfer gives up.
    timeout : float
        Seconds without a byte after which a connection counts as broken.
    sleep : callable or None
        Waits so many seconds between attempts; `time.sleep` where None.

    Returns
    -------
    list of Fetched
        In the order of `files`.

    Raises
    ------
    DatasetError
        If the disk is too small for what is missing, an address does not answer, answers with a web page or with a
        file of another size, or a checksum is wrong. The message names the file and the address. A file with a wrong
        checksum is kept as ``<name>.bad``, a broken transfer as ``<name>.part``.
    """
    names = [file.name for file in files]
    if len(set(names)) != len(names):
        raise DatasetError(f"{folder}: '{max(names, key=names.count)}' is to be fetched twice; names must differ")
    folder.mkdir(parents=True, exist_ok=True)
    ready: dict[str, Fetched] = {}
    for file in files:
        path = folder / file.name
        if path.is_file():
            try:
                ready[file.name] = _verified(file, path, folder, progress)
            except _WrongFile as error:
                _say(f"{error}; fetching it again", progress)
    missing = [file for file in files if file.name not in ready]
    _check_space(folder, missing)
    for file in missing:
        part = folder / f"{file.name}.part"
        line = _Line(file, part, otherwise, progress, retries, timeout, sleep or time.sleep)
        line.transfer()
        try:
            ready[file.name] = _verified(file, part, folder, progress)
        except _WrongFile as error:
            line.state_path.unlink(missing_ok=True)
            raise DatasetError(
                f"{error}; it came from {file.url}. Run the stage again to fetch it anew{_tail(otherwise)}"
            ) from None
        line.state_path.unlink(missing_ok=True)
    return [ready[file.name] for file in files]


def fetch_file(file: RemoteFile, folder: Path, **options: Any) -> Fetched:
    """Make one file complete and verified in `folder`; `options` and errors are those of `fetch_files`."""
    return fetch_files([file], folder, **options)[0]


def fetch_kaggle(handle: str, folder: Path, setting: str = "root") -> Path:
    """Fetch a Kaggle data set through kagglehub, or find it where an earlier call left it.

    Parameters
    ----------
    handle : str
        ``owner/name`` or ``owner/name/versions/N``. Without a version Kaggle decides which one comes.
    folder : Path
        Holds kagglehub's cache, in ``kagglehub/``.
    setting : str
        Key of params.yaml that takes the path of a copy fetched by hand; named in the messages.

    Returns
    -------
    Path
        Folder with the files as published.

    Raises
    ------
    DatasetError
        If kagglehub is not installed, Kaggle cannot be reached, wants credentials or has no such data set.
    """
    if not _HANDLE.fullmatch(handle):
        raise DatasetError(f"Kaggle handle '{handle}': allowed: owner/name and owner/name/versions/N")
    page = "https://www.kaggle.com/datasets/" + "/".join(handle.split("/")[:2])
    by_hand = f"download {page} in a browser, unpack it and set {setting} to its folder"
    try:
        import kagglehub
    except ImportError:
        raise DatasetError(
            f"Kaggle data set {handle}: install kagglehub (pip install kagglehub), or {by_hand}"
        ) from None
    cache = folder / "kagglehub"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with _environment("KAGGLEHUB_CACHE", str(cache.resolve())):
            return Path(kagglehub.dataset_download(handle))
    except Exception as error:
        # kagglehub documents no error classes, and passes on those of requests and of its own modules.
        status = getattr(getattr(error, "response", None), "status_code", None)
        kind = type(error).__name__
        if status in (401, 403) or kind in ("UnauthenticatedError", "CredentialError"):
            why = "Kaggle wants credentials: set KAGGLE_USERNAME and KAGGLE_KEY, or put kaggle.json into ~/.kaggle"
        elif status == 404 or kind == "NotFoundError":
            why = "Kaggle has no such data set"
        elif kind in ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError"):
            why = f"Kaggle cannot be reached ({kind}); check the network or the proxy settings"
        else:
            why = f"kagglehub failed ({kind}: {_short(error)})"
        raise DatasetError(f"Kaggle data set {handle}: {why}. Or {by_hand}") from error


class _WrongFile(Exception):
    """A file is complete and is not the published one; it was moved aside."""


class _Broken(Exception):
    """An attempt failed in a way that another one may mend.

    Parameters
    ----------
    why : str
        What happened.
    wait : float or None
        Seconds to wait as the server asks for; None for the usual pause.
    patience : int or None
        Repetitions after which it is no longer believed to be passing, None for the usual number.
    """

    def __init__(self, why: str, wait: float | None = None, patience: int | None = None) -> None:
        super().__init__(why)
        self.wait, self.patience = wait, patience


class _SameProtection(urllib.request.HTTPRedirectHandler):
    """Follow redirections to http and https only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise DatasetError(f"{req.full_url}: redirected to '{newurl}', refused; allowed: {', '.join(allowed)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https and nothing else; the ready-made one also opens file:// and ftp://."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _SameProtection(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


@dataclass
class _Line:
    """The transfer of one file to its ``.part``."""

    file: RemoteFile
    part: Path
    otherwise: str
    progress: bool
    retries: int
    timeout: float
    sleep: Callable[[float], None]

    @property
    def state_path(self) -> Path:
        """What the server said of the file that the ``.part`` is a part of."""
        return self.part.with_name(self.part.name + ".json")

    def transfer(self) -> None:
        """Make the ``.part`` complete; its checksum is not looked at.

        Raises
        ------
        DatasetError
            As `fetch_files`.
        """
        failures = 0
        with _Meter(self.file.name, self.progress) as meter:
            while True:
                before = _size(self.part)
                try:
                    return self._attempt(meter)
                except _Broken as error:
                    failures = 1 if _size(self.part) - before >= _PROGRESS else failures + 1
                    patience = self.retries if error.patience is None else min(error.patience, self.retries)
                    if failures > patience:
                        kept = _size(self.part)
                        rest = (
                            f"; {kept:,} bytes are kept in {self.part.name} and are not fetched again" if kept else ""
                        )
                        raise self._failure(f"{error}, {failures} times{rest}") from None
                    pause = min(_FIRST_WAIT * 2.0 ** (failures - 1), _LONGEST_WAIT)
                    pause = pause if error.wait is None else min(max(error.wait, 0.0), _LONGEST_WAIT)
                    meter.say(f"{self.file.name}: {error}; again in {pause:.0f} s")
                    self.sleep(pause)

    def _attempt(self, meter: _Meter) -> None:
        state = self._state()
        offset = _size(self.part) if state else 0
        known = self.file.size if self.file.size is not None else (state or {}).get("total")
        if known is not None and offset > known:
            offset, state = 0, None
        if offset and offset == known:
            return None
        # identity: a compressed transfer would have other sizes and ranges than the published file.
        headers = {"User-Agent": "medmatrix (urllib)", "Accept": "*/*", "Accept-Encoding": "identity"}
        if state and offset:
            headers["Range"] = f"bytes={offset}-"
            # If-Range takes no weak validator; a server that gave only such ones is checked by _fits.
            strong = state["etag"] if state["etag"] and not state["etag"].startswith("W/") else state["last_modified"]
            if strong:
                headers["If-Range"] = strong
        request = urllib.request.Request(self.file.url, headers=headers)
        try:
            with _opener().open(request, timeout=self.timeout) as response:
                return self._receive(response, offset, state, meter)
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error, offset, known)
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise self._failure(
                    f"the certificate of {urlsplit(self.file.url).hostname} is not accepted ({reason.verify_message}); "
                    "set SSL_CERT_FILE to the certificates of your network"
                ) from None
            if isinstance(reason, socket.gaierror):
                host = urlsplit(self.file.url).hostname
                raise _Broken(f"no address for the host {host} (no network?)", patience=_OFFLINE) from None
            raise _Broken(f"no connection ({_short(reason)})") from None
        except (http.client.HTTPException, OSError) as error:
            raise _Broken(f"connection broken ({_short(error)})") from None

    def _refused(self, error: urllib.error.HTTPError, offset: int, known: int | None) -> None:
        if error.code == 416 and offset:
            # Where the size was known, the part is shorter: a file that ends here is another one.
            if known is None and (error.headers.get("Content-Range") or "").strip() == f"bytes */{offset}":
                return
            self._start_over("the file at the address is not the one that was begun")
        if error.code in _PASSING or error.code in _SEVERAL_MACHINES:
            wait = (error.headers.get("Retry-After") or "").strip()
            raise _Broken(
                f"the server answers {error.code} {error.reason}",
                float(wait) if wait.isascii() and wait.isdigit() else None,
                _SEVERAL_MACHINES.get(error.code),
            )
        raise self._failure(f"the server answers {error.code} {error.reason}")

    def _receive(self, response: Any, offset: int, state: dict[str, Any] | None, meter: _Meter) -> None:
        headers = response.headers
        if response.status not in (200, 206):
            raise self._failure(f"the server answers {response.status} {response.reason}, expected 200")
        if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise self._web_page()
        length = _whole_number(headers.get("Content-Length"))
        about = {"url": self.file.url, "etag": headers.get("ETag"), "last_modified": headers.get("Last-Modified")}
        if response.status == 206:
            if not (state and offset):
                self._start_over("the server sent a part that was not asked for")
            end, total = self._fits(headers, offset, state, about)
        else:
            offset, end, total = 0, length, length
        chunked = (headers.get("Transfer-Encoding") or "").lower() == "chunked"
        if end is None and self.file.size is not None and not chunked:
            end = total = self.file.size
        if end is None and not chunked and self.file.checksum[1] is None:
            raise self._failure("neither the server nor the settings tell its size or checksum: a cut would not show")
        first = piece = _read(response, end, offset)
        while piece and len(first) < _TELLING:
            first += (piece := _read(response, end, offset + len(first)))
        # A page sent with the type of a file is seen before its size is called wrong, and before it replaces what lies
        # in the part.
        if offset == 0 and _HTML.match(first[:_TELLING]):
            raise self._web_page()
        expected = None if total is None else self.file.wrong_size(total)
        if expected:
            raise self._failure(f"the server offers {total:,} bytes, expected {expected}; the file has changed there")
        _check_room(self.file.name, self.part.parent, (end or 0) - offset)
        self._write(self.state_path, json.dumps(about | {"total": total}).encode())
        meter.begin(offset, total if total is not None else self.file.largest)
        with contextlib.closing(self._open(offset)) as out:
            position, chunk = offset, first
            while chunk:
                position += len(chunk)
                if self.file.largest is not None and position > self.file.largest:
                    out.close()
                    self.part.unlink()
                    raise self._failure(f"the server sends more than the {self.file.largest:,} bytes expected")
                self._put(out, chunk)
                meter.advance(len(chunk))
                chunk = _read(response, end, position)
            self._sync(out)
        if end is not None and position < end:
            raise _Broken(f"connection cut at {position:,} of {end:,} bytes")
        if total is not None and position < total:
            raise _Broken(f"the server sent the part up to byte {position:,} of {total:,}", wait=0.0)

    def _fits(
        self, headers: Any, offset: int, state: dict[str, Any], about: dict[str, Any]
    ) -> tuple[int | None, int | None]:
        """Return the end of the part and the size of the file, or start over where the part does not fit."""
        match = _CONTENT_RANGE.fullmatch((headers.get("Content-Range") or "").strip())
        if not match or int(match[1]) != offset or int(match[2]) < offset:
            self._start_over(
                f"the server sent Content-Range '{headers.get('Content-Range')}', asked from byte {offset}"
            )
        total = None if match[3] == "*" else int(match[3])
        known = state["total"] if state["total"] is not None else self.file.size
        if total is not None and known is not None and total != known:
            self._start_over(f"the file at the address has changed from {known:,} to {total:,} bytes")
        for key in ("etag", "last_modified"):
            if state[key] and about[key]:
                if state[key] != about[key]:
                    self._start_over("the file at the address has changed since the transfer began")
                # An ETag names the content; machines of one address may date the same content differently.
                break
        about.update({key: about[key] or state[key] for key in ("etag", "last_modified")})
        return int(match[2]) + 1, total if total is not None else known

    def _state(self) -> dict[str, Any] | None:
        """What was noted of the ``.part``, or None where it cannot be told what it is a part of."""
        try:
            state = json.loads(self.state_path.read_text())
        except (OSError, ValueError):
            return None
        if not isinstance(state, dict) or state.keys() != {"url", "etag", "last_modified", "total"}:
            return None
        return state if state["url"] == self.file.url else None

    def _start_over(self, why: str) -> None:
        self.part.unlink(missing_ok=True)
        self.state_path.unlink(missing_ok=True)
        raise _Broken(f"{why}; starting over", wait=0.0)

    def _open(self, offset: int) -> Any:
        try:
            return self.part.open("ab" if offset else "wb")
        except OSError as error:
            raise DatasetError(f"{self.part}: cannot be written ({error.strerror})") from None

    def _put(self, out: Any, chunk: bytes) -> None:
        try:
            out.write(chunk)
            out.flush()
        except OSError as error:
            raise self._disk(error) from None

    def _sync(self, out: Any) -> None:
        try:
            os.fsync(out.fileno())
        except OSError as error:
            raise self._disk(error) from None

    def _disk(self, error: OSError) -> DatasetError:
        hint = "free some space and run the stage again" if error.errno == errno.ENOSPC else "check the disk"
        return DatasetError(f"{self.part}: cannot be written ({error.strerror}); {hint}")

    def _write(self, path: Path, content: bytes) -> None:
        try:
            path.write_bytes(content)
        except OSError as error:
            raise DatasetError(f"{path}: cannot be written ({error.strerror})") from None

    def _web_page(self) -> DatasetError:
        return self._failure(
            "the server answers with a web page instead of the file (a login, a limit or a proxy may stand before it); "
            f"open the address in a browser and put the file into {self.part.parent} as {self.file.name}"
        )

    def _failure(self, why: str) -> DatasetError:
        return DatasetError(f"{self.file.name}: {why}; address: {self.file.url}{_tail(self.otherwise)}")


def _read(response: Any, end: int | None, position: int) -> bytes:
    """Read what is there: `read1` hands over each piece, so that a broken connection loses nothing received."""
    wanted = _CHUNK if end is None else min(_CHUNK, end - position)
    return response.read1(wanted) if wanted > 0 else b""


def _verified(file: RemoteFile, path: Path, folder: Path, progress: bool) -> Fetched:
    """Check `path`, give it its final name and remember it.

    Raises
    ------
    _WrongFile
        If it is not the published file; it is then ``<name>.bad``.
    """
    status = path.stat()
    algorithm, published = file.checksum
    stamps = _stamps(folder)
    stamp = stamps.get(file.name)
    final = folder / file.name
    wrong = file.wrong_size(status.st_size)
    if wrong:
        raise _aside(file, path, folder, f"{status.st_size:,} bytes, expected {wrong}")
    if (
        path == final
        and isinstance(stamp, dict)
        and (stamp.get("size"), stamp.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
        and isinstance(stamp.get(algorithm), str)
        and published in (None, stamp[algorithm])
    ):
        return Fetched(final, status.st_size, algorithm, stamp[algorithm])
    if progress and status.st_size >= 64 * _CHUNK:
        _say(f"{file.name}: checking {_binary(status.st_size)}", progress)
    digest = _digest(path, algorithm)
    if published not in (None, digest):
        raise _aside(file, path, folder, f"{algorithm.upper()} {digest}, expected {published}")
    os.replace(path, final)
    stamps[file.name] = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, algorithm: digest}
    partial = folder / f"{STAMPS}.partial"
    partial.write_text(json.dumps(stamps, indent=1, sort_keys=True) + "\n")
    os.replace(partial, folder / STAMPS)
    return Fetched(final, status.st_size, algorithm, digest)


def _digest(path: Path, algorithm: str) -> str:
    # usedforsecurity: MD5 is published here against accidents, and machines in FIPS mode refuse it otherwise.
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _aside(file: RemoteFile, path: Path, folder: Path, found: str) -> _WrongFile:
    bad = folder / f"{file.name}.bad"
    os.replace(path, bad)
    return _WrongFile(f"{folder / file.name} is not the published file ({found}); kept as {bad.name}")


def _stamps(folder: Path) -> dict[str, Any]:
    try:
        stamps = json.loads((folder / STAMPS).read_text())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _check_space(folder: Path, missing: Sequence[RemoteFile]) -> None:
    needed = sum(max((f.largest or 0) - _size(folder / f"{f.name}.part"), 0) for f in missing)
    named = ", ".join(f.name for f in missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    _check_room(named, folder, needed)


def _check_room(named: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(
            f"{folder}: {named} still need {_binary(needed)}, {_binary(free)} are free; free some space, or make the "
            "folder a link to a larger disk"
        )


class _Meter:
    """Progress of one file: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, name: str, shown: bool) -> None:
        self._name, self._shown = name, shown
        self._bar: tqdm | None = None
        self._done = self._total = 0
        self._last: float | None = None

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, offset: int, total: int | None) -> None:
        """Set the position after a connection was made."""
        self._done, self._total = offset, total or 0
        if not self._shown:
            return
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(desc=self._name, unit="B", unit_scale=True, unit_divisor=1024, file=sys.stderr)
            self._bar.total = total
            self._bar.n = self._bar.initial = offset
            self._bar.refresh()
        elif self._last is None:
            self._last = time.monotonic()
            self._print()

    def advance(self, count: int) -> None:
        """Count bytes that were written."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._last is not None and time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            self._print()

    def say(self, text: str) -> None:
        """Print a line beside the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            _say(text, self._shown)

    def _print(self) -> None:
        of = f" of {_binary(self._total)}" if self._total else ""
        _say(f"{self._name}: {_binary(self._done)}{of}", True)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the time of a block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _whole_number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _binary(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def _short(error: object) -> str:
    """First line of an error's text, its class where there is none."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _tail(otherwise: str) -> str:
    return f". {otherwise}" if otherwise else ""


def _say(text: str, shown: bool) -> None:
    if shown:
        print(text, file=sys.stderr, flush=True)
