"""``python dying.py FILE NUMBER BYTES MODULE ARGUMENT ...``: run a module that is killed while it writes a file.

The NUMBER-th time that the module opens FILE for writing, BYTES of it reach the disk, then the process gets SIGKILL:
what a kill or a power cut in that moment leaves.
"""

import builtins
import os
import runpy
import signal
import sys
from typing import Any


def main(file: str, number: int, size: int, command: list[str]) -> None:
    """Run ``python -m COMMAND``; see the module."""
    plain, seen = builtins.open, [0]

    class Dying:
        """A file for text that ends its process once it has grown to `size`."""

        def __init__(self, real: Any) -> None:
            self._real, self._left = real, size

        def write(self, text: str) -> int:
            self._real.write(text[: self._left])
            self._left -= len(text)
            if self._left <= 0:
                self._end()
            return len(text)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exception: object) -> None:
            self._end()  # the whole was shorter

        def _end(self) -> None:
            self._real.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        real = plain(path, mode, *arguments, **options)
        if isinstance(path, str) and os.path.basename(path) == file and "w" in mode:
            seen[0] += 1
            if seen[0] == number:
                return Dying(real)
        return real

    builtins.open = opened
    sys.argv = [*command]
    runpy.run_module(command[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
