"""The messages of the serial protocol as Python values. Made by ``python -m firmware_bridge.protocol --write``; do not edit."""

from enum import IntEnum
from struct import Struct, error
from typing import ClassVar

import msgspec


class Status(IntEnum):
    """What became of a command or a parameter."""

    OK = 0  # obeyed
    EXPIRED = 1  # came after its deadline
    TOO_FAR = 2  # deadline further ahead than the board allows
    OLD = 3  # a newer command came before it
    WRONG_BOOT = 4  # meant for the board before its reset
    UNKNOWN = 5  # no such actuator or parameter
    RANGE = 6  # value not finite or outside the allowed range
    REFUSED = 7  # the board's state forbids it


class State(IntEnum):
    """Of a board, or of a host."""

    STARTING = 0
    RUNNING = 1
    SAFE = 2
    FAULT = 3


class HelloRequest(msgspec.Struct, frozen=True, gc=False):
    """Who is there? Starts a session: the board forgets the host's frame counter.

    Args:
        session: random number of the host's process; numbers its commands, makes the answer fresh.
    """

    session: int

    CODE: ClassVar[int] = 0x01
    LAYOUT: ClassVar[Struct] = Struct("<Q")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.session)

    @classmethod
    def unpack(cls, payload: bytes) -> "HelloRequest":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class Hello(msgspec.Struct, frozen=True, gc=False):
    """Schema of the board: streams with rates and units, actuators, parameters.

    Args:
        boot_id: another one after every reset, random when commands are signed.
        session: of the request that this answers, or 0.
        counter: newest counter taken from a signed frame of the host in this boot.
        max_payload: bytes, largest payload the board takes.
        firmware: version of the firmware, major * 256 + minor.
        text: to the payload's end.
    """

    boot_id: int
    session: int
    counter: int
    max_payload: int
    firmware: int
    text: str

    CODE: ClassVar[int] = 0x02
    LAYOUT: ClassVar[Struct] = Struct("<QQIHH")

    def pack(self) -> bytes:
        """To payload bytes."""
        numbers = self.LAYOUT.pack(self.boot_id, self.session, self.counter, self.max_payload, self.firmware)
        return numbers + self.text.encode("utf-8", "replace")

    @classmethod
    def unpack(cls, payload: bytes) -> "Hello":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*(*cls.LAYOUT.unpack_from(payload), payload[24:].decode("utf-8", "replace")))


class Heartbeat(msgspec.Struct, frozen=True, gc=False):
    """I live. A board whose host is silent goes to its safe state by itself.

    Args:
        boot_id: the board's; the host repeats it.
        received: frames that came in, good or bad.
        refused: of them, not used.
        lost: frames of the peer that never came, by their counter.
        state: 0 starting, 1 running, 2 safe, 3 fault.
        load: percent, or 255.
    """

    boot_id: int
    received: int
    refused: int
    lost: int
    state: int
    load: int

    CODE: ClassVar[int] = 0x03
    LAYOUT: ClassVar[Struct] = Struct("<QIIIBB")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.boot_id, self.received, self.refused, self.lost, self.state, self.load)

    @classmethod
    def unpack(cls, payload: bytes) -> "Heartbeat":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class TimeRequest(msgspec.Struct, frozen=True, gc=False):
    """What time is it? Deadlines of commands are by the board's clock.

    Args:
        host_us: host's clock when this was sent.
    """

    host_us: int

    CODE: ClassVar[int] = 0x04
    LAYOUT: ClassVar[Struct] = Struct("<Q")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.host_us)

    @classmethod
    def unpack(cls, payload: bytes) -> "TimeRequest":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class TimeResponse(msgspec.Struct, frozen=True, gc=False):
    """The board's clock, with the time that the answer took.

    Args:
        host_us: of the request.
        received_us: board's clock when the request came.
        sent_us: board's clock when this was sent.
    """

    host_us: int
    received_us: int
    sent_us: int

    CODE: ClassVar[int] = 0x05
    LAYOUT: ClassVar[Struct] = Struct("<QQQ")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.host_us, self.received_us, self.sent_us)

    @classmethod
    def unpack(cls, payload: bytes) -> "TimeResponse":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class Telemetry(msgspec.Struct, frozen=True, gc=False):
    """n samples of C channels.

    Args:
        number: counts the blocks of the stream, wraps.
        period_ns: between two rows.
        rows: n >= 1.
        channels: C >= 1.
        encoding: 0: little-endian float32, row by row.
        data: to the payload's end.
    """

    number: int
    period_ns: int
    rows: int
    channels: int
    encoding: int
    data: bytes

    CODE: ClassVar[int] = 0x10
    LAYOUT: ClassVar[Struct] = Struct("<IIHBB")

    def pack(self) -> bytes:
        """To payload bytes."""
        numbers = self.LAYOUT.pack(self.number, self.period_ns, self.rows, self.channels, self.encoding)
        return numbers + self.data

    @classmethod
    def unpack(cls, payload: bytes) -> "Telemetry":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*(*cls.LAYOUT.unpack_from(payload), payload[12:]))


class ScanChunk(msgspec.Struct, frozen=True, gc=False):
    """Part of a scan. Chunks may come in any order; a scan with a missing one is dropped when a newer scan starts.

    Args:
        number: counts the scans of the stream, wraps.
        points: of the whole scan.
        first: index of the first point in this chunk.
        columns: values a point.
        encoding: 0: little-endian float32, point by point.
        data: to the payload's end.
    """

    number: int
    points: int
    first: int
    columns: int
    encoding: int
    data: bytes

    CODE: ClassVar[int] = 0x11
    LAYOUT: ClassVar[Struct] = Struct("<IIIBB")

    def pack(self) -> bytes:
        """To payload bytes."""
        numbers = self.LAYOUT.pack(self.number, self.points, self.first, self.columns, self.encoding)
        return numbers + self.data

    @classmethod
    def unpack(cls, payload: bytes) -> "ScanChunk":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*(*cls.LAYOUT.unpack_from(payload), payload[14:]))


class Command(msgspec.Struct, frozen=True, gc=False):
    """Set an actuator, until the deadline.

    Args:
        deadline_us: board's clock; never obeyed after it.
        boot: low 32 bits of the board's boot id: no command outlives a reset.
        session: low 32 bits of the host's session.
        number: counts the commands of the session; a repeated one is acknowledged again, not obeyed again.
        value: in the actuator's unit.
        actuator: which.
        mode: 0.
    """

    deadline_us: int
    boot: int
    session: int
    number: int
    value: float
    actuator: int
    mode: int

    CODE: ClassVar[int] = 0x20
    LAYOUT: ClassVar[Struct] = Struct("<QIIIfHH")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.deadline_us, self.boot, self.session, self.number, self.value, self.actuator, self.mode)

    @classmethod
    def unpack(cls, payload: bytes) -> "Command":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class CommandAck(msgspec.Struct, frozen=True, gc=False):
    """What became of a command.

    Args:
        session: of the command.
        number: of the command.
        left_us: time that was left when it came.
        value: what was set.
        actuator: which.
        status: see the table of statuses.
        repeats: times that this command came again.
    """

    session: int
    number: int
    left_us: int
    value: float
    actuator: int
    status: int
    repeats: int

    CODE: ClassVar[int] = 0x21
    LAYOUT: ClassVar[Struct] = Struct("<IIIfHBB")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.session, self.number, self.left_us, self.value, self.actuator, self.status, self.repeats)

    @classmethod
    def unpack(cls, payload: bytes) -> "CommandAck":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class ParameterGet(msgspec.Struct, frozen=True, gc=False):
    """Read a parameter.

    Args:
        request: comes back in the answer.
        parameter: which.
    """

    request: int
    parameter: int

    CODE: ClassVar[int] = 0x30
    LAYOUT: ClassVar[Struct] = Struct("<HH")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.request, self.parameter)

    @classmethod
    def unpack(cls, payload: bytes) -> "ParameterGet":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class ParameterSet(msgspec.Struct, frozen=True, gc=False):
    """Write a parameter.

    Args:
        request: comes back in the answer.
        parameter: which.
        value: new value.
    """

    request: int
    parameter: int
    value: float

    CODE: ClassVar[int] = 0x31
    LAYOUT: ClassVar[Struct] = Struct("<HHf")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.request, self.parameter, self.value)

    @classmethod
    def unpack(cls, payload: bytes) -> "ParameterSet":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class ParameterValue(msgspec.Struct, frozen=True, gc=False):
    """Answer to both.

    Args:
        request: of the request.
        parameter: which.
        value: now in force.
        status: as in command_ack.
    """

    request: int
    parameter: int
    value: float
    status: int

    CODE: ClassVar[int] = 0x32
    LAYOUT: ClassVar[Struct] = Struct("<HHfB")

    def pack(self) -> bytes:
        """To payload bytes."""
        return self.LAYOUT.pack(self.request, self.parameter, self.value, self.status)

    @classmethod
    def unpack(cls, payload: bytes) -> "ParameterValue":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*cls.LAYOUT.unpack(payload))


class Log(msgspec.Struct, frozen=True, gc=False):
    """A line of the board's log.

    Args:
        level: 0 debug, 1 info, 2 warning, 3 error.
        text: to the payload's end.
    """

    level: int
    text: str

    CODE: ClassVar[int] = 0x40
    LAYOUT: ClassVar[Struct] = Struct("<B")

    def pack(self) -> bytes:
        """To payload bytes."""
        numbers = self.LAYOUT.pack(self.level)
        return numbers + self.text.encode("utf-8", "replace")

    @classmethod
    def unpack(cls, payload: bytes) -> "Log":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*(*cls.LAYOUT.unpack_from(payload), payload[1:].decode("utf-8", "replace")))


class Fault(msgspec.Struct, frozen=True, gc=False):
    """Something is wrong on the board.

    Args:
        count: times since boot.
        code: the board's own number.
        severity: 0 info, 1 warning, 2 critical.
        text: to the payload's end.
    """

    count: int
    code: int
    severity: int
    text: str

    CODE: ClassVar[int] = 0x41
    LAYOUT: ClassVar[Struct] = Struct("<IHB")

    def pack(self) -> bytes:
        """To payload bytes."""
        numbers = self.LAYOUT.pack(self.count, self.code, self.severity)
        return numbers + self.text.encode("utf-8", "replace")

    @classmethod
    def unpack(cls, payload: bytes) -> "Fault":
        """From payload bytes; ``struct.error`` otherwise."""
        return cls(*(*cls.LAYOUT.unpack_from(payload), payload[7:].decode("utf-8", "replace")))


Message = (
    HelloRequest
    | Hello
    | Heartbeat
    | TimeRequest
    | TimeResponse
    | Telemetry
    | ScanChunk
    | Command
    | CommandAck
    | ParameterGet
    | ParameterSet
    | ParameterValue
    | Log
    | Fault
)

TYPES: dict[int, type[Message]] = {
    0x01: HelloRequest,
    0x02: Hello,
    0x03: Heartbeat,
    0x04: TimeRequest,
    0x05: TimeResponse,
    0x10: Telemetry,
    0x11: ScanChunk,
    0x20: Command,
    0x21: CommandAck,
    0x30: ParameterGet,
    0x31: ParameterSet,
    0x32: ParameterValue,
    0x40: Log,
    0x41: Fault,
}
SIGNED = frozenset((0x02, 0x03, 0x05, 0x20, 0x21, 0x31, 0x32))
FROM_HOST = frozenset((0x01, 0x03, 0x04, 0x20, 0x30, 0x31))
FROM_BOARD = frozenset((0x02, 0x03, 0x05, 0x10, 0x11, 0x21, 0x32, 0x40, 0x41))


def decode(code: int, payload: bytes) -> Message:
    """Payload to message; ValueError when it is none."""
    kind = TYPES.get(code)
    if kind is None:
        raise ValueError(f"no message has type 0x{code:02x}")
    try:
        return kind.unpack(payload)
    except error as fault:
        raise ValueError(f"{len(payload)} bytes are no {kind.__name__}: {fault}") from None
