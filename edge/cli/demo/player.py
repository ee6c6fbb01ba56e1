"""Plays a recording as its devices would send it: ``python -m edge.cli.demo.player RECORDING PORT``.

One plain MQTT client per device topic, in real time, over and over. ``seq`` and ``t`` are rewritten so that they keep
increasing from one round to the next and so that ``t`` is the time of sending; the samples are untouched. It connects,
prints ``ready``, starts at the first line on stdin and stops at the end of stdin or at SIGTERM.
"""

import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge.messages import RawMessage

HOST = "127.0.0.1"


class Sample(msgspec.Struct, frozen=True):
    """One message of a recording, opened.

    Args:
        offset_ns: time since the recording's first message.
        topic: where it goes.
        fields: the decoded payload, or the payload itself when it is not a MessagePack map.
    """

    offset_ns: int
    topic: str
    fields: dict[str, Any] | bytes


class Origin(msgspec.Struct):
    """Of one topic: where its stamps and counters begin, and how far one round counts."""

    offset_ns: int
    t: int
    seq: int
    last_seq: int
    count: int = 0


class Tape:
    """A recording that can be played for ever.

    Args:
        messages: in the order of the recording; at least one.
    """

    def __init__(self, messages: Iterable[RawMessage]) -> None:
        raws = list(messages)
        if not raws:
            raise ValueError("the recording is empty")
        first_ns = raws[0].received_ns
        self.samples = [Sample(raw.received_ns - first_ns, raw.topic, _open(raw.payload)) for raw in raws]
        self._origins: dict[str, Origin] = {}
        for sample in self.samples:
            self._learn(sample)
        last = self.samples[-1]
        pauses = max(self._origins[last.topic].count - 1, 1)
        self.round_ns = last.offset_ns + (last.offset_ns - self._origins[last.topic].offset_ns) // pauses

    @property
    def topics(self) -> list[str]:
        """Every topic, in order of first appearance."""
        return list(self._origins)

    def play(self, start_ns: int) -> Iterator[tuple[int, str, bytes]]:
        """Endless (time since the start in ns, topic, payload).

        Args:
            start_ns: Unix time of the start, for the stamps.
        """
        turn = 0
        while True:
            for sample in self.samples:
                yield turn * self.round_ns + sample.offset_ns, sample.topic, self._payload(sample, turn, start_ns)
            turn += 1

    def _learn(self, sample: Sample) -> None:
        fields = sample.fields if isinstance(sample.fields, dict) else {}
        origin = self._origins.get(sample.topic)
        if origin is None:
            origin = Origin(sample.offset_ns, fields.get("t", 0), fields.get("seq", 0), 0)
            self._origins[sample.topic] = origin
        origin.last_seq = fields.get("seq", 0)
        origin.count += 1

    def _payload(self, sample: Sample, turn: int, start_ns: int) -> bytes:
        if isinstance(sample.fields, bytes):
            return sample.fields
        origin = self._origins[sample.topic]
        changed = dict(sample.fields)
        if "seq" in changed:
            changed["seq"] += turn * (origin.last_seq - origin.seq + 1) - origin.seq
        if "t" in changed:
            changed["t"] += start_ns + origin.offset_ns + turn * self.round_ns - origin.t
        return msgspec.msgpack.encode(changed)


def _open(payload: bytes) -> dict[str, Any] | bytes:
    try:
        fields = msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return payload
    return fields if isinstance(fields, dict) else payload


def _connect(topic: str, port: int) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"demo-{topic.replace('/', '-')}", protocol=mqtt.MQTTv311)
    client.on_socket_open = _send_at_once
    client.connect(HOST, port)
    client.loop_start()
    return client


def _send_at_once(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def play(tape: Tape, port: int) -> None:
    """Connects, waits for the word, plays until it is told to stop.

    Args:
        tape: what to play.
        port: the broker's TCP port on 127.0.0.1.
    """
    devices = {topic: _connect(topic, port) for topic in tape.topics}
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.readline():
        start_s = time.monotonic()
        for due_ns, topic, payload in tape.play(time.time_ns()):
            wait_s = max(start_s + due_ns / 1e9 - time.monotonic(), 0.0)
            if select.select([sys.stdin], [], [], wait_s)[0]:
                break
            devices[topic].publish(topic, payload)
    for device in devices.values():
        device.disconnect()
        device.loop_stop()


def main(recording: Path, port: int) -> None:
    """Plays a recording to the broker on 127.0.0.1.

    Args:
        recording: MCAP file.
        port: the broker's TCP port.
    """
    from edge.store.recording import read

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    play(Tape(read(recording)), port)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
