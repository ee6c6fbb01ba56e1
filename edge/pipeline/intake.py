"""A stream's way in: where its messages come from, how they are decoded, which are used."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.clean.gate import Gate
from edge.clean.scan_gate import ScanGate
from edge.errors import Reason, Reject
from edge.messages import Block, RawMessage, Scan
from edge.pipeline.scans import ScanWork
from edge.topics import TopicTemplate
from edge.wire.json_fields import JsonCodec
from edge.wire.scan import ScanCodec
from edge.wire.telemetry import TelemetryCodec


class TelemetryIntake(msgspec.Struct):
    """One telemetry stream.

    Args:
        name: of the stream.
        topic: where it comes from.
        codec, gate, block: decode into the block, admit it.
        index: row of the stream in the feature plan.
        rate_hz: nominal rate, for rows pushed without stamps.
        is_synced: stamps are Unix time.
        pushed_ns: stamp of the last row pushed from Python, by device.
        refused: the last message that could not be decoded.
    """

    name: str
    topic: TopicTemplate
    codec: TelemetryCodec | JsonCodec
    gate: Gate
    block: Block
    index: int
    rate_hz: float | None = None
    is_synced: bool = False
    pushed_ns: dict[str, int] = {}
    refused: bytes = b""

    def fill(self, rows: npt.ArrayLike, stamps: npt.ArrayLike | None, seq: int, device: str) -> None:
        """Put samples from Python into the block.

        Args:
            rows: (n, C), at most the block's capacity; or (C,), one sample.
            stamps: (n,) int ns, or None: periods of ``rate_hz`` after the stamp before.
            seq: the sender's counter, or -1.
            device: whose rows.

        Raises:
            ValueError: a wrong shape, or neither stamps nor a rate.
        """
        block = self.block
        table = _array(rows, np.float32, f"{self.name}: rows must be numbers of shape (n, {block.rows.shape[1]})")
        if table.shape == block.rows.shape[1:]:
            table = table[np.newaxis]
        if table.ndim != 2 or table.shape[1] != block.rows.shape[1] or not 1 <= len(table) <= len(block.stamps):
            raise ValueError(f"{self.name}: rows have shape {table.shape}; expected (1..{len(block.stamps)}, {block.rows.shape[1]})")
        if stamps is None:
            if self.rate_hz is None:
                raise ValueError(f"{self.name}: give stamps, or streams.{self.name}.rate_hz in the pipeline file")
            times = self.pushed_ns.get(device, 0) + np.rint(np.arange(1, len(table) + 1) * (1e9 / self.rate_hz)).astype(np.int64)
        else:
            times = _array(stamps, np.int64, f"{self.name}: stamps must be int64 ns of shape ({len(table)},)")
            if times.shape != (len(table),):
                raise ValueError(f"{self.name}: stamps have shape {times.shape}; expected ({len(table)},)")
        block.rows[: len(table)] = table
        block.stamps[: len(table)] = times
        block.n, block.seq = len(table), seq
        self.pushed_ns[device] = int(times[-1])

    def parse(self, payload: bytes, received_ns: int | None, device: str) -> bool:
        """Decode a message from Python into the block; false when it is refused, which is counted.

        Args:
            payload: the message.
            received_ns: CLOCK_MONOTONIC; None: one period of ``rate_hz`` after the stamp before (1 ms without one).
            device: whose.
        """
        block = self.block
        period_ns = int(1e9 / self.rate_hz) if self.rate_hz is not None else 1_000_000
        block.received_ns = self.pushed_ns.get(device, 0) + period_ns if received_ns is None else received_ns
        try:
            self.codec.decode(payload, block)
        except Reject as reject:
            self.gate.counts.received += 1
            self.gate.counts.refuse(reject.reason)
            return False
        self.pushed_ns[device] = int(block.stamps[block.n - 1])
        return True

    def drop(self, raw: RawMessage, reason: Reason) -> None:
        """Count the rows of a message that will not be used."""
        counts = self.gate.counts
        try:
            self.codec.decode(raw.payload, self.block)
        except Reject as reject:
            counts.received += 1
            counts.refuse(reject.reason)
            return
        counts.received += self.block.n
        counts.drop(reason, self.block.n)

    def forget(self, lane: int, device: str) -> None:
        """The device gave up its lane."""
        self.pushed_ns.pop(device, None)
        self.gate.reset(lane)


class ScanIntake(msgspec.Struct):
    """One LIDAR stream. Of the scans that wait, the newest of each device wins.

    Args:
        name, topic, codec, gate: as in TelemetryIntake.
        waiting: the newest scan of each lane that has not been looked at.
        work: what looks at it; None when no feature asks for it.
        is_synced: stamps are Unix time.
    """

    name: str
    topic: TopicTemplate
    codec: ScanCodec
    gate: ScanGate
    waiting: dict[int, RawMessage] = {}
    work: ScanWork | None = None
    is_synced: bool = False

    @property
    def index(self) -> int:
        """Row of the stream in the feature plan."""
        return self.work.index if self.work is not None else -1

    def is_usable(self, raw: RawMessage) -> bool:
        """Whether a scan of a device without a lane can be decoded; counted here when it cannot."""
        try:
            self.codec.decode(raw.payload, raw.received_ns)
        except Reject as reject:
            self.gate.hold()
            self.gate.refuse(reject.reason)
            return False
        return True

    def note(self, lane: int, raw: RawMessage) -> None:
        """Keep a scan until there is time for it."""
        if lane in self.waiting:
            self.gate.give_up(Reason.SUPERSEDED)
        self.gate.hold()
        self.waiting[lane] = raw

    def drop(self, raw: RawMessage, reason: Reason) -> None:
        """Count a scan that will not be looked at."""
        del raw
        self.gate.hold()
        self.gate.give_up(reason)

    def take(self) -> list[tuple[int, RawMessage]]:
        """The newest scan of every device that sent one; nothing waits afterwards."""
        taken = list(self.waiting.items())
        self.waiting.clear()
        return taken

    def decode(self, raw: RawMessage, lane: int) -> Scan | None:
        """A scan that is used, or None for one that is not, which is counted."""
        try:
            scan = self.codec.decode(raw.payload, raw.received_ns)
        except Reject as reject:
            self.gate.refuse(reject.reason)
            return None
        return scan if self.gate.admit(scan, lane) else None

    def forget(self, lane: int, device: str) -> None:
        """The device gave up its lane."""
        del device
        if self.waiting.pop(lane, None) is not None:
            self.gate.give_up(Reason.EVICTED)
        self.gate.reset(lane)
        if self.work is not None:
            self.work.reset(lane)


Intake = TelemetryIntake | ScanIntake


def _array(values: npt.ArrayLike, kind: type[np.generic], expected: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(values, kind)
    except (TypeError, ValueError, OverflowError) as fault:
        raise ValueError(f"{expected}, not {type(values).__name__}: {fault}") from fault
