"""Boards on serial lines, in the reactor. Owns the lines.

Whatever comes in is a message on ``serial/NAME/STREAM``. A command for ``serial/NAME/ACTUATOR`` leaves on that line, is acknowledged by
the board, and never goes to the broker.
"""

import logging
import selectors
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edge.messages import Command, Outgoing, RawMessage
from edge.transport.fit import Fit, Wanted
from firmware_bridge.address import parse
from firmware_bridge.commands import Outcome
from firmware_bridge.errors import LinkError
from firmware_bridge.foreign import Foreign, reader_of
from firmware_bridge.link import Port
from firmware_bridge.messages import Status
from firmware_bridge.topics import Topics

_log = logging.getLogger(__name__)

PREFIX = "serial"


class SerialLine(msgspec.Struct, frozen=True):
    """One line: its address, the file with the key for signing or None, and what the pipeline file expects of its board."""

    url: str
    key_file: str | None = None
    wanted: Wanted = Wanted()


class Board:
    """One line in the reactor."""

    def __init__(self, name: str, line: SerialLine, on_message: Callable[[RawMessage], None]) -> None:
        self.topics = Topics(f"{PREFIX}/{name}")
        self.port = Port(line.url, None if line.key_file is None else Path(line.key_file))
        self.outcomes: dict[str, int] = {}
        self.fit = Fit(name, self.topics.base, line.wanted)
        self._name, self._on_message = name, on_message
        protocol = parse(line.url).protocol
        self._reader: Foreign | None = None if protocol == "edge" else reader_of(protocol)

    def on_ready(self, selector: selectors.BaseSelector, mask: int) -> None:
        """The selector says that the line can be read or written."""
        now_ns = time.monotonic_ns()
        if mask & selectors.EVENT_READ:
            self._read_foreign(self._reader, now_ns) if self._reader is not None else self._read(now_ns)
        self.poll(selector, now_ns)

    def _read(self, now_ns: int) -> None:
        for received in self.port.read(now_ns // 1000):
            self._meet()
            for topic, payload in self.topics.payloads(received):
                if self.fit.refuses(topic):
                    continue
                now_ns += 1  # messages read together are a nanosecond apart, and so have an order
                self._on_message(RawMessage(topic, payload, now_ns))

    def _read_foreign(self, reader: Foreign, now_ns: int) -> None:
        data = self.port.line.read(now_ns // 1000)
        for stream, payload in reader.feed(data) if data else ():
            now_ns += 1
            self._on_message(RawMessage(f"{self.topics.base}/{stream}", payload, now_ns))

    def _meet(self) -> None:
        session = self.port.session
        try:
            if self.topics.follow(session.hello):
                _log.info("serial.%s: the board %s is there, boot %d", self._name, self.topics.schema.name, session.boots)
        except LinkError as fault:
            _log.error("serial.%s: %s", self._name, fault)
        self.fit.meet(self.topics.schema)

    def poll(self, selector: selectors.BaseSelector, now_ns: int) -> None:
        """Open, answer, repeat, whatever is due."""
        on_ready = partial(self.on_ready, selector)
        if self._reader is None:
            self.port.poll(selector, on_ready, now_ns // 1000)
            self._meet()  # or find that it is gone
        else:
            self.port.line.open(now_ns // 1000)
            self.port.watch(selector, on_ready)

    def bars(self, topic: str) -> str:
        """Why no command on this topic can ever be for the board that is there; empty when one can."""
        if self._reader is None:
            return self.fit.bars(topic)
        self._count("no_actuator", f"{topic}: a line of this protocol takes none")
        return "no_actuator"

    def send(self, outgoing: Outgoing) -> bool:
        """Send a command; false when the board is not there, does not know the actuator, allows less, or does not keep up."""
        actuator = self.topics.actuator(outgoing.topic)
        message = outgoing.message
        if self._reader is not None or actuator is None or not isinstance(message, Command) or self.port.line.backlog:
            return False
        if not actuator.low <= message.value <= actuator.high:
            self._count("range", f"{actuator.name} = {message.value:g} is not from {actuator.low:g} to {actuator.high:g}")
            return False
        now_ns = time.monotonic_ns()
        ttl_us = (message.expires_ns - now_ns) // 1000
        return self.port.session.command(actuator.number, message.value, ttl_us, now_ns // 1000, self._on_outcome) is not None

    def _on_outcome(self, outcome: Outcome) -> None:
        word = "no_ack" if outcome.status is None else outcome.status.name.lower()
        self._count(word, "" if outcome.status == Status.OK else word)

    def _count(self, word: str, fault: str) -> None:
        self.outcomes[word] = self.outcomes.get(word, 0) + 1
        if fault and self.outcomes[word] == 1:
            _log.warning("serial.%s: a command was not obeyed: %s; further ones are counted", self._name, fault)

    def report(self, now_ns: int) -> dict[str, object]:
        """For status."""
        report = self.port.report(now_ns // 1000)
        if self._reader is not None:
            state = "open" if self.port.line.is_open else f"closed: {self.port.line.last_error}"
            line: dict[str, object] = {key: report[key] for key in ("opens", "read_bytes", "line_errors") if key in report}
            return {"state": state, **line, **self._reader.counts()}
        scans = {"finished": self.topics.scans.finished, "dropped": self.topics.scans.dropped, "refused": self.topics.scans.refused}
        return {**report, "commands": self.outcomes, "scans": scans, "unknown_streams": self.topics.unknown}


class Boards:
    """All lines of a plan.

    Args:
        lines: by name.
        on_message: takes what came.
        selector: of the reactor.
    """

    def __init__(self, lines: Mapping[str, SerialLine], on_message: Callable[[RawMessage], None], selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._boards = {name: Board(name, line, on_message) for name, line in lines.items()}

    def poll(self, now_ns: int) -> None:
        """Call at every tick."""
        for board in self._boards.values():
            board.poll(self._selector, now_ns)

    def board_of(self, topic: str) -> Board | None:
        """The board that a topic belongs to; None: the broker's."""
        levels = topic.split("/")
        return self._boards.get(levels[1]) if len(levels) == 3 and levels[0] == PREFIX else None

    def refused(self) -> dict[str, int]:
        """Blocks of streams that do not fit the file, by the file's stream."""
        total: dict[str, int] = {}
        for board in self._boards.values():
            for key, n in board.fit.refused.items():
                total[key] = total.get(key, 0) + n
        return total

    def report(self, now_ns: int) -> dict[str, Any]:
        """For status, by name."""
        return {name: board.report(now_ns) for name, board in self._boards.items()}

    def close(self) -> None:
        """For good."""
        for board in self._boards.values():
            board.port.close()
