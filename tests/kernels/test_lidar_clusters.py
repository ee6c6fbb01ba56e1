"""Clusters against a brute-force union of cells."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.kernels.lidar_clusters import FREE, connect_cells

NX, NY, PER_M = 60, 40, 5.0
GRID_OF = np.array([-4.0, -3.0, PER_M, 0.35, 0.05, 0.5, 0.25], np.float32)


def connect(points, counts=None, *, grid_of=GRID_OF, nx=NX, ny=NY, least=1):
    """Cluster of every voxel and the voxels cluster by cluster."""
    n = len(points)
    voxels = np.zeros((n, 4), np.float32)
    voxels[:, :2] = np.reshape(points, (n, 2))
    counts = np.ones(n, np.int32) if counts is None else np.asarray(counts, np.int32)
    grid = np.full(nx * ny, FREE, np.int32)
    cells, parent, cluster, order = (np.full(n, -9, np.int32) for _ in range(4))
    first = np.full(n + 1, -9, np.int32)
    found = connect_cells(voxels, counts, n, grid_of, nx, ny, least, grid, cells, parent, first, cluster, order)
    assert (grid == FREE).all()
    assert first[0] == 0
    for k in range(found):
        assert order[first[k] : first[k + 1]].tolist() == np.flatnonzero(cluster == k).tolist()
    assert first[found] == (cluster >= 0).sum()
    assert cluster.min(initial=-1) >= -1
    return cluster, found


def oracle(points, counts, grid_of, nx, ny, least):
    """Every pair of occupied cells is looked at; the cell with the lower row (then column) says how far it reaches."""
    x0, y0, per_m, gap, growth, axis_x, axis_y = (float(value) for value in grid_of)
    voxels = np.asarray(points, np.float32).reshape(-1, 2)
    column = np.clip(((voxels[:, 0] - grid_of[0]) * grid_of[2]).astype(int), 0, nx - 1)
    row = np.clip(((voxels[:, 1] - grid_of[1]) * grid_of[2]).astype(int), 0, ny - 1)
    cells = sorted(set(zip(row.tolist(), column.tolist(), strict=True)))
    group = {cell: cell for cell in cells}
    for i, (r, c) in enumerate(cells):
        away = math.hypot(x0 + (c + 0.5) / per_m - axis_x, y0 + (r + 0.5) / per_m - axis_y)
        reach = (gap + growth * away) * per_m
        for other in cells[i + 1 :]:
            dr, dc = other[0] - r, other[1] - c
            if dr <= int(reach) and abs(dc) <= int(reach) and dr * dr + dc * dc <= int(reach * reach):
                old, new = group[other], group[(r, c)]
                group = {cell: new if g == old else g for cell, g in group.items()}
    labels = [group[cell] for cell in zip(row.tolist(), column.tolist(), strict=True)]
    points_of = {}
    for label, count in zip(labels, counts, strict=True):
        points_of[label] = points_of.get(label, 0) + count
    return [label if points_of[label] >= least else None for label in labels]


def same_partition(cluster, labels):
    pairs = set(zip(cluster.tolist(), labels, strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert all((a == -1) == (b is None) for a, b in pairs)


@settings(max_examples=80)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 70), st.integers(1, 8), st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0.1, 0.35, 1.1])
)
def test_the_partition_is_that_of_the_brute_force_union(seed, n, least, growth, gap):
    random = np.random.default_rng(seed)
    points = random.uniform([-5, -4], [9, 6], (n, 2)).astype(np.float32)  # some beyond the edges: they count in the outermost cells
    counts = random.integers(1, 4, n)
    grid_of = GRID_OF.copy()
    grid_of[3:5] = gap, growth
    cluster, found = connect(points, counts, grid_of=grid_of, least=least)
    labels = oracle(points, counts.tolist(), grid_of, NX, NY, least)
    same_partition(cluster, labels)
    assert found == len({label for label in labels if label is not None})


def test_clusters_are_numbered_by_their_first_voxels():
    cluster, found = connect([[0, 0], [3, 3], [0.1, 0.1], [-3, 2], [3.1, 3.1]])
    assert found == 3
    assert cluster.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("shift", [(-4.0, -3.0), (7.8, -3.0), (-4.0, 4.8), (7.8, 4.8)])
def test_corners_of_the_grid(shift):
    """The end of one row does not touch the start of the next."""
    near = np.array([[0.05, 0.05], [0.15, 0.05], [0.15, 0.15]]) + shift
    assert connect(near)[1] == 1
    both = np.concatenate([near, [[3.8 - shift[0], shift[1] + (0.2 if shift[1] < 0 else -0.2)]]])
    assert connect(both)[1] == 2


def test_few_points_are_noise_and_one_voxel_of_many_points_is_not():
    cluster, found = connect([[0, 0], [3, 3], [3, -2]], [4, 5, 50], least=5)
    assert found == 2
    assert cluster.tolist() == [-1, 0, 1]
    assert connect([[0, 0]], [4], least=5)[1] == 0


@pytest.mark.parametrize("gap", [0.3, 0.5, 0.7, 1.0])
def test_what_connects_grows_with_the_distance(gap):
    """Cells are 0.2 m: what is nearer than the reach by a cell's diagonal is connected, what is farther by one is not."""
    grid_of = np.array([0, -2, 5, 0.3, 0.02, 0, 0], np.float32)
    for x in (1.0, 10.0, 30.0, 55.0):
        reach = 0.3 + 0.02 * x
        together = connect([[x, 0], [x, gap]], grid_of=grid_of, nx=300, ny=20)[1] == 1
        if gap < reach - 0.3:
            assert together
        if gap > reach + 0.3:
            assert not together


@pytest.mark.parametrize(
    "points", [[], [[1, 1]], [[1, 1]] * 50, [[0.2 * i - 3, 0] for i in range(40)], [[0, 0.2 * i - 2.9] for i in range(35)]]
)
def test_degenerate_scans(points):
    cluster, found = connect(points)
    assert found == (len(points) > 0)
    assert (cluster == 0).all()


def test_a_spiral_is_one_cluster():
    """The worst case for a union of rows: arms that join only at the centre."""
    t = np.linspace(0, 6 * math.pi, 2500)
    points = np.column_stack([2 + 0.2 * t * np.cos(t), 1 + 0.2 * t * np.sin(t)])
    grid_of = np.array([-4.0, -3.0, PER_M, 0.3, 0.0, 0, 0], np.float32)
    assert connect(points, grid_of=grid_of)[1] == 1


def test_the_order_of_voxels_does_not_change_the_partition():
    """Numbers of clusters do follow the order."""
    random = np.random.default_rng(8)
    points = random.uniform([-4, -3], [8, 5], (150, 2)).astype(np.float32)
    cluster, _ = connect(points)
    turned = random.permutation(150)
    moved = np.empty(150, np.int64)
    moved[turned] = connect(points[turned])[0]
    same_partition(moved, cluster.tolist())
