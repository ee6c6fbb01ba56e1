"""Check of the broker: whether it can be reached as the pipeline would, how fast it answers, and whether it holds small messages back."""

import secrets
import selectors
import time
from collections.abc import Callable

import msgspec

from edge.cli.doctor.finding import FAIL, OK, WARN, Finding, Subject
from edge.config.link import link_settings
from edge.config.types import Broker
from edge.errors import EdgeError
from edge.messages import Outgoing, RawMessage
from edge.transport.link import Handlers, Settings
from edge.transport.mqtt import MqttTransport

CONNECT_S = 6.0
PINGS, STREAM, PERIOD_NS = 100, 400, 1_000_000
_MAX_PACKET = 65_536
# A broker that lets Nagle's algorithm hold a message until the one before is acknowledged: a stream of one a millisecond takes several
# times as long as single messages do, which find nothing unacknowledged in front of them.
HELD_RATIO, HELD_US = 3.0, 400.0


def check_broker(subject: Subject) -> list[Finding]:
    """Reach it, and send small messages to ourselves."""
    broker, name = (subject.config.broker, subject.config.name) if subject.config is not None else (Broker(), "doctor")
    try:
        settings = link_settings(broker, name, _MAX_PACKET)
    except EdgeError as fault:
        return [Finding("broker", FAIL, str(fault), "the daemon refuses to start", "mend the file that [broker] names")]
    echo = Echo()
    topic = f"edge/{name}/doctor/{secrets.token_hex(4)}"
    link = MqttTransport(settings_of_probe(settings), [(topic, 0)], Handlers(echo.hear), echo.selector, lambda: None)
    try:
        if not echo.run(link, lambda: link.is_up, CONNECT_S):
            meaning = "no frame arrives; alerts wait in the outbox, commands are not sent"
            mend = "start it, or set broker.url; for TLS and passwords see docs/running.md"
            state = FAIL if subject.config is not None else WARN
            return [Finding("broker", state, link.last_error or link.state, meaning, mend)]
        return [Finding("broker", OK, link.state), _latency(echo, link, topic)]
    finally:
        link.close()
        echo.selector.close()


def _latency(echo: "Echo", link: MqttTransport, topic: str) -> Finding:
    alone: list[float] = []
    while len(alone) < PINGS and (took_us := echo.round_trip_us(link, topic)) is not None:  # the first that is lost is enough
        alone.append(took_us)
    stream = echo.stream_us(link, topic) if len(alone) == PINGS else []
    if not stream:
        meaning, mend = "nothing comes back on a topic of its own", f"let this user publish and subscribe to edge/+/doctor/# ({topic})"
        return Finding("broker latency", WARN, "cannot be measured", meaning, mend)
    alone_us = sorted(alone)
    median, p99 = alone_us[len(alone_us) // 2], alone_us[int(len(alone_us) * 0.99)]
    flowing = sorted(stream)[len(stream) // 2]
    found = f"single messages {median:.0f} us there and back (p99 {p99:.0f}), one a millisecond {flowing:.0f} us"
    measured = {"single_us": round(median, 1), "single_p99_us": round(p99, 1), "stream_us": round(flowing, 1)}
    if flowing < max(HELD_RATIO * median, HELD_US):
        return Finding("broker latency", OK, found, measured=measured)
    meaning = "the broker holds small messages back until the one before is acknowledged (Nagle's algorithm): fast streams arrive late"
    return Finding("broker latency", WARN, found, meaning, "mosquitto.conf: `set_tcp_nodelay true`; other brokers: TCP_NODELAY", measured)


def settings_of_probe(settings: Settings) -> Settings:
    """The same link without a last will: the daemon's availability is not ours to tell."""
    return msgspec.structs.replace(settings, availability_topic="", client_id=f"edge-doctor-{secrets.token_hex(4)}")


class Echo:
    """A loop of its own around a link, and what came back over it."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._sent_ns: dict[bytes, int] = {}
        self._took_us: list[float] = []

    def hear(self, raw: RawMessage) -> None:
        """A message came back."""
        sent_ns = self._sent_ns.pop(raw.payload, 0)
        if sent_ns:
            self._took_us.append((raw.received_ns - sent_ns) / 1000)

    def run(self, link: MqttTransport, is_done: Callable[[], bool], seconds: float) -> bool:
        """Drive the link until something holds; false when it does not in time."""
        end_ns = time.monotonic_ns() + int(seconds * 1e9)
        while not is_done():
            now_ns = time.monotonic_ns()
            if now_ns >= end_ns:
                return False
            link.poll(now_ns)
            for key, mask in self.selector.select(min((end_ns - now_ns) * 1e-9, 0.02)):
                key.data(mask)
        return True

    def round_trip_us(self, link: MqttTransport, topic: str) -> float | None:
        """How long one message takes that is alone on the wire; None when it does not come back."""
        self._took_us.clear()
        self._send(link, topic, 0)
        return self._took_us[0] if self.run(link, lambda: bool(self._took_us), 2.0) else None

    def stream_us(self, link: MqttTransport, topic: str) -> list[float]:
        """How long messages take of which one is sent every millisecond."""
        self._took_us.clear()
        due_ns = time.monotonic_ns()
        for number in range(1, STREAM + 1):
            self._send(link, topic, number)
            due_ns += PERIOD_NS
            while (left_ns := due_ns - time.monotonic_ns()) > 0:
                for key, mask in self.selector.select(left_ns * 1e-9):
                    key.data(mask)
        self.run(link, lambda: len(self._took_us) == STREAM, 2.0)
        return list(self._took_us)

    def _send(self, link: MqttTransport, topic: str, number: int) -> None:
        payload = number.to_bytes(4, "big") + secrets.token_bytes(12)
        self._sent_ns[payload] = time.monotonic_ns()
        link.send(Outgoing("status", topic, payload))
        link.flush()
