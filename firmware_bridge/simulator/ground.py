"""The ground: a height over the plane, made so that a ray meets it in closed form.

It is the sum of a base whose grade changes along x (pieces of parabolas), a crown across y, and the highest of the pads over a point:
rectangles with a height and slopes of their own, whose edges are vertical (pavements behind kerbs, embankments, ramps). Between the
edges the height under a ray is a parabola. Fine roughness moves the point that was found.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.hits import MISS, uniform
from firmware_bridge.simulator.jit import kernel, part

Floats = npt.NDArray[np.float64]
_FLAT = np.array([[0.0, 0.0, 0.0, 0.0]])
_BREAKS = 96


def _no_pads() -> Floats:
    return np.zeros((0, 9))


def pad(
    x_m: float, y_m: float, yaw_rad: float, size_m: tuple[float, float], height_m: float, slopes: tuple[float, float] = (0.0, 0.0)
) -> Floats:
    """One raised rectangle around a centre.

    Args:
        x_m, y_m, yaw_rad: centre and direction.
        size_m: length along that direction and width across.
        height_m: height over the base at the centre.
        slopes: rise per metre along and across.

    Returns:
        float64 (9,): a row of ``Ground.pads``.
    """
    return np.array([x_m, y_m, math.cos(yaw_rad), math.sin(yaw_rad), size_m[0] / 2, size_m[1] / 2, height_m, slopes[0], slopes[1]])


def profile(starts_m: list[float], grades: list[float], blend_m: float = 10.0) -> Floats:
    """Pieces of a base whose grade goes from one value to the next within ``blend_m`` after each start; its height at x = 0 is 0.

    Args:
        starts_m: increasing x where a grade begins; the first one holds before it too.
        grades: rise per metre, one per start.
        blend_m: length of each change, at most the distance between starts.

    Returns:
        float64 (p, 4): rows of ``Ground.base``.
    """
    rows = [[starts_m[0], 0.0, grades[0], 0.0]]
    for start, before, after in zip(starts_m[1:], grades[:-1], grades[1:], strict=True):
        bend = (after - before) / (2 * blend_m)
        for x, grade, curve in ((start, before, bend), (start + blend_m, after, 0.0)):
            x0, z0, g0, c0 = rows[-1]
            rows.append([x, z0 + (x - x0) * (g0 + c0 * (x - x0)), grade, curve])
    table = np.array(rows)
    table[:, 1] -= ground_height(table, np.zeros(3), _no_pads(), 0.0, 0.0)
    return table


@dataclass(frozen=True, eq=False)
class Ground:
    """A ground surface.

    Args:
        base: float64 (p, 4): x where a piece begins, height, grade and half curvature there; rows by increasing x.
        crown: slope down to both sides, y of the ridge (m), distance from the ridge to which it falls (m).
        pads: float64 (m, 9), see ``pad``; where they overlap the highest counts.
        roughness_m: amplitude of fine unevenness, wave length about 0.6 m.
        reflectivity: of the surface, 0 to 1.
    """

    base: Floats = field(default_factory=_FLAT.copy)
    crown: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pads: Floats = field(default_factory=_no_pads)
    roughness_m: float = 0.01
    reflectivity: float = 0.2

    def height_m(self, x_m: float, y_m: float) -> float:
        """Height at a point, without the fine roughness."""
        return float(ground_height(self.base, np.asarray(self.crown, np.float64), self.pads, x_m, y_m))

    def tilt_rad(self, x_m: float, y_m: float, yaw_rad: float, length_m: float, width_m: float) -> tuple[float, float]:
        """Pitch (nose down is positive) and roll of a body that stands on four points of the ground."""
        c, s = math.cos(yaw_rad), math.sin(yaw_rad)
        fore, side = length_m / 2, width_m / 2
        front, rear = self.height_m(x_m + c * fore, y_m + s * fore), self.height_m(x_m - c * fore, y_m - s * fore)
        left, right = self.height_m(x_m - s * side, y_m + c * side), self.height_m(x_m + s * side, y_m - c * side)
        return -math.atan2(front - rear, length_m), math.atan2(left - right, width_m)


@part
def _surface(base: Floats, crown: Floats, pads: Floats, x: float, y: float) -> tuple[float, float, float, float]:
    """Height at a point, its slope along x and y there, and half its curvature along x."""
    row = 0
    while row + 1 < base.shape[0] and base[row + 1, 0] <= x:
        row += 1
    u = x - base[row, 0]
    z, gx, gy, curve = base[row, 1] + u * (base[row, 2] + u * base[row, 3]), base[row, 2] + 2.0 * u * base[row, 3], 0.0, base[row, 3]
    off = y - crown[1]
    z -= crown[0] * min(abs(off), crown[2])
    if abs(off) < crown[2]:
        gy = -crown[0] if off > 0.0 else crown[0]
    top, highest = 0.0, -1
    for i in range(pads.shape[0]):
        rx, ry = x - pads[i, 0], y - pads[i, 1]
        u, v = rx * pads[i, 2] + ry * pads[i, 3], ry * pads[i, 2] - rx * pads[i, 3]
        if abs(u) <= pads[i, 4] and abs(v) <= pads[i, 5]:
            height = pads[i, 6] + u * pads[i, 7] + v * pads[i, 8]
            if highest < 0 or height > top:
                top, highest = height, i
    if highest >= 0:
        gx += pads[highest, 2] * pads[highest, 7] - pads[highest, 3] * pads[highest, 8]
        gy += pads[highest, 3] * pads[highest, 7] + pads[highest, 2] * pads[highest, 8]
    return z + top, gx, gy, curve


@kernel
def ground_height(base: Floats, crown: Floats, pads: Floats, x: float, y: float) -> float:
    """Height of the ground at a point, in metres."""
    return _surface(base, crown, pads, x, y)[0]


@part
def _edge(room: float, rate: float, limit: float, breaks: Floats, n: int) -> int:
    """Note where a ray crosses a line, ``room`` away and approached at ``rate``."""
    if abs(rate) > 1e-12:
        at = room / rate
        if 0.0 < at < limit and n < _BREAKS - 1:
            breaks[n] = at
            return n + 1
    return n


@part
def _breaks(  # noqa: C901 - one bare loop
    base: Floats, crown: Floats, pads: Floats, o: Floats, d: Floats, limit: float, breaks: Floats
) -> int:
    """Distances, increasing, at which the height under a ray stops being one parabola; the last is ``limit``."""
    n = 0
    for i in range(1, base.shape[0]):
        n = _edge(base[i, 0] - o[0], d[0], limit, breaks, n)
    if crown[0] != 0.0:
        for side in (-1.0, 0.0, 1.0):
            n = _edge(crown[1] + side * crown[2] - o[1], d[1], limit, breaks, n)
    for i in range(pads.shape[0]):
        rx, ry = o[0] - pads[i, 0], o[1] - pads[i, 1]
        u, v = rx * pads[i, 2] + ry * pads[i, 3], ry * pads[i, 2] - rx * pads[i, 3]
        du, dv = d[0] * pads[i, 2] + d[1] * pads[i, 3], d[1] * pads[i, 2] - d[0] * pads[i, 3]
        near, far = 0.0, limit
        if abs(du) > 1e-12:
            at, to = (-pads[i, 4] - u) / du, (pads[i, 4] - u) / du
            near, far = max(near, min(at, to)), min(far, max(at, to))
        elif abs(u) > pads[i, 4]:
            far = -1.0
        if abs(dv) > 1e-12:
            at, to = (-pads[i, 5] - v) / dv, (pads[i, 5] - v) / dv
            near, far = max(near, min(at, to)), min(far, max(at, to))
        elif abs(v) > pads[i, 5]:
            far = -1.0
        if near < far and n < _BREAKS - 2:
            breaks[n], breaks[n + 1] = near, far
            n += 2
    breaks[n] = limit
    n += 1
    for i in range(1, n):
        value, j = breaks[i], i - 1
        while j >= 0 and breaks[j] > value:
            breaks[j + 1] = breaks[j]
            j -= 1
        breaks[j + 1] = value
    return n


@part
def ground_hit(base: Floats, crown: Floats, pads: Floats, o: Floats, d: Floats, limit: float, breaks: Floats) -> tuple[float, float]:
    """Distance at which the ray from o in the unit direction d meets the ground, or MISS, and the cosine of incidence there."""
    begin = 0.0
    for i in range(_breaks(base, crown, pads, o, d, limit, breaks)):
        end = breaks[i]
        half = 0.5 * (end - begin)
        if half < 1e-6:
            continue
        m = begin + half
        z, gx, gy, curve = _surface(base, crown, pads, o[0] + m * d[0], o[1] + m * d[1])
        bend = -curve * d[0] * d[0]  # height over the ground is at + slope s + bend s^2, s from 0 at the beginning
        at, slope = o[2] + m * d[2] - z, d[2] - gx * d[0] - gy * d[1]
        at, slope = at - half * (slope - half * bend), slope - 2.0 * half * bend
        if at < 0.0:  # came through the upright face of a pad
            return (begin, math.sqrt(max(0.0, 1.0 - d[2] * d[2]))) if begin > 0.0 else (MISS, 0.0)
        root = slope * slope - 4.0 * bend * at
        if root >= 0.0:
            root = math.sqrt(root)
            if root > slope:
                s = 2.0 * at / (root - slope)  # the smaller positive root, stable when bend is near 0
                if s <= end - begin:
                    return begin + s, root / math.sqrt(1.0 + gx * gx + gy * gy)
        begin = end
    return MISS, 0.0


@part
def bump(x: float, y: float) -> float:
    """Smooth noise in -1..1 over the plane, wave length about 0.6 m."""
    x, y = x / 0.3, y / 0.3
    fx, fy = math.floor(x), math.floor(y)
    u, v = x - fx, y - fy
    u, v = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v)
    ix, iy = int(fx), int(fy)
    low = uniform(ix, iy, 7) * (1.0 - u) + uniform(ix + 1, iy, 7) * u
    high = uniform(ix, iy + 1, 7) * (1.0 - u) + uniform(ix + 1, iy + 1, 7) * u
    return 2.0 * (low * (1.0 - v) + high * v) - 1.0
