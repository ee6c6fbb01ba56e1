"""What an operator must hear of the outbox, as alerts of its own: alerts that were given up, a disk that fails, a file that was damaged."""

import logging
from typing import Literal

from edge.daemon.tally import Tally
from edge.messages import Alert, Cause, Outgoing, Severity
from edge.pipeline.recipe import Pipeline
from edge.store.outbox import Outbox

_log = logging.getLogger(__name__)

AGAIN_NS = 60_000_000_000


class OutboxWatch:
    """Watches one outbox.

    Args:
        outbox: which.

    Attributes:
        topic: of the alerts; "" for none.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.topic = ""
        self._outbox = outbox
        self._tally = Tally("%d alerts were given up: more wait for the broker than [outbox] allows")
        self._made = self._evicted = self._counted = 0
        self._again_ns = 0

    def look(self, pipeline: Pipeline, now_ns: int) -> list[Outgoing]:
        """Alerts about what changed since the last look; call often.

        Args:
            pipeline: whose name they carry, and whose encoding they have.
            now_ns: CLOCK_MONOTONIC.
        """
        self._outbox.tick()
        out: list[Outgoing] = []
        self._look_at_evictions(pipeline, now_ns, out)
        denied = self._outbox.denied
        self._tell_change(pipeline, now_ns, out, "outbox.denied", denied, is_on=denied > 0)
        journal = self._outbox.journal
        if journal is None:
            return out
        self._tell_change(pipeline, now_ns, out, "outbox.not_stored", len(self._outbox), is_on=bool(journal.trouble))
        if journal.damaged:
            journal.damaged = ""
            self._tell(pipeline, now_ns, out, "outbox.damaged", "raised", 1)
        return out

    def close(self) -> None:
        """The end: say what becomes of the alerts that were not acknowledged."""
        held = len(self._outbox)
        if not self._outbox.close():
            _log.warning("%d alerts were not acknowledged and are given up", held)
        elif held:
            _log.info("%d alerts were not acknowledged and are kept for the next start", held)

    def _look_at_evictions(self, pipeline: Pipeline, now_ns: int, out: list[Outgoing]) -> None:
        """At once, then at most once a minute; cleared after a minute without any."""
        evicted = self._outbox.evicted
        if evicted != self._counted:
            self._tally.add(evicted - self._counted)
            self._counted = evicted
        self._tally.tell(now_ns)
        if now_ns < self._again_ns:
            return
        new = evicted - self._evicted
        if not new and not self._is_raised(pipeline, "outbox.evicted"):
            return
        self._evicted += new
        self._again_ns = now_ns + AGAIN_NS
        self._tell(pipeline, now_ns, out, "outbox.evicted", "raised" if new else "cleared", new)

    def _is_raised(self, pipeline: Pipeline, name: str) -> bool:
        """In this run or an earlier one, and not cleared."""
        return self._outbox.said.get(pipeline.name, {}).get(name) == "raised"

    def _tell_change(self, pipeline: Pipeline, now_ns: int, out: list[Outgoing], name: str, value: int, *, is_on: bool) -> None:
        if is_on != self._is_raised(pipeline, name):
            self._tell(pipeline, now_ns, out, name, "raised" if is_on else "cleared", value)

    def _tell(
        self, pipeline: Pipeline, now_ns: int, out: list[Outgoing], name: str, state: Literal["raised", "cleared"], value: int
    ) -> None:
        if not self.topic:
            return
        self._made += 1
        decisions, severity = pipeline.decisions, _severity(state)
        boot_id = decisions.terms.boot_id
        cause = Cause(name, float(value))
        wall_ns = now_ns + decisions.wall_offset_ns
        alert = Alert(
            id=f"{boot_id}-o{self._made}",
            device=pipeline.name,
            boot_id=boot_id,
            seq=self._made,
            issued_ns=now_ns,
            name=name,
            state=state,
            severity=severity,
            value=float(value),
            cause=cause,
            stamp_ns=wall_ns,
            topic=self.topic,
        )
        self._outbox.said.note(alert)
        out.append(decisions.outputs.alert(alert, 0.0, decisions.wall_offset_ns))


def _severity(state: Literal["raised", "cleared"]) -> Severity:
    return "critical" if state == "raised" else "info"
