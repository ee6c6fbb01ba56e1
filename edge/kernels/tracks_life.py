"""Birth, life and death of tracks: detections put in an order of their own, identities given and ended, and what is shown of them."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels import tracks as t
from edge.kernels.jit import kernel, part

N_SEEN = 11  # columns of a detection: the box (8), class probabilities (3)
MIN_EXTENT = 0.05  # m
FARTHEST = 1e4  # m; what claims to be farther away is no object


@part
def _is_before(a: Any, b: Any) -> Any:
    """Nearest first; of two at one distance, by whatever else tells them apart."""
    if a[7] != b[7]:
        return a[7] < b[7]
    for k in range(N_SEEN):
        if a[k] != b[k]:
            return a[k] < b[k]
    return False


@kernel("int64(float32[:, ::1], float32[:, ::1], int64, float64[:, ::1], int64[::1], float64[:, ::1], int64[::1])")
def put_in_order(
    boxes: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float32],
    n: int,
    loose: npt.NDArray[np.float64],
    places: npt.NDArray[np.int64],
    seen: npt.NDArray[np.float64],
    order: npt.NDArray[np.int64],
) -> int:
    """Detections, nearest first, so that their order in the scan means nothing; what is unusable in them made harmless.

    Args:
        boxes, probabilities: (>= n, 8), (>= n, 3) as they came. Without a finite place, a box is left out.
        n: detections.
        loose, places: scratch (>= n, N_SEEN), (>= n,).
        seen: out: (>= n, N_SEEN), probabilities with sum 1.
        order: out: (>= n,) row in the scan of each.

    Returns:
        How many there are in ``seen``.
    """
    m = 0
    for i in range(n):
        x, y = float(boxes[i, 0]), float(boxes[i, 1])
        if not (abs(x) <= FARTHEST and abs(y) <= FARTHEST):
            continue
        d = loose[m]
        for k in range(8):
            value = float(boxes[i, k])
            d[k] = value if abs(value) <= FARTHEST else 0.0  # NaN is not
        for k in range(3, 6):
            d[k] = min(max(d[k], MIN_EXTENT), t.MAX_EXTENT)
        if not 0.0 <= boxes[i, 7] <= FARTHEST:
            d[7] = math.sqrt(x * x + y * y)
        total = 0.0
        for k in range(3):
            p = float(probabilities[i, k])
            d[8 + k] = min(p, 1.0) if p > 0.0 else 0.0
            total += d[8 + k]
        for k in range(3):
            d[8 + k] = d[8 + k] / total if total > 0.0 else 1.0 / 3.0
        at = m
        while at > 0 and _is_before(d, loose[order[at - 1]]):
            order[at] = order[at - 1]
            at -= 1
        order[at] = m
        places[m] = i
        m += 1
    for k in range(m):
        seen[k] = loose[order[k]]
        order[k] = places[order[k]]
    return m


@part
def _credit(f: Any, d: Any, ints: Any, tracks: Any, n: int) -> None:
    """Count a hit of a track that is not confirmed: a part of one that was seen too counts less than an object of its own."""
    for j in range(n):
        if ints[j, t.CONFIRMED] == 1 and ints[j, t.DETECTION] >= 0:
            c = math.cos(tracks[j, t.YAW])
            s = math.sin(tracks[j, t.YAW])
            dx = d[0] - tracks[j, t.X]
            dy = d[1] - tracks[j, t.Y]
            if 2.0 * abs(c * dx + s * dy) <= tracks[j, t.L] and 2.0 * abs(c * dy - s * dx) <= tracks[j, t.W]:
                f[t.SCORE] += t.FRAGMENT
                return
    f[t.SCORE] += 1.0


@part
def _place_for(distance: float, tracks: Any, ints: Any, head: Any) -> int:
    """The row for a new track; when all are taken, the farthest one, those not confirmed first, if it is farther. -1: none."""
    n = head[t.N]
    if n < len(tracks):
        head[t.N] = n + 1
        return int(n)
    head[t.DROPPED] += 1
    at = -1
    for confirmed in range(2):
        most = distance
        for j in range(n):
            away = math.hypot(tracks[j, t.X], tracks[j, t.Y])
            if ints[j, t.CONFIRMED] == confirmed and away > most:
                most = away
                at = j
        if at >= 0:
            break
    if at < 0:
        return -1
    for j in range(at, n - 1):  # rows stay in the order of their ids
        tracks[j] = tracks[j + 1]
        ints[j] = ints[j + 1]
    return int(n - 1)


@part
def _begin(f: Any, number: Any, d: Any, is_known: int, rules: Any) -> None:
    """A new track from one detection: it stands, with the spread of speeds that its class has."""
    noise = rules[t.R_NOISE] + rules[t.R_NOISE_PER_M] * math.hypot(d[0] - rules[t.R_SENSOR_X], d[1] - rules[t.R_SENSOR_Y])
    f[:] = 0.0
    number[:] = 0
    f[t.X], f[t.Y], f[t.Z] = d[0], d[1], d[2]
    f[t.L], f[t.W], f[t.H] = d[3], d[4], d[5]
    f[t.YAW] = t.wrapped(d[6])
    f[t.AXX] = f[t.AYY] = noise * noise
    for k in range(3):
        f[t.P + k] = d[8 + k]
        f[t.CXX] += d[8 + k] * rules[t.R_SPEED + k] ** 2
    f[t.CYY] = f[t.CXX]
    if is_known == 0:
        f[t.CXX] += t.UNKNOWN_SPEED**2
    number[t.HITS] = 1


@kernel("void(float64[:, ::1], int64[:, ::1], int64[::1], float64[:, ::1], int64, int64[::1], int64[::1], int64, float64[::1], int64[::1])")
def renew(
    tracks: npt.NDArray[np.float64],
    ints: npt.NDArray[np.int64],
    head: npt.NDArray[np.int64],
    seen: npt.NDArray[np.float64],
    m: int,
    column_of: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    stamp: int,
    rules: npt.NDArray[np.float64],
    ids: npt.NDArray[np.int64],
) -> None:
    """Confirm, end and begin tracks, after ``correct``.

    Args:
        tracks, ints, head: of the lane.
        seen, m: detections, nearest first.
        column_of: (m,) track of each, -1: none.
        order: (m,) row in the scan of each.
        stamp: of this scan, ns.
        rules: (N_RULES,).
        ids: out: at least as long as the scan: id of each detection's track. Detections without one are left as they are.
    """
    n = head[t.N]
    for j in range(n):
        i = ints[j, t.DETECTION]
        if i >= 0:
            ids[order[i]] = ints[j, t.ID]
            if ints[j, t.CONFIRMED] == 0:
                _credit(tracks[j], seen[i], ints, tracks, n)
    kept = 0
    for j in range(n):
        if tracks[j, t.SCORE] >= rules[t.R_HITS]:
            ints[j, t.CONFIRMED] = 1
        if ints[j, t.CONFIRMED] == 1:
            trust = min(ints[j, t.HITS] / (3.0 * rules[t.R_HITS]), 1.0)  # chance confirms some; those should not last
            is_over = (stamp - ints[j, t.SEEN]) * 1e-9 > rules[t.R_COAST] * trust
        else:
            is_over = ints[j, t.MISSES] > 1
        if not is_over:
            if kept < j:
                tracks[kept] = tracks[j]
                ints[kept] = ints[j]
            kept += 1
    head[t.N] = kept
    for i in range(m):
        if column_of[i] >= 0:
            continue
        j = _place_for(math.hypot(seen[i, 0], seen[i, 1]), tracks, ints, head)
        if j < 0:
            continue
        _begin(tracks[j], ints[j], seen[i], head[t.IS_KNOWN], rules)
        ints[j, t.ID] = ids[order[i]] = head[t.NEXT_ID]
        head[t.NEXT_ID] += 1
        ints[j, t.BORN] = ints[j, t.SEEN] = stamp
        ints[j, t.DETECTION] = i
        _credit(tracks[j], seen[i], ints, tracks, head[t.N])
        if tracks[j, t.SCORE] >= rules[t.R_HITS]:
            ints[j, t.CONFIRMED] = 1


@kernel(
    "void(float64[:, ::1], int64[:, ::1], int64, int64, float64, float64, int64[:, ::1], float32[:, ::1], float32[:, :, ::1],"
    " float32[:, ::1], float32[:, ::1], boolean[::1])"
)
def show(
    tracks: npt.NDArray[np.float64],
    ints: npt.NDArray[np.int64],
    n: int,
    stamp: int,
    speed: float,
    turn: float,
    counts: npt.NDArray[np.int64],
    boxes: npt.NDArray[np.float32],
    velocities: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.float32],
    probabilities: npt.NDArray[np.float32],
    confirmed: npt.NDArray[np.bool_],
) -> None:
    """Copy a lane's tracks to what is handed out.

    Args:
        tracks, ints, n: rows of the lane.
        stamp: of this scan, ns.
        speed, turn: of the vehicle, m/s, rad/s; 0 when not known.
        counts: out: (3, >= n) ids, hits, misses.
        boxes: out: (>= n, 8), length >= width, yaw towards where it goes, distance from the origin to the footprint.
        velocities: out: (2, >= n, 2) over ground, and change of place in the vehicle's axes.
        numbers: out: (2, >= n) age s, standard deviation of the velocity m/s in the worse direction.
        probabilities: out: (>= n, 3).
        confirmed: out: (>= n,).
    """
    for j in range(n):
        f = tracks[j]
        counts[0, j], counts[1, j], counts[2, j] = ints[j, t.ID], ints[j, t.HITS], ints[j, t.MISSES]
        length, width, yaw = f[t.L], f[t.W], f[t.YAW]
        if width > length:
            length, width, yaw = width, length, yaw + t.QUARTER
        c = math.cos(yaw)
        s = math.sin(yaw)
        vx, vy = f[t.VX], f[t.VY]
        forward = c * vx + s * vy
        if forward < 0.0 and vx * vx + vy * vy > 1.0:
            yaw += 2.0 * t.QUARTER
        over = max(abs(c * f[t.X] + s * f[t.Y]) - 0.5 * length, 0.0)
        beside = max(abs(c * f[t.Y] - s * f[t.X]) - 0.5 * width, 0.0)
        boxes[j, 0], boxes[j, 1], boxes[j, 2] = f[t.X], f[t.Y], f[t.Z]
        boxes[j, 3], boxes[j, 4], boxes[j, 5] = length, width, f[t.H]
        boxes[j, 6], boxes[j, 7] = t.wrapped(yaw), math.sqrt(over * over + beside * beside)
        velocities[0, j, 0], velocities[0, j, 1] = vx, vy
        velocities[1, j, 0], velocities[1, j, 1] = vx - speed + turn * f[t.Y], vy - turn * f[t.X]
        numbers[0, j] = (stamp - ints[j, t.BORN]) * 1e-9
        half = 0.5 * (f[t.CXX] - f[t.CYY])
        numbers[1, j] = math.sqrt(0.5 * (f[t.CXX] + f[t.CYY]) + math.sqrt(half * half + f[t.CXY] ** 2))
        probabilities[j, 0], probabilities[j, 1], probabilities[j, 2] = f[t.P], f[t.P + 1], f[t.P + 2]
        confirmed[j] = ints[j, t.CONFIRMED] == 1
