"""Stands for ``python`` below a worker of a warm launcher: has its server run ``python -m pipeline.STAGE ...``.

Called as ``shim.py PYTHON ARGUMENT ...``. It is run without site-packages and imports only what starts quickly, and
stands aside, for PYTHON itself, wherever there is no server or another command than a module of this project.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

SERVER = "MEDMATRIX_WARM"
"""Environment variable with the address of the server for the commands below a worker."""


def connect(address: str, request: dict[str, Any], descriptors: Sequence[int]) -> socket.socket:
    """Send a server a request (see `pipeline.launching.warm.Request`); return the connection that it answers on.

    Raises
    ------
    OSError
        If there is no server.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(address)
        line = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(connection, [line], [*descriptors])
        connection.sendall(line[sent:])
    except BaseException:
        connection.close()
        raise
    return connection


def ask(address: str, command: list[str]) -> int | None:
    """Return the exit status of ``python -m MODULE ARGUMENT ...`` run by the server, None if there is none."""
    request = {"command": command, "environment": dict(os.environ), "folder": os.getcwd()}
    answers = b""
    try:
        with connect(address, request, (0, 1, 2)) as connection:
            while more := connection.recv(4096):
                answers += more
    except OSError:
        return -signal.SIGKILL if answers else None
    told = {}
    for answer in answers.splitlines():
        told.update(json.loads(answer))
    return told.get("status", -signal.SIGKILL) if told else None


def main() -> None:
    """Run the command; end as it ends."""
    python, *arguments = sys.argv[1:]
    address = os.environ.get(SERVER)
    if address and len(arguments) > 1 and arguments[0] == "-m" and arguments[1].startswith("pipeline."):
        status = ask(address, arguments[1:])
        if status is not None:
            if status < 0:
                signal.signal(-status, signal.SIG_DFL) if status != -signal.SIGKILL else None
                os.kill(os.getpid(), -status)
            sys.exit(status)
    os.execv(python, [python, *arguments])


if __name__ == "__main__":
    main()
