"""The order of frames by their counter. Owns what is lost, late and repeated."""

from firmware_bridge.protocol import SEQ_WINDOW

_MASK = (1 << SEQ_WINDOW) - 1


class Follower:
    """Follows a counter of 16 bits that wraps.

    Attributes:
        lost: frames that never came. One that comes late is not lost any longer.
        late: came after a later one.
        restarts: jumps back further than the window: the sender began anew.
    """

    def __init__(self) -> None:
        self.lost = self.late = self.restarts = 0
        self._newest: int | None = None
        self._seen = 0  # bit i: newest - i came

    def follow(self, seq: int) -> bool:
        """Take note of a frame; false when it came already."""
        if self._newest is None:
            self._newest, self._seen = seq, 1
            return True
        ahead, back = (seq - self._newest) & 0xFFFF, (self._newest - seq) & 0xFFFF
        if 0 < ahead < 0x8000:
            self.lost += ahead - 1
            self._newest, self._seen = seq, (self._seen << ahead | 1) & _MASK if ahead < SEQ_WINDOW else 1
            return True
        if back >= SEQ_WINDOW:
            self.restarts += 1
            self._newest, self._seen = seq, 1
            return True
        if self._seen >> back & 1:
            return False
        self._seen |= 1 << back
        self.late += 1
        self.lost = max(self.lost - 1, 0)
        return True

    def restart(self) -> None:
        """The sender is known to begin anew: nothing before its next frame counts as lost."""
        self._newest = None
