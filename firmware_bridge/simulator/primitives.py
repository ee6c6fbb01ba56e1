"""How the parts of a thing are written down: boxes, cylinders, ellipsoids and capsules in the thing's own frame, in metres."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.hits import BOX, CAPSULE, CYLINDER, ELLIPSOID

Floats = npt.NDArray[np.float64]
Point = tuple[float, float, float]


class Part(NamedTuple):
    """One primitive of a thing.

    Args:
        kind: BOX to CAPSULE.
        shape: six numbers, see ``hits``.
        rotation: float64 (3, 3), columns are the primitive's axes.
        centre: metres in the thing's frame.
        reflectivity: 0 to 1 for diffuse surfaces, more for retroreflectors.
        opacity: probability that a ray stops at the surface (glass, fences, spokes).
        density_per_m: hits per metre of way inside; 0 for solids, above 0 the surface itself stops nothing (leaves).
    """

    kind: int
    shape: tuple[float, float, float, float, float, float]
    rotation: Floats
    centre: Point
    reflectivity: float = 0.3
    opacity: float = 1.0
    density_per_m: float = 0.0

    @property
    def half_extent_m(self) -> Floats:
        """Half lengths (3,) of the primitive along its own axes."""
        a, b, c = self.shape[:3]
        return np.array([a, a, c + a] if self.kind == CAPSULE else [a, b, c])

    @property
    def radius_m(self) -> float:
        """Radius of the bounding sphere."""
        half = self.half_extent_m
        if self.kind == BOX:
            return float(np.linalg.norm(half))
        if self.kind == CYLINDER:
            return math.hypot(max(half[0], half[1]), half[2])
        return float(half.max())

    def bounds_m(self) -> tuple[Floats, Floats]:
        """Lowest and highest corner (3,) of a box along the thing's axes that holds the primitive."""
        reach = np.abs(self.rotation) @ self.half_extent_m
        return np.asarray(self.centre) - reach, np.asarray(self.centre) + reach


def turned(yaw_rad: float) -> Floats:
    """Rotation (3, 3) about z."""
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def pointing(direction: Point) -> Floats:
    """Rotation (3, 3) whose z axis points in a direction."""
    z = np.asarray(direction, np.float64)
    z = z / np.linalg.norm(z)
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.9 else [1.0, 0.0, 0.0], z)
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])


def box(centre: Point, size: Point, slopes: Point = (0.0, 0.0, 0.0), yaw_rad: float = 0.0, **surface: Any) -> Part:
    """A box: full length, width and height, and how front, rear and sides recede per metre of height."""
    return Part(BOX, (size[0] / 2, size[1] / 2, size[2] / 2, *slopes), turned(yaw_rad), centre, **surface)


def cylinder(centre: Point, radius: float, length: float, axis: Point = (0.0, 0.0, 1.0), **surface: Any) -> Part:
    """A round cylinder around an axis through its centre."""
    return Part(CYLINDER, (radius, radius, length / 2, 0.0, 0.0, 0.0), pointing(axis), centre, **surface)


def ellipsoid(centre: Point, radii: Point, yaw_rad: float = 0.0, **surface: Any) -> Part:
    """An ellipsoid with three radii."""
    return Part(ELLIPSOID, (*radii, 0.0, 0.0, 0.0), turned(yaw_rad), centre, **surface)


def trunk(bottom: Point, top: Point, radii: tuple[float, float], **surface: Any) -> Part:
    """An elliptic cylinder between two points; the first radius is along x."""
    axis, middle = np.subtract(top, bottom), np.add(top, bottom) / 2
    shape = (radii[0], radii[1], float(np.linalg.norm(axis)) / 2, 0.0, 0.0, 0.0)
    return Part(CYLINDER, shape, pointing(_point(axis)), _point(middle), **surface)


def capsule(start: Point, end: Point, radius: float, **surface: Any) -> Part:
    """A capsule whose end balls are centred on two points."""
    axis, middle = np.subtract(end, start), np.add(start, end) / 2
    length = float(np.linalg.norm(axis))
    rotation = pointing(_point(axis)) if length > 1e-9 else np.eye(3)
    return Part(CAPSULE, (radius, 0.0, length / 2, 0.0, 0.0, 0.0), rotation, _point(middle), **surface)


def _point(values: Floats) -> Point:
    return float(values[0]), float(values[1]), float(values[2])
