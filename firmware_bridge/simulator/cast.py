"""The ray caster: for every beam of every column of one turn, the nearest thing it meets, and nothing about how a sensor sees it.

Each column is cast from where the sensor is at the column's own time, into things where they are at that time. Parts are culled by
azimuth for a block of columns, then by elevation for each beam.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from firmware_bridge.simulator.ground import Ground, bump, ground_hit
from firmware_bridge.simulator.hits import MISS, hit, uniform
from firmware_bridge.simulator.jit import kernel, part
from firmware_bridge.simulator.sensor import Mount, SensorModel

Floats = npt.NDArray[np.float64]
NOTHING, GROUND = -1, -2
_BLOCK = 8  # columns that share one culling
_SLACK_M = 0.1  # how far a thing may move relative to the sensor within half a block


class Parts(NamedTuple):
    """Primitives of a scene in the world frame, as they are at the end of a turn.

    Args:
        kinds: int64 (p,), BOX to CAPSULE.
        shapes: float64 (p, 6), see ``hits``.
        rotations: float64 (p, 3, 3), columns are the primitive's axes in the world.
        centres: float64 (p, 3), metres.
        velocities: float64 (p, 3), metres per second.
        radii: float64 (p,), of the bounding sphere, metres.
        surfaces: float64 (p, 3): probability that a ray stops at the surface, hits per metre inside (0 = solid), reflectivity.
        labels: uint8 (p,).
        instances: int32 (p,), identity of the thing.
    """

    kinds: npt.NDArray[np.int64]
    shapes: Floats
    rotations: Floats
    centres: Floats
    velocities: Floats
    radii: Floats
    surfaces: Floats
    labels: npt.NDArray[np.uint8]
    instances: npt.NDArray[np.int32]


class Rays(NamedTuple):
    """What the rays of one turn met, exactly.

    Args:
        ranges: float32 (columns, beams), metres; inf where a ray met nothing.
        parts: int32 (columns, beams): row of ``Parts``, GROUND or NOTHING.
        cosines: float32 (columns, beams), of the angle of incidence.
        azimuths: float64 (columns,), radians in the sensor frame, falling (the head turns clockwise).
        times: float64 (columns,), seconds before the end of the turn, negative.
    """

    ranges: npt.NDArray[np.float32]
    parts: npt.NDArray[np.int32]
    cosines: npt.NDArray[np.float32]
    azimuths: Floats
    times: Floats


class EgoPose(NamedTuple):
    """Where the vehicle is at the end of a turn, and how it moves: its origin is on the ground under the rear axle."""

    x_m: float = 0.0
    y_m: float = 0.0
    z_m: float = 0.0
    roll_rad: float = 0.0
    pitch_rad: float = 0.0
    yaw_rad: float = 0.0
    speed_mps: float = 0.0
    yaw_rate_radps: float = 0.0


def cast(sensor: SensorModel, mount: Mount, ego: EgoPose, ground: Ground, parts: Parts, seed: int) -> Rays:
    """Cast one turn that ends now; the seed decides which leaf or pane stops which ray."""
    columns = round(2 * math.pi / sensor.azimuth_step_rad)
    steps = np.arange(columns)
    azimuths: Floats = np.asarray(math.pi - steps * (2 * math.pi / columns), np.float64)
    times: Floats = np.asarray((steps + 1 - columns) / (columns * sensor.rate_hz), np.float64)
    elevations = np.asarray(sensor.elevations_rad)
    offsets = np.asarray(sensor.azimuth_offsets_rad) if sensor.azimuth_offsets_rad else np.zeros(len(elevations))
    ranges = np.empty((columns, len(elevations)), np.float32)
    found = np.empty(ranges.shape, np.int32)
    cosines = np.empty(ranges.shape, np.float32)
    sensor_pose = np.array([mount.x_m, mount.y_m, mount.z_m, mount.roll_rad, mount.pitch_rad, mount.yaw_rad])
    _cast(
        azimuths, times, elevations, offsets, np.array(ego, np.float64), sensor_pose, sensor.max_range_m, ground.base,
        np.asarray(ground.crown, np.float64), ground.pads, ground.roughness_m, parts.kinds, parts.shapes, parts.rotations,
        parts.centres, parts.velocities, parts.radii, parts.surfaces, seed, ranges, found, cosines,
    )  # fmt: skip
    return Rays(ranges, found, cosines, azimuths, times)


@part
def rotation(roll: float, pitch: float, yaw: float) -> Floats:
    """Rotation matrix (3, 3) of yaw about z, then pitch about y, then roll about x."""
    cr, sr, cp, sp, cy, sy = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch), math.cos(yaw), math.sin(yaw)
    out = np.empty((3, 3))
    out[0, 0], out[0, 1], out[0, 2] = cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr
    out[1, 0], out[1, 1], out[1, 2] = sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr
    out[2, 0], out[2, 1], out[2, 2] = -sp, cp * sr, cp * cr
    return out


@part
def _place(ego: Floats, mount: Floats, t: float, origin: Floats, axes: Floats) -> None:
    """Pose of the sensor at a time: origin (3,) and axes (3, 3) in the world."""
    yaw = ego[5] + ego[7] * t
    way, heading = ego[6] * t, ego[5] + 0.5 * ego[7] * t
    body, head = rotation(ego[3], ego[4], yaw), rotation(mount[3], mount[4], mount[5])
    level = math.cos(ego[4])
    origin[0] = ego[0] + way * math.cos(heading) * level
    origin[1] = ego[1] + way * math.sin(heading) * level
    origin[2] = ego[2] - way * math.sin(ego[4])
    for i in range(3):
        for j in range(3):
            origin[i] += body[i, j] * mount[j]
            axes[i, j] = body[i, 0] * head[0, j] + body[i, 1] * head[1, j] + body[i, 2] * head[2, j]


@part
def _cull(  # noqa: PLR0913 - a kernel takes arrays, not objects
    azimuth: float, half: float, max_range: float, t: float, origin: Floats, axes: Floats, centres: Floats, velocities: Floats,
    radii: Floats, chosen: npt.NDArray[np.int64], windows: Floats,
) -> int:  # fmt: skip
    """Choose the parts that a block of columns may meet; windows (p, 3) get lowest and highest elevation and nearest distance."""
    n = 0
    for i in range(centres.shape[0]):
        rx, ry = centres[i, 0] + velocities[i, 0] * t - origin[0], centres[i, 1] + velocities[i, 1] * t - origin[1]
        rz, radius = centres[i, 2] + velocities[i, 2] * t - origin[2], radii[i] + _SLACK_M
        distance = math.sqrt(rx * rx + ry * ry + rz * rz)
        if distance - radius > max_range:
            continue
        x = axes[0, 0] * rx + axes[1, 0] * ry + axes[2, 0] * rz
        y = axes[0, 1] * rx + axes[1, 1] * ry + axes[2, 1] * rz
        z = axes[0, 2] * rx + axes[1, 2] * ry + axes[2, 2] * rz
        across = math.sqrt(x * x + y * y)
        if across > radius:
            off = abs(math.atan2(y, x) - azimuth)
            if min(off, 2.0 * math.pi - off) > half + math.asin(radius / across):
                continue
        low, high = -math.pi, math.pi
        if distance > radius:
            middle, spread = math.atan2(z, across), math.asin(radius / distance)
            low, high = middle - spread, middle + spread
        j = n - 1  # kept in order of distance, so that most of the far ones are never tried
        while j >= 0 and windows[j, 2] > distance - radius:
            chosen[j + 1] = chosen[j]
            windows[j + 1, 0], windows[j + 1, 1], windows[j + 1, 2] = windows[j, 0], windows[j, 1], windows[j, 2]
            j -= 1
        chosen[j + 1] = i
        windows[j + 1, 0], windows[j + 1, 1], windows[j + 1, 2] = low, high, distance - radius
        n += 1
    return n


@part
def _stop(near: float, far: float, surface: Floats, seed: int, ray: int, i: int) -> float:
    """Where a ray stops in a part that it enters and leaves at these distances, or MISS when it passes through."""
    if surface[1] > 0.0:
        at = max(near, 0.0) - math.log(uniform(seed, ray, 16 + i)) / surface[1]
        return at if at < far else MISS
    if near <= 0.0 or (surface[0] < 1.0 and uniform(seed, ray, 16 + i) > surface[0]):
        return MISS
    return near


@kernel
def _cast(  # noqa: C901, PLR0913, PLR0915 - one bare loop over many arrays
    azimuths: Floats, times: Floats, elevations: Floats, offsets: Floats, ego: Floats, mount: Floats, max_range: float, base: Floats,
    crown: Floats, pads: Floats, roughness: float, kinds: npt.NDArray[np.int64], shapes: Floats, rotations: Floats, centres: Floats,
    velocities: Floats, radii: Floats, surfaces: Floats, seed: int, ranges: npt.NDArray[np.float32], found: npt.NDArray[np.int32],
    cosines: npt.NDArray[np.float32],
) -> None:  # fmt: skip
    columns, beams, parts = len(azimuths), len(elevations), len(kinds)
    origin, axes, d, breaks = np.empty(3), np.empty((3, 3)), np.empty(3), np.empty(96)
    chosen, windows, starts = np.empty(parts + 1, np.int64), np.empty((parts + 1, 3)), np.empty((parts + 1, 3))
    spread = np.abs(offsets).max()
    flat, up, ahead, aside = np.cos(elevations), np.sin(elevations), np.cos(offsets), np.sin(offsets)
    step = 2.0 * math.pi / columns
    for first in range(0, columns, _BLOCK):
        last = min(first + _BLOCK, columns)
        middle = 0.5 * (times[first] + times[last - 1])
        _place(ego, mount, middle, origin, axes)
        half = 0.5 * _BLOCK * step + spread + 0.002
        n = _cull(
            0.5 * (azimuths[first] + azimuths[last - 1]), half, max_range, middle, origin, axes, centres, velocities, radii, chosen, windows
        )
        for c in range(first, last):
            t, cos_azimuth, sin_azimuth = times[c], math.cos(azimuths[c]), math.sin(azimuths[c])
            _place(ego, mount, t, origin, axes)
            for k in range(n):
                i, r = chosen[k], rotations[chosen[k]]
                rx, ry = origin[0] - centres[i, 0] - velocities[i, 0] * t, origin[1] - centres[i, 1] - velocities[i, 1] * t
                rz = origin[2] - centres[i, 2] - velocities[i, 2] * t
                for j in range(3):
                    starts[k, j] = r[0, j] * rx + r[1, j] * ry + r[2, j] * rz
            for b in range(beams):
                elevation = elevations[b]
                sx, sy = (
                    flat[b] * (cos_azimuth * ahead[b] - sin_azimuth * aside[b]),
                    flat[b] * (sin_azimuth * ahead[b] + cos_azimuth * aside[b]),
                )
                for j in range(3):
                    d[j] = axes[j, 0] * sx + axes[j, 1] * sy + axes[j, 2] * up[b]
                ray = c * beams + b
                best, cosine, which = max_range, 0.0, NOTHING
                for k in range(n):
                    if windows[k, 2] > best:
                        break
                    if elevation < windows[k, 0] or elevation > windows[k, 1]:
                        continue
                    i, r = chosen[k], rotations[chosen[k]]
                    lx, ly = r[0, 0] * d[0] + r[1, 0] * d[1] + r[2, 0] * d[2], r[0, 1] * d[0] + r[1, 1] * d[1] + r[2, 1] * d[2]
                    lz = r[0, 2] * d[0] + r[1, 2] * d[1] + r[2, 2] * d[2]
                    near, far, cos = hit(kinds[i], starts[k, 0], starts[k, 1], starts[k, 2], lx, ly, lz, shapes[i])
                    if near < best and far > 0.0:
                        at = _stop(near, far, surfaces[i], seed, ray, i)
                        if at < best:
                            best, which = at, i
                            cosine = cos if surfaces[i, 1] == 0.0 else 0.3 + 0.7 * uniform(seed, ray, 9)
                if d[2] < 0.35:  # no ground is steeper
                    at, cos = ground_hit(base, crown, pads, origin, d, best, breaks)
                    if at < best:
                        lift = roughness * bump(origin[0] + at * d[0], origin[1] + at * d[1])
                        at -= max(-0.5, min(0.5, lift / max(cos, 0.01)))
                        best, cosine, which = at, cos, GROUND
                ranges[c, b] = best if which != NOTHING else np.inf
                found[c, b], cosines[c, b] = which, cosine
