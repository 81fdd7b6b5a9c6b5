"""Errors the user can fix: shown as a message, never as a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something in params.yaml, in the data or on disk is wrong. The message names it and what to do."""


@contextmanager
def stage_errors() -> Iterator[None]:
    """Run a stage's body; print a `UserError` to stderr and exit with 1. Anything else is a bug and keeps its trace."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
