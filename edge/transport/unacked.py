"""How long the peer has not acknowledged what was written: what the kernel took is not yet sent, and may get old in its buffer."""

import array
import fcntl
import socket
import ssl
import termios
import time
from collections import deque
from contextlib import suppress

MARK_NS = 10_000_000  # what was written within this time is one mark
_MARKS = 1024
# A TLS record adds 21 to 29 bytes with today's ciphers; taking too many makes what waits look a little younger.
_RECORD_BYTES, _RECORD_OVERHEAD = 16_384, 32


class Unacked:
    """The age of the oldest byte that the peer's kernel has not acknowledged. Where the system does not say, nothing has an age.

    Args:
        sock: connected.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._written = 0
        self._marks: deque[tuple[int, int]] = deque()  # bytes written so far, and when the first of this mark were
        self._reply = array.array("i", [0])

    def wrote(self, count: int) -> None:
        """The kernel took so many bytes."""
        if self._is_tls:
            count += -(-count // _RECORD_BYTES) * _RECORD_OVERHEAD
        self._written += count
        now_ns = time.monotonic_ns()
        if self._marks and now_ns - self._marks[-1][1] < MARK_NS:
            now_ns = self._marks.pop()[1]
        elif len(self._marks) >= _MARKS:
            self._prune()
        self._marks.append((self._written, now_ns))

    def age_ns(self, now_ns: int) -> int:
        """How long ago the oldest unacknowledged byte was written; 0 when there is none."""
        if not self._marks:
            return 0
        acked = self._written - self._waiting()
        while self._marks and self._marks[0][0] <= acked:
            self._marks.popleft()
        return max(now_ns - self._marks[0][1], 0) if self._marks else 0

    def _waiting(self) -> int:
        """Bytes in the kernel that are not acknowledged."""
        self._reply[0] = 0
        with suppress(OSError, ValueError):
            fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, self._reply)
        return self._reply[0]

    def _prune(self) -> None:
        self.age_ns(0)
        if len(self._marks) >= _MARKS:  # a long stall: two marks become one, as old as the older
            marks = list(self._marks)
            self._marks = deque((later[0], earlier[1]) for earlier, later in zip(marks[::2], marks[1::2], strict=True))
