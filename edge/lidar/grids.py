"""Pictures of a scan as arrays: from the sensor, and from above. Checks everything before a kernel sees it."""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from edge.kernels.lidar_grids import bird_eye as bird_eye_kernel
from edge.kernels.lidar_grids import range_image as range_image_kernel

F32 = npt.NDArray[np.float32]
MOST_CELLS = 64_000_000  # of a grid: 256 MB


class BirdEye(msgspec.Struct, frozen=True):
    """A scan from above.

    Args:
        occupancy: int32 (nx, ny), obstacle points in each cell; -1 where nothing at all was seen.
        top: float32 (nx, ny), greatest height above the ground of anything but noise, m; NaN where nothing was seen.
    """

    occupancy: npt.NDArray[np.int32]
    top: F32


def range_image(
    points: npt.ArrayLike, rows: int, columns: int, elevation_deg: Sequence[float], fields: Sequence[str] = ("x", "y", "z")
) -> F32:
    """Nearest range by elevation and azimuth, as the sensor sees it.

    Args:
        points: (n, k), metres, sensor frame. What is not finite is left out.
        rows, columns: of the image.
        elevation_deg: lowest and highest, of the outer edges of the last and of the first row.
        fields: names of the k columns.

    Returns:
        float32 (rows, columns), m; 0 where nothing was seen. The first column looks ahead, the next is to its left.

    Raises:
        ValueError: an argument that cannot be; the message names it.
    """
    at = [_column(fields, name) for name in ("x", "y", "z")]
    given = _floats("points", points, len(fields))
    _check_size("rows", rows, "columns", columns)
    low, high = _span("elevation_deg", elevation_deg)
    if not -90 <= low < high <= 90:
        raise ValueError(f"elevation_deg is [{low:g}, {high:g}]; within -90 and 90 are due")
    image = np.empty((rows, columns), np.float32)
    edges = np.radians(np.array([low, high])).astype(np.float32)
    range_image_kernel(given, len(given), np.array(at, np.int64), edges[0], edges[1], image)
    return image


def bird_eye(
    points: npt.ArrayLike, height: npt.ArrayLike, kind: npt.ArrayLike, x_m: Sequence[float], y_m: Sequence[float], cell_m: float
) -> BirdEye:
    """Obstacle points and the highest one by cell.

    Args:
        points: (n, >= 3), x, y, z in the vehicle frame, m. After a look: ``look.memory.cropped[: look.n]``.
        height: (n,), above the ground, m: ``look.memory.height[: look.n]``.
        kind: (n,), 0 ground, 1 obstacle, 2 overhead, 3 noise: ``look.memory.kind[: look.n]``.
        x_m, y_m: lowest and highest; what lies outside is left out.
        cell_m: edge of a cell.

    Returns:
        Cells by x and y: the first is at the lowest of both.

    Raises:
        ValueError: an argument that cannot be; the message names it.
    """
    given = _floats("points", points, None)
    heights, kinds = np.ascontiguousarray(height, np.float32), np.asarray(kind)
    for name, array in (("height", heights), ("kind", kinds)):
        if array.shape != (len(given),):
            raise ValueError(f"{name} has shape {array.shape}; there are {len(given)} points")
    if len(kinds) and (kinds.dtype.kind not in "iu" or kinds.min() < 0 or kinds.max() > 3):
        raise ValueError("kind must be whole numbers from 0 to 3")
    (x0, x1), (y0, y1) = _span("x_m", x_m), _span("y_m", y_m)
    if not (math.isfinite(cell_m) and cell_m > 0):
        raise ValueError(f"cell_m is {cell_m}; must be finite and greater than 0")
    nx, ny = math.ceil((x1 - x0) / cell_m - 1e-6), math.ceil((y1 - y0) / cell_m - 1e-6)  # 2 m of 0.1 m are 20 cells, not 21
    _check_size("cells along x_m", nx, "cells along y_m", ny)
    occupancy, top = np.empty((nx, ny), np.int32), np.empty((nx, ny), np.float32)
    unsigned = np.ascontiguousarray(kinds, np.uint8)
    bird_eye_kernel(given, heights, unsigned, len(given), x0, y0, 1 / cell_m, occupancy, top)
    return BirdEye(occupancy, top)


def _column(fields: Sequence[str], name: str) -> int:
    if list(fields).count(name) != 1:
        raise ValueError(f"fields are {', '.join(fields)}; {name} must be there once")
    return list(fields).index(name)


def _floats(name: str, points: npt.ArrayLike, width: int | None) -> F32:
    given = np.array(points, np.float32, order="C", ndmin=1)  # a copy: kernels take no read-only memory
    if given.ndim != 2 or (given.shape[1] < 3 if width is None else given.shape[1] != width):
        raise ValueError(f"{name} has shape {given.shape}; expected (n, {'3 or more' if width is None else width})")
    return given


def _span(name: str, ends: Sequence[float]) -> tuple[float, float]:
    if len(ends) != 2 or not all(map(math.isfinite, ends)) or ends[0] >= ends[1]:
        raise ValueError(f"{name} is {list(ends)}; a lower and a higher number are due")
    return float(ends[0]), float(ends[1])


def _check_size(row_name: str, rows: int, column_name: str, columns: int) -> None:
    for name, count in ((row_name, rows), (column_name, columns)):
        if not 1 <= count <= MOST_CELLS:
            raise ValueError(f"{name} are {count}; must be at least 1 and at most {MOST_CELLS}")
    if rows * columns > MOST_CELLS:
        raise ValueError(f"{row_name} times {column_name} is {rows * columns}; at most {MOST_CELLS}")
