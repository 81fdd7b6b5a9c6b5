"""Progress on a terminal and elsewhere."""

import sys
from functools import partial

from pipeline.datasets.shared.fetching import line, meter
from tests.datasets.shared.fetching.site import CONTENT, HALF, serve


def test_a_line_every_few_seconds(get, monkeypatch, capsys):
    clock = iter(range(0, 10_000, 6))
    monkeypatch.setattr(line, "_CHUNK", 100_000)
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(clock))
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
