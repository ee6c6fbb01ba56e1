"""Vehicles, as a LIDAR sees them: body, cabin of glass that half the rays pass through, wheels, plates that shine.

Origin on the ground under the middle, x forward. Every builder draws sizes and paint anew.
"""

import numpy as np

from firmware_bridge.simulator.primitives import Part, Point, box, capsule, cylinder
from firmware_bridge.simulator.scene import Thing
from firmware_bridge.simulator.sense import LABEL_VEHICLE

Rng = np.random.Generator

# length, width, height, height of the bonnet and of the belt line (both as part of the height), length of the bonnet and of the boot
# (as part of the length), slopes of windscreen and rear window (metres back per metre up)
_CARS: dict[str, tuple[float, ...]] = {
    "hatchback": (3.9, 1.72, 1.48, 0.62, 0.64, 0.26, 0.0, 1.4, 0.35),
    "saloon": (4.7, 1.82, 1.44, 0.62, 0.64, 0.26, 0.18, 1.6, 1.5),
    "estate": (4.7, 1.84, 1.50, 0.60, 0.64, 0.26, 0.0, 1.5, 0.5),
    "suv": (4.5, 1.90, 1.72, 0.62, 0.64, 0.24, 0.0, 1.1, 0.25),
    "van": (5.2, 2.00, 2.10, 0.50, 0.58, 0.17, 0.0, 0.9, 0.05),
    "pickup": (5.3, 1.92, 1.80, 0.58, 0.60, 0.24, 0.34, 1.0, 0.2),
}


def _wheels(length: float, width: float, radius: float, axles: tuple[float, ...]) -> list[Part]:
    """Wheels at both sides of axles given as parts of the length from the middle."""
    return [
        cylinder((axle * length, side * (width / 2 - 0.11), radius), radius, 0.22, (0.0, 1.0, 0.0), reflectivity=0.08)
        for axle in axles
        for side in (-1.0, 1.0)
    ]


def _shell(rng: Rng, length: float, width: float, height: float, clear: float) -> list[Part]:
    """Plates and lamps at the ends, and sometimes mirrors."""
    lamp, parts = float(rng.uniform(0.3, 1.5)), []
    for end in (-1.0, 1.0):
        x = end * (length / 2 + 0.01)
        parts.append(box((x, 0.0, clear + 0.3), (0.02, 0.5, 0.11), reflectivity=float(rng.uniform(1.0, 3.0))))
        parts += [box((x, s * width * 0.38, height * 0.45), (0.03, 0.3, 0.15), reflectivity=lamp) for s in (-1.0, 1.0)]
    if rng.random() < 0.8:
        parts += [box((length * 0.2, s * (width / 2 + 0.09), height * 0.65), (0.12, 0.18, 0.14), reflectivity=0.3) for s in (-1.0, 1.0)]
    return parts


def car(rng: Rng, kind: str = "") -> Thing:
    """A car of a kind (hatchback, saloon, estate, suv, van, pickup), or of any."""
    kind = kind or str(rng.choice(list(_CARS), p=[0.28, 0.22, 0.12, 0.22, 0.1, 0.06]))
    length, width, height, bonnet, belt, nose, boot, screen, back = _CARS[kind]
    length, width, height = length * rng.uniform(0.92, 1.08), width * rng.uniform(0.96, 1.04), height * rng.uniform(0.95, 1.06)
    clear, wheel = float(rng.uniform(0.16, 0.28)), float(rng.uniform(0.29, 0.36))
    paint = float(rng.choice([0.05, 0.15, 0.3, 0.5, 0.8]))
    z_belt, z_bonnet = height * belt, height * bonnet
    x_nose, x_boot = length / 2 - nose * length, -length / 2 + boot * length
    rise, x_mid = height - z_belt, (x_nose + x_boot) / 2
    parts = [
        box((0.0, 0.0, (clear + z_bonnet) / 2), (length, width, z_bonnet - clear), (0.12, 0.1, 0.04), reflectivity=paint),
        box((x_mid, 0.0, (z_bonnet + z_belt) / 2), (x_nose - x_boot + 0.3, width * 0.98, z_belt - z_bonnet), reflectivity=paint),
        box(
            (x_mid, 0.0, (z_belt + height - 0.05) / 2), (x_nose - x_boot, width * 0.94, rise - 0.05), (screen, back, 0.2),
            reflectivity=0.15, opacity=float(rng.uniform(0.25, 0.7)),
        ),
        box(
            ((x_nose - screen * rise + x_boot + back * rise) / 2, 0.0, height - 0.03),
            (x_nose - x_boot - (screen + back) * rise + 0.1, width * 0.94 - 0.36 * rise, 0.06), reflectivity=paint,
        ),
        box((x_mid, 0.0, z_belt + 0.15), ((x_nose - x_boot) * 0.5, width * 0.7, 0.4), reflectivity=0.2, opacity=0.7),
    ]  # fmt: skip
    middle = x_mid - 0.1
    for side in (-1.0, 1.0):  # the pillars between the doors, and the rear one or the sides of a van
        rear = 0.55 if kind == "van" else 0.12
        y = side * (width * 0.45 - 0.1 * rise)
        parts.append(box((middle, y, z_belt + rise / 2), (0.12, 0.06, rise), reflectivity=paint))
        parts.append(
            box((x_boot + back * rise / 2 + rear * length / 2, y, z_belt + rise / 2), (rear * length, 0.06, rise), reflectivity=paint)
        )
    if kind == "pickup":  # the sides of the bed
        bed = boot * length
        parts += [box((-length / 2 + bed / 2, s * (width / 2 - 0.06), z_belt), (bed, 0.1, 0.35), reflectivity=paint) for s in (-1.0, 1.0)]
    parts += _wheels(length, width, wheel, (-0.3, 0.31)) + _shell(rng, length, width, height, clear)
    return Thing(kind, LABEL_VEHICLE, tuple(parts), is_upright=False)


def truck(rng: Rng) -> Thing:
    """A lorry: cab, gap, and a box, a flat bed with load, or a tank."""
    length, width, height = float(rng.uniform(6.5, 12.0)), float(rng.uniform(2.2, 2.55)), float(rng.uniform(2.8, 3.9))
    paint, cab = float(rng.choice([0.1, 0.3, 0.6, 0.8])), float(rng.uniform(1.7, 2.3))
    x_cab, x_load = length / 2 - cab / 2, -cab / 2 - 0.15
    long = length - cab - 0.3
    cab_height = float(rng.uniform(2.3, min(3.3, height)))
    parts = [
        box((x_cab, 0.0, 1.0), (cab, width, 1.2), (0.05, 0.0, 0.0), reflectivity=paint),
        box((x_cab, 0.0, (1.6 + cab_height) / 2), (cab, width * 0.96, cab_height - 1.6), (0.2, 0.0, 0.05), reflectivity=0.3, opacity=0.75),
        box((0.0, 0.0, 0.85), (length * 0.96, 0.9, 0.3), reflectivity=0.1),
    ]
    style = rng.choice(["box", "flat", "tank"], p=[0.65, 0.25, 0.1])
    if style == "box":
        parts.append(box((x_load, 0.0, (1.05 + height) / 2), (long, width, height - 1.05), reflectivity=float(rng.uniform(0.2, 0.9))))
    elif style == "tank":
        parts.append(cylinder((x_load, 0.0, 1.1 + width * 0.42), width * 0.42, long, (1.0, 0.0, 0.0), reflectivity=0.6))
    else:
        load = float(rng.uniform(0.3, 1.5))
        parts.append(box((x_load, 0.0, 1.1), (long, width, 0.2), reflectivity=0.3))
        parts.append(box((x_load - 0.1 * long, 0.0, 1.2 + load / 2), (long * 0.7, width * 0.85, load), reflectivity=0.4))
    parts += _wheels(length, width, float(rng.uniform(0.42, 0.52)), (-0.36, -0.25, 0.36) if length > 9 else (-0.3, 0.36))
    return Thing("truck", LABEL_VEHICLE, tuple(parts + _shell(rng, length, width, 1.6, 0.5)), is_upright=False)


def bus(rng: Rng) -> Thing:
    """A city bus or coach: a long box with a band of windows."""
    length, height = float(rng.uniform(8.5, 13.5)), float(rng.uniform(2.9, 3.5))
    width, paint = 2.53, float(rng.uniform(0.15, 0.8))
    parts = [
        box((0.0, 0.0, 0.75), (length, width, 0.9), (0.04, 0.02, 0.0), reflectivity=paint),
        box((0.0, 0.0, (1.2 + height - 0.4) / 2), (length, width * 0.99, height - 1.6), (0.06, 0.0, 0.03), reflectivity=0.15, opacity=0.5),
        box((0.0, 0.0, height - 0.2), (length - 0.2, width * 0.96, 0.4), (0.2, 0.1, 0.1), reflectivity=paint),
        box((0.0, 0.0, 1.4), (length * 0.8, width * 0.8, 0.5), reflectivity=0.2, opacity=0.6),
    ]
    for x in np.arange(-length / 2 + 0.3, length / 2, 1.6):
        parts += [box((float(x), s * 1.22, (1.2 + height) / 2), (0.12, 0.06, height - 1.3), reflectivity=paint) for s in (-1.0, 1.0)]
    parts += _wheels(length, width, 0.48, (-0.28, 0.3))
    return Thing("bus", LABEL_VEHICLE, tuple(parts + _shell(rng, length, width, 2.0, 0.35)), is_upright=False)


def trailer(rng: Rng) -> Thing:
    """A trailer without its car: small open or closed box, or a caravan."""
    length, width, height = float(rng.uniform(2.0, 6.0)), float(rng.uniform(1.3, 2.3)), float(rng.uniform(0.4, 2.0))
    bar: tuple[Point, Point] = ((length / 2, 0.0, 0.5), (length / 2 + 1.2, 0.0, 0.45))
    parts = [box((0.0, 0.0, 0.45 + height / 2), (length, width, height), (0.05, 0.05, 0.0), reflectivity=float(rng.uniform(0.2, 0.8)))]
    parts += [capsule(*bar, 0.05, reflectivity=0.2), *_wheels(length, width + 0.3, 0.3, (-0.08,))]
    return Thing("trailer", LABEL_VEHICLE, tuple(parts), is_upright=False)


def any_vehicle(rng: Rng) -> Thing:
    """A vehicle as common as on a street."""
    draw = rng.random()
    return truck(rng) if draw < 0.07 else bus(rng) if draw < 0.1 else trailer(rng) if draw < 0.13 else car(rng)
