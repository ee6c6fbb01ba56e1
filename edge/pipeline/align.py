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
_NEVER = (1 << 63) - 1

Run = tuple[int, Block, int, int]  # stream, block, first row, end


class _Waiting(msgspec.Struct):
    """Rows of one block that wait, from ``start`` on."""

    stream: int
    block: Block
    start: int

    @property
    def stamp(self) -> int:
        """Of the oldest row that waits."""
        return self.block.stamps_view[self.start]


class Aligner:
    """Puts the rows of several streams into the order of their stamps.

    What it costs grows with the rows and with how often streams take turns, never with how much waits: of each stream only the head of
    its queue is looked at.

    Args:
        trigger: row of the trigger's stream in the plan.
        lanes: number of devices.

    Attributes:
        early: rows that went into their windows before the trigger's time because too many waited; until the trigger has passed their
            stamps, no vectors are made.
    """

    def __init__(self, trigger: int, lanes: int) -> None:
        self.early = 0
        self._trigger = trigger
        self._last = [_LONG_AGO] * lanes
        self._waiting: list[dict[int, deque[_Waiting]]] = [{} for _ in range(lanes)]
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
        if not self._rows[lane]:
            return [(stream, block, 0, block.n)]
        found: list[Run] = []
        start = 0
        while start < block.n:
            self._release(lane, int(stamps[start]), found)
            first = min((queue[0].stamp for queue in self._waiting[lane].values() if queue), default=_NEVER)
            stop = max(start + 1, int(np.searchsorted(stamps, first, "left")))
            found.append((stream, block, start, stop))
            start = stop
        return found

    def waiting(self, lane: int) -> tuple[int, list[tuple[int, Block, int]]]:
        """The stamp that the trigger has passed, and what waits for it: stream, block, first row."""
        return self._last[lane], [(one.stream, one.block, one.start) for queue in self._waiting[lane].values() for one in queue]

    def put(self, lane: int, last: int, waiting: list[tuple[int, Block, int]]) -> None:
        """Put back what ``waiting`` gave."""
        self.forget(lane)
        self._last[lane] = last
        for stream, block, start in waiting:
            self._waiting[lane].setdefault(stream, deque()).append(_Waiting(stream, block, start))
            self._rows[lane] += block.n - start

    def forget(self, lane: int) -> None:
        """The device gives up its lane."""
        self._last[lane] = _LONG_AGO
        self._waiting[lane].clear()
        self._rows[lane] = 0

    def _other(self, stream: int, lane: int, block: Block) -> list[Run]:
        now = int(np.searchsorted(block.stamps[: block.n], self._last[lane], "right"))
        queue = self._waiting[lane].setdefault(stream, deque())
        found: list[Run] = []
        if now:
            while queue:  # its clock was set back: windows take a stream's rows in order, and there is nothing left to wait for
                found.append(self._take(lane, queue, queue[0].block.n))
            found.append((stream, block, 0, now))
        if now < block.n:
            queue.append(_Waiting(stream, block.copy(), now))
            self._rows[lane] += block.n - now
            while self._rows[lane] > MOST_WAITING:
                oldest = min((one for one in self._waiting[lane].values() if one), key=lambda one: one[0].stamp)
                run = self._take(lane, oldest, oldest[0].block.n)
                self.early += run[3] - run[2]
                found.append(run)
        return found

    def _release(self, lane: int, stamp: int, found: list[Run]) -> None:
        """Waiting rows that are not newer than ``stamp``."""
        for queue in self._waiting[lane].values():
            while queue and queue[0].stamp <= stamp:
                one = queue[0]
                found.append(self._take(lane, queue, int(np.searchsorted(one.block.stamps[: one.block.n], stamp, "right"))))

    def _take(self, lane: int, queue: deque[_Waiting], stop: int) -> Run:
        """The rows of a queue's head up to ``stop``."""
        one = queue[0]
        run = (one.stream, one.block, one.start, stop)
        self._rows[lane] -= stop - one.start
        one.start = stop
        if stop == one.block.n:
            queue.popleft()
        return run
