"""Nothing that the harness starts outlives it, even when it is killed: a process that only waits for that, and then ends the others.

A child begins when the guardian knows it: until then a shell holds it back, and ends when the harness is gone. Each child leads a
process group, and the group is what is ended.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO

_HOLD = ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh"]
_lock = threading.Lock()
_guardian: subprocess.Popen[bytes] | None = None


def start(
    command: list[str], output: IO[bytes] | int, environment: dict[str, str] | None = None, before: Callable[[int], None] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a process that ends with this one at the latest.

    Args:
        command: program and arguments.
        output: where what it says goes, such as an open file or ``subprocess.PIPE``.
        environment: added to the own one.
        before: called with its process id before it begins.
    """
    process = subprocess.Popen(  # noqa: S603 - the harness' own words
        [*_HOLD, *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **(environment or {})},
    )
    _tell(f"+{process.pid}")
    if before is not None:
        before(process.pid)
    assert process.stdin is not None  # noqa: S101 - opened above
    with process.stdin:
        process.stdin.write(b"go\n")
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process of `start` and all of its group at once, and waits for it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    _tell(f"-{process.pid}")


def _tell(words: str) -> None:
    global _guardian  # noqa: PLW0603 - one for the whole process
    with _lock:
        if _guardian is None:
            _guardian = subprocess.Popen(  # noqa: S603 - this very file; in a session of its own, so that Ctrl-C does not end it
                [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )
            atexit.register(_dismiss)
        assert _guardian.stdin is not None  # noqa: S101 - opened above
        _guardian.stdin.write(f"{words}\n".encode())
        _guardian.stdin.flush()


def _dismiss() -> None:
    if _guardian is not None and _guardian.stdin is not None:
        _guardian.stdin.close()
        _guardian.wait(10)


def _guard() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    _guard()
