"""Tracks of boxes: predict, compare, correct, begin and end. One row of float64 and one of int64 for each track; see edge.lidar.tracks.

The state is place and velocity over ground, in the axes of the vehicle as it stands now: each scan the vehicle's own motion is taken
out of all rows. So what stands has velocity 0 whatever the vehicle does, and the process noise only has to explain what others do. The
process is white noise acceleration of density AGILITY: Y. Bar-Shalom, X.-R. Li, T. Kirubarajan, "Estimation with Applications to
Tracking and Navigation" (2001), 6.2.2.

Of a partly seen object the near faces are measured, its centre is not: the measured box is grown to the remembered extent away from the
sensor, and when the memory grows, the centre moves with it. The near face stays where it is, so no velocity comes of it. Compare
K. Granstroem, M. Baum, S. Reuter, "Extended object tracking", JAIF 12 (2017).
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel, part

# Columns of the float rows. A, B, C: covariance of place, of place with velocity, of velocity.
X, Y, VX, VY, AXX, AXY, AYY, BXX, BXY, BYX, BYY, CXX, CXY, CYY, Z, L, W, H, YAW, P, SCORE, N_FLOATS = (*range(20), 22, 23)
ID, HITS, BORN, SEEN, MISSES, CONFIRMED, DETECTION, N_INTS = range(8)  # of the int rows; times in ns
N, NEXT_ID, STAMP, HAS_STAMP, IS_KNOWN, DROPPED, N_HEAD = range(7)  # of a lane: tracks, and what was known at the last scan
R_NOISE, R_NOISE_PER_M, R_AGILITY, R_GATE, R_HITS, R_COAST, R_GAP, R_SENSOR_X, R_SENSOR_Y, R_SPEED, N_RULES = (*range(10), 12)

MEASURES = 10  # place - predicted place (2), its variance (3), length, width, yaw, and which faces are near: -1 to 1 (2)
QUARTER = 0.5 * math.pi
MAX_EXTENT = 30.0  # m; MIN_EXTENT is in edge.kernels.tracks_life
FRAGMENT = 0.25  # what a hit counts inside another track's box
SHRINK_S = 5.0  # in which a memory of more than is seen fades to a third
GROW = YAW_GAIN = 0.3  # shares of a new value
CLASS_GAIN = 0.2
UNKNOWN_SPEED = 15.0  # m/s, spread of new relative velocities while the vehicle's own speed is not known


@part
def wrapped(angle: float) -> float:
    """The same angle, -pi to pi."""
    return angle - 2.0 * math.pi * math.floor(angle / (2.0 * math.pi) + 0.5)


@part
def _spin(f: Any, c: float, s: float) -> None:
    """Turn a row into axes that are turned by the angle with this cosine and sine."""
    f[X], f[Y] = c * f[X] + s * f[Y], c * f[Y] - s * f[X]
    f[VX], f[VY] = c * f[VX] + s * f[VY], c * f[VY] - s * f[VX]
    for k in (AXX, CXX):
        xx, xy, yy = f[k], f[k + 1], f[k + 2]
        f[k] = c * c * xx + 2.0 * c * s * xy + s * s * yy
        f[k + 1] = c * s * (yy - xx) + (c * c - s * s) * xy
        f[k + 2] = s * s * xx - 2.0 * c * s * xy + c * c * yy
    xx, xy, yx, yy = f[BXX], f[BXY], f[BYX], f[BYY]
    f[BXX] = c * c * xx + c * s * (xy + yx) + s * s * yy
    f[BXY] = c * c * xy - s * s * yx + c * s * (yy - xx)
    f[BYX] = c * c * yx - s * s * xy + c * s * (yy - xx)
    f[BYY] = s * s * xx - c * s * (xy + yx) + c * c * yy


@kernel("float64(float64[:, ::1], int64[::1], float64[::1], int64, float64, float64, float64[::1])")
def predict(
    tracks: npt.NDArray[np.float64],
    head: npt.NDArray[np.int64],
    motion: npt.NDArray[np.float64],
    stamp: int,
    speed: float,
    turn: float,
    rules: npt.NDArray[np.float64],
) -> float:
    """Bring a lane's tracks to a new stamp and into the vehicle's new axes; forget them after a step back or a long gap.

    Args:
        tracks: rows of the lane.
        head: (N_HEAD,).
        motion: (2,) speed and yaw rate at the last scan.
        stamp: ns.
        speed: m/s, NaN: not known; then velocities become relative to the vehicle.
        turn: rad/s.
        rules: (N_RULES,).

    Returns:
        Seconds since the last scan, 0 at the first one.
    """
    dt = (stamp - head[STAMP]) * 1e-9 if head[HAS_STAMP] == 1 else 0.0
    if dt < 0.0 or dt > rules[R_GAP]:
        head[N] = 0
        dt = 0.0
    is_known = not math.isnan(speed)
    was_known = head[IS_KNOWN] == 1
    shift = 0.0
    if was_known and not is_known:
        shift = -motion[0]
    elif is_known and not was_known:
        shift = speed
    mean = 0.0
    if is_known:
        mean = 0.5 * (speed + motion[0]) if was_known else speed
    angle = 0.5 * (turn + motion[1]) * dt
    ahead = mean * dt * (1.0 - angle * angle / 6.0)  # sin(angle) / angle; angles between scans are small
    left = mean * dt * 0.5 * angle
    c = math.cos(angle)
    s = math.sin(angle)
    q = rules[R_AGILITY] * dt
    for j in range(head[N]):
        f = tracks[j]
        if was_known != is_known:
            f[VX] += shift
            f[CXX] += 1.0
        f[X] += f[VX] * dt - ahead
        f[Y] += f[VY] * dt - left
        f[AXX] += dt * (2.0 * f[BXX] + dt * f[CXX]) + q * dt * dt / 3.0
        f[AXY] += dt * (f[BXY] + f[BYX] + dt * f[CXY])
        f[AYY] += dt * (2.0 * f[BYY] + dt * f[CYY]) + q * dt * dt / 3.0
        f[BXX] += dt * (f[CXX] + 0.5 * q)
        f[BXY] += dt * f[CXY]
        f[BYX] += dt * f[CXY]
        f[BYY] += dt * (f[CYY] + 0.5 * q)
        f[CXX] += q
        f[CYY] += q
        _spin(f, c, s)
        f[YAW] = wrapped(f[YAW] - angle)
    head[STAMP], head[HAS_STAMP], head[IS_KNOWN] = stamp, 1, 1 if is_known else 0
    motion[0], motion[1] = speed if is_known else 0.0, turn
    return dt


@part
def _measure(f: Any, d: Any, rules: Any, out: Any) -> None:
    """What a detection says about a track: MEASURES numbers. Its axes are taken as the track's: a box has no front."""
    turns = math.floor((d[6] - f[YAW]) / QUARTER + 0.5)
    yaw = d[6] - turns * QUARTER
    length, width = (d[3], d[4]) if turns % 2.0 == 0.0 else (d[4], d[3])
    c = math.cos(yaw)
    s = math.sin(yaw)
    to_x = rules[R_SENSOR_X] - d[0]
    to_y = rules[R_SENSOR_Y] - d[1]
    near_l = min(max((c * to_x + s * to_y) / (0.5 * length), -1.0), 1.0)
    near_w = min(max((c * to_y - s * to_x) / (0.5 * width), -1.0), 1.0)
    more_l = f[L] - length
    more_w = f[W] - width
    out[0] = d[0] - 0.5 * (near_l * more_l * c - near_w * more_w * s) - f[X]
    out[1] = d[1] - 0.5 * (near_l * more_l * s + near_w * more_w * c) - f[Y]
    noise = rules[R_NOISE] + rules[R_NOISE_PER_M] * math.sqrt(to_x * to_x + to_y * to_y)
    along = noise * noise + (0.25 * more_l * (1.0 - 0.7 * abs(near_l))) ** 2  # less sure which part it is
    across = noise * noise + (0.25 * more_w * (1.0 - 0.7 * abs(near_w))) ** 2
    out[2] = c * c * along + s * s * across
    out[3] = c * s * (along - across)
    out[4] = s * s * along + c * c * across
    out[5], out[6], out[7], out[8], out[9] = length, width, yaw, near_l, near_w


@part
def _misfit(remembered: float, seen: float) -> float:
    """How unlikely it is to see this much of an extent: more than there is, or less."""
    ratio = math.log((seen + 0.5) / (remembered + 0.5))
    return min(4.0 * ratio * ratio if ratio > 0.0 else 0.5 * ratio * ratio, 3.0)


@kernel("void(float64[:, ::1], int64[:, ::1], int64, float64[:, ::1], int64, float64[::1], float64[::1], float64[:, ::1])")
def compare(
    tracks: npt.NDArray[np.float64],
    ints: npt.NDArray[np.int64],
    n: int,
    seen: npt.NDArray[np.float64],
    m: int,
    rules: npt.NDArray[np.float64],
    measured: npt.NDArray[np.float64],
    costs: npt.NDArray[np.float64],
) -> None:
    """Cost of every pair: squared Mahalanobis distance, plus what size (0 to 9), class (0 to 3) and being new (1) speak against it.

    Args:
        tracks, ints, n: rows of the lane.
        seen, m: detections as ``put_in_order`` leaves them.
        rules: (N_RULES,).
        measured: scratch (MEASURES,).
        costs: out: (>= m, >= n); infinity beyond the gate.
    """
    gate = rules[R_GATE]
    root = math.sqrt(gate)
    for i in range(m):
        d = seen[i]
        for j in range(n):
            f = tracks[j]
            costs[i, j] = np.inf
            dx = d[0] - f[X]
            dy = d[1] - f[Y]
            reach = root * math.sqrt(max(f[AXX], f[AYY])) + d[3] + d[4] + f[L] + f[W] + 2.0
            if dx * dx + dy * dy > reach * reach:
                continue
            _measure(f, d, rules, measured)
            dx, dy = measured[0], measured[1]
            sxx, sxy, syy = f[AXX] + measured[2], f[AXY] + measured[3], f[AYY] + measured[4]
            cost = (syy * dx * dx - 2.0 * sxy * dx * dy + sxx * dy * dy) / (sxx * syy - sxy * sxy)
            if not cost <= gate:
                continue
            cost += _misfit(f[L], measured[5]) + _misfit(f[W], measured[6]) + _misfit(f[H], d[5])
            cost += 1.5 * (abs(f[P] - d[8]) + abs(f[P + 1] - d[9]) + abs(f[P + 2] - d[10]))
            cost += 1.0 - ints[j, CONFIRMED]
            if cost <= gate:
                costs[i, j] = cost


@part
def _settle(f: Any, dx: float, dy: float, rxx: float, rxy: float, ryy: float) -> None:
    """Kalman correction of place and velocity by a measured place."""
    axx, axy, ayy = f[AXX], f[AXY], f[AYY]
    bxx, bxy, byx, byy = f[BXX], f[BXY], f[BYX], f[BYY]
    sxx, sxy, syy = axx + rxx, axy + rxy, ayy + ryy
    scale = 1.0 / (sxx * syy - sxy * sxy)
    ixx, ixy, iyy = syy * scale, -sxy * scale, sxx * scale
    kxx, kxy = axx * ixx + axy * ixy, axx * ixy + axy * iyy  # gain of place
    kyx, kyy = axy * ixx + ayy * ixy, axy * ixy + ayy * iyy
    gxx, gxy = bxx * ixx + byx * ixy, bxx * ixy + byx * iyy  # gain of velocity
    gyx, gyy = bxy * ixx + byy * ixy, bxy * ixy + byy * iyy
    f[X] += kxx * dx + kxy * dy
    f[Y] += kyx * dx + kyy * dy
    f[VX] += gxx * dx + gxy * dy
    f[VY] += gyx * dx + gyy * dy
    f[AXX], f[AYY] = axx - kxx * axx - kxy * axy, ayy - kyx * axy - kyy * ayy
    f[AXY] = axy - kxx * axy - kxy * ayy
    f[BXX], f[BXY] = bxx - kxx * bxx - kxy * byx, bxy - kxx * bxy - kxy * byy
    f[BYX], f[BYY] = byx - kyx * bxx - kyy * byx, byy - kyx * bxy - kyy * byy
    f[CXX], f[CYY] = f[CXX] - gxx * bxx - gxy * byx, f[CYY] - gyx * bxy - gyy * byy
    f[CXY] -= gxx * bxy + gxy * byy


@kernel("void(float64[:, ::1], int64[:, ::1], int64, float64[:, ::1], int64[::1], int64, float64, float64[::1], float64[::1])")
def correct(
    tracks: npt.NDArray[np.float64],
    ints: npt.NDArray[np.int64],
    n: int,
    seen: npt.NDArray[np.float64],
    row_of: npt.NDArray[np.int64],
    stamp: int,
    dt: float,
    rules: npt.NDArray[np.float64],
    measured: npt.NDArray[np.float64],
) -> None:
    """Correct the tracks that were seen; count a miss for the others.

    Args:
        tracks, ints, n: rows of the lane.
        seen: detections.
        row_of: (n,) detection of each track, -1: none.
        stamp, dt: of this scan, ns; since the last one, s.
        rules: (N_RULES,).
        measured: scratch (MEASURES,).
    """
    for j in range(n):
        f = tracks[j]
        i = row_of[j]
        ints[j, DETECTION] = i
        if i < 0:
            ints[j, MISSES] += 1
            continue
        d = seen[i]
        _measure(f, d, rules, measured)
        _settle(f, measured[0], measured[1], measured[2], measured[3], measured[4])
        hits = ints[j, HITS] + 1
        ints[j, HITS], ints[j, SEEN], ints[j, MISSES] = hits, stamp, 0
        first = 1.0 / hits
        yaw = measured[7]
        for k in range(2):
            more = measured[5 + k] - f[L + k]
            more *= max(GROW, first) if more > 0.0 else min(max(dt / SHRINK_S, 0.0), 1.0)
            f[L + k] += more
            push = -0.5 * measured[8 + k] * more  # the near face stays
            f[X] += push * (math.cos(yaw) if k == 0 else -math.sin(yaw))
            f[Y] += push * (math.sin(yaw) if k == 0 else math.cos(yaw))
        f[YAW] = wrapped(f[YAW] + max(YAW_GAIN, first) * (yaw - f[YAW]))
        f[Z] += max(GROW, first) * (d[2] - f[Z])
        f[H] += max(GROW, first) * (d[5] - f[H])
        for k in range(3):
            f[P + k] += max(CLASS_GAIN, first) * (d[8 + k] - f[P + k])
