"""Situations with a known right answer, for the closed loop: some must end in a stop, most must not touch the brake at all.

Every builder takes a generator, which draws shapes, paint, clutter at the roadside and small changes of place and speed.
"""

import math
from collections.abc import Callable

import numpy as np

from firmware_bridge.simulator import bodies, furniture, people
from firmware_bridge.simulator.ground import Ground, pad, profile
from firmware_bridge.simulator.placing import Placer, Rng
from firmware_bridge.simulator.scene import Scene, Thing, Track
from firmware_bridge.simulator.vehicle import Path
from firmware_bridge.simulator.world import Scenario

_LANE_M = 3.5


def scenario(name: str, seed: int = 0) -> Scenario:
    """The named scenario, drawn from a seed.

    Raises:
        KeyError: when ``SCENARIOS`` has no such name.
    """
    return SCENARIOS[name](np.random.default_rng(seed))


def _roadside(rng: Rng, ground: Ground, things: list[Thing]) -> Scene:
    """Add what stands well away from the lane on both sides."""
    place = Placer(rng, (80.0, 2.0, 90.0, 5.0))
    for y, side in ((-8.0, -1.0), (11.0, 1.0)):
        place.row((furniture.street_light, furniture.tree, furniture.sign, furniture.pole), (-30.0, 180.0), y, (9.0, 30.0), math.pi, 0.3)
        place.row(
            (furniture.building, furniture.hedge, furniture.wall), (-30.0, 180.0), y + side * 6.0, (1.0, 20.0), 0.0 if side > 0 else math.pi
        )
    return Scene(ground, things + place.things)


def _pavements(right_m: float = -2.6, left_m: float = 6.2, high_m: float = 0.14) -> Ground:
    sides = [pad(80.0, right_m - 20.0, 0.0, (300.0, 40.0), high_m), pad(80.0, left_m + 20.0, 0.0, (300.0, 40.0), high_m)]
    return Ground(pads=np.array(sides), crown=(0.02, 1.75, 4.5))


def _walk(thing: Thing, times_s: list[float], points: list[tuple[float, float, float]]) -> Thing:
    thing.track = Track(np.array(times_s), np.array(points))
    return thing


def stopped_car(rng: Rng) -> Scenario:
    """A car stands in the lane."""
    things = [bodies.car(rng).at(float(rng.uniform(65.0, 80.0)), float(rng.normal(0.0, 0.2)), float(rng.normal(0.0, 0.04)))]
    return Scenario("stopped_car", _roadside(rng, _pavements(), things), 14.0, 10.0, "must_stop")


def stopped_car_in_bend(rng: Rng) -> Scenario:
    """A car stands in the lane behind a left-hand bend."""
    path = Path(1.0 / 120.0)
    x, y, yaw = path.pose(float(rng.uniform(55.0, 65.0)))
    return Scenario("stopped_car_in_bend", Scene(Ground(), [bodies.car(rng).at(x, y, yaw)]), 12.0, 10.0, "must_stop", path)


def crossing_pedestrian(rng: Rng) -> Scenario:
    """Somebody steps off the pavement and is in the middle of the lane when the car arrives."""
    speed, walk, x = 11.0, float(rng.uniform(1.2, 1.6)), float(rng.uniform(50.0, 60.0))
    meet = (x - 3.4) / speed
    way = 4.5
    times = [meet - way / walk, meet + way / walk]
    somebody = _walk(people.pedestrian(rng), times, [(x, -way, math.pi / 2), (x, way, math.pi / 2)])
    return Scenario("crossing_pedestrian", _roadside(rng, _pavements(), [somebody]), speed, 10.0, "must_stop")


def slower_cyclist(rng: Rng) -> Scenario:
    """A cyclist rides ahead in the lane, slower."""
    things = [people.cyclist(rng).at(float(rng.uniform(32.0, 40.0)), float(rng.uniform(-0.7, 0.2)), 0.0, float(rng.uniform(3.5, 5.0)))]
    return Scenario("slower_cyclist", _roadside(rng, _pavements(), things), 12.0, 9.0, "must_stop")


def cut_in(rng: Rng) -> Scenario:
    """A slower car comes over from the next lane, close ahead."""
    x, speed, begin, last = float(rng.uniform(30.0, 33.0)), 6.0, 0.6, 1.6
    points = [
        (x + speed * t, y, yaw) for t, y, yaw in ((0.0, _LANE_M, 0.0), (begin, _LANE_M, -0.2), (begin + last, 0.0, -0.1), (20.0, 0.0, 0.0))
    ]
    car = _walk(bodies.car(rng), [0.0, begin, begin + last, 20.0], points)
    return Scenario("cut_in", _roadside(rng, _pavements(), [car]), 14.0, 9.0, "must_stop")


def oncoming_car(rng: Rng) -> Scenario:
    """Cars come towards us in their own lane."""
    things = [bodies.car(rng).at(x, _LANE_M + float(rng.normal(0.0, 0.1)), math.pi, 13.0) for x in (60.0, 110.0, 150.0)]
    return Scenario("oncoming_car", _roadside(rng, _pavements(), things), 13.0, 7.0, "must_not_brake")


def parked_cars(rng: Rng) -> Scenario:
    """A row of cars is parked beside the lane."""
    place = Placer(rng)
    place.row((bodies.car,), (8.0, 120.0), -2.7, (0.5, 4.0), 0.0, 0.05)
    return Scenario("parked_cars", _roadside(rng, _pavements(right_m=-4.0), place.things), 10.0, 9.0, "must_not_brake")


def kerb_along(rng: Rng) -> Scenario:
    """High kerbs close to the lane on both sides, with bollards behind them."""
    things = [furniture.bollard(rng).at(float(x), side * 2.5) for x in range(10, 130, 7) for side in (-1.0, 1.0)]
    return Scenario("kerb_along", Scene(_pavements(-1.8, 1.8, 0.19), things), 11.0, 8.0, "must_not_brake")


def speed_bump(rng: Rng) -> Scenario:
    """A speed bump, and then a low step up across the whole road."""
    ground = Ground(pads=np.array([pad(105.0, 0.0, 0.0, (100.0, 60.0), 0.06)]))
    things = [furniture.speed_bump(9.0, float(rng.uniform(0.07, 0.1))).at(30.0, 0.0)]
    return Scenario("speed_bump", _roadside(rng, ground, things), 8.0, 9.0, "must_not_brake")


def uphill(rng: Rng) -> Scenario:
    """A steep road begins ahead."""
    grade = float(rng.uniform(0.09, 0.13))
    return Scenario("uphill", _roadside(rng, Ground(profile([-50.0, 30.0], [0.0, grade], 12.0)), []), 11.0, 8.0, "must_not_brake")


def crest(rng: Rng) -> Scenario:
    """The road climbs to a crest and falls behind it."""
    ground = Ground(profile([-50.0, 25.0, 65.0], [0.03, 0.07, -0.09], 15.0))
    return Scenario("crest", _roadside(rng, ground, []), 11.0, 10.0, "must_not_brake")


def overhead(rng: Rng) -> Scenario:
    """A sign gantry and a bridge over the road, on posts beside it."""
    things = [
        furniture.overhead(16.0, float(rng.uniform(5.0, 5.8)), 0.5, 0.4).at(40.0, 2.0),
        furniture.overhead(30.0, 4.6, 1.2, 9.0).at(80.0, 2.0),
        *(furniture.pole(rng).at(40.0, y) for y in (-6.0, 10.0)),
        *(furniture.wall(rng, 9.0, 4.6).at(80.0, y) for y in (-5.0, 9.0)),
    ]  # fmt: skip
    return Scenario("overhead", Scene(_pavements(), things), 13.0, 9.0, "must_not_brake")


def empty_road(rng: Rng) -> Scenario:
    """Nothing but what stands at the roadside."""
    return Scenario("empty_road", _roadside(rng, _pavements(), []), 14.0, 8.0, "must_not_brake")


def pavement_pedestrian(rng: Rng) -> Scenario:
    """People stand and walk on the pavement, along the road."""
    things = [people.pedestrian(rng, stride=0.0).at(40.0, -3.4, math.pi / 2), people.pedestrian(rng).at(55.0, -3.8, 0.0, 1.3)]
    things.append(people.pedestrian(rng).at(70.0, -3.6, math.pi, 1.3))
    return Scenario("pavement_pedestrian", _roadside(rng, _pavements(), things), 11.0, 8.0, "must_not_brake")


def rain(rng: Rng) -> Scenario:
    """Heavy rain on an empty road."""
    return Scenario("rain", _roadside(rng, _pavements(), []), 12.0, 7.0, "must_not_brake", stray_per_m=0.004)


SCENARIOS: dict[str, Callable[[Rng], Scenario]] = {
    build.__name__: build
    for build in (
        stopped_car, stopped_car_in_bend, crossing_pedestrian, slower_cyclist, cut_in, oncoming_car, parked_cars, kerb_along,
        speed_bump, uphill, crest, overhead, empty_road, pavement_pedestrian, rain,
    )
}  # fmt: skip
"""Builders of scenarios by name."""
