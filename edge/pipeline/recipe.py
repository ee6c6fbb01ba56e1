"""The recipe: decode, admit, update, decide. Reads top to bottom like a list.

Live, replay, tests and the harness drive this very object. Time is what ``received_ns`` and ``tick`` say: checks that need no
frame run on a grid of absolute multiples of the tick period, before the frame that comes after them, so that a replay decides what
the live run decided. Only stage times and budgets look at the injected clock.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt

from edge.clean.counts import Counts
from edge.errors import Reason, Reject
from edge.features.rolling import RollingFeatures
from edge.messages import Block, Command, Outgoing, Prediction, RawMessage
from edge.pipeline.align import Aligner
from edge.pipeline.decisions import Decisions, Moment
from edge.pipeline.grid import TickGrid
from edge.pipeline.intake import Intake, ScanIntake, TelemetryIntake
from edge.pipeline.lanes import Lanes
from edge.pipeline.result import Result, result_of
from edge.pipeline.routes import Route, Routes
from edge.pipeline.timing import StageTimes

_END_OF_TIME_NS = 1 << 62


class Pipeline:
    """One pipeline file at work.

    Args:
        name: of the pipeline; also the device of streams whose topic names none.
        intakes: the streams.
        features: windows of every stream and lane.
        decisions: vectors to messages.
        lanes: the table of devices.
        tick_ns: period of the checks that need no frame.

    Attributes:
        times: stage histograms.
        withheld: commands that were made and not handed over, by reason.
        unrouted, is_stopped: messages on topics that no stream has; whether what comes now is dropped and counted.
        aligner: puts the rows of several streams in order; None where one stream has all features.
    """

    def __init__(
        self, name: str, intakes: Sequence[Intake], features: RollingFeatures, decisions: Decisions, lanes: Lanes, tick_ns: int
    ) -> None:
        self.name = name
        self.intakes, self.features, self.decisions, self.lanes = tuple(intakes), features, decisions, lanes
        self.times = StageTimes(decisions.due)
        self.withheld: dict[str, int] = {}
        self.unrouted, self.is_stopped = 0, False
        plan = features.plan
        is_alone = len({group.stream for group in plan.groups}) <= 1
        self.aligner = None if is_alone else Aligner(plan.stream_index[plan.trigger], len(lanes.devices))
        self.make_batch: Callable[[], Any] | None = None  # its twin that works on stored data
        self._grid = TickGrid(tick_ns)
        self._now_ns = 0
        self._features_ns = 0
        self._routes = Routes(self.intakes, len(lanes.devices))
        self._scan_intakes = [intake for intake in intakes if isinstance(intake, ScanIntake)]

    def run_on(self, clock: Callable[[], int] | None, wall_offset_ns: int) -> None:
        """Say what time it is.

        Args:
            clock: CLOCK_MONOTONIC in ns, or None: processing takes no time.
            wall_offset_ns: Unix time minus CLOCK_MONOTONIC.
        """
        self.decisions.clock = clock
        self.decisions.wall_offset_ns = wall_offset_ns

    def step(self, raw: RawMessage) -> list[Outgoing]:
        """Take one message all the way; a scan is only noted, see ``flush_scans``.

        Returns:
            What must be sent, in order.
        """
        out: list[Outgoing] = []
        if raw.received_ns >= self._grid.next_ns:
            self._tick_until(raw.received_ns, out)
        if raw.received_ns > self._now_ns:
            self._now_ns = raw.received_ns
        self.decisions.at_ns = raw.received_ns
        route = self._routes.find(raw.topic)
        if route is None:
            self.unrouted += 1
            return out
        intake = route.intake
        if raw.is_retained:
            intake.gate.counts.received += 1
            intake.gate.counts.drop(Reason.RETAINED)
        elif self.is_stopped:
            intake.drop(raw, Reason.SHUTDOWN)
        elif isinstance(intake, TelemetryIntake):
            self._step_telemetry(intake, route, raw, out)
        elif route.lane >= 0 or intake.is_usable(raw):
            intake.note(self._seat(route, out), raw)
        return out

    def _step_telemetry(self, intake: TelemetryIntake, route: Route, raw: RawMessage, out: list[Outgoing]) -> None:
        clock = self.decisions.clock or self._stopped_clock
        block, gate = intake.block, intake.gate
        block.received_ns = raw.received_ns
        started = clock()
        try:
            intake.codec.decode(raw.payload, block)
        except Reject as reject:
            gate.counts.received += 1
            gate.counts.refuse(reject.reason)
            return
        decoded = clock()
        lane = self._seat(route, out)
        ready = gate.admit(block, lane, self.decisions.wall_offset_ns)
        admitted = clock()
        spent = self.decisions.spent
        spent[0] = spent[1] = spent[2] = self._features_ns = self.decisions.ended_ns = 0
        for good in ready:
            self._use(intake, lane, good, out)
        if self.decisions.clock is not None:
            durations = (decoded - started, admitted - decoded, self._features_ns, spent[0], spent[1], spent[2])
            self.times.add(durations, self.decisions.ended_ns, raw.received_ns)

    def _use(self, intake: TelemetryIntake, lane: int, block: Block, out: list[Outgoing]) -> None:
        if self.aligner is None:
            self._push(intake, lane, block, intake.index, block, 0, block.n, out)
            return
        for stream, rows, start, stop in self.aligner.runs(intake.index, lane, block):
            self._push(intake, lane, block, stream, rows, start, stop, out)

    def _push(
        self, intake: TelemetryIntake, lane: int, block: Block, stream: int, rows: Block, start: int, stop: int, out: list[Outgoing]
    ) -> None:
        clock = self.decisions.clock or self._stopped_clock
        started = clock()
        emitted = self.features.update(stream, lane, rows, start, stop)
        self._features_ns += clock() - started
        for i in range(emitted):
            stamp_ns = block.stamps_view[self.features.vector_rows_view[i]]
            origin_ns = stamp_ns - self.decisions.wall_offset_ns if intake.is_synced else block.received_ns
            moment = Moment(lane, block.seq, stamp_ns, block.received_ns, origin_ns, self._now_ns)
            self.decisions.decide(moment, self.features.vectors[i], out)

    def flush_scans(self) -> list[Outgoing]:
        """Take the newest scan of every device all the way; call when no more input is at hand."""
        for intake in self._scan_intakes:
            if intake.waiting:
                intake.flush()
        return []

    def tick(self, now_ns: int) -> list[Outgoing]:
        """Run the checks that need no frame: silence, and frames that waited long enough for an earlier one."""
        out: list[Outgoing] = []
        self._tick_until(now_ns, out)
        return out

    def stop(self, now_ns: int) -> list[Outgoing]:
        """The end: frames that wait are used, live outputs go to their safe values, and no later frame moves them again."""
        out = self.tick(now_ns)
        self.is_stopped, self._now_ns = True, max(self._now_ns, now_ns)
        self.decisions.at_ns = self._now_ns
        self._release_held(_END_OF_TIME_NS, out)
        out += self.flush_scans()
        for lane, device in enumerate(self.lanes.devices[: len(self.lanes)]):
            self.decisions.send_safe(self.decisions.envelope.release(lane, device, self._now_ns), out)
        return out

    def go_safe(self, now_ns: int, reason: str) -> list[Outgoing]:
        """Move every live output to its safe value now, and latch it there until decisions flow again."""
        out: list[Outgoing] = []
        for lane, device in enumerate(self.lanes.devices[: len(self.lanes)]):
            self.decisions.send_safe(self.decisions.envelope.trip(lane, device, max(self._now_ns, now_ns), reason), out)
        return out

    def push(
        self,
        stream: str,
        rows: npt.ArrayLike,
        *,
        device: str = "",
        stamps: npt.ArrayLike | None = None,
        seq: int = -1,
        received_ns: int | None = None,
    ) -> Result:
        """Push samples from Python, past the codec and through everything after it.

        Args:
            stream: name of a telemetry stream.
            rows: (n, C) in the stream's channel order, at most ``max_rows``.
            device: which device; default the pipeline's name.
            stamps: (n,) int ns; default: one period of ``rate_hz`` after the other.
            seq: the sender's counter, if any.
            received_ns: CLOCK_MONOTONIC; default: the last stamp.

        Raises:
            ValueError: an unknown stream, a wrong shape, or neither stamps nor a rate.
        """
        intake = next((intake for intake in self.intakes if intake.name == stream and isinstance(intake, TelemetryIntake)), None)
        if not isinstance(intake, TelemetryIntake):
            raise ValueError(f"no telemetry stream {stream!r}; there are {', '.join(intake.name for intake in self.intakes)}")
        intake.fill(rows, stamps, seq, device or self.name)
        block = intake.block
        block.received_ns = int(block.stamps[block.n - 1]) if received_ns is None else received_ns
        out = self.tick(block.received_ns)
        self._now_ns = max(self._now_ns, block.received_ns)
        self.decisions.at_ns = block.received_ns
        lane = self._lane_of(device or self.name, out)
        self.lanes.touch(lane, self._now_ns)
        kept: list[Prediction] = []
        self.decisions.kept = kept
        for good in intake.gate.admit(block, lane, self.decisions.wall_offset_ns):
            self._use(intake, lane, good, out)
        self.decisions.kept = None
        return result_of(kept, out)

    def compute(self, data: Any, **options: Any) -> Any:
        """See edge.features.compute, which calls this."""
        if self.make_batch is None:
            raise ValueError("a pipeline made by hand has no file to compute from; use edge.load_features")
        return self.make_batch().compute(data, **options)

    def count_oversized(self, topic: str) -> None:
        """A transport skipped a payload that is larger than any stream takes."""
        route = self._routes.find(topic)
        if route is None:
            self.unrouted += 1
            return
        route.intake.gate.counts.received += 1
        route.intake.gate.counts.refuse(Reason.TOO_LARGE)

    def withhold(self, command: Command, reason: str, now_ns: int) -> list[Outgoing]:
        """A command was not handed over, because it came too late or the link could not take it.

        Returns:
            What must be sent instead: with ``on_overrun = ["safe_state"]`` a late command is an overrun like any other.
        """
        self.withheld[reason] = self.withheld.get(reason, 0) + 1
        lane = self.lanes.find(command.device)
        out: list[Outgoing] = []
        if self.decisions.terms.goes_safe_on_overrun and reason == "late" and lane >= 0:
            trip = self.decisions.envelope.trip(lane, command.device, max(self._now_ns, now_ns), "overrun")
            self.decisions.send_safe(trip, out)
        return out

    def counts(self) -> dict[str, Counts]:
        """The accounting of every stream."""
        return {intake.name: intake.gate.counts for intake in self.intakes}

    def _stopped_clock(self) -> int:
        return self._now_ns

    def _seat(self, route: Route, out: list[Outgoing]) -> int:
        """The lane of a device that has just sent something usable: what is not must not cost another one its place."""
        if route.lane < 0:
            route.lane = self._lane_of(route.device, out)
            self._routes.keep(route)
        self.lanes.touch(route.lane, self._now_ns)
        return route.lane

    def _lane_of(self, device: str, out: list[Outgoing]) -> int:
        lane = self.lanes.find(device)
        if lane >= 0:
            return lane
        lane = self.lanes.next_free()
        if self.lanes.devices[lane]:
            self._routes.forget(lane)
            for intake in self.intakes:
                intake.forget(lane, self.lanes.devices[lane])
            self.features.reset(lane)
            if self.aligner is not None:
                self.aligner.forget(lane)
            self.decisions.forget(lane, self.lanes.devices[lane], self._now_ns, out)
        self.lanes.assign(device, lane, self._now_ns)
        return lane

    def _tick_until(self, now_ns: int, out: list[Outgoing]) -> None:
        for at_ns in self._grid.until(now_ns, self._is_quiet):
            self._now_ns = self.decisions.at_ns = at_ns
            self._release_held(at_ns, out)
            self.decisions.send_safe(self.decisions.envelope.tick(at_ns, self.lanes.devices), out)

    def _is_quiet(self) -> bool:
        """Whether ticks would do nothing: no frame waits, no output is armed or latched."""
        is_held = any(intake.gate.counts.held for intake in self.intakes if isinstance(intake, TelemetryIntake))
        return not is_held and self.decisions.envelope.is_quiet()

    def _release_held(self, now_ns: int, out: list[Outgoing]) -> None:
        for intake in self.intakes:
            if isinstance(intake, TelemetryIntake):
                for lane, block in intake.gate.release(now_ns, self.decisions.wall_offset_ns):
                    self._use(intake, lane, block, out)
