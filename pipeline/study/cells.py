"""Cells of tables that people open: none of them is a formula to a spreadsheet."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"\s*[=@+-]|[\t\r]")
"""What Excel, LibreOffice and Google Sheets calculate as a file is opened begins so."""
_NUMBERS = re.compile(r"[+-][\d.](?:[^A-Za-z|!'\"&@=\t\r]|to|[eE](?=[\d+-]))*")
"""A number with a sign, also with its interval in brackets."""


def harmless(text: str) -> str:
    """Return `text` as a cell that is only shown: with ``'`` before it if a spreadsheet would calculate it.

    Examples
    --------
    >>> [harmless(text) for text in ("=1+1", "-2+3+cmd|' /C calc'!A0", "-0.5", "+0.01 [-0.02, 0.04]", "Mass")]
    ["'=1+1", "'-2+3+cmd|' /C calc'!A0", '-0.5', '+0.01 [-0.02, 0.04]', 'Mass']
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBERS.fullmatch(text) else text
