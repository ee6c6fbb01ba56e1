"""The gate of LIDAR scans: in order, not empty; of those that wait, the newest wins."""

import numpy as np

from edge.clean.counts import Counts
from edge.errors import Reason
from edge.messages import Scan

_NO_STAMP = -(1 << 63)


class ScanGate:
    """Admits the scans of one stream: in order, not empty, with at least one finite point.

    A scan counts as held from its receipt until it is admitted or a newer one supersedes it.

    Args:
        lanes: number of devices.
    """

    def __init__(self, lanes: int) -> None:
        self.counts = Counts()
        self._last = [(-1, _NO_STAMP)] * lanes

    def hold(self) -> None:
        """A scan arrived and waits for its turn."""
        self.counts.received += 1
        self.counts.held += 1

    def give_up(self, reason: Reason) -> None:
        """A held scan will not be looked at."""
        self.counts.held -= 1
        self.counts.drop(reason)

    def refuse(self, reason: Reason) -> None:
        """A held scan cannot be decoded."""
        self.counts.held -= 1
        self.counts.refuse(reason)

    def admit(self, scan: Scan, lane: int) -> bool:
        """Whether a held scan is used; counts it either way."""
        self.counts.held -= 1
        last_seq, last_stamp = self._last[lane]
        if scan.seq >= 0 and scan.seq == last_seq:
            self.counts.duplicate += 1
        elif scan.stamp_ns <= last_stamp:
            self.counts.late += 1
        elif not len(scan.points):
            self.counts.refuse(Reason.EMPTY)
        elif not np.isfinite(scan.points).all(axis=1).any():
            self.counts.refuse(Reason.NOT_FINITE)
        else:
            self.counts.used += 1
            self._last[lane] = (scan.seq, scan.stamp_ns)
            return True
        return False

    def reset(self, lane: int) -> None:
        """Forget a device."""
        self._last[lane] = (-1, _NO_STAMP)
