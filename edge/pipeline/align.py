"""As-of alignment: what other streams said up to the stamp of each row that triggers, and nothing later.

Rows of other streams that are newer than the trigger's newest row wait for it; each goes into its windows just before the first trigger
row that is not older. A row that comes after the trigger has passed its stamp counts from the next one on: nothing waits for it.
"""

from collections import deque

import msgspec
import numpy as np

from edge.messages import Block

MOST_WAITING = 4096  # rows of one device; the trigger has then been silent for long, and the oldest go into their windows without it
_LONG_AGO = -(1 << 63)

Run = tuple[int, Block, int, int]  # stream, block, first row, end


class _Waiting(msgspec.Struct):
    """Rows of one block that wait, from ``start`` on."""

    stream: int
    block: Block
    start: int


class Aligner:
    """Puts the rows of several streams into the order of their stamps.

    Args:
        trigger: row of the trigger's stream in the plan.
        lanes: number of devices.

    Attributes:
        early: rows that went into their windows before the trigger's time because too many waited.
    """

    def __init__(self, trigger: int, lanes: int) -> None:
        self.early = 0
        self._trigger = trigger
        self._last = [_LONG_AGO] * lanes
        self._waiting: list[deque[_Waiting]] = [deque() for _ in range(lanes)]
        self._rows = [0] * lanes

    def runs(self, stream: int, lane: int, block: Block) -> list[Run]:
        """What to push now, in order.

        Args:
            stream: row in the plan.
            lane: whose.
            block: admitted rows; copied where they wait.
        """
        if stream != self._trigger:
            return self._other(stream, lane, block)
        stamps = block.stamps[: block.n]
        self._last[lane] = int(stamps[-1])
        if not self._waiting[lane]:
            return [(stream, block, 0, block.n)]
        found: list[Run] = []
        start = 0
        while start < block.n:
            found += self._until(lane, int(stamps[start]))
            waiting = self._waiting[lane]
            if not waiting:
                stop = block.n
            else:
                first = min(int(one.block.stamps[one.start]) for one in waiting)
                stop = max(start + 1, int(np.searchsorted(stamps, first, "left")))
            found.append((stream, block, start, stop))
            start = stop
        return found

    def forget(self, lane: int) -> None:
        """The device gives up its lane."""
        self._last[lane] = _LONG_AGO
        self._waiting[lane].clear()
        self._rows[lane] = 0

    def _other(self, stream: int, lane: int, block: Block) -> list[Run]:
        now = int(np.searchsorted(block.stamps[: block.n], self._last[lane], "right"))
        found = self._of_stream(stream, lane) if now else []  # windows take a stream's rows in order
        if now:
            found.append((stream, block, 0, now))
        if now < block.n:
            self._waiting[lane].append(_Waiting(stream, block.copy(), now))
            self._rows[lane] += block.n - now
            while self._rows[lane] > MOST_WAITING:
                oldest = self._waiting[lane].popleft()
                found.append(self._all(lane, oldest))
                self.early += oldest.block.n - oldest.start
        return found

    def _of_stream(self, stream: int, lane: int) -> list[Run]:
        """Waiting rows of a stream whose clock was set back: there is nothing to wait for any more."""
        mine = [one for one in self._waiting[lane] if one.stream == stream]
        self._waiting[lane] = deque(one for one in self._waiting[lane] if one.stream != stream)
        return [self._all(lane, one) for one in mine]

    def _until(self, lane: int, stamp: int) -> list[Run]:
        """Waiting rows that are not newer than ``stamp``."""
        found: list[Run] = []
        left: deque[_Waiting] = deque()
        for one in self._waiting[lane]:
            stamps = one.block.stamps[: one.block.n]
            stop = int(np.searchsorted(stamps, stamp, "right"))
            if stop > one.start:
                found.append((one.stream, one.block, one.start, stop))
                self._rows[lane] -= stop - one.start
                one.start = stop
            if one.start < one.block.n:
                left.append(one)
        self._waiting[lane] = left
        return found

    def _all(self, lane: int, one: _Waiting) -> Run:
        self._rows[lane] -= one.block.n - one.start
        return one.stream, one.block, one.start, one.block.n
