"""The first pass over a scan: transform, range, region, self-filter, intensity, and the lowest points by polar cell.

One pass does all, because reading the points is what costs: 107,000 of them are 1.7 MB. Polar cells are counted from the sensor's axis:
sectors of equal angle, and rings whose width grows with the square root of the distance, as the spacing of beams on the ground does.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel, part

# Polar grid of the ground estimate: 2 degrees, and 0.6 m at 4 m, 1.6 m at 25 m, 3 m at 100 m with 100 m of reach.
SECTORS, RINGS = 180, 64
NOTHING = np.float32(1e9)  # lowest height of a cell without points

# Gates of a scan, float32 (G_SIZE,): metres in the vehicle frame, ranges from the sensor.
G_RANGE_MIN, G_RANGE_MAX, G_INTENSITY_MIN = 0, 1, 2
G_X_MIN, G_X_MAX, G_Y_MIN, G_Y_MAX, G_Z_MIN, G_Z_MAX = 3, 4, 5, 6, 7, 8
G_SELF_X_MIN, G_SELF_X_MAX, G_SELF_Y_MIN, G_SELF_Y_MAX, G_SELF_Z_MIN, G_SELF_Z_MAX = 9, 10, 11, 12, 13, 14
G_SIZE = 15


@part
def turns(y: Any, x: Any) -> Any:
    """The angle of (x, y) in turns, 0 to 1, within 4e-5; 5 ns where atan2 takes 20.

    Source: the odd minimax polynomial of degree 7 for arctan on [0, 1] (Abramowitz and Stegun 4.4.47 gives its form).
    """
    ax, ay = abs(x), abs(y)
    a = min(ax, ay) / (max(ax, ay) + np.float32(1e-20))
    s = a * a
    angle = ((np.float32(-0.0464964749) * s + np.float32(0.15931422)) * s - np.float32(0.327622764)) * s * a + a
    angle *= np.float32(1 / (2 * math.pi))
    if ay > ax:
        angle = np.float32(0.25) - angle
    if x < 0:
        angle = np.float32(0.5) - angle
    if y < 0:
        angle = np.float32(1.0) - angle
    return angle


@kernel(
    "int64(float32[:, ::1], int64, int64, int64[::1], float32[:, ::1], float32[::1], float32, "
    "float32[:, ::1], int32[::1], int32[::1], float32[:, ::1])"
)
def crop_points(
    points: npt.NDArray[np.float32],
    n: int,
    stride: int,
    columns: npt.NDArray[np.int64],
    mount: npt.NDArray[np.float32],
    gates: npt.NDArray[np.float32],
    scale: np.float32,
    cropped: npt.NDArray[np.float32],
    source: npt.NDArray[np.int32],
    cell: npt.NDArray[np.int32],
    lowest: npt.NDArray[np.float32],
) -> int:
    """Points of the region in the vehicle frame, and the two lowest heights of every polar cell.

    Args:
        points: float32 (n, k), sensor frame.
        n: rows to look at.
        stride: 1 looks at every row, 2 at every second one.
        columns: int64 (4,): columns of x, y, z and intensity; -1: no intensity.
        mount: float32 (3, 4), sensor to vehicle frame.
        gates: see G_*.
        scale: rings per root of a metre.
        cropped: out, float32 (n, 3).
        source: out, int32 (n,), row in ``points``.
        cell: out, int32 (n,), polar cell.
        lowest: out, float32 (2, SECTORS * RINGS): lowest and second lowest z, NOTHING where there is none.

    Returns:
        How many points were kept. Points that are not finite are not.
    """
    cx, cy, cz, ci = columns[0], columns[1], columns[2], columns[3]
    m00, m01, m02, m03 = mount[0, 0], mount[0, 1], mount[0, 2], mount[0, 3]
    m10, m11, m12, m13 = mount[1, 0], mount[1, 1], mount[1, 2], mount[1, 3]
    m20, m21, m22, m23 = mount[2, 0], mount[2, 1], mount[2, 2], mount[2, 3]
    near2, far2, dim = gates[G_RANGE_MIN] ** 2, gates[G_RANGE_MAX] ** 2, gates[G_INTENSITY_MIN]
    x_min, x_max, y_min, y_max = gates[G_X_MIN], gates[G_X_MAX], gates[G_Y_MIN], gates[G_Y_MAX]
    z_min, z_max = gates[G_Z_MIN], gates[G_Z_MAX]
    own_x_min, own_x_max, own_y_min, own_y_max = gates[G_SELF_X_MIN], gates[G_SELF_X_MAX], gates[G_SELF_Y_MIN], gates[G_SELF_Y_MAX]
    own_z_min, own_z_max = gates[G_SELF_Z_MIN], gates[G_SELF_Z_MAX]
    lowest[:] = NOTHING
    kept = 0
    for i in range(0, n, stride):
        sx, sy, sz = points[i, cx], points[i, cy], points[i, cz]
        range2 = sx * sx + sy * sy + sz * sz
        if not (range2 >= near2 and range2 <= far2):  # NaN fails both
            continue
        if ci >= 0 and points[i, ci] < dim:
            continue
        x = m00 * sx + m01 * sy + m02 * sz + m03
        y = m10 * sx + m11 * sy + m12 * sz + m13
        z = m20 * sx + m21 * sy + m22 * sz + m23
        if x < x_min or x > x_max or y < y_min or y > y_max or z < z_min or z > z_max:
            continue
        if own_x_min < x < own_x_max and own_y_min < y < own_y_max and own_z_min < z < own_z_max:
            continue
        dx, dy = x - m03, y - m13
        ring = min(int(math.sqrt(math.sqrt(dx * dx + dy * dy)) * scale), RINGS - 1)
        sector = min(int(turns(dy, dx) * np.float32(SECTORS)), SECTORS - 1)
        c = sector * RINGS + ring
        cropped[kept, 0] = x
        cropped[kept, 1] = y
        cropped[kept, 2] = z
        source[kept] = i
        cell[kept] = c
        kept += 1
        if z < lowest[0, c]:
            lowest[1, c] = lowest[0, c]
            lowest[0, c] = z
        elif z < lowest[1, c]:
            lowest[1, c] = z
    return kept
