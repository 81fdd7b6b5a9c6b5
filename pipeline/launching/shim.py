"""Stands for ``python`` below a worker of a warm launcher: has its server run ``python -m pipeline.STAGE ...``.

Called as ``shim.py PYTHON ARGUMENT ...``. It is run without site-packages and imports only what starts quickly, and
stands aside, for PYTHON itself, wherever there is no server or another command than a module of this project.
"""

import json
import os
import signal
import socket
import sys


def ask(address: str, command: list[str]) -> int | None:
    """Return the exit status of ``python -m MODULE ARGUMENT ...`` run by the server, None if there is none.

    The protocol is that of `pipeline.launching.warm`, which this script cannot import: it would take too long.
    """
    request = {"command": command, "environment": dict(os.environ), "folder": os.getcwd()}
    line = json.dumps(request).encode() + b"\n"
    answers = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(address)
            sent = socket.send_fds(connection, [line], [0, 1, 2])
            connection.sendall(line[sent:])
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
    address = os.environ.get("MEDMATRIX_WARM")
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
