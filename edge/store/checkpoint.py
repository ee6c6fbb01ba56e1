"""The state of a pipeline as a file: written by a thread of its own, whole or not at all; read once at the start.

A file is a header (magic, version, checksum, length) and one MessagePack map. It is written beside the old one, synced and renamed, so that
a kill or loss of power at any instant leaves the old one or the new one. Knows no pipeline: parts are bytes to it.

The loop is another thread of the same interpreter. So the map is encoded, written and let go in small pieces, with a nap after each.
"""

import logging
import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edge.store.outbox_file import boottime_ns, kernel_id, make_folder

_log = logging.getLogger(__name__)

_HEADER = struct.Struct("<8sIIQ")
_HEAD = struct.Struct(">BI")
_MAP, _BYTES = 0xDF, 0xC6  # of MessagePack, each with a length of 32 bits
_MAGIC = b"edgestat"
VERSION = 1
MOST_BYTES = 4 << 30
CLOSE_S = 2.0
PIECE = 1 << 16  # bytes that are encoded in one step, some 0.2 ms; 43 MB in one took 50 to 105 ms, for which no other thread runs
NAP_S = 1e-4  # after each step: without it, the longest waits of a loop beside were up to twice as long, for the steps won the race
_FREED = 32  # lanes let go in one step; 20,000 in one took 11 to 14 ms
_SANE_NS = 1_577_836_800_000_000_000  # 2020: a wall clock before it was not set yet


class Checkpoint(msgspec.Struct):
    """What is in a file.

    Args:
        name: of the pipeline.
        boot_ns, kernel, wall_ns: when it was taken: CLOCK_BOOTTIME, which start of the machine, Unix time.
        lanes: parts by device.
        whole: parts that belong to no device; a file of before there were any has none.
    """

    name: str
    boot_ns: int
    kernel: str
    wall_ns: int
    lanes: dict[str, dict[str, bytes]]
    whole: dict[str, bytes] = {}

    @classmethod
    def of(cls, name: str, lanes: dict[str, dict[str, bytes]], whole: dict[str, bytes] | None = None) -> "Checkpoint":
        """Taken now."""
        return cls(name, boottime_ns(), kernel_id(), time.time_ns(), lanes, whole or {})

    @property
    def is_same_boot(self) -> bool:
        """Whether the machine has not been started anew since."""
        return bool(self.kernel) and self.kernel == kernel_id()

    def age_s(self) -> float | None:
        """How old it is; None when nobody can know, because the machine started anew and a clock was not set."""
        if self.is_same_boot:
            return (boottime_ns() - self.boot_ns) * 1e-9
        now_ns = time.time_ns()
        return (now_ns - self.wall_ns) * 1e-9 if _SANE_NS < self.wall_ns <= now_ns else None


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace a file, whole or not at all.

    Raises:
        OSError: it could not be written; the old one is still there.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        _fill(new, checkpoint)
    except OSError:
        new.unlink(missing_ok=True)  # of a full disk, the outbox needs the rest
        raise
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fill(path: Path, checkpoint: Checkpoint) -> None:
    check = length = 0
    with path.open("wb") as file:
        file.write(bytes(_HEADER.size))  # is no checkpoint until all of it is there
        for piece in pieces(checkpoint):
            check, length = zlib.crc32(piece, check), length + len(piece)
            file.write(piece)
            time.sleep(NAP_S)
        file.seek(0)
        file.write(_HEADER.pack(_MAGIC, VERSION, check, length))
        file.flush()
        os.fsync(file.fileno())


def pieces(checkpoint: Checkpoint) -> Iterator[bytes | bytearray]:
    """The map of a checkpoint, in pieces of up to ``PIECE`` bytes. A part that is larger is one by itself, and is not copied."""
    piece = bytearray()
    for value in _values(checkpoint):
        if len(piece) + len(value) > PIECE:
            yield piece
            piece = bytearray()
        if len(value) > PIECE:
            yield value
        else:
            piece += value
    if piece:
        yield piece


def _values(checkpoint: Checkpoint) -> Iterator[bytes]:
    fields = msgspec.structs.asdict(checkpoint)
    yield _HEAD.pack(_MAP, len(fields))
    for field, value in fields.items():
        yield msgspec.msgpack.encode(field)
        if field == "lanes":
            yield _HEAD.pack(_MAP, len(value))
            for device, parts in value.items():
                yield msgspec.msgpack.encode(device)
                yield from _parts(parts)
        elif field == "whole":
            yield from _parts(value)
        else:
            yield msgspec.msgpack.encode(value)


def _parts(parts: dict[str, bytes]) -> Iterator[bytes]:
    if sum(map(len, parts.values())) < PIECE:
        yield msgspec.msgpack.encode(parts)  # a third of the time that one by one takes
        return
    yield _HEAD.pack(_MAP, len(parts))
    for name, part in parts.items():
        yield msgspec.msgpack.encode(name) + _HEAD.pack(_BYTES, len(part))
        yield part


def read(path: Path) -> Checkpoint | None:
    """What a file holds, or None when there is none.

    Raises:
        ValueError: it is damaged, or of another version.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size or head[: len(_MAGIC)] != _MAGIC:
                raise ValueError("is no checkpoint")
            _, version, check, length = _HEADER.unpack(head)
            if version != VERSION:
                raise ValueError(f"has version {version}; {VERSION} is known here")
            if length > MOST_BYTES or length != os.fstat(file.fileno()).st_size - _HEADER.size:
                raise ValueError("is cut off")
            body = file.read(length)
    except FileNotFoundError:
        return None
    if zlib.crc32(body) != check:
        raise ValueError("is damaged")
    try:
        return msgspec.msgpack.decode(body, type=Checkpoint)
    except (msgspec.DecodeError, RecursionError) as fault:
        raise ValueError(f"is damaged: {fault}") from None


class CheckpointWriter:
    """Writes checkpoints off the loop; of those that wait, the newest is written.

    Args:
        path: of the file; its folder is made.

    Attributes:
        written, failed: how many were, and could not be.
        fault: why the last one could not be, or "".
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = self.failed = 0
        self.fault = ""
        self._due: queue.SimpleQueue[Checkpoint | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        """Whether one waits already."""
        return not self._due.empty()

    def post(self, checkpoint: Checkpoint) -> None:
        """Write one; returns at once."""
        self._due.put(checkpoint)

    def close(self) -> None:
        """Write what waits; gives up after ``CLOSE_S``."""
        self._due.put(None)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (checkpoint := self._due.get()) is not None:
            try:
                make_folder(self.path.parent)
                write(self.path, checkpoint)
            except OSError as fault:
                self.failed += 1
                if not self.fault:
                    _log.error("checkpoint: %s: %s; after a kill the windows will start anew", self.path, fault.strerror)
                self.fault = fault.strerror or str(fault)
            else:
                self.written += 1
                self.fault = ""
            _free(checkpoint.lanes)


def _free(lanes: dict[str, dict[str, bytes]]) -> None:
    """Let go of lanes in steps; of the last one first, so that memory goes back from its end."""
    while lanes:
        for _ in range(min(_FREED, len(lanes))):
            lanes.popitem()
        time.sleep(NAP_S)
