"""The ground under a scan, which may slope and bend: a walk outwards in every sector, checked against its neighbours.

One plane is wrong as soon as a road has a crown, a ramp or a crest. Here the height is followed from ring to ring with a limit on the
slope: an object's side is a step that the limit refuses, a hill is not. What stands alone between lower neighbours is no ground either.
Cells without evidence of their own, in the shadow of objects, are bridged.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel, part
from edge.kernels.lidar_crop import NOTHING, RINGS, SECTORS

GROUND, OBSTACLE, OVERHEAD, NOISE = 0, 1, 2, 3  # kinds of points

# Settings of the ground, float32 (S_SIZE,)
S_SLOPE, S_STEP, S_BELOW, S_LOW, S_TOP = 0, 1, 2, 3, 4
S_SIZE = 5

_SPREAD = 4  # sectors to either side that a cell is compared with
_NEAR_M = np.float32(12.0)  # the ground within this tells how the vehicle stands on it
_OFF_M = np.float32(0.5)  # most that its height can be off: load, tyres, an inexact mount
_WITHIN_M = (1.5, 0.7, 0.35, 0.2)  # of the plane so far, in turn; what is higher is an object
_TRUST_M = 6.0  # a gap longer than this gives no more freedom: it would let the walk climb onto a lorry
_SEAM_M = np.float32(0.25)  # how much higher than its lowest neighbour a cell may be on level ground


@part
def _plane(lowest: npt.NDArray[np.float32], scale: Any, slope_max: float) -> tuple[Any, Any, Any]:
    """Height at the sensor's axis and slopes of the plane under the vehicle: how it leans, and how the road does where it stands.

    Least squares over the near cells, of which fewer and fewer are believed.
    """
    c: Any = 0.0
    a: Any = 0.0
    b: Any = 0.0
    for within in _WITHIN_M:
        n = sx = sy = sz = sxx = sxy = syy = sxz = syz = 0.0
        for s in range(SECTORS):
            angle = (s + 0.5) * (2 * math.pi / SECTORS)
            cos, sin = math.cos(angle), math.sin(angle)
            for ring in range(RINGS):
                radius = ((ring + 0.5) / scale) ** 2
                if radius > _NEAR_M:
                    break
                z = lowest[1, s * RINGS + ring]
                x, y = radius * cos, radius * sin
                off = z - (c + a * x + b * y)
                if z >= NOTHING or off > 0.7 * within or off < -within:
                    continue
                n += 1.0
                sx += x
                sy += y
                sz += float(z)
                sxx += x * x
                sxy += x * y
                syy += y * y
                sxz += x * float(z)
                syz += y * float(z)
        if n < 12:
            break
        mx, my, mz = sx / n, sy / n, sz / n
        xx, xy, yy, xz, yz = sxx / n - mx * mx, sxy / n - mx * my, syy / n - my * my, sxz / n - mx * mz, syz / n - my * mz
        spread = xx * yy - xy * xy
        if spread < 1.0:  # all in one direction: no plane
            break
        a, b = (xz * yy - yz * xy) / spread, (yz * xx - xz * xy) / spread
        a, b = min(max(a, -slope_max), slope_max), min(max(b, -slope_max), slope_max)
        c = min(max(mz - a * mx - b * my, -_OFF_M), _OFF_M)
    return c, a, b


@kernel("void(float32[:, ::1], float32, float32[::1], float32[::1], float32[::1], uint8[::1])")
def estimate_ground(
    lowest: npt.NDArray[np.float32],
    scale: np.float32,
    settings: npt.NDArray[np.float32],
    walked: npt.NDArray[np.float32],
    ground: npt.NDArray[np.float32],
    evidence: npt.NDArray[np.uint8],
) -> None:
    """Height of the ground in every polar cell.

    Args:
        lowest: float32 (2, SECTORS * RINGS), see crop_points.
        scale: rings per root of a metre.
        settings: see S_*.
        walked: scratch, float32 (SECTORS * RINGS,): above the plane under the vehicle, or neighbours across a slope would look like steps.
        ground: out, float32 (SECTORS * RINGS,), m in the vehicle frame.
        evidence: out, uint8 (SECTORS * RINGS,): 1 where the ground itself was seen.
    """
    slope_max, step = settings[S_SLOPE], settings[S_STEP]
    at_zero, along_x, along_y = _plane(lowest, scale, slope_max)
    for s in range(SECTORS):
        angle = (s + 0.5) * (2 * math.pi / SECTORS)
        height, reach = at_zero, np.float32(0.0)
        tilt = np.float32(along_x * math.cos(angle) + along_y * math.sin(angle))
        slope = tilt
        for b in range(RINGS):
            c = s * RINGS + b
            radius = np.float32(((b + 0.5) / scale) ** 2)
            ahead = radius - reach
            expected = height + slope * ahead
            z = lowest[1, c] if lowest[1, c] < NOTHING else lowest[0, c]  # one stray below the road is not the ground
            evidence[c] = 0
            walked[c] = expected - tilt * radius
            if z >= NOTHING:
                continue
            free = step + slope_max * min(ahead, np.float32(_TRUST_M)) * (np.float32(0.5) if reach == 0 else np.float32(1.0))
            if abs(z - expected) <= free and abs(z - height) <= step + np.float32(1.5) * slope_max * ahead:
                evidence[c] = 1
                walked[c] = z - tilt * radius
                if reach > 0:
                    seen_slope = min(max((z - height) / max(ahead, np.float32(1e-3)), -slope_max), slope_max)
                    slope += (seen_slope - slope) * min(ahead / np.float32(4.0), np.float32(0.5))
                height, reach = z, radius
    for s in range(SECTORS):
        angle = (s + 0.5) * (2 * math.pi / SECTORS)
        tilt = np.float32(along_x * math.cos(angle) + along_y * math.sin(angle))
        for b in range(RINGS):
            c = s * RINGS + b
            level = tilt * np.float32(((b + 0.5) / scale) ** 2)
            low, total, count = NOTHING, np.float32(0.0), 0
            for d in range(-_SPREAD, _SPREAD + 1):
                other = ((s + d) % SECTORS) * RINGS + b
                if evidence[other] and walked[other] < low:
                    low = walked[other]
            ground[c] = walked[c] + level
            if low >= NOTHING:
                continue
            arc = np.float32(((b + 0.5) / scale) ** 2 * (2 * math.pi / SECTORS * _SPREAD))
            if evidence[c] and walked[c] <= low + _SEAM_M + np.float32(0.5) * slope_max * arc:
                continue
            for d in range(-_SPREAD, _SPREAD + 1):
                other = ((s + d) % SECTORS) * RINGS + b
                if evidence[other] and walked[other] <= low + _SEAM_M:
                    total += walked[other]
                    count += 1
            ground[c] = total / count + level


@kernel(
    "int64(float32[:, ::1], int32[::1], int64, float32[::1], float32, float32, float32, float32[::1], "
    "float32[::1], uint8[::1], float32[:, ::1], int32[::1])"
)
def split_points(
    cropped: npt.NDArray[np.float32],
    cell: npt.NDArray[np.int32],
    n: int,
    ground: npt.NDArray[np.float32],
    scale: np.float32,
    axis_x: float,
    axis_y: float,
    settings: npt.NDArray[np.float32],
    height: npt.NDArray[np.float32],
    kind: npt.NDArray[np.uint8],
    obstacles: npt.NDArray[np.float32],
    place: npt.NDArray[np.int32],
) -> int:
    """Height above the ground of every point, and the obstacles among them.

    Args:
        cropped: float32 (n, 3), vehicle frame.
        cell: int32 (n,), polar cell.
        n: points.
        ground: float32 (SECTORS * RINGS,), see estimate_ground.
        scale: rings per root of a metre.
        axis_x, axis_y: the sensor in the vehicle frame, m.
        settings: see S_*.
        height: out, float32 (n,), m above the ground.
        kind: out, uint8 (n,): GROUND, OBSTACLE, OVERHEAD, or NOISE far below the ground.
        obstacles: out, float32 (n, 4): x, y, z and the height above the ground of the obstacles.
        place: out, int32 (n,): row in ``cropped`` of each obstacle.

    Returns:
        How many obstacle points there are.
    """
    low, top, below = settings[S_LOW], settings[S_TOP], -settings[S_BELOW]
    found = 0
    for i in range(n):
        c = cell[i]
        b = c % RINGS
        x, y, z = cropped[i, 0], cropped[i, 1], cropped[i, 2]
        dx, dy = x - axis_x, y - axis_y
        at = math.sqrt(math.sqrt(dx * dx + dy * dy)) * scale - np.float32(0.5)  # of ring centres
        inner = min(max(int(at), 0), RINGS - 2)
        share = min(max(at - np.float32(inner), np.float32(0.0)), np.float32(1.0))
        base = c - b + inner
        above = z - (ground[base] * (np.float32(1.0) - share) + ground[base + 1] * share)
        height[i] = above
        if above < low:
            kind[i] = GROUND if above >= below else NOISE
        elif above < top:
            kind[i] = OBSTACLE
            obstacles[found, 0] = x
            obstacles[found, 1] = y
            obstacles[found, 2] = z
            obstacles[found, 3] = above
            place[found] = i
            found += 1
        else:
            kind[i] = OVERHEAD
    return found
