"""A server on this machine that breaks, lies and changes its mind."""

import contextlib
import hashlib
import os
import socket
import struct
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

CONTENT = bytes(range(256)) * 1200
HALF = len(CONTENT) // 2
HTML = b"\n<!DOCTYPE html>\n<html><body>Please log in</body></html>"

MD5, SHA256 = hashlib.md5(CONTENT).hexdigest(), hashlib.sha256(CONTENT).hexdigest()

CHANGED = CONTENT[::-1]


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


def left(folder):
    return sorted(p.name for p in folder.iterdir())
