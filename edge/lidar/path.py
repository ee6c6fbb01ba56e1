"""The vehicle's path: its size, and what lies on the way it is going. Straight, or an arc of the present yaw rate and speed."""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.kernels import collision as k


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """Size of the vehicle and how far to look.

    Args:
        front_m, rear_m: from the origin (on the ground under the rear axle) to the front and to the rear bumper.
        width_m: over all.
        margin_m: added to each side; corridor and footprint are ``width_m + 2 * margin_m`` wide.
        horizon_s: longest time to collision; "none" is reported as this.
        range_m: longest distance ahead; "none" is reported as this.

    Raises:
        ValueError: a size that is not positive and finite.
    """

    front_m: float = 3.8
    rear_m: float = 1.0
    width_m: float = 1.9
    margin_m: float = 0.25
    horizon_s: float = 5.0
    range_m: float = 100.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0.0 or (value == 0.0 and name not in ("rear_m", "margin_m")):
                raise ValueError(f"{name} = {value}; must be finite and greater than 0")


class Path:
    """What lies ahead; the arrays are overwritten by every ``update``.

    Args:
        vehicle: size and limits.
        max_objects: longest list of objects.

    Attributes:
        ttc_s: float32 (max_objects,): of each object, the first time at which its footprint, moving with its velocity, overlaps the
            vehicle's, moving along its path; ``horizon_s`` when not before.
        ahead_m: float32 (max_objects,): of each object, metres along the corridor from the bumper; ``range_m`` when not in it.
        min_ttc_s: over all objects; those not confirmed count as standing.
        confirmed_ttc_s: over the confirmed ones.
        nearest_ahead_m: over all objects.
        closing_mps: speed at which the nearest one comes nearer; 0 when there is none.
        deceleration_mps2: largest ``closing^2 / (2 gap)`` of all that is ahead: what it takes not to touch it at its present speed.
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
        self._motion[[k.HORIZON, k.RANGE]] = vehicle.horizon_s, vehicle.range_m
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
    ) -> None:
        """Look at the first n objects.

        Args:
            boxes: (>= n, 8) x, y, z, length, width, height, yaw, distance; vehicle frame; finite.
            velocities: (>= n, 2) over ground, or relative to the vehicle when its speed is not known.
            confirmed: (>= n,).
            n: at most ``max_objects``.
            speed_mps: of the vehicle, negative in reverse; NaN: not known, the path is straight.
            yaw_rate_radps: to the left; NaN counts as 0.

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
        k.collide(boxes, velocities, confirmed, n, motion, self._work, self.ttc_s, self.ahead_m, self._found)
        found: list[Any] = self._found.tolist()
        self.min_ttc_s, ttc_row, self.confirmed_ttc_s, self.nearest_ahead_m, nearest_row, self.closing_mps, self.deceleration_mps2 = found
        self.ttc_row, self.nearest_row = int(ttc_row), int(nearest_row)
