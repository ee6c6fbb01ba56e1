"""Voxel downsampling: one point, the centroid, for every occupied cube.

An open-addressed hash table that is never cleared as a whole: each call empties the slots that it filled.
"""

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel

_BITS = 21  # of a cube's index along an axis
_HALF = 1 << (_BITS - 1)
EMPTY = np.int64(-1)


@kernel("int64(float32[:, ::1], int64, float32, int64[::1], int32[::1], int32[::1], float32[:, ::1], int32[::1], int32[::1])")
def voxel_downsample(
    points: npt.NDArray[np.float32],
    n: int,
    size: np.float32,
    keys: npt.NDArray[np.int64],
    values: npt.NDArray[np.int32],
    slots: npt.NDArray[np.int32],
    centroids: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int32],
    of: npt.NDArray[np.int32],
) -> int:
    """Centroids of the points that share a cube.

    Args:
        points: float32 (n, k), k >= 3: x, y, z, and more that is averaged as well.
        n: points.
        size: edge of a cube, m; coordinates beyond a million cubes are folded back.
        keys: int64 (a power of two > n,), all EMPTY; is so again afterwards.
        values: scratch, int32, as long as ``keys``.
        slots: scratch, int32 (n,).
        centroids: out, float32 (n, k).
        counts: out, int32 (n,), points in each cube.
        of: out, int32 (n,), the cube of every point.

    Returns:
        How many cubes are occupied, in the order of their first points.
    """
    width = points.shape[1]
    mask = np.uint64(len(keys) - 1)
    inverse = np.float32(1.0) / size
    found = 0
    for i in range(n):
        # truncated after adding a large integer: a floor for either sign, without a call
        ix = np.int64(points[i, 0] * inverse + np.float64(_HALF)) & (2 * _HALF - 1)
        iy = np.int64(points[i, 1] * inverse + np.float64(_HALF)) & (2 * _HALF - 1)
        iz = np.int64(points[i, 2] * inverse + np.float64(_HALF)) & (2 * _HALF - 1)
        key = (ix << (2 * _BITS)) | (iy << _BITS) | iz
        mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: the high bits are the good ones
        slot = (mixed >> np.uint64(32)) & mask
        while keys[slot] != key:
            if keys[slot] == EMPTY:
                keys[slot] = key
                values[slot] = found
                slots[found] = np.int32(slot)
                counts[found] = 0
                for j in range(width):
                    centroids[found, j] = np.float32(0.0)
                found += 1
                break
            slot = (slot + np.uint64(1)) & mask
        v = values[slot]
        of[i] = v
        counts[v] += 1
        # A running mean stays as exact as the points; a sum of a thousand coordinates of 50 m does not in float32.
        weight = np.float32(1.0) / np.float32(counts[v])
        for j in range(width):
            centroids[v, j] += (points[i, j] - centroids[v, j]) * weight
    for v in range(found):
        keys[slots[v]] = EMPTY
    return found
