"""Whether serial lines are there and anybody answers on them: each ok, closed, no_board or refused; and whether they are read.

Looks at counters and numbers that the lines have anyway, once a tick.
"""

import errno
import logging
import os
from collections.abc import Iterable
from typing import Literal

from edge.transport.serial import PREFIX, Board, Boards
from edge.transport.unread import unread_bytes

_log = logging.getLogger(__name__)

LineState = Literal["ok", "closed", "no_board", "refused"]

QUIET_NS = 5_000_000_000  # without a message of a foreign protocol: receivers and autopilots send at least once a second
STUCK_NS = 1_000_000_000  # bytes wait for so long and nothing is read: the loop does not do its work
_COUNT_NS = 200_000_000  # between two looks at the counts of a foreign protocol
_TELL_NS = 3_000_000_000  # a board that starts with the daemon is given so long before the log says that it does not answer
_HELD = "another process holds it"
_REFUSALS = (os.strerror(errno.EACCES), os.strerror(errno.EPERM), _HELD)


class LineWatch:
    """One line.

    Args:
        name: of it, ``bench``.
        board: the line in the reactor.
    """

    def __init__(self, name: str, board: Board) -> None:
        self.part = f"{PREFIX}.{name}"
        self._board = board
        self._line = board.port.line
        self._is_foreign = self._line.address.protocol != "edge"
        self._opens = self._mark = 0  # times that it was opened; bytes that had come when somebody was last heard, or it was opened
        self._messages = self._heard_ns = self._count_ns = 0
        self._alone_ns = 0  # open and nobody answers since; 0: it is not so, or it was told
        self._read = self._waits_ns = 0

    def look(self, now_ns: int) -> tuple[LineState, str]:
        """State, and what there is to say of it.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        line = self._line
        if not line.is_open:
            self._alone_ns = 0
            return ("refused" if line.last_error.endswith(_REFUSALS) else "closed"), line.last_error
        if line.opens != self._opens:
            self._opens, self._mark, self._heard_ns, self._alone_ns = line.opens, line.read_bytes, 0, now_ns
            self._messages = self._count() if self._is_foreign else 0
        said = self._hear_foreign(now_ns) if self._is_foreign else self._hear_board()
        if said is not None:
            self._mark, self._alone_ns = line.read_bytes, now_ns
            return "ok", said
        words = "it is open and bytes come, but nobody is understood" if line.read_bytes != self._mark else "it is open, nobody answers"
        if self._alone_ns and now_ns - self._alone_ns > _TELL_NS:
            self._alone_ns = 0
            _log.warning("%s: %s", self.part, words)
        return "no_board", words

    def is_read(self, now_ns: int) -> bool:
        """Whether what came is read, or nothing waits.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        line = self._line
        if line.read_bytes != self._read or not line.is_open or not unread_bytes(line.fileno()):
            self._read, self._waits_ns = line.read_bytes, 0
            return True
        self._waits_ns = self._waits_ns or now_ns
        return now_ns - self._waits_ns < STUCK_NS

    def _hear_board(self) -> str | None:
        return None if self._board.port.session.hello is None else f"board {self._board.topics.schema.name}".rstrip()

    def _hear_foreign(self, now_ns: int) -> str | None:
        if now_ns >= self._count_ns:
            self._count_ns, messages = now_ns + _COUNT_NS, self._count()
            if messages != self._messages:
                self._messages, self._heard_ns = messages, now_ns
        is_heard = self._heard_ns and now_ns - self._heard_ns < QUIET_NS
        return self._line.address.protocol if is_heard else None

    def _count(self) -> int:
        """Messages of a foreign protocol that were whole."""
        counts = self._board.report(0)
        return int(str(counts["received"])) - int(str(counts["damaged"]))


class LineWatches:
    """All lines of a plan.

    Args:
        boards: in the reactor.
        names: of the lines.

    Attributes:
        watches: of each.
    """

    def __init__(self, boards: Boards, names: Iterable[str]) -> None:
        found = {name: boards.board_of(f"{PREFIX}/{name}/") for name in names}
        self.watches = [LineWatch(name, board) for name, board in found.items() if board is not None]

    def are_read(self, now_ns: int) -> bool:
        """Whether no line has bytes that nobody reads; all are looked at.

        Args:
            now_ns: CLOCK_MONOTONIC.
        """
        found = [watch.is_read(now_ns) for watch in self.watches]
        return all(found)
