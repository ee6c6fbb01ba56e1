"""The ground under scenes whose ground is known: how far off it is, and that nothing that stands on it becomes part of it.

Figures hold within 25 m: farther out a road that bends up or across faster than ``slope_max`` from what the vehicle stands on may be
taken for an obstacle.
"""

import functools
import math

import numpy as np
import pytest

from edge.kernels.lidar_crop import NOTHING, RINGS, SECTORS
from edge.kernels.lidar_ground import GROUND, NOISE, OBSTACLE, OVERHEAD, S_SIZE, estimate_ground, split_points
from tests.kernels.lidar_scenes import BUS, CAR, HEIGHT, WALKER, WALL, cast, flat, looked

NEAR_M = 25.0
SCALE = np.float32(RINGS / 10.0)
RULES = np.array([0.2, 0.12, 1.0, 0.3, 2.6], np.float32)

GROUNDS = {
    "flat": flat,
    "up": lambda x, y: 0.15 * x,
    "down": lambda x, y: -0.15 * x,
    "left up": lambda x, y: 0.15 * y,
    "right up": lambda x, y: -0.15 * y,
    "ramp up": lambda x, y: 0.15 * np.maximum(x - 8, 0),
    "ramp down": lambda x, y: -0.15 * np.maximum(x - 8, 0),
    "ramp across": lambda x, y: 0.15 * np.maximum(y - 6, 0) - 0.15 * np.maximum(-y - 6, 0),
    "crest": lambda x, y: -x * x / 300,
    "sag": lambda x, y: x * x / 300,
    "crown": lambda x, y: -0.03 * np.abs(y),
    "kerb": lambda x, y: 0.15 * (np.abs(y) > 4),
    "pot hole": lambda x, y: -0.15 * (np.hypot(x - 8, y - 1) < 0.8),
}
OBJECTS = {
    "nothing": (),
    "traffic": ((12, 4, 0.3, CAR), (9, -3, 0, CAR), (22, 1, 0, BUS), (15, 9, 1.2, WALKER), (-10, 2, 0.1, CAR)),
    "a bus beside it": ((1, 3.2, 0, BUS),),
    "a bus close beside it": ((0, -2.4, 0, BUS), (8, 3, 0, CAR)),
    "walls": ((5, 4, 0, WALL), (5, -4, 0, WALL)),
}
MOST_OFF = {"nothing": 0.27, "traffic": 0.4, "a bus beside it": 0.6, "a bus close beside it": 0.6, "walls": 0.6}
PLANES = ("flat", "up", "down", "left up", "right up", "crown", "kerb", "pot hole")


class Seen:
    """A scene that was looked at, beside its truth."""

    def __init__(self, ground, boxes, extra=()):
        points, owner = cast(ground, boxes)
        if len(extra):
            points, owner = np.concatenate([points, extra]), np.concatenate([owner, np.full(len(extra), -2)])
        self.look = looked(points)
        memory, n = self.look.memory, self.look.n
        source = memory.source[:n]
        self.points, self.owner = points[source], owner[source]
        self.above = self.points[:, 2] - ground(self.points[:, 0], self.points[:, 1])
        self.range = np.hypot(self.points[:, 0], self.points[:, 1])
        self.kind, self.height = memory.kind[:n], memory.height[:n]
        cells = np.flatnonzero(memory.evidence)
        angle = (cells // RINGS + 0.5) * (2 * math.pi / SECTORS)
        radius = ((cells % RINGS + 0.5) / float(SCALE)) ** 2
        self.cell_range = radius
        self.off = memory.ground[cells] - ground(radius * np.cos(angle), radius * np.sin(angle))


@functools.cache
def scene(name, objects):
    return Seen(GROUNDS[name], OBJECTS[objects])


@pytest.mark.parametrize("objects", OBJECTS)
@pytest.mark.parametrize("name", GROUNDS)
def test_the_ground_is_found_and_objects_do_not_become_part_of_it(name, objects):
    """A cell is up to 1.6 m deep at 25 m: on a slope of 15 % its lowest point alone is 0.12 m off the height at its centre.

    Cells that hold the foot of a near object are the worst ones, and the lowest half metre of a near bus may be lost to them. Of the road
    itself, up to one point in a thousand is taken for an obstacle, where a ramp begins in the shadow of an object.
    """
    seen = scene(name, objects)
    off = np.abs(seen.off[seen.cell_range < NEAR_M])
    assert off.max() < MOST_OFF[objects]
    assert np.percentile(off, 99) < 0.35
    near = seen.range < NEAR_M
    is_road = near & (seen.owner == -1)
    assert (seen.kind[is_road] == GROUND).mean() > 0.999
    standing = (seen.owner >= 0) & (seen.above > 0.55)
    lost = standing & ((seen.kind == GROUND) | (seen.kind == NOISE)) & near
    assert lost.sum() <= 0.025 * standing.sum()
    assert not (lost & (seen.above > 0.9)).any()


@pytest.mark.parametrize("objects", OBJECTS)
@pytest.mark.parametrize("name", PLANES)
def test_on_even_ground_nothing_is_an_obstacle_at_any_distance(name, objects):
    seen = scene(name, objects)
    assert not ((seen.owner == -1) & (seen.kind == OBSTACLE)).any()


def test_level_ground_is_exact():
    seen = Seen(flat, ())
    assert np.abs(seen.off).max() < 0.03
    assert np.abs(seen.height - seen.above).max() < 0.04
    assert seen.look.objects == 0


@pytest.mark.parametrize("depth", [-0.4, -0.9, -2.5])
def test_one_stray_point_a_cell_below_the_road_is_not_the_road(depth):
    """Reflections in wet asphalt: single ones are believed only where nothing else is in their cell, in the shadow of an object."""
    random = np.random.default_rng(1)
    angle, radius = np.arange(0, 180, 3) * (2 * math.pi / 180) + 0.01, random.uniform(4, 20, 60)
    stray = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.full(60, depth)])
    seen = Seen(flat, OBJECTS["traffic"], stray)
    off = np.abs(seen.off[seen.cell_range < NEAR_M])
    assert (off > 0.4).sum() <= 6
    assert np.percentile(off, 98) < 0.05
    assert (seen.kind[(seen.owner == -1) & (seen.range < NEAR_M)] == GROUND).mean() > 0.999
    strays = seen.kind[seen.owner == -2]
    assert (strays == (NOISE if depth < -1 else GROUND)).mean() > 0.95


def estimate(lowest):
    cells = SECTORS * RINGS
    walked, ground, evidence = np.empty(cells, np.float32), np.full(cells, np.nan, np.float32), np.full(cells, 9, np.uint8)
    estimate_ground(lowest, SCALE, RULES, walked, ground, evidence)
    assert np.isfinite(ground).all()
    return ground, evidence


def test_ground_that_is_not_seen_is_where_the_mount_says():
    ground, evidence = estimate(np.full((2, SECTORS * RINGS), NOTHING, np.float32))
    assert (ground == 0).all()
    assert (evidence == 0).all()


def test_only_walls_in_sight_are_not_ground():
    """When what is seen of them begins more than a metre up: lower, all around, it could be the ground under a mount that is too low."""
    angle = np.linspace(0, 2 * math.pi, 4000)
    points = np.concatenate([np.column_stack([6 * np.cos(angle), 6 * np.sin(angle), np.full(4000, z)]) for z in (1.2, 1.6, 2.0)])
    look = looked(points)
    assert (look.memory.kind[: look.n] == OBSTACLE).all()
    assert (look.memory.evidence == 0).all()


@pytest.mark.parametrize("off", [-0.3, -0.15, 0.15, 0.3])
def test_a_mount_that_is_not_quite_where_it_should_be_is_found_out(off):
    points, owner = cast(flat, OBJECTS["traffic"])
    look = looked(points + np.array([0, 0, off]))
    near = np.hypot(*points[look.memory.source[: look.n], :2].T) < NEAR_M
    is_road = near & (owner[look.memory.source[: look.n]] == -1)
    assert (look.memory.kind[: look.n][is_road] == GROUND).mean() > 0.999


def test_hostile_cells_give_finite_ground():
    random = np.random.default_rng(5)
    for spread in (0.01, 0.3, 3.0, 100.0):
        lowest = np.sort(random.normal(0, spread, (2, SECTORS * RINGS)), axis=0).astype(np.float32)
        lowest[:, random.random(SECTORS * RINGS) < 0.5] = NOTHING
        estimate(lowest)


def test_points_are_split_by_their_height_above_the_ground_between_ring_centres():
    random = np.random.default_rng(6)
    n = 20_000
    points = np.column_stack([random.normal(0, 15, (n, 2)), random.uniform(-3, 5, n)]).astype(np.float32)
    axis = np.array([0.7, -0.2], np.float32)
    d = points[:, :2].astype(float) - axis
    ring = np.sqrt(np.hypot(*d.T)) * float(SCALE)
    sector = np.minimum((np.arctan2(d[:, 1], d[:, 0]) / (2 * math.pi) % 1.0 * SECTORS).astype(int), SECTORS - 1)
    cell = (sector * RINGS + np.minimum(ring.astype(int), RINGS - 1)).astype(np.int32)
    ground = random.normal(0, 0.3, SECTORS * RINGS).astype(np.float32)
    inner = np.clip(np.floor(ring - 0.5), 0, RINGS - 2).astype(int)
    share = np.clip(ring - 0.5 - inner, 0, 1)
    table = ground.reshape(SECTORS, RINGS).astype(float)
    above = points[:, 2] - (table[sector, inner] * (1 - share) + table[sector, inner + 1] * share)
    kind = np.select([above < -RULES[2], above < RULES[3], above < RULES[4]], [NOISE, GROUND, OBSTACLE], OVERHEAD)

    got_kind, height, place = np.full(n, 9, np.uint8), np.empty(n, np.float32), np.full(n, -9, np.int32)
    obstacles = np.empty((n, 4), np.float32)
    found = split_points(points, cell, n, ground, SCALE, axis[0], axis[1], RULES, height, got_kind, obstacles, place)
    np.testing.assert_allclose(height, above, atol=2e-4)
    sure = np.min(np.abs(above[:, None] - [-1.0, 0.3, 2.6]), axis=1) > 1e-3
    assert (got_kind == kind)[sure].all()
    rows = np.flatnonzero(got_kind == OBSTACLE)
    assert place[:found].tolist() == rows.tolist()
    assert (place[found:] == -9).all()
    assert (obstacles[:found, :3] == points[rows]).all()
    assert (obstacles[:found, 3] == height[rows]).all()


def test_there_is_a_number_for_every_setting():
    assert len(RULES) == S_SIZE
    assert HEIGHT > 0
