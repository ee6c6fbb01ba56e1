"""Frames to line bytes and back: COBS, CRC-32C, header. Owns no meaning: order, signature and payload are the session's."""

from struct import Struct
from typing import Any

import msgspec
import numpy as np
from crc32c import crc32c

from firmware_bridge import kernels
from firmware_bridge.protocol import (
    COUNTER_BYTES,
    FLAG_SIGNED,
    HEADER_BYTES,
    HEADER_FORMAT,
    MAX_FRAME,
    MAX_PAYLOAD,
    REASONS,
    TAG_BYTES,
    VERSION,
)

READ_BYTES = 65_536  # taken apart at once
HEADER = Struct(HEADER_FORMAT)
_U32 = Struct("<I")
_MIN_ENCODED = 22  # smallest frame and its delimiter


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame whose CRC is right.

    Args:
        type, flags, stream, seq: of the header.
        stamp_us: sender's clock.
        payload: bytes.
        counter: of a signed frame, otherwise 0.
        tag: of a signed frame, otherwise empty.
        signed: what the tag is over: header, payload, counter; empty when there is none.
    """

    type: int
    flags: int
    stream: int
    seq: int
    stamp_us: int
    payload: bytes
    counter: int = 0
    tag: bytes = b""
    signed: bytes = b""


def header(kind: int, flags: int, stream: int, seq: int, stamp_us: int, payload: bytes) -> bytes:
    """Header and payload of a frame.

    Raises:
        ValueError: the payload is too large.
    """
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(payload)} bytes; at most {MAX_PAYLOAD}")
    return HEADER.pack(VERSION, kind, flags, stream, seq, len(payload), stamp_us) + payload


def encode(frame: bytes) -> bytes:
    """Header, payload and signature to line bytes: with CRC, COBS and both delimiters."""
    return b"\0" + cobs(frame + _U32.pack(crc32c(frame))) + b"\0"


def cobs(data: bytes) -> bytes:
    """Consistent overhead byte stuffing: the same bytes without a zero, at most one in 254 longer, and one."""
    out = bytearray()
    for run in data.split(b"\0"):
        at = 0
        while len(run) - at >= 254:
            out.append(255)
            out += run[at : at + 254]
            at += 254
        out.append(len(run) - at + 1)
        out += run[at:]
    return bytes(out)


class Decoder:
    """Line bytes, in pieces of any size, to frames.

    Attributes:
        input: memory of ``READ_BYTES``, to read from a line into.
        refused: int64, by ``protocol.REASONS``; the session counts its own reasons in here too.
    """

    def __init__(self) -> None:
        self.refused = np.zeros(len(REASONS), np.int64)
        self._state = np.zeros(kernels.STATE, np.int64)
        self._in = np.zeros(READ_BYTES + kernels.PAD, np.uint8)
        self.input = self._in.data[:READ_BYTES]
        self._out = np.zeros(MAX_FRAME + READ_BYTES + kernels.PAD, np.uint8)
        self._view = self._out.data
        self._frames = np.zeros((kernels.COLUMNS, READ_BYTES // _MIN_ENCODED + 2), np.int64)

    @property
    def received(self) -> int:
        """Frames that came to their end, good or not."""
        return int(self._state[kernels.RECEIVED])

    def table(self, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The fast way: for ``input[:n]``, columns of frames, rows from ``kernels.AT`` to ``kernels.STAMP``; the bytes are in ``memory``.

        Both are valid until the next call.

        Raises:
            ValueError: n is not from 0 to ``READ_BYTES``.
        """
        count = kernels.decode(self._in, n, self._out, self._frames, self._state, self.refused)
        if count < 0:
            raise ValueError(f"{n} bytes are not from 0 to {READ_BYTES}")
        return self._frames[:, :count]

    @property
    def memory(self) -> memoryview:
        """Where the frames of the last ``table`` lie, without COBS."""
        return self._view

    def feed(self, data: bytes) -> list[Frame]:
        """All good frames that these bytes complete; the rest is counted in ``refused``."""
        found: list[Frame] = []
        for start in range(0, len(data), READ_BYTES):
            n = min(READ_BYTES, len(data) - start)
            self.input[:n] = data[start : start + n]
            table = self.table(n)
            if table.shape[1]:
                found += self._frames_of(table)
        return found

    def _frames_of(self, table: np.ndarray[Any, np.dtype[np.int64]]) -> list[Frame]:
        """Values of a table, column by column: half the time of frame by frame."""
        kinds, flags, streams, seqs = table[kernels.TYPE : kernels.STAMP].tolist()
        stamps = table[kernels.STAMP].view(np.uint64).tolist()
        begins = table[kernels.AT] + HEADER_BYTES
        ends = begins + table[kernels.LENGTH]
        # Copied once: slices of bytes take a third of the time of slices of a view that are copied one by one.
        whole = bytes(self._view[: ends[-1] + COUNTER_BYTES + TAG_BYTES])
        payloads = [whole[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        found = list(map(Frame, kinds, flags, streams, seqs, stamps, payloads))
        for k in np.flatnonzero(table[kernels.FLAGS] & FLAG_SIGNED).tolist():
            end = int(ends[k])
            tag_at = end + COUNTER_BYTES
            found[k] = msgspec.structs.replace(
                found[k],
                counter=_U32.unpack_from(whole, end)[0],
                tag=whole[tag_at : tag_at + TAG_BYTES],
                signed=whole[begins[k] - HEADER_BYTES : tag_at],
            )
        return found

    def reset(self) -> None:
        """Forget an unfinished frame; counters stay."""
        self._state[: kernels.RECEIVED] = 0
