"""What a pipeline keeps between two messages: its parts, its time, who sits on which lane, and what was counted beside the streams."""

from collections.abc import Callable, Sequence
from typing import Any

from edge.clean.counts import Counts
from edge.errors import Reason
from edge.features.rolling import RollingFeatures
from edge.messages import Command, Outgoing
from edge.pipeline.align import Aligner
from edge.pipeline.decisions import Decisions
from edge.pipeline.grid import TickGrid
from edge.pipeline.intake import Intake, ScanIntake
from edge.pipeline.lanes import Lanes
from edge.pipeline.routes import Route, Routes
from edge.pipeline.scans import EgoMotion
from edge.pipeline.tables import TableJoin
from edge.pipeline.timing import StageTimes


class PipelineState:
    """Everything of a pipeline but the way of a frame, which is in edge.pipeline.recipe.

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
        self.tables: TableJoin | None = None  # None without any
        self.make_batch: Callable[[], Any] | None = None  # its twin that works on stored data
        self._grid = TickGrid(tick_ns)
        self._now_ns = 0
        self._features_ns = 0
        self._routes = Routes(self.intakes, len(lanes.devices))
        self._scan_intakes = [intake for intake in intakes if isinstance(intake, ScanIntake)]

        self._motions: list[EgoMotion] = [
            intake.work.ego for intake in self._scan_intakes if intake.work is not None and intake.work.ego.streams
        ]

    def run_on(self, clock: Callable[[], int] | None, wall_offset_ns: int) -> None:
        """Say what time it is.

        Args:
            clock: CLOCK_MONOTONIC in ns, or None: processing takes no time.
            wall_offset_ns: Unix time minus CLOCK_MONOTONIC.
        """
        self.decisions.clock = clock
        self.decisions.wall_offset_ns = wall_offset_ns

    def go_safe(self, now_ns: int, reason: str) -> list[Outgoing]:
        """Move every live output to its safe value now, and latch it there until decisions flow again."""
        out: list[Outgoing] = []
        for lane, device in enumerate(self.lanes.devices[: len(self.lanes)]):
            self.decisions.send_safe(self.decisions.envelope.trip(lane, device, max(self._now_ns, now_ns), reason), out)
        return out

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
