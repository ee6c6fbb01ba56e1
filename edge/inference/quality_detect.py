"""Change detectors on a stream of errors: ADWIN and Page-Hinkley. They remember a bounded amount and read no clock."""

import math
from collections import deque

_ROW = 5  # buckets of one size before two of them are merged
_ROWS = 40  # sizes up to 2^39 values


class Adwin:
    """Adaptive windowing (Bifet and Gavalda, 2007): as long a window as has one mean.

    Buckets of 1, 2, 4, ... values keep sums; memory grows with the logarithm of the window. Every ``clock`` values each cut between
    buckets is looked at; where the two sides' means differ by more than chance allows, the oldest bucket goes.

    Args:
        delta: confidence, 0 to 1; smaller is slower and falsely alarmed more rarely.
        clock: values between two looks.
        min_side, min_window: values that a side, and the window, need before a look.

    Raises:
        ValueError: delta is not between 0 and 1.
    """

    def __init__(self, delta: float = 0.002, clock: int = 32, min_side: int = 5, min_window: int = 10) -> None:
        if not 0 < delta < 1:
            raise ValueError(f"delta is {delta}; it must be between 0 and 1")
        self._delta, self._clock, self._min_side, self._min_window = delta, clock, min_side, min_window
        self._rows: list[deque[tuple[float, float]]] = [deque()]  # by size, newest last: (sum, sum of squared deviations)
        self.width = self.detections = self._ticks = 0
        self._total = self._deviation = 0.0

    @property
    def mean(self) -> float:
        """Of the window; 0 when it is empty."""
        return self._total / self.width if self.width else 0.0

    def update(self, value: float) -> bool:
        """Take a finite value; whether the mean has changed."""
        self._ticks += 1
        if self.width:
            self._deviation += self.width * (value - self.mean) ** 2 / (self.width + 1)
        self.width += 1
        self._total += value
        self._rows[0].append((value, 0.0))
        self._compress()
        if self._ticks % self._clock or self.width <= self._min_window:
            return False
        is_changed = False
        while self._finds_cut():
            is_changed = True
            self._drop_oldest()
        self.detections += is_changed
        return is_changed

    def _compress(self) -> None:
        for i in range(_ROWS - 1):
            row = self._rows[i]
            if len(row) <= _ROW:
                return
            size = 1 << i
            (one, spread), (other, more) = row.popleft(), row.popleft()
            between = size * (one - other) ** 2 / (size * size) / 2
            if i + 1 == len(self._rows):
                self._rows.append(deque())
            self._rows[i + 1].append((one + other, spread + more + between))
        if len(self._rows[-1]) > _ROW:
            self._drop_oldest()

    def _finds_cut(self) -> bool:
        """Whether some cut, oldest first, parts two means."""
        old_n, old_sum = 0, 0.0
        for i in range(len(self._rows) - 1, -1, -1):
            for total, _ in self._rows[i]:
                old_n, old_sum = old_n + (1 << i), old_sum + total
                new_n = self.width - old_n
                if new_n < self._min_side:
                    return False
                if old_n >= self._min_side and self._differs(old_n, new_n, old_sum / old_n - (self._total - old_sum) / new_n):
                    return True
        return False

    def _differs(self, old: int, new: int, distance: float) -> bool:
        variance = max(self._deviation, 0.0) / self.width
        confidence = math.log(2 * math.log(self.width) / self._delta)
        harmonic = 1.0 / (old - self._min_side + 1) + 1.0 / (new - self._min_side + 1)
        return abs(distance) > math.sqrt(2 * harmonic * variance * confidence) + 2 / 3 * confidence * harmonic

    def _drop_oldest(self) -> None:
        i = len(self._rows) - 1
        size, (total, spread) = 1 << i, self._rows[i].popleft()
        self.width -= size
        self._total -= total
        if self.width:
            distance = total / size - self.mean
            self._deviation -= spread + size * self.width * distance**2 / (size + self.width)
        else:
            self._total = self._deviation = 0.0
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()


class PageHinkley:
    """Page and Hinkley's test for a mean that rises.

    Args:
        min_values: before anything is said.
        delta: rise of the mean that does not matter.
        threshold: of the accumulated rise.
        alpha: forgetting of the accumulated rise, 0 to 1; 1: none.
    """

    def __init__(self, min_values: int = 30, delta: float = 0.005, threshold: float = 50.0, alpha: float = 0.9999) -> None:
        self._min, self._delta, self.threshold, self._alpha = min_values, delta, threshold, alpha
        self.detections = 0
        self._reset()

    def _reset(self) -> None:
        self._n, self._mean, self._sum, self._least = 0, 0.0, 0.0, math.inf

    @property
    def statistic(self) -> float:
        """The accumulated rise above its least value."""
        return self._sum - self._least if self._n else 0.0

    def update(self, value: float) -> bool:
        """Take a finite value; whether the mean has risen. Begins anew after that."""
        self._n += 1
        self._mean += (value - self._mean) / self._n
        self._sum = self._alpha * self._sum + (value - self._mean - self._delta)
        self._least = min(self._least, self._sum)
        if self._n < self._min or self.statistic <= self.threshold:
            return False
        self.detections += 1
        self._reset()
        return True
