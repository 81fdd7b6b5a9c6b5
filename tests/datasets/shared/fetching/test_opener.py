"""Redirections that are followed and those that are not."""

import shutil
import urllib.request

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.opener import SameProtection
from tests.datasets.shared.fetching.site import CONTENT, answer


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
    request = urllib.request.Request("https://host/a")
    follow = SameProtection().redirect_request
    assert follow(request, None, 302, "Found", {}, "https://other/b").full_url == "https://other/b"
    with pytest.raises(DatasetError, match=r"redirected to 'http://host/a'; the address must be https$"):
        follow(request, None, 302, "Found", {}, "http://host/a")
