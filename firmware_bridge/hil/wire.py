"""The line between a board and its host, with a hand on it.

A thread carries bytes from one tty to another and can damage, delay, withhold, forge and unplug. Knows no frames. Whoever must see what
passes adds a tap.
"""

import contextlib
import errno
import fcntl
import os
import random
import selectors
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from pathlib import Path

from firmware_bridge.hil.faults import Faults
from firmware_bridge.hil.host import prefer_this_thread

Tap = Callable[[str, bytes, int], None]  # direction, bytes, CLOCK_MONOTONIC in ns
TO_HOST, TO_BOARD = "to_host", "to_board"
GATHER_S = 0.0005  # an emulator writes byte by byte: without a rest each byte would wake this thread, and cost both more than the line does
LONGEST_QUEUE = 1 << 20  # bytes held back for one direction; what is beyond is lost, as on a line


class Wire:
    """Carries bytes between a board's tty and a pty made for the host.

    Args:
        open_board: opens the board's side and returns its file descriptor.
        port: a path that leads to the host's side while it is plugged in.
        seed: of everything random.
    """

    def __init__(self, open_board: Callable[[], int], port: Path, seed: int = 1) -> None:
        self.port = port
        self.faults = {TO_HOST: Faults(), TO_BOARD: Faults()}
        self.carried = {TO_HOST: 0, TO_BOARD: 0}
        self.lost = {TO_HOST: 0, TO_BOARD: 0}  # bytes that nobody took
        self.taps: list[Tap] = []  # see what is sent, before anything happens to it
        self.arrivals: list[Callable[[str, bytes], None]] = []  # see what arrives
        self._chance = random.Random(seed)  # noqa: S311 - faults are to be repeatable
        self._lock = threading.RLock()
        self._late: dict[str, deque[tuple[float, bytes]]] = {TO_HOST: deque(), TO_BOARD: deque()}
        self._free_at = {TO_HOST: 0.0, TO_BOARD: 0.0}
        self._board = open_board()
        os.set_blocking(self._board, False)
        self._host: int | None = None
        self._held: int | None = None
        self._wake_out, self._wake_in = os.pipe()
        self._stopping = False
        self.plug()
        self._thread = threading.Thread(target=self._carry, name="wire", daemon=True)
        self._thread.start()

    def set(self, direction: str, faults: Faults) -> None:
        """From now on, these faults in one direction (`to_host` or `to_board`)."""
        with self._lock:
            self.faults[direction] = faults

    def send_to_board(self, data: bytes) -> None:
        """Bytes that the host never sent, undamaged."""
        with self._lock:
            self._write(TO_BOARD, data)

    def send_to_host(self, data: bytes) -> None:
        """Bytes that the board never sent, undamaged."""
        with self._lock:
            self._write(TO_HOST, data)

    def unplug(self) -> None:
        """The host's tty hangs up and its path is gone, as when somebody pulls the cable. What is under way in it is lost."""
        with self._lock:
            for queue in self._late.values():
                queue.clear()
            with contextlib.suppress(termios.error):
                termios.tcflush(self._board, termios.TCOFLUSH)  # up to 4 kB wait in a pty: more than half a second of an emulated UART
            self.port.unlink(missing_ok=True)
            for descriptor in (self._host, self._held):
                if descriptor is not None:
                    os.close(descriptor)
            self._host = self._held = None
            os.write(self._wake_in, b".")

    def plug(self) -> None:
        """The cable is in (again): a new tty under the same path."""
        with self._lock:
            if self._host is not None:
                return
            master, slave = os.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            self._host, self._held = master, slave  # held, so that the master does not hang up whenever the host reopens it
            self.port.unlink(missing_ok=True)
            self.port.symlink_to(os.ttyname(slave))
            os.write(self._wake_in, b".")

    def close(self) -> None:
        """Ends the thread and closes both sides."""
        self._stopping = True
        os.write(self._wake_in, b".")
        self._thread.join(5)
        self.unplug()
        for descriptor in (self._board, self._wake_in, self._wake_out):
            os.close(descriptor)

    def _carry(self) -> None:
        prefer_this_thread()
        while not self._stopping:
            with selectors.DefaultSelector() as ready:
                with self._lock:
                    plugged = self._host
                    ready.register(self._wake_out, selectors.EVENT_READ, "")
                    ready.register(self._board, selectors.EVENT_READ, TO_HOST)
                    if plugged is not None:
                        ready.register(plugged, selectors.EVENT_READ, TO_BOARD)
                self._carry_until_changed(ready, plugged)

    def _carry_until_changed(self, ready: selectors.BaseSelector, plugged: int | None) -> None:
        while not self._stopping and self._host == plugged:
            for key, _ in ready.select(self._wait_s()):
                if key.data == "":
                    os.read(self._wake_out, 64)
                    return
                with self._lock:
                    if self._host != plugged or not self._pass_on(key.fd, key.data):
                        return
            time.sleep(GATHER_S)
            with self._lock:
                self._release()
                if self._held is not None:
                    fcntl.ioctl(self._held, termios.TIOCNXCL)  # a host that was killed leaves its exclusive lock behind

    def _wait_s(self) -> float:
        due = [queue[0][0] for queue in self._late.values() if queue]
        return max(0.0, min(due) - time.monotonic()) if due else 0.1

    def _pass_on(self, descriptor: int, direction: str) -> bool:
        try:
            chunk = os.read(descriptor, 65536)
        except BlockingIOError:
            return True
        except OSError:
            time.sleep(0.01)  # the board's tty hung up: it may come back
            return False
        if not chunk:
            return False
        now = time.monotonic()
        for tap in self.taps:
            tap(direction, chunk, time.monotonic_ns())
        faults, queue = self.faults[direction], self._late[direction]
        if faults.is_clean() and not queue:
            self._write(direction, chunk)
            return True
        chunk = faults.damage(chunk, self._chance)
        if chunk:
            self._free_at[direction] = max(self._free_at[direction], now + faults.late_s(self._chance))
            queue.append((self._free_at[direction], chunk))
        return True

    def _release(self) -> None:
        now = time.monotonic()
        for direction, queue in self._late.items():
            while queue and queue[0][0] <= now:
                self._write(direction, queue.popleft()[1])

    def _write(self, direction: str, data: bytes) -> None:
        descriptor = self._host if direction == TO_HOST else self._board
        sent = 0
        if descriptor is not None:
            with contextlib.suppress(BlockingIOError):
                try:
                    sent = os.write(descriptor, data)
                except OSError as error:
                    if error.errno not in (errno.EIO, errno.EAGAIN):
                        raise
        for see in self.arrivals:
            see(direction, data[:sent])
        if sent < len(data) and direction == TO_BOARD and descriptor is not None and len(data) < LONGEST_QUEUE:
            self._late[direction].appendleft((time.monotonic() + 0.001, data[sent:]))  # an emulated UART takes a byte at a time
        else:
            self.lost[direction] += len(data) - sent
        self.carried[direction] += sent
