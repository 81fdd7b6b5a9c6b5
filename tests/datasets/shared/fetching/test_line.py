"""Transfers from a server that breaks, lies and changes its mind; nothing here leaves the machine."""

import hashlib
import json
import os
import socket
import ssl
import time
from functools import partial

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching import line
from pipeline.datasets.shared.fetching.files import fetch_file
from pipeline.datasets.shared.fetching.remote import RemoteFile
from pipeline.datasets.shared.fetching.stamps import STAMPS
from tests.datasets.shared.fetching.site import (
    CHANGED,
    CONTENT,
    HALF,
    HTML,
    MD5,
    SHA256,
    Site,
    answer,
    chunked,
    left,
    reset,
    serve,
)

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
    assert left(done.path.parent) == [STAMPS, "a.gz"]


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
    monkeypatch.setattr(line, "_PROGRESS", 50_000)
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


def test_the_end_of_a_file_of_unknown_size_is_told_by_416(site, get, tmp_path):
    site.queue.append(partial(chunked, send=len(CONTENT)))
    get(md5=MD5)
    assert [code for code in site.ranges() if code] == [f"bytes={len(CONTENT)}-"]


def test_a_server_without_ranges_is_asked_for_the_whole(site, get):
    site.queue += [partial(serve, send=HALF), partial(serve, ranges=False)]
    assert get().path.read_bytes() == CONTENT
    assert site.ranges() == [None, f"bytes={HALF}-"]


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
            time.sleep(0.001)  # one packet per byte

    site.queue.append(drip)
    with pytest.raises(DatasetError, match="web page"):
        get(md5=MD5)
    assert left(tmp_path) == []


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


def test_a_full_disk_while_writing(get, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DatasetError, match=r"a\.gz\.part: cannot be written \(No space left on device\); free some"):
        get()
    assert get.naps == []
