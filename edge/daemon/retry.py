"""Things that a helper thread tries until they succeed: whatever goes wrong is said, and tried again, ever more rarely."""

import time
from collections.abc import Callable

FIRST_S, MOST_S = 1.0, 60.0
_SAID_AGAIN_S = 600.0  # the same fault


class Retry:
    """One thing.

    Args:
        tell: hears what went wrong, in words.
        clock: seconds, monotonic.
    """

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._delay_s = self._due_s = self._told_s = 0.0
        self._told = ""

    def attempt(self, action: Callable[[], object]) -> bool:
        """Try, unless it failed a short while ago. Whether it was done.

        Args:
            action: may raise anything: no memory, no more threads, a full disk.
        """
        if self._clock() < self._due_s:
            return False
        try:
            action()
        except Exception as fault:  # noqa: BLE001  a helper that ended would look after no model any more
            now_s = self._clock()
            self._delay_s = min(2 * self._delay_s or FIRST_S, MOST_S)
            self._due_s = now_s + self._delay_s
            text = str(fault) or type(fault).__name__
            if text != self._told or now_s - self._told_s >= _SAID_AGAIN_S:
                self._told, self._told_s = text, now_s
                self._tell(text)
            return False
        self._delay_s, self._told = 0.0, ""
        return True

    def hurry(self) -> None:
        """What may have been in the way is gone: try at the next call."""
        self._due_s = self._delay_s = 0.0
