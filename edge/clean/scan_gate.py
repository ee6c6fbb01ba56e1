"""The gate of LIDAR scans: in order, with returns, all around; of those that wait, the newest wins."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.clean.counts import Counts
from edge.errors import Reason
from edge.messages import Scan

_NO_STAMP = -(1 << 63)
_STATE_VERSION = 1
RESYNC_RUN = 8  # so many scans in a row with old stamps that rise are the new truth: 0.8 s at 10 Hz


class ScanGate:
    """Admits the scans of one stream: in order, and with returns that a sensor at work would give.

    A scan counts as held from its receipt until it is admitted or a newer one supersedes it. A return is a point that is finite and
    not at the origin. Admitting 107,000 to 115,200 points takes 0.8 to 1.3 ms, with coverage 1.8 to 2.6 ms (slow shared machine; there
    NumPy's ``isfinite`` alone took 4.1 to 4.7 ms).

    Args:
        lanes: number of devices.
        min_points: fewest returns in a scan.
        min_coverage_deg: fewest degrees of azimuth that returns must lie in, of 360; 0: not checked.
        on_cut_off: what becomes of a scan with fewer: refused, or the directions it lacks are filled from the device's last whole scan.
        complete_ms: how much older that scan may be, by the stamps.
        max_points: most points in a completed scan; 0: as many as there are.
        max_ahead_ns: largest step of stamps.

    Attributes:
        counts: what became of the scans.
        completed: scans that were filled, and are among those used.
    """

    def __init__(
        self,
        lanes: int,
        *,
        min_points: int = 1,
        min_coverage_deg: float = 0,
        on_cut_off: Literal["reject", "complete"] = "reject",
        complete_ms: float = 150,
        max_points: int = 0,
        max_ahead_ns: int = 3_600_000_000_000,
    ) -> None:
        from edge.kernels import scan_check  # a pipeline without a LIDAR neither compiles nor loads it

        self.counts = Counts()
        self.completed = 0
        self._kernels = scan_check
        self._min_points = min_points
        self._min_coverage = min_coverage_deg
        self._completes = on_cut_off == "complete"
        self._complete_ns = round(complete_ms * 1e6)
        self._max_points = max_points
        self._last = [(-1, _NO_STAMP)] * lanes
        self._old = [(0, _NO_STAMP)] * lanes
        self._max_ahead_ns = max_ahead_ns
        self._whole: list[Scan | None] = [None] * lanes
        self._bins = np.zeros(scan_check.BINS, np.uint8)
        self._found = np.zeros(4, np.int64)

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
        """Whether a held scan is used; counts it either way.

        Args:
            scan: as it was decoded. One that is completed gets other ``points``.
            lane: of the device.
        """
        self.counts.held -= 1
        last_seq, last_stamp = self._last[lane]
        if scan.seq >= 0 and scan.seq == last_seq:
            self.counts.duplicate += 1
            return False
        if scan.stamp_ns <= last_stamp and not self._is_new_truth(scan, lane):
            self.counts.late += 1
            return False
        last_stamp = self._last[lane][1]
        if last_stamp != _NO_STAMP and scan.stamp_ns - last_stamp > self._max_ahead_ns:
            self.counts.refuse(Reason.STAMP_FUTURE)
            return False
        reason = self._fault(scan, lane)
        if reason is not None:
            self.counts.refuse(reason)
            return False
        self.counts.used += 1
        self._last[lane] = (scan.seq, scan.stamp_ns)
        self._old[lane] = (0, _NO_STAMP)
        return True

    def save(self, lane: int) -> bytes:
        """What a device sent last; not the whole scan that cut-off ones are filled from, which is soon another."""
        return msgspec.msgpack.encode((_STATE_VERSION, *self._last[lane], *self._old[lane]))

    def restore(self, lane: int, state: bytes) -> None:
        """Go on from a saved state.

        Raises:
            ValueError: it is damaged or of another version; nothing has changed.
        """
        try:
            version, seq, stamp, run, newest = msgspec.msgpack.decode(state, type=tuple[int, int, int, int, int])
        except (msgspec.DecodeError, RecursionError) as fault:
            raise ValueError(f"not the state of a gate of scans: {fault}") from None
        if version != _STATE_VERSION:
            raise ValueError("the state of a gate of another version")
        self._last[lane], self._old[lane] = (seq, stamp), (run, newest)

    def reset(self, lane: int) -> None:
        """Forget a device."""
        self._last[lane] = (-1, _NO_STAMP)
        self._whole[lane] = None
        self._old[lane] = (0, _NO_STAMP)

    def _is_new_truth(self, scan: Scan, lane: int) -> bool:
        """Whether so many scans with old stamps have followed each other that the stamps before were wrong, or the sensor began anew."""
        run, newest = self._old[lane]
        run = run + 1 if scan.stamp_ns > newest else 1
        self._old[lane] = (run, scan.stamp_ns)
        if run < RESYNC_RUN:
            return False
        self.counts.resyncs += 1
        self._last[lane] = (-1, _NO_STAMP)
        return True

    def _fault(self, scan: Scan, lane: int) -> Reason | None:
        """Why a scan cannot be used, if so; completes one that is cut off."""
        if not len(scan.points):
            return Reason.EMPTY
        points = scan.points = np.ascontiguousarray(scan.points, np.float32)
        self._kernels.check_scan(*_place(points, scan.fields), self._min_coverage > 0, self._bins, self._found)
        finite, returns, is_varied, covered = self._found.tolist()
        reason = None
        if not finite:
            reason = Reason.NOT_FINITE
        elif not returns:
            reason = Reason.NO_RETURNS
        elif returns > 1 and not is_varied:
            reason = Reason.ALL_EQUAL
        elif returns < self._min_points:
            reason = Reason.TOO_FEW_POINTS
        elif covered < self._min_coverage:
            reason = None if self._completes and self._complete(scan, lane) else Reason.CUT_OFF
        elif self._completes:
            self._whole[lane] = _kept(scan)
        return reason

    def _complete(self, scan: Scan, lane: int) -> bool:
        """Whether the directions that a scan lacks could be filled. What was filled fills nothing again: it would age unseen."""
        whole = self._whole[lane]
        if whole is None or whole.fields != scan.fields or scan.stamp_ns - whole.stamp_ns > self._complete_ns:
            return False
        n = len(scan.points)
        room = n + len(whole.points)
        points = np.empty((min(room, self._max_points or room), len(scan.fields)), np.float32)
        if n > len(points):
            return False
        points[:n] = scan.points
        n = self._kernels.fill_bins(*_place(whole.points, whole.fields), self._bins, n, points)
        if n < 0:
            return False
        scan.points = points[:n]
        self.completed += 1
        return True


def _place(points: npt.NDArray[np.float32], fields: tuple[str, ...]) -> tuple[int, int, int, int, int, int]:
    """Where the kernels find the points, by address: those of a message are read-only, which a kernel's signature would refuse."""
    return (points.ctypes.data, *points.shape, fields.index("x"), fields.index("y"), fields.index("z"))


def _kept(scan: Scan) -> Scan:
    """The scan, for later: its points copied when others could change them."""
    points = scan.points.copy() if scan.points.flags.writeable else scan.points
    return Scan(points, scan.fields, scan.seq, scan.stamp_ns, scan.received_ns)
