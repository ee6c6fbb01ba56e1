"""Chunks to whole scans. Owns the memory of the unfinished ones."""

from bisect import bisect_left, insort

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
    spans: list[tuple[int, int]]  # of points that came, first and the one after the last, sorted
    have: int

    def overlaps(self, first: int, end: int) -> bool:
        """Whether one of these points came already; looks at the two neighbours only."""
        k = bisect_left(self.spans, (first, end))
        return (k > 0 and self.spans[k - 1][1] > first) or (k < len(self.spans) and self.spans[k][0] < end)


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
            part = self._parts[stream] = _Part(chunk.number, chunk.columns, bytearray(size * chunk.points), [], 0)
        n = len(chunk.data) // size
        end = chunk.first + n
        is_other = size * chunk.points != len(part.data) or chunk.columns != part.columns
        if is_other or end > chunk.points or part.overlaps(chunk.first, end):
            self.refused += 1
            return None
        part.data[size * chunk.first : size * end] = chunk.data
        insort(part.spans, (chunk.first, end))
        part.have += n
        if part.have < chunk.points:
            return None
        self.finished += 1
        points = bytes(part.data)
        self._parts[stream] = _Part(chunk.number, chunk.columns, bytearray(), [(0, 0xFFFF_FFFF)], 0)
        return Whole(stream, chunk.number, stamp_us, chunk.columns, points)

    def forget(self) -> None:
        """Drop what is unfinished and which numbers came: the sender begins anew."""
        self.dropped += sum(part.have > 0 for part in self._parts.values())
        self._parts.clear()
