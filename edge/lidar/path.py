"""What lies on the way that the vehicle is going: straight, or an arc of its present yaw rate and speed."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels import collision as k
from edge.lidar.vehicle import Vehicle


class Path:
    """What lies ahead; the arrays are overwritten by every ``update``.

    Args:
        vehicle: size and limits.
        max_objects: longest list of objects.

    Attributes:
        ttc_s: float32 (max_objects,): of each object, the first time at which its footprint, moving with its velocity, overlaps the
            vehicle's, moving along its path; ``horizon_s`` when not before.
        ahead_m: float32 (max_objects,): of each object, metres along the corridor from the bumper; ``range_m`` when not in it.
        min_ttc_s: over all objects; those not confirmed count as standing, as long as they are seen.
        confirmed_ttc_s: over the confirmed ones.
        nearest_ahead_m: over all objects.
        closing_mps: speed at which the nearest one comes nearer; 0 when there is none.
        deceleration_mps2: largest ``closing^2 / (2 gap)`` of all that is ahead and was seen twice: what it takes not to touch it at its
            present speed.
        ttc_row, nearest_row: whose they are, -1: nobody's.
    """

    def __init__(self, vehicle: Vehicle, max_objects: int) -> None:
        self.vehicle = vehicle
        self.ttc_s: npt.NDArray[np.float32] = np.full(max_objects, vehicle.horizon_s, np.float32)
        self.ahead_m: npt.NDArray[np.float32] = np.full(max_objects, vehicle.range_m, np.float32)
        self.min_ttc_s = self.confirmed_ttc_s = vehicle.horizon_s
        self.nearest_ahead_m = vehicle.range_m
        self.closing_mps = self.deceleration_mps2 = 0.0
        self.ttc_row = self.nearest_row = -1
        self._motion = np.zeros(k.N_MOTION)
        self._motion[[k.FRONT, k.REAR]] = vehicle.front_m, vehicle.rear_m
        self._motion[k.HALF_WIDTH] = 0.5 * vehicle.width_m + vehicle.margin_m
        self._motion[k.MARGIN] = vehicle.margin_m
        self._motion[[k.HORIZON, k.RANGE]] = vehicle.horizon_s, vehicle.range_m
        self._exact = np.zeros(max_objects, np.float32)
        self._trusted = np.full(max_objects, k.KNOWN, np.uint8)
        self._work = np.zeros(6)
        self._found = np.zeros(k.N_FOUND)

    def update(
        self,
        boxes: npt.NDArray[np.float32],
        velocities: npt.NDArray[np.float32],
        confirmed: npt.NDArray[np.bool_],
        n: int,
        speed_mps: float,
        yaw_rate_radps: float,
        trust: npt.NDArray[np.uint8] | None = None,
        deviations: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Look at the first n objects.

        Args:
            boxes: (>= n, 8) x, y, z, length, width, height, yaw, distance; vehicle frame; finite.
            velocities: (>= n, 2) over ground, or relative to the vehicle when its speed is not known.
            confirmed: (>= n,).
            n: at most ``max_objects``.
            speed_mps: of the vehicle, negative in reverse; NaN: not known, the path is straight.
            yaw_rate_radps: to the left; NaN counts as 0.
            trust: (>= n,), GHOST: not shown by this scan, and not known for long, so it is not met; NEW: seen once, asks for no
                deceleration yet; KNOWN, the default. See edge.kernels.collision.
            deviations: (>= n,), standard deviation of each velocity, m/s; default: they are exact.

        Raises:
            ValueError: more objects than there are places.
        """
        if not 0 <= n <= min(len(self.ttc_s), len(boxes), len(velocities), len(confirmed)):
            raise ValueError(f"{n} objects; there are places for {len(self.ttc_s)}")
        motion = self._motion
        is_known = math.isfinite(speed_mps)
        motion[k.SPEED] = speed_mps if is_known else 0.0
        motion[k.YAW_RATE] = yaw_rate_radps if math.isfinite(yaw_rate_radps) else 0.0
        motion[k.IS_KNOWN] = is_known
        trust = self._trusted if trust is None else trust
        deviations = self._exact if deviations is None else deviations
        k.collide(boxes, velocities, deviations, confirmed, trust, n, motion, self._work, self.ttc_s, self.ahead_m, self._found)
        self._publish()

    def meet(
        self,
        voxels: npt.NDArray[np.float32],
        cluster: npt.NDArray[np.int32],
        object_of: npt.NDArray[np.int32],
        structure: npt.NDArray[np.uint8],
        n: int,
    ) -> None:
        """After ``update``, look at walls and the like, which have no track; see edge.kernels.collision.meet_structures."""
        k.meet_structures(voxels, cluster, object_of, structure, n, self._motion, self._work, self._found)
        self._publish()

    def _publish(self) -> None:
        found: list[Any] = self._found.tolist()
        self.min_ttc_s, ttc_row, self.confirmed_ttc_s, self.nearest_ahead_m, nearest_row, self.closing_mps, self.deceleration_mps2 = found
        self.ttc_row, self.nearest_row = int(ttc_row), int(nearest_row)
