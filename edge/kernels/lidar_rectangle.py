"""The oriented rectangle around a cluster, seen from above.

Its direction is the one in which the points lie nearest to two edges: a vehicle is seen from one corner, and the smallest rectangle would
stand askew in it. Source: Zhang, Xu, Dong and Dolan, "Efficient L-Shape Fitting for Vehicle Detection Using Laser Scanners" (IV 2017).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import part

# Columns of a box, float32 (m, 8): m and rad in the vehicle frame; nearest is the distance from the vehicle's outline.
B_X, B_Y, B_Z, B_LENGTH, B_WIDTH, B_HEIGHT, B_YAW, B_NEAREST = 0, 1, 2, 3, 4, 5, 6, 7
BOX_SIZE = 8

_DIRECTIONS = 30  # of a quarter turn: 3 degrees
_FITTED = 96  # most voxels that choose the direction; the extents are of all
THIN_M = np.float32(0.05)  # an edge is no sharper than this; and no box is thinner
CLEAR_M = np.float32(0.02)  # a box that holds the vehicle is wrong when none of its points is this near
LONGEST_M = np.float32(25.0)  # nothing on wheels is longer but trains


@part
def direction(voxels: npt.NDArray[np.float32], order: npt.NDArray[np.int32], start: int, stop: int) -> tuple[Any, Any]:
    """Angle of the best-fitting rectangle in a quarter turn, and the mean distance of the points from its nearest edges, m."""
    step = max((stop - start) // _FITTED, 1)
    best, closest, away = np.float32(0.0), np.float32(-1.0), np.float32(0.0)
    for d in range(_DIRECTIONS):
        angle = np.float32(d * (0.5 * math.pi / _DIRECTIONS))
        c, s = math.cos(angle), math.sin(angle)
        u_min, u_max, v_min, v_max = np.float32(1e9), np.float32(-1e9), np.float32(1e9), np.float32(-1e9)
        for k in range(start, stop, step):
            x, y = voxels[order[k], 0], voxels[order[k], 1]
            u, v = c * x + s * y, c * y - s * x
            u_min, u_max, v_min, v_max = min(u_min, u), max(u_max, u), min(v_min, v), max(v_max, v)
        score, total, count = np.float32(0.0), np.float32(0.0), 0
        for k in range(start, stop, step):
            x, y = voxels[order[k], 0], voxels[order[k], 1]
            u, v = c * x + s * y, c * y - s * x
            off = min(u - u_min, u_max - u, v - v_min, v_max - v)
            score += np.float32(1.0) / max(off, THIN_M)
            total += off
            count += 1
        if score > closest:
            best, closest, away = angle, score, total / np.float32(count)
    return best, away


@part
def is_around(boxes: npt.NDArray[np.float32], row: int, outline: npt.NDArray[np.float32]) -> bool:
    """Whether a corner, the middle of a side, or the middle of the vehicle lies in a box."""
    c, s = math.cos(boxes[row, B_YAW]), math.sin(boxes[row, B_YAW])
    for i in range(9):
        x = outline[0] + np.float32(0.5 * (i % 3)) * (outline[1] - outline[0]) - boxes[row, B_X]
        y = outline[2] + np.float32(0.5 * (i // 3)) * (outline[3] - outline[2]) - boxes[row, B_Y]
        if abs(c * x + s * y) < 0.5 * boxes[row, B_LENGTH] and abs(c * y - s * x) < 0.5 * boxes[row, B_WIDTH]:
            return True
    return False


@part
def put_box(
    boxes: npt.NDArray[np.float32], row: int, angle: Any, u_min: Any, u_max: Any, v_min: Any, v_max: Any, z_min: Any, z_max: Any
) -> None:
    """Write a box, its longer side first, but for the distance."""
    c, s = math.cos(angle), math.sin(angle)
    length, width = max(u_max - u_min, THIN_M), max(v_max - v_min, THIN_M)
    cu, cv = np.float32(0.5) * (u_min + u_max), np.float32(0.5) * (v_min + v_max)
    yaw = angle
    if width > length:
        length, width = width, length
        yaw = angle - np.float32(0.5 * math.pi)
    boxes[row, B_X], boxes[row, B_Y], boxes[row, B_Z] = c * cu - s * cv, s * cu + c * cv, np.float32(0.5) * (z_min + z_max)
    boxes[row, B_LENGTH], boxes[row, B_WIDTH], boxes[row, B_HEIGHT] = length, width, max(z_max - z_min, THIN_M)
    boxes[row, B_YAW] = yaw
