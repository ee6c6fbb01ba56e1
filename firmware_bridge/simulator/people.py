"""People on foot and on two wheels. Origin on the ground, x forward; every builder draws size, pose and clothes anew."""

import math

import numpy as np

from firmware_bridge.simulator.primitives import Part, Point, box, capsule, cylinder, ellipsoid, trunk
from firmware_bridge.simulator.scene import Thing
from firmware_bridge.simulator.sense import LABEL_VULNERABLE

Rng = np.random.Generator


def _bent(start: Point, lengths: tuple[float, float], angles: tuple[float, float], radius: float, cloth: float) -> list[Part]:
    """A limb of two capsules; angles from straight down, positive forward."""
    parts, at = [], start
    for length, angle in zip(lengths, angles, strict=True):
        end = (at[0] + length * math.sin(angle), at[1], at[2] - length * math.cos(angle))
        parts.append(capsule(at, end, radius, reflectivity=cloth))
        at, radius = end, radius * 0.8
    return parts


def pedestrian(rng: Rng, height_m: float = 0.0, stride: float | None = None) -> Thing:
    """Somebody standing or walking, an adult or a child.

    Args:
        rng: draws what is not given.
        height_m: body height, or 0 for any.
        stride: angle of the legs to each side in radians, or None for any.
    """
    child = rng.random() < 0.15
    tall = height_m or (float(rng.uniform(1.0, 1.45)) if child else float(np.clip(rng.normal(1.71, 0.1), 1.45, 2.0)))
    k, wide = tall / 1.75, float(rng.uniform(0.9, 1.25))
    swing = float(abs(rng.normal(0.0, 0.3))) if stride is None else stride
    top, trousers = float(rng.uniform(0.05, 0.8)), float(rng.uniform(0.05, 0.5))
    hip, shoulder = 0.9 * k, 1.43 * k
    lean = float(rng.normal(0.03, 0.05))
    x_top = lean * (shoulder - hip)
    parts: list[Part] = []
    for side, way in ((-1.0, 1.0), (1.0, -1.0)):
        knee = max(0.0, -way) * swing * 1.2
        parts += _bent((0.0, side * 0.1 * k, hip), (0.43 * k, 0.4 * k), (way * swing, way * swing - knee), 0.085 * k * wide, trousers)
        bend = float(rng.uniform(0.0, 1.3))
        arm = -way * swing + float(rng.normal(0.0, 0.15))
        parts += _bent((x_top, side * 0.22 * k * wide, shoulder - 0.04), (0.29 * k, 0.27 * k), (arm, arm + bend), 0.055 * k, top)
    parts.append(trunk((0.0, 0.0, hip - 0.05), (x_top, 0.0, shoulder), (0.125 * k * wide, 0.19 * k * wide), reflectivity=top))
    parts.append(capsule((x_top, -0.12 * k, shoulder), (x_top, 0.12 * k, shoulder), 0.08 * k, reflectivity=top))
    parts.append(ellipsoid((x_top + 0.02, 0.0, tall - 0.12 * k), (0.1 * k, 0.08 * k, 0.125 * k), reflectivity=0.45))
    extra = rng.random()
    if extra < 0.15:
        parts.append(box((x_top * 0.8 - 0.2 * k, 0.0, 1.2 * k), (0.18, 0.3, 0.45), reflectivity=0.3))  # a rucksack
    elif extra < 0.25:
        parts.append(trunk((0.0, 0.0, 0.45 * k), (0.0, 0.0, hip + 0.05), (0.2 * k, 0.22 * k), reflectivity=trousers))  # a coat or skirt
    elif extra < 0.32:
        parts.append(box((0.0, 0.3 * k, 0.55 * k), (0.3, 0.12, 0.35), reflectivity=0.4))  # a bag
    return Thing("child" if tall < 1.45 else "pedestrian", LABEL_VULNERABLE, tuple(parts))


def _rider(rng: Rng, seat: Point, grip: float, lean: float, pedals: bool) -> list[Part]:
    """Somebody who sits with the hands at x = grip, leaning forward by an angle."""
    k, cloth = float(rng.uniform(0.88, 1.08)), float(rng.uniform(0.05, 0.8))
    shoulder = (seat[0] + 0.5 * k * math.sin(lean), 0.0, seat[2] + 0.5 * k * math.cos(lean))
    parts = [
        trunk((seat[0], 0.0, seat[2] - 0.05), shoulder, (0.13 * k, 0.2 * k), reflectivity=cloth),
        ellipsoid((shoulder[0] + 0.08, 0.0, shoulder[2] + 0.22 * k), (0.12, 0.1, 0.14), reflectivity=float(rng.uniform(0.2, 0.9))),
    ]
    crank = float(rng.uniform(-math.pi, math.pi)) if pedals else 0.0
    for side in (-1.0, 1.0):
        phase = crank if side > 0 else crank + math.pi
        foot = (0.17 * math.cos(phase), side * 0.12, 0.3 + 0.17 * math.sin(phase)) if pedals else (0.05, side * 0.22, 0.32)
        knee = ((seat[0] + foot[0]) / 2 + 0.28, side * 0.14, (seat[2] + foot[2]) / 2 + 0.08)
        hip = (seat[0], side * 0.1, seat[2])
        parts += [capsule(hip, knee, 0.085, reflectivity=0.3), capsule(knee, foot, 0.06, reflectivity=0.3)]
        hand = (grip, side * 0.25, seat[2] + 0.12)
        parts.append(capsule((shoulder[0], side * 0.2 * k, shoulder[2] - 0.05), hand, 0.05, reflectivity=cloth))
    return parts


def cyclist(rng: Rng) -> Thing:
    """Somebody on a bicycle, about 1.75 m long."""
    wheel, base = float(rng.uniform(0.31, 0.36)), float(rng.uniform(0.5, 0.56))
    seat_z, metal = float(rng.uniform(0.85, 1.05)), float(rng.uniform(0.1, 0.6))
    seat, head = (-0.22, 0.0, seat_z), (0.38, 0.0, seat_z - 0.02)
    crank = (0.0, 0.0, 0.3)
    parts = [
        cylinder((x, 0.0, wheel), wheel, 0.045, (0.0, 1.0, 0.0), reflectivity=0.15, opacity=float(rng.uniform(0.25, 0.5)))
        for x in (-base, base)
    ]
    for start, end in (
        (seat, crank),
        (crank, head),
        ((-base, 0.0, wheel), crank),
        (head, (base, 0.0, wheel)),
        (head, (-0.17, 0.0, seat_z - 0.1)),
    ):
        parts.append(capsule(start, end, 0.022, reflectivity=metal))
    parts.append(capsule((0.38, -0.28, seat_z + 0.1), (0.38, 0.28, seat_z + 0.1), 0.02, reflectivity=metal))
    parts.append(box((-base - wheel * 0.7, 0.0, 0.7), (0.03, 0.08, 0.08), reflectivity=3.0))
    parts += _rider(rng, seat, 0.38, float(rng.uniform(0.1, 0.75)), pedals=True)
    if rng.random() < 0.15:
        parts.append(box((-base, 0.0, 0.8), (0.35, 0.4, 0.35), reflectivity=0.4))  # a basket or child seat
    return Thing("cyclist", LABEL_VULNERABLE, tuple(parts))


def motorcycle(rng: Rng) -> Thing:
    """A motorcycle or scooter with its rider; vulnerable, as in the law and as it looks."""
    wheel, base = float(rng.uniform(0.26, 0.33)), float(rng.uniform(0.62, 0.75))
    paint = float(rng.uniform(0.1, 0.7))
    parts = [cylinder((x, 0.0, wheel), wheel, 0.14, (0.0, 1.0, 0.0), reflectivity=0.1, opacity=0.85) for x in (-base, base)]
    parts += [
        box((0.0, 0.0, 0.5), (0.8, 0.32, 0.45), (0.2, 0.2, 0.1), reflectivity=paint),
        ellipsoid((0.2, 0.0, 0.78), (0.3, 0.16, 0.14), reflectivity=paint),
        ellipsoid((-0.4, 0.0, 0.78), (0.4, 0.14, 0.1), reflectivity=0.15),
        capsule((base, 0.0, wheel), (0.5, 0.0, 0.95), 0.06, reflectivity=0.4),
        capsule((0.48, -0.36, 1.0), (0.48, 0.36, 1.0), 0.025, reflectivity=0.3),
        ellipsoid((0.62, 0.0, 0.9), (0.15, 0.16, 0.16), reflectivity=0.9),
        box((-base - 0.2, 0.0, 0.6), (0.02, 0.18, 0.2), reflectivity=2.5),
    ]
    parts += _rider(rng, (-0.2, 0.0, 0.82), 0.48, float(rng.uniform(0.1, 0.6)), pedals=False)
    return Thing("motorcycle", LABEL_VULNERABLE, tuple(parts))


def any_vulnerable(rng: Rng) -> Thing:
    """Somebody as common as on a street."""
    draw = rng.random()
    return pedestrian(rng) if draw < 0.68 else cyclist(rng) if draw < 0.92 else motorcycle(rng)
