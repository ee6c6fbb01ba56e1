"""Random scenes to learn from: streets, junctions, car parks, yards, country roads, squares full of people.

The ego vehicle stands at the origin and looks along x. Things do not overlap on the ground, but may stand as close as in a city.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from firmware_bridge.simulator import bodies, furniture, people
from firmware_bridge.simulator.cast import EgoPose
from firmware_bridge.simulator.ground import Ground, pad, profile
from firmware_bridge.simulator.placing import Placer, Rng
from firmware_bridge.simulator.scene import Scene

_FAR_M = 70.0


def random_scene(rng: Rng, kind: str = "") -> Scene:
    """A scene of a kind (a key of ``KINDS``), or of any."""
    kind = kind or str(rng.choice(list(KINDS), p=[0.3, 0.15, 0.15, 0.1, 0.15, 0.15]))
    return KINDS[kind](rng)


def random_ego(rng: Rng, scene: Scene) -> EgoPose:
    """The ego vehicle at the origin of a scene, at a speed found on roads, a little off its line."""
    yaw, speed = float(rng.normal(0.0, 0.05)), float(rng.choice([0.0, rng.uniform(0.0, 15.0)]))
    pitch, roll = scene.ground.tilt_rad(0.0, 0.0, yaw, 2.7, 1.6)
    rate = float(rng.normal(0.0, 0.1)) if speed > 2.0 else 0.0
    return EgoPose(0.0, 0.0, scene.ground.height_m(0.0, 0.0), roll, pitch + float(rng.normal(0.0, 0.01)), yaw, speed, rate)


def _hills(rng: Rng, steep: float) -> Ground:
    """A ground with changing grade, a crown and its own roughness, without pads."""
    starts, grade = [-100.0], [float(rng.normal(0.0, steep / 2))]
    while starts[-1] < 80.0:
        starts.append(starts[-1] + float(rng.uniform(25.0, 80.0)))
        grade.append(float(np.clip(rng.normal(0.0, steep), -0.14, 0.14)))
    crown = (float(rng.uniform(0.0, 0.035)), float(rng.uniform(-3.0, 3.0)), float(rng.uniform(3.0, 5.0)))
    return Ground(
        profile(starts, grade, float(rng.uniform(8.0, 24.0))),
        crown,
        Ground().pads,
        float(rng.uniform(0.002, 0.025)),
        float(rng.uniform(0.08, 0.35)),
    )


def _sides(rng: Rng) -> tuple[float, float]:
    """The y of the right and left kerb as seen from the ego vehicle's lane."""
    return -float(rng.uniform(1.9, 4.5)), float(rng.uniform(5.0, 8.5))


def _traffic(place: Placer, y_own: float, y_other: float) -> None:
    """Vehicles ahead and behind in the own lane, and towards us in the other."""
    rng = place.rng
    for x in (float(rng.uniform(7.0, 50.0)), float(rng.uniform(-40.0, -9.0))):
        if rng.random() < 0.6:
            place.add(
                bodies.any_vehicle(rng), x, y_own + float(rng.normal(0.0, 0.2)), float(rng.normal(0.0, 0.03)), float(rng.uniform(0.0, 12.0))
            )
    x = float(rng.uniform(-50.0, 0.0))
    while x < _FAR_M:
        if rng.random() < 0.6:
            place.add(
                bodies.any_vehicle(rng),
                x,
                y_other + float(rng.normal(0.0, 0.2)),
                math.pi + float(rng.normal(0.0, 0.03)),
                float(rng.uniform(0.0, 14.0)),
            )
        x += float(rng.uniform(6.0, 30.0))
    for _ in range(int(rng.integers(0, 4))):
        yaw = 0.0 if rng.random() < 0.5 else math.pi
        y = y_own - 0.9 if yaw == 0.0 else y_other + 0.9
        place.add(
            people.cyclist(rng) if rng.random() < 0.8 else people.motorcycle(rng),
            float(rng.uniform(-20.0, 40.0)),
            y,
            yaw,
            float(rng.uniform(2.0, 7.0)),
        )


def _walkway(place: Placer, y_kerb: float, outward: float, wide: float, parked: bool) -> None:
    """One side of a street, from the kerb outward (-1 right, 1 left): parked cars, pavement with people and furniture, buildings."""
    rng = place.rng
    if parked:
        place.row((bodies.car,), (-45.0, 60.0), y_kerb - outward * 1.0, (0.25, 6.0), 0.0 if outward < 0 else math.pi)
    place.row(furniture.POINT_LIKE, (-50.0, 60.0), y_kerb + outward * 0.6, (2.0, 18.0), -outward * math.pi / 2)
    _facades(place, y_kerb + outward * (wide + 0.3), outward)
    area = (min(y_kerb, y_kerb + outward * wide), max(y_kerb, y_kerb + outward * wide))
    place.scatter((people.pedestrian,), int(rng.integers(0, 14)), (-25.0, 40.0), area, 1.8)
    place.scatter(
        (furniture.bin_, furniture.boxes, furniture.bush, furniture.bollard, people.cyclist), int(rng.integers(0, 8)), (-30.0, 45.0), area
    )


def _facades(place: Placer, y: float, outward: float) -> None:
    """What closes a street: buildings, walls, hedges, fences, gaps."""
    rng, x = place.rng, -55.0
    while x < _FAR_M:
        draw, length = rng.random(), float(rng.uniform(4.0, 22.0))
        if draw < 0.85:
            build = furniture.building if draw < 0.5 else (furniture.wall, furniture.hedge, furniture.fence)[int(rng.integers(3))]
            yaw = (0.0 if outward > 0 else math.pi) + float(rng.normal(0.0, 0.01))
            place.add(build(rng, length), x + length / 2, y + outward * float(rng.uniform(0.3, 1.5)), yaw, clear_m=0.0)
        x += length + float(rng.choice([0.2, 3.0]))


def street(rng: Rng) -> Scene:
    """A street in a town: kerbs, parked rows, traffic, people on the pavement and in the road."""
    place, (right, left) = Placer(rng), _sides(rng)
    wide, high = float(rng.uniform(1.5, 5.0)), float(rng.uniform(0.1, 0.2))
    pads = [pad(0.0, y + side * 30.0, 0.0, (260.0, 60.0), high, (0.0, side * 0.004)) for y, side in ((right, -1.0), (left, 1.0))]
    _traffic(place, 0.0, left - 2.2 - (2.0 if left > 7.0 else 0.0))
    for y, side in ((right, -1.0), (left, 1.0)):
        _walkway(place, y, side, wide, parked=abs(y) > 3.6 and rng.random() < 0.8)
    place.scatter((people.any_vulnerable,), int(rng.integers(0, 5)), (4.0, 30.0), (right + 0.3, left - 0.3), 2.0)
    if rng.random() < 0.3:
        place.add(furniture.speed_bump(left - right, float(rng.uniform(0.05, 0.12))), float(rng.uniform(5.0, 25.0)), (left + right) / 2)
    if rng.random() < 0.1:
        place.add(
            furniture.overhead(40.0, float(rng.uniform(3.5, 6.0)), 1.0, float(rng.uniform(0.5, 10.0))), float(rng.uniform(10.0, 40.0)), 0.0
        )
    return place.scene(replace(_hills(rng, 0.02), pads=np.array(pads)))


def junction(rng: Rng) -> Scene:
    """Two streets that cross ahead: four raised corners, crossing traffic, people who wait and cross."""
    place, (right, left) = Placer(rng), _sides(rng)
    x0, x1, high = float(rng.uniform(6.0, 18.0)), 0.0, float(rng.uniform(0.1, 0.2))
    x1 = x0 + float(rng.uniform(7.0, 12.0))
    pads = []
    for x, x_way in ((x0, -1.0), (x1, 1.0)):
        for y, y_way in ((right, -1.0), (left, 1.0)):
            pads.append(pad(x + x_way * 50.0, y + y_way * 50.0, 0.0, (100.0, 100.0), high))
            yaw = 0.0 if y_way > 0 else math.pi
            place.add(
                furniture.building(rng, float(rng.uniform(10.0, 25.0))), x + x_way * float(rng.uniform(13.0, 18.0)), y + y_way * 3.5, yaw
            )
            area = sorted((x + x_way * 0.3, x + x_way * 12.0)), sorted((y + y_way * 0.3, y + y_way * 3.0))
            place.scatter((people.pedestrian,), int(rng.integers(0, 7)), (area[0][0], area[0][1]), (area[1][0], area[1][1]), 1.5)
            place.scatter(furniture.POINT_LIKE, 4, (area[0][0], area[0][1]), (area[1][0], area[1][1]))
    for i in range(int(rng.integers(1, 6))):
        lane = x0 + 2.0 if i % 2 else x1 - 2.0
        place.add(
            bodies.any_vehicle(rng),
            lane,
            float(rng.uniform(-40.0, 40.0)),
            (-0.5 if i % 2 else 0.5) * math.pi,
            float(rng.uniform(0.0, 12.0)),
        )
    _traffic(place, 0.0, left - 2.2)
    place.scatter((people.any_vulnerable,), int(rng.integers(0, 8)), (x0 - 4.0, x1 + 2.0), (right, left), 2.0)
    return place.scene(replace(_hills(rng, 0.015), pads=np.array(pads)))


def car_park(rng: Rng) -> Scene:
    """Rows of cars side by side, people between them, lamps, hedges and islands."""
    place, pads = Placer(rng), []
    y = -float(rng.uniform(5.0, 6.5)) - 10.0
    angle = float(rng.choice([0.5, 0.5, 0.35])) * math.pi
    while y < 32.0:
        for row, yaw in ((y, angle), (y + 5.2, angle - math.pi)):
            if abs(row) > 4.6:
                place.row(
                    (bodies.car, bodies.car, bodies.car, bodies.any_vehicle),
                    (-30.0, 45.0),
                    row,
                    (0.35, float(rng.choice([0.9, 4.0]))),
                    yaw,
                    0.2,
                )
        if rng.random() < 0.4:
            pads.append(pad(0.0, y + 2.6, 0.0, (90.0, 0.8), float(rng.uniform(0.1, 0.2))))
        y += 5.2 + float(rng.uniform(10.5, 13.0))
    place.scatter(
        (people.pedestrian, people.pedestrian, people.any_vulnerable), int(rng.integers(2, 20)), (-20.0, 35.0), (-20.0, 25.0), 1.5, 0.02
    )
    place.scatter(
        (furniture.street_light, furniture.tree, furniture.bush, furniture.bin_, furniture.cone), 15, (-30.0, 45.0), (-22.0, 32.0)
    )
    _facades(place, 35.0, 1.0)
    _facades(place, -26.0, -1.0)
    return place.scene(replace(_hills(rng, 0.012), pads=np.array(pads).reshape(-1, 9)))


def yard(rng: Rng) -> Scene:
    """A yard or building site: lorries, piles, cones, fences, people at work, uneven ground."""
    place = Placer(rng)
    for y, yaw in ((float(rng.uniform(10.0, 30.0)), 0.0), (-float(rng.uniform(8.0, 30.0)), math.pi)):
        place.add(
            (furniture.building, furniture.wall, furniture.fence)[int(rng.integers(3))](rng, 40.0), float(rng.uniform(0.0, 20.0)), y, yaw
        )
    place.scatter((bodies.truck, bodies.car, bodies.trailer, bodies.any_vehicle), 12, (-25.0, 40.0), (-25.0, 25.0), 0.0, 0.2)
    place.scatter(
        (furniture.boxes, furniture.cone, furniture.bin_, furniture.bollard, furniture.barrier, furniture.pole),
        35,
        (-25.0, 35.0),
        (-22.0, 22.0),
    )
    place.scatter(
        (people.pedestrian, people.pedestrian, people.any_vulnerable), int(rng.integers(3, 16)), (-15.0, 30.0), (-18.0, 18.0), 1.5, 0.02
    )
    ground = _hills(rng, 0.02)
    heaps = []
    for _ in range(int(rng.integers(0, 5))):
        x, y = float(rng.uniform(-30.0, 40.0)), float(rng.choice((-1, 1)) * rng.uniform(8.0, 25.0))
        size = (float(rng.uniform(4.0, 15.0)), float(rng.uniform(2.0, 6.0)))
        heaps.append(pad(x, y, float(rng.uniform(0.0, 3.0)), size, float(rng.uniform(0.05, 0.5)), (float(rng.normal(0.0, 0.03)), 0.0)))
    return place.scene(replace(ground, pads=np.array(heaps).reshape(-1, 9), roughness_m=float(rng.uniform(0.01, 0.06))))


def rural(rng: Rng) -> Scene:
    """A country road over hills: banks beside it, trees, hedges, posts, some traffic, walkers and cyclists."""
    place, (right, left) = Placer(rng), _sides(rng)
    banks = [
        pad(0.0, right - 12.0, 0.0, (260.0, 20.0), 10.0 * (slope := float(rng.uniform(0.0, 0.15))), (0.0, -slope)),
        pad(0.0, left + 12.0, 0.0, (260.0, 20.0), 10.0 * (rise := float(rng.uniform(0.0, 0.15))), (0.0, rise)),
    ]
    _traffic(place, 0.0, left - 2.0)
    for y, side in ((right, -1.0), (left, 1.0)):
        place.row((furniture.pole, furniture.bollard, furniture.sign), (-60.0, 70.0), y + side * 0.7, (8.0, 50.0), math.pi)
        if rng.random() < 0.6:
            place.row(furniture.LONG, (-60.0, 70.0), y + side * float(rng.uniform(1.5, 4.0)), (0.0, 15.0))
        area = sorted((y + side * 1.0, y + side * 20.0))
        place.scatter(
            (furniture.tree, furniture.tree, furniture.bush), int(rng.integers(5, 40)), (-45.0, 65.0), (area[0], area[1]), 0.0, 0.0
        )
        area = sorted((y - side * 0.3, y + side * 1.5))
        place.scatter((people.any_vulnerable,), int(rng.integers(0, 5)), (-20.0, 40.0), (area[0], area[1]), 1.5)
    return place.scene(replace(_hills(rng, 0.06), pads=np.array(banks)))


def crowd(rng: Rng) -> Scene:
    """A square or market: people close together, cyclists among them, stalls, trees, delivery vans."""
    place = Placer(rng)
    place.scatter((bodies.car, bodies.any_vehicle), int(rng.integers(1, 8)), (-20.0, 35.0), (-20.0, 20.0), 1.0)
    place.scatter(furniture.POINT_LIKE + furniture.LONG, int(rng.integers(8, 30)), (-25.0, 40.0), (-22.0, 22.0))
    for _ in range(int(rng.integers(2, 10))):  # groups that walk together
        x, y = float(rng.uniform(-10.0, 30.0)), float(rng.uniform(-14.0, 14.0))
        yaw, speed = float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(0.0, 1.6))
        for _ in range(int(rng.integers(2, 7))):
            place.add(
                people.pedestrian(rng),
                x + float(rng.normal(0.0, 0.8)),
                y + float(rng.normal(0.0, 0.8)),
                yaw + float(rng.normal(0.0, 0.2)),
                speed,
                0.05,
            )
    place.scatter((people.any_vulnerable,), int(rng.integers(5, 35)), (-15.0, 35.0), (-18.0, 18.0), 1.6, 0.05)
    _facades(place, 24.0, 1.0)
    _facades(place, -24.0, -1.0)
    kerbs = np.array([pad(5.0, 12.0, 0.0, (80.0, 6.0), 0.12)]) if rng.random() < 0.4 else Ground().pads
    return place.scene(replace(_hills(rng, 0.015), pads=kerbs))


KINDS: dict[str, Callable[[Rng], Scene]] = {
    "street": street, "junction": junction, "car_park": car_park, "yard": yard, "rural": rural, "crowd": crowd,
}  # fmt: skip
"""Builders of scenes by name."""
