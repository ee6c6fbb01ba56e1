"""A scan as one row of numbers for windows and rules: what stands around the vehicle, and how soon the nearest of it is met.

"Nothing there" is a number as well: the reach of the region, or the horizon of time. So every value is finite, and a rule that triggers
downwards needs no special case.
"""

import numpy as np
import numpy.typing as npt

from edge.lidar.channels import FIRST
from edge.lidar.channels import channels as channels_of
from edge.lidar.path import Path
from edge.lidar.settings import ScanSettings
from edge.lidar.tracks import Tracks

VEHICLE, VULNERABLE, OTHER = 0, 1, 2


class Summary:
    """The row of the scan that was looked at last.

    Args:
        settings: of the scan.

    Attributes:
        row: float32 (C,), in the order of ``channels``.
        nearest, free: float32 (S,), parts of the row, see edge.kernels.lidar_sectors.
    """

    def __init__(self, settings: ScanSettings) -> None:
        sectors = settings.sectors
        self.row: npt.NDArray[np.float32] = np.zeros(len(channels_of(sectors)), np.float32)
        self.nearest = self.row[len(FIRST) : len(FIRST) + sectors]
        self.free = self.row[len(FIRST) + sectors :]
        self.reach_m = settings.range_m[1]
        self._horizon_s = settings.vehicle.horizon_s

    def fill(
        self,
        boxes: npt.NDArray[np.float32],
        classes: npt.NDArray[np.intp],
        tracks: Tracks,
        counts: tuple[int, int, int],
        *,
        is_ego_known: bool,
    ) -> None:
        """Everything but the sectors, which a kernel writes.

        Args:
            boxes: float32 (m, 8), of this scan.
            classes: (m,), the likeliest class of each.
            tracks: after this scan.
            is_ego_known: the vehicle's speed was known.
            counts: points in the region, of the ground, of obstacles.
        """
        path: Path = tracks.path
        points, ground, obstacles = counts
        vulnerable_s = self._horizon_s
        if tracks.n:
            is_vulnerable = tracks.is_confirmed & (tracks.probability.argmax(axis=1) == VULNERABLE)
            if is_vulnerable.any():
                vulnerable_s = float(tracks.ttc_s[is_vulnerable].min())
        self.row[: len(FIRST)] = (
            len(boxes),
            np.count_nonzero(classes == VEHICLE),
            np.count_nonzero(classes == VULNERABLE),
            boxes[:, 7].min() if len(boxes) else self.reach_m,
            path.nearest_ahead_m,
            path.closing_mps,
            path.deceleration_mps2,
            path.confirmed_ttc_s,
            path.min_ttc_s,
            vulnerable_s,
            is_ego_known,
            points,
            ground / max(points, 1),
            obstacles / max(points, 1),
        )
