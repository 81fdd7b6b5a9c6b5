"""Which names and addresses of published files are accepted."""

import pytest

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.remote import RemoteFile


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a", "/a", "http:///a", ""])
def test_other_addresses_are_refused(url):
    with pytest.raises(DatasetError, match="must name a host by http:// or https://"):
        RemoteFile("a", url)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "c:a"])
def test_names_with_folders_are_refused(name):
    with pytest.raises(DatasetError, match="is not a file name"):
        RemoteFile(name, "https://host/a")
