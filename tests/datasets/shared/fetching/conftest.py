"""Transfers from a server on this machine."""

import pytest

from pipeline.datasets.shared.fetching.files import fetch_file
from pipeline.datasets.shared.fetching.remote import RemoteFile
from tests.datasets.shared.fetching.site import CONTENT, SHA256, Site


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
