"""What a run looks like from outside: every row, ack, log line and command that passed the board's end of the line, by the board's clock.

Taps the wire before faults touch what the board says, and listens on the board's bench port where it has one. Judges nothing.
"""

import threading
import time
from dataclasses import dataclass, field

import numpy as np

from firmware_bridge import messages
from firmware_bridge.hil.frames import Frame, Reader
from firmware_bridge.hil.timeline import Timeline
from firmware_bridge.hil.wire import TO_BOARD, TO_HOST

Row = tuple[float, ...]


@dataclass
class Recording:
    """All times are microseconds of the run (see `Timeline`)."""

    timeline: Timeline = field(default_factory=Timeline)
    hello: messages.Hello | None = None
    streams: dict[int, tuple[str, float, list[str], list[str]]] = field(default_factory=dict)  # name, rate, channels, units
    parameters: dict[str, int] = field(default_factory=dict)
    actuators: dict[str, int] = field(default_factory=dict)
    rows: dict[str, list[tuple[int, Row]]] = field(default_factory=dict)
    acks: list[tuple[int, messages.CommandAck]] = field(default_factory=list)
    answers: list[tuple[int, messages.ParameterValue]] = field(default_factory=list)
    logged: list[tuple[int, str]] = field(default_factory=list)
    commands: list[tuple[int, Frame]] = field(default_factory=list)
    blocks: dict[int, list[int]] = field(default_factory=dict)  # numbers of motor blocks by boot
    host_seq: int = 0
    state: int | None = None  # of the last heartbeat, which every board sends

    def __post_init__(self) -> None:
        """One lock for the threads that listen, a reader for each direction."""
        self.lock = threading.Condition()
        self._readers = {TO_HOST: Reader(), TO_BOARD: Reader(), "bench": Reader()}
        self.has_bench = False
        self._sent: dict[str, set[bytes]] = {TO_HOST: set(), TO_BOARD: set()}
        self._arrived = {TO_HOST: bytearray(), TO_BOARD: bytearray()}
        self._is_stale = False

    def tap(self, direction: str, data: bytes, host_ns: int) -> None:
        """Bytes passed: `to_host`, `to_board`, or `bench` (from the board's bench port)."""
        frames = self._readers[direction].feed(data)
        with self.lock:
            if direction in self._sent:
                self._sent[direction].update(frame.raw for frame in frames)
            for frame in frames:
                if direction == TO_BOARD:
                    self._host_said(frame, host_ns)
                else:
                    self._board_said(frame, direction, host_ns // 1000)
            self.lock.notify_all()

    def see_arrival(self, direction: str, data: bytes) -> None:
        """Bytes that came out of the wire."""
        if self.timeline.boots:
            self._arrived[direction] += data

    def arrivals(self, direction: str) -> tuple[int, int, int]:
        """Frames that were sent, good ones that arrived, and of these, ones that nobody had sent."""
        with self.lock:
            sent, found = set(self._sent[direction]), Reader().feed(bytes(self._arrived[direction]))
        return len(sent), len(found), sum(frame.raw not in sent for frame in found)

    def now_us(self) -> int:
        """The run's time."""
        with self.lock:
            return self.timeline.of_host(time.monotonic_ns() // 1000)

    def _host_said(self, frame: Frame, host_ns: int) -> None:
        self.host_seq = frame.seq
        if isinstance(frame.message, messages.Command) and self.timeline.boots:
            self.commands.append((self.timeline.of_host(host_ns // 1000), frame))

    def _board_said(self, frame: Frame, port: str, host_us: int) -> None:
        message = frame.message
        if isinstance(message, messages.Hello):
            self._meet(message)
        if isinstance(message, messages.Hello | messages.Heartbeat):
            self.timeline.begin(message.boot_id, frame.stamp_us, host_us)
            self.state = message.state if isinstance(message, messages.Heartbeat) else self.state
        if not self.timeline.boots:
            return
        at = self.timeline.place(frame.stamp_us)
        if not isinstance(message, messages.Telemetry):  # a block's stamp is of its first row
            if self._is_stale:
                self.timeline.forget_offset(host_us, frame.stamp_us)
                self._is_stale = False
            self.timeline.hear(frame.stamp_us, host_us)
        if isinstance(message, messages.Telemetry):
            self._keep_rows(frame.stream, at, message, port)
        elif isinstance(message, messages.CommandAck) and port == TO_HOST:
            self.acks.append((at, message))
        elif isinstance(message, messages.ParameterValue):
            self.answers.append((at, message))
        elif isinstance(message, messages.Log) and (port == "bench") == self.has_bench:
            self.logged.append((at, message.text))

    def _keep_rows(self, stream: int, at: int, block: messages.Telemetry, port: str) -> None:
        known = self.streams.get(stream)
        if known is None or len(known[2]) != block.channels:
            return
        name = known[0]
        if name == "board" and (port == "bench") != self.has_bench:
            return
        if name != "board":
            self.blocks.setdefault(len(self.timeline.boots), []).append(block.number)
        values = np.frombuffer(block.data, "<f4").reshape(block.rows, block.channels).tolist()
        kept = self.rows.setdefault(name, [])
        for i, row in enumerate(values):
            kept.append((at + i * block.period_ns // 1000, tuple(row)))

    def _meet(self, hello: messages.Hello) -> None:
        self.hello = hello
        for line in hello.text.split(";"):
            kind, rest = line[:1], line[1:].split()
            if kind == "T" and len(rest) == 4:
                pairs = [pair.split("=", 1) for pair in rest[3].split(",")]
                self.streams[int(rest[0])] = (rest[1], float(rest[2]), [pair[0] for pair in pairs], [pair[-1] for pair in pairs])
            elif kind == "A" and len(rest) >= 2:
                self.actuators[rest[1]] = int(rest[0])
            elif kind == "P" and len(rest) >= 2:
                self.parameters[rest[1]] = int(rest[0])

    def series(self, channel: str) -> tuple[list[int], list[float], str]:
        """Times, values and unit of ``stream.channel``.

        Raises:
            KeyError: the board has no such channel.
        """
        stream, _, name = channel.partition(".")
        for known, _, channels, units in self.streams.values():
            if known == stream and name in channels:
                column = channels.index(name)
                with self.lock:
                    rows = list(self.rows.get(stream, ()))
                return [at for at, _ in rows], [row[column] for _, row in rows], units[column]
        raise KeyError(f"the board has no channel {channel}; it has {', '.join(self.channels())}")

    def column(self, channel: str) -> int:
        """Where a channel stands in the rows of its stream."""
        stream, _, name = channel.partition(".")
        return next(names.index(name) for known, _, names, _ in self.streams.values() if known == stream)

    def channels(self) -> list[str]:
        """All, as ``stream.channel``."""
        return [f"{known}.{name}" for known, _, names, _ in self.streams.values() for name in names]

    def loops_ms(self, after_us: int = 0, before_us: int = 1 << 62) -> list[float]:
        """Sensor edge to actuator edge, by the board's clock, one value for each edge that was answered."""
        with self.lock:  # of the same rows
            times, counts, _ = self.series("board.loops")
            _, spans, _ = self.series("board.loop_ms")
        found, last = [], 0.0
        for at, count, span in zip(times, counts, spans, strict=True):
            if count != last and count > 0 and after_us <= at <= before_us:
                found.append(span)
            last = count
        return found

    def lost_share(self) -> float:
        """Share of the board's telemetry blocks that never left it, by their numbers, 0 to 1."""
        missing = sent = 0
        with self.lock:
            for numbers in self.blocks.values():
                if numbers:
                    sent += numbers[-1] - numbers[0] + 1
                    missing += numbers[-1] - numbers[0] + 1 - len(set(numbers))
        return missing / sent if sent else 0.0

    def longest_tick_ms(self, after_us: int) -> float:
        """Longest time between two ticks of the board, by its own clock; 1 on a machine that has time for it."""
        times, spans, _ = self.series("board.tick_ms")
        return max((span for at, span in zip(times, spans, strict=True) if at >= after_us), default=0.0)

    def outlived_ms(self, actuator: str, after_us: int) -> float:
        """How long the board went on after the deadline of the last command that it obeyed; by its own clock, 0 when it did not.

        Args:
            actuator: with a channel ``board.<actuator>``; 0 is what it falls back to.
            after_us: when commands ended.

        Raises:
            KeyError: there was no such command, or the actuator never fell back.
        """
        number = self.actuators[actuator]
        obeyed = {(ack.session, ack.number) for _, ack in self.acks if ack.status == messages.Status.OK}
        found = [frame.message for _, frame in self.commands if isinstance(frame.message, messages.Command)]
        deadlines = [c.deadline_us for c in found if c.actuator == number and c.value > 0 and (c.session, c.number) in obeyed]
        times, values, _ = self.series(f"board.{actuator}")
        fell = next((at for at, value in zip(times, values, strict=True) if at >= after_us and value == 0), None)
        if fell is None or not deadlines:
            raise KeyError(f"{actuator} never fell back" if deadlines else f"no command for {actuator} was obeyed")
        return max(0.0, (fell - self.timeline.place(max(deadlines))) / 1000)

    def board_clock_us(self) -> int:
        """The board's own clock now, as well as the host can tell."""
        with self.lock:
            boot = self.timeline.boots[-1]
            return time.monotonic_ns() // 1000 - boot.offset_us

    def await_fresh(self, timeout_s: float = 5.0) -> None:
        """The board goes on after a pause: its clock is looked at anew with the next frame."""
        with self.lock:
            self._is_stale = True
            self.lock.wait_for(lambda: not self._is_stale, timeout_s)
