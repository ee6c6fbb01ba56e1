"""A board on a serial line, carried to MQTT topics and back. Owns the mapping of one line to one broker; holds no pipeline.

``PREFIX/BOARD/STREAM`` as MessagePack (docs/wire.md), ``.../log`` and ``.../fault`` as JSON, commands in on ``.../ACTUATOR/set``, what
became of them on ``.../ack``, ``.../status`` once a second, ``.../availability`` retained: ``online`` while the board is there,
``no_board`` while it is not, ``stopped`` after an orderly end, ``offline`` (last will) when the gateway or its broker's link died.
"""

import json
import logging
import selectors
import signal
import threading
import time
from collections import deque
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from firmware_bridge.address import parse
from firmware_bridge.commands import Outcome
from firmware_bridge.errors import LinkError
from firmware_bridge.foreign import Foreign, reader_of
from firmware_bridge.link import Port, now_us
from firmware_bridge.topics import Topics, base_of

_log = logging.getLogger(__name__)

STATUS_US = 1_000_000
RETRY_US = 1_000_000
ALIVE_US = 3_000_000  # a receiver speaks once a second
TTL_MAX_MS = 10_000
COMMAND_BYTES = 4096
OUT_MAX = 1000  # messages that may wait for the broker; what comes beyond them is dropped and counted
_EXAMPLE = "write mqtt://127.0.0.1:1883, or mqtt://user:password@host:port"


class Gateway:
    """One line and one broker, in one thread; another one waits for a broker that does not answer.

    Args:
        url: of the line.
        broker: ``mqtt://[user:password@]host:port``; plaintext, so on this machine or in a network of your own.
        name: the board's level in topics.
        key_file: for signing, or None.
        prefix: first level of topics.

    Raises:
        LinkError: an address, a name or a key cannot be used.
    """

    def __init__(self, url: str, broker: str, name: str, key_file: Path | None = None, prefix: str = "serial") -> None:
        host, port, user, password = _broker(broker)
        self._broker = (host, port)
        self.topics = Topics(base_of(prefix, name))
        self.port = Port(url, key_file)
        protocol = parse(url).protocol
        self._reader: Foreign | None = None if protocol == "edge" else reader_of(protocol)
        self._selector = selectors.DefaultSelector()
        self._mqtt = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if user is not None:
            self._mqtt.username_pw_set(user, password)
        self._mqtt.will_set(f"{self.topics.base}/availability", "offline", qos=1, retain=True)
        self._mqtt.on_connect = self._on_connect
        self._mqtt.on_message = self._on_message
        self._mqtt_socket: Any = None
        self._dial: threading.Thread | None = None  # as long as it runs, the client is its own
        self._waiting: deque[paho.MQTTMessageInfo] = deque()  # for the broker; paho bounds only what has QoS 1 or 2
        self._said = ""  # of availability, on this connection
        self._next_mqtt_us = self._next_status_us = 0
        self._is_stopping = False
        self._flows: set[str] = set()  # streams of which something went to the broker
        self._heard_us = -ALIVE_US
        self.counts = dict.fromkeys(("published", "no_broker", "queue_full", "commands", "refused_commands", "acks"), 0)

    # -- the loop ------------------------------------------------------------------------------------------------------------

    def run(self, seconds: float | None = None) -> None:
        """Carry until ``stop``, or for so long."""
        end_s = None if seconds is None else time.monotonic() + seconds
        while not self._is_stopping and (end_s is None or time.monotonic() < end_s):
            self.step()
        self._publish("availability", b"stopped", is_retained=True)
        if self._dial is None:
            self._mqtt.disconnect()
        self.port.close()
        self._selector.close()

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End ``run``; fit for a signal handler."""
        self._is_stopping = True

    def step(self) -> None:
        """Everything that is due, then wait for either side, 10 ms at most."""
        self._poll(now_us())
        for key, mask in self._selector.select(0.01):
            if key.data == "line":
                if mask & selectors.EVENT_READ:
                    self._read()
            elif mask & selectors.EVENT_READ and self._mqtt_socket is not None:
                self._mqtt.loop_read()

    def _poll(self, at_us: int) -> None:
        if self._reader is None:
            self.port.poll(self._selector, "line", at_us)
            self._meet()  # or find that it is gone
        else:
            self.port.line.open(at_us)
            self.port.watch(self._selector, "line")
        self._poll_broker(at_us)
        self._tell_availability()
        if at_us >= self._next_status_us:
            self._next_status_us = at_us + STATUS_US
            report = {**self._line(at_us), "gateway": self.counts, "unknown_streams": self.topics.unknown}
            self._publish("status", json.dumps(report).encode())

    def _line(self, at_us: int) -> dict[str, object]:
        """For status: the board, or what a reader of another protocol understands; that one has no session that could be there or not."""
        report = self.port.report(at_us)
        if self._reader is None:
            return report
        counts = self._reader.counts()
        is_alive = at_us - self._heard_us < ALIVE_US
        if self.port.line.is_open:
            report["state"] = "open" if is_alive else "open, nothing comes" if not report["read_bytes"] else "open, nothing usable comes"
        line: dict[str, object] = {key: report[key] for key in ("state", "opens", "read_bytes", "line_errors") if key in report}
        return {**line, "is_alive": is_alive, **counts}

    def _poll_broker(self, at_us: int) -> None:
        if self._dial is not None:
            if self._dial.is_alive():
                return
            self._dial = None
            self._mqtt_socket = self._mqtt.socket()
            if self._mqtt_socket is not None:
                self._selector.register(self._mqtt_socket, selectors.EVENT_READ, "mqtt")
        if self._mqtt.socket() is None:
            self._forget_broker()
            if at_us >= self._next_mqtt_us:
                self._next_mqtt_us = at_us + RETRY_US
                self._dial = threading.Thread(target=self._connect, name="bridge-dial", daemon=True)
                self._dial.start()
            return
        if self._mqtt.want_write():
            self._mqtt.loop_write()
        self._mqtt.loop_misc()

    def _connect(self) -> None:
        """In a thread: a broker that does not answer takes 5 s, a name that is not found more, and a board misses its host sooner."""
        try:
            self._mqtt.connect(*self._broker, keepalive=15)
        except (OSError, ValueError) as fault:
            _log.warning("no broker at %s:%d: %s", *self._broker, fault)

    def _forget_broker(self) -> None:
        if self._mqtt_socket is not None and self._mqtt_socket in self._selector.get_map():
            self._selector.unregister(self._mqtt_socket)
        self._mqtt_socket = None
        self._waiting.clear()  # paho forgets them, too
        self._said = ""

    @property
    def _has_board(self) -> bool:
        return self.port.line.is_open and (self._reader is not None or self.port.session.hello is not None)

    def _tell_availability(self) -> None:
        word = "online" if self._has_board else "no_board"
        if word != self._said and self._publish("availability", word.encode(), is_retained=True):
            self._said = word

    # -- from the board ------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._reader is not None:
            data = self.port.line.read(now_us())
            for stream, payload in self._reader.feed(data) if data else ():
                self._heard_us = now_us()
                self._carry(stream, payload)
            return
        for received in self.port.read(now_us()):
            self._meet()
            for topic, payload in self.topics.payloads(received):
                self._carry(topic.rpartition("/")[2], payload)

    def _carry(self, stream: str, payload: bytes) -> None:
        if self._publish(stream, payload) and stream not in self._flows:
            self._flows.add(stream)
            _log.info("%s/%s flows", self.topics.base, stream)

    def _meet(self) -> None:
        session = self.port.session
        try:
            if self.topics.follow(session.hello):
                _log.info("the board %s is there, boot %d", self.topics.schema.name, session.boots)
        except LinkError as fault:
            _log.error("%s", fault)

    def _publish(self, name: str, payload: bytes, *, is_retained: bool = False) -> bool:
        """Hand over to the broker's link; false and counted when there is none, or too much waits for it."""
        if self._dial is not None or not self._mqtt.is_connected():
            self.counts["no_broker"] += 1
            return False
        while self._waiting and self._waiting[0].is_published():
            self._waiting.popleft()
        if len(self._waiting) >= OUT_MAX:
            self.counts["queue_full"] += 1
            return False
        info = self._mqtt.publish(f"{self.topics.base}/{name}", payload, qos=0, retain=is_retained)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            self.counts["no_broker"] += 1
            return False
        if not info.is_published():
            self._waiting.append(info)
        self.counts["published"] += 1
        return True

    # -- from the broker -----------------------------------------------------------------------------------------------------

    def _on_connect(self, _client: paho.Client, _userdata: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            _log.error("the broker refuses: %s", reason)
            return
        self._flows.clear()
        _log.info("the broker at %s:%d is reached", *self._broker)
        self._mqtt.subscribe(f"{self.topics.base}/+/set", qos=0)

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        reason = self._command(message)
        if reason:
            self.counts["refused_commands"] += 1
            self._publish("ack", json.dumps({"topic": message.topic, "status": reason}).encode())

    def _command(self, message: paho.MQTTMessage) -> str:
        """Why a command did not leave; empty when it did."""
        actuator = self.topics.actuator(message.topic.removesuffix("/set"))
        if message.retain:
            return "retained: its age is unknown"
        if actuator is None:
            return "the board has no such actuator, or is not there"
        if len(message.payload) > COMMAND_BYTES:
            return "too large"
        try:
            said = json.loads(message.payload)
            value, ttl_ms = float(said["value"]), _ttl_ms(said)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):  # an integer of 400 digits is no float
            return 'not {"value": number, "ttl_ms": number} and no command of the runtime'
        if not actuator.low <= value <= actuator.high:
            return f"value must be from {actuator.low:g} to {actuator.high:g}"
        if not 0 < ttl_ms <= TTL_MAX_MS:
            return f"ttl_ms must be above 0 and at most {TTL_MAX_MS}"
        name, wanted_id = actuator.name, said.get("id")

        def done(outcome: Outcome) -> None:
            status = "no_ack" if outcome.status is None else outcome.status.name.lower()
            ack = {"id": wanted_id, "actuator": name, "status": status, "value": outcome.value}
            _log.debug("command %s = %g: %s after %.1f ms, sent %d times", name, value, status, outcome.took_us / 1000, outcome.tries)
            self.counts["acks"] += 1
            self._publish("ack", json.dumps(ack | {"tries": outcome.tries, "took_ms": outcome.took_us / 1000}).encode())

        if self.port.session.command(actuator.number, value, int(ttl_ms * 1000), now_us(), done) is None:
            return "the board is not there, does not keep up, or answers more slowly than this ttl_ms allows"
        _log.debug("command %s = %g leaves on the line, void after %g ms", name, value, ttl_ms)
        self.counts["commands"] += 1
        return ""


def _broker(url: str) -> tuple[str, int, str | None, str | None]:
    """Host, port, user and password; LinkError when it is no address of a broker."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its words may hold the password
        raise LinkError(f"the broker's address cannot be read, perhaps for its port; {_EXAMPLE}") from None
    if parts.scheme != "mqtt" or not host or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise LinkError(f"{parts._replace(netloc=parts.netloc.rpartition('@')[2]).geturl()!r} is no broker; {_EXAMPLE}")
    if parts.username == "":
        raise LinkError(f"a broker's password needs a user; {_EXAMPLE}")
    user, password = (None if word is None else unquote(word) for word in (parts.username, parts.password))
    return host, port or 1883, user, password


def _ttl_ms(said: dict[str, Any]) -> float:
    """Of a person, or what is left of a command of the runtime by the wall clocks."""
    return float(said["ttl_ms"]) if "ttl_ms" in said else (float(said["expires_ns"]) - time.time_ns()) / 1e6


def run(url: str, broker: str, name: str, key_file: Path | None) -> int:
    """Carry until SIGTERM or SIGINT; the exit code."""
    gateway = Gateway(url, broker, name, key_file)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, gateway.stop)
    gateway.run()
    return 0
