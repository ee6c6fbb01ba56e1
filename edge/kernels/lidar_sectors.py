"""How far it is free around the vehicle, by sector: to the nearest obstacle, and as far as the ground was seen."""

import math

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel
from edge.kernels.lidar_crop import RINGS, SECTORS, turns


@kernel("void(float32[:, ::1], int32[::1], int32[::1], int64, uint8[::1], float32, float32[::1], float32[::1], float32[::1])")
def sector_distances(
    voxels: npt.NDArray[np.float32],
    cluster: npt.NDArray[np.int32],
    object_of: npt.NDArray[np.int32],
    n: int,
    evidence: npt.NDArray[np.uint8],
    scale: np.float32,
    place: npt.NDArray[np.float32],
    nearest: npt.NDArray[np.float32],
    free: npt.NDArray[np.float32],
) -> None:
    """Distances from the vehicle's origin, in sectors of equal angle; the first one is centred on straight ahead, the next is to its left.

    Args:
        voxels: float32 (n, >= 2), obstacles.
        cluster, object_of: int32, of the voxels and of the clusters; only objects count.
        n: voxels.
        evidence: uint8 (SECTORS * RINGS,), where the ground was seen.
        scale: rings per root of a metre.
        place: float32 (3,): the sensor's x and y in the vehicle frame, and the reach, m.
        nearest: out, float32 (S,), the nearest obstacle, or the reach.
        free: out, float32 (S,), the farthest ground that was seen, but not beyond the nearest obstacle; 0: nothing is known to be free.
    """
    sectors = len(nearest)
    half = np.float32(0.5) / np.float32(sectors)
    axis_x, axis_y, reach = place[0], place[1], place[2]
    nearest[:] = reach
    free[:] = np.float32(0.0)
    for i in range(n):
        k = cluster[i]
        if k < 0 or object_of[k] < 0:
            continue
        x, y = voxels[i, 0], voxels[i, 1]
        s = int((turns(y, x) + half) * np.float32(sectors)) % sectors
        nearest[s] = min(nearest[s], math.sqrt(x * x + y * y))
    for ray in range(SECTORS):
        angle = (ray + 0.5) * (2 * math.pi / SECTORS)
        c, si = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        for b in range(RINGS):
            if not evidence[ray * RINGS + b]:
                continue
            radius = np.float32(((b + 0.5) / scale) ** 2)
            x, y = axis_x + radius * c, axis_y + radius * si
            s = int((turns(y, x) + half) * np.float32(sectors)) % sectors
            free[s] = max(free[s], math.sqrt(x * x + y * y))
    for s in range(sectors):
        free[s] = min(free[s], nearest[s])
