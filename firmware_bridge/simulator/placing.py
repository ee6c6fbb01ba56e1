"""Putting things on the ground without overlap."""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.flat import gap_m
from firmware_bridge.simulator.ground import Ground
from firmware_bridge.simulator.scene import Scene, Thing, rectangle

Rng = np.random.Generator
Builder = Callable[[Rng], Thing]


class Placer:
    """Collects things that do not overlap one another nor the ego vehicle at the origin.

    Args:
        rng: draws where things go.
        ego_m: footprint that stays free: centre x and y, half length, half width.
    """

    def __init__(self, rng: Rng, ego_m: tuple[float, float, float, float] = (1.4, 0.0, 2.8, 1.3)) -> None:
        self.rng = rng
        self.things: list[Thing] = []
        free = rectangle(0.0, 0.0, 0.0, ego_m)
        self._taken = [free]
        self._circles = [self._circle(free)]

    @staticmethod
    def _circle(corners: npt.NDArray[np.float64]) -> tuple[float, float, float]:
        x, y = corners.mean(axis=0)
        return float(x), float(y), float(np.hypot(*(corners[0] - (x, y))))

    def add(self, thing: Thing, x_m: float, y_m: float, yaw_rad: float = 0.0, speed_mps: float = 0.0, clear_m: float = 0.1) -> bool:
        """Put a thing at a place when nothing is within ``clear_m``; says whether it was."""
        thing.at(x_m, y_m, yaw_rad, speed_mps)
        if thing.footprint_m is not None:
            corners = thing.corners_m()
            x, y, radius = self._circle(corners)
            for (ox, oy, other_radius), other in zip(self._circles, self._taken, strict=True):
                if math.hypot(x - ox, y - oy) < radius + other_radius + clear_m and gap_m(corners, other) <= clear_m:
                    return False
            self._taken.append(corners)
            self._circles.append((x, y, radius))
        self.things.append(thing)
        return True

    def scatter(
        self, builders: tuple[Builder, ...], count: int, x_m: tuple[float, float], y_m: tuple[float, float], speed_mps: float = 0.0,
        clear_m: float = 0.1,
    ) -> None:  # fmt: skip
        """Try to put things anywhere in an area, turned anyhow; people and vehicles move at up to ``speed_mps``."""
        for _ in range(count):
            build = builders[int(self.rng.integers(len(builders)))]
            speed = float(self.rng.uniform(0.0, speed_mps)) if speed_mps else 0.0
            yaw = float(self.rng.uniform(-math.pi, math.pi))
            self.add(build(self.rng), float(self.rng.uniform(*x_m)), float(self.rng.uniform(*y_m)), yaw, speed, clear_m)

    def row(
        self, builders: tuple[Builder, ...], x_m: tuple[float, float], y_m: float, gap: tuple[float, float], yaw_rad: float = 0.0,
        jitter_m: float = 0.1,
    ) -> None:  # fmt: skip
        """Put things one behind the other along x, each turned by ``yaw_rad`` and a little more."""
        x = x_m[0]
        while x < x_m[1]:
            thing = builders[int(self.rng.integers(len(builders)))](self.rng)
            print_m = thing.footprint_m or (0.0, 0.0, 0.2, 0.2)
            c, s = abs(math.cos(yaw_rad)), abs(math.sin(yaw_rad))
            half = c * print_m[2] + s * print_m[3]
            x += half
            yaw = yaw_rad + float(self.rng.normal(0.0, 0.02))
            self.add(thing, x, y_m + float(self.rng.normal(0.0, jitter_m)), yaw, clear_m=0.02)
            x += half + float(self.rng.uniform(*gap))

    def scene(self, ground: Ground) -> Scene:
        """The scene that was put together."""
        return Scene(ground, self.things)
