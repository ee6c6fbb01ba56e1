"""How far the ego vehicle is from everything that it could hit; fast, because it is asked at every step."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.flat import gap_m
from firmware_bridge.simulator.scene import Thing, rectangle

Floats = npt.NDArray[np.float64]


class Obstacles:
    """The things of a scene that a vehicle can hit.

    Args:
        things: of the scene; those that are ground or hang high are left out.
    """

    def __init__(self, things: Sequence[Thing]) -> None:
        solid = [thing for thing in things if thing.is_obstacle]
        self._moving = [thing for thing in solid if thing.track is not None or any(thing.velocity_mps)]
        still = [thing.corners_m() for thing in solid if thing not in self._moving]
        self._corners = np.array(still, np.float64).reshape(-1, 4, 2)
        self._centres = self._corners.mean(axis=1)
        self._radii = np.hypot(*(self._corners[:, 0] - self._centres).T)

    def gap_m(self, own: Floats, now_s: float, after_s: float = 0.0, limit_m: float = math.inf) -> float:
        """Distance from a rectangle (4, 2) to the nearest obstacle, when that is below a limit; otherwise the limit.

        Args:
            own: corners of the ego vehicle.
            now_s: when everything is looked at.
            after_s: how long everything then keeps its speed and heading.
            limit_m: farther ones do not matter.
        """
        best = limit_m
        centre = own.mean(axis=0)
        radius = float(np.hypot(*(own[0] - centre)))
        least = np.hypot(*(self._centres - centre).T) - self._radii - radius
        for i in np.argsort(least):
            if least[i] > best or best <= 0.0:
                break
            best = min(best, gap_m(own, self._corners[i]))
        for thing in self._moving:
            pose, rate = thing.pose(now_s)
            x, y = float(pose[0] + rate[0] * after_s), float(pose[1] + rate[1] * after_s)
            cx, cy, hx, hy = thing.footprint_m or (0.0, 0.0, 0.0, 0.0)
            reach = math.hypot(hx, hy) + math.hypot(cx, cy) + radius
            if math.hypot(x - centre[0], y - centre[1]) - reach <= best:
                best = min(best, gap_m(own, rectangle(x, y, float(pose[2]), (cx, cy, hx, hy))))
        return best
