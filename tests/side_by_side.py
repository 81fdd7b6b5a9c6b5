"""Run tests in forks of the process that has collected them: ``python -m pytest -p tests.side_by_side --processes 2``.

Processes that start anew would each import all libraries and collect all tests, half a minute of processor time apiece.
As with ``--dist loadfile`` of pytest-xdist, the tests of a file run in one process, in their order, and a process that
is done takes the next file. Their reports go to the first process, which counts, prints and writes them as ever.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import signal
import socket
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest

from pipeline.launching.warm import safe_to_fork

NUMBER = "MEDMATRIX_TEST_PROCESS"
"""Environment variable with the number of the fork, in each of them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--processes", type=int, default=1, metavar="N", help="run the tests in N forks of this process")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run all tests in forks, if there are to be several."""
    if session.config.option.processes < 2 or session.config.option.collectonly or session.testsfailed:
        return None
    if not safe_to_fork():
        print("note: the tests run one after another, since libraries have started threads or opened a GPU")
        return None
    with contextlib.closing(Loop(session)) as loop:
        loop.run(session.config.option.processes)
    return True


class Fork:
    """A fork, from outside: its number, process and connection, what it has been given and has not finished."""

    def __init__(self, number: int, pid: int, connection: socket.socket) -> None:
        self.number, self.pid, self.connection = number, pid, connection
        self.lines = connection.makefile("r", encoding="utf-8")
        self.left: deque[int] = deque()
        self.done = False

    def close(self) -> int:
        """Let go of it; return how it ended, negative for a signal."""
        self.lines.close()
        self.connection.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Loop:
    """Hands out the tests, file by file, and takes the reports."""

    def __init__(self, session: pytest.Session) -> None:
        self.session = session
        items = enumerate(session.items)
        files = itertools.groupby(items, key=lambda numbered: numbered[1].nodeid.split("::")[0])
        self.files = deque([number for number, _ in group] for _, group in files)
        self.forks: dict[int, Fork] = {}
        self.selector = selectors.DefaultSelector()

    def run(self, count: int) -> None:
        """Run all tests in `count` forks.

        Raises
        ------
        Failed, Interrupted
            As pytest itself does after failures that are to be the last.
        """
        self.session.config._tmp_path_factory.getbasetemp()  # one for all forks
        for number in range(count):
            self._begin(number)
        while self.forks:
            for key, _ in self.selector.select():
                self._hear(self.forks[key.fd])
                if self.session.shouldfail:
                    raise self.session.Failed(self.session.shouldfail)
                if self.session.shouldstop:
                    raise self.session.Interrupted(self.session.shouldstop)

    def close(self) -> None:
        """End what still runs."""
        for fork in self.forks.values():
            os.kill(fork.pid, signal.SIGKILL)
            fork.close()
        self.selector.close()

    def _begin(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        if (pid := os.fork()) == 0:
            for file in (self.selector, ours, *(fork.connection for fork in self.forks.values())):
                file.close()  # or another fork would not see the end of the first process
            work(self.session, number, theirs)
        theirs.close()
        self.forks[ours.fileno()] = Fork(number, pid, ours)
        self.selector.register(ours, selectors.EVENT_READ)

    def _hear(self, fork: Fork) -> None:
        """Do what the next line of a fork says, and answer; it waits for that, so no second line is in the buffer."""
        with contextlib.suppress(ConnectionError):
            if line := fork.lines.readline():
                answer = self._do(fork, **json.loads(line))
                fork.connection.sendall(json.dumps(answer).encode() + b"\n")
                return
        self._end(fork)

    def _do(self, fork: Fork, what: str, of: Any) -> list[int] | None:
        if what == "report":
            self._report(of)
        elif what == "next":
            given = self.files.popleft() if self.files else []
            fork.left.extend(given)
            return given
        elif what == "done":
            fork.done = True
        else:
            item = self.session.items[fork.left.popleft() if what == "ended" else fork.left[0]]
            hook = item.ihook.pytest_runtest_logfinish if what == "ended" else item.ihook.pytest_runtest_logstart
            hook(nodeid=item.nodeid, location=item.location)
        return None

    def _report(self, data: dict[str, Any]) -> None:
        hook = self.session.config.hook
        for name in ("longrepr", "location"):  # tuples, which JSON does not know
            if isinstance(data[name], list):
                data[name] = tuple(data[name])
        report = hook.pytest_report_from_serializable(config=self.session.config, data=data)
        hook.pytest_runtest_logreport(report=report)

    def _end(self, fork: Fork) -> None:
        """Let go of a fork that has ended; if that was in the midst of a test, the test fails and another goes on."""
        self.selector.unregister(fork.connection)
        del self.forks[fork.connection.fileno()]
        status = fork.close()
        if fork.done:
            return
        if not fork.left:
            raise self.session.Failed(f"a process ended with {status} between tests")
        item = self.session.items[fork.left.popleft()]
        said = f"the process ended with {status} while it ran {item.nodeid}"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", said, "call")
        item.ihook.pytest_runtest_logreport(report=report)
        if fork.left:
            self.files.appendleft([*fork.left])
        self._begin(fork.number)


def work(session: pytest.Session, number: int, connection: socket.socket) -> NoReturn:
    """Run what the first process hands out, in a fork of it, and end the fork."""
    status = 1
    try:
        lines = connection.makefile("r", encoding="utf-8")

        def tell(what: str, of: Any = None) -> Any:
            connection.sendall(json.dumps({"what": what, "of": of}).encode() + b"\n")
            return json.loads(lines.readline())

        def items() -> Iterator[pytest.Item]:
            while given := tell("next"):
                yield from (session.items[index] for index in given)

        _settle(session.config, number)
        session.config.pluginmanager.register(Sender(session.config, tell))
        handed = items()
        following = next(handed, None)
        while (item := following) is not None:
            tell("begun")
            following = next(handed, None)  # a fixture that it shares is kept for it
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            tell("ended")
        tell("done")
        status = 0
    except BaseException:
        if (capturing := session.config.pluginmanager.getplugin("capturemanager")) is not None:
            capturing.suspend_global_capture()
        traceback.print_exc()
    finally:
        os._exit(status)


def _settle(config: pytest.Config, number: int) -> None:
    """Give a fork what it must not share with the others: what it captures, and its folder."""
    os.environ[NUMBER] = str(number)
    manager = config.pluginmanager
    for counting in config.hook.pytest_runtest_logreport.get_hookimpls():
        if not isinstance(counting.plugin, pytest.Session):
            manager.unregister(counting.plugin)
    if (capturing := manager.getplugin("capturemanager")) is not None:
        capturing.stop_global_capturing()
        capturing.start_global_capturing()
    factory = config._tmp_path_factory
    factory._basetemp = factory.mktemp(f"process{number}")


class Sender:
    """The plugin that passes on the reports of a fork."""

    def __init__(self, config: pytest.Config, tell: Callable[[str, Any], object]) -> None:
        self.config, self.tell = config, tell

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Send it."""
        self.tell("report", self.config.hook.pytest_report_to_serializable(config=self.config, report=report))
