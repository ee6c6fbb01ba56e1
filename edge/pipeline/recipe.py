"""The recipe: decode, admit, update, decide. Reads top to bottom like a list.

Live, replay, tests and the harness drive this very object. Time is what ``received_ns`` and ``tick`` say: checks that need no
frame run on a grid of absolute multiples of the tick period, before the frame that comes after them, so that a replay decides what
the live run decided. Only stage times and budgets look at the injected clock.
"""

from typing import Any

import numpy.typing as npt

from edge.errors import InferenceFault, Reason, Reject
from edge.messages import Block, Outgoing, Prediction, RawMessage
from edge.pipeline.intake import Intake, ScanIntake, TelemetryIntake
from edge.pipeline.moment import Moment
from edge.pipeline.result import Result, refusals, result_of
from edge.pipeline.routes import Route
from edge.pipeline.state import PipelineState

_END_OF_TIME_NS = 1 << 62


class Pipeline(PipelineState):
    """One pipeline file at work; see PipelineState for its parts."""

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
            watch = self.decisions.monitoring
            if watch is None or not watch.take(raw, self.lanes, self.decisions, out):
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
            intake.refused = raw.payload
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

    def _use(self, intake: Intake, lane: int, block: Block, out: list[Outgoing]) -> None:
        for motion in self._motions:
            if intake.index in motion.streams:
                motion.note(intake.index, lane, block)
        if self.aligner is None:
            self._push(intake, lane, block, intake.index, block, 0, block.n, out)
            return
        for stream, rows, start, stop in self.aligner.runs(intake.index, lane, block):
            self._push(intake, lane, block, stream, rows, start, stop, out)

    def _push(self, intake: Intake, lane: int, block: Block, stream: int, rows: Block, start: int, stop: int, out: list[Outgoing]) -> None:
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
        out: list[Outgoing] = []
        for intake in self._scan_intakes:
            if intake.waiting:
                for lane, raw in intake.take():
                    self._step_scan(intake, lane, raw, out)
        return out

    def _step_scan(self, intake: ScanIntake, lane: int, raw: RawMessage, out: list[Outgoing]) -> None:
        work, decisions = intake.work, self.decisions
        if work is None:  # no feature asks for it: it is checked and counted
            intake.decode(raw, lane)
            return
        clock = decisions.clock or self._stopped_clock
        started = clock()
        effort = work.choose(raw.received_ns + decisions.terms.budget_ns - started, decisions.terms.may_go_smaller)
        if effort is None:
            intake.gate.give_up(Reason.OVERRUN)
            decisions.overrun(Moment(lane, -1, self._now_ns, raw.received_ns, raw.received_ns, self._now_ns), out)
            return
        scan = intake.decode(raw, lane)
        if scan is None:
            return
        admitted = clock()
        try:
            block = work.look(scan, lane, effort)
        except InferenceFault:
            decisions.fail("classifier")
            return
        looked = clock()
        work.observe(effort, looked - started)
        spent = decisions.spent
        spent[0] = spent[1] = spent[2] = decisions.ended_ns = 0
        self._features_ns = looked - admitted
        self._use(intake, lane, block, out)
        if decisions.clock is not None:
            self.times.add((admitted - started, 0, self._features_ns, spent[0], spent[1], spent[2]), decisions.ended_ns, raw.received_ns)

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
            rows: (n, C) in the stream's channel order, at most ``max_rows``; or (C,), one sample.
            device: which device; default the pipeline's name.
            stamps: (n,) int ns; default: one period of ``rate_hz`` after the other.
            seq: the sender's counter, if any.
            received_ns: CLOCK_MONOTONIC; default: the last stamp.

        Raises:
            ValueError: an unknown stream, a wrong shape or type, or neither stamps nor a rate.
        """
        intake = next((intake for intake in self.intakes if intake.name == stream and isinstance(intake, TelemetryIntake)), None)
        if not isinstance(intake, TelemetryIntake):
            raise ValueError(f"no telemetry stream {stream!r}; there are {', '.join(intake.name for intake in self.intakes)}")
        intake.fill(rows, stamps, seq, device or self.name)
        return self._take(intake, device or self.name, received_ns)

    def feed(self, topic: str, payload: bytes, received_ns: int | None = None) -> Result:
        """Push a message as a device sends it, through the codec and everything after it.

        Args:
            topic: as on the broker; it names the device.
            payload: JSON or MessagePack, whatever the stream's format is.
            received_ns: CLOCK_MONOTONIC; default: the message's last stamp, or one period after the message before.

        Raises:
            ValueError: no telemetry stream has this topic.
        """
        route = self._routes.find(topic)
        if route is None or not isinstance(route.intake, TelemetryIntake):
            raise ValueError(f"no telemetry stream has topic {topic!r}; there are {', '.join(one.topic.text for one in self.intakes)}")
        before = refusals(route.intake.gate.counts)
        if route.intake.parse(payload, received_ns, route.device):
            return self._take(route.intake, route.device, received_ns)
        return result_of([], [], before, refusals(route.intake.gate.counts))

    def _take(self, intake: TelemetryIntake, device: str, received_ns: int | None) -> Result:
        """Take a block from Python all the way."""
        block, counts = intake.block, intake.gate.counts
        before = refusals(counts)
        block.received_ns = int(block.stamps[block.n - 1]) if received_ns is None else received_ns
        out = self.tick(block.received_ns)
        self._now_ns = max(self._now_ns, block.received_ns)
        self.decisions.at_ns = block.received_ns
        lane = self._lane_of(device, out)
        self.lanes.touch(lane, self._now_ns)
        kept: list[Prediction] = []
        self.decisions.kept = kept
        for good in intake.gate.admit(block, lane, self.decisions.wall_offset_ns):
            self._use(intake, lane, good, out)
        self.decisions.kept = None
        return result_of(kept, out, before, refusals(counts))

    def compute(self, data: Any, **options: Any) -> Any:
        """See edge.features.compute, which calls this."""
        if self.make_batch is None:
            raise ValueError("a pipeline made by hand has no file to compute from; use edge.load_features")
        return self.make_batch().compute(data, **options)

    def _stopped_clock(self) -> int:
        return self._now_ns

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
