"""The engine of the batch path: one device's pipeline, its features fed in large blocks, and the cutting of tables into them."""

import copy
import itertools
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import Reason
from edge.features.offline import joined
from edge.features.plan import FeaturePlan
from edge.features.rolling import RollingFeatures
from edge.features.rows import Rows
from edge.messages import Block
from edge.pipeline.intake import TelemetryIntake
from edge.pipeline.recipe import Pipeline

ROWS = 4096  # of one kernel call; from a few hundred on, the call itself costs nothing
_NO_STAMP = -(1 << 63)


class LargeBlocks(RollingFeatures):
    """Rolling features that gather what is pushed, and hand over vectors when a block is full or ``flush`` is called.

    Args:
        plan: what to compute.
        lanes: devices whose state is kept.

    Attributes:
        on_vectors: called with the lane, the stamps int64 (m,) and the vectors float32 (m, F), which are its own to keep.
    """

    def __init__(self, plan: FeaturePlan, lanes: int) -> None:
        wide = copy.copy(plan)
        wide.streams = tuple(msgspec.structs.replace(stream, max_rows=max(stream.max_rows, ROWS)) for stream in plan.streams)
        self._gathered: dict[tuple[int, int], Block] = {}
        self._open: dict[int, int] = {}  # lane to the stream whose rows wait
        super().__init__(wide, lanes)
        self.on_vectors: Callable[[int, npt.NDArray[np.int64], npt.NDArray[np.float32]], None] = lambda _lane, _stamps, _vectors: None

    def update(self, stream: int, lane: int, block: Block, start: int = 0, stop: int | None = None) -> int:
        """Take rows of a block; no vector is ever complete yet."""
        stop = block.n if stop is None else stop
        if self._open.get(lane, stream) != stream:
            self.flush(lane)
        if ROWS // 2 <= stop - start <= ROWS and lane not in self._open:
            self._run(stream, lane, block, start, stop)
            return 0
        gathered = self._gathered.get((lane, stream))
        if gathered is None:
            gathered = self._gathered[lane, stream] = Block(block.rows.shape[1], ROWS)
        while start < stop:
            self._open[lane] = stream
            to, n = gathered.n, min(ROWS - gathered.n, stop - start)
            gathered.rows[to : to + n] = block.rows[start : start + n]
            gathered.stamps[to : to + n] = block.stamps[start : start + n]
            gathered.marks[to : to + n] = block.marks[start : start + n]
            gathered.n += n
            start += n
            if gathered.n == ROWS:
                self.flush(lane)
        return 0

    def flush(self, lane: int) -> None:
        """Compute what a lane has gathered."""
        stream = self._open.pop(lane, None)
        if stream is not None:
            block = self._gathered[lane, stream]
            self._run(stream, lane, block, 0, block.n)
            block.n = 0

    def set_columns(self, lane: int, table: str, values: npt.NDArray[np.float32] | None) -> None:
        """Give a lane its row of a table, for the rows that come from now on."""
        self.flush(lane)
        super().set_columns(lane, table, values)

    def reset(self, lane: int) -> None:
        """Forget everything about a lane, after its last vectors."""
        self.flush(lane)
        super().reset(lane)

    def _run(self, stream: int, lane: int, block: Block, start: int, stop: int) -> None:
        emitted = super().update(stream, lane, block, start, stop)
        if emitted:
            self.on_vectors(lane, block.stamps[self.vector_rows[:emitted]], self.vectors[:emitted].copy())


class Engine(Pipeline):
    """One device's pipeline over stored data. Built by edge.build like any pipeline, with LargeBlocks for features and no decisions."""

    device = ""

    @property
    def now_ns(self) -> int:
        """The pipeline's time: CLOCK_MONOTONIC in ns."""
        return self._now_ns

    def admit(self, intake: TelemetryIntake, block: Block, received_ns: int) -> int:
        """Admit a block of rows that came from no message.

        Args:
            intake: of this engine.
            block: decoded rows; what is refused is removed in place.
            received_ns: when they would have come.

        Returns:
            How many rows were used, rows of earlier blocks included.
        """
        out = self.tick(received_ns)
        self._now_ns = max(self._now_ns, received_ns)
        self.decisions.at_ns = received_ns
        block.received_ns = received_ns
        lane = self._lane_of(self.device, out)
        used = intake.gate.counts.used
        for good in intake.gate.admit(block, lane, self.decisions.wall_offset_ns):
            self._use(intake, lane, good, out)
        return intake.gate.counts.used - used


class Feeder:
    """Cuts the rows of one stream into the largest blocks that its gate treats as it would treat them one by one.

    Args:
        engine: of the device.
        intake: of the stream.
        max_ahead_ns: largest step of stamps that the gate takes.
    """

    def __init__(self, engine: Engine, intake: TelemetryIntake, max_ahead_ns: int) -> None:
        self._engine, self._intake, self._max_ahead_ns = engine, intake, max_ahead_ns
        cleaner = intake.gate.cleaner
        self._most = 1 if cleaner is not None and cleaner.steps.waiting_rows else ROWS  # how long rows wait depends on when each came
        self._block = Block(intake.block.rows.shape[1], ROWS)
        self._top = _NO_STAMP  # rows after it rise; others go alone, for the gate to judge
        self._sure: int | None = None  # a stamp that the gate has admitted
        self._rest: Rows | None = None  # the message whose end has not been seen

    def feed(self, rows: Rows) -> None:
        """Take the rows that come next."""
        if rows.seq is not None:
            self._feed_messages(rows, rows.seq)
            return
        stamps, n = rows.stamps, len(rows.stamps)
        breaks = [*(np.flatnonzero(stamps[1:] <= stamps[:-1]) + 1).tolist(), n]
        start = run = 0
        while start < n:
            while breaks[run] <= start:
                run += 1
            stop = min(breaks[run], start + self._most)
            if self._sure is None or stamps[start] <= self._top:
                stop = start + 1
            else:
                within = int(np.searchsorted(stamps[start:stop], self._sure + self._max_ahead_ns, "right"))
                stop = start + max(within, 1)
            newest = int(stamps[stop - 1])
            used = self._admit(rows, start, stop, -1)
            if used == stop - start:
                self._sure = self._top = newest
            elif newest > self._top and (used or stop - start > 1):
                self._top = newest
            start = stop

    def finish(self) -> None:
        """No more rows: the last message is whole."""
        if self._rest is not None and self._rest.seq is not None:
            self._feed_message(self._rest, 0, len(self._rest.seq), int(self._rest.seq[0]))
            self._rest = None

    def _feed_messages(self, rows: Rows, seq: npt.NDArray[np.int64]) -> None:
        """Rows of one number after the other are one message; the last one may go on in the next piece of the table."""
        if self._rest is not None and self._rest.seq is not None:
            rows = joined([self._rest, rows])
            seq = np.concatenate([self._rest.seq, seq])
        bounds = [0, *(np.flatnonzero(np.diff(seq)) + 1).tolist(), len(seq)]
        for start, stop in itertools.pairwise(bounds[:-1]):
            self._feed_message(rows, start, stop, int(seq[start]))
        last = slice(bounds[-2], min(bounds[-1], bounds[-2] + len(self._intake.block.stamps) + 1))  # longer ones are refused anyway
        self._rest = Rows(rows.device, rows.stamps[last], rows.values[last], seq[last])

    def _feed_message(self, rows: Rows, start: int, stop: int, seq: int) -> None:
        if stop - start > len(self._intake.block.stamps):
            self._intake.gate.counts.received += 1
            self._intake.gate.counts.refuse(Reason.TOO_MANY_ROWS)
        elif stop > start:
            self._admit(rows, start, stop, seq)

    def _admit(self, rows: Rows, start: int, stop: int, seq: int) -> int:
        block = self._block
        n = block.n = stop - start
        if n > len(block.stamps):
            block = self._block = Block(block.rows.shape[1], n)
            block.n = n
        block.rows[:n] = rows.values[start:stop]
        block.stamps[:n] = rows.stamps[start:stop]
        block.marks[:n] = 0
        block.seq = seq
        # A nanosecond after the newest stamp: the age of a stored row is not known, and a row is never older than time itself.
        newest = int(rows.stamps[stop - 1]) - self._engine.decisions.wall_offset_ns
        return self._engine.admit(self._intake, block, max(newest + 1, self._engine.now_ns))
