"""Random scenes: reproducible, without overlap, with everybody a classifier has to know."""

import numpy as np
import pytest

from firmware_bridge.simulator import (
    KINDS,
    LABEL_OTHER,
    LABEL_VEHICLE,
    LABEL_VULNERABLE,
    bodies,
    furniture,
    people,
    random_ego,
    random_scene,
    vary_mount,
)
from firmware_bridge.simulator.flat import gap_m
from firmware_bridge.simulator.scene import rectangle

VEHICLES = (bodies.car, bodies.truck, bodies.bus, bodies.trailer)
VULNERABLE = (people.pedestrian, people.cyclist, people.motorcycle)
OTHERS = (*furniture.POINT_LIKE, *furniture.LONG, furniture.building)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_same_seed_same_scene(kind):
    first, again = (random_scene(np.random.default_rng(11), kind) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first.parts(), again.parts(), strict=True))
    assert np.array_equal(first.ground.base, again.ground.base)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("seed", range(2))
def test_nothing_overlaps_and_the_ego_place_is_free(kind, seed):
    scene = random_scene(np.random.default_rng(seed), kind)
    solid = [thing.corners_m() for thing in scene.things if thing.footprint_m is not None]
    ego = rectangle(0.0, 0.0, 0.0, (1.4, 0.0, 2.2, 0.95))
    assert all(gap_m(ego, corners) > 0.0 for corners in solid)
    for i, corners in enumerate(solid):
        for other in solid[:i]:
            if np.hypot(*(corners.mean(axis=0) - other.mean(axis=0))) < 6.0:
                assert gap_m(corners, other) > 0.0


def test_scenes_hold_all_classes_and_finite_numbers():
    scenes = [random_scene(np.random.default_rng(seed)) for seed in range(12)]
    for label in (LABEL_VEHICLE, LABEL_VULNERABLE, LABEL_OTHER):
        assert sum(scene.count(label) for scene in scenes) > 40
    for scene in scenes:
        parts = scene.parts(0.3)
        assert np.isfinite(parts.centres).all()
        assert (parts.radii > 0.0).all()
        np.testing.assert_allclose(
            parts.rotations @ parts.rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), parts.rotations.shape), atol=1e-9
        )


@pytest.mark.parametrize(("builders", "label"), [(VEHICLES, LABEL_VEHICLE), (VULNERABLE, LABEL_VULNERABLE), (OTHERS, LABEL_OTHER)])
def test_builders_give_things_of_their_class_on_the_ground(builders, label):
    rng = np.random.default_rng(2)
    for build in builders:
        for _ in range(5):
            thing = build(rng)
            assert thing.label == label
            bounds = [part.bounds_m() for part in thing.parts]
            assert -0.75 < min(low[2] for low, _ in bounds) < 0.35, thing.name
            assert thing.footprint_m is not None


def test_sizes_are_those_of_the_street():
    rng = np.random.default_rng(4)
    for build, long, wide, high in (
        (bodies.car, (3.4, 6.0), (1.5, 2.5), (1.3, 2.4)),
        (people.pedestrian, (0.2, 1.8), (0.3, 1.0), (0.9, 2.1)),
        (people.cyclist, (1.5, 2.1), (0.4, 0.9), (1.4, 2.2)),
    ):
        for _ in range(40):
            bounds = [part.bounds_m() for part in build(rng).parts]
            size = np.max([high_m for _, high_m in bounds], axis=0) - np.min([low for low, _ in bounds], axis=0)
            assert all(low <= value <= top for value, (low, top) in zip(size, (long, wide, high), strict=True)), (build.__name__, size)


def test_gap_between_rectangles():
    own = rectangle(0.0, 0.0, 0.0, (0.0, 0.0, 2.0, 1.0))
    assert gap_m(own, rectangle(5.0, 0.0, 0.0, (0.0, 0.0, 2.0, 1.0))) == pytest.approx(1.0)
    assert gap_m(own, rectangle(3.0, 0.0, 0.3, (0.0, 0.0, 2.0, 1.0))) == 0.0
    assert gap_m(own, rectangle(0.0, 0.0, 1.0, (0.0, 0.0, 0.1, 0.1))) == 0.0  # one inside the other
    assert gap_m(own, rectangle(5.0, 5.0, 0.0, (0.0, 0.0, 2.0, 1.0))) == pytest.approx(np.hypot(1.0, 3.0))


def test_random_ego_stands_on_the_ground():
    rng = np.random.default_rng(5)
    for _ in range(20):
        scene = random_scene(rng, "rural")
        ego = random_ego(rng, scene)
        assert ego.z_m == pytest.approx(scene.ground.height_m(0.0, 0.0))
        assert abs(ego.pitch_rad) < 0.25
        assert 0.5 < vary_mount(rng).z_m < 2.3
