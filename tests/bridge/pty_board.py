"""The C board behind a real pseudo-terminal: a thread carries bytes and steps its clock."""

import os
import threading
import time
import tty
from contextlib import suppress
from pathlib import Path
from select import select

import numpy as np

from tests.bridge.c_board import CBoard


class PtyBoard:
    """Args: period_s of a telemetry block of ``rows`` rows of ``channels`` channels; 0: none."""

    def __init__(self, board: CBoard, period_s: float = 0.002, rows: int = 2, channels: int = 1) -> None:
        self.board, self.sent = board, 0
        self.is_reading = True
        self.say: list[bytes] = []  # raw bytes that the line carries beside
        self._period_s, self._turns = period_s, 0
        self._rows = np.zeros((rows, channels), np.float32)
        self._stop = threading.Event()
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        tty.setraw(self._master)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        os.close(self._slave)
        self._keep = os.open(self.path, os.O_RDWR | os.O_NOCTTY)  # or the master reads EIO before the host opens it
        self._start = time.monotonic()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        next_s = 0.0
        out = b""
        while not self._stop.is_set():
            self._turns += 1
            readable = select([self._master] if self.is_reading else [], [], [], 0.001)[0]
            now_s = time.monotonic() - self._start
            self.board.now_us = int(now_s * 1e6) + 1
            if readable:
                with suppress(OSError):
                    self.board.receive(os.read(self._master, 65_536))
            self.board.poll()
            if self._period_s and now_s >= next_s:
                next_s = now_s + self._period_s
                self._rows += 1
                self.board.telemetry(self._rows, self.sent, self.board.now_us)
                self.sent += 1
            out += self.board.take()
            while self.say:
                out += self.say.pop(0)
            with suppress(BlockingIOError):
                out = out[os.write(self._master, out) :] if out else out

    def stop_reading(self) -> None:
        self.is_reading = False
        turns = self._turns
        while self._turns < turns + 2:  # the one under way may still read
            time.sleep(0.001)

    def unplug(self) -> None:
        self._stop.set()
        self._thread.join(5)
        os.close(self._keep)
        os.close(self._master)


def plug(shim: Path, **settings: object) -> PtyBoard:
    return PtyBoard(CBoard(shim, schema="Nrig;T1 imu 500 ax=g;A1 brake % 0 100 100;A2 fan % 0 200 0;P1 gain 1", **settings))
