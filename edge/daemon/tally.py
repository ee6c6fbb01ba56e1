"""Faults that may come by the thousand, told at most once a second."""

import logging

_log = logging.getLogger(__name__)

PERIOD_NS = 1_000_000_000


class Tally:
    """Counts one kind of fault.

    Args:
        text: of the log line, with one ``%d`` for how many came since the last one.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0
        self._next_ns = 0

    def add(self, number: int = 1) -> None:
        """So many more."""
        self._count += number

    def tell(self, now_ns: int) -> None:
        """Log what came since the last line, if a second has passed since then."""
        if self._count and now_ns >= self._next_ns:
            _log.warning(self._text, self._count)
            self._count, self._next_ns = 0, now_ns + PERIOD_NS
