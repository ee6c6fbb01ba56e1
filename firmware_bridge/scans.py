"""Chunks to whole scans. Owns the memory of the unfinished ones."""

import msgspec

from firmware_bridge.messages import ScanChunk

POINTS_MAX = 262_144


class Whole(msgspec.Struct, frozen=True, gc=False):
    """A scan: ``points`` float32 little-endian, ``columns`` values each."""

    stream: int
    number: int
    stamp_us: int
    columns: int
    points: bytes


class _Part(msgspec.Struct):
    number: int
    columns: int
    data: bytearray
    starts: dict[int, int]
    have: int


class Reassembly:
    """One scan a stream is put together at a time.

    Attributes:
        dropped: scans that a newer one ended unfinished.
        refused: chunks that do not fit their scan.
    """

    def __init__(self, points_max: int = POINTS_MAX) -> None:
        self.dropped = self.refused = self.finished = 0
        self._points_max = points_max
        self._parts: dict[int, _Part] = {}

    def add(self, chunk: ScanChunk, stream: int, stamp_us: int) -> Whole | None:
        """Take a chunk; the scan when this was its last missing one."""
        size = 4 * chunk.columns
        if not size or len(chunk.data) % size or not chunk.data or chunk.encoding or not 0 < chunk.points <= self._points_max:
            self.refused += 1
            return None
        part = self._parts.get(stream)
        if part is None or part.number != chunk.number:
            if part is not None:
                if (chunk.number - part.number) & 0xFFFF_FFFF >= 0x8000_0000:  # late, of a scan before
                    self.refused += 1
                    return None
                self.dropped += part.have > 0
            part = self._parts[stream] = _Part(chunk.number, chunk.columns, bytearray(size * chunk.points), {}, 0)
        n = len(chunk.data) // size
        overlaps = any(chunk.first < start + length and start < chunk.first + n for start, length in part.starts.items())
        if size * chunk.points != len(part.data) or chunk.columns != part.columns or chunk.first + n > chunk.points or overlaps:
            self.refused += 1
            return None
        part.data[size * chunk.first : size * (chunk.first + n)] = chunk.data
        part.starts[chunk.first] = n
        part.have += n
        if part.have < chunk.points:
            return None
        self.finished += 1
        points = bytes(part.data)
        self._parts[stream] = _Part(chunk.number, chunk.columns, bytearray(), {0: 0xFFFF_FFFF}, 0)
        return Whole(stream, chunk.number, stamp_us, chunk.columns, points)
