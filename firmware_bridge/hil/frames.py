"""Frames as an observer reads and forges them: plain Python that shares only the protocol's table with what it observes.

Reads at any rate that a test bench has (about 2 MB/s); the runtime's own reader is elsewhere and faster. Checks no signature.
"""

import struct
from typing import NamedTuple

from firmware_bridge import messages
from firmware_bridge.protocol import CRC_BYTES, FLAG_SIGNED, HEADER_BYTES, HEADER_FORMAT, MAX_FRAME, VERSION

LONGEST = MAX_FRAME + MAX_FRAME // 254 + 2


def _make_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901 - a step of the division
        table.append(value)
    return tuple(table)


_TABLE = _make_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Frame(NamedTuple):
    """A good frame."""

    type: int
    flags: int
    stream: int
    seq: int
    stamp_us: int
    message: messages.Message
    raw: bytes  # as it stood on the line, with its delimiters


def stuff(data: bytes) -> bytes:
    """COBS, with a delimiter before and after."""
    out = bytearray(b"\0")
    for block in data.split(b"\0"):
        rest = block
        while len(rest) >= 254:
            out += b"\xff" + rest[:254]
            rest = rest[254:]
        out += bytes((len(rest) + 1,)) + rest
    return bytes(out + b"\0")


def unstuff(data: bytes) -> bytes | None:
    """What lay between two delimiters without its COBS, or None when it is none."""
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        if at + code > len(data):
            return None
        out += data[at + 1 : at + code]
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


def make_frame(message: messages.Message, *, seq: int, stamp_us: int = 0, flags: int = 0, stream: int = 0, trailer: bytes = b"") -> bytes:
    """The bytes of a frame; the trailer is what a signature would be."""
    payload = message.pack()
    header = struct.pack(HEADER_FORMAT, VERSION, message.CODE, flags, stream, seq & 0xFFFF, len(payload), stamp_us)
    body = header + payload + trailer
    return stuff(body + crc32c(body).to_bytes(CRC_BYTES, "little"))


class Reader:
    """Finds good frames in a stream of bytes."""

    def __init__(self) -> None:
        self._rest = b""
        self.bad = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The good frames that end in these bytes."""
        *parts, self._rest = (self._rest + data).split(b"\0")
        if len(self._rest) > LONGEST:
            self._rest = b""
            self.bad += 1
        frames = [self._read(part) for part in parts if part]
        return [frame for frame in frames if frame is not None]

    def _read(self, part: bytes) -> Frame | None:
        body = unstuff(part) if len(part) <= LONGEST else None
        if body is None or len(body) < HEADER_BYTES + CRC_BYTES or crc32c(body[:-CRC_BYTES]) != int.from_bytes(body[-CRC_BYTES:], "little"):
            self.bad += 1
            return None
        version, kind, flags, stream, seq, length, stamp_us = struct.unpack_from(HEADER_FORMAT, body)
        trailer = 12 if flags & FLAG_SIGNED else 0
        if version != VERSION or len(body) != HEADER_BYTES + length + trailer + CRC_BYTES:
            self.bad += 1
            return None
        try:
            message = messages.decode(kind, body[HEADER_BYTES : HEADER_BYTES + length])
        except ValueError:
            self.bad += 1
            return None
        return Frame(kind, flags, stream, seq, stamp_us, message, b"\0" + part + b"\0")
