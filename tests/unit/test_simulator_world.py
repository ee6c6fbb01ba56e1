"""The driving world: the clock, the brake, and the right answer of every scenario."""

import math

import numpy as np
import pytest

from firmware_bridge.simulator import SCENARIOS, Ground, Path, Scenario, Scene, Vehicle, World, scenario
from firmware_bridge.simulator.ground import profile

MUST_STOP = [name for name in SCENARIOS if scenario(name).expectation == "must_stop"]
MUST_NOT = [name for name in SCENARIOS if name not in MUST_STOP]
FLAT = Ground()


def drive(world: World, oracle_ttc_s: float = 0.0) -> int:
    """Run a scenario to its end; the judge brakes when a collision is this near. Returns how often it did."""
    count = 0
    while not world.is_over:
        if oracle_ttc_s and world.time_to_collision_s(oracle_ttc_s, 0.1) <= oracle_ttc_s:
            world.command_brake(1.0, ttl_s=0.3)
            count += 1
        world.step(0.1)
    return count


def test_every_kind_of_scenario_is_there():
    assert len(MUST_STOP) >= 5
    assert len(MUST_NOT) >= 9


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", MUST_STOP)
def test_must_stop_collides_without_brake_and_not_with_it(name, seed):
    world = World(scenario(name, seed))
    drive(world)
    assert world.collided
    assert world.impact_mps > 3.0
    world = World(scenario(name, seed))
    assert drive(world, 2.5) > 0
    assert not world.collided
    assert 0.0 < world.min_gap_m < 10.0


@pytest.mark.parametrize("name", MUST_NOT)
def test_must_not_brake_passes_and_no_judge_would_brake(name):
    world = World(scenario(name, 2))
    assert drive(world, 2.5) == 0
    assert not world.collided
    assert world.vehicle.speed_mps == pytest.approx(world.scenario.speed_mps, abs=0.5)


def test_scans_depend_on_seed_and_time_only():
    first, again, other = (
        World(scenario("stopped_car"), seed=4),
        World(scenario("stopped_car"), seed=4),
        World(scenario("stopped_car"), seed=5),
    )
    first.scan()
    for world in (first, again, other):
        world.step(0.1)
    a, b, c = first.scan(), again.scan(), other.scan()
    assert np.array_equal(a.points, b.points)
    assert not np.array_equal(a.points[:100], c.points[:100])
    assert (a.label == 1).sum() > 3


def test_the_scan_shows_the_car_where_the_gap_says():
    world = World(scenario("stopped_car"))
    for _ in range(35):
        world.step(0.1)
    turn = world.scan()
    mine = turn.label == 1
    nearest = (turn.points[mine, 0] + world.vehicle.speed_mps * turn.t_s[mine]).min() + world.mount.x_m  # each at its own time
    car = world.scenario.scene.things[0].corners_m()
    assert nearest + world.vehicle.way_m == pytest.approx(car[:, 0].min(), abs=0.15)


def test_the_bump_is_ground_and_the_rain_is_nobody():
    world = World(scenario("speed_bump"))
    for _ in range(20):
        world.step(0.1)
    turn = world.scan()
    ahead = (turn.points[:, 0] > 2.0) & (turn.points[:, 0] < 30.0) & (np.abs(turn.points[:, 1]) < 1.5)
    assert (turn.label[ahead] == 0).all()
    assert (World(scenario("rain")).scan().instance == -1).sum() > 100


def test_steps_of_any_size_end_in_the_same_place():
    ends = []
    for dt_s in (0.005, 0.01, 0.1):
        world = World(scenario("stopped_car"))
        world.command_brake(0.5, ttl_s=1.0)
        for _ in range(round(2.0 / dt_s)):
            world.step(dt_s)
        ends.append((world.now_ns, world.vehicle.way_m, world.vehicle.speed_mps))
    assert ends[0] == ends[1] == ends[2]
    with pytest.raises(ValueError, match="positive"):
        world.step(0.0)


def moved(vehicle: Vehicle, seconds: float, begin_s: float = 0.0) -> Vehicle:
    for i in range(round(seconds * 100)):
        vehicle.step(begin_s + i * 0.01, 0.01)
    return vehicle


def test_brake_stops_within_the_physics():
    vehicle = Vehicle(Path(), FLAT, 16.0)
    vehicle.command_brake(1.0, 0.0, 10.0)
    moved(vehicle, 4.0)
    assert vehicle.speed_mps == 0.0
    assert 16.0**2 / (2 * 8.25) < vehicle.way_m < 16.0**2 / (2 * 8.0) + 16.0 * 0.2
    moved(vehicle, 1.0, 4.0)
    assert vehicle.speed_mps == 0.0  # never backwards


def test_an_expired_command_no_longer_brakes():
    vehicle = Vehicle(Path(), FLAT, 15.0, 15.0)
    vehicle.command_brake(1.0, 0.0, 0.2)
    slow = moved(vehicle, 0.5).speed_mps
    assert slow < 14.0
    moved(vehicle, 10.0, 0.5)
    assert vehicle.brake < 0.01
    assert vehicle.speed_mps == pytest.approx(15.0, abs=0.2)


def test_coasting_and_grade():
    assert moved(Vehicle(Path(), FLAT, 10.0), 4.0).speed_mps == pytest.approx(9.0, abs=0.01)
    uphill = Ground(profile([0.0], [0.1]))
    assert moved(Vehicle(Path(), uphill, 10.0), 2.0).speed_mps < 8.0
    pose = Vehicle(Path(), uphill, 10.0).ego_pose()
    assert pose.pitch_rad == pytest.approx(-math.atan(0.1))


@pytest.mark.parametrize(("value", "ttl_s"), [(1.1, 1.0), (-0.1, 1.0), (math.nan, 1.0), (0.5, 0.0), (0.5, math.inf), (0.5, math.nan)])
def test_the_brake_refuses_nonsense(value, ttl_s):
    with pytest.raises(ValueError, match="brake command"):
        Vehicle(Path(), FLAT, 1.0).command_brake(value, 0.0, ttl_s)


def test_a_curved_path_is_a_circle():
    path = Path(0.02)
    x, y, yaw = path.pose(50.0)
    assert math.hypot(x, y - 50.0) == pytest.approx(50.0)
    assert yaw == pytest.approx(1.0)
    assert World(Scenario("free", Scene(FLAT, []), 5.0, 1.0, "must_not_brake", path)).min_gap_m == math.inf
