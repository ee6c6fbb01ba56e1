"""The board's clock as seen from the host. Owns the offset between the two."""

from firmware_bridge.messages import TimeResponse

_KEEP = 8  # answers: 4 s of them
_SETTLED = 4


class BoardClock:
    """Offset from the answer that took the shortest way among the last ones: half of its way bounds the error.

    With 8 answers in 4 s, a clock that drifts by 100 ppm adds 0.4 ms at most.
    """

    def __init__(self) -> None:
        self._answers: list[tuple[int, int]] = []  # (way, offset)
        self._offset = 0
        self.error_us = 0

    @property
    def is_known(self) -> bool:
        """Whether there was an answer."""
        return bool(self._answers)

    @property
    def is_settled(self) -> bool:
        """Whether there were a few."""
        return len(self._answers) >= _SETTLED

    def learn(self, answer: TimeResponse, now_us: int) -> None:
        """Take an answer that came now; one that cannot be is not used."""
        inside = answer.sent_us - answer.received_us
        way = now_us - answer.host_us - inside
        if inside < 0 or not 0 <= way <= 1_000_000:
            return
        middle = (answer.received_us + answer.sent_us) // 2 - (answer.host_us + now_us) // 2
        self._answers = [*self._answers[1 - _KEEP :], (way, middle)]
        best = min(self._answers)
        self._offset, self.error_us = best[1], (best[0] + 1) // 2

    def board_us(self, host_us: int) -> int:
        """Host's time by the board's clock."""
        return host_us + self._offset

    def host_us(self, board_us: int) -> int:
        """Board's time by the host's clock."""
        return board_us - self._offset
