"""The world that is scanned: a ground and things that stand on it, each with a class, an identity and a way to move."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.cast import Parts, rotation
from firmware_bridge.simulator.ground import Ground
from firmware_bridge.simulator.primitives import Part
from firmware_bridge.simulator.sense import LABEL_GROUND, LABEL_OTHER, LABEL_VEHICLE

Floats = npt.NDArray[np.float64]
_LOW_M = 1.9  # a vehicle drives under what begins above this


@dataclass(frozen=True, eq=False)
class Track:
    """A way given by points in time, straight and even between them; before the first and after the last it stands still.

    Args:
        times_s: increasing, two or more.
        points: float64 (n, 3): x and y in metres, yaw in radians.
    """

    times_s: Floats
    points: Floats

    def pose(self, t_s: float) -> tuple[Floats, Floats]:
        """Pose (3,) and velocity (3,) at a time."""
        i = int(np.searchsorted(self.times_s, t_s, side="right")) - 1
        if i < 0 or i + 1 >= len(self.times_s):
            return self.points[0 if i < 0 else -1], np.zeros(3)
        rate = (self.points[i + 1] - self.points[i]) / (self.times_s[i + 1] - self.times_s[i])
        return self.points[i] + rate * (t_s - self.times_s[i]), rate


@dataclass(eq=False)
class Thing:
    """Something that stands on the ground or moves over it.

    Args:
        name: what it is, such as ``"van"``.
        label: LABEL_VEHICLE, LABEL_VULNERABLE, LABEL_OTHER, or LABEL_GROUND for a bump in the road.
        parts: in its own frame: x forward, z up, origin on the ground.
        x_m, y_m, yaw_rad: pose at time 0.
        velocity_mps: along x and y of the world.
        is_upright: stands straight on a slope (a pole, a person); otherwise it leans with the ground (a car).
        track: replaces pose and velocity.
    """

    name: str
    label: int
    parts: tuple[Part, ...]
    x_m: float = 0.0
    y_m: float = 0.0
    yaw_rad: float = 0.0
    velocity_mps: tuple[float, float] = (0.0, 0.0)
    is_upright: bool = True
    track: Track | None = field(default=None, repr=False)

    def at(self, x_m: float, y_m: float, yaw_rad: float = 0.0, speed_mps: float = 0.0) -> "Thing":
        """Put the thing somewhere, moving straight ahead, and return it."""
        self.x_m, self.y_m, self.yaw_rad = x_m, y_m, yaw_rad
        self.velocity_mps = (speed_mps * math.cos(yaw_rad), speed_mps * math.sin(yaw_rad))
        return self

    def pose(self, t_s: float) -> tuple[Floats, Floats]:
        """Pose (x, y, yaw) and its rate of change at a time."""
        if self.track is not None:
            return self.track.pose(t_s)
        vx, vy = self.velocity_mps
        return np.array([self.x_m + vx * t_s, self.y_m + vy * t_s, self.yaw_rad]), np.array([vx, vy, 0.0])

    @cached_property
    def footprint_m(self) -> tuple[float, float, float, float] | None:
        """What the thing covers below the height of a vehicle, or None.

        Returns:
            Centre x and y, half length and half width, in its own frame.
        """
        bounds = [part.bounds_m() for part in self.parts]
        low = [(lo, hi) for lo, hi in bounds if lo[2] < _LOW_M]
        if not low:
            return None
        lo, hi = np.min([b[0] for b in low], axis=0), np.max([b[1] for b in low], axis=0)
        return float((lo[0] + hi[0]) / 2), float((lo[1] + hi[1]) / 2), float((hi[0] - lo[0]) / 2), float((hi[1] - lo[1]) / 2)

    @property
    def is_obstacle(self) -> bool:
        """Whether a vehicle that drives over its place hits it."""
        return self.label != LABEL_GROUND and self.footprint_m is not None

    def corners_m(self, t_s: float = 0.0) -> Floats:
        """Corners (4, 2) of the footprint in the world, counter-clockwise; only for things that have one."""
        assert self.footprint_m is not None  # noqa: S101 - callers ask is_obstacle first
        pose, _ = self.pose(t_s)
        return rectangle(float(pose[0]), float(pose[1]), float(pose[2]), self.footprint_m)


class Scene:
    """A ground with things, ready to be scanned at any time.

    Args:
        ground: what the things stand on.
        things: the position in the list, plus one, is the instance of a thing.
    """

    def __init__(self, ground: Ground, things: Sequence[Thing]) -> None:
        self.ground = ground
        self.things = tuple(things)
        flat = [part for thing in self.things for part in thing.parts]
        self._of = np.repeat(np.arange(len(self.things)), [len(thing.parts) for thing in self.things])
        self._kinds = np.array([part.kind for part in flat], np.int64)
        self._shapes = np.array([part.shape for part in flat], np.float64).reshape(-1, 6)
        self._rotations = np.array([part.rotation for part in flat], np.float64).reshape(-1, 3, 3)
        self._centres = np.array([part.centre for part in flat], np.float64).reshape(-1, 3)
        self._radii = np.array([part.radius_m for part in flat], np.float64)
        self._surfaces = np.array([(p.opacity, p.density_per_m, p.reflectivity) for p in flat], np.float64).reshape(-1, 3)
        self._labels = np.array([thing.label for thing in self.things], np.uint8)[self._of]
        self._instances = np.where(self._labels == LABEL_GROUND, 0, self._of + 1).astype(np.int32)

    def parts(self, t_s: float = 0.0) -> Parts:
        """All primitives where they are at a time."""
        turns, places, speeds = np.empty((len(self.things), 3, 3)), np.empty((len(self.things), 3)), np.zeros((len(self.things), 3))
        for i, thing in enumerate(self.things):
            pose, rate = thing.pose(t_s)
            x, y, yaw = float(pose[0]), float(pose[1]), float(pose[2])
            pitch, roll = (0.0, 0.0) if thing.is_upright else self.ground.tilt_rad(x, y, yaw, *self._stance(thing))
            turns[i] = rotation(roll, pitch, yaw)
            places[i] = x, y, self.ground.height_m(x, y)
            speeds[i, :2] = rate[:2]
            speeds[i, 2] = 10.0 * (self.ground.height_m(x + 0.1 * rate[0], y + 0.1 * rate[1]) - places[i, 2]) if rate[:2].any() else 0.0
        of = self._of
        return Parts(
            self._kinds, self._shapes, np.ascontiguousarray(turns[of] @ self._rotations),
            (turns[of] @ self._centres[:, :, None])[:, :, 0] + places[of], speeds[of], self._radii, self._surfaces, self._labels,
            self._instances,
        )  # fmt: skip

    @staticmethod
    def _stance(thing: Thing) -> tuple[float, float]:
        print_m = thing.footprint_m
        return (1.0, 1.0) if print_m is None else (1.4 * print_m[2], 1.6 * print_m[3])

    def label_of(self, instance: int) -> int:
        """Class of an instance that a scan reports."""
        return LABEL_GROUND if instance == 0 else LABEL_OTHER if instance < 0 else self.things[instance - 1].label

    def count(self, label: int = LABEL_VEHICLE) -> int:
        """Number of things of a class."""
        return sum(thing.label == label for thing in self.things)


def rectangle(x_m: float, y_m: float, yaw_rad: float, footprint_m: tuple[float, float, float, float]) -> Floats:
    """Corners (4, 2), counter-clockwise, of a footprint (centre x, centre y, half length, half width) at a pose."""
    cx, cy, hx, hy = footprint_m
    local = np.array([[cx + hx, cy - hy], [cx + hx, cy + hy], [cx - hx, cy + hy], [cx - hx, cy - hy]])
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    corners: Floats = local @ np.array([[c, s], [-s, c]]) + np.array([x_m, y_m])
    return corners
