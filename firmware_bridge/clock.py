"""The board's clock as seen from the host. Owns the offset between the two, and how far wrong it can be."""

from firmware_bridge.messages import TimeResponse

_KEEP = 8  # answers: 4 s of them
_SETTLED = 4
_DRIFT_PPM = 200  # between the two clocks at most: two quartzes of 100 ppm
_LATEST_US = 1 << 62  # a board that says more is mad: its deadlines would not fit their field


class BoardClock:
    """Offset from the answer with the smallest error among the last ones.

    Half of an answer's way bounds its error, whichever direction the line holds up; it grows with the age of the answer by what two clocks
    drift apart.

    Attributes:
        error_us: bound when the newest answer came; ``error_at`` for another time.
    """

    def __init__(self) -> None:
        self._answers: list[tuple[int, int, int]] = []  # (half of the way, when it came, offset)
        self._offset = self._half_us = self._at_us = 0
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
        if inside < 0 or not 0 <= way <= 1_000_000 or answer.sent_us > _LATEST_US:
            return
        middle = (answer.received_us + answer.sent_us) // 2 - (answer.host_us + now_us) // 2
        half_us = (way + 1) // 2
        if abs(middle - self._offset) > half_us + self.error_at(now_us):
            self._answers = []  # both cannot be true: the board's clock stood still or jumped
        self._answers = [*self._answers[1 - _KEEP :], (half_us, now_us, middle)]
        self._half_us, self._at_us, self._offset = min(self._answers, key=lambda one: one[0] + _drift_us(now_us - one[1]))
        self.error_us = self.error_at(now_us)

    def error_at(self, now_us: int) -> int:
        """How far from the truth ``board_us`` can be at a time of the host, in microseconds."""
        return self._half_us + _drift_us(now_us - self._at_us)

    def board_us(self, host_us: int) -> int:
        """Host's time by the board's clock."""
        return host_us + self._offset


def _drift_us(age_us: int) -> int:
    return age_us * _DRIFT_PPM // 1_000_000
