"""Walks an MCAP file record by record and believes nothing in it: lengths, checksums and both ends are checked.

Owns what is cut (the writer was killed: everything before the cut is good) and what is damaged (TransportError). The records
themselves are parsed by the mcap package, whose own readers take a short read for data and stop a cut file with an exception.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Chunk, DataEnd, Footer, McapRecord
from mcap.stream_reader import breakup_chunk
from mcap.writer import MCAP0_MAGIC

from edge.errors import TransportError

MAX_RECORD_BYTES = 256 << 20  # a chunk is held in memory; writers use 1-4 MB, and one message of ours is at most 64 MB
_HEAD = struct.Struct("<BQ")
_FOOTER_BYTES = _HEAD.size + 20
_PIECE_BYTES = 1 << 20
_WANTED = frozenset(
    {
        Opcode.HEADER,
        Opcode.CHANNEL,
        Opcode.MESSAGE,
        Opcode.CHUNK,
        Opcode.CHUNK_INDEX,
        Opcode.METADATA,
        Opcode.METADATA_INDEX,
        Opcode.STATISTICS,
        Opcode.DATA_END,
        Opcode.FOOTER,
    }
)


class _CutError(Exception):
    """The file ends before the record does."""


@contextmanager
def as_transport_error(path: Path) -> Iterator[None]:
    """Turns whatever the libraries raise on a bad file into one TransportError that names the file."""
    try:
        yield
    except OSError as error:
        raise TransportError(f"{path}: {error.strerror or error}") from error
    except (McapError, zstandard.ZstdError, ValueError, KeyError, RuntimeError, OverflowError, MemoryError, struct.error) as error:
        raise TransportError(f"{path}: damaged recording: {str(error) or type(error).__name__}") from error


def stream(body: bytes) -> ReadDataStream:
    """The body of a record, as the record classes of the mcap package want it."""
    return ReadDataStream(io.BytesIO(body))


def unpack(body: bytes) -> list[McapRecord]:
    """The records of a chunk, after its checksum has been compared.

    Raises:
        ValueError: larger than MAX_RECORD_BYTES, or the checksum differs; other errors of the libraries pass through.
    """
    chunk = Chunk.read(stream(body))
    size = zstandard.frame_content_size(chunk.data) if chunk.compression == "zstd" else chunk.uncompressed_size
    if max(size, chunk.uncompressed_size) > MAX_RECORD_BYTES:
        raise ValueError(f"a chunk of {max(size, chunk.uncompressed_size)} bytes; at most {MAX_RECORD_BYTES} are read")
    return breakup_chunk(chunk, validate_crc=True)


class Walk:
    """One pass over the records of a file, from the start of the data or of the summary to the end.

    Args:
        file: opened for reading, seekable; closed by the caller.

    Attributes:
        size: bytes of the file.
        is_closed: the writer finished the file, so that nothing may be missing.
        cut_at: offset of the first byte that could not be used, or None. Known once the pass is over.

    Raises:
        ValueError: not an MCAP file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self.cut_at: int | None = None
        self._file = file
        self._crc = 0
        if file.read(len(MCAP0_MAGIC)) != MCAP0_MAGIC:
            raise ValueError("this is not an MCAP file" if self.size else "the file is empty")
        file.seek(-len(MCAP0_MAGIC), os.SEEK_END)
        self.is_closed = self.size > len(MCAP0_MAGIC) and file.read() == MCAP0_MAGIC

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(opcode, body) of every record that matters, in file order; the checksums of the data and the summary are compared.

        Raises:
            ValueError: damaged. A file that was never closed ends at the cut instead.
        """
        self._file.seek(len(MCAP0_MAGIC))
        self._crc = zlib.crc32(MCAP0_MAGIC)
        return self._walk()

    def summary(self) -> Iterator[tuple[int, bytes]]:
        """(opcode, body) of the records of the summary; nothing when the file has none.

        Raises:
            ValueError: damaged.
        """
        start = self._footer().summary_start if self.is_closed and self.size > _FOOTER_BYTES + 2 * len(MCAP0_MAGIC) else 0
        if start == 0:
            return iter(())
        if start > self.size:
            raise ValueError(f"the summary is said to start at byte {start} of {self.size}")
        self._file.seek(start)
        self._crc = 0
        return self._walk()

    def first(self) -> tuple[int, bytes]:
        """The first record, which ought to be the header."""
        return self.record_at(len(MCAP0_MAGIC))

    def record_at(self, offset: int) -> tuple[int, bytes]:
        """The one record at an offset.

        Raises:
            ValueError: there is none, or it is cut.
        """
        self._file.seek(offset)
        try:
            return self._next(offset)
        except _CutError:
            raise ValueError(f"no whole record at byte {offset}") from None

    def _footer(self) -> Footer:
        offset = self.size - len(MCAP0_MAGIC) - _FOOTER_BYTES
        opcode, body = self.record_at(offset)
        if opcode != Opcode.FOOTER:
            raise ValueError(f"no footer at byte {offset}")
        footer: Footer = Footer.read(stream(body))
        return footer

    def _walk(self) -> Iterator[tuple[int, bytes]]:
        offset, opcode = self._file.tell(), 0
        while opcode != Opcode.FOOTER:
            before = self._crc
            try:
                opcode, body = self._next(offset)
            except _CutError:
                if self.is_closed:
                    raise ValueError(f"the record at byte {offset} runs past the end of the file") from None
                self.cut_at = offset
                return
            self._compare(opcode, body, before)
            offset = self._file.tell()
            if opcode in _WANTED:
                yield opcode, body
        if self._file.read() != MCAP0_MAGIC:
            self.cut_at = offset

    def _next(self, offset: int) -> tuple[int, bytes]:
        head = self._file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise _CutError
        opcode, length = _HEAD.unpack(head)
        # No record has opcode 0: it is what a file system leaves when the power goes before the data are written.
        if opcode == 0 or length > self.size - offset - _HEAD.size:
            raise _CutError
        self._crc = zlib.crc32(head, self._crc)
        if opcode not in _WANTED:
            self._pass_over(length)
            return opcode, b""
        if length > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {length} bytes at byte {offset}; at most {MAX_RECORD_BYTES} are read")
        body = self._file.read(length)
        self._crc = zlib.crc32(body, self._crc)
        return opcode, body

    def _pass_over(self, length: int) -> None:
        while length > 0:
            piece = self._file.read(min(length, _PIECE_BYTES))
            if not piece:
                raise _CutError
            self._crc = zlib.crc32(piece, self._crc)
            length -= len(piece)

    def _compare(self, opcode: int, body: bytes, before: int) -> None:
        """Compares the checksum of the section that this record ends, if it ends one; 0 means that the writer made none."""
        if opcode == Opcode.DATA_END:
            expected, actual, self._crc = DataEnd.read(stream(body)).data_section_crc, before, 0
        elif opcode == Opcode.FOOTER:
            expected = Footer.read(stream(body)).summary_crc
            actual = zlib.crc32(_HEAD.pack(opcode, len(body)) + body[:16], before)
        else:
            return
        if expected not in (0, actual):
            raise ValueError(f"the checksum of the {'data' if opcode == Opcode.DATA_END else 'summary'} differs")
