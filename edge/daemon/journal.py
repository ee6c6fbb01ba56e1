"""Log lines for systemd's journal, with fields to select by: one datagram each, in its native protocol.

``journalctl EDGE_PIPELINE=fan-guard EDGE_STREAM=vibration PRIORITY=4``. Used when standard error is the journal already; anywhere else
lines go to standard error. The loop never waits for a journal that does not read: such a line is lost and counted.
"""

import logging
import os
import socket
import struct
import sys

SOCKET = "/run/systemd/journal/socket"
MOST_BYTES = 64_000  # of one text; a datagram must fit into the socket's buffer
_STREAM = "JOURNAL_STREAM"  # device:inode of the standard error that systemd gave us
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


class JournalHandler(logging.Handler):
    """Sends records to the journal.

    Args:
        pipeline: goes with every line as ``EDGE_PIPELINE``; "" for none.
        path: of the journal's socket.

    Attributes:
        lost: lines that the journal did not take.

    Raises:
        OSError: there is no journal.
    """

    def __init__(self, pipeline: str = "", path: str = SOCKET) -> None:
        super().__init__()
        self.lost = 0
        self._pipeline = pipeline
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; ``extra={"stream": ...}`` and ``"device"`` become fields."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": "edge",
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName,
            "EDGE_PIPELINE": self._pipeline,
            "EDGE_STREAM": str(getattr(record, "stream", "")),
            "EDGE_DEVICE": str(getattr(record, "device", "")),
        }
        try:
            self._socket.send(b"".join(field(name, value) for name, value in fields.items() if value))
        except OSError:
            self.lost += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def field(name: str, value: str) -> bytes:
    """One field of a datagram; a text of several lines is sent with its length, so that no line of it can pass for a field."""
    data = value.encode(errors="backslashreplace")[:MOST_BYTES]
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def priority(level: int) -> int:
    """The syslog priority of a level."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def is_journal(descriptor: int = 2) -> bool:
    """Whether a file descriptor is the journal's, as systemd says it gave it to this process."""
    try:
        about = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get(_STREAM, "") == f"{about.st_dev}:{about.st_ino}"


def log_to_journal(level: str, pipeline: str) -> bool:
    """Let all log lines go to the journal; false where standard error is not the journal, and nothing is changed."""
    if not sys.platform.startswith("linux") or not is_journal():
        return False
    try:
        handler = JournalHandler(pipeline)
    except OSError:
        return False
    logging.basicConfig(level=level.upper(), format="%(message)s", handlers=[handler], force=True)
    return True
