"""One link to one MQTT broker: connects, subscribes, receives, sends; comes back by itself.

paho owns the protocol through its external-loop interface, on a socket of ours (see packets.py). Every attempt gets a new paho
client, so that nothing of a dead session survives: alerts that were not acknowledged are put back by their outbox, commands and
predictions are never repeated.
"""

import logging
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho

from edge.errors import TransportError
from edge.messages import Outgoing, RawMessage
from edge.transport.client import Client
from edge.transport.dial import Dialer
from edge.transport.link import Handlers, Settings
from edge.transport.packets import DISCONNECT, WRITE_BYTES, PacketSocket, Prefixes, publish_header
from edge.transport.retry import Retry
from edge.transport.unread import unread_bytes
from edge.transport.versions import Versions

_log = logging.getLogger(__name__)

FAST_LANE_BACKLOG = 65_536  # bytes waiting beyond which predictions and status are dropped: the link does not keep up
ACK_DELAY_NS = 200_000_000  # a healthy peer may hold an acknowledgement back for so long (TCP_DELACK_MAX of Linux)
GOODBYE_S = 0.3  # a broker that reads ends the connection within one round trip
_UNSUPPORTED_PROTOCOL = "Unsupported protocol version"


class MqttTransport:
    """A link to a broker, driven by the reactor's selector and by ``poll``.

    Args:
        settings: see Settings.
        subscriptions: (topic filter, QoS).
        handlers: see Handlers.
        selector: where the socket is registered; ``data`` of each key is a callable that takes the event mask.
        wake: see Dialer.

    Attributes:
        is_up: connected and subscribed.
        state: one line for people, such as ``connected to mqtt://127.0.0.1:1883 (MQTT 5)``.
        connects: number of times the link came up.
        last_error: why it was last down, or "".
        fault: the same in one word: ``silent``, ``closed``, ``refused``, ``unreachable`` or "".
    """

    def __init__(
        self,
        settings: Settings,
        subscriptions: Sequence[tuple[str, int]],
        handlers: Handlers,
        selector: selectors.BaseSelector,
        wake: Callable[[], None],
    ) -> None:
        self.is_up = False
        self.state = f"not connected to {settings.address}"
        self.last_error = self.fault = ""
        self.connects = 0
        self._settings, self._subscriptions, self._handlers, self._selector = settings, list(subscriptions), handlers, selector
        self._dialer = Dialer(wake)
        self._versions = Versions()
        self._is_v5 = True  # of this connection
        self._client: Client | None = None
        self._socket: PacketSocket | None = None
        self._received_ns = 0
        self._deadline_ns = 0  # for CONNACK
        self._retry = Retry(settings.retry_min_s, settings.retry_max_s)
        self._prefixes = Prefixes(is_v5=True)
        self._is_closing = False
        self._watches_writes = False
        self._announced = -1  # the token of our own availability message
        self._refusal = ""  # what the broker said against this connection

    @property
    def heard_ns(self) -> int:
        """CLOCK_MONOTONIC of the last read."""
        return self._received_ns

    @property
    def unread(self) -> int:
        """Bytes that came and were not read."""
        return unread_bytes(self._socket.fileno()) if self._socket is not None else 0

    # -- receiving -----------------------------------------------------------------------------------------------------------

    def poll(self, now_ns: int) -> None:
        """Move the link along: attempts, time-outs, keepalive. Call at every tick and after a wake."""
        if self._client is None:
            self._poll_attempt(now_ns)
            return
        if not self.is_up and now_ns > self._deadline_ns:
            self._drop("no CONNACK in time", is_close=False, fault="silent")
        elif self.is_up and now_ns - self._received_ns > self._settings.keepalive_s * 1_500_000_000:
            self._drop(f"silent for {self._settings.keepalive_s * 1.5:g} s", is_close=False, fault="silent")
        else:
            self._client.loop_misc()
            try:
                self._settle()
            except OSError as fault:
                self._drop(str(fault))

    def _poll_attempt(self, now_ns: int) -> None:
        result = self._dialer.take()
        if isinstance(result, TransportError):
            self._versions.failed()
            self.fault = "unreachable"
            self._retry_later(str(result))
        elif result is not None:
            self._open(result, now_ns)
        elif not self._dialer.is_busy and now_ns >= self._retry.due_ns and not self._is_closing:
            self._dialer.start(self._settings.address)

    def _open(self, sock: Any, now_ns: int) -> None:
        settings = self._settings
        is_v5 = self._is_v5 = self._versions.is_v5
        self._socket = PacketSocket(
            sock,
            settings.max_packet,
            is_v5=is_v5,
            on_publish=self._on_publish,
            on_oversized=self._handlers.on_oversized,
            on_control=self._on_control,
        )
        client = self._client = Client(settings, self._socket, is_v5=is_v5)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_slow_message
        client.on_publish = self._on_published
        client.on_disconnect = self._on_disconnect
        self._refusal = ""
        self._received_ns = now_ns
        self._deadline_ns = now_ns + int(settings.address.timeout_s * 1e9)
        self._prefixes = Prefixes(is_v5=is_v5)
        self._watches_writes = False
        if sys.platform == "linux":  # what we write is not acknowledged although the broker goes on sending
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.keepalive_s * 1500))
        self._selector.register(self._socket, selectors.EVENT_READ, self._on_ready)
        client.connect(settings.address.host, settings.address.port, settings.keepalive_s)
        self._settle()

    def _on_ready(self, mask: int) -> None:
        if self._socket is None:
            return
        self._received_ns = max(time.monotonic_ns(), self._received_ns + 1)
        try:
            if mask & selectors.EVENT_READ:
                self._socket.read()
            self._settle()
        except (OSError, TransportError) as fault:
            self._drop(str(fault))

    def _settle(self) -> None:
        """Let paho write what it wants, and ask for writability exactly while bytes wait."""
        if self._client is not None and self._client.want_write():
            self._client.loop_write()
        self._check_client()
        if self._socket is not None:
            self._watch_writes(self._socket, is_wanted=not self._socket.flush())

    def _watch_writes(self, sock: PacketSocket, *, is_wanted: bool) -> None:
        if is_wanted != self._watches_writes:
            self._watches_writes = is_wanted
            wanted = selectors.EVENT_READ | selectors.EVENT_WRITE if is_wanted else selectors.EVENT_READ
            self._selector.modify(sock, wanted, self._on_ready)

    def _on_publish(self, topic: str, payload: bytes, is_retained: bool) -> None:
        # Messages read together are a nanosecond apart: those without a stamp of their own still have an order.
        self._received_ns += 1
        self._handlers.on_message(RawMessage(topic, payload, self._received_ns, is_retained))

    def _on_slow_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        self._on_publish(message.topic, bytes(message.payload), message.retain)

    def _on_control(self) -> None:
        if self._client is not None:
            self._client.loop_read()

    def _check_client(self) -> None:
        if self._client is not None and self._client.socket() is None:
            self._drop("closed by the broker")

    # -- coming and going ----------------------------------------------------------------------------------------------------

    def _on_connect(self, _client: paho.Client, _userdata: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            self._refusal = f"the broker refuses: {reason}"
            if str(reason) == _UNSUPPORTED_PROTOCOL:
                self._versions.refused()
            else:
                self._versions.failed()
            return
        if self._subscriptions and self._client is not None:
            self._client.subscribe_to(self._subscriptions)
        else:
            self._come_up()

    def _on_disconnect(self, _client: paho.Client, _userdata: object, flags: Any, reason: Any, _properties: object) -> None:
        if flags.is_disconnect_packet_from_server:
            self._refusal = f"the broker ends the connection: {reason}"

    def _on_subscribe(self, _client: paho.Client, _userdata: object, _mid: int, reasons: Sequence[Any], _properties: object) -> None:
        for (topic, _qos), reason in zip(self._subscriptions, reasons, strict=False):
            if reason.is_failure:
                _log.error("the broker denies the subscription to %s: %s", topic, reason)
        self._come_up()

    def _come_up(self) -> None:
        version = "5" if self._is_v5 else "3.1.1"
        self.is_up = True
        self.connects += 1
        self.last_error = self.fault = ""
        self.state = f"connected to {self._settings.address} (MQTT {version})"
        self._retry.came_up(time.monotonic_ns())
        _log.info("%s", self.state)
        if self._client is not None and self._settings.availability_topic:
            self._announced = self._client.publish(self._settings.availability_topic, "online", qos=1, retain=True).mid
        self._handlers.on_up()

    def _drop(self, reason: str, *, is_close: bool = True, fault: str = "closed") -> None:
        """Let go of the connection, whatever state it is in, and plan the next attempt."""
        sock, was_up = self._socket, self.is_up
        self.fault = "refused" if self._refusal else fault
        self._socket = self._client = None
        self.is_up = False
        if sock is not None:
            self._selector.unregister(sock) if sock in self._selector.get_map() else None
            sock.close()
        if was_up:
            self._versions.lost()
            self._retry.lost(time.monotonic_ns())
        elif is_close and not self._refusal:
            self._versions.closed()
        self._retry_later(self._refusal or reason)
        if was_up:
            self._handlers.on_down()

    def _retry_later(self, reason: str) -> None:
        self._retry.later(time.monotonic_ns())
        self.state = f"not connected to {self._settings.address}: {reason}"
        if reason != self.last_error and not self._is_closing:
            _log.warning("%s; trying again, at most every %g s", self.state, self._settings.retry_max_s)
        self.last_error = reason

    # -- sending -------------------------------------------------------------------------------------------------------------

    def send(self, outgoing: Outgoing) -> bool:
        """Queue a QoS 0 message; ``flush`` hands it to the socket. A command is handed over at once, behind what waits.

        Returns:
            False when it cannot leave now: the link is down or does not keep up. A command is taken only when nothing waits
            before it, because what waits gets old; and when the broker's side acknowledged what was written a life of the command ago.
        """
        sock = self._socket
        if sock is None or not self.is_up:
            return False
        is_command = outgoing.kind == "command"
        if sock.is_stalled and not is_command and sock.backlog > FAST_LANE_BACKLOG:
            return False
        if is_command and sock.unacked.age_ns(time.monotonic_ns()) > max(outgoing.ttl_ns, ACK_DELAY_NS):
            return False
        prefix = self._prefixes.of(outgoing.topic, -(-outgoing.ttl_ns // 1_000_000_000))
        payload = outgoing.payload
        header = publish_header(len(prefix) + len(payload), is_retained=outgoing.kind == "report")
        if is_command:
            return self._send_now(sock, header + prefix + payload)
        sock.queue(header, prefix, payload)
        return True

    def _send_now(self, sock: PacketSocket, packet: bytes) -> bool:
        try:
            is_sent = sock.send_now(packet)
            self._watch_writes(sock, is_wanted=sock.backlog > 0)
        except OSError as fault:
            self._drop(str(fault))
            return False
        return is_sent

    def send_acked(self, outgoing: Outgoing) -> int | None:
        """Send with QoS 1; the token comes back through ``on_acked``. None when the link is down."""
        if self._client is None or not self.is_up or (self._socket is not None and self._socket.backlog > WRITE_BYTES // 2):
            return None
        return self._client.publish(outgoing.topic, outgoing.payload, qos=1).mid

    def _on_published(self, _client: paho.Client, _userdata: object, mid: int, reason: Any, _properties: object) -> None:
        if mid == self._announced:
            self._announced = -1  # 65,535 messages later an alert has the same token
            return
        if reason.is_failure:  # PUBACK says no: nobody will ever get it
            self._handlers.on_refused(mid, str(reason))
        else:
            self._handlers.on_acked(mid)

    def flush(self) -> None:
        """Hand what was queued to the socket."""
        sock = self._socket
        if sock is not None and sock.backlog:
            try:
                self._watch_writes(sock, is_wanted=not sock.flush())
            except OSError as fault:
                self._drop(str(fault))

    def close(self) -> None:
        """Say goodbye: no more messages, ``stopped`` to the availability topic, DISCONNECT; wait until the broker has read it.

        Takes one round trip, at most ``GOODBYE_S``. The broker publishes the last will of a client whose DISCONNECT it did not read.
        """
        self._is_closing = True
        sock = self._socket
        if self._client is not None and sock is not None and self.is_up:
            if self._subscriptions:
                self._client.unsubscribe([topic for topic, _qos in self._subscriptions])
            if topic := self._settings.availability_topic:
                # Not through paho, which holds it back while alerts are in flight, and ends the connection with its own DISCONNECT.
                prefix = self._prefixes.of(topic, 0)
                sock.queue(publish_header(len(prefix) + 7, is_retained=True), prefix, b"stopped")
            sock.queue(DISCONNECT)
            sock.finish(GOODBYE_S)
        if self._socket is not None:
            self._drop("stopped")
