"""Fetch a data set from Kaggle through kagglehub."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.datasets import DatasetError
from pipeline.datasets.shared.fetching.text import short

_HANDLE = re.compile(r"[\w.-]+/[\w.-]+(?:/versions/\d+)?")


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
        raise DatasetError(f"Kaggle handle '{handle}' must be owner/name or owner/name/versions/N")
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
            why = f"kagglehub failed ({kind}: {short(error)})"
        raise DatasetError(f"Kaggle data set {handle}: {why}. Or {by_hand}") from error


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
