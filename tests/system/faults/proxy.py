"""A hand on a TCP connection: holds, cuts, thins and replays what passes between the daemon and its broker."""

import contextlib
import selectors
import socket
import struct
import threading
import time

from tests.broker import free_port

CHUNK = 65536
LONGEST_HELD = 8 << 20


class Proxy:
    """Listens on a free port of loopback and carries bytes to a port.

    Args:
        port: of the broker.

    Attributes:
        port, url: for the daemon.
        is_held: nothing passes, in either direction, and nobody is told: a cable in the air.
        bytes_per_s: in each direction; None for no limit.
        delay_s: everything is late by this.
        connections: that were accepted so far.
        to_broker, to_daemon: every byte that passed.
        is_deaf: what the daemon writes is not read; what the broker sends passes.
        passed: (number of the connection, whether to the broker, bytes), in the order in which they passed.
    """

    def __init__(self, port):
        self.port, self._broker = free_port(), port
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.is_held, self.bytes_per_s, self.delay_s, self.connections = False, None, 0.0, 0
        self.is_deaf, self.passed = False, []
        self.to_broker, self.to_daemon = bytearray(), bytearray()
        self._pairs, self._lock, self._stopping = [], threading.Lock(), False
        self.open()

    def open(self):
        """Listens (again)."""
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def lead_to(self, port):
        """Resets every connection; the next ones lead to another port."""
        self._broker = port
        self.cut()

    def narrow(self, bytes_per_s, window=4096):
        """Resets every connection; the next ones are thin, and what waits in them is small, as with a modem."""
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.bytes_per_s = bytes_per_s
        self.cut()

    def cut(self):
        """Resets every connection (RST), wherever in a packet it is."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR) if end is pair[1] else end.close()

    def close(self):
        """Nobody listens any more, until ``open``."""
        self._stopping = True
        self.is_held = self.is_deaf = False
        self._listener.close()
        self._thread.join(5)
        self.cut()

    def _accept(self):
        self._listener.settimeout(0.1)
        while not self._stopping:
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._carry, args=(near, self.connections), daemon=True).start()

    def _carry(self, near, number):
        try:
            far = socket.create_connection(("127.0.0.1", self._broker), timeout=1)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._pairs.append((near, far))
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, (far, self.to_broker, (number, True)))
            ready.register(far, selectors.EVENT_READ, (near, self.to_daemon, (number, False)))
            while not self._stopping:
                if self.is_held:
                    time.sleep(0.01)
                    continue
                for key, _ in ready.select(0.05):
                    if self.is_deaf and key.fileobj is near:
                        time.sleep(0.002)
                    elif not self._pass(key.fileobj, *key.data):
                        return
        for end in (near, far):
            end.close()

    def _pass(self, source, target, record, way):
        chunk = source.recv(CHUNK if self.bytes_per_s is None else max(1, self.bytes_per_s // 20))
        if not chunk:
            target.shutdown(socket.SHUT_WR)
            source.close()
            target.close()
            return False
        if self.delay_s:
            time.sleep(self.delay_s)
        if self.is_held:  # what was read while the hand closed waits with the rest
            while self.is_held and not self._stopping:
                time.sleep(0.01)
        target.sendall(chunk)
        if len(record) < LONGEST_HELD:
            record += chunk
            self.passed.append((*way, chunk))
        if self.bytes_per_s is not None:
            time.sleep(len(chunk) / self.bytes_per_s)
        return True
