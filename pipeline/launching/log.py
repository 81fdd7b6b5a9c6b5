"""What the log of a training run says of its progress."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

EPOCH = re.compile(r"  epoch +(?P<epoch>\d+)/(?P<epochs>\d+)  (?P<figures>.*)$")
METRIC = re.compile(r"val (?P<name>AUROC|macro F1) (?P<value>\S+)")
LEFT = re.compile(r"at most (?P<left>[\d:]+) left")
RESTORED = re.compile(r"^Stage '.*' is cached - skipping run")
UNCHANGED = re.compile(r"^Stage '.*' didn't change, skipping")
RUNNING = re.compile(r"^Running stage '")
EXCEPTION = re.compile(r"^(\w+\.)*\w*(Error|Exception|Interrupt)\b")
BEST = re.compile(r": best epoch (?P<epoch>\d+)")
COLLAPSED = re.compile(r"best epoch \d+, COLLAPSED")


@dataclass
class Progress:
    """The latest figures in a log; empty text for those that it does not have yet."""

    epoch: str = ""
    metric: str = ""
    left: str = ""
    running: bool = False
    """The command has begun: nothing usable was cached."""
    restored: bool = False
    """The result came from DVC's cache."""
    unchanged: bool = False
    collapsed: bool = False
    metrics: dict[int, str] = field(default_factory=dict)
    """Of each epoch; once the best is known, `metric` is that of the best: it is what the run is worth."""

    def read(self, line: str) -> None:
        """Take in one line."""
        if match := EPOCH.search(line):
            self.epoch = f"{match['epoch']}/{match['epochs']}"
            metric, left = METRIC.search(match["figures"]), LEFT.search(match["figures"])
            self.metric = f"{metric['name']} {metric['value']}" if metric else ""
            self.left = left["left"] if left else ""
            self.metrics[int(match["epoch"])] = self.metric
        elif match := BEST.search(line):
            self.metric = self.metrics.get(int(match["epoch"]), "")  # epochs before it was cut are in no log
        self.running = self.running or bool(RUNNING.search(line))
        self.restored = self.restored or bool(RESTORED.search(line))
        self.unchanged = self.unchanged or bool(UNCHANGED.search(line))
        self.collapsed = self.collapsed or bool(COLLAPSED.search(line))


class Tail:
    """Reads what is appended to a file, line by line.

    Parameters
    ----------
    file : Path
        May not be there yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = file.stat().st_size if file.exists() else 0
        self._rest = b""

    def lines(self) -> list[str]:
        """Return the lines that were ended since the last call."""
        if not self._file.exists():
            return []
        with self._file.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in whole]


def reason(log: Path) -> str:
    """Return the line of `log` that says why the last attempt failed: a message to the user, an exception, the last."""
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return "no log"
    messages = [line for line in lines if line.startswith("error: ")]
    exceptions = [line for line in lines if EXCEPTION.match(line)]
    of_dvc = [line for line in lines if line.startswith("ERROR: ")]
    return (messages or exceptions or of_dvc or lines or ["an empty log"])[-1]
