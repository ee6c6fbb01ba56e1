"""A broker that is not one: accepts, answers as far as it is told to, and then sends whatever bytes it was given."""

import contextlib
import socket
import struct
import threading
import time

CONNACK = b"\x20\x03\x00\x00\x00"


def remaining(n):
    """MQTT's variable length."""
    out = bytearray()
    while True:
        n, low = divmod(n, 128)
        out.append(low | (128 if n else 0))
        if not n:
            return bytes(out)


def publish(topic, payload=b"", *, announced=None):
    """A QoS 0 PUBLISH of MQTT 5, or the beginning of a larger one."""
    name = topic if isinstance(topic, bytes) else topic.encode()
    body = struct.pack("!H", len(name)) + name + b"\x00" + payload
    return b"\x30" + remaining(announced or len(body)) + body


class Stub:
    """Listens on a free port of loopback.

    Args:
        vectors: the n-th connection gets the n-th, an iterable of bytes, once it is subscribed; later ones nothing. None: no CONNACK.
        suback: reason of every subscription.

    Attributes:
        connections: accepted so far.
        served: how many vectors were sent to their end, or as far as the other side took them.
        ended: how many connections the other side ended.
    """

    def __init__(self, vectors=(), suback=0):
        self._vectors, self._suback = vectors, suback
        self.connections = self.served = self.ended = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = self._listener.getsockname()[1]
        self._stopping = False
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def close(self):
        self._stopping = True
        self._thread.join(10)
        self._listener.close()

    def _accept(self):
        threads = []
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                connection, _ = self._listener.accept()
                threads.append(threading.Thread(target=self._serve, args=(connection, self.connections)))
                self.connections += 1
                threads[-1].start()
        for thread in threads:
            thread.join(5)

    def _serve(self, connection, n):
        connection.settimeout(0.1)
        with connection, contextlib.suppress(OSError):
            if self._vectors is not None:
                self._answer(connection, b"\x10", lambda _: CONNACK)
                self._answer(connection, b"\x82", lambda packet: b"\x90\x04" + packet[2:4] + b"\x00" + bytes((self._suback,)))
                with contextlib.suppress(OSError):
                    for part in self._vectors[n] if n < len(self._vectors) else ():
                        self._send(connection, part)
                self.served += n < len(self._vectors)
            while self._receive(connection):
                pass
        self.ended += 1

    def _answer(self, connection, kind, reply):
        packet = self._receive(connection)
        while packet and packet[:1] != kind:
            packet = self._receive(connection)
        connection.sendall(reply(packet))

    def _send(self, connection, part):
        view = memoryview(part)
        while view and not self._stopping:
            with contextlib.suppress(TimeoutError):
                view = view[connection.send(view) :]

    def _receive(self, connection):
        while not self._stopping:
            with contextlib.suppress(TimeoutError):
                return connection.recv(65536)
        return b""


def attempts_per_s(stub, seconds):
    """How often somebody tries."""
    before, began = stub.connections, time.monotonic()
    time.sleep(seconds)
    return (stub.connections - before) / (time.monotonic() - began)
