"""Obstacles that stand together are one cluster: connected cells of a bird's-eye grid.

Beams fan out, so the gap that still connects grows with the distance. Working on cells instead of points makes the cost that of the
occupied cells, whatever the density. Seen from above, things that hang over each other merge; the clearance height keeps most of that out.
"""

import math

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel, part

FREE = -1  # a cell without points
SINGLE = 1.15  # points a voxel: less is one each, as drops of rain and motes of dust come
PAIRS = 1  # so many times two drops may have met in a voxel
PERSON = (
    3000.0  # m^2: over the squared distance, a little less than the points on a grown person (0.85 m^2) from beams 0.4 x 2 degrees apart
)


@part
def _root(parent: npt.NDArray[np.int32], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel(
    "int64(float32[:, ::1], int32[::1], int64, float32[::1], int64, int64, int64, "
    "int32[::1], int32[::1], int32[::1], int32[::1], int32[::1], int32[::1])"
)
def connect_cells(
    voxels: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int32],
    n: int,
    grid_of: npt.NDArray[np.float32],
    nx: int,
    ny: int,
    least: int,
    grid: npt.NDArray[np.int32],
    cells: npt.NDArray[np.int32],
    parent: npt.NDArray[np.int32],
    size: npt.NDArray[np.int32],
    cluster: npt.NDArray[np.int32],
    order: npt.NDArray[np.int32],
) -> int:
    """Clusters of voxels, and the voxels in the order of their clusters.

    Args:
        voxels: float32 (n, 4), x, y, z, height; x and y within the grid.
        counts: int32 (n,), points in each.
        n: voxels.
        grid_of: float32 (7,) or (10,): least x, least y, cells per m, gap that connects at the sensor (m), growth of the gap per m of
            distance, the sensor's x and y; and how far (m; default: nowhere) a voxel of a single point is left out, and a cluster of such
            voxels that has fewer points than a person; and of how many points one was looked at.
        nx, ny: cells of the grid.
        least: a cluster with fewer points is noise.
        grid: int32 (nx * ny,), all FREE; is so again afterwards.
        cells: scratch, int32 (n,).
        parent: scratch, int32 (n,).
        size: out, int32 (n + 1,): where each cluster's voxels start in ``order``.
        cluster: out, int32 (n,), of each voxel; -1: noise.
        order: out, int32 (n,), rows of ``voxels``, cluster by cluster.

    Returns:
        How many clusters there are.
    """
    x0, y0, per_m, gap, growth, axis_x, axis_y = grid_of[0], grid_of[1], grid_of[2], grid_of[3], grid_of[4], grid_of[5], grid_of[6]
    lonely, rainy, stride = np.float32(0.0), np.float32(0.0), np.float32(1.0)
    if len(grid_of) > 9:
        lonely, rainy, stride = grid_of[7], grid_of[8], grid_of[9]
    used = 0
    for i in range(n):
        if counts[i] < 2 and math.hypot(voxels[i, 0] - axis_x, voxels[i, 1] - axis_y) < lonely:
            cluster[i] = -1
            continue
        column = min(max(int((voxels[i, 0] - x0) * per_m), 0), nx - 1)
        row = min(max(int((voxels[i, 1] - y0) * per_m), 0), ny - 1)
        place = row * nx + column
        k = grid[place]
        if k == FREE:
            k = np.int32(used)
            grid[place] = k
            cells[used] = np.int32(place)
            parent[used] = k
            used += 1
        cluster[i] = k
    for k in range(used):
        row, column = cells[k] // nx, cells[k] % nx
        x = x0 + (np.float32(column) + np.float32(0.5)) / per_m - axis_x
        y = y0 + (np.float32(row) + np.float32(0.5)) / per_m - axis_y
        reach = (gap + growth * math.sqrt(x * x + y * y)) * per_m
        whole = int(reach)
        reach2 = int(reach * reach)
        for dy in range(min(whole, ny - 1 - row) + 1):  # the half-plane behind has looked at this cell already
            for dx in range(max(-whole, -column), min(whole, nx - 1 - column) + 1):
                if dx * dx + dy * dy > reach2 or (dy == 0 and dx <= 0):
                    continue
                other = grid[(row + dy) * nx + column + dx]
                if other != FREE:
                    a, b = _root(parent, k), _root(parent, int(other))
                    if a < b:
                        parent[b] = np.int32(a)
                    elif b < a:
                        parent[a] = np.int32(b)
    # points of each cluster, then its number, then where its voxels start
    for k in range(used):
        grid[cells[k]] = FREE
        size[k] = order[k] = 0
    for i in range(n):
        if cluster[i] >= 0:
            root = _root(parent, int(cluster[i]))
            size[root] += counts[i]
            order[root] += 1
    found = 0
    for k in range(used):
        if parent[k] == k:
            x = x0 + (np.float32(cells[k] % nx) + np.float32(0.5)) / per_m - axis_x
            y = y0 + (np.float32(cells[k] // nx) + np.float32(0.5)) / per_m - axis_y
            away2 = x * x + y * y
            is_rain = away2 < rainy * rainy and size[k] <= max(SINGLE * order[k], order[k] + PAIRS) and size[k] * stride * away2 < PERSON
            if size[k] >= least and not is_rain:
                cells[k] = np.int32(found)
                found += 1
            else:
                cells[k] = np.int32(-1)
    for i in range(n):
        if cluster[i] >= 0:
            cluster[i] = cells[_root(parent, int(cluster[i]))]
    for k in range(found + 1):
        size[k] = 0
    for i in range(n):
        if cluster[i] >= 0:
            size[cluster[i] + 1] += 1
    for k in range(found):
        size[k + 1] += size[k]
    for i in range(n):
        k = cluster[i]
        if k >= 0:
            order[size[k]] = np.int32(i)
            size[k] += 1
    for k in range(found, 0, -1):
        size[k] = size[k - 1]
    size[0] = 0
    return found
