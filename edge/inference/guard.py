"""Whether a model at work must stop working: pure logic over what each run gave and how long it took.

Told of every frame, so it must cost next to nothing. Measured, processor time: 0.2 us a run (median of 9 rounds on a busy 2-core machine;
0.17 to 0.26); with frozen_frames set 0.5 us where scores differ from the lane's last ones, 0.8 us where they are equal.
"""

from collections import deque
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

Kind = Literal["latency", "not_finite", "failed", "frozen", "drift", "asked"]


class Limits(msgspec.Struct, frozen=True):
    """What a model at work is held to.

    Args:
        budget_ns: the 99th percentile of a window must stay within.
        windows: so many windows over the budget, one after the other, end it; >= 1.
        window_frames: runs in a window, >= 1.
        frozen_frames: so many runs in a row, each with the scores that its lane had before although the vector differs, end it; 0: never.
        faults: so many runs without usable scores within ``window_frames`` runs, or as many as there are faults, end it; >= 1.
    """

    budget_ns: int
    windows: int = 3
    window_frames: int = 100
    frozen_frames: int = 0
    faults: int = 3

    @property
    def allowed(self) -> int:
        """Runs of a window that may take longer than the budget."""
        return self.window_frames // 100


class Trouble(msgspec.Struct, frozen=True):
    """Why a model must stop.

    Args:
        kind: for counting.
        reason: in words, to follow the model's name.
    """

    kind: Kind
    reason: str


class Guard:
    """Watches one model at work.

    A window whose 99th percentile is over the budget whatever may still come is over at once: a model that became slow is known after
    ``windows * (allowed + 1)`` frames, not after ``windows * window_frames``.

    Args:
        limits: see Limits.
    """

    __slots__ = ("_bad", "_equal", "_faults", "_frame", "_last", "_limits", "_n", "_over", "_worst")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last: dict[int, tuple[list[float], bytes]] = {}  # of each lane: scores, and the vector where they came again
        self._faults: deque[int] = deque(maxlen=limits.faults)  # frames of the last ones
        self._n = self._over = self._bad = self._equal = self._frame = self._worst = 0

    def ran(self, took_ns: int, scores: list[float], vector: npt.NDArray[np.float32], lane: int = 0) -> Trouble | None:
        """A run gave scores.

        Args:
            took_ns: of the run; 0 where nothing is timed.
            scores: finite.
            vector: float32 (F,).
            lane: whose.
        """
        if self._limits.frozen_frames:
            last = self._last.get(lane)
            if last is None or scores != last[0]:
                self._last[lane] = scores, b""
                self._equal = 0 if last is not None else self._equal
            elif trouble := self._repeated(last, vector, lane):
                return trouble
        self._frame += 1
        self._n += 1
        if took_ns > self._limits.budget_ns:
            return self._slow(took_ns)
        if self._n >= self._limits.window_frames:
            self._n = self._over = self._bad = self._worst = 0
        return None

    def skipped(self) -> Trouble | None:
        """A frame was not given to the model because it became slower than it was when it was admitted."""
        self._frame += 1
        self._n += 1
        return self._slow(0)

    def fault(self, kind: Literal["failed", "not_finite"], why: str) -> Trouble | None:
        """A run gave nothing that can be used, although its vector was finite.

        Args:
            kind: what.
            why: in words.
        """
        faults, span = self._faults, max(self._limits.window_frames, self._limits.faults)
        self._frame += 1
        faults.append(self._frame)
        if len(faults) < self._limits.faults or self._frame - faults[0] >= span:
            return None
        what = "gave NaN or infinity" if kind == "not_finite" else "failed"
        return Trouble(kind, f"{what} {len(faults)} times within {span} frames: {why}")

    def forget(self, lane: int) -> None:
        """Another device will have this lane."""
        self._last.pop(lane, None)

    def _slow(self, took_ns: int) -> Trouble | None:
        self._over += 1
        self._worst = max(self._worst, took_ns)
        if self._over <= self._limits.allowed:
            if self._n >= self._limits.window_frames:
                self._n = self._over = self._bad = self._worst = 0
            return None
        self._n = self._over = 0
        self._bad += 1
        if self._bad < self._limits.windows:
            return None
        slowest = f", slowest {self._worst / 1e6:.3f} ms" if self._worst else ""
        return Trouble(
            "latency", f"p99 over its budget of {self._limits.budget_ns / 1e6:g} ms in {self._bad} windows one after the other{slowest}"
        )

    def _repeated(self, last: tuple[list[float], bytes], vector: npt.NDArray[np.float32], lane: int) -> Trouble | None:
        found = vector.tobytes()
        if found != last[1]:
            self._last[lane] = last[0], found
            self._equal += 1
        if self._equal < self._limits.frozen_frames:
            return None
        return Trouble("frozen", f"gave the same scores for {self._equal} vectors that differ")
