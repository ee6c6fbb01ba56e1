"""When does the vehicle meet an object, and how far ahead on its path is the nearest one?

Footprints are rectangles. Straight ahead, the time of first contact has a closed form: on each of the four axes of two rectangles the
projections overlap during one interval, and contact is where the four intervals meet (separating axes: S. Gottschalk et al., "OBBTree",
SIGGRAPH 1996). On an arc the vehicle turns under the object, so time is advanced by no more than the gap divided by the highest
possible closing speed (conservative advancement: B. Mirtich, "Impulse-based dynamic simulation", 1996), at least by STEP_S.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.kernels.jit import kernel, part

STEP_S = 0.005  # shortest step on an arc; contact within it is halved down to 40 us
STRAIGHT = 1e-4  # rad/s or 1/m: less is straight
TIGHTEST = 0.3  # 1/m: no road vehicle turns in less than 3 m
MIN_SPEED = 0.5  # m/s: a slower vehicle is given the curvature of this speed; standing, yaw rate says nothing about a path
MIN_GAP = 0.1  # m: for the deceleration, so that it stays finite
SURE = 1.5  # standard deviations that a velocity must differ from 0
BEHIND = 0.75 * math.pi  # rad: an arc is not followed further

# What ``collide`` is told about the vehicle, and what it finds.
SPEED, YAW_RATE, IS_KNOWN, FRONT, REAR, HALF_WIDTH, MARGIN, HORIZON, RANGE, N_MOTION = range(10)
GHOST, NEW, KNOWN = range(3)
TTC, TTC_ROW, CONFIRMED_TTC, AHEAD, AHEAD_ROW, CLOSING, DECELERATION, N_FOUND = range(8)


@part
def separation(x: float, y: float, c: float, s: float, hl: float, hw: float, ex: float, ey: float) -> float:
    """Least distance that is sure between a rectangle at the origin, half sizes ex, ey, and one at (x, y), axes (c, s), halves hl, hw.

    Below 0 where they overlap.
    """
    gap = max(abs(x) - ex - hl * abs(c) - hw * abs(s), abs(y) - ey - hl * abs(s) - hw * abs(c))
    along = abs(x * c + y * s) - hl - ex * abs(c) - ey * abs(s)
    across = abs(-x * s + y * c) - hw - ex * abs(s) - ey * abs(c)
    return max(gap, along, across)


@part
def _contact_straight(
    x: float, y: float, c: float, s: float, hl: float, hw: float, ex: float, ey: float, vx: float, vy: float, horizon: float
) -> float:
    """First time at which the two rectangles of ``separation`` overlap, the second moving with (vx, vy); the horizon when never."""
    first = 0.0
    last = horizon
    for axis in range(4):
        if axis == 0:
            place, speed, reach = x, vx, ex + hl * abs(c) + hw * abs(s)
        elif axis == 1:
            place, speed, reach = y, vy, ey + hl * abs(s) + hw * abs(c)
        elif axis == 2:
            place, speed, reach = x * c + y * s, vx * c + vy * s, hl + ex * abs(c) + ey * abs(s)
        else:
            place, speed, reach = y * c - x * s, vy * c - vx * s, hw + ex * abs(s) + ey * abs(c)
        if abs(speed) < 1e-9:
            if abs(place) > reach:
                return horizon
            continue
        middle = -place / speed
        half = reach / abs(speed)
        first = max(first, middle - half)
        last = min(last, middle + half)
    return first if first <= last else horizon


@part
def _gap_on_arc(
    t: float, x: float, y: float, vx: float, vy: float, yaw: float, hl: float, hw: float, ex: float, ey: float,
    middle: float, speed: float, turn: float,
) -> float:  # fmt: skip
    """Separation at time t; the vehicle's rectangle lies ``middle`` ahead of the point that drives the arc."""
    heading = turn * t
    c = math.cos(heading)
    s = math.sin(heading)
    dx = x + vx * t - speed / turn * s
    dy = y + vy * t - speed / turn * (1.0 - c)
    a = yaw - heading
    return separation(c * dx + s * dy - middle, c * dy - s * dx, math.cos(a), math.sin(a), hl, hw, ex, ey)


@part
def _contact_arc(
    x: float, y: float, vx: float, vy: float, yaw: float, hl: float, hw: float, ex: float, ey: float,
    middle: float, speed: float, turn: float, horizon: float,
) -> float:  # fmt: skip
    """First contact on an arc; (vx, vy) is the object's own velocity."""
    fastest = math.hypot(vx, vy) + abs(speed) + abs(turn) * math.hypot(abs(middle) + ex, ey) + 1e-9
    t = 0.0
    free = 0.0
    while t < horizon:
        gap = _gap_on_arc(t, x, y, vx, vy, yaw, hl, hw, ex, ey, middle, speed, turn)
        if gap <= 0.0:
            for _ in range(7):
                half = 0.5 * (free + t)
                if _gap_on_arc(half, x, y, vx, vy, yaw, hl, hw, ex, ey, middle, speed, turn) <= 0.0:
                    t = half
                else:
                    free = half
            return t
        free = t
        t += max(gap / fastest, STEP_S)
    return horizon


@part
def _crossings(ax: float, ay: float, bx: float, by: float, bound: float, curvature: float, roots: Any) -> None:
    """Where, as shares of the edge a to b, it crosses the line at ``bound`` to the left of the path; outside 0 to 1: nowhere."""
    roots[0] = -1.0
    roots[1] = -1.0
    if curvature == 0.0:
        if ay != by:
            roots[0] = (bound - ay) / (by - ay)
        return
    radius = 1.0 / curvature - bound  # around (0, 1 / curvature), path mirrored to turn left
    if radius <= 0.0:
        return
    dx = bx - ax
    dy = by - ay
    px = ax
    py = ay - 1.0 / curvature
    a = dx * dx + dy * dy
    b = px * dx + py * dy
    root = b * b - a * (px * px + py * py - radius * radius)
    if a > 0.0 and root >= 0.0:
        root = math.sqrt(root)
        roots[0] = (-b - root) / a
        roots[1] = (-b + root) / a


@part
def _along(x: float, y: float, curvature: float, place: Any) -> None:
    """Coordinates on the path: metres along, metres to the left. Along is NaN where the arc is not followed."""
    if curvature == 0.0:
        place[0] = x
        place[1] = y
        return
    radius = 1.0 / curvature
    angle = math.atan2(x, radius - y)
    place[0] = angle * radius if abs(angle) < BEHIND else np.nan
    place[1] = radius - math.hypot(x, radius - y)


@part
def _stretch(x: float, y: float, c: float, s: float, hl: float, hw: float, curvature: float, half: float, work: Any) -> None:
    """The part of the corridor that a rectangle covers: work[0] to work[1] metres along it; work[0] > work[1]: none.

    Exact: distance along the path is monotonic on each edge (seen from the centre of an arc too), so the extremes are corners inside
    the corridor or points where an edge crosses its border.
    """
    work[0] = np.inf
    work[1] = -np.inf
    roots = work[2:4]
    place = work[4:6]
    for edge in range(4):
        a = hl if edge in (0, 3) else -hl
        b = hw if edge < 2 else -hw
        to_a = hl if edge in (3, 2) else -hl
        to_b = hw if edge in (3, 0) else -hw
        ax = x + a * c - b * s
        ay = y + a * s + b * c
        bx = x + to_a * c - to_b * s
        by = y + to_a * s + to_b * c
        _along(ax, ay, curvature, place)
        if abs(place[1]) <= half:  # NaN loses both comparisons
            work[0] = min(work[0], place[0]) if place[0] == place[0] else work[0]
            work[1] = max(work[1], place[0]) if place[0] == place[0] else work[1]
        for side in range(2):
            _crossings(ax, ay, bx, by, half if side == 0 else -half, curvature, roots)
            for i in range(2):
                share = roots[i]
                if 0.0 <= share <= 1.0:
                    _along(ax + share * (bx - ax), ay + share * (by - ay), curvature, place)
                    work[0] = min(work[0], place[0]) if place[0] == place[0] else work[0]
                    work[1] = max(work[1], place[0]) if place[0] == place[0] else work[1]


@kernel(
    "void(float32[:, ::1], float32[:, ::1], float32[::1], boolean[::1], uint8[::1], int64, float64[::1], float64[::1], float32[::1],"
    " float32[::1], float64[::1])"
)
def collide(
    boxes: npt.NDArray[np.float32],
    velocities: npt.NDArray[np.float32],
    deviations: npt.NDArray[np.float32],
    confirmed: npt.NDArray[np.bool_],
    trust: npt.NDArray[np.uint8],
    n: int,
    motion: npt.NDArray[np.float64],
    work: npt.NDArray[np.float64],
    ttc: npt.NDArray[np.float32],
    ahead: npt.NDArray[np.float32],
    found: npt.NDArray[np.float64],
) -> None:
    """Meet every object.

    An object that is not confirmed has no velocity worth believing: it is taken to stand (where the vehicle's speed is unknown, to move
    with it as measured). A ghost is not met at all: what chance made up must not outlive it. A
    component of a velocity that is not surely different from 0 is taken as 0: what is parked beside the path must not drift onto it.
    What is wholly behind the vehicle is not on its path, unless it reverses.

    Args:
        boxes: (>= n, 8) as in edge.lidar.tracks; finite.
        velocities: (>= n, 2) m/s over ground, vehicle axes; where the vehicle's speed is unknown, relative to it.
        deviations: (>= n,) m/s, standard deviation of each velocity.
        confirmed: (>= n,).
        trust: (>= n,) GHOST: not shown by this scan, and not known for long; NEW: seen once, asks for no deceleration yet; KNOWN.
        n: objects.
        motion: (N_MOTION,) speed m/s, yaw rate rad/s, 1 when the speed is known, distances from the origin to the front and the rear
            bumper m, half width of the corridor m, how much of that is margin m, horizon s, range m.
        work: scratch (6,).
        ttc: out: (>= n,) s, 0: overlapping now; the horizon: never before it.
        ahead: out: (>= n,) m along the corridor from the bumper to the object; the range: not in it.
        found: out: (N_FOUND,) least ttc and its row (-1), least of the confirmed; nearest ahead and its row (-1), its closing speed
            m/s, and the largest deceleration that any object ahead demands: closing speed^2 / (2 gap), m/s^2.
    """
    is_known = motion[IS_KNOWN] > 0.0
    speed = motion[SPEED] if is_known else 0.0
    turn = motion[YAW_RATE] if is_known else 0.0
    front, rear, half, horizon, far = motion[FRONT], motion[REAR], motion[HALF_WIDTH], motion[HORIZON], motion[RANGE]
    slim = half - motion[MARGIN]
    middle = 0.5 * (front - rear)
    ex = 0.5 * (front + rear)
    curvature = math.copysign(turn / max(abs(speed), MIN_SPEED), turn * (speed if speed != 0.0 else 1.0))
    bend = min(abs(curvature), TIGHTEST)
    if bend < STRAIGHT:
        bend = 0.0
    found[TTC] = found[CONFIRMED_TTC] = horizon
    found[TTC_ROW] = found[AHEAD_ROW] = -1.0
    found[AHEAD] = far
    found[CLOSING] = found[DECELERATION] = 0.0
    for j in range(n):
        ttc[j] = horizon
        ahead[j] = far
        if trust[j] == GHOST:
            continue
        x, y, yaw = float(boxes[j, 0]), float(boxes[j, 1]), float(boxes[j, 6])
        hl, hw = 0.5 * float(boxes[j, 3]), 0.5 * float(boxes[j, 4])
        is_believed = confirmed[j] or not is_known
        vx = float(velocities[j, 0]) if is_believed else 0.0
        vy = float(velocities[j, 1]) if is_believed else 0.0
        if is_known:
            doubt = SURE * deviations[j]
            vx = vx if abs(vx) > doubt else 0.0
            vy = vy if abs(vy) > doubt else 0.0
        c = math.cos(yaw)
        s = math.sin(yaw)
        time = horizon
        if speed < 0.0 or x + hl * abs(c) + hw * abs(s) >= -rear:
            if abs(turn) < STRAIGHT:
                time = _contact_straight(x - middle, y, c, s, hl, hw, ex, half, vx - speed, vy, horizon)
            else:
                time = _contact_arc(x, y, vx, vy, yaw, hl, hw, ex, half, middle, speed, turn, horizon)
            if time <= 0.0 and separation(x - middle, y, c, s, hl, hw, ex, slim) > 0.0:
                # It stands in the margin, beside the vehicle: met only if the vehicle itself is going to touch it.
                if abs(turn) < STRAIGHT:
                    time = _contact_straight(x - middle, y, c, s, hl, hw, ex, slim, vx - speed, vy, horizon)
                else:
                    time = _contact_arc(x, y, vx, vy, yaw, hl, hw, ex, slim, middle, speed, turn, horizon)
        ttc[j] = time
        if time < found[TTC]:
            found[TTC] = time
            found[TTC_ROW] = j
        if confirmed[j] and time < found[CONFIRMED_TTC]:
            found[CONFIRMED_TTC] = time
        flip = -1.0 if curvature < 0.0 else 1.0  # mirrored, every path turns left
        _stretch(x, flip * y, c, flip * s, hl, hw, bend, half, work)
        if work[0] < front and separation(x - middle, y, c, s, hl, hw, ex, slim) > 0.0:  # beside: in the margin only, or not at all
            _stretch(x, flip * y, c, flip * s, hl, hw, bend, slim, work)
        if work[1] < front or work[0] > work[1]:
            continue
        gap = max(work[0] - front, 0.0)
        if gap >= far:
            continue
        ahead[j] = gap
        angle = flip * bend * max(work[0], front)
        closing = speed - vx * math.cos(angle) - vy * math.sin(angle)
        if gap < found[AHEAD]:
            found[AHEAD] = gap
            found[AHEAD_ROW] = j
            found[CLOSING] = closing
        if closing > 0.0 and trust[j] == KNOWN:
            found[DECELERATION] = max(found[DECELERATION], closing * closing / (2.0 * max(gap, MIN_GAP)))


@kernel("void(float32[:, ::1], int32[::1], int32[::1], uint8[::1], int64, float64[::1], float64[::1], float64[::1])")
def meet_structures(
    voxels: npt.NDArray[np.float32],
    cluster: npt.NDArray[np.int32],
    object_of: npt.NDArray[np.int32],
    structure: npt.NDArray[np.uint8],
    n: int,
    motion: npt.NDArray[np.float64],
    work: npt.NDArray[np.float64],
    found: npt.NDArray[np.float64],
) -> None:
    """Meet walls and the like, which stand, point by point: their boxes say nothing of where they are.

    Args:
        voxels: float32 (n, >= 2), obstacles.
        cluster, object_of: int32, of the voxels and of the clusters.
        structure: uint8, of the objects.
        n: voxels.
        motion: see ``collide``.
        work: (>= 6,) scratch.
        found: (N_FOUND,) as ``collide`` left it; what is nearer or sooner replaces what is there.
    """
    is_known = motion[IS_KNOWN] > 0.0
    speed = motion[SPEED] if is_known else 0.0
    turn = motion[YAW_RATE] if is_known else 0.0
    front, rear, half, horizon, far = motion[FRONT], motion[REAR], motion[HALF_WIDTH], motion[HORIZON], motion[RANGE]
    curvature = math.copysign(turn / max(abs(speed), MIN_SPEED), turn * (speed if speed != 0.0 else 1.0))
    bend = min(abs(curvature), TIGHTEST)
    if bend < STRAIGHT:
        bend = 0.0
    flip = -1.0 if curvature < 0.0 else 1.0
    place = work[4:6]
    ahead, behind = far, far
    for i in range(n):
        k = cluster[i]
        if k < 0 or object_of[k] < 0 or structure[object_of[k]] == 0:
            continue
        _along(float(voxels[i, 0]), flip * float(voxels[i, 1]), bend, place)
        if not abs(place[1]) <= half:
            continue
        if place[0] >= front:
            ahead = min(ahead, place[0] - front)
        elif place[0] <= -rear:
            behind = min(behind, -rear - place[0])
    time = horizon
    if speed > 0.0:
        time = min(ahead / speed, horizon) if ahead < far else horizon
    elif speed < 0.0:
        time = min(behind / -speed, horizon) if behind < far else horizon
    if time < found[TTC]:
        found[TTC] = time
        found[TTC_ROW] = -1.0
    found[CONFIRMED_TTC] = min(found[CONFIRMED_TTC], time)
    if ahead < found[AHEAD]:
        found[AHEAD] = ahead
        found[AHEAD_ROW] = -1.0
        found[CLOSING] = speed
    if speed > 0.0 and ahead < far:
        found[DECELERATION] = max(found[DECELERATION], speed * speed / (2.0 * max(ahead, MIN_GAP)))
