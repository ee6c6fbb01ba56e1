"""Time to collision and the corridor against simulation in small steps."""

import math

import numpy as np
import pytest

from edge.lidar.path import Path, Vehicle

VEHICLE = Vehicle(horizon_s=4.0, range_m=60.0)
HALF = VEHICLE.width_m / 2 + VEHICLE.margin_m


def corners(x, y, yaw, hl, hw):
    c, s = np.cos(yaw), np.sin(yaw)
    a, b = np.array([hl, hl, -hl, -hl]), np.array([hw, -hw, -hw, hw])
    return np.stack([x + a * c - b * s, y + a * s + b * c], axis=1)


def overlap(p, q):
    """Separating axes of two convex polygons."""
    for polygon in (p, q):
        for i in range(4):
            edge = polygon[(i + 1) % 4] - polygon[i]
            normal = np.array([-edge[1], edge[0]])
            a, b = p @ normal, q @ normal
            if a.max() < b.min() or b.max() < a.min():
                return False
    return True


def simulated(box, velocity, speed, turn, dt):
    """Both drive through the world; first overlap."""
    middle, hl = (VEHICLE.front_m - VEHICLE.rear_m) / 2, (VEHICLE.front_m + VEHICLE.rear_m) / 2
    x = y = heading = 0.0
    for i in range(round(VEHICLE.horizon_s / dt)):
        t = i * dt
        ego = corners(x + middle * math.cos(heading), y + middle * math.sin(heading), heading, hl, HALF)
        other = corners(box[0] + velocity[0] * t, box[1] + velocity[1] * t, box[6], box[3] / 2, box[4] / 2)
        if overlap(ego, other):
            return t
        half = heading + turn * dt / 2
        x, y, heading = x + speed * dt * math.cos(half), y + speed * dt * math.sin(half), heading + turn * dt
    return VEHICLE.horizon_s


def look(box, velocity=(0.0, 0.0), speed=10.0, turn=0.0, confirmed=True):
    path = Path(VEHICLE, 4)
    boxes, velocities = np.zeros((4, 8), np.float32), np.zeros((4, 2), np.float32)
    boxes[0], velocities[0] = box, velocity
    path.update(boxes, velocities, np.array([confirmed] * 4), 1, speed, turn)
    return path


def random_box(random, ahead=(5, 40), aside=15):
    x, y = random.uniform(*ahead), random.uniform(-aside, aside)
    return np.array([x, y, 0, random.uniform(0.3, 6), random.uniform(0.3, 2.5), 1.5, random.uniform(-4, 4), 0], np.float32)


@pytest.mark.parametrize("curved", [False, True])
def test_time_to_collision_is_that_of_a_simulation(curved):
    random = np.random.default_rng(3)
    hits = grazes = 0
    for _ in range(150):
        box, velocity = random_box(random, aside=6), random.normal(0, 4, 2)
        speed, turn = random.uniform(0, 25), random.uniform(-0.5, 0.5) if curved else 0.0
        got, want = look(box, velocity, speed, turn).min_ttc_s, simulated(box, velocity, speed, turn, 0.01)
        hits += want < VEHICLE.horizon_s
        if abs(got - want) > 0.015:  # a corner is touched for less than a step: one sees it, the other does not
            grazes += 1
            small, large = box.copy(), box.copy()
            small[3:5] = np.maximum(small[3:5] - 0.3, 0.01)
            large[3:5] += 0.3
            first, last = (simulated(other, velocity, speed, turn, 0.01) for other in (large, small))
            assert first - 0.02 <= got <= last + 0.02
    assert hits > 30
    assert grazes < 6


@pytest.mark.parametrize("turn", [0.0, 0.2, -0.35])
def test_the_corridor_is_that_of_dense_samples(turn):
    random = np.random.default_rng(5)
    speed, inside = 8.0, 0
    curvature = turn / speed
    for _ in range(200):
        box = random_box(random, (-5, 45))
        grid = np.linspace(-0.5, 0.5, 120)
        a, b = (part.ravel() for part in np.meshgrid(grid * box[3], grid * box[4]))
        c, s = np.cos(box[6]), np.sin(box[6])
        x, y = box[0] + a * c - b * s, box[1] + a * s + b * c
        if turn:
            sign, radius = np.sign(curvature), 1 / abs(curvature)
            along = radius * np.arctan2(x, radius - sign * y)
            y = radius - np.hypot(x, radius - sign * y)
            along[np.abs(along) > 0.75 * np.pi * radius] = -1.0
        else:
            along = x
        covered = along[(np.abs(y) <= HALF) & (along >= VEHICLE.front_m)]
        want = covered.min() - VEHICLE.front_m if len(covered) else VEHICLE.range_m
        got = look(box, (0, 0), speed, turn).nearest_ahead_m
        inside += len(covered) > 0
        if len(covered) > 200:
            assert got == pytest.approx(min(want, VEHICLE.range_m), abs=0.1)
        elif not len(covered) and got < VEHICLE.range_m:  # cut by less than a sample
            assert np.abs(np.abs(y) - HALF).min() < 0.1 or abs(along.max() - VEHICLE.front_m) < 0.1
    assert inside > 10


def test_a_car_that_stands_and_one_that_drives_ahead():
    box = (23.8, 0, 0.8, 4.0, 1.8, 1.5, 0, 21.8)
    path = look(box)
    assert (path.min_ttc_s, path.nearest_ahead_m, path.closing_mps) == pytest.approx((1.8, 18.0, 10.0), abs=1e-5)
    assert path.deceleration_mps2 == pytest.approx(100 / 36)
    path = look(box, velocity=(4.0, 0.0))
    assert (path.min_ttc_s, path.closing_mps, path.deceleration_mps2) == pytest.approx((3.0, 6.0, 1.0), abs=1e-5)
    path = look(box, velocity=(12.0, 0.0))
    assert (path.min_ttc_s, path.closing_mps, path.deceleration_mps2) == (VEHICLE.horizon_s, -2.0, 0.0)


def test_what_is_not_confirmed_counts_as_standing():
    box = (23.8, 0, 0.8, 4.0, 1.8, 1.5, 0, 21.8)
    path = look(box, velocity=(12.0, 0.0), confirmed=False)
    assert path.min_ttc_s == pytest.approx(1.8, abs=1e-5)
    assert path.confirmed_ttc_s == VEHICLE.horizon_s
    assert look(box, velocity=(-10.0, 0.0), speed=math.nan, confirmed=False).min_ttc_s == pytest.approx(1.8, abs=1e-5)


def test_what_is_behind_matters_only_in_reverse():
    box = (-8.0, 0, 0.8, 4.0, 1.8, 1.5, 0, 6.0)
    assert look(box, velocity=(20.0, 0.0)).min_ttc_s == VEHICLE.horizon_s
    assert look(box, speed=-5.0).min_ttc_s == pytest.approx(1.0, abs=1e-5)


def test_nothing_ahead_and_overlap():
    path = look((10.0, 8.0, 0.8, 4.0, 1.8, 1.5, 0, 6.0))
    assert (path.min_ttc_s, path.nearest_ahead_m, path.ttc_row, path.nearest_row) == (VEHICLE.horizon_s, VEHICLE.range_m, -1, -1)
    path = look((4.0, 0.0, 0.8, 4.0, 1.8, 1.5, 0, 6.0))
    assert (path.min_ttc_s, path.nearest_ahead_m, path.ttc_row, path.nearest_row) == (0.0, 0.0, 0, 0)
    assert math.isfinite(path.deceleration_mps2)


@pytest.mark.parametrize("turn", [0.0, 1.0, -5.0, math.nan, 1e9])
@pytest.mark.parametrize("speed", [0.0, 1e-12, -1.0, 1e6, math.nan, math.inf])
def test_no_motion_gives_nan(speed, turn):
    path = look((12.0, 1.0, 0.8, 0.0, 0.0, 0.0, 0.3, 12.0), (1.0, -1.0), speed, turn)
    found = (path.min_ttc_s, path.confirmed_ttc_s, path.nearest_ahead_m, path.closing_mps, path.deceleration_mps2)
    assert np.isfinite(found).all()
    assert 0 <= path.min_ttc_s <= VEHICLE.horizon_s


@pytest.mark.parametrize("wrong", [{"front_m": 0.0}, {"width_m": math.nan}, {"margin_m": -1.0}, {"horizon_s": math.inf}])
def test_sizes_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Vehicle(**wrong)


def test_too_many_objects_are_refused():
    with pytest.raises(ValueError, match="places"):
        Path(VEHICLE, 1).update(np.zeros((2, 8), np.float32), np.zeros((2, 2), np.float32), np.ones(2, bool), 2, 1.0, 0.0)
