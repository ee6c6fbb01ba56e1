"""What may brake a vehicle: not what chance made up, not a velocity that nobody is sure of, not rain; but whoever stands in it."""

import numpy as np
import pytest

from edge.kernels.lidar_clusters import FREE, connect_cells
from edge.lidar.path import Path
from edge.lidar.tracks import Tracker, TrackSettings
from edge.lidar.vehicle import Vehicle

VEHICLE = Vehicle(horizon_s=5.0)
DT_NS = 100_000_000


def boxes(*places):
    return np.array([[x, y, 0.8, length, width, 1.5, 0.0, max(x, 0.1)] for x, y, length, width in places], np.float32).reshape(-1, 8)


def other(n):
    return np.tile(np.array([0.0, 0.0, 1.0], np.float32), (n, 1))


def follow(scans, speed=10.0):
    tracker = Tracker(1, 16, 16, TrackSettings(), VEHICLE)
    for i, scan in enumerate(scans):
        found = boxes(*scan)
        yield tracker.update(0, found, other(len(found)), len(found), i * DT_NS, speed, 0.0).path


def test_what_one_scan_showed_does_not_brake_for_two() -> None:
    found = [(path.deceleration_mps2, path.nearest_ahead_m) for path in follow([[(8.0, 0.0, 1.0, 1.0)], [], []])]
    assert found[0] == (0.0, pytest.approx(8.0 - 0.5 - VEHICLE.front_m))
    assert found[1:] == [(0.0, VEHICLE.range_m)] * 2


def test_a_young_track_counts_only_while_it_is_seen() -> None:
    paths = [path.confirmed_ttc_s for path in follow([[(20.0 - i, 0.0, 1.0, 1.0)] for i in range(4)] + [[]])]
    assert paths[3] < 2.0
    assert paths[4] == VEHICLE.horizon_s


def test_an_object_known_for_long_still_counts_while_it_is_hidden() -> None:
    paths = [path.confirmed_ttc_s for path in follow([[(30.0 - i, 0.0, 1.0, 1.0)] for i in range(12)] + [[], [], []])]
    assert paths[13] == pytest.approx((30.0 - 13.0 - 0.5 - VEHICLE.front_m) / 10.0, abs=0.05)
    assert paths[14] == VEHICLE.horizon_s


@pytest.mark.parametrize(("deviation", "is_met"), [(0.2, True), (1.0, False)])
def test_a_drift_counts_only_if_it_is_sure(deviation: float, is_met: bool) -> None:
    path = Path(VEHICLE, 4)
    parked, velocities = np.zeros((4, 8), np.float32), np.zeros((4, 2), np.float32)
    parked[0], velocities[0] = (20.0, -2.6, 0.8, 4.5, 1.8, 1.5, 0.0, 17.8), (0.0, 0.6)
    path.update(parked, velocities, np.ones(4, bool), 1, 10.0, 0.0, None, np.full(4, deviation, np.float32))
    assert (path.confirmed_ttc_s < VEHICLE.horizon_s) is is_met


def clusters(voxels, counts, rain=(7.0, 15.0)):
    n, side = len(voxels), 200
    points = np.column_stack([voxels, np.zeros(n)]).astype(np.float32)
    grid_of = np.array([-20, -20, 5.0, 0.35, 0.008, 0.0, 0.0, *rain, 1.0], np.float32)
    scratch = [np.zeros(n + 1, np.int32) for _ in range(5)]
    grid = np.full(side * side, FREE, np.int32)
    found = connect_cells(points, np.asarray(counts, np.int32), n, grid_of, side, side, 5, grid, *scratch)
    assert (grid == FREE).all()
    return found, scratch[3][:n]


def cloud(x, n, wide=0.6):
    random = np.random.default_rng(1)
    return np.column_stack([x + random.uniform(0, wide, n), random.uniform(0, wide, n), random.uniform(0.3, 1.5, n)])


def test_drops_that_come_one_at_a_time_are_no_object() -> None:
    for x in (3.0, 6.0, 9.0, 13.0):
        assert clusters(cloud(x, 12), np.ones(12))[0] == 0, x
    assert clusters(cloud(9.0, 12), np.ones(12), rain=(0.0, 0.0))[0] == 1


def test_a_surface_among_drops_stays_and_loses_the_drops() -> None:
    voxels = np.vstack([cloud(5.0, 10), cloud(5.0, 8)])
    found, cluster = clusters(voxels, [4] * 10 + [1] * 8)
    assert found == 1
    assert (cluster[:10] == 0).all()
    assert (cluster[10:] == -1).all()


def test_a_person_seen_by_a_coarse_sensor_stays() -> None:
    for x in (8.0, 10.0, 12.0, 14.0):  # 0.4 x 2 degrees: 0.85 m^2 of 0.007 x 0.035 rad, a point a voxel at the worst
        n = round(0.85 / (0.007 * 0.035 * x * x))
        assert clusters(cloud(x, n), np.ones(n))[0] == 1, x
    assert clusters(cloud(18.0, 5), np.ones(5))[0] == 1  # no drop is seen so far away
