"""Transfers from a server on this machine that breaks, lies and changes its mind; nothing here leaves the machine."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from unittest import mock

import pytest

from pipeline.datasets import DatasetError, fetching
from pipeline.datasets.fetching import RemoteFile, fetch_file, fetch_files, fetch_kaggle

CONTENT = bytes(range(256)) * 1200
HALF = len(CONTENT) // 2
HTML = b"\n<!DOCTYPE html>\n<html><body>Please log in</body></html>"
MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()


class Site:
    """A server on 127.0.0.1; `queue` holds what the next requests meet, `seen` the name and headers of each request."""

    def __init__(self):
        self.files, self.queue, self.seen = {}, deque(), []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                name = self.path.lstrip("/")
                site.seen.append((name, dict(self.headers)))
                answer = site.queue.popleft() if site.queue else serve
                self.close_connection = True
                # The other side may have gone, as it should when it refuses what it is sent.
                with contextlib.suppress(ConnectionError):
                    answer(self, site.files.get(name))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self.unproxied = mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"})
        self.unproxied.start()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.unproxied.stop()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def ranges(self):
        return [headers.get("Range") for _, headers in self.seen]


def serve(
    handler, body, *, send=None, ranges=True, etag='"one"', modified=None, length=True, kind="application/gzip", **lies
):
    """Answer as a good server does, but for what is asked: `send` bytes and no more, no ranges, other headers."""
    if body is None:
        return status(handler, 404)
    start, asked = 0, handler.headers.get("Range")
    if asked and ranges and handler.headers.get("If-Range") in (None, etag, modified):
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            return status(handler, 416, {"Content-Range": f"bytes */{len(body)}"})
    headers = {"Content-Type": kind}
    if length:
        headers["Content-Length"] = len(body) - start
    if etag:
        headers["ETag"] = etag
    if modified:
        headers["Last-Modified"] = modified
    if start:
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
    for key, value in lies.items():
        headers[key.replace("_", "-")] = value
    handler.send_response(206 if start else 200)
    for key, value in headers.items():
        handler.send_header(key, str(value))
    handler.end_headers()
    handler.wfile.write(body[start:][:send])
    return None


def status(handler, code, headers=None):
    handler.send_response(code)
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def answer(code, headers=None):
    return lambda handler, body: status(handler, code, headers)


def reset(handler, body, send):
    """Break the connection with a reset instead of an end."""
    serve(handler, body, send=send)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def chunked(handler, body, send=None):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(body[:send]), 50_000):
        piece = body[:send][start : start + 50_000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    if send is None:
        handler.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def site():
    with Site() as site:
        site.files["a.gz"] = CONTENT
        yield site


@pytest.fixture
def get(site, tmp_path):
    """Fetch a.gz with naps instead of waits."""
    naps = []

    def fetch(**known):
        options = {k: known.pop(k) for k in ("retries", "otherwise") if k in known}
        known = known or {"size": len(CONTENT), "sha256": SHA256}
        return fetch_file(RemoteFile("a.gz", f"{site.address}/a.gz", **known), tmp_path, sleep=naps.append, **options)

    fetch.naps = naps
    return fetch


def left(folder):
    return sorted(p.name for p in folder.iterdir())


KNOWN = {
    "all": {"size": len(CONTENT), "md5": MD5, "sha256": SHA256},
    "md5": {"md5": MD5.upper()},
    "size": {"size": len(CONTENT)},
    "range": {"size_range": (1000, 10**6)},
}


@pytest.mark.parametrize("known", [*KNOWN.values(), {}], ids=[*KNOWN, "nothing"])
def test_a_whole_file(site, tmp_path, known):
    done = fetch_file(RemoteFile("a.gz", f"{site.address}/a.gz", **known), tmp_path / "new" / "folder")
    assert done.path.read_bytes() == CONTENT
    assert done.size == len(CONTENT)
    assert (done.algorithm, done.digest) == (("md5", MD5) if known == KNOWN["md5"] else ("sha256", SHA256))
    assert left(done.path.parent) == [fetching.STAMPS, "a.gz"]


@pytest.mark.parametrize("breaks", [partial(serve, send=HALF), partial(reset, send=HALF)], ids=["cut", "reset"])
@pytest.mark.parametrize("known", [{}, KNOWN["range"]], ids=["checksum", "no checksum"])
def test_a_cut_connection_is_resumed(site, get, breaks, known):
    site.queue.append(breaks)
    assert get(**known).path.read_bytes() == CONTENT
    (asked,) = site.ranges()[1:]
    begun = int(asked.removeprefix("bytes=").removesuffix("-"))
    # A reset may overtake bytes under way; an end does not.
    assert 0 < begun <= HALF
    assert begun == HALF or breaks.func is reset
    assert site.seen[1][1]["If-Range"] == '"one"'
    assert get.naps == [1.0]


def test_many_cuts_in_one_transfer(site, get):
    site.queue += [partial(serve, send=50_000)] * 5
    assert get().path.read_bytes() == CONTENT
    assert site.ranges() == [None, *(f"bytes={k * 50_000}-" for k in range(1, 6))]
    assert get.naps == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_a_part_without_an_etag_does_not_make_the_next_one_forget_it(site, get):
    def bare(handler, body):
        del handler.headers["If-Range"]
        serve(handler, body, etag=None, send=50_000)

    site.queue += [partial(serve, send=50_000), bare]
    assert get().path.read_bytes() == CONTENT
    assert [headers.get("If-Range") for _, headers in site.seen] == [None, '"one"', '"one"']
    assert site.ranges()[2] == "bytes=100000-"


def test_progress_forgives_failures(site, get, monkeypatch):
    monkeypatch.setattr(fetching, "_PROGRESS", 50_000)
    site.queue += [partial(serve, send=50_000)] * 5
    assert get(size=len(CONTENT), retries=1).path.read_bytes() == CONTENT
    assert set(get.naps) == {1.0}


def test_a_later_call_resumes(site, get, tmp_path):
    site.queue += [partial(serve, send=HALF), answer(503), answer(503)]
    with pytest.raises(DatasetError, match=rf"a\.gz: the server answers 503 .*{HALF:,} bytes are kept in a\.gz\.part"):
        get(retries=2, size=len(CONTENT), md5=MD5)
    assert left(tmp_path) == ["a.gz.part", "a.gz.part.json"]
    assert get().path.read_bytes() == CONTENT
    assert site.ranges()[-1] == f"bytes={HALF}-"


def test_a_transfer_complete_but_for_its_check_is_not_repeated(site, get, monkeypatch):
    with monkeypatch.context() as patch:

        def killed(*_):
            raise KeyboardInterrupt

        patch.setattr(fetching, "_digest", killed)
        with pytest.raises(KeyboardInterrupt):
            get()
    assert get().path.read_bytes() == CONTENT
    assert len(site.seen) == 1


def test_the_end_of_a_file_of_unknown_size_is_told_by_416(site, get, tmp_path):
    site.queue.append(partial(chunked, send=len(CONTENT)))
    get(md5=MD5)
    assert [code for code in site.ranges() if code] == [f"bytes={len(CONTENT)}-"]


def test_a_server_without_ranges_is_asked_for_the_whole(site, get):
    site.queue += [partial(serve, send=HALF), partial(serve, ranges=False)]
    assert get().path.read_bytes() == CONTENT
    assert site.ranges() == [None, f"bytes={HALF}-"]


CHANGED = CONTENT[::-1]


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({}, {"etag": '"two"'}),
        ({"etag": 'W/"one"'}, {"etag": 'W/"two"', "ranges": "always"}),
        ({"etag": None, "modified": "Mon"}, {"etag": None, "modified": "Tue"}),
        ({"etag": None, "modified": "Mon"}, {"etag": None, "modified": "Tue", "ranges": "always"}),
    ],
    ids=["etag", "weak etag on a part", "date", "date on a part"],
)
def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(site, get, first, later):
    always = later.pop("ranges", None) == "always"

    def changed(handler, body):
        if always and "If-Range" in handler.headers:
            # A server that does not know If-Range and sends the part of whatever it has.
            del handler.headers["If-Range"]
        serve(handler, CHANGED, **later)

    site.queue += [partial(serve, send=HALF, **first), changed]
    if always:
        site.queue.append(changed)
    done = get(sha256=hashlib.sha256(CHANGED).hexdigest())
    assert done.path.read_bytes() == CHANGED
    assert site.ranges() == [None, f"bytes={HALF}-", *([None] if always else [])]


def test_a_file_that_changed_its_size_is_fetched_from_its_start(site, get):
    longer = CHANGED + b"more"

    def grown(handler, _):
        # Without a validator in the answer, and If-Range unknown to the server, only the size gives the change away.
        del handler.headers["If-Range"]
        serve(handler, longer, etag=None)

    site.queue += [partial(serve, send=HALF), grown, grown]
    assert get(sha256=hashlib.sha256(longer).hexdigest()).path.read_bytes() == longer
    assert site.ranges() == [None, f"bytes={HALF}-", None]


def test_a_file_that_became_shorter_than_the_part_is_fetched_from_its_start(site, get):
    shorter = CONTENT[:1000]

    def shrunk(handler, _):
        del handler.headers["If-Range"]
        serve(handler, shorter)

    site.queue += [partial(serve, send=HALF), shrunk, shrunk]
    assert get(size_range=(1, 10**6)).path.read_bytes() == shorter
    assert site.ranges() == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize("said", ["bytes 0-99/100", "bytes 1-2/x", "", f"bytes {HALF + 1}-{len(CONTENT) - 1}/*"])
def test_a_part_that_does_not_fit_is_not_appended(site, get, said):
    site.queue += [partial(serve, send=HALF), partial(serve, Content_Range=said)]
    assert get().path.read_bytes() == CONTENT
    assert site.ranges() == [None, f"bytes={HALF}-", None]


def test_a_part_of_another_address_or_without_a_note_is_not_resumed(site, get, tmp_path):
    (tmp_path / "a.gz.part").write_bytes(CONTENT[:HALF])
    assert get().path.read_bytes() == CONTENT
    (tmp_path / "a.gz").rename(tmp_path / "a.gz.part")
    note = {"url": "http://127.0.0.1/other", "etag": None, "last_modified": None, "total": None}
    (tmp_path / "a.gz.part.json").write_text(json.dumps(note))
    assert get().path.read_bytes() == CONTENT
    assert site.ranges() == [None, None]


def test_length_above_what_comes(site, get):
    site.queue += [partial(serve, Content_Length=len(CONTENT) + 7)] * 3
    with pytest.raises(
        DatasetError, match=f"connection cut at {len(CONTENT):,} of {len(CONTENT) + 7:,} bytes, 3 times"
    ):
        get(md5=MD5, retries=2)


def test_length_below_what_comes_is_seen_by_the_checksum(site, get, tmp_path):
    site.queue.append(partial(serve, Content_Length=1000))
    with pytest.raises(DatasetError, match=r"a\.gz is not the published file \(MD5 .*kept as a\.gz\.bad"):
        get(md5=MD5)
    assert (tmp_path / "a.gz.bad").read_bytes() == CONTENT[:1000]


def test_another_size_than_published_is_refused_before_the_transfer(site, get, tmp_path):
    site.files["a.gz"] = CONTENT + b"!"
    with pytest.raises(DatasetError, match=rf"offers {len(CONTENT) + 1:,} bytes, expected {len(CONTENT):,} bytes"):
        get()
    with pytest.raises(DatasetError, match="expected 5 to 10 bytes"):
        get(size_range=(5, 10))
    assert left(tmp_path) == []
    assert get.naps == []


def test_a_stream_without_end_is_ended(site, get, tmp_path):
    site.queue.append(chunked)
    with pytest.raises(DatasetError, match="sends more than the 1,000 bytes expected"):
        get(size=1000)
    assert "a.gz" not in left(tmp_path)


def test_without_length_a_cut_needs_something_to_show_it(site, get):
    site.queue += [partial(serve, length=False)] * 2
    with pytest.raises(DatasetError, match="a cut would not show"):
        get(size_range=(1, 10**6))
    assert get(md5=MD5).path.read_bytes() == CONTENT


@pytest.mark.parametrize("send", [None, HALF])
def test_chunked_transfer(site, get, send):
    site.queue.append(partial(chunked, send=send))
    assert get(size_range=(1, 10**6)).path.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/gzip"])
@pytest.mark.parametrize("known", [{}, {"size_range": (1, 10**6)}], ids=["published", "vague"])
def test_a_web_page_is_no_file(site, get, tmp_path, kind, known):
    site.queue.append(lambda handler, _: serve(handler, HTML, kind=kind))
    known = known or {"size": len(HTML), "md5": MD5}
    with pytest.raises(DatasetError, match=r"web page instead of the file.*open the address in a browser.*Use root"):
        get(otherwise="Use root", **known)
    assert left(tmp_path) == []


def test_a_web_page_does_not_replace_a_part(site, get, tmp_path):
    site.queue += [partial(serve, send=HALF), lambda handler, _: serve(handler, HTML, ranges=False)]
    with pytest.raises(DatasetError, match="web page"):
        get(md5=MD5)
    assert (tmp_path / "a.gz.part").read_bytes() == CONTENT[:HALF]
    assert get().path.read_bytes() == CONTENT
    assert site.ranges()[-1] == f"bytes={HALF}-"


def test_a_web_page_that_comes_in_drops(site, get, tmp_path):
    def drip(handler, _):
        handler.send_response(200)
        handler.end_headers()
        for byte in HTML[:20]:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.001)  # a packet a byte

    site.queue.append(drip)
    with pytest.raises(DatasetError, match="web page"):
        get(md5=MD5)
    assert left(tmp_path) == []


def test_a_flipped_byte_is_kept_aside(site, get, tmp_path):
    flipped = bytearray(CONTENT)
    flipped[HALF] ^= 1
    site.files["a.gz"] = bytes(flipped)
    with pytest.raises(
        DatasetError, match=rf"SHA256 {hashlib.sha256(flipped).hexdigest()}, expected {SHA256}.*a\.gz\.bad"
    ):
        get()
    assert left(tmp_path) == ["a.gz.bad"]
    assert (tmp_path / "a.gz.bad").read_bytes() == flipped
    site.files["a.gz"] = CONTENT
    assert get().path.read_bytes() == CONTENT


@pytest.mark.parametrize("code", [404, 408, 429, 500, 502, 503, 504])
def test_a_passing_error_is_asked_again(site, get, code):
    site.queue += [answer(code)] * 2
    assert get().path.read_bytes() == CONTENT
    assert get.naps == [1.0, 2.0]


def test_retry_after_is_heard_and_bounded(site, get):
    site.queue += [answer(503, {"Retry-After": "7"}), answer(429, {"Retry-After": "86400"})]
    get()
    assert get.naps == [7.0, 60.0]


@pytest.mark.parametrize(("code", "asked"), [(404, 3), (403, 1), (410, 1), (401, 1), (204, 1), (503, 4)])
def test_an_error_that_stays_ends_it(site, get, code, asked):
    site.queue += [answer(code)] * 9
    with pytest.raises(DatasetError, match=rf"a\.gz: the server answers {code} .*address: http://127.*Use root"):
        get(otherwise="Use root", size=len(CONTENT), retries=3)
    assert len(site.seen) == asked


def test_no_server(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        file = RemoteFile("a.gz", f"http://127.0.0.1:{unused.getsockname()[1]}/a.gz", size=1)
        naps = []
        with Site(), pytest.raises(DatasetError, match=r"no connection .*refused.*, 3 times"):
            fetch_file(file, tmp_path, retries=2, sleep=naps.append)
    assert len(naps) == 2


def test_no_network_is_said_soon(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("no_proxy", "*")
    naps = []
    with pytest.raises(DatasetError, match=r"no address for the host example\.invalid \(no network\?\)"):
        fetch_file(RemoteFile("a", "https://example.invalid/a", size=1), tmp_path, sleep=naps.append)
    assert naps == [1.0, 2.0]


def test_a_certificate_that_is_not_accepted(tmp_path, monkeypatch):
    def refuse(*_, **__):
        error = ssl.SSLCertVerificationError(1, "verify failed")
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DatasetError, match=r"certificate of example\.invalid .*self-signed.*SSL_CERT_FILE"):
        fetch_file(RemoteFile("a", "https://example.invalid/a", size=1), tmp_path)


def test_redirections(site, get, tmp_path):
    site.files["real"] = CONTENT
    site.queue.append(answer(302, {"Location": "/real"}))
    assert get().path.read_bytes() == CONTENT
    shutil.rmtree(tmp_path)
    for elsewhere, said in [
        ("file:///etc/hostname", "302 .*not allowed"),
        ("ftp://127.0.0.1/a", "redirected to 'ftp:"),
    ]:
        site.queue.append(answer(302, {"Location": elsewhere}))
        with pytest.raises(DatasetError, match=said):
            get()


def test_a_redirection_does_not_drop_the_encryption():
    request = fetching.urllib.request.Request("https://host/a")
    follow = fetching._SameProtection().redirect_request
    assert follow(request, None, 302, "Found", {}, "https://other/b").full_url == "https://other/b"
    with pytest.raises(DatasetError, match="redirected to 'http://host/a', refused; allowed: https"):
        follow(request, None, 302, "Found", {}, "http://host/a")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a", "/a", "http:///a", ""])
def test_other_addresses_are_refused(url):
    with pytest.raises(DatasetError, match="is refused; allowed: http:// and https://"):
        RemoteFile("a", url)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "c:a"])
def test_names_with_folders_are_refused(name):
    with pytest.raises(DatasetError, match="is not a file name"):
        RemoteFile(name, "https://host/a")


def test_disk_too_small_for_all_that_is_missing(site, tmp_path, monkeypatch):
    files = [RemoteFile(name, f"{site.address}/a.gz", size=len(CONTENT)) for name in ("a", "b", "c", "d", "e")]
    fetch_files(files[:1], tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * len(CONTENT) - 1))
    with pytest.raises(DatasetError, match=r"b, c, d and 1 more still need 1\.2 MiB, 1\.2 MiB are free"):
        fetch_files(files, tmp_path)
    assert len(site.seen) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4 * len(CONTENT)))
    assert [f.path.name for f in fetch_files(files, tmp_path)] == ["a", "b", "c", "d", "e"]


def test_disk_too_small_is_seen_when_the_server_tells_the_size(get, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(DatasetError, match=r"still need 300\.0 KiB, 1000 bytes are free"):
        get(md5=MD5)
    assert left(tmp_path) == []


@pytest.fixture
def hashed(monkeypatch):
    calls, digest = [], fetching._digest
    monkeypatch.setattr(fetching, "_digest", lambda path, alg: calls.append(path.name) or digest(path, alg))
    return calls


def test_a_verified_file_is_neither_fetched_nor_hashed_again(site, get, hashed):
    first = get()
    assert get() == first
    assert get(size_range=(1, 10**6)) == first
    assert len(site.seen) == len(hashed) == 1


@pytest.mark.parametrize("stamps", [b"", b"[]", b'{"a.gz": 3}', None])
def test_a_file_put_there_by_hand_or_with_a_lost_stamp_is_hashed_once(site, get, hashed, tmp_path, stamps):
    (tmp_path / "a.gz").write_bytes(CONTENT)
    if stamps is not None:
        (tmp_path / fetching.STAMPS).write_bytes(stamps)
    assert get().digest == get().digest == SHA256
    assert hashed == ["a.gz"]
    assert site.seen == []


def test_a_verified_file_that_was_changed_is_noticed(site, get, tmp_path, capsys):
    status = get().path.stat()
    (tmp_path / "a.gz").write_bytes(CHANGED)
    os.utime(tmp_path / "a.gz", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert get().path.read_bytes() == CONTENT
    assert (tmp_path / "a.gz.bad").read_bytes() == CHANGED
    assert "kept as a.gz.bad; fetching it again" in capsys.readouterr().err


def test_another_published_checksum_is_not_answered_by_the_stamp(get):
    get()
    with pytest.raises(DatasetError, match=f"expected {'0' * 64}"):
        get(sha256="0" * 64)


def test_several_files_and_what_is_said(site, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    site.files["b"] = b"second"
    files = [RemoteFile("a.gz", f"{site.address}/a.gz", size=len(CONTENT)), RemoteFile("b", f"{site.address}/b")]
    assert [f.path.read_bytes() for f in fetch_files(files, tmp_path)] == [CONTENT, b"second"]
    assert capsys.readouterr().err.splitlines() == ["a.gz: 0 bytes of 300.0 KiB", "b: 0 bytes of 6 bytes"]
    shutil.rmtree(tmp_path)
    fetch_files(files, tmp_path, progress=False)
    assert capsys.readouterr().err == ""
    with pytest.raises(DatasetError, match="'b' is to be fetched twice"):
        fetch_files([*files, files[1]], tmp_path)


def test_a_line_every_few_seconds(get, monkeypatch, capsys):
    clock = iter(range(0, 10_000, 6))
    monkeypatch.setattr(fetching, "_CHUNK", 100_000)
    monkeypatch.setattr(fetching.time, "monotonic", lambda: next(clock))
    get()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "a.gz: 0 bytes of 300.0 KiB"
    assert 2 <= len(lines) <= 1 + len(CONTENT) // 8192


def test_a_bar_on_a_terminal(site, get, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    site.queue.append(partial(serve, send=HALF))
    get()
    said = capsys.readouterr().err
    assert "300k/300k" in said
    assert "again in 1 s" in said


def test_a_full_disk_while_writing(get, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"a\.gz\.part: cannot be written \(No space left on device\); free some"):
        get()
    assert get.naps == []


class Kaggle(SimpleNamespace):
    def __init__(self, error=None):
        self.error, self.caches = error, []

    def dataset_download(self, handle):
        self.caches.append(os.environ["KAGGLEHUB_CACHE"])
        if self.error:
            raise self.error
        target = f"{self.caches[-1]}/datasets/{handle}"
        os.makedirs(target, exist_ok=True)
        return target


def test_kaggle_writes_below_the_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", Kaggle())
    monkeypatch.setenv("KAGGLEHUB_CACHE", "before")
    path = fetch_kaggle("owner/set/versions/2", tmp_path)
    assert path == tmp_path / "kagglehub" / "datasets" / "owner/set/versions/2"
    assert path.is_dir()
    assert os.environ["KAGGLEHUB_CACHE"] == "before"
    monkeypatch.delenv("KAGGLEHUB_CACHE")
    fetch_kaggle("owner/set", tmp_path)
    assert "KAGGLEHUB_CACHE" not in os.environ


def kaggle_errors():
    import requests
    from kagglehub import exceptions as kaggle

    def http(code):
        return requests.HTTPError("no", response=SimpleNamespace(status_code=code))

    return [
        (requests.ConnectionError("Max retries exceeded"), "cannot be reached .*network"),
        (http(403), "wants credentials: set KAGGLE_USERNAME"),
        (kaggle.KaggleApiHTTPError("no", SimpleNamespace(status_code=401)), "wants credentials"),
        (kaggle.UnauthenticatedError(), "wants credentials"),
        (http(404), "no such data set"),
        (kaggle.DataCorruptionError("checksum"), r"kagglehub failed \(DataCorruptionError: checksum\)"),
    ]


@pytest.mark.parametrize("number", range(6))
def test_kaggle_errors_name_the_handle_the_page_and_the_key(tmp_path, monkeypatch, number):
    pytest.importorskip("kagglehub")
    error, said = kaggle_errors()[number]
    monkeypatch.setitem(sys.modules, "kagglehub", Kaggle(error))
    by_hand = r"download https://www\.kaggle\.com/datasets/owner/set in a browser.*set datasets\.x\.root to"
    with pytest.raises(DatasetError, match=f"Kaggle data set owner/set/versions/2: .*{said}.*{by_hand}"):
        fetch_kaggle("owner/set/versions/2", tmp_path, "datasets.x.root")


def test_kaggle_without_its_package_or_with_a_bad_handle(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DatasetError, match=r"owner/set: install kagglehub .*set root to its folder"):
        fetch_kaggle("owner/set", tmp_path)
    for handle in ("owner", "a/b/c", "https://www.kaggle.com/a/b", "../x/versions/1/y"):
        with pytest.raises(DatasetError, match="allowed: owner/name"):
            fetch_kaggle(handle, tmp_path)
