"""Open http and https addresses and nothing else."""

from __future__ import annotations

import urllib.request
from typing import Any
from urllib.parse import urlsplit

from pipeline.datasets import DatasetError


class SameProtection(urllib.request.HTTPRedirectHandler):
    """Follow redirections to http and https only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Return the request to the new address; raises `DatasetError` for another scheme."""
        schemes = ("https",) if urlsplit(req.full_url).scheme == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in schemes:
            raise DatasetError(f"{req.full_url}: redirected to '{newurl}'; the address must be {' or '.join(schemes)}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> urllib.request.OpenerDirector:
    """Return an opener for http and https and nothing else; the ready-made one also opens file:// and ftp://."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        SameProtection(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
