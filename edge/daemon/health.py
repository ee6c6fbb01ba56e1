"""How the daemon is: links, lines, clock, sources, helpers, recording, each with a state and since when; and whether it makes progress.

Looked at in every tick by the loop itself. What changed is told at once: a retained message, the service manager's status line, the log,
and for silent streams alerts where the file asks for them. The watchdog is fed while input is read as it comes, or none comes.
"""

import logging
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec

from edge.daemon.health_file import HealthFile
from edge.daemon.lines import STUCK_NS, LineWatches
from edge.daemon.sources import Source, Sources, SourceTerms
from edge.messages import Alert, Cause, Outgoing, Severity
from edge.pipeline.recipe import Pipeline

_log = logging.getLogger(__name__)

STEP_NS = 100_000_000  # the wall clock was set by more than this
STEP_SHOWN_NS = 60_000_000_000
UNSET_NS = 1_577_836_800_000_000_000  # 2020: a wall clock before it was not set yet
_LINE = "serial."  # begins the names of lines among the parts
_STREAM = "stream "  # and those of streams
MODE = "mode"  # the part that is the whole: at work, or in safe mode
_AGAIN_NS = 200_000_000  # from one message to the next
_LOG_AGAIN_NS = 60_000_000_000


class HealthTerms(msgspec.Struct, frozen=True):
    """Where and what is told.

    Args:
        topic, alert_topic: of the health message, of alerts about silence.
        severity: of those alerts.
        sources: what is expected of each stream.
        said: what alerts said last, in this run or an earlier one, by device and name.
        every_s: period of the status, and of the file while nothing changes.
    """

    topic: str = ""
    alert_topic: str = ""
    severity: Severity = "warning"
    sources: tuple[SourceTerms, ...] = ()
    said: dict[str, dict[str, str]] = {}
    every_s: float = 1.0


class Link(Protocol):
    """What is looked at of a link."""

    is_up: bool
    fault: str
    state: str
    connects: int

    @property
    def heard_ns(self) -> int:
        """CLOCK_MONOTONIC of the last read."""

    @property
    def unread(self) -> int:
        """Bytes that came and were not read."""


Helper = Callable[[int], tuple[str, str, str] | None]  # now to name, state and what it is at; None: there is none


class Health:
    """The health of one daemon.

    Args:
        link: to the broker.
        now_ns: CLOCK_MONOTONIC.
        file: where the message is kept on this machine, too.
    """

    def __init__(self, link: Link, now_ns: int, file: HealthFile | None = None) -> None:
        self.link, self._file = link, file
        self.helpers: list[Helper] = []
        self._lines: LineWatches | None = None
        self._terms = HealthTerms()
        self._pipeline: Pipeline | None = None
        self._sources: Sources | None = None
        self._states: dict[str, tuple[str, int, str]] = {}  # part to state, since, in words
        self._alone_ns, self._offset_ns = now_ns, 0  # until when the broker had never been reached
        self._stepped_ns, self._step_ns = 0, 0
        self._waits_ns = self._heard_ns = 0
        self._next_ns = self._next_line_ns = 0
        self._changes, self._told = 1, 0  # how often something changed, so far and when the message was last sent
        self._connects = self._made = 0
        self._logged: dict[str, int] = {}

    def watch(self, pipeline: Pipeline, terms: HealthTerms, now_ns: int) -> None:
        """A pipeline begins its work, the first one or another after a reload."""
        self._pipeline, self._terms = pipeline, terms
        self._sources = Sources(pipeline, terms.sources, now_ns)
        self._offset_ns = self._offset_ns or pipeline.decisions.wall_offset_ns
        self._changes += 1

    def watch_lines(self, lines: LineWatches) -> None:
        """Serial lines begin their work; those that are no longer among them are forgotten."""
        self._lines = lines
        parts = {watch.part for watch in lines.watches}
        self._states = {part: told for part, told in self._states.items() if part in parts or not part.startswith(_LINE)}
        self._changes += 1

    def look(self, now_ns: int) -> list[Outgoing]:
        """Bring everything up to date; call in every tick. What must be sent: alerts, and the health message when it changed."""
        pipeline, sources = self._pipeline, self._sources
        if pipeline is None or sources is None:
            return []
        out: list[Outgoing] = []
        self._look_at_link(now_ns)
        for watch in self._lines.watches if self._lines is not None else ():
            self._set(watch.part, *watch.look(now_ns), now_ns)
        self._look_at_clock(pipeline, now_ns)
        changed = sources.look(now_ns)
        for source in changed:
            self._changes += 1
            self._say(f"{_STREAM}{source.terms.name}", source.state, "" if source.is_heard else "nothing came yet", now_ns)
        self._alarm(pipeline, sources, now_ns, out)
        words = f"{sources.old} samples too old" if sources.old else ""
        self._set("flood", "flood" if sources.old else "ok", words, now_ns)
        self._set("devices", "silent" if sources.silent_count else "ok", f"{sources.silent_count}" if sources.silent_count else "", now_ns)
        for helper in self.helpers:
            if (found := helper(now_ns)) is not None:
                self._set(found[0], found[1], found[2], now_ns)
        if self.link.connects != self._connects:
            self._connects = self.link.connects
            self._changes += 1
        if self._changes != self._told and self.link.is_up and self._terms.topic and now_ns >= self._next_ns:
            self._told, self._next_ns = self._changes, now_ns + _AGAIN_NS
            out.append(self._message(now_ns))
        file, every_s = self._file, self._terms.every_s
        if file is not None and file.is_due(self._changes, every_s, now_ns):
            file.write(self.report(now_ns), self._changes, every_s, now_ns)
        return out

    def last_words(self, now_ns: int) -> list[Outgoing]:
        """The end: what stays with the broker says that nobody is there, and nothing stays here."""
        if self._file is not None:
            self._file.remove()
        return [self._message(now_ns, state="stopped")] if self._terms.topic else []

    def _message(self, now_ns: int, **instead: str) -> Outgoing:
        return Outgoing("report", self._terms.topic, msgspec.json.encode(self.report(now_ns) | instead))

    def report(self, now_ns: int) -> dict[str, Any]:
        """All states with since when, as plain data; times are Unix time in ns."""
        pipeline, sources, offset = self._pipeline, self._sources, self._offset_ns
        parts = {
            name: {"state": state, "since_ns": since + offset} | ({"why": words} if words else {})
            for name, (state, since, words) in self._states.items()
        }
        link, clock, devices, flood, mode = (parts.pop(name, {}) for name in ("link", "clock", "devices", "flood", MODE))
        lines = {name.removeprefix(_LINE): parts.pop(name) for name in list(parts) if name.startswith(_LINE)}
        link |= {"connects": self.link.connects, "text": self.link.state}
        if sources is not None and sources.silent_devices:
            devices["names"] = {name: at + offset for name, at in sources.silent_devices.items()}
        return {
            "v": 1,
            "name": pipeline.name if pipeline is not None else "",
            "boot_id": pipeline.decisions.terms.boot_id if pipeline is not None else "",
            "at_ns": now_ns + offset,
            "state": "safe mode" if mode.get("state") == "safe" else "degraded" if self.problems(now_ns) else "ok",
            "mode": mode,
            "link": link,
            "serial": {name: entry | {"text": entry.pop("why", "")} for name, entry in lines.items()},
            "clock": clock,
            "streams": sources.report(offset) if sources is not None else {},
            "devices": devices,
            "flood": flood,
            "helpers": parts,
        }

    def problems(self, now_ns: int) -> list[str]:
        """What is not well, one line each, the most important first."""
        found = [
            f"{'safe mode' if name == MODE else f'{name} {state}'}{f' ({words})' if words else ''} for {(now_ns - since) / 1e9:.0f} s"
            for name, (state, since, words) in sorted(self._states.items(), key=lambda one: one[0] != MODE)
            if state not in ("ok", "up", "recording", "starting")
        ]
        sources = self._sources.sources.items() if self._sources is not None else ()
        return found + [f"{name} {one.state} for {(now_ns - one.since_ns) / 1e9:.0f} s" for name, one in sources if one.state != "ok"]

    def line(self, now_ns: int) -> str | None:
        """One line for the service manager, once a second."""
        if now_ns < self._next_line_ns:
            return None
        self._next_line_ns = now_ns + 1_000_000_000
        return "; ".join([self.link.state, *(text for text in self.problems(now_ns) if not text.startswith("link "))])[:500]

    def is_working(self, now_ns: int) -> bool:
        """Whether frames advance or none wait: only then may the watchdog be fed. The loop that calls this is alive by that.

        A source that sends nothing is no reason to stop feeding; bytes that came and are not read are one, from the broker or on a line.
        """
        are_lines_read = self._lines is None or self._lines.are_read(now_ns)
        return self._is_link_read(now_ns) and are_lines_read

    def _is_link_read(self, now_ns: int) -> bool:
        link = self.link
        if link.heard_ns != self._heard_ns or not link.unread:
            self._heard_ns, self._waits_ns = link.heard_ns, 0
            return True
        self._waits_ns = self._waits_ns or now_ns
        return now_ns - self._waits_ns < STUCK_NS

    # -- the parts -----------------------------------------------------------------------------------------------------------

    def _look_at_link(self, now_ns: int) -> None:
        link = self.link
        if not link.connects:
            self._alone_ns = now_ns
        state = "up" if link.is_up else link.fault or "dialling"
        self._set("link", state, "", now_ns)

    def _look_at_clock(self, pipeline: Pipeline, now_ns: int) -> None:
        offset = pipeline.decisions.wall_offset_ns
        step = offset - self._offset_ns
        if self._offset_ns and abs(step) > STEP_NS:
            self._stepped_ns, self._step_ns = now_ns, step
            self._states.pop("clock", None)
        self._offset_ns = offset
        if now_ns + offset < UNSET_NS:
            self._set("clock", "unset", "before 2020", now_ns)
        elif self._stepped_ns and now_ns - self._stepped_ns < STEP_SHOWN_NS:
            self._set("clock", "stepped", f"by {self._step_ns / 1e9:+.3f} s", now_ns)
        else:
            self._set("clock", "ok", "", now_ns)

    def _set(self, part: str, state: str, words: str, now_ns: int) -> None:
        before = self._states.get(part)
        if before is not None and before[0] == state:
            if before[2] != words:
                self._states[part] = (state, before[1], words)
            return
        self._states[part] = (state, now_ns, words)
        self._changes += 1
        self._say(part, state, words, now_ns)

    def _say(self, part: str, state: str, words: str, now_ns: int) -> None:
        """Log a change; links and serial lines log their own."""
        if part == "link" or part.startswith(_LINE) or (state in ("ok", "recording", "starting") and part not in self._logged):
            return
        if state not in ("ok", "recording") and now_ns < self._logged.get(part, 0):
            return
        is_good = state in ("ok", "recording")
        if is_good:
            self._logged.pop(part, None)
        else:
            self._logged[part] = now_ns + _LOG_AGAIN_NS
        about = {"stream": part.removeprefix(_STREAM)} if part.startswith(_STREAM) else None
        (_log.info if is_good else _log.warning)("%s: %s%s", part, state, f" ({words})" if words else "", extra=about)

    # -- alerts --------------------------------------------------------------------------------------------------------------

    def _alarm(self, pipeline: Pipeline, sources: Sources, now_ns: int, out: list[Outgoing]) -> None:
        """Alerts of streams whose silence is one: raised once it is sure, also of a stream that never spoke; cleared when it speaks.

        Nobody who speaks through the broker can be heard before that was reached: its silence begins then.
        What an earlier run raised is not raised again, and is cleared.
        """
        said = self._terms.said.setdefault(pipeline.name, {})
        for source in sources.sources.values():
            name, limit = f"silent.{source.terms.name}", source.limit_ns
            if not source.terms.has_alert or limit is None:
                continue
            began_ns = source.since_ns if source.terms.is_serial else max(source.since_ns, self._alone_ns)
            is_silent = source.state == "silent" and (source.is_heard or now_ns - began_ns > limit)
            if is_silent and said.get(name) != "raised":
                said[name] = "raised"
                out.append(self._alert(pipeline, source, "raised", now_ns))
            elif source.state != "silent" and said.get(name) == "raised":
                said[name] = "cleared"
                out.append(self._alert(pipeline, source, "cleared", now_ns))

    def _alert(self, pipeline: Pipeline, source: Source, state: Literal["raised", "cleared"], now_ns: int) -> Outgoing:
        self._made += 1
        decisions, name = pipeline.decisions, f"silent.{source.terms.name}"
        silent_s = (now_ns - source.since_ns) / 1e9 if state == "raised" else 0.0
        alert = Alert(
            id=f"{decisions.terms.boot_id}-h{self._made}",
            device=pipeline.name,
            boot_id=decisions.terms.boot_id,
            seq=self._made,
            issued_ns=now_ns,
            name=name,
            state=state,
            severity=self._terms.severity if state == "raised" else "info",
            value=silent_s,
            cause=Cause(name, silent_s),
            stamp_ns=now_ns + decisions.wall_offset_ns,
            topic=self._terms.alert_topic,
            detail=f"nothing came on stream {source.terms.name}" if state == "raised" else f"stream {source.terms.name} speaks again",
        )
        return decisions.outputs.alert(alert, 0.0, decisions.wall_offset_ns)
