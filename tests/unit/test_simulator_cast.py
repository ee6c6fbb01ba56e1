"""The ray caster and the sensor: what is hit, where, and under which name, checked against answers that are worked out otherwise."""

import math
from dataclasses import replace

import numpy as np
import pytest

from firmware_bridge.simulator import PRESETS, EgoPose, Ground, Mount, Scene, SensorModel, Thing, Track, random_scene, scan, vary
from firmware_bridge.simulator.cast import Parts, cast
from firmware_bridge.simulator.ground import pad, profile
from firmware_bridge.simulator.hits import BOX, CAPSULE, CYLINDER
from firmware_bridge.simulator.primitives import box, capsule, cylinder, ellipsoid, trunk

SMALL = SensorModel("small", tuple(np.radians(np.linspace(-20.0, 10.0, 24)).tolist()), math.radians(0.5), max_range_m=80.0)
LEVEL = Mount(0.0, 0.0, 1.8)


def shot(scene, sensor=SMALL, mount=LEVEL, ego=None, seed=1, t_s=0.0):
    return scan(sensor, mount, ego or EgoPose(), scene.ground, scene.parts(t_s), seed)


def is_within(parts: Parts, i: int, points: np.ndarray, margin_m: float) -> np.ndarray:
    """Which points (n, 3) are inside a primitive that is grown by a margin."""
    p = (points - parts.centres[i]) @ parts.rotations[i]
    a, b, c, front, rear, side = parts.shapes[i]
    a, c = a + margin_m, c + margin_m
    b = b + margin_m
    up = p[:, 2] + c - margin_m
    if parts.kinds[i] == BOX:
        wide = np.abs(p[:, 1]) + side * up <= b
        return (np.abs(p[:, 2]) <= c) & (p[:, 0] + front * up <= a) & (-p[:, 0] + rear * up <= a) & wide
    if parts.kinds[i] == CYLINDER:
        return (np.abs(p[:, 2]) <= c) & ((p[:, 0] / a) ** 2 + (p[:, 1] / b) ** 2 <= 1.0)
    if parts.kinds[i] == CAPSULE:
        along = np.clip(p[:, 2], -parts.shapes[i, 2], parts.shapes[i, 2])
        return p[:, 0] ** 2 + p[:, 1] ** 2 + (p[:, 2] - along) ** 2 <= a**2
    return (p[:, 0] / a) ** 2 + (p[:, 1] / b) ** 2 + (p[:, 2] / c) ** 2 <= 1.0


def test_same_seed_same_turn_and_another_seed_another():
    scene = random_scene(np.random.default_rng(3), "street")
    first, again, other = shot(scene), shot(scene), shot(scene, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first.points.shape != other.points.shape or not np.array_equal(first.points, other.points)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_report_what_they_promise(name):
    sensor = PRESETS[name]
    turn = shot(random_scene(np.random.default_rng(1), "junction"), sensor)
    assert turn.points.dtype == np.float32
    assert [column.dtype for column in turn[1:]] == [np.uint16, np.int32, np.uint8, np.float32]
    assert {len(column) for column in turn} == {len(turn.points)}
    assert len(turn.points) > 5000
    assert np.isfinite(turn.points).all()
    ranges = np.linalg.norm(turn.points[:, :3], axis=1)
    assert ranges.min() >= sensor.min_range_m - 1e-3
    assert ranges.max() <= sensor.max_range_m + 1e-3
    assert turn.points[:, 3].min() >= 0.0
    assert turn.points[:, 3].max() <= sensor.intensity_max
    assert turn.t_s.min() >= -1.0 / sensor.rate_hz
    assert turn.t_s.max() <= 0.0
    elevations = np.arcsin(turn.points[:, 2] / ranges)
    np.testing.assert_allclose(elevations, np.asarray(sensor.elevations_rad)[turn.ring], atol=1e-4)


def test_varied_sensors_are_valid_and_differ():
    rng = np.random.default_rng(0)
    varied = [vary(PRESETS["spin40"], rng) for _ in range(50)]
    assert len({sensor.azimuth_step_rad for sensor in varied}) == 50
    assert all(len(sensor.elevations_rad) == 40 for sensor in varied)


def test_sensor_refuses_nonsense():
    with pytest.raises(ValueError, match="increase"):
        replace(SMALL, elevations_rad=(0.1, 0.0))
    with pytest.raises(ValueError, match="per beam"):
        replace(SMALL, azimuth_offsets_rad=(0.1, 0.0))
    with pytest.raises(ValueError, match="positive"):
        replace(SMALL, rate_hz=0.0)


def test_a_wall_hides_what_is_behind_it():
    wall = Thing("wall", 3, (box((0.0, 0.0, 2.0), (0.2, 8.0, 4.0)),)).at(6.0, 0.0)
    hidden = Thing("car", 1, (box((0.0, 0.0, 0.8), (4.0, 1.8, 1.5)),)).at(14.0, 0.0)
    seen = Thing("man", 2, (capsule((0.0, 0.0, 0.3), (0.0, 0.0, 1.5), 0.25),)).at(3.0, 0.0)
    turn = shot(Scene(Ground(), [wall, hidden, seen]), SMALL.perfect())
    assert set(np.unique(turn.instance).tolist()) == {0, 1, 3}
    behind = (np.abs(np.arctan2(turn.points[:, 1], turn.points[:, 0])) < 0.3) & (turn.points[:, 0] > 6.0)
    assert not behind[np.linalg.norm(turn.points[:, :3], axis=1) < 11.0].any()
    assert shot(Scene(Ground(), [hidden]), SMALL.perfect()).label.tolist().count(1) > 20


@pytest.mark.parametrize("kind", ["street", "crowd", "yard"])
def test_points_lie_on_their_own_thing(kind):
    scene = random_scene(np.random.default_rng(7), kind)
    parts, turn = scene.parts(), shot(scene, SMALL.perfect())
    world = turn.points[:, :3].astype(np.float64) + np.array([0.0, 0.0, 1.8])
    # things move during the turn: bring every point to the end of the turn
    for instance in np.unique(turn.instance[turn.instance > 0]):
        rows = np.flatnonzero(parts.instances == instance)
        mine = turn.instance == instance
        points = world[mine] - np.outer(turn.t_s[mine], parts.velocities[rows[0]])
        on = np.zeros(len(points), bool)
        for i in rows:
            inside = is_within(parts, i, points, 2e-3)
            on |= inside if parts.surfaces[i, 1] > 0.0 else inside & ~is_within(parts, i, points, -2e-3)
        assert on.all(), scene.things[instance - 1].name
        assert (turn.label[mine] == scene.things[instance - 1].label).all()


def test_noise_keeps_points_near_their_surface():
    wall = Thing("wall", 3, (box((0.0, 0.0, 2.0), (0.2, 60.0, 4.0)),)).at(10.1, 0.0)
    sensor = replace(SMALL, range_sigma_m=0.02, range_sigma_per_m=0.0, mixed_probability=0.0)
    turn = shot(Scene(Ground(), [wall]), sensor)
    ahead = (turn.label == 3) & (np.abs(turn.points[:, 1]) < 2.0)
    error = turn.points[ahead, 0] - 10.0
    assert abs(error.mean()) < 0.005
    assert 0.015 < error.std() < 0.025


def test_ground_points_have_the_height_of_the_ground():
    pads = np.array([pad(12.0, 6.0, 0.3, (30.0, 5.0), 0.15), pad(12.0, -9.0, 0.0, (60.0, 8.0), 0.4, (0.01, -0.1))])
    ground = Ground(profile([-30.0, 10.0, 30.0], [0.02, 0.1, -0.08], 8.0), (0.02, 1.0, 4.0), pads, 0.0)
    turn = shot(Scene(ground, []), SMALL.perfect())
    world = turn.points[:, :3].astype(np.float64) + np.array([0.0, 0.0, 1.8])
    assert (turn.label == 0).all()
    around = np.array(
        [[ground.height_m(x + dx, y + dy) for dx, dy in ((0, 0), (0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01))] for x, y, _ in world]
    )
    assert (world[:, 2] > around.min(axis=1) - 2e-3).all()
    assert (world[:, 2] < around.max(axis=1) + 2e-3).all()
    on_top = np.abs(world[:, 2] - around[:, 0]) < 2e-3
    assert 0.9 < on_top.mean() < 1.0  # the others are on upright kerbs


@pytest.mark.parametrize(("slope", "z_at_20"), [(0.1, 1.5), (-0.1, -1.5)])
def test_profile_bends_as_asked(slope, z_at_20):
    ground = Ground(profile([-100.0, 0.0], [0.0, slope], 10.0))
    assert ground.height_m(0.0, 5.0) == pytest.approx(0.0)
    assert ground.height_m(-50.0, 0.0) == pytest.approx(0.0)
    assert ground.height_m(20.0, 0.0) == pytest.approx(z_at_20)  # the bend takes half of its 10 m


@pytest.mark.parametrize(
    ("part", "range_m"),
    [
        (box((10.0, 0.0, 0.0), (2.0, 2.0, 2.0)), 9.0),
        (box((10.0, 0.0, 0.0), (2.0, 2.0, 2.0), (0.0, 0.5, 0.0)), 9.5),
        (cylinder((10.0, 0.0, 0.0), 1.5, 4.0), 8.5),
        (cylinder((10.0, 0.0, 0.0), 1.5, 4.0, (1.0, 0.0, 0.0)), 8.0),
        (ellipsoid((10.0, 0.0, 0.0), (3.0, 1.0, 1.0)), 7.0),
        (capsule((8.0, 0.0, 0.0), (12.0, 0.0, 0.0), 0.5), 7.5),
        (capsule((10.0, 0.0, -1.0), (10.0, 0.0, 1.0), 0.5), 9.5),
        (trunk((10.0, 0.0, -1.0), (10.0, 0.0, 1.0), (0.5, 2.0)), 9.5),
    ],
)
def test_one_ray_meets_one_primitive(part, range_m):
    scene = Scene(Ground(profile([0.0], [0.0])), [Thing("it", 3, (part._replace(centre=(*part.centre[:2], 50.0)),))])
    one = replace(SMALL.perfect(), elevations_rad=(0.0,))
    rays = cast(one, Mount(0.0, 0.0, 50.0), EgoPose(), scene.ground, scene.parts(), 1)
    ahead = int(np.abs(rays.azimuths).argmin())
    assert rays.ranges[ahead, 0] == pytest.approx(range_m, abs=1e-3)
    assert rays.parts[ahead, 0] == 0


def test_each_column_has_its_own_time_and_place():
    walls = [Thing("wall", 3, (box((0.0, 0.0, 5.0), (0.2, 80.0, 10.0)),)).at(x, 0.0) for x in (20.1, -20.1)]
    ego = EgoPose(speed_mps=20.0)
    turn = shot(Scene(Ground(), walls), SMALL.perfect(), ego=ego)
    front = turn.instance == 1
    np.testing.assert_allclose(turn.points[front, 0] + 20.0 * turn.t_s[front], 20.0, atol=2e-3)
    coming = Thing("wall", 3, walls[0].parts).at(20.1, 0.0, math.pi, 10.0)
    turn = shot(Scene(Ground(), [coming]), SMALL.perfect())
    mine = turn.instance == 1
    np.testing.assert_allclose(turn.points[mine, 0] + 10.0 * turn.t_s[mine], 20.0, atol=2e-3)


def test_soft_things_let_some_rays_through():
    def hits(density):
        leaves = Thing("hedge", 3, (box((0.0, 0.0, 1.5), (1.0, 6.0, 3.0), density_per_m=density),)).at(8.0, 0.0)
        wall = Thing("wall", 3, (box((0.0, 0.0, 2.0), (0.2, 10.0, 4.0)),)).at(12.0, 0.0)
        turn = shot(Scene(Ground(), [leaves, wall]), SMALL.perfect())
        near = (np.abs(turn.points[:, 1] / turn.points[:, 0]) < 0.2) & (turn.points[:, 2] < 0.3)
        return (turn.instance[near] == 1).sum(), (turn.instance[near] == 2).sum()

    thin, thick = hits(0.3), hits(8.0)
    assert thin[0] > 20
    assert thin[1] > thin[0]
    assert thick[0] > 50 * max(1, thick[1])


def test_rain_adds_strays_and_only_strays_have_no_owner():
    scene = Scene(Ground(), [])
    assert not (shot(scene).instance == -1).any()
    turn = shot(scene, replace(SMALL, stray_per_m=0.01, stray_range_m=12.0))
    stray = turn.instance == -1
    assert stray.sum() > 200
    assert (turn.label[stray] == 3).all()
    assert np.linalg.norm(turn.points[stray, :3], axis=1).max() <= 12.001


def test_far_and_dark_is_lost_more_often():
    def seen(x, shade):
        wall = Thing("wall", 3, (box((0.0, 0.0, 0.0), (0.2, x, 20.0), reflectivity=shade),)).at(x, 0.0)
        turn, full = (shot(Scene(Ground(), [wall]), sensor) for sensor in (replace(SMALL, dropout=0.0), SMALL.perfect()))
        return (turn.label == 3).sum() / (full.label == 3).sum()

    assert seen(10.0, 0.5) > 0.99
    assert seen(70.0, 0.5) > seen(70.0, 0.05) + 0.2


def test_mixed_points_lie_between_edge_and_background():
    post = Thing("post", 3, (box((0.0, 0.0, 2.0), (0.1, 0.6, 4.0)),)).at(9.0, 0.0)
    wall = Thing("wall", 3, (box((0.0, 0.0, 2.0), (0.2, 20.0, 4.0)),)).at(10.5, 0.0)
    scene = Scene(Ground(), [post, wall])
    quiet = replace(SMALL.perfect(), mixed_probability=0.0)
    for sensor, expected in ((quiet, False), (replace(quiet, mixed_probability=0.5), True)):
        turn = shot(scene, sensor)
        x = turn.points[turn.instance == 1, 0]
        assert ((x > 9.1) & (x < 10.2)).any() == expected


def test_a_track_is_followed_and_ends_in_rest():
    track = Track(np.array([1.0, 3.0]), np.array([[0.0, 0.0, 0.0], [4.0, 2.0, 0.0]]))
    for t_s, pose, rate in ((0.0, (0, 0), (0, 0)), (2.0, (2, 1), (2, 1)), (9.0, (4, 2), (0, 0))):
        at, speed = track.pose(t_s)
        assert tuple(at[:2]) == pose
        assert tuple(speed[:2]) == rate
