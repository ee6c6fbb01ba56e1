"""Distances by sector, range images and bird's-eye grids against NumPy."""

import math

import numpy as np
import pytest

from edge.kernels.lidar_crop import RINGS, SECTORS
from edge.kernels.lidar_grids import bird_eye, range_image
from edge.kernels.lidar_ground import GROUND, NOISE, OBSTACLE, OVERHEAD
from edge.kernels.lidar_sectors import sector_distances

SCALE = np.float32(RINGS / 10.0)
PLACE = np.array([1.3, -0.2, 100.0], np.float32)


def sector_of(x, y, sectors):
    at = np.arctan2(y, x) / (2 * math.pi) * sectors + 0.5
    return np.floor(at).astype(int) % sectors, np.abs(at - np.round(at)) < 1e-4 * sectors


def distances(voxels, cluster, object_of, evidence, sectors):
    nearest, free = np.full(sectors, np.nan, np.float32), np.full(sectors, np.nan, np.float32)
    sector_distances(voxels, cluster, object_of, len(voxels), evidence, SCALE, PLACE, nearest, free)
    return nearest, free


@pytest.mark.parametrize("sectors", [1, 4, 7, 12, 72])
def test_nearest_and_free_by_sector(sectors):
    random = np.random.default_rng(sectors)
    voxels = random.normal(0, 20, (3000, 4)).astype(np.float32)
    voxels = voxels[~sector_of(voxels[:, 0], voxels[:, 1], sectors)[1]]
    cluster = random.integers(-1, 40, len(voxels)).astype(np.int32)
    object_of = random.permutation(np.concatenate([np.full(20, -1), np.arange(20)])).astype(np.int32)
    cells = np.flatnonzero(random.random(SECTORS * RINGS) < 0.05)
    angle, radius = (cells // RINGS + 0.5) * (2 * math.pi / SECTORS), ((cells % RINGS + 0.5) / float(SCALE)) ** 2
    x, y = PLACE[0] + radius * np.cos(angle), PLACE[1] + radius * np.sin(angle)
    where, near_border = sector_of(x, y, sectors)
    cells, x, y, where = cells[~near_border], x[~near_border], y[~near_border], where[~near_border]
    evidence = np.zeros(SECTORS * RINGS, np.uint8)
    evidence[cells] = 1

    wanted, ground = np.full(sectors, 100.0), np.zeros(sectors)
    counts = (cluster >= 0) & (object_of[cluster] >= 0)
    np.minimum.at(wanted, sector_of(voxels[:, 0], voxels[:, 1], sectors)[0][counts], np.hypot(voxels[:, 0], voxels[:, 1])[counts])
    np.maximum.at(ground, where, np.hypot(x, y))
    nearest, free = distances(voxels, cluster, object_of, evidence, sectors)
    np.testing.assert_allclose(nearest, wanted, rtol=1e-5)
    np.testing.assert_allclose(free, np.minimum(ground, wanted), rtol=1e-5, atol=1e-5)


def test_the_first_sector_looks_ahead_and_the_next_to_the_left():
    voxels = np.array([[9, 0.1, 0, 0], [9, -0.1, 0, 0], [0.1, 7, 0, 0], [-5, 0.1, 0, 0], [0.1, -3, 0, 0]], np.float32)
    nothing = np.zeros(SECTORS * RINGS, np.uint8)
    nearest, free = distances(voxels, np.zeros(5, np.int32), np.zeros(1, np.int32), nothing, 4)
    np.testing.assert_allclose(nearest, [9, 7, 5, 3], rtol=1e-3)
    assert (free == 0).all()


def test_nothing_there_is_the_reach():
    empty = np.empty((0, 4), np.float32)
    everything = np.ones(SECTORS * RINGS, np.uint8)
    nearest, free = distances(empty, np.empty(0, np.int32), np.empty(0, np.int32), everything, 12)
    assert (nearest == 100).all()
    assert (free > 95).all()
    assert (free <= 100).all()


def test_a_range_image_holds_the_nearest_range():
    random = np.random.default_rng(2)
    rows, width = 32, 360
    points = np.column_stack([np.zeros(20_000), random.normal(0, 15, (20_000, 2)), random.normal(0, 3, 20_000)]).astype(np.float32)
    x, y, z = points[:, 1:].T.astype(float)
    distance = np.sqrt(x * x + y * y + z * z)
    row = (math.radians(15) - np.arctan2(z, np.hypot(x, y))) * rows / math.radians(40)
    column = np.arctan2(y, x) / (2 * math.pi) % 1.0 * width
    sure = (np.abs(row - np.round(row)) > 1e-3) & (np.abs(column - np.round(column)) > 0.02)
    points, distance, row, column = points[sure], distance[sure], np.floor(row[sure]).astype(int), column[sure].astype(int)
    seen = (row >= 0) & (row < rows)
    wanted = np.full((rows, width), np.inf)
    np.minimum.at(wanted, (row[seen], column[seen]), distance[seen])
    image = np.full((rows, width), np.nan, np.float32)
    odd = np.array([[0, np.nan, 1, 1], [0, np.inf, 1, 1], [0, 0, 0, 0]], np.float32)
    points = np.concatenate([points, odd])
    low, high = np.float32(math.radians(-25)), np.float32(math.radians(15))
    range_image(points, len(points), np.array([1, 2, 3], np.int64), low, high, image)
    np.testing.assert_allclose(image, np.where(np.isinf(wanted), 0, wanted), rtol=1e-5)


def test_bird_eye_counts_obstacles_and_keeps_the_top():
    random = np.random.default_rng(3)
    n, nx, ny = 5000, 40, 30
    points = random.uniform([-12, -9, -1], [12, 9, 4], (n, 3)).astype(np.float32)
    points[0, 0] = np.nan
    kind = random.choice([GROUND, OBSTACLE, OVERHEAD, NOISE], n).astype(np.uint8)
    height = random.normal(0, 2, n).astype(np.float32)
    occupancy, top = np.full((nx, ny), -9, np.int32), np.zeros((nx, ny), np.float32)
    bird_eye(points, height, kind, n, np.float32(-10), np.float32(-7.5), np.float32(2), occupancy, top)
    counts, tops = np.full((nx, ny), -1), np.full((nx, ny), np.nan)
    for p, h, k in zip(points, height, kind, strict=True):
        a, b = (p[0] + np.float32(10)) * np.float32(2), (p[1] + np.float32(7.5)) * np.float32(2)
        if k == NOISE or not (0 <= a < nx and 0 <= b < ny):
            continue
        cell = int(a), int(b)
        counts[cell] = max(counts[cell], 0) + (k == OBSTACLE)
        tops[cell] = np.fmax(tops[cell], h)
    assert (occupancy == counts).all()
    np.testing.assert_array_equal(top, tops.astype(np.float32))
