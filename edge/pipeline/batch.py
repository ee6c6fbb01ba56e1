"""The same features over whole recordings and tables: the live recipe, its kernels fed in large blocks.

Everything up to the features is the object that runs live: routing, decoding, gates, ticks. Only two things differ. Admitted rows of
one device and stream are gathered into large blocks before the kernel sees them, which no kernel can tell; and ticks at which nothing
can happen are passed over. So the numbers are equal by construction, and `edge parity` shows it.
"""

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.clean.counts import Counts
from edge.errors import Reason
from edge.features.offline import Vectors, joined, merged
from edge.features.plan import FeaturePlan
from edge.features.rolling import RollingFeatures
from edge.features.rows import Columns, Rows, rows_of
from edge.messages import Block, Outgoing, RawMessage
from edge.pipeline.intake import TelemetryIntake
from edge.pipeline.recipe import Pipeline

ROWS = 4096  # of one kernel call; from a few hundred on, the call itself costs nothing
_NO_STAMP = -(1 << 63)

Emit = Callable[[str, npt.NDArray[np.int64], npt.NDArray[np.float32]], None]


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
        out: list[Outgoing] = []
        if received_ns >= self._grid.next_ns:
            self._tick_until(received_ns, out)
        self._now_ns = max(self._now_ns, received_ns)
        block.received_ns = received_ns
        lane = self._lane_of(self.device, out)
        used = intake.gate.counts.used
        for good in intake.gate.admit(block, lane, self.decisions.wall_offset_ns):
            self._use(intake, lane, good, out)
        return intake.gate.counts.used - used


class _Feeder:
    """Cuts the rows of one stream into the largest blocks that its gate treats as it would treat them one by one."""

    def __init__(self, engine: Engine, intake: TelemetryIntake, max_ahead_ns: int) -> None:
        self._engine, self._intake, self._max_ahead_ns = engine, intake, max_ahead_ns
        self._block = Block(intake.block.rows.shape[1], ROWS)
        self._top = _NO_STAMP  # rows after it rise; others go alone, for the gate to judge
        self._sure: int | None = None  # a stamp that the gate has admitted
        self._rest: Rows | None = None  # the message whose end has not been seen

    def feed(self, rows: Rows) -> None:
        if rows.seq is not None:
            self._feed_messages(rows, rows.seq)
            return
        stamps, n = rows.stamps, len(rows.stamps)
        breaks = [*(np.flatnonzero(stamps[1:] <= stamps[:-1]) + 1).tolist(), n]
        start = run = 0
        while start < n:
            while breaks[run] <= start:
                run += 1
            stop = min(breaks[run], start + ROWS)
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


class Batch:
    """Features of any number of devices over stored data. No device is ever evicted.

    Args:
        name: of the pipeline, and of the device where nothing says which.
        plan: of the features.
        make: a fresh engine for one device.
        max_ahead_ns: by stream, see ``streams.*.clean.max_ahead_ms``.
    """

    def __init__(self, name: str, plan: FeaturePlan, make: Callable[[], Engine], max_ahead_ns: Mapping[str, int]) -> None:
        self.name, self.plan = name, plan
        self._make, self._max_ahead_ns = make, max_ahead_ns
        self._router = make()

    @property
    def streams(self) -> dict[str, tuple[str, ...]]:
        """Telemetry streams and their channels in column order."""
        return {stream.name: tuple(stream.channels) for stream in self.plan.streams}

    def run(self, emit: Emit, *, wall_offset_ns: int = 0, devices: Callable[[str], bool] | None = None) -> "BatchRun":
        """Begin anew.

        Args:
            emit: called with the device, stamps int64 (m,) and vectors float32 (m, F).
            wall_offset_ns: Unix time minus CLOCK_MONOTONIC when the data were recorded.
            devices: whether a device is wanted; default: all are.
        """
        return BatchRun(self, emit, wall_offset_ns, devices)

    def engine(self, device: str, wall_offset_ns: int) -> Engine:
        """A fresh engine for a device."""
        engine = self._make()
        engine.device = device
        engine.run_on(None, wall_offset_ns)
        return engine

    def device_of(self, topic: str) -> str | None:
        """The device that a topic belongs to, None for a topic of no stream."""
        found = (intake.topic.match(topic) for intake in self._router.intakes)
        return next((device for device in found if device is not None), None)

    def max_ahead_ns(self, stream: str) -> int:
        """Largest step of a stream's stamps that its gate takes."""
        return self._max_ahead_ns[stream]

    def compute(self, data: Any, *, stream: str | None, device: str | None, columns: Columns, rate_hz: float | None) -> Vectors:
        """See edge.features.compute."""
        tables = dict(data) if isinstance(data, Mapping) else {self.only_stream(stream): data}
        for name in tables:
            if name not in self.streams:
                raise ValueError(f"unknown stream {name!r}; there are {', '.join(self.streams)}")
        out: dict[str, list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]] = {}
        run = self.run(lambda who, stamps, vectors: out.setdefault(who, []).append((stamps, vectors)))
        shapes = {shape.name: shape for shape in self.plan.streams}
        sources = {
            name: rows_of(table, shapes[name], columns, device=device, default_device=self.name, rate_hz=rate_hz)
            for name, table in tables.items()
        }
        for name, rows in merged(sources, last=self.plan.trigger):
            run.feed(name, rows)
        run.finish()
        return Vectors.joined(out, self.plan, run.counts())

    def only_stream(self, stream: str | None) -> str:
        """The stream that a plain table is for.

        Raises:
            ValueError: the pipeline has several, and none was named.
        """
        if stream is not None:
            return stream
        if len(self.streams) != 1:
            raise ValueError(f"the pipeline has {len(self.streams)} streams; say which one the table is: {', '.join(self.streams)}")
        return next(iter(self.streams))


class BatchRun:
    """One pass over stored data. Memory: what live keeps for each device, and one block of gathered rows for each of its streams.

    Attributes:
        unrouted: messages on topics of no stream.
        vectors: so far.
    """

    def __init__(self, batch: Batch, emit: Emit, wall_offset_ns: int, devices: Callable[[str], bool] | None) -> None:
        self.unrouted = self.vectors = 0
        self._batch, self._emit, self._wall_offset_ns, self._wants = batch, emit, wall_offset_ns, devices
        self._engines: dict[str, Engine] = {}
        self._routes: dict[str, Engine | None] = {}
        self._feeders: dict[tuple[str, str], _Feeder] = {}

    def step(self, raw: RawMessage) -> None:
        """Take one message of a recording."""
        if raw.topic not in self._routes:
            device = self._batch.device_of(raw.topic)
            if device is None:
                self.unrouted += 1
                return
            self._routes[raw.topic] = self._engine(device) if self._wants is None or self._wants(device) else None
        engine = self._routes[raw.topic]
        if engine is not None:
            engine.step(raw)

    def feed(self, stream: str, rows: Rows) -> None:
        """Take rows of a table: each is a message of its own, unless they carry numbers."""
        if self._wants is not None and not self._wants(rows.device):
            return
        key = (rows.device, stream)
        feeder = self._feeders.get(key)
        if feeder is None:
            engine = self._engine(rows.device)
            intake = next(intake for intake in engine.intakes if intake.name == stream)
            assert isinstance(intake, TelemetryIntake)  # noqa: S101 - the plan has no other
            feeder = self._feeders[key] = _Feeder(engine, intake, self._batch.max_ahead_ns(stream))
        feeder.feed(rows)

    def flush(self) -> None:
        """Hand over every vector that is complete, device by device in the order of their names."""
        for device in sorted(self._engines):
            features = self._engines[device].features
            assert isinstance(features, LargeBlocks)  # noqa: S101 - an engine is built with them
            features.flush(0)

    def finish(self, end_ns: int = 0) -> None:
        """The end of the data: what waits is used.

        Args:
            end_ns: CLOCK_MONOTONIC of the recording's end; 0: that of each device's last row.
        """
        for key in sorted(self._feeders):
            self._feeders[key].finish()
        for device in sorted(self._engines):
            engine = self._engines[device]
            engine.stop(max(end_ns, engine.now_ns))
        self.flush()

    def counts(self) -> dict[str, Counts]:
        """The accounting of every stream, over all devices."""
        total = {stream: Counts() for stream in self._batch.streams}
        for engine in self._engines.values():
            for name, counts in engine.counts().items():
                if name in total:
                    _add(total[name], counts)
        return total

    @property
    def devices(self) -> int:
        """Devices seen."""
        return len(self._engines)

    def _engine(self, device: str) -> Engine:
        engine = self._engines.get(device)
        if engine is None:
            engine = self._engines[device] = self._batch.engine(device, self._wall_offset_ns)
            features = engine.features
            assert isinstance(features, LargeBlocks)  # noqa: S101 - an engine is built with them

            def take(_lane: int, stamps: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
                self.vectors += len(stamps)
                self._emit(device, stamps, vectors)

            features.on_vectors = take
        return engine


def _add(total: Counts, part: Counts) -> None:
    for name in Counts.__slots__:
        value = getattr(part, name)
        if isinstance(value, dict):
            mine = getattr(total, name)
            for reason, n in value.items():
                mine[reason] = mine.get(reason, 0) + n
        else:
            setattr(total, name, getattr(total, name) + value)
