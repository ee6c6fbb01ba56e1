"""Labelled clusters out of simulated scenes: what the runtime's own code finds in a turn, and what it truly was."""

import math
from collections.abc import Iterable

import msgspec
import numpy as np
from _common import Array

from edge.config.lidar import Lidar, LidarMount, scan_settings
from edge.lidar.look import Look, Points
from edge.messages import Scan
from firmware_bridge.simulator import (
    LABEL_GROUND,
    LABEL_OTHER,
    LABEL_VEHICLE,
    LABEL_VULNERABLE,
    PRESETS,
    random_ego,
    random_scene,
    scan,
    vary,
    vary_mount,
)

FIELDS = ("x", "y", "z", "intensity")
MOST_POINTS = 600_000
PURE = 0.7  # share of a cluster's points that must be of one class for it to be learnt from
TRAINED_ON = ("vlp16", "spin32", "spin64", "spin128")
NEVER_SEEN = "spin40"
_CLASS = {LABEL_VEHICLE: 0, LABEL_VULNERABLE: 1, LABEL_OTHER: 2, LABEL_GROUND: 2}


class Clusters(msgspec.Struct):
    """Clusters of many turns.

    Args:
        shapes: float32 (n, F), see edge.lidar.shape.
        label: int (n,), index into its labels.
        points, distance: of each cluster, and metres from the vehicle.
        is_ground: bool (n,): most of its points lie on the ground, or nowhere: a false obstacle.
        scene: int (n,), the seed it is from.
    """

    shapes: Array
    label: Array
    points: Array
    distance: Array
    is_ground: Array
    scene: Array

    def where(self, chosen: Array) -> "Clusters":
        """Some of them."""
        return Clusters(*(getattr(self, name)[chosen] for name in self.__struct_fields__))


def joined(parts: Iterable[Clusters]) -> Clusters:
    """Several as one."""
    parts = list(parts)
    return Clusters(*(np.concatenate([getattr(part, name) for part in parts]) for name in Clusters.__struct_fields__))


def clusters_of(seed: int) -> Clusters:
    """What is found in one turn of one scene, with a sensor of its own; even seeds are looked at closely, odd ones cheaply."""
    rng = np.random.default_rng(seed)
    scene = random_scene(rng)
    # Every seventh scene is kept for the test; some of those are seen by a sensor of a kind that training has not.
    kind = NEVER_SEEN if is_test(seed) and seed % 2 else str(rng.choice(TRAINED_ON))
    sensor, mount, ego = vary(PRESETS[kind], rng), vary_mount(rng), random_ego(rng, scene)
    turn = scan(sensor, mount, ego, scene.ground, scene.parts(0.0), seed)
    degrees = {f"{name}_deg": math.degrees(getattr(mount, f"{name}_rad")) for name in ("roll", "pitch", "yaw")}
    # The mount is known as well as people measure: the angles not at all.
    table = Lidar(mount=LidarMount(x_m=mount.x_m, y_m=mount.y_m, z_m=round(mount.z_m, 1), yaw_deg=degrees["yaw_deg"]))
    settings = scan_settings(table, MOST_POINTS)
    is_cheap = rng.random() < 0.25
    look = Look(settings.reduced() if is_cheap else settings, _memory(), stride=2 if is_cheap else 1)
    n = look.take(Scan(turn.points, FIELDS, seed, seed, 0))
    owner = look.owners()
    rows = look.memory.source[: look.n][owner >= 0]
    owner = owner[owner >= 0]
    counts = np.zeros((n, 4), int)
    np.add.at(counts, (owner, turn.label[rows]), 1)
    stray = np.bincount(owner[turn.instance[rows] < 0], minlength=n)
    total = counts.sum(axis=1)
    top = counts.argmax(axis=1)
    chosen = (total > 0) & (counts.max(axis=1) >= PURE * total)
    label = np.array([_CLASS[int(one)] for one in top], int).reshape(n)
    is_ground = (top == LABEL_GROUND) | (stray > total / 2)
    found = Clusters(look.shapes[:n].copy(), label, total, look.boxes[:n, 7].copy(), is_ground, np.full(n, seed))
    return found.where(chosen)


def is_test(seed: int) -> bool:
    """Whether a scene is held out."""
    return seed % 7 == 6


_kept: list[Points] = []


def _memory() -> Points:
    if not _kept:
        _kept.append(Points(MOST_POINTS))
    return _kept[0]
