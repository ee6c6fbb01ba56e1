"""A session and a C board with a line between them that takes its time, each direction its own; by a clock of the test."""

import heapq
from pathlib import Path

from firmware_bridge.session import Session
from tests.bridge.c_board import CBoard

OFFSET_US = 1_000_000  # board's clock minus the host's


class DelayedRig:
    """``to_board_us`` and ``to_host_us`` can be changed at any time; ``is_lost`` decides what the board never gets."""

    def __init__(self, shim: Path, key: bytes | None = None, to_board_us: int = 0, to_host_us: int = 0) -> None:
        self.to_board_us, self.to_host_us = to_board_us, to_host_us
        self.now_us, self.stopped_us = 10_000_000, 0
        self.board, self.session = CBoard(shim, key=key), Session(key, self._send)
        self.said: list[bytes] = []  # of the board, as it arrived
        self.outcomes = []
        self.is_lost = lambda _data: False
        self._way: list[tuple[int, int, bool, bytes]] = []
        self._n = 0

    def _send(self, data: bytes) -> bool:
        if not self.is_lost(data):
            self._put(self.to_board_us, True, data)
        return True

    def _put(self, delay_us: int, is_to_board: bool, data: bytes) -> None:
        self._n += 1
        heapq.heappush(self._way, (self.now_us + delay_us, self._n, is_to_board, data))

    def step(self) -> None:
        self.now_us += 1000
        self.board.now_us = self.now_us + OFFSET_US - self.stopped_us
        while self._way and self._way[0][0] <= self.now_us:
            _, _, is_to_board, data = heapq.heappop(self._way)
            if is_to_board:
                self.board.receive(data)
            else:
                self.said.append(data)
                self.session.feed(data, self.now_us)
        self.board.poll()
        if out := self.board.take():
            self._put(self.to_host_us, False, out)
        self.session.poll(self.now_us)

    def run(self, ms: int) -> "DelayedRig":
        for _ in range(ms):
            self.step()
        return self

    def command(self, value: float, ttl_us: int, actuator: int = 1) -> int | None:
        return self.session.command(actuator, value, ttl_us, self.now_us, self.outcomes.append)

    def obeyed_after_us(self, value: float, ms: int) -> int | None:
        """How long it takes from now until the actuator has this value; None: it does not within so many milliseconds."""
        start_us = self.now_us
        for _ in range(ms):
            self.step()
            if self.board.actuators()[1] == value:
                return self.now_us - start_us
        return None
