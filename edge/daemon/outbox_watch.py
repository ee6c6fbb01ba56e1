"""What an operator must hear of the outbox, as alerts of its own: alerts that were given up, a disk that fails, a file that was damaged."""

import logging
from itertools import islice
from typing import Literal

from edge.daemon.tally import Tally
from edge.messages import Alert, Cause, Outgoing, Severity
from edge.pipeline.recipe import Pipeline
from edge.store.outbox import Outbox
from edge.store.outbox_file import GIVEN_UP, TOLD
from edge.store.outbox_own import EVICTED

_log = logging.getLogger(__name__)

AGAIN_NS = 60_000_000_000
LATE_NS = 1_000_000_000  # a word that took longer to the broker said too little when it came
NAMED = 3  # topics that are named in words


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
        self._made = self._counted = self._again_ns = 0
        self._owed_ns: int | None = None  # since when a word of what was given up is on its way

    def look(self, pipeline: Pipeline, now_ns: int) -> list[Outgoing]:
        """Alerts about what changed since the last look; call often.

        Args:
            pipeline: whose name they carry, and whose encoding they have.
            now_ns: CLOCK_MONOTONIC.
        """
        self._outbox.tick()
        out: list[Outgoing] = []
        self._look_at_evictions(pipeline, now_ns, out)
        self._look_at_refusals(pipeline, now_ns, out)
        journal = self._outbox.journal
        if journal is None:
            return out
        self._tell_change(pipeline, now_ns, out, "outbox.not_stored", len(self._outbox), journal.trouble, "alerts are stored again")
        if journal.damaged:
            why, journal.damaged = journal.damaged, ""
            self._tell(pipeline, now_ns, out, "outbox.damaged", "raised", 1, why)
        return out

    def close(self) -> None:
        """The end: say what becomes of the alerts that were not acknowledged."""
        held, journal = len(self._outbox), self._outbox.journal
        is_kept = self._outbox.close()
        if not held:
            return
        if journal is None:
            _log.warning("%d alerts were not acknowledged and are given up: they were in memory", held)
        elif is_kept:
            _log.info("%d alerts were not acknowledged and wait in %s for the next start", held, journal.path)
        else:
            why = journal.trouble or "it did not end in time"
            _log.warning("%d alerts were not acknowledged; the next start sends as many of them as %s holds: %s", held, journal.path, why)

    def _look_at_evictions(self, pipeline: Pipeline, now_ns: int, out: list[Outgoing]) -> None:
        """At once, then at most once a minute, or when a word that was late has arrived; cleared after a minute without any.

        The value is the total, earlier runs included: no word is needed to understand the next.
        """
        evicted = self._outbox.evicted
        if evicted != self._counted:
            self._tally.add(evicted - self._counted)
            self._counted = evicted
        self._tally.tell(now_ns)
        total = self._outbox.totals[GIVEN_UP]
        new, is_owed = total - self._outbox.totals[TOLD], self._outbox.owes(EVICTED)
        if new and not is_owed and self._owed_ns is not None and now_ns - self._owed_ns > LATE_NS:
            self._again_ns = now_ns
        self._owed_ns = None if not is_owed else now_ns if self._owed_ns is None else self._owed_ns
        if now_ns < self._again_ns or (not new and (is_owed or not self._is_raised(pipeline, EVICTED))):
            return
        self._again_ns = now_ns + AGAIN_NS
        why = f"{total} alerts were given up in all: more waited for the broker than [outbox] allows, or for longer"
        self._tell(pipeline, now_ns, out, EVICTED, "raised" if new else "cleared", total, why)

    def _look_at_refusals(self, pipeline: Pipeline, now_ns: int, out: list[Outgoing]) -> None:
        refusals, denied = self._outbox.refusals, self._outbox.denied
        if not refusals and not self._outbox.is_tried:
            return
        named = [f"{topic} ({why or 'no reason given'})" for topic, why in islice(refusals.items(), NAMED)]
        more = [f"and {len(refusals) - NAMED} more"] if len(refusals) > NAMED else []
        why = f"the broker refuses alerts on {', '.join([*named, *more])}" if refusals else ""
        self._tell_change(pipeline, now_ns, out, "outbox.denied", denied, why, "the broker takes alerts again")

    def _is_raised(self, pipeline: Pipeline, name: str) -> bool:
        """In this run or an earlier one, and not cleared."""
        return self._outbox.said.get(pipeline.name, {}).get(name) == "raised"

    def _tell_change(self, pipeline: Pipeline, now_ns: int, out: list[Outgoing], name: str, value: int, why: str, over: str) -> None:
        """Raised while there is a reason; what is over is told once the operator has heard of its beginning."""
        is_on = bool(why)
        if is_on != self._is_raised(pipeline, name) and (is_on or not self._outbox.owes(name)):
            self._tell(pipeline, now_ns, out, name, "raised" if is_on else "cleared", value, why or over)

    def _tell(
        self, pipeline: Pipeline, now_ns: int, out: list[Outgoing], name: str, state: Literal["raised", "cleared"], value: int, why: str
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
            detail=why,
        )
        self._outbox.said.note(alert)
        out.append(decisions.outputs.alert(alert, 0.0, decisions.wall_offset_ns))


def _severity(state: Literal["raised", "cleared"]) -> Severity:
    return "critical" if state == "raised" else "info"
