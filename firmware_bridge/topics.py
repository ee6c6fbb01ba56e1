"""What a board sends as topics and MessagePack (docs/wire.md), and back. Owns the names: ``PREFIX/BOARD/STREAM``.

The daemon's transport and the gateway share it, so a pipeline sees no difference between a board on its own line and one behind MQTT.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgpack

from firmware_bridge import schema
from firmware_bridge.errors import LinkError
from firmware_bridge.messages import Fault, Hello, Log, ScanChunk, Telemetry
from firmware_bridge.scans import Reassembly

if TYPE_CHECKING:  # its kernels are compiled code, which a check of names does without
    from firmware_bridge.session import Received

_LEVELS = ("debug", "info", "warning", "error")


class Topics:
    """Of one board.

    Args:
        base: ``serial/board1``.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.schema = schema.parse("")
        self.unknown = 0  # telemetry and scans that no schema or a wrong one describes
        self.scans = Reassembly()
        self._hello: Hello | None = None
        self._pack = msgpack.Packer().pack

    def follow(self, hello: Hello | None) -> bool:
        """Keep up with what a session knows of its board; true when that is another one now, or another boot of it.

        Raises:
            LinkError: its schema is none; nothing of it is used then.
        """
        if hello is self._hello:
            return False
        known, self._hello = self._hello, hello
        if hello is None:
            self.forget()
            return False
        if known is not None and (known.boot_id, known.text) == (hello.boot_id, hello.text):
            return False
        self.learn(hello)
        return True

    def learn(self, hello: Hello) -> None:
        """Take over the schema of a board that begins anew: its scans are numbered from the start.

        Raises:
            LinkError: it is none.
        """
        self.forget()
        self.schema = schema.parse(hello.text)

    def forget(self) -> None:
        """The board is gone: no actuator is there to be commanded, no scan will become whole. Counters stay."""
        self.schema = schema.parse("")
        self.scans.forget()

    def actuator(self, topic: str) -> schema.Actuator | None:
        """The actuator that a command topic belongs to."""
        base, _, name = topic.rpartition("/")
        return self.schema.actuators.get(name) if base == self.base else None

    def payloads(self, received: "Received") -> Iterator[tuple[str, bytes]]:
        """Topic and payload of a message; nothing for those that are the session's own."""
        message = received.message
        if isinstance(message, Telemetry):
            yield from self._telemetry(message, received)
        elif isinstance(message, ScanChunk):
            yield from self._scan(message, received)
        elif isinstance(message, Log):
            level = _LEVELS[min(message.level, len(_LEVELS) - 1)]
            yield f"{self.base}/log", json.dumps({"t": received.stamp_us * 1000, "level": level, "text": message.text}).encode()
        elif isinstance(message, Fault):
            fault = {"code": message.code, "severity": message.severity, "count": message.count, "text": message.text}
            yield f"{self.base}/fault", json.dumps({"t": received.stamp_us * 1000, **fault}).encode()

    def _telemetry(self, block: Telemetry, received: "Received") -> Iterator[tuple[str, bytes]]:
        stream = self.schema.telemetry.get(received.stream)
        if stream is None or block.encoding or block.channels != len(stream.channels):
            self.unknown += 1
        elif block.rows and len(block.data) == 4 * block.rows * block.channels:
            message = {"v": 1, "seq": block.number, "t": received.stamp_us * 1000, "dt": block.period_ns or 1, "x": block.data}
            yield f"{self.base}/{stream.name}", self._pack(message)
        else:
            self.unknown += 1

    def _scan(self, chunk: ScanChunk, received: "Received") -> Iterator[tuple[str, bytes]]:
        stream = self.schema.scans.get(received.stream)
        if stream is None or chunk.columns != len(stream.channels):
            self.unknown += 1
            return
        whole = self.scans.add(chunk, received.stream, received.stamp_us)
        if whole is not None:
            n = len(whole.points) // (4 * whole.columns)
            message = {"v": 1, "seq": whole.number, "t": whole.stamp_us * 1000, "n": n, "fields": list(stream.channels), "x": whole.points}
            yield f"{self.base}/{stream.name}", self._pack(message)


def base_of(prefix: str, name: str) -> str:
    """First levels of a board's topics.

    Raises:
        LinkError: the name cannot be a level.
    """
    if not name or set(name) & set("/+#\0"):
        raise LinkError(f"{name!r} cannot be a level of a topic; choose a name without '/', '+' and '#'")
    return f"{prefix}/{name}"
