"""A small TCP proxy on loopback that can be partitioned: the bytes of one link held, dropped or cut, while everybody else still talks."""

import select
import socket
import struct
import threading
from contextlib import suppress

CHUNK = 16_384  # bytes that wait on either side, at most; so little that a held link is felt soon
LOOK_S = 0.02  # how often orders are looked at
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


class _Pair:
    """One connection: who dialled us, and whom we dialled; None while nothing gets through to there."""

    def __init__(self, near: socket.socket, far: socket.socket | None) -> None:
        self.near, self.far = near, far
        self.to_near, self.to_far = bytearray(), bytearray()

    def sides(self) -> list[tuple[socket.socket, bytearray, bytearray]]:
        """(socket, what waits for it, where what it says goes)."""
        near = [(self.near, self.to_near, self.to_far)]
        return near if self.far is None else [*near, (self.far, self.to_far, self.to_near)]

    def cut(self) -> None:
        """Both ends get a RST."""
        for one in (self.near, self.far):
            if one is not None:
                with suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.close()


class Proxy:
    """Listens on ``port`` and passes on to ``target``.

    Attributes:
        mode: see ``turn``.
        is_shut: new connections are reset, whatever the mode: for a broker whose readers are not back yet.
    """

    def __init__(self, target: int) -> None:
        self._target, self.mode, self.is_shut = target, "pass", False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)  # inherited by what it accepts
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[_Pair] = []
        self._is_cut = self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn(self, mode: str) -> None:
        """``pass``; ``hold``: nothing is read, what was read waits; ``drop``: everything is read and lost; ``reset``: RST to everybody.

        ``hold away`` and ``drop away`` do it to what leaves the near side alone, which goes on to hear. After a ``drop`` the connections
        are cut: a stream with a hole in it is no stream.
        """
        was, self.mode = self.mode, mode
        self._is_cut |= mode == "reset" or was.startswith("drop")

    def cut(self) -> None:
        """RST to everybody, once."""
        self._is_cut = True

    def close(self) -> None:
        self._is_closed = True
        self._thread.join(5)

    def _run(self) -> None:
        while not self._is_closed:
            if self._is_cut:
                self._is_cut = False
                for pair in self._pairs:
                    pair.cut()
                self._pairs.clear()
            self._turn()
        for pair in self._pairs:
            pair.cut()
        self._listener.close()

    def _turn(self) -> None:
        wants, has = [self._listener], []
        if self.mode != "hold":
            for pair in self._pairs:
                is_deaf = self.mode == "hold away"
                wants += [one for one, _, away in pair.sides() if len(away) < CHUNK and not (is_deaf and one is pair.near)]
                has += [one for one, waiting, _ in pair.sides() if waiting and not (is_deaf and one is pair.far)]
        readable, writable, _ = select.select(wants, has, [], LOOK_S)
        if self._listener in readable:
            self._accept()
        for pair in list(self._pairs):
            try:
                self._serve(pair, readable, writable)
            except OSError:
                pair.cut()
                self._pairs.remove(pair)

    def _serve(self, pair: _Pair, readable: list[socket.socket], writable: list[socket.socket]) -> None:
        for one, waiting, away in pair.sides():
            if one in readable:
                data = one.recv(CHUNK)
                if not data:
                    raise ConnectionResetError
                if self.mode in ("pass", "hold away") or (self.mode == "drop away" and one is pair.far):
                    away.extend(data)
            if one in writable:
                del waiting[: one.send(waiting)]

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        near.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.is_shut or self.mode == "reset":
            return _Pair(near, None).cut()
        far = None
        if not self.mode.startswith("drop"):
            try:
                far = socket.create_connection(("127.0.0.1", self._target), 1)
            except OSError:  # the broker is dead
                return _Pair(near, None).cut()
            far.setblocking(False)
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.append(_Pair(near, far))
        return None
