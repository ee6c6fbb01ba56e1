"""Signs of life of helper threads: each says by when it will be heard of again, the loop looks whether it was."""

import time

LEAST_NS = 250_000_000
PERIODS = 3


class Heartbeat:
    """One helper's.

    Args:
        name: of the helper, for people.

    Attributes:
        doing: what it is at, in words.
    """

    __slots__ = ("_due_ns", "doing", "name")

    def __init__(self, name: str) -> None:
        self.name, self.doing = name, ""
        self._due_ns = 0

    def expect(self, within_s: float, doing: str = "") -> None:
        """The helper will be heard of again within this time; late is who takes three times as long, and at least 250 ms.

        Args:
            within_s: its period, or the longest that what it does may take.
            doing: what it is at.
        """
        self.doing = doing
        self._due_ns = time.monotonic_ns() + max(LEAST_NS, int(within_s * PERIODS * 1e9))

    def rest(self) -> None:
        """Nothing is expected until the next ``expect``."""
        self._due_ns = 0
        self.doing = ""

    def is_late(self, now_ns: int) -> bool:
        """Whether it should have been heard of.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        return 0 < self._due_ns < now_ns


class Progress:
    """The sign of life of a helper that waits for work: while some waits, the count of what is done must rise.

    Args:
        name: of the helper.
        within_s: longest that one piece may take.
    """

    def __init__(self, name: str, within_s: float = 0.0) -> None:
        self.name = name
        self._limit_ns = max(LEAST_NS, int(within_s * PERIODS * 1e9))
        self._seen, self._since_ns = -1, 0

    def is_stuck(self, done: int, *, is_waiting: bool, now_ns: int) -> bool:
        """Whether work waits and none was done for too long.

        Args:
            done: pieces so far.
            is_waiting: there is work.
            now_ns: CLOCK_MONOTONIC.
        """
        if done != self._seen or not is_waiting:
            self._seen, self._since_ns = done, now_ns
        return now_ns - self._since_ns > self._limit_ns
