"""The transfer of one file over a line that may break.

Resuming follows RFC 9110, sections 13.1.5 (If-Range) and 14 (Range): https://www.rfc-editor.org/rfc/rfc9110.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.disk import check_room, file_size
from pipeline.datasets.shared.fetching.meter import Meter
from pipeline.datasets.shared.fetching.opener import opener
from pipeline.datasets.shared.fetching.remote import RemoteFile
from pipeline.datasets.shared.fetching.text import short, tail

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


class _Broken(Exception):
    """An attempt failed for a reason that may be gone at the next one.

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


@dataclass
class Line:
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
        with Meter(self.file.name, self.progress) as meter:
            while True:
                before = file_size(self.part)
                try:
                    return self._attempt(meter)
                except _Broken as error:
                    failures = 1 if file_size(self.part) - before >= _PROGRESS else failures + 1
                    patience = self.retries if error.patience is None else min(error.patience, self.retries)
                    if failures > patience:
                        kept = file_size(self.part)
                        rest = (
                            f"; {kept:,} bytes are kept in {self.part.name} and are not fetched again" if kept else ""
                        )
                        raise self._failure(f"{error}, {failures} times{rest}") from None
                    pause = min(_FIRST_WAIT * 2.0 ** (failures - 1), _LONGEST_WAIT)
                    pause = pause if error.wait is None else min(max(error.wait, 0.0), _LONGEST_WAIT)
                    meter.say(f"{self.file.name}: {error}; again in {pause:.0f} s")
                    self.sleep(pause)

    def _attempt(self, meter: Meter) -> None:
        state = self._state()
        offset = file_size(self.part) if state else 0
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
            with opener().open(request, timeout=self.timeout) as response:
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
            raise _Broken(f"no connection ({short(reason)})") from None
        except (http.client.HTTPException, OSError) as error:
            raise _Broken(f"connection broken ({short(error)})") from None

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

    def _receive(self, response: Any, offset: int, state: dict[str, Any] | None, meter: Meter) -> None:
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
        check_room(self.file.name, self.part.parent, (end or 0) - offset)
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

    def _start_over(self, why: str) -> NoReturn:
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
        return DatasetError(f"{self.file.name}: {why}; address: {self.file.url}{tail(self.otherwise)}")


def _read(response: Any, end: int | None, position: int) -> bytes:
    """Read what is there: `read1` hands over each piece, so that a broken connection loses nothing received."""
    wanted = _CHUNK if end is None else min(_CHUNK, end - position)
    return response.read1(wanted) if wanted > 0 else b""


def _whole_number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() else None
