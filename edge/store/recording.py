"""Recordings: what came in, byte for byte and in the same order, in an MCAP file.

Owns writing them; reading.py takes them out again and its names are offered here too. The layout is in docs/recordings.md.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Self

from mcap.writer import CompressionType, Writer

from edge.errors import TransportError
from edge.messages import RawMessage
from edge.store.mcap_walk import as_transport_error
from edge.store.reading import METADATA, PROFILE, RETAINED, Reading, RecordingInfo, info, read

__all__ = ["Reading", "RecordingInfo", "RecordingWriter", "info", "read"]

# zstd against lz4, 140,000 one-row messages of a wrist IMU: files 0.79 (MessagePack) and 0.67 (JSON) times the size at the same
# 4 us a message to write and 3.5 us to read. Chunks of 1 MiB gain 1 % over 256 KiB and stall the writer four times longer.
CHUNK_BYTES = 256 * 1024
MAX_TOPICS = 65_535  # a channel id has 16 bits
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MESSAGE_BYTES = 31  # of a message record beside its payload
_COMPRESSIONS = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4, "none": CompressionType.NONE}

log = logging.getLogger(__name__)


def _facts(started_ns: int) -> dict[str, str]:
    """What every recording says about itself; CLOCK_MONOTONIC means nothing without the boot that it belongs to."""
    try:
        edge_version = version("edge-runtime")
    except PackageNotFoundError:  # run from a source tree
        edge_version = "unknown"
    boot_id = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
    offset_ns = time.time_ns() - time.monotonic_ns()
    return {"version": edge_version, "boot_id": boot_id, "started_ns": str(started_ns), "monotonic_offset_ns": str(offset_ns)}


class RecordingWriter:
    """Writes messages to a new MCAP file. Memory: one chunk, and about 1 kB for each chunk already written.

    Args:
        path: file to create.
        metadata: text to keep with the file. ``version``, ``boot_id``, ``started_ns`` and ``monotonic_offset_ns`` are added unless given.
        overwrite: replace an existing file instead of refusing.
        flush_s: at most so many seconds of messages, by ``received_ns``, are lost to SIGKILL.
        clock: CLOCK_MONOTONIC in ns; another clock for recordings that are made up and not captured.
        compression: ``zstd``, ``lz4`` or ``none``.

    Raises:
        TransportError: the file exists or cannot be written.
    """

    def __init__(
        self,
        path: Path,
        metadata: dict[str, str] | None = None,
        *,
        overwrite: bool = False,
        flush_s: float = 2.0,
        clock: Callable[[], int] = time.monotonic_ns,
        compression: str = "zstd",
    ) -> None:
        self.path = path
        self.messages = 0
        self._clock = clock
        self._flush_ns = round(flush_s * 1e9)
        self._chunk_ns: int | None = None  # received_ns of the first message of the chunk in progress
        self._chunk_bytes = 0
        self._channels: dict[tuple[str, bool], int] = {}
        facts = _facts(clock()) | (metadata or {})
        self._offset_ns = int(facts["monotonic_offset_ns"])
        with as_transport_error(path):
            self._file = path.open("wb" if overwrite else "xb")
        # Chunks end where flush() ends them, so that the file grows nowhere else.
        self._writer = Writer(self._file, 1 << 62, _COMPRESSIONS[compression], enable_data_crcs=True)
        try:
            self._writer.start(profile=PROFILE, library=f"edge-runtime/{facts['version']}")
            self._writer.add_metadata(METADATA, facts)
            self._file.flush()
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            raise TransportError(f"{path}: {error.strerror}") from error
        # A signal handler that raises, or a full disk, can leave the mcap writer half way. Then only what lies before this is sound.
        self._sound_bytes = self._file.tell()
        self._is_working = False

    @property
    def is_flushed(self) -> bool:
        """Whether the operating system has all that was written."""
        return self._chunk_ns is None

    @property
    def nbytes(self) -> int:
        """Of the file, and of what is still to be compressed."""
        return self._sound_bytes + self._chunk_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, raw: RawMessage) -> None:
        """Appends one message.

        Raises:
            TransportError: the disk is full or failed, more than 65,535 topics, or a time that cannot be stored.
        """
        log_time = raw.received_ns + self._offset_ns
        if not 0 <= log_time < 1 << 64:
            raise TransportError(f"{self.path}: received_ns {raw.received_ns} is outside the times that a recording can hold")
        if (raw.topic, raw.is_retained) not in self._channels and len(self._channels) >= MAX_TOPICS:
            raise TransportError(f"{self.path}: more than {MAX_TOPICS} topics")
        self._is_working = True
        channel = self._channels.get((raw.topic, raw.is_retained)) or self._new_channel(raw)
        self._writer.add_message(channel, log_time, raw.payload, log_time, self.messages & 0xFFFF_FFFF)
        self._is_working = False
        self.messages += 1
        self._chunk_bytes += len(raw.payload) + _MESSAGE_BYTES
        if self._chunk_ns is None:
            self._chunk_ns = raw.received_ns
        if self._chunk_bytes >= CHUNK_BYTES or raw.received_ns - self._chunk_ns >= self._flush_ns:
            self.flush()

    def flush(self) -> None:
        """Hands everything to the operating system; call it when messages stop coming.

        Raises:
            TransportError: the disk is full or failed.
        """
        with as_transport_error(self.path):
            self._is_working = True
            self._writer.flush()  # type: ignore[no-untyped-call]  # mcap leaves these two unannotated
            self._sound_bytes = self._file.tell()
            self._is_working = False
        self._chunk_ns, self._chunk_bytes = None, 0

    def close(self) -> None:
        """Completes the file. Calling it again does nothing.

        If an earlier operation was broken off half way, the file is cut back to its last sound byte instead, and reads as truncated.

        Raises:
            TransportError: the disk is full or failed.
        """
        if self._file.closed:
            return
        with as_transport_error(self.path), self._file:
            if self._is_working:
                log.warning("%s: writing was broken off; cut back to its last %d sound bytes", self.path, self._sound_bytes)
                self._file.truncate(self._sound_bytes)
                return
            self._is_working = True
            self._writer.add_metadata(METADATA, {"stopped_ns": str(self._clock())})
            self._writer.finish()  # type: ignore[no-untyped-call]

    def _new_channel(self, raw: RawMessage) -> int:
        encoding = "json" if raw.payload[:1] in (b"{", b"[") else "msgpack"
        channel = self._writer.register_channel(raw.topic, encoding, schema_id=0, metadata={RETAINED: "true"} if raw.is_retained else {})
        self._channels[raw.topic, raw.is_retained] = channel
        return channel
