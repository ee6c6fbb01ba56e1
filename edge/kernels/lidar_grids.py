"""Pictures of a scan: from the sensor (range image) and from above (occupancy and heights)."""

import math

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel
from edge.kernels.lidar_crop import turns
from edge.kernels.lidar_ground import NOISE, OBSTACLE


@kernel("void(float32[:, ::1], int64, int64[::1], float32, float32, float32[:, ::1])")
def range_image(
    points: npt.NDArray[np.float32], n: int, columns: npt.NDArray[np.int64], lowest: float, highest: float, image: npt.NDArray[np.float32]
) -> None:
    """Nearest range by elevation and azimuth.

    Args:
        points: float32 (n, k), sensor frame.
        n: points.
        columns: int64 (>= 3,), of x, y and z.
        lowest, highest: elevation of the last and of the first row's outer edges, rad.
        image: out, float32 (rows, columns), m; 0 where nothing was seen. The first column looks ahead, the next is to its left.
    """
    rows, width = image.shape
    image[:] = np.float32(0.0)
    per_rad = np.float32(rows) / (highest - lowest)
    for i in range(n):
        x, y, z = points[i, columns[0]], points[i, columns[1]], points[i, columns[2]]
        flat2 = x * x + y * y
        distance = math.sqrt(flat2 + z * z)
        if not (0 < distance < np.float32(1e9)):
            continue
        row = np.int64(math.floor((highest - math.atan2(z, math.sqrt(flat2))) * per_rad))
        if row < 0 or row >= rows:
            continue
        column = min(np.int64(turns(y, x) * np.float32(width)), width - 1)
        if image[row, column] == 0 or distance < image[row, column]:
            image[row, column] = distance


@kernel("void(float32[:, ::1], float32[::1], uint8[::1], int64, float32, float32, float32, int32[:, ::1], float32[:, ::1])")
def bird_eye(
    points: npt.NDArray[np.float32],
    height: npt.NDArray[np.float32],
    kind: npt.NDArray[np.uint8],
    n: int,
    x_min: float,
    y_min: float,
    per_m: float,
    occupancy: npt.NDArray[np.int32],
    top: npt.NDArray[np.float32],
) -> None:
    """Obstacle points and the highest one by cell, seen from above.

    Args:
        points: float32 (n, 3), vehicle frame.
        height: float32 (n,), above the ground, m.
        kind: uint8 (n,), see lidar_ground.
        n: points.
        x_min, y_min: of the grid's corner, m.
        per_m: cells per metre.
        occupancy: out, int32 (nx, ny), obstacle points in each cell; -1 where nothing at all was seen.
        top: out, float32 (nx, ny), greatest height of anything but noise, m; NaN where nothing was seen.
    """
    nx, ny = occupancy.shape
    occupancy[:] = -1
    top[:] = np.float32(np.nan)
    for i in range(n):
        if kind[i] == NOISE:
            continue
        column, row = (points[i, 0] - x_min) * per_m, (points[i, 1] - y_min) * per_m
        if not (0 <= column < nx and 0 <= row < ny):
            continue
        a, b = np.int64(column), np.int64(row)
        occupancy[a, b] = max(occupancy[a, b], 0) + (kind[i] == OBSTACLE)
        if not top[a, b] >= height[i]:
            top[a, b] = height[i]
