"""When to try again: waits that double, with jitter, so that a fleet does not return at once."""

import random

STABLE_NS = 10_000_000_000  # a link that lived this long was good: the next wait is the shortest again


class Retry:
    """The wait before the next attempt.

    Args:
        min_s, max_s: first and longest wait.

    Attributes:
        due_ns: CLOCK_MONOTONIC of the next attempt.
    """

    def __init__(self, min_s: float, max_s: float) -> None:
        self.due_ns = 0
        self._min_s, self._max_s = min_s, max_s
        self._wait_s = min_s
        self._up_since_ns = 0

    def came_up(self, now_ns: int) -> None:
        """The link is up."""
        self._up_since_ns = now_ns

    def lost(self, now_ns: int) -> None:
        """The link that was up is gone."""
        if now_ns - self._up_since_ns > STABLE_NS:
            self._wait_s = self._min_s

    def later(self, now_ns: int) -> None:
        """Not now."""
        self.due_ns = now_ns + int(self._wait_s * random.uniform(0.5, 1.0) * 1e9)  # noqa: S311
        self._wait_s = min(self._wait_s * 2, self._max_s)
