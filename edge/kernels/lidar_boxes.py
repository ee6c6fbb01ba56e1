"""A cluster's oriented box, and numbers that describe its shape whatever the sensor."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel, part
from edge.kernels.lidar_rectangle import (
    B_HEIGHT,
    B_LENGTH,
    B_NEAREST,
    B_WIDTH,
    B_X,
    B_Y,
    CLEAR_M,
    LONGEST_M,
    THIN_M,
    direction,
    is_around,
    put_box,
)

# Columns of a shape, float32 (m, SHAPE_SIZE); edge.lidar.shape names them.
S_LENGTH, S_WIDTH, S_HEIGHT, S_BOTTOM, S_TOP, S_AREA, S_VOXELS, S_DISTANCE, S_DENSITY = 0, 1, 2, 3, 4, 5, 6, 7, 8
S_LINEAR, S_PLANAR, S_SCATTERED, S_UPRIGHT, S_HEIGHT_STD, S_HEIGHT_MEAN = 9, 10, 11, 12, 13, 14
S_BANDS, BANDS = 15, 6
S_TAPER, S_SOLID, S_EDGE = 21, 22, 23
SHAPE_SIZE = 24

_AHEAD, _MARKED = np.float32(0.25), -2
_BAND_TOPS = (0.6, 1.0, 1.4, 1.8, 2.2)  # m above the ground


@part
def _eigenvalues(xx: float, xy: float, xz: float, yy: float, yz: float, zz: float) -> tuple[Any, Any, Any]:
    """Of a symmetric 3 x 3 matrix, largest first. Source: O. K. Smith, CACM 4 (1961)."""
    off = xy * xy + xz * xz + yz * yz
    mean = (xx + yy + zz) / 3.0
    p2 = (xx - mean) ** 2 + (yy - mean) ** 2 + (zz - mean) ** 2 + 2.0 * off
    if p2 <= 1e-12:
        return mean, mean, mean
    p = math.sqrt(p2 / 6.0)
    a, b, c, d, e, f = (xx - mean) / p, (yy - mean) / p, (zz - mean) / p, xy / p, xz / p, yz / p
    half = 0.5 * (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e))
    phi = math.acos(min(max(half, -1.0), 1.0)) / 3.0
    first = mean + 2.0 * p * math.cos(phi)
    last = mean + 2.0 * p * math.cos(phi + 2.0 * math.pi / 3.0)
    return first, 3.0 * mean - first - last, last


@kernel(
    "int64(float32[:, ::1], int32[::1], int32[::1], int64, float32[::1], float32[::1], int64, "
    "float32[::1], float32[:, ::1], float32[:, ::1], uint8[::1], int32[::1])"
)
def describe_clusters(
    voxels: npt.NDArray[np.float32],
    order: npt.NDArray[np.int32],
    first: npt.NDArray[np.int32],
    clusters: int,
    outline: npt.NDArray[np.float32],
    limits: npt.NDArray[np.float32],
    most: int,
    nearest: npt.NDArray[np.float32],
    boxes: npt.NDArray[np.float32],
    shapes: npt.NDArray[np.float32],
    structure: npt.NDArray[np.uint8],
    object_of: npt.NDArray[np.int32],
) -> int:
    """Boxes and shapes of the clusters that are tall enough; the nearest ones when there are more than fit.

    Args:
        voxels: float32 (n, 4), x, y, z, height above the ground.
        order, first: see connect_cells.
        clusters: how many.
        outline: float32 (4,): x_min, x_max, y_min, y_max of the vehicle. What stands straight before or behind it counts as four times as
            near when there are more objects than places.
        limits: float32 (2,): least height of an object's top above the ground (m), and the edge of a voxel (m).
        most: rows of ``boxes``.
        nearest: scratch, float32 (clusters,).
        boxes: out, float32 (most, 8), see B_*.
        shapes: out, float32 (most, SHAPE_SIZE), see S_*.
        structure: out, uint8 (most,): 1 for what is no thing that moves but a wall, a hedge, a row: longer than LONGEST_M, or bent around
            the vehicle, so that its box holds the vehicle and says nothing of where it is.
        object_of: out, int32 (clusters,), row of ``boxes``; -1: none.

    Returns:
        How many objects there are.
    """
    out_x_min, out_x_max, out_y_min, out_y_max = outline[0], outline[1], outline[2], outline[3]
    tall, edge = limits[0], limits[1]
    candidates, farthest = 0, np.float32(0.0)
    for k in range(clusters):
        top, near2 = np.float32(-1e9), np.float32(1e18)
        for j in range(first[k], first[k + 1]):
            i = order[j]
            top = max(top, voxels[i, 3])
            dx = max(out_x_min - voxels[i, 0], voxels[i, 0] - out_x_max, np.float32(0.0))
            dy = max(out_y_min - voxels[i, 1], voxels[i, 1] - out_y_max, np.float32(0.0))
            near2 = min(near2, dx * dx + dy * dy)
        object_of[k] = -1
        nearest[k] = np.float32(-1.0)
        if top >= tall:
            nearest[k] = math.sqrt(near2)
            farthest = max(farthest, nearest[k])
            candidates += 1
    sure, limit, spare = farthest, farthest, 0
    if candidates > most:  # the distance within which ``most`` of them lie, by halving: exact to a float, and nothing is allocated
        for k in range(clusters):
            for j in range(first[k], first[k + 1]):
                if nearest[k] >= 0 and out_y_min <= voxels[order[j], 1] <= out_y_max:
                    nearest[k] *= _AHEAD
                    object_of[k] = _MARKED
                    break
        low, high = np.float32(-1.0), farthest
        for _ in range(40):
            middle = np.float32(0.5) * (low + high)
            within = 0
            for k in range(clusters):
                within += nearest[k] >= 0 and nearest[k] <= middle
            if within > most:
                high = middle
            else:
                low = middle
        sure, limit, spare = low, high, most
        for k in range(clusters):
            spare -= nearest[k] >= 0 and nearest[k] <= sure
    found = 0
    for k in range(clusters):
        distance = nearest[k] / _AHEAD if object_of[k] == _MARKED else nearest[k]
        object_of[k] = -1
        if nearest[k] < 0 or nearest[k] > limit:
            continue
        if nearest[k] > sure:  # as near as others, and there is not a place for all of them
            if spare == 0:
                continue
            spare -= 1
        start, stop = int(first[k]), int(first[k + 1])
        count = stop - start
        angle, away = direction(voxels, order, start, stop)
        c, s = math.cos(angle), math.sin(angle)
        u_min, u_max, v_min, v_max = np.float32(1e9), np.float32(-1e9), np.float32(1e9), np.float32(-1e9)
        z_min, z_max, bottom, top = np.float32(1e9), np.float32(-1e9), np.float32(1e9), np.float32(-1e9)
        mx, my, mz, mh, hh = 0.0, 0.0, 0.0, 0.0, 0.0
        for b in range(BANDS):
            shapes[found, S_BANDS + b] = np.float32(0.0)
        for j in range(start, stop):
            i = order[j]
            x, y, z, h = voxels[i, 0], voxels[i, 1], voxels[i, 2], voxels[i, 3]
            u, v = c * x + s * y, c * y - s * x
            u_min, u_max, v_min, v_max = min(u_min, u), max(u_max, u), min(v_min, v), max(v_max, v)
            z_min, z_max, bottom, top = min(z_min, z), max(z_max, z), min(bottom, h), max(top, h)
            mx += x
            my += y
            mz += z
            mh += h
            hh += h * h
            band = 0
            for edge_of in _BAND_TOPS:
                band += h >= edge_of
            shapes[found, S_BANDS + band] += np.float32(1.0)
        mx /= count
        my /= count
        mz /= count
        mh /= count
        xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        middle = np.float32(0.5) * (bottom + top)
        lower_u_min, lower_u_max, lower_v_min, lower_v_max = np.float32(1e9), np.float32(-1e9), np.float32(1e9), np.float32(-1e9)
        upper_u_min, upper_u_max, upper_v_min, upper_v_max = np.float32(1e9), np.float32(-1e9), np.float32(1e9), np.float32(-1e9)
        for j in range(start, stop):
            i = order[j]
            x, y, z, h = voxels[i, 0] - mx, voxels[i, 1] - my, voxels[i, 2] - mz, voxels[i, 3]
            xx += x * x
            xy += x * y
            xz += x * z
            yy += y * y
            yz += y * z
            zz += z * z
            u, v = np.float32(c * voxels[i, 0] + s * voxels[i, 1]), np.float32(c * voxels[i, 1] - s * voxels[i, 0])
            if h < middle:
                lower_u_min, lower_u_max = min(lower_u_min, u), max(lower_u_max, u)
                lower_v_min, lower_v_max = min(lower_v_min, v), max(lower_v_max, v)
            else:
                upper_u_min, upper_u_max = min(upper_u_min, u), max(upper_u_max, u)
                upper_v_min, upper_v_max = min(upper_v_min, v), max(upper_v_max, v)
        put_box(boxes, found, angle, u_min, u_max, v_min, v_max, z_min, z_max)
        boxes[found, B_NEAREST] = distance
        x, y, length, width, height = (
            boxes[found, B_X],
            boxes[found, B_Y],
            boxes[found, B_LENGTH],
            boxes[found, B_WIDTH],
            boxes[found, B_HEIGHT],
        )
        l1, l2, l3 = _eigenvalues(xx / count, xy / count, xz / count, yy / count, yz / count, zz / count)
        l1 = max(l1, 1e-9)
        shapes[found, S_LENGTH], shapes[found, S_WIDTH], shapes[found, S_HEIGHT] = length, width, height
        shapes[found, S_BOTTOM], shapes[found, S_TOP], shapes[found, S_AREA] = bottom, top, length * width
        shapes[found, S_VOXELS] = math.log(np.float32(count))
        shapes[found, S_DISTANCE] = math.sqrt(x * x + y * y)
        shapes[found, S_DENSITY] = math.log(np.float32(count) * edge * edge / ((length + width) * height))
        shapes[found, S_LINEAR] = (l1 - l2) / l1
        shapes[found, S_PLANAR] = (l2 - l3) / l1
        shapes[found, S_SCATTERED] = max(l3, 0.0) / l1
        shapes[found, S_UPRIGHT] = zz / count / l1
        shapes[found, S_HEIGHT_STD] = math.sqrt(max(hh / count - mh * mh, 0.0))
        shapes[found, S_HEIGHT_MEAN] = mh
        for b in range(BANDS):
            shapes[found, S_BANDS + b] /= np.float32(count)
        lower = max(lower_u_max - lower_u_min, np.float32(0.0)) + max(lower_v_max - lower_v_min, np.float32(0.0))
        upper = max(upper_u_max - upper_u_min, np.float32(0.0)) + max(upper_v_max - upper_v_min, np.float32(0.0))
        shapes[found, S_TAPER] = (upper - lower) / max(upper + lower, THIN_M)
        shapes[found, S_SOLID] = min(np.float32(count) * edge * edge / (length * width), np.float32(20.0))
        shapes[found, S_EDGE] = away / width
        structure[found] = length > LONGEST_M or (distance > CLEAR_M and is_around(boxes, found, outline))
        object_of[k] = np.int32(found)
        found += 1
    return found
