"""When the checks that need no frame are due: on absolute multiples of the tick period, live and in replay alike."""

from collections.abc import Callable, Iterator

# A longer step of the time is no silence but another clock. What is repeated in silence is repeated for so long, and then time jumps:
# in a recording whose time leaps by 50 years it would otherwise be 10^10 safe values.
LONGEST_SILENCE_NS = 3_600_000_000_000


class TickGrid:
    """The ticks of a pipeline.

    Args:
        period_ns: between two ticks.

    Attributes:
        next_ns: the tick that comes next, 0 before the time is known.
    """

    def __init__(self, period_ns: int) -> None:
        self.next_ns = 0
        self._period_ns = period_ns

    def until(self, now_ns: int, is_quiet: Callable[[], bool]) -> Iterator[int]:
        """Ticks that are due by now.

        Args:
            now_ns: the time.
            is_quiet: whether ticks have nothing to do until the next frame; all of them but the last one are then passed over.
        """
        period_ns = self._period_ns
        if not self.next_ns:
            self.next_ns = (now_ns // period_ns + 1) * period_ns
        last_ns = now_ns // period_ns * period_ns
        jump_ns = self.next_ns + LONGEST_SILENCE_NS
        while self.next_ns <= now_ns:
            at_ns = self.next_ns
            if at_ns < last_ns and (at_ns > jump_ns or is_quiet()):
                at_ns = last_ns
            self.next_ns = at_ns + period_ns
            yield at_ns
