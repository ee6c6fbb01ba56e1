"""The socket that paho sees: a read buffer that takes QoS 0 PUBLISH packets out of the stream and leaves the rest to paho.

paho reads a packet in three small ``recv`` calls and handles a publish in 20 us; here a packet costs 1 us (see
docs/adr/0002-qos0-fast-lane.md). It also gives what paho does not have: a size limit that holds before memory is spent, and one
ordered write buffer with a bound.
"""

import select
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress

from edge.errors import TransportError
from edge.transport.unacked import Unacked

READ_BYTES = 65_536
WRITE_BYTES = 1_048_576  # waiting to be written; more means that the peer does not read
PREFIXES = 65_536  # topics whose encoding is remembered
DISCONNECT = b"\xe0\x00"  # normal, in every version
_PUBLISH_QOS0 = 0x30
_RETAIN = 0x01
_ACKS = {1: 0x40, 2: 0x50}  # PUBACK, PUBREC
_PUBLISH_TYPE = 0xF0
_TYPE_AND_QOS = 0xF6
_TOPIC_LIMIT = 65_535 + 2


class PacketSocket:
    """A connected, non-blocking socket with MQTT packets on it.

    Args:
        sock: TCP or TLS, connected.
        max_packet: largest packet in bytes; a larger PUBLISH is skipped unread, anything else larger ends the connection.
        is_v5: MQTT 5 (packets carry properties).
        on_publish: called with topic, payload and the retain flag of each QoS 0 PUBLISH.
        on_oversized: called with the topic of each skipped PUBLISH.
        on_control: called when bytes for paho are ready.
    """

    def __init__(
        self,
        sock: socket.socket,
        max_packet: int,
        *,
        is_v5: bool,
        on_publish: Callable[[str, bytes, bool], None],
        on_oversized: Callable[[str], None],
        on_control: Callable[[], None],
    ) -> None:
        self.is_open = True
        self._sock = sock
        self._max_packet = max_packet
        self._is_v5 = is_v5
        self._on_publish, self._on_oversized, self._on_control = on_publish, on_oversized, on_control
        self._buffer = bytearray(max(max_packet, _TOPIC_LIMIT) + READ_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0  # valid bytes of the buffer
        self._skip = 0  # bytes of an oversized packet still to come
        self._control = bytearray()  # whole packets for paho
        self._out: list[bytes] = []
        self.backlog = 0  # bytes in _out
        self.unacked = Unacked(sock)
        self.is_stalled = False  # the kernel did not take everything at the last flush

    # -- paho's side ---------------------------------------------------------------------------------------------------------

    def recv(self, size: int) -> bytes:
        """Bytes of control packets; BlockingIOError when there are none."""
        if not self._control:
            raise BlockingIOError
        data = bytes(self._control[:size])
        del self._control[:size]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Queue a packet of paho's behind what waits already, and write what the kernel takes."""
        if self.backlog > WRITE_BYTES:
            raise BlockingIOError
        self.queue(bytes(data))
        self.flush()
        return len(data)

    def fileno(self) -> int:
        """Of the real socket."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """Does nothing: the socket is non-blocking from the start."""

    def close(self) -> None:
        """Close the real socket."""
        self.is_open = False
        self._sock.close()

    # -- our side ------------------------------------------------------------------------------------------------------------

    def queue(self, *parts: bytes) -> None:
        """Append to the write buffer; ``flush`` writes."""
        self._out += parts
        self.backlog += sum(map(len, parts))

    def flush(self) -> bool:
        """Write what the kernel takes; true when nothing waits any longer.

        Raises:
            OSError: the connection is gone.
        """
        while self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            try:
                sent = self._sock.send(data)
                self.unacked.wrote(sent)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                sent = 0
            self.backlog = len(data) - sent
            self._out = [data[sent:]] if self.backlog else []
            if not sent:
                self.is_stalled = True
                return False
        self.is_stalled = False
        return True

    def send_now(self, packet: bytes) -> bool:
        """Write what waits and then a packet, or nothing of the packet: one that waited here would leave when the peer reads again.

        A packet of which the kernel took a part is finished by ``flush``: it cannot be taken back.

        Returns:
            False when none of it left.

        Raises:
            OSError: the connection is gone.
        """
        if not self.flush():
            return False
        if isinstance(self._sock, ssl.SSLSocket) and not select.select((), (self._sock,), (), 0)[1]:
            return False  # a record that was encrypted must be sent
        self.queue(packet)
        if self.flush() or self.backlog < len(packet):
            return True
        self._out, self.backlog = [], 0
        return False

    def finish(self, within_s: float) -> None:
        """Write what waits, end our side, and read theirs to its end; what comes is thrown away.

        To close with input unread is a reset, and the peer may lose with it what it did not read yet.
        """
        end_s = time.monotonic() + within_s
        is_ended = False
        with suppress(OSError, ValueError), selectors.DefaultSelector() as selector:  # it is going away either way
            selector.register(self._sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while self.is_open and (left_s := end_s - time.monotonic()) > 0:
                if not is_ended and self.flush():
                    self._sock.shutdown(socket.SHUT_WR)
                    is_ended = True
                    selector.modify(self._sock, selectors.EVENT_READ)
                selector.select(left_s)
                with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if not self._sock.recv(READ_BYTES):
                        return

    def read(self) -> None:
        """Read once and hand out every complete packet.

        Raises:
            OSError: the connection is gone.
            TransportError: what came is not MQTT, or a packet that is no PUBLISH is too large.
        """
        while self.is_open:
            try:
                n = self._sock.recv_into(self._view[self._end :])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not n:
                raise ConnectionResetError("closed by the broker")
            self._end += n
            self._parse()
            # TLS may hold decrypted bytes that no selector reports.
            if not (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()):
                return

    def _parse(self) -> None:
        if self._skip:
            step = min(self._skip, self._end - self._start)
            self._skip -= step
            self._start += step
        while self.is_open and (packet := self._next_packet()) is not None:
            first, body, end = packet
            start, self._start = self._start, end  # before the call: a packet that makes the owner fail is not met again
            if first & _TYPE_AND_QOS == _PUBLISH_QOS0:
                self._publish(first, body, end)
            else:
                self._control += self._view[start:end]
                self._on_control()
        self._compact()

    def _next_packet(self) -> tuple[int, int, int] | None:
        """First byte, start of the body and end of the packet at the buffer's start, when it is complete."""
        buffer, start, available = self._buffer, self._start, self._end
        if available - start < 2:
            return None
        length = buffer[start + 1]
        body = start + 2
        if length & 0x80:
            length &= 0x7F
            shift = 7
            while True:
                if body == available:
                    return None
                byte = buffer[body]
                body += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
                if shift > 21:
                    raise TransportError("the broker sent a packet length of more than four bytes")
        if length > self._max_packet:
            return self._next_packet() if self._skipped_oversized(buffer[start], body, length) else None
        end = body + length
        return (buffer[start], body, end) if end <= available else None

    def _skipped_oversized(self, first: int, body: int, length: int) -> bool:
        """Pass over a packet; false while its topic and number are not complete, or while more of it is to come."""
        qos = first >> 1 & 3
        if first & _PUBLISH_TYPE != _PUBLISH_QOS0 or qos not in (0, *_ACKS):
            raise TransportError(f"the broker sent a control packet of {length} bytes")
        available = self._end - body
        topic_end = body + 2 + (int.from_bytes(self._view[body : body + 2], "big") if available >= 2 else _TOPIC_LIMIT)
        number_end = topic_end + 2 if qos else topic_end
        if self._end < number_end:
            return False
        if number_end > body + length:
            raise TransportError("the broker sent a PUBLISH whose lengths do not add up")
        self._on_oversized(_topic(self._view[body + 2 : topic_end]))
        if qos:  # unacknowledged, it would hold one of the broker's places in flight for ever; after 20 the broker is silent
            self.queue(bytes((_ACKS[qos], 2)) + self._view[topic_end:number_end])
        self._skip = length - available if length > available else 0
        self._start = min(body + length, self._end)
        return not self._skip

    def _publish(self, first: int, body: int, end: int) -> None:
        buffer = self._buffer
        topic_end = body + 2 + (buffer[body] << 8 | buffer[body + 1]) if end - body >= 2 else end + 1
        payload = topic_end
        if self._is_v5 and topic_end < end:
            properties = buffer[topic_end]
            payload = topic_end + 1
            shift = 7
            while buffer[payload - 1] & 0x80 and payload < end:
                properties = properties & ((1 << shift) - 1) | (buffer[payload] & 0x7F) << shift
                shift += 7
                payload += 1
            payload += properties
        if payload > end or (self._is_v5 and topic_end >= end):
            raise TransportError("the broker sent a PUBLISH whose lengths do not add up")
        self._on_publish(_topic(self._view[body + 2 : topic_end]), bytes(self._view[payload:end]), bool(first & 1))

    def _compact(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._end < READ_BYTES // 2:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest


def _topic(raw: memoryview) -> str:
    try:
        return str(raw, "utf-8")
    except UnicodeDecodeError as fault:
        raise TransportError("the broker sent a topic that is not UTF-8") from fault


def publish_prefix(topic: str, *, is_v5: bool, expiry_s: int = 0) -> bytes:
    """Topic and properties of a QoS 0 PUBLISH: what stands between the fixed header and the payload."""
    name = topic.encode()
    prefix = struct.pack("!H", len(name)) + name
    if not is_v5:
        return prefix
    return prefix + (b"\x05\x02" + struct.pack("!I", expiry_s) if expiry_s else b"\x00")


class Prefixes:
    """The prefixes of one connection, remembered by topic.

    Args:
        is_v5: MQTT 5.
    """

    def __init__(self, *, is_v5: bool) -> None:
        self._is_v5 = is_v5
        self._known: dict[tuple[str, int], bytes] = {}

    def of(self, topic: str, expiry_s: int) -> bytes:
        """See publish_prefix."""
        prefix = self._known.get((topic, expiry_s))
        if prefix is None:
            if len(self._known) >= PREFIXES:
                self._known.clear()
            prefix = self._known[topic, expiry_s] = publish_prefix(topic, is_v5=self._is_v5, expiry_s=expiry_s)
        return prefix


def publish_header(length: int, *, is_retained: bool = False) -> bytes:
    """Fixed header of a QoS 0 PUBLISH whose prefix and payload have ``length`` bytes."""
    first = _PUBLISH_QOS0 | _RETAIN if is_retained else _PUBLISH_QOS0
    if length < 128:
        return bytes((first, length))
    header = bytearray((first,))
    while length >= 128:
        header.append(length & 0x7F | 0x80)
        length >>= 7
    header.append(length)
    return bytes(header)
