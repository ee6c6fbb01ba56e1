"""The first pass over a scan against NumPy in float64."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from edge.kernels.lidar_crop import G_SIZE, NOTHING, RINGS, SECTORS, crop_points, turns
from edge.lidar.settings import Mount

SCALE = np.float32(RINGS / 10.0)
GATES = np.array([0.5, 22.0, 3.0, -14, 20, -12, 15, -3, 4, -1, 4, -1, 1, -0.5, 1], np.float32)  # each limit cuts something off
PLACE = Mount(x_m=1.2, y_m=-0.3, z_m=1.9, roll_rad=0.03, pitch_rad=0.1, yaw_rad=2.0)
ALL = np.array([0, 1, 2, 3], np.int64)


@njit
def turns_of(y, x):
    out = np.empty(len(x), np.float32)
    for i in range(len(x)):
        out[i] = turns(y[i], x[i])
    return out


def crop(points, *, stride=1, columns=ALL, mount=None, gates=GATES):
    n = len(points)
    mount = PLACE.matrix() if mount is None else mount
    cropped, lowest = np.full((n, 3), np.nan, np.float32), np.empty((2, SECTORS * RINGS), np.float32)
    source, cell = np.full(n, -9, np.int32), np.full(n, -9, np.int32)
    kept = crop_points(points, n, stride, columns, mount, gates, SCALE, cropped, source, cell, lowest)
    assert (source[kept:] == -9).all()
    return cropped[:kept], source[:kept], cell[:kept], lowest


def oracle(points, stride, columns, gates):
    """What is kept, where it lies, and which points are too near to a limit to tell in float32."""
    x = points[:, columns[:3]].astype(float)
    m = PLACE.matrix().astype(float)
    with np.errstate(invalid="ignore", over="ignore"):
        at = x @ m[:, :3].T + m[:, 3]
        far = np.sqrt((x**2).sum(1))
        limits = [far - gates[0], gates[1] - far]
        for axis in range(3):
            limits += [at[:, axis] - gates[3 + 2 * axis], gates[4 + 2 * axis] - at[:, axis]]
        if columns[3] >= 0:
            limits.append(points[:, columns[3]] - float(gates[2]))
        own = np.min([sign * (at[:, axis] - gates[9 + 2 * axis + (sign < 0)]) for axis in range(3) for sign in (1, -1)], axis=0)
        inside = np.min(limits, axis=0)
        keep = (inside >= 0) & (own <= 0) & np.isfinite(x).all(axis=1)
        unsure = (np.abs(inside) < 1e-3) | (np.abs(own) < 1e-3)
    keep[np.arange(len(points)) % stride != 0] = False
    return keep, at, unsure


def cells_of(at):
    """Polar cells in float64, and how far from a border each is, in cells."""
    dx, dy = at[:, 0] - float(np.float32(PLACE.x_m)), at[:, 1] - float(np.float32(PLACE.y_m))
    ring = np.sqrt(np.hypot(dx, dy)) * float(SCALE)
    sector = np.arctan2(dy, dx) / (2 * math.pi) % 1.0 * SECTORS
    border = np.minimum(np.abs(ring - np.round(ring)) / 5e-4, np.abs(sector - np.round(sector)) / 5e-3)
    return np.minimum(sector.astype(int), SECTORS - 1) * RINGS + np.minimum(ring.astype(int), RINGS - 1), border < 1


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([1, 2, 3]), st.booleans(), st.floats(0.01, 40))
def test_what_is_kept_and_where_it_lies(seed, n, stride, with_intensity, size):
    random = np.random.default_rng(seed)
    points = np.column_stack([random.normal(0, size, (n, 3)), random.uniform(0, 10, n)]).astype(np.float32)
    odd = random.choice([np.nan, np.inf, -np.inf, 3e38], (n, 3))
    points[:, :3] = np.where(random.random((n, 3)) < 0.03, odd, points[:, :3])
    columns = ALL if with_intensity else np.array([0, 1, 2, -1], np.int64)
    keep, at, unsure = oracle(points, stride, columns, GATES)
    points, keep, at = points[~unsure], oracle(points[~unsure], stride, columns, GATES)[0], at[~unsure]
    cropped, source, cell, lowest = crop(points, stride=stride, columns=columns)
    assert source.tolist() == np.flatnonzero(keep).tolist()
    np.testing.assert_allclose(cropped, at[keep], rtol=1e-5, atol=2e-5)
    expected, near_border = cells_of(at[keep])
    assert (cell == expected)[~near_border].all()
    check_lowest(cropped, cell, lowest)


def check_lowest(cropped, cell, lowest):
    wanted = np.full((SECTORS * RINGS, 2), NOTHING, np.float32)
    heights = {}
    for c, z in zip(cell.tolist(), cropped[:, 2], strict=True):
        heights.setdefault(c, []).append(z)
    for c, values in heights.items():
        ordered = sorted(values)[:2]
        wanted[c, : len(ordered)] = ordered
    assert (wanted == lowest.T).all()


def test_columns_may_lie_anywhere_and_an_intensity_that_is_no_number_does_not_drop_a_point():
    random = np.random.default_rng(2)
    points = random.normal(0, 8, (500, 6)).astype(np.float32)
    points[:, 0] = np.abs(points[:, 0])
    ordered = np.ascontiguousarray(points[:, [5, 2, 4, 0]])
    one, other = crop(ordered), crop(points, columns=np.array([5, 2, 4, 0], np.int64))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
    ordered[:, 3] = np.nan
    assert len(crop(ordered)[1]) == len(crop(ordered, columns=np.array([0, 1, 2, -1], np.int64))[1]) > 0


def test_limits_belong_to_the_region_and_the_vehicle_s_own_side_does_not_belong_to_it():
    level = np.eye(3, 4, dtype=np.float32)
    gates = np.array([1, 50, 0, -10, 10, -10, 10, -2, 2, -3, 3, -1, 1, -5, 5], np.float32)
    points = np.array([[10, 0, 0, 0], [np.nextafter(np.float32(10), np.float32(11)), 0, 0, 0], [3, 0, 0, 0], [2.99, 0, 0, 0]], np.float32)
    assert crop(points, mount=level, gates=gates)[1].tolist() == [0, 2]


def test_ranges_are_from_the_sensor_and_their_limits_belong_to_them():
    gates = np.array([1, 50, 0, -99, 99, -99, 99, -99, 99, 0, 0, 0, 0, 0, 0], np.float32)
    ranges = np.array([50, np.nextafter(np.float32(50), np.float32(51)), 1, np.nextafter(np.float32(1), np.float32(0))], np.float32)
    points = np.zeros((4, 4), np.float32)
    points[:, 1] = -ranges
    assert crop(points, gates=gates)[1].tolist() == [0, 2]


@pytest.mark.parametrize("n", [0, 1])
def test_no_points_and_one_point(n):
    cropped, _, _, lowest = crop(np.array([[5, 2, 0, 9]] * n, np.float32).reshape(n, 4))
    assert len(cropped) == n
    assert (lowest < NOTHING).sum() == n


def test_the_angle_is_that_of_atan2_within_4e5_turns():
    """And never less than 0 or more than 1: the border itself may be 1, callers cap it."""
    angle = np.linspace(-math.pi, math.pi, 200_001)
    for radius in (1e-6, 1.0, 100.0, 1e6):
        x, y = (radius * np.cos(angle)).astype(np.float32), (radius * np.sin(angle)).astype(np.float32)
        got, exact = turns_of(y, x).astype(float), np.arctan2(y.astype(float), x.astype(float)) / (2 * math.pi) % 1.0
        off = np.abs(got - exact)
        assert np.minimum(off, 1 - off).max() < 4e-5
        assert got.min() >= 0
        assert got.max() <= 1
    signs = np.array([0.0, -0.0, 1.0, -1.0], np.float32)
    x, y = (grid.ravel() for grid in np.meshgrid(signs, signs))
    got = turns_of(y, x) % 1.0
    exact = np.arctan2(y, x) / (2 * math.pi) % 1.0
    is_origin = (x == 0) & (y == 0)
    np.testing.assert_allclose(got[~is_origin], exact[~is_origin], atol=4e-5)
    assert ((got[is_origin] == 0) | (got[is_origin] == 0.25) | (got[is_origin] == 0.5)).all()


def test_there_is_room_for_every_gate():
    assert len(GATES) == G_SIZE
