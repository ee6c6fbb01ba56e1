"""One serial line as a file descriptor that comes and goes. Owns opening, reading, the bounded write queue and coming back after unplug."""

import errno
import fcntl
import logging
import os
import sys
import termios
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from struct import Struct

import serial

from firmware_bridge.address import Address

_log = logging.getLogger(__name__)

READ_BYTES = 65_536
QUEUE_BYTES = 16_384  # what may wait to be written: 0.2 s at 921600 baud; more means that the other side does not read
RETRY_MIN_US, RETRY_MAX_US = 100_000, 2_000_000
BY_ID = Path("/dev/serial/by-id")
_FAULTS = (OSError, ValueError, termios.error)  # of pyserial: SerialException is an OSError, termios.error is not
_TIOCGICOUNT = 0x545D  # Linux: interrupt counters of a UART
_ICOUNT = Struct("6i5i36x")  # cts, dsr, rng, dcd, rx, tx; then these
_ICOUNT_NAMES = ("framing", "overrun", "parity", "breaks", "buffer_overrun")


class Line:
    """Never blocks and never raises for what a line does.

    Args:
        address: of the line.
        by_id: folder with links whose names stay the same when the kernel gives a device another one.

    Attributes:
        before_close: called while the file descriptor is still the line's, so that a selector can let go of it.
    """

    def __init__(self, address: Address, by_id: Path = BY_ID) -> None:
        self.address = address
        self.opens = self.read_bytes = self.written_bytes = self.refused_writes = 0
        self.last_error = "not tried yet"
        self.before_close: Callable[[], None] = lambda: None
        self._by_id = by_id
        self._stable: Path | None = None
        self._port: serial.Serial | None = None
        self._queue: deque[bytes] = deque()
        self.backlog = 0  # bytes that wait
        self._retry_us = RETRY_MIN_US
        self._next_us = 0
        self._errors: dict[str, int] = {}
        self._errors_at_open: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether the device is there."""
        return self._port is not None

    def fileno(self) -> int:
        """Of the open device, -1 without."""
        return -1 if self._port is None else int(self._port.fileno())

    @property
    def retry_us(self) -> int:
        """When the next attempt to open is due."""
        return self._next_us

    def open(self, now_us: int) -> bool:
        """Try to open when an attempt is due; true when it is open now and was not before."""
        if self._port is not None or now_us < self._next_us:
            return False
        path = self._path()
        port: serial.Serial | None = None
        try:
            port = serial.Serial(
                str(path),
                self.address.baud,
                parity=self.address.parity,
                stopbits=self.address.stop,
                rtscts=self.address.flow == "rtscts",
                xonxoff=self.address.flow == "xonxoff",
                timeout=0,
                exclusive=True,
            )
            with suppress(*_FAULTS, NotImplementedError):  # USB converters collect bytes for up to 16 ms without it
                port.set_low_latency_mode(True)
            os.set_blocking(port.fileno(), False)
        except _FAULTS as fault:
            _close(port)
            self._failed(f"{path}: {_reason(fault)}", now_us)
            return False
        self._port = port
        self._errors_at_open = self._read_errors()
        self.opens += 1
        self.last_error = ""
        self._stable = self._find_stable(path) or self._stable
        _log.info("%s is open at %d baud", path, self.address.baud)
        return True

    def _path(self) -> Path:
        """By its stable name once that is known, also while it is away: the kernel may have given the old name to another board."""
        return Path(self.address.path) if self._stable is None else self._stable

    def _find_stable(self, path: Path) -> Path | None:
        if path.parent == self._by_id:
            return path
        with suppress(OSError):
            target = path.resolve()
            return next((link for link in sorted(self._by_id.iterdir()) if link.resolve() == target), None)
        return None

    def _failed(self, reason: str, now_us: int) -> None:
        if reason != self.last_error:
            _log.warning("%s; trying again, at most every %g s", reason, RETRY_MAX_US / 1e6)
        self.last_error = reason
        self._next_us = now_us + self._retry_us
        self._retry_us = min(2 * self._retry_us, RETRY_MAX_US)

    def read(self, now_us: int) -> bytes | None:
        """What came, empty when nothing did; None when the device is gone."""
        if self._port is None:
            return None
        try:
            data = os.read(self._port.fileno(), READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as fault:
            self.drop(_reason(fault), now_us)
            return None
        if not data:  # a terminal that hung up reads as its end
            self.drop("unplugged", now_us)
            return None
        self.read_bytes += len(data)
        self._retry_us = RETRY_MIN_US
        return data

    def write(self, data: bytes, now_us: int) -> bool:
        """Take all of it, or nothing; false when there is no device or it does not drain."""
        if self._port is None or self.backlog + len(data) > QUEUE_BYTES:
            self.refused_writes += 1
            return False
        self._queue.append(data)
        self.backlog += len(data)
        self.flush(now_us)
        return self._port is not None

    def flush(self, now_us: int) -> bool:
        """Write what the kernel takes; true when nothing waits any longer."""
        while self._queue and self._port is not None:
            data = b"".join(self._queue)
            try:
                n = os.write(self._port.fileno(), data)
            except BlockingIOError:
                return False
            except OSError as fault:
                self.drop(_reason(fault), now_us)
                return False
            self.written_bytes += n
            self._queue.clear()
            self.backlog = len(data) - n
            if self.backlog:
                self._queue.append(data[n:])
        return not self._queue

    def drop(self, reason: str, now_us: int) -> None:
        """Let go of the device and plan the next attempt; what waited to be written is forgotten, because it gets old."""
        was_open = self.is_open
        self.close()
        self._queue.clear()
        self.backlog = 0
        if was_open:
            self._failed(f"{self.address.path}: {reason}", now_us)

    def close(self) -> None:
        """For good, or until ``open``."""
        if self._port is None:
            return
        self._errors, self._errors_at_open = self.errors(), ()
        self.before_close()
        port, self._port = self._port, None
        _close(port)

    def errors(self) -> dict[str, int]:
        """Bytes that the UART took wrongly or lost, by kind: wrong baud, noise. Empty where the driver does not count them, as on ptys."""
        now = self._read_errors()
        if not now or not self._errors_at_open:
            return dict(self._errors)
        pairs = zip(_ICOUNT_NAMES, now, self._errors_at_open, strict=True)
        return {name: self._errors.get(name, 0) + n - before for name, n, before in pairs}

    def _read_errors(self) -> tuple[int, ...]:
        if self._port is None or sys.platform != "linux":
            return ()
        try:
            told = fcntl.ioctl(self._port.fileno(), _TIOCGICOUNT, bytes(_ICOUNT.size))
        except OSError:
            return ()
        return _ICOUNT.unpack(told)[6:]


def _close(port: serial.Serial | None) -> None:
    """What the kernel still has to send is thrown away: a line whose other side allows nothing would hold the call for 30 s."""
    if port is None:
        return
    with suppress(*_FAULTS):
        termios.tcflush(port.fileno(), termios.TCOFLUSH)
    with suppress(*_FAULTS):
        port.close()


def _reason(fault: Exception) -> str:
    number = fault.args[0] if isinstance(fault, termios.error) else getattr(fault, "errno", None)
    if number in (errno.EIO, errno.ENXIO, errno.ENODEV):
        return "unplugged"
    if number in (errno.EAGAIN, errno.EBUSY) or "lock" in str(fault):
        return "another process holds it"
    return os.strerror(number) if number else str(fault)
