"""Waking the reactor: one socket pair through which signals and other threads speak to the loop."""

import contextlib
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

_NUDGE = 0  # no signal has this number
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wake:
    """The loop's ear.

    Args:
        selector: the reactor's.
        on_wake: called in the loop with the numbers of the signals that came, which may be none.
    """

    def __init__(self, selector: selectors.BaseSelector, on_wake: Callable[[list[int]], None]) -> None:
        self._on_wake = on_wake
        self._mouth, self._ear = socket.socketpair()
        self._mouth.setblocking(False)
        self._ear.setblocking(False)
        self._previous: list[tuple[int, Any]] = []
        selector.register(self._ear, selectors.EVENT_READ, self._hear)

    def nudge(self) -> None:
        """Wake the loop, from any thread."""
        self.tell(_NUDGE)

    def tell(self, number: int) -> None:
        """Tell the loop a signal number, from any thread."""
        with contextlib.suppress(OSError):  # full: the loop wakes anyway; closed: nobody is left to wake
            self._mouth.send(bytes((number,)))

    def take_signals(self) -> None:
        """Let SIGTERM, SIGINT and SIGHUP come in here; does nothing outside the main thread, where Python allows no handlers."""
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
            self._previous = [(number, signal.signal(number, lambda _number, _frame: None)) for number in _SIGNALS]

    def close(self) -> None:
        """Give the signals back."""
        if self._previous:
            signal.set_wakeup_fd(-1)
        for number, handler in self._previous:
            signal.signal(number, handler)
        self._mouth.close()
        self._ear.close()

    def _hear(self, _mask: int) -> None:
        self._on_wake([number for number in self._ear.recv(4096) if number != _NUDGE])
