"""Child processes of the demo. Owns their start, their logs and their end: none outlives the demo, however it ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from edge.errors import EdgeError

STOP_S = 3.0  # the daemon promises to end within 2 s of SIGTERM
_TAIL_LINES = 12


class ChildFailed(EdgeError):
    """A child process ended by itself; the message carries the last lines it wrote."""

    def __init__(self, name: str, code: int, tail: str) -> None:
        self.name = name
        self.code = code
        ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"the {name} {ended}" + (f"; its last lines:\n{tail}" if tail else " and wrote nothing"))


class Child:
    """One running child process, in a session of its own so that Ctrl-C reaches only the demo.

    Args:
        name: what it is, for messages.
        argv: program and arguments.
        log: file that takes what it writes to stderr (and to stdout unless ``talks``).
        talks: give it pipes on stdin and stdout instead; the end of stdin tells it to stop.
        env: environment; default: inherited.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, *, talks: bool = False, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: S603 - the demo's own programs, no shell
                list(argv),
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=_end_with_parent(),  # noqa: PLW1509 - children start before any thread does
                env=env,
            )
        self.pid = self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        """Its stdin; only of a child that ``talks``."""
        if self._process.stdin is None:
            raise ValueError(f"the {self.name} has no stdin")
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        """Its stdout; only of a child that ``talks``."""
        if self._process.stdout is None:
            raise ValueError(f"the {self.name} has no stdout")
        return self._process.stdout

    @property
    def is_running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def check(self) -> None:
        """Does nothing while it runs.

        Raises:
            ChildFailed: it has ended, for whatever reason.
        """
        code = self._process.poll()
        if code is not None:
            raise ChildFailed(self.name, code, self.tail())

    def tail(self) -> str:
        """The last lines it wrote, indented."""
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(f"    {line}" for line in lines)

    def ask_to_stop(self) -> None:
        """Sends SIGTERM; returns at once."""
        if self.is_running:
            self._process.terminate()

    def wait_stopped(self, until: float) -> int:
        """Waits until ``until`` (time.monotonic), then kills; returns the exit code."""
        try:
            self._process.wait(max(until - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unflushed bytes to a child that is gone
                    pipe.close()
        return self._process.returncode


class Children:
    """The children of one demo, ended together, last started first.

    Args:
        folder: where their logs go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self, name: str, argv: Sequence[str], *, talks: bool = False, env: Mapping[str, str] | None = None) -> Child:
        """Starts a child and keeps it.

        Raises:
            ChildFailed: the program cannot be executed.
        """
        try:
            child = Child(name, argv, self._folder / f"{name.replace(' ', '-')}.log", talks=talks, env=env)
        except OSError as error:
            raise ChildFailed(name, 127, f"    {error}") from error
        self._running.append(child)
        return child

    def forget(self, child: Child) -> None:
        """Stops one child that is no longer wanted."""
        child.ask_to_stop()
        child.wait_stopped(time.monotonic() + STOP_S)
        self._running.remove(child)

    def check(self) -> None:
        """Raises ChildFailed when any child has ended."""
        for child in self._running:
            child.check()

    def check_within(self, seconds: float) -> None:
        """Like ``check``, and gives a child that is just ending so long to have ended."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self.check()
            time.sleep(0.01)

    def stop(self) -> None:
        """Stops all, last started first, so that the daemon still has its broker while it drains."""
        while self._running:
            child = self._running.pop()
            child.ask_to_stop()
            child.wait_stopped(time.monotonic() + STOP_S)


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line of a module of this package, run by this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def _end_with_parent() -> Callable[[], None] | None:
    """On Linux the kernel sends SIGTERM to the child when the demo dies without being able to clean up (kill -9)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return arrange
