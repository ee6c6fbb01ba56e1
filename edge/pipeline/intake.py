"""A stream's way in: where its messages come from, how they are decoded, which are used."""

import msgspec
import numpy as np
import numpy.typing as npt

from edge.clean.gate import Gate
from edge.clean.scan_gate import ScanGate
from edge.errors import Reason, Reject
from edge.messages import Block, RawMessage, Scan
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

    def fill(self, rows: npt.ArrayLike, stamps: npt.ArrayLike | None, seq: int, device: str) -> None:
        """Put samples from Python into the block.

        Args:
            rows: (n, C), at most the block's capacity.
            stamps: (n,) int ns, or None: periods of ``rate_hz`` after the stamp before.
            seq: the sender's counter, or -1.
            device: whose rows.

        Raises:
            ValueError: a wrong shape, or neither stamps nor a rate.
        """
        block = self.block
        table = np.asarray(rows, np.float32)
        if table.ndim != 2 or table.shape[1] != block.rows.shape[1] or not 1 <= len(table) <= len(block.stamps):
            raise ValueError(f"{self.name}: rows have shape {table.shape}; expected (1..{len(block.stamps)}, {block.rows.shape[1]})")
        if stamps is None:
            if self.rate_hz is None:
                raise ValueError(f"{self.name}: give stamps, or streams.{self.name}.rate_hz in the pipeline file")
            times = self.pushed_ns.get(device, 0) + np.rint(np.arange(1, len(table) + 1) * (1e9 / self.rate_hz)).astype(np.int64)
        else:
            times = np.asarray(stamps, np.int64)
            if times.shape != (len(table),):
                raise ValueError(f"{self.name}: stamps have shape {times.shape}; expected ({len(table)},)")
        block.rows[: len(table)] = table
        block.stamps[: len(table)] = times
        block.n, block.seq = len(table), seq
        self.pushed_ns[device] = int(times[-1])

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
    """One LIDAR stream. Of the scans that wait, the newest of each device wins."""

    name: str
    topic: TopicTemplate
    codec: ScanCodec
    gate: ScanGate
    waiting: dict[int, RawMessage] = {}

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

    def flush(self) -> list[tuple[int, Scan]]:
        """The newest scan of every device that sent one, decoded and admitted."""
        ready: list[tuple[int, Scan]] = []
        for lane, raw in self.waiting.items():
            try:
                scan = self.codec.decode(raw.payload, raw.received_ns)
            except Reject as reject:
                self.gate.refuse(reject.reason)
                continue
            if self.gate.admit(scan, lane):
                ready.append((lane, scan))
        self.waiting.clear()
        return ready

    def forget(self, lane: int, device: str) -> None:
        """The device gave up its lane."""
        del device
        if self.waiting.pop(lane, None) is not None:
            self.gate.give_up(Reason.EVICTED)
        self.gate.reset(lane)


Intake = TelemetryIntake | ScanIntake
