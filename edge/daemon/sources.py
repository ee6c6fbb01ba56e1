"""Whether the sources of a pipeline speak: per stream ok, silent, late or refused, and since when; which devices are silent.

Looks at the counters of the streams at every tick, so that a frame pays nothing for it. Silence is no fault of the daemon: a state of its
own, never a reason to restart.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from edge.clean.counts import Counts
from edge.errors import Reason
from edge.pipeline.intake import Intake, TelemetryIntake
from edge.pipeline.recipe import Pipeline

SourceState = Literal["ok", "silent", "late", "refused"]

LISTED = 20  # devices that are named
_BLOCKS = 3  # a sender of blocks is silent when it missed so many
_LOOK_NS = 500_000_000  # between two looks at devices and floods
_FLOOD = 50  # old samples in one look
_OLD = (Reason.STALE, Reason.RETAINED)


class SourceTerms(msgspec.Struct, frozen=True):
    """What is expected of a stream.

    Args:
        name: of it.
        silent_ns: nothing for so long is silence; None: it may always be silent.
        is_exact: the file says so; otherwise a sender of large blocks is given the time of some blocks.
        has_alert: its silence is an alert.
        is_serial: it comes from a serial line and not from the broker.
    """

    name: str
    silent_ns: int | None
    is_exact: bool = False
    has_alert: bool = False
    is_serial: bool = False


class Source:
    """One stream.

    Args:
        terms: see there.
        intake: of the stream.
        now_ns: CLOCK_MONOTONIC of the start.

    Attributes:
        state, since_ns: now, and since when.
        is_heard: something came since the start.
        old: samples that were refused or dropped for their age within the last look.
    """

    def __init__(self, terms: SourceTerms, intake: Intake, now_ns: int) -> None:
        self.terms = terms
        self.state: SourceState = "silent"
        self.since_ns = now_ns
        self.is_heard = False
        self.old = 0
        self._intake, self._counts = intake, intake.gate.counts
        self._heard_ns = now_ns
        self._good_ns = self._late_ns = self._refused_ns = 0
        self._seen = self._late = self._refused = 0
        self._marks = (0, 0)

    def look(self, now_ns: int) -> bool:
        """Bring the state up to date; whether it has changed."""
        counts = self._counts
        received = counts.received
        if received != self._seen:
            self._hear(counts, received, now_ns)
        state = self._judge(now_ns)
        if state == self.state:
            return False
        self.state = state
        self.since_ns = self._heard_ns if state == "silent" else now_ns
        return True

    def look_for_old(self) -> None:
        """Count what came too old since the last look; call twice a second."""
        counts = self._counts
        old = counts.late + sum(counts.dropped.get(reason, 0) + counts.invalid.get(reason, 0) for reason in _OLD)
        received, before = counts.received, self._marks
        self._marks = (received, old)
        new = old - before[1]
        self.old = new if new >= _FLOOD and 2 * new >= received - before[0] else 0

    @property
    def limit_ns(self) -> int | None:
        """How long nothing may come."""
        limit = self.terms.silent_ns
        intake = self._intake
        if limit is None or self.terms.is_exact or not isinstance(intake, TelemetryIntake) or not intake.rate_hz:
            return limit
        return max(limit, int(_BLOCKS * intake.block.n * 1e9 / intake.rate_hz))

    def _hear(self, counts: Counts, received: int, now_ns: int) -> None:
        late = counts.late + counts.duplicate + counts.dropped.get(Reason.STALE, 0)
        refused = sum(counts.invalid.values()) + counts.dropped.get(Reason.RETAINED, 0)
        if late != self._late:
            self._late_ns = now_ns
        if refused != self._refused:
            self._refused_ns = now_ns
        if received - self._seen > late - self._late + refused - self._refused:
            self._good_ns = now_ns
        self._seen, self._late, self._refused = received, late, refused
        self._heard_ns = now_ns
        self.is_heard = True

    def _judge(self, now_ns: int) -> SourceState:
        limit = self.limit_ns
        if not self.is_heard or (limit is not None and now_ns - self._heard_ns > limit):
            return "silent"
        patience = limit if limit is not None else _LOOK_NS
        bad = max(self._late_ns, self._refused_ns)
        if self._good_ns and (self._good_ns >= bad or now_ns - self._good_ns <= patience):
            return "ok"
        return "late" if self._late_ns >= self._refused_ns else "refused"


class Sources:
    """All streams of a pipeline.

    Args:
        pipeline: whose.
        terms: of each stream.
        now_ns: CLOCK_MONOTONIC.

    Attributes:
        sources: by name.
        silent_devices: device to CLOCK_MONOTONIC of when it was last heard, the first ``LISTED``.
        silent_count: how many there are.
        old: samples too old within the last look, of streams where they are most of what came.
    """

    def __init__(self, pipeline: Pipeline, terms: Sequence[SourceTerms], now_ns: int) -> None:
        intakes = {intake.name: intake for intake in pipeline.intakes}
        self.sources = {one.name: Source(one, intakes[one.name], now_ns) for one in terms if one.name in intakes}
        self.silent_devices: dict[str, int] = {}
        self.silent_count = 0
        self.old = 0
        self._pipeline = pipeline
        self._next_ns = 0

    def look(self, now_ns: int) -> list[Source]:
        """Bring all up to date; those whose state has changed."""
        changed = [source for source in self.sources.values() if source.look(now_ns)]
        if now_ns >= self._next_ns:
            self._next_ns = now_ns + _LOOK_NS
            self.old = 0
            for source in self.sources.values():
                source.look_for_old()
                self.old += source.old
            self._look_at_devices(now_ns)
        return changed

    def _look_at_devices(self, now_ns: int) -> None:
        limits = [source.limit_ns for source in self.sources.values()]
        known = [limit for limit in limits if limit is not None]
        if not known or len(known) < len(limits):  # a device may send nothing but what has no limit
            return
        self.silent_count, self.silent_devices = self._pipeline.lanes.silent(now_ns - max(known), LISTED)

    def report(self, wall_offset_ns: int) -> dict[str, Any]:
        """For the health message; times are Unix time in ns."""
        return {
            name: {"state": source.state, "since_ns": source.since_ns + wall_offset_ns, "heard": source.is_heard}
            for name, source in self.sources.items()
        }
