"""Where a ray meets a primitive, in the primitive's own frame, and the random numbers of kernels.

A primitive is centred on its origin. ``shape`` holds, by kind: BOX half length, half width, half height, then how much the front, the
rear and each side recede per metre of height; CYLINDER (axis z) radius x, radius y, half height; ELLIPSOID three radii; CAPSULE
(axis z) radius, unused, half length between the centres of its ends. All in metres.
"""

import math

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.jit import part

BOX, CYLINDER, ELLIPSOID, CAPSULE = 0, 1, 2, 3
MISS = 1e9

Hit = tuple[float, float, float]
"""Distance of entry and of exit (entry MISS when there is none), cosine of incidence at the entry."""


@part
def uniform(seed: int, ray: int, draw: int) -> float:
    """A number in (0, 1) that depends on nothing but its arguments (the mixer of splitmix64), so that order never matters."""
    z = np.uint64(seed) + np.uint64(ray) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(draw) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@part
def normal(seed: int, ray: int, draw: int) -> float:
    """A standard normal number by Box and Muller; uses the draws ``draw`` and ``draw + 1``."""
    radius = math.sqrt(-2.0 * math.log(uniform(seed, ray, draw)))
    return radius * math.cos(2.0 * math.pi * uniform(seed, ray, draw + 1))


@part
def _clip(room: float, rate: float, near: float, far: float, cosine: float, norm: float) -> Hit:
    """Clip a ray with one half space: ``room`` left to the plane at the start, used up at ``rate`` per metre."""
    if rate < 0.0:
        at = room / rate
        if at > near:
            return at, far, -rate / norm
    elif rate > 0.0:
        at = room / rate
        if at < far:
            return near, at, cosine
    elif room < 0.0:
        return MISS, -MISS, cosine
    return near, far, cosine


@part
def _box(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, shape: npt.NDArray[np.float64]) -> Hit:
    hx, hy, hz = shape[0], shape[1], shape[2]
    front, rear, side = shape[3], shape[4], shape[5]
    near, far, cosine = -MISS, MISS, 0.0
    near, far, cosine = _clip(hz - oz, dz, near, far, cosine, 1.0)
    near, far, cosine = _clip(hz + oz, -dz, near, far, cosine, 1.0)
    up = oz + hz
    near, far, cosine = _clip(hx - ox - front * up, dx + front * dz, near, far, cosine, math.sqrt(1.0 + front * front))
    near, far, cosine = _clip(hx + ox - rear * up, -dx + rear * dz, near, far, cosine, math.sqrt(1.0 + rear * rear))
    norm = math.sqrt(1.0 + side * side)
    near, far, cosine = _clip(hy - oy - side * up, dy + side * dz, near, far, cosine, norm)
    near, far, cosine = _clip(hy + oy - side * up, -dy + side * dz, near, far, cosine, norm)
    return (near, far, cosine) if near < far else (MISS, MISS, 0.0)


@part
def _cylinder(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, shape: npt.NDArray[np.float64]) -> Hit:
    sx, sy = 1.0 / shape[0], 1.0 / shape[1]
    px, py, qx, qy = ox * sx, oy * sy, dx * sx, dy * sy
    a, b, c = qx * qx + qy * qy, px * qx + py * qy, px * px + py * py - 1.0
    near, far, cosine = -MISS, MISS, 0.0
    if a < 1e-12:
        if c > 0.0:
            return MISS, MISS, 0.0
    else:
        root = b * b - a * c
        if root <= 0.0:
            return MISS, MISS, 0.0
        root = math.sqrt(root)
        near, far = (-b - root) / a, (-b + root) / a
        nx, ny = (px + near * qx) * sx, (py + near * qy) * sy
        cosine = abs(nx * dx + ny * dy) / math.sqrt(nx * nx + ny * ny)
    near, far, cosine = _clip(shape[2] - oz, dz, near, far, cosine, 1.0)
    near, far, cosine = _clip(shape[2] + oz, -dz, near, far, cosine, 1.0)
    return (near, far, cosine) if near < far else (MISS, MISS, 0.0)


@part
def _ellipsoid(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, shape: npt.NDArray[np.float64]) -> Hit:
    sx, sy, sz = 1.0 / shape[0], 1.0 / shape[1], 1.0 / shape[2]
    px, py, pz, qx, qy, qz = ox * sx, oy * sy, oz * sz, dx * sx, dy * sy, dz * sz
    a, b, c = qx * qx + qy * qy + qz * qz, px * qx + py * qy + pz * qz, px * px + py * py + pz * pz - 1.0
    root = b * b - a * c
    if root <= 0.0:
        return MISS, MISS, 0.0
    root = math.sqrt(root)
    near, far = (-b - root) / a, (-b + root) / a
    nx, ny, nz = (px + near * qx) * sx, (py + near * qy) * sy, (pz + near * qz) * sz
    return near, far, abs(nx * dx + ny * dy + nz * dz) / math.sqrt(nx * nx + ny * ny + nz * nz)


@part
def _capsule(ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, shape: npt.NDArray[np.float64]) -> Hit:
    radius, half = shape[0], shape[2]
    best, cosine = MISS, 0.0
    a, b, c = dx * dx + dy * dy, ox * dx + oy * dy, ox * ox + oy * oy - radius * radius
    root = b * b - a * c
    if root > 0.0 and a > 1e-12:
        at = (-b - math.sqrt(root)) / a
        if abs(oz + at * dz) <= half:
            return at, at, math.sqrt(root) / radius
    for end in (-half, half):
        pz = oz - end
        b = ox * dx + oy * dy + pz * dz
        root = b * b - (ox * ox + oy * oy + pz * pz - radius * radius)
        if root > 0.0:
            at = -b - math.sqrt(root)
            if at < best:
                best, cosine = at, math.sqrt(root) / radius
    return best, best, cosine


@part
def hit(kind: int, ox: float, oy: float, oz: float, dx: float, dy: float, dz: float, shape: npt.NDArray[np.float64]) -> Hit:
    """Where the ray from o in the unit direction d enters and leaves a primitive; a ray that starts inside enters behind itself."""
    if kind == BOX:
        return _box(ox, oy, oz, dx, dy, dz, shape)
    if kind == CYLINDER:
        return _cylinder(ox, oy, oz, dx, dy, dz, shape)
    if kind == ELLIPSOID:
        return _ellipsoid(ox, oy, oz, dx, dy, dz, shape)
    return _capsule(ox, oy, oz, dx, dy, dz, shape)
