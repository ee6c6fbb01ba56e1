"""The same features over whole recordings and tables: the live recipe, its kernels fed in large blocks.

Everything up to the features is the object that runs live: routing, decoding, gates, ticks. Only this differs: admitted rows of one
device and stream are gathered into large blocks before the kernel sees them, which no kernel can tell. So the numbers are equal by
construction, and `edge parity` shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.clean.counts import Counts
from edge.features.offline import Vectors, merged
from edge.features.plan import FeaturePlan, StreamShape
from edge.features.rows import Columns, Rows, rows_of
from edge.messages import RawMessage
from edge.pipeline.engine import Engine, Feeder, LargeBlocks
from edge.pipeline.intake import TelemetryIntake

Emit = Callable[[str, npt.NDArray[np.int64], npt.NDArray[np.float32]], None]


class Batch:
    """Features of any number of devices over stored data. No device is ever evicted.

    Args:
        name: of the pipeline, and of the device where nothing says which.
        plan: of the features.
        make: a fresh engine for one device.
        streams: the telemetry streams as they come in, before any cleaning.
        max_ahead_ns: by stream, see ``streams.*.clean.max_ahead_ms``.

    Raises:
        ValueError: the pipeline computes no features.
    """

    def __init__(
        self, name: str, plan: FeaturePlan, make: Callable[[], Engine], streams: Sequence[StreamShape], max_ahead_ns: Mapping[str, int]
    ) -> None:
        if not plan.names:
            raise ValueError("there are no [[features]] to compute")
        self.name, self.plan = name, plan
        self.streams = {stream.name: stream for stream in streams}
        self._make, self._max_ahead_ns = make, max_ahead_ns
        self._router = make()

    @property
    def needed(self) -> tuple[str, ...]:
        """Streams without whose rows no vector is ever complete."""
        return tuple(name for name in self.streams if any(getattr(group, "stream", "") == name for group in self.plan.groups))

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
        sources = {
            name: rows_of(table, self.streams[name], columns, device=device, default_device=self.name, rate_hz=rate_hz)
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
        self._feeders: dict[tuple[str, str], Feeder] = {}

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
            feeder = self._feeders[key] = Feeder(engine, intake, self._batch.max_ahead_ns(stream))
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
    def devices(self) -> set[str]:
        """Devices that sent something usable."""
        return {device for device, engine in self._engines.items() if len(engine.lanes)}

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
