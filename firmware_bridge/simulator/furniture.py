"""What stands beside roads and is neither vehicle nor person: poles, signs, greenery, walls, buildings, clutter. All labelled other."""

import math

import numpy as np

from firmware_bridge.simulator.primitives import Part, box, capsule, cylinder, ellipsoid, trunk
from firmware_bridge.simulator.scene import Thing
from firmware_bridge.simulator.sense import LABEL_GROUND, LABEL_OTHER

Rng = np.random.Generator
_SUNK_M = 0.6  # walls and trunks reach into the ground, so that nothing shows under them on a slope


def _other(name: str, parts: list[Part]) -> Thing:
    return Thing(name, LABEL_OTHER, tuple(parts))


def pole(rng: Rng) -> Thing:
    """A bare pole, thin or as thick as a mast of a tram line."""
    radius, height = float(rng.uniform(0.03, 0.18)), float(rng.uniform(2.0, 8.0))
    return _other("pole", [cylinder((0.0, 0.0, height / 2), radius, height, reflectivity=float(rng.uniform(0.1, 0.6)))])


def street_light(rng: Rng) -> Thing:
    """A lamp post with an arm over the road (towards x)."""
    height, arm = float(rng.uniform(4.0, 10.0)), float(rng.uniform(0.3, 2.0))
    return _other("street_light", [
        cylinder((0.0, 0.0, height / 2), 0.08, height, reflectivity=0.3),
        cylinder((0.0, 0.0, 0.5), 0.13, 1.0, reflectivity=0.3),
        capsule((0.0, 0.0, height), (arm, 0.0, height + 0.2), 0.05, reflectivity=0.3),
        box((arm, 0.0, height + 0.2), (0.6, 0.25, 0.12), reflectivity=0.3),
    ])  # fmt: skip


def sign(rng: Rng) -> Thing:
    """A traffic sign that faces x and shines."""
    low, size = float(rng.uniform(1.2, 2.3)), float(rng.uniform(0.4, 0.9))
    return _other("sign", [
        cylinder((0.0, 0.0, (low + size) / 2), 0.035, low + size, reflectivity=0.3),
        box((0.05, 0.0, low + size / 2), (0.02, size, size * float(rng.uniform(0.6, 1.3))), reflectivity=float(rng.uniform(1.5, 4.0))),
    ])  # fmt: skip


def tree(rng: Rng) -> Thing:
    """A tree: a trunk, some boughs and a crown of soft balls that rays enter."""
    radius, bole = float(rng.uniform(0.06, 0.35)), float(rng.uniform(1.4, 3.5))
    size, density, leaf = float(rng.uniform(0.8, 3.0)), float(rng.uniform(0.4, 3.0)), float(rng.uniform(0.2, 0.6))
    tilt = rng.normal(0.0, 0.05, 2)
    top = (float(tilt[0] * bole), float(tilt[1] * bole), bole + 0.4 * size)
    parts = [trunk((0.0, 0.0, -_SUNK_M), top, (radius, radius), reflectivity=0.25)]
    for _ in range(int(rng.integers(2, 6))):
        at = rng.normal(0.0, 0.35 * size, 2)
        high = bole + float(rng.uniform(0.5, 1.4)) * size
        radii = tuple(float(v) for v in size * rng.uniform(0.4, 0.9, 3))
        parts.append(
            ellipsoid((float(at[0]), float(at[1]), high), (radii[0], radii[1], radii[2] * 0.9), reflectivity=leaf, density_per_m=density)
        )
        parts.append(capsule(top, (float(at[0]), float(at[1]), high), radius * 0.3, reflectivity=0.2))
    return _other("tree", parts)


def bush(rng: Rng) -> Thing:
    """A bush: soft balls on the ground, as low as a kerb or as high as a person."""
    size, density, leaf = float(rng.uniform(0.25, 1.1)), float(rng.uniform(1.5, 10.0)), float(rng.uniform(0.2, 0.6))
    parts = []
    for _ in range(int(rng.integers(1, 5))):
        at, radii = rng.normal(0.0, 0.4 * size, 2), size * rng.uniform(0.5, 1.0, 3)
        where = (float(at[0]), float(at[1]), float(radii[2]) * 0.7)
        parts.append(ellipsoid(where, (float(radii[0]), float(radii[1]), float(radii[2])), reflectivity=leaf, density_per_m=density))
    return _other("bush", parts)


def hedge(rng: Rng, length_m: float = 0.0) -> Thing:
    """A hedge along x: a soft box with soft bulges."""
    length = length_m or float(rng.uniform(2.0, 12.0))
    wide, high, leaf = float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.6, 2.2)), float(rng.uniform(0.2, 0.6))
    parts = [
        box((0.0, 0.0, high / 2), (length, wide, high), (0.1, 0.1, 0.1), reflectivity=leaf, density_per_m=float(rng.uniform(4.0, 12.0)))
    ]
    for x in np.arange(-length / 2 + 0.5, length / 2, 1.2):
        z, r = float(rng.uniform(0.3, 0.9)) * high, float(rng.uniform(0.2, 0.5))
        parts.append(ellipsoid((float(x), float(rng.choice([-0.5, 0.5])) * wide, z), (r, r * 0.6, r), reflectivity=leaf, density_per_m=5.0))
    return _other("hedge", parts)


def wall(rng: Rng, length_m: float = 0.0, height_m: float = 0.0) -> Thing:
    """A wall along x."""
    length, height = length_m or float(rng.uniform(2.0, 20.0)), height_m or float(rng.uniform(0.5, 3.0))
    size = (length, float(rng.uniform(0.15, 0.4)), height + _SUNK_M)
    return _other("wall", [box((0.0, 0.0, (height - _SUNK_M) / 2), size, reflectivity=float(rng.uniform(0.2, 0.7)))])


def building(rng: Rng, length_m: float = 0.0) -> Thing:
    """A facade along x that faces -y, with doors and windows set back, pillars and sometimes a step or balcony."""
    length, height = length_m or float(rng.uniform(6.0, 25.0)), float(rng.uniform(3.0, 14.0))
    deep, bay, stone = float(rng.uniform(4.0, 10.0)), float(rng.uniform(1.5, 3.5)), float(rng.uniform(0.2, 0.7))
    recess, bays = float(rng.uniform(0.1, 0.7)), max(2, round(length / bay))
    parts = [
        box((0.0, recess + deep / 2, (height - _SUNK_M) / 2), (length, deep, height + _SUNK_M), reflectivity=stone * 0.8),
        box((0.0, recess / 2, 0.1), (length, recess, 1.2), reflectivity=stone),
    ]
    for i in range(bays + 1):
        x = -length / 2 + i * length / bays
        parts.append(box((x, recess / 2, (height - _SUNK_M) / 2), (bay * 0.35, recess, height + _SUNK_M), reflectivity=stone))
        if rng.random() < 0.1:
            parts.append(box((x + bay / 2, -0.5, 3.2), (bay, 1.0, 1.0), reflectivity=stone, opacity=0.7))
    parts += [box((0.0, recess / 2, z), (length, recess, 0.8), reflectivity=stone) for z in np.arange(2.9, height, 2.8)]
    return _other("building", parts)


def fence(rng: Rng, length_m: float = 0.0) -> Thing:
    """A fence along x: posts, with rails, palings or wire between them."""
    length, height = length_m or float(rng.uniform(3.0, 15.0)), float(rng.uniform(0.8, 2.0))
    parts = [cylinder((float(x), 0.0, height / 2), 0.04, height, reflectivity=0.3) for x in np.arange(-length / 2, length / 2 + 0.1, 2.0)]
    style = rng.choice(["rails", "wire", "palings"])
    if style == "rails":
        parts += [box((0.0, 0.0, float(z)), (length, 0.04, 0.1), reflectivity=0.35) for z in np.linspace(0.35, height - 0.1, 3)]
    else:
        opacity = float(rng.uniform(0.05, 0.25)) if style == "wire" else float(rng.uniform(0.5, 0.9))
        parts.append(box((0.0, 0.0, height / 2), (length, 0.03, height), reflectivity=0.35, opacity=opacity))
    return _other("fence", parts)


def barrier(rng: Rng, length_m: float = 0.0) -> Thing:
    """A crash barrier along x: a steel rail on posts, or concrete."""
    length = length_m or float(rng.uniform(4.0, 30.0))
    if rng.random() < 0.4:
        return _other("barrier", [box((0.0, 0.0, 0.4), (length, 0.6, 0.8), (0.0, 0.0, 0.25), reflectivity=0.5)])
    parts = [box((0.0, 0.0, 0.6), (length, 0.08, 0.3), reflectivity=0.5)]
    return _other("barrier", parts + [box((float(x), 0.08, 0.35), (0.1, 0.1, 0.7)) for x in np.arange(-length / 2, length / 2, 3.0)])


def bollard(rng: Rng) -> Thing:
    """A bollard, with or without a ball on top."""
    height, radius = float(rng.uniform(0.5, 1.1)), float(rng.uniform(0.05, 0.2))
    return _other("bollard", [
        cylinder((0.0, 0.0, height / 2), radius, height, reflectivity=float(rng.uniform(0.1, 1.2))),
        ellipsoid((0.0, 0.0, height), (radius * 1.1, radius * 1.1, radius * float(rng.uniform(0.3, 1.2))), reflectivity=0.3),
    ])  # fmt: skip


def cone(rng: Rng) -> Thing:
    """A traffic cone: foot, tapering body, shining band."""
    height = float(rng.uniform(0.45, 0.9))
    slope = 0.13 / height
    return _other("cone", [
        box((0.0, 0.0, 0.02), (0.38, 0.38, 0.04), reflectivity=0.2),
        box((0.0, 0.0, height / 2), (0.3, 0.3, height), (slope, slope, slope), reflectivity=0.4),
        box((0.0, 0.0, height * 0.6), (0.2, 0.2, height * 0.2), (slope, slope, slope), reflectivity=2.0),
    ])  # fmt: skip


def bin_(rng: Rng) -> Thing:
    """A dustbin on wheels, a large container, or a round litter bin."""
    style = rng.choice(["wheeled", "container", "round"])
    if style == "round":
        return _other("bin", [cylinder((0.0, 0.0, 0.45), float(rng.uniform(0.18, 0.3)), 0.9, reflectivity=0.3)])
    size = (0.6, 0.55, 1.05) if style == "wheeled" else (1.2, float(rng.uniform(1.0, 2.2)), float(rng.uniform(1.1, 1.6)))
    lid = box((0.0, 0.0, size[2] + 0.03), (size[0] + 0.06, size[1] + 0.06, 0.08), reflectivity=0.2)
    return _other("bin", [box((0.0, 0.0, size[2] / 2), size, (-0.06, -0.02, -0.04), reflectivity=float(rng.uniform(0.1, 0.5))), lid])


def boxes(rng: Rng) -> Thing:
    """A pile of boxes or pallets."""
    parts, base = [], float(rng.uniform(0.4, 1.2))
    for level in range(int(rng.integers(1, 4))):
        for _ in range(int(rng.integers(1, 4))):
            at = rng.normal(0.0, 0.4 * base, 2)
            size = (base * float(rng.uniform(0.6, 1.2)), base * float(rng.uniform(0.6, 1.2)), base * 0.8)
            where = (float(at[0]), float(at[1]), (level + 0.5) * base * 0.8)
            parts.append(box(where, size, yaw_rad=float(rng.uniform(0.0, math.pi)), reflectivity=float(rng.uniform(0.2, 0.7))))
    return _other("boxes", parts)


def overhead(width_m: float, clear_m: float, thick_m: float, deep_m: float) -> Thing:
    """A beam or deck across the road (along y) that vehicles pass under."""
    return _other("overhead", [box((0.0, 0.0, clear_m + thick_m / 2), (deep_m, width_m, thick_m), reflectivity=0.4)])


def speed_bump(width_m: float, height_m: float = 0.08) -> Thing:
    """A rounded bump across the road (along y); it counts as ground."""
    return Thing("speed_bump", LABEL_GROUND, (ellipsoid((0.0, 0.0, 0.0), (0.45, width_m / 2, height_m), reflectivity=0.3),))


POINT_LIKE = (pole, street_light, sign, tree, bush, bollard, cone, bin_, boxes)
"""Builders of things that need little room."""
LONG = (hedge, wall, fence, barrier)
"""Builders of things along x."""
