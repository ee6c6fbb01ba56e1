"""Voxels against a dictionary of cubes in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.kernels.voxels import EMPTY, voxel_downsample


class Table:
    def __init__(self, most, width=4):
        self.keys = np.full(1 << (2 * most).bit_length(), EMPTY, np.int64)
        self.values = np.empty(len(self.keys), np.int32)
        self.slots, self.counts, self.of = (np.empty(most, np.int32) for _ in range(3))
        self.centroids = np.empty((most, width), np.float32)

    def thin(self, points, size):
        args = (self.keys, self.values, self.slots, self.centroids, self.counts, self.of)
        found = voxel_downsample(points, len(points), np.float32(size), *args)
        assert (self.keys == EMPTY).all()
        return self.centroids[:found].copy(), self.counts[:found].copy(), self.of[: len(points)].copy()


def oracle(points, size):
    inverse = np.float32(1.0) / np.float32(size)
    cubes = np.floor((points[:, :3] * inverse).astype(np.float64) + 2**20).astype(np.int64) % 2**21
    members = {}
    for i, cube in enumerate(map(tuple, cubes.tolist())):
        members.setdefault(cube, []).append(i)
    return [points[rows].astype(np.float64).mean(axis=0) for rows in members.values()], list(members.values())


def check(points, size, table=None):
    table = Table(max(len(points), 1), points.shape[1]) if table is None else table
    centroids, counts, of = table.thin(points, size)
    means, members = oracle(points, size)
    assert counts.tolist() == [len(rows) for rows in members]
    assert all((of[rows] == v).all() for v, rows in enumerate(members))
    if means:
        np.testing.assert_allclose(centroids, means, rtol=3e-6, atol=1e-5)
    return centroids, counts, of


@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(0, 600), st.sampled_from([0.05, 0.1, 0.2, 0.5, 3.0]), st.sampled_from([0.1, 5.0, 80.0]))
def test_cubes_centroids_counts_and_order(seed, n, size, far):
    random = np.random.default_rng(seed)
    check(random.normal(0, far, (n, 4)).astype(np.float32), size)


@pytest.mark.parametrize("size", [0.1, 0.2, 0.25])
def test_corners_of_cubes_on_either_side_of_zero(size):
    steps = np.arange(-8, 9) * np.float32(size)
    near = np.concatenate([steps, np.nextafter(steps, np.float32(-99)), np.nextafter(steps, np.float32(99))]).astype(np.float32)
    check(np.ascontiguousarray(np.stack(np.meshgrid(near, near[:20], near[:9]), -1).reshape(-1, 3)), size)


def test_many_points_in_one_cube_keep_the_exact_mean():
    random = np.random.default_rng(1)
    points = (random.uniform(0, 0.2, (50_000, 3)) + np.array([80.0, -60.0, 4.0])).astype(np.float32)
    centroids, counts, _ = check(points, 0.2, Table(50_000, 3))
    assert counts.sum() == 50_000
    exact = points[np.floor(points[:, 0].astype(float) / 0.2) == 400].mean(axis=0, dtype=np.float64)
    assert np.abs(centroids - exact).max(axis=1).min() < 2e-4  # of 0.2: a sum in float32 is off by centimetres


def test_a_used_table_gives_the_same_bits_as_a_new_one_whatever_it_held():
    random = np.random.default_rng(3)
    used = Table(4096)
    for n in (4096, 1, 0, 777, 4096, 4095):
        points = random.normal(0, 5, (n, 4)).astype(np.float32)
        for one, other in zip(used.thin(points, 0.2), Table(4096).thin(points, 0.2), strict=True):
            assert one.tobytes() == other.tobytes()


def test_a_full_table_of_distinct_cubes_ends():
    n = 4096
    points = np.zeros((n, 3), np.float32)
    points[:, 0] = np.arange(n) * 0.5 - 1000
    assert check(points, 0.1, Table(n, 3))[1].tolist() == [1] * n


def test_equal_points_and_beyond_a_million_cubes():
    _, counts, _ = check(np.full((100, 3), -3.3, np.float32), 0.1)
    assert counts.tolist() == [100]
    check(np.array([[2e5, -2e5, 1.5e5], [1, 1, 1], [-3e5, 2.5e5, 0]], np.float32), 0.1)


def test_shuffled_points_fill_the_same_cubes():
    """The cubes and their counts are the same whatever the order; numbering follows the first points, and centroids round differently."""
    random = np.random.default_rng(4)
    points = random.normal(0, 4, (3000, 3)).astype(np.float32)
    turned = random.permutation(3000)
    centroids, counts, of = check(points, 0.3)
    moved, moved_counts, moved_of = check(np.ascontiguousarray(points[turned]), 0.3)
    number = np.full(len(counts), -1)
    number[of[turned]] = moved_of
    assert (moved_counts[number] == counts).all()
    np.testing.assert_allclose(moved[number], centroids, atol=1e-5)
