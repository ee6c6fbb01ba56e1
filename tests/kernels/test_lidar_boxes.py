"""Boxes and shapes of clusters whose truth is known."""

import math

import numpy as np
import pytest

from edge.kernels.lidar_boxes import (
    BANDS,
    S_AREA,
    S_BANDS,
    S_BOTTOM,
    S_DENSITY,
    S_DISTANCE,
    S_HEIGHT,
    S_HEIGHT_MEAN,
    S_HEIGHT_STD,
    S_LENGTH,
    S_LINEAR,
    S_PLANAR,
    S_SCATTERED,
    S_SOLID,
    S_TAPER,
    S_TOP,
    S_UPRIGHT,
    S_VOXELS,
    S_WIDTH,
    SHAPE_SIZE,
    describe_clusters,
)
from edge.kernels.lidar_rectangle import (
    B_HEIGHT,
    B_LENGTH,
    B_NEAREST,
    B_WIDTH,
    B_X,
    B_Y,
    B_YAW,
    B_Z,
    BOX_SIZE,
)
from tests.kernels.lidar_scenes import looked

OUTLINE = np.array([-1.0, 3.0, -1.0, 1.0], np.float32)
ANGLES = np.radians(np.linspace(-90, 90, 29)).tolist()  # some of them halfway between directions that are tried


def describe(clusters, *, most=64, tall=0.5, edge=0.1):
    """Boxes, shapes and rows of clusters, each an array of x, y, z (height above the ground = z) or x, y, z, height."""
    sizes = [len(one) for one in clusters]
    voxels = np.zeros((max(sum(sizes), 1), 4), np.float32)
    if sum(sizes):
        rows = np.concatenate(clusters)
        voxels[: len(rows), : rows.shape[1]] = rows
        if rows.shape[1] == 3:
            voxels[:, 3] = voxels[:, 2]
    order = np.random.default_rng(0).permutation(len(voxels)).astype(np.int32)
    voxels[order] = voxels.copy()  # a cluster's voxels lie anywhere
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    nearest, object_of = np.empty(max(len(clusters), 1), np.float32), np.full(max(len(clusters), 1), -9, np.int32)
    boxes, shapes = np.full((most, BOX_SIZE), np.nan, np.float32), np.full((most, SHAPE_SIZE), np.nan, np.float32)
    limits = np.array([tall, edge], np.float32)
    found = describe_clusters(
        voxels, order, first, len(clusters), OUTLINE, limits, most, nearest, boxes, shapes, np.zeros(most, np.uint8), object_of
    )
    assert np.isnan(boxes[found:]).all()
    assert np.isfinite(boxes[:found]).all()
    assert np.isfinite(shapes[:found]).all()
    return boxes[:found], shapes[:found], object_of[: len(clusters)]


def standing(outline, yaw=0.0, at=(12.0, 5.0), heights=(0.3, 0.6, 0.9, 1.2, 1.5), noise=0.01):
    """An outline seen from above, turned, at several heights."""
    c, s = math.cos(yaw), math.sin(yaw)
    flat = outline @ np.array([[c, s], [-s, c]]) + at
    points = np.concatenate([np.column_stack([flat, np.full(len(flat), z)]) for z in heights])
    points[:, :2] += np.random.default_rng(1).normal(0, noise, (len(points), 2))
    return points


def corner(length, width, step=0.1):
    """Two sides that meet: what is seen of a vehicle; its centre is the origin."""
    a = np.arange(0, length + 1e-9, step) - length / 2
    b = np.arange(0, width + 1e-9, step) - width / 2
    return np.concatenate([np.column_stack([a, np.full(len(a), -width / 2)]), np.column_stack([np.full(len(b), -length / 2), b])])


def filled(length, width, step=0.15):
    a, b = np.meshgrid(np.arange(0, length + 1e-9, step) - length / 2, np.arange(0, width + 1e-9, step) - width / 2)
    return np.column_stack([a.ravel(), b.ravel()])


def turned_by(a, b):
    """Between directions without a sign, rad."""
    return abs((a - b + math.pi / 2) % math.pi - math.pi / 2)


@pytest.mark.parametrize("shape", [corner, filled])
@pytest.mark.parametrize("size", [(4.5, 1.8), (12.0, 2.5), (1.8, 0.6)])
def test_yaw_extents_and_centre_at_every_angle(shape, size):
    """Directions are tried every 3 degrees: half of that, and what the noise adds."""
    off = []
    for yaw in ANGLES:
        boxes, _, _ = describe([standing(shape(*size), yaw)])
        (box,) = boxes
        off.append(turned_by(box[B_YAW], yaw))
        slack = 0.08 + math.sin(math.radians(3.2)) * size[0]
        assert box[B_LENGTH] == pytest.approx(size[0], abs=0.3)
        assert size[1] - 0.2 < box[B_WIDTH] < size[1] + slack
        assert math.hypot(box[B_X] - 12, box[B_Y] - 5) < 0.5 * slack + 0.1
        assert box[B_HEIGHT] == pytest.approx(1.2, abs=1e-5)
        assert box[B_Z] == pytest.approx(0.9, abs=1e-5)
        assert -math.pi / 2 - 1e-6 <= box[B_YAW] <= math.pi / 2 + 1e-6
    assert max(off) < math.radians(2.3)
    assert np.mean(off) < math.radians(1.0)


def test_the_box_holds_every_voxel():
    random = np.random.default_rng(2)
    for _ in range(50):
        points = random.normal(0, 1, (random.integers(1, 300), 3)) * random.uniform(0.05, 5, 3) + [60, -4, 3]
        boxes, _, _ = describe([points])
        (box,) = boxes
        c, s = math.cos(box[B_YAW]), math.sin(box[B_YAW])
        d = points - box[[B_X, B_Y, B_Z]]
        inside = np.column_stack([c * d[:, 0] + s * d[:, 1], c * d[:, 1] - s * d[:, 0], d[:, 2]])
        assert (np.abs(inside) <= box[[B_LENGTH, B_WIDTH, B_HEIGHT]] / 2 + 1e-4).all()
        assert box[B_LENGTH] >= box[B_WIDTH]


def oracle_shape(points, box, edge):
    """The numbers that do not need the box's direction in another way than the box itself, in float64."""
    x = points[:, :3].astype(np.float32).astype(float)
    h = x[:, 2]
    values = np.sort(np.linalg.eigvalsh(np.cov(x.T, bias=True)))[::-1]
    length, width, height = (float(v) for v in box[[B_LENGTH, B_WIDTH, B_HEIGHT]])
    n = len(x)
    wanted = {
        S_LENGTH: length, S_WIDTH: width, S_HEIGHT: height, S_AREA: length * width, S_BOTTOM: h.min(), S_TOP: h.max(),
        S_VOXELS: math.log(n), S_DISTANCE: math.hypot(box[B_X], box[B_Y]),
        S_DENSITY: math.log(n * edge**2 / ((length + width) * height)), S_SOLID: min(n * edge**2 / (length * width), 20),
        S_LINEAR: (values[0] - values[1]) / values[0], S_PLANAR: (values[1] - values[2]) / values[0], S_SCATTERED: values[2] / values[0],
        S_UPRIGHT: h.var() / values[0], S_HEIGHT_STD: h.std(), S_HEIGHT_MEAN: h.mean(),
    }  # fmt: skip
    bands = np.histogram(h.astype(np.float32), [-1e9, *np.float32([0.6, 1.0, 1.4, 1.8, 2.2]), 1e9])[0] / n
    return wanted | {S_BANDS + b: bands[b] for b in range(BANDS)}


def test_shapes_are_those_of_numpy():
    random = np.random.default_rng(3)
    for _ in range(100):
        place = [60 + random.normal(0, 9), random.normal(0, 30), 1.2]
        points = random.normal(0, 1, (random.integers(4, 400), 3)) * random.uniform(0.1, 4, 3) + place
        boxes, shapes, _ = describe([points], tall=-99.0)
        for column, value in oracle_shape(points, boxes[0], 0.1).items():
            assert shapes[0, column] == pytest.approx(value, rel=2e-4, abs=2e-3), column


def test_a_cone_tapers_and_a_funnel_widens():
    slim, wide = filled(0.4, 0.4), filled(1.6, 1.6)
    cone = np.concatenate([standing(wide, heights=(0.3, 0.5)), standing(slim, heights=(1.2, 1.4))])
    funnel = np.concatenate([standing(slim, heights=(0.3, 0.5)), standing(wide, heights=(1.2, 1.4))])
    _, shapes, _ = describe([cone, funnel])
    assert shapes[0, S_TAPER] < -0.4
    assert shapes[1, S_TAPER] > 0.4


def test_low_things_are_no_objects():
    low, high = standing(filled(1, 1), heights=(0.3, 0.45)), standing(filled(1, 1), at=(5, 5), heights=(0.3, 0.55))
    boxes, _, rows = describe([low, high])
    assert len(boxes) == 1
    assert rows.tolist() == [-1, 0]


@pytest.mark.parametrize(("most", "count"), [(1, 40), (7, 40), (39, 40), (40, 40)])
def test_more_clusters_than_places_keeps_the_nearest_in_their_order(most, count):
    random = np.random.default_rng(4)
    places = random.uniform(-60, 60, (count, 2))
    clusters = [standing(filled(0.4, 0.4), at=place, heights=(0.4, 1.0), noise=0.0) for place in places]
    boxes, _, rows = describe(clusters, most=most)
    away = [nearest(cluster) for cluster in clusters]
    kept = sorted(np.argsort(away, kind="stable")[:most].tolist())
    assert np.flatnonzero(rows >= 0).tolist() == kept
    assert rows[kept].tolist() == list(range(most))
    np.testing.assert_allclose(boxes[:, B_NEAREST], np.array(away)[kept], atol=1e-5)


def nearest(points):
    x, y = points[:, 0], points[:, 1]
    dx, dy = np.maximum(np.maximum(-1 - x, x - 3), 0), np.maximum(np.maximum(-1 - y, y - 1), 0)
    return np.hypot(dx, dy).min()


def test_as_many_at_one_distance_as_do_not_fit():
    """Ties at the limit are not halved arbitrarily by more than the places there are; what touches the vehicle comes first, always."""
    at_once = [standing(filled(0.4, 0.4), at=(0, 0), heights=(0.4, 1.0), noise=0.0)] * 5
    boxes, _, rows = describe(at_once, most=3)
    assert len(boxes) == 3
    assert rows.tolist() == [0, 1, 2, -1, -1]
    assert (boxes[:, B_NEAREST] == 0).all()


DEGENERATE = {
    "one point": [[9, 3, 1]],
    "equal points": [[9, 3, 1]] * 30,
    "a line along x": [[9 + 0.1 * i, 3, 1] for i in range(30)],
    "a line askew": [[9 + 0.1 * i, 3 - 0.1 * i, 1] for i in range(30)],
    "a pole": [[9, 3, 0.3 + 0.1 * i] for i in range(30)],
    "a wall": [[9, 3 + 0.1 * i, 0.3 + 0.1 * j] for i in range(20) for j in range(20)],
    "far away": [[9e5, -3e5, 1], [9e5, -3e5, 2]],
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_clusters_have_finite_boxes_that_are_not_flat(name):
    boxes, shapes, _ = describe([np.array(DEGENERATE[name], float)])
    assert len(boxes) == 1
    assert (boxes[0, [B_LENGTH, B_WIDTH, B_HEIGHT]] >= 0.05 - 1e-6).all()
    assert np.abs(shapes).max() < 2e6


def test_no_clusters():
    assert len(describe([])[0]) == 0


def test_a_wall_that_bends_around_the_vehicle_is_a_structure():
    along = np.arange(-8, 12, 0.1)
    left = np.array([(x, 3.0, z) for x in along for z in (0.6, 1.2, 1.8)])
    front = np.array([(12.0, y, z) for y in np.arange(-4, 3, 0.1) for z in (0.6, 1.2, 1.8)])
    look = looked(np.vstack([left, front, left + 0.01, front + 0.01]))
    assert look.objects == 1
    assert look.boxes[0, B_NEAREST] == pytest.approx(3.0 - 0.95, abs=0.1)
    assert look.structure[:1].tolist() == [1]
    sides = looked(np.vstack([left, left + 0.01, left * [1, -1, 1], left * [1, -1, 1] + 0.01]))
    assert sides.structure[: sides.objects].tolist() == [0, 0]


def test_what_is_straight_ahead_has_a_place_before_what_is_beside():
    posts = [standing(filled(0.3, 0.3), at=(x, 3.0), noise=0.0) for x in np.linspace(-1, 3, 8)]
    ahead = standing(filled(1.5, 0.6), at=(11.0, 0.0), noise=0.0)
    boxes, _, rows = describe([*posts, ahead], most=4)
    assert len(boxes) == 4
    assert rows[8] >= 0
    assert boxes[rows[8], B_NEAREST] == pytest.approx(8.0 - 0.75, abs=0.5)
