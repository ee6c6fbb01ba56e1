"""Scenes whose truth is known: a spinning sensor over a ground of any shape, with boxes standing on it."""

import math

import numpy as np

from edge.lidar.look import Look, Points
from edge.lidar.settings import Mount, ScanSettings, Vehicle
from edge.messages import Scan

HEIGHT = 1.8
CAR, BUS, WALL, WALKER, LORRY = (4.5, 1.8, 1.5), (12.0, 2.5, 3.2), (30.0, 0.3, 2.5), (0.6, 0.6, 1.75), (8.0, 2.5, 2.6)


def settings(height=HEIGHT, **changes):
    """What a pipeline file would say when it says nothing."""
    defaults = {
        "mount": Mount(x_m=0.0, y_m=0.0, z_m=height, roll_rad=0.0, pitch_rad=0.0, yaw_rad=0.0),
        "vehicle": Vehicle(front_m=2.0, rear_m=2.0, width_m=1.9),
        "x_m": (-60.0, 80.0),
        "y_m": (-50.0, 50.0),
        "z_m": (-8.0, 10.0),
        "self_m": 0.2,
        "range_m": (0.5, 100.0),
        "intensity_min": 0.0,
        "slope_max": 0.2,
        "ground_step_m": 0.12,
        "obstacle_m": 0.3,
        "object_m": 0.5,
        "clearance_m": 2.6,
        "voxel_m": 0.1,
        "cell_m": 0.2,
        "gap_m": 0.35,
        "gap_per_m": 0.008,
        "points_min": 5,
        "objects_max": 256,
        "sectors": 12,
        "max_points": 120_000,
    }
    return ScanSettings(**(defaults | changes))


def scan_of(points, fields=("x", "y", "z"), i=0):
    return Scan(np.ascontiguousarray(points, np.float32), fields, i, i * 100_000_000, 0)


def looked(points, height=HEIGHT, **changes):
    """One look at points of the vehicle frame, under a level sensor."""
    wanted = settings(height, **changes)
    look = Look(wanted, Points(wanted.max_points))
    look.take(scan_of(points - [0, 0, height]))
    return look


def flat(x, y):
    return 0.0 * x


def _on_ground(ground, rays, height):
    """Distance along each ray to the ground, by steps and halving; inf where it is not met within 100 m."""

    def above(t):
        return height + t * rays[:, 2] - ground(t * rays[:, 0], t * rays[:, 1])

    low, high = np.zeros(len(rays)), np.full(len(rays), np.inf)
    for t in np.arange(1.0, 100.0, 1.0):
        met = np.isinf(high) & (above(np.full(len(rays), t)) <= 0)
        high[met] = t
        low[np.isinf(high)] = t
    seen = np.isfinite(high)
    end = np.where(seen, high, low)
    for _ in range(20):
        middle = 0.5 * (low + end)
        under = above(middle) <= 0
        low, end = np.where(under, low, middle), np.where(under, middle, end)
    return np.where(seen, end, np.inf)


def _on_box(box, z, rays, height):
    x, y, yaw, (length, width, tall) = box
    c, s = math.cos(yaw), math.sin(yaw)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    start = turn @ np.array([-x, -y, height])
    direction = rays @ turn.T
    least = np.array([-length / 2, -width / 2, z - 0.3])  # an inclined road's box starts below it
    most = np.array([length / 2, width / 2, z + tall])
    with np.errstate(divide="ignore"):
        a, b = (least - start) / direction, (most - start) / direction
    near, far = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
    return np.where((near <= far) & (near > 0), near, np.inf)


def cast(ground, boxes=(), *, height=HEIGHT, beams=48, columns=720, noise=0.01, seed=0):
    """Points of one turn in the vehicle frame, float64 (n, 3), and the box that each lies on, -1 for the ground.

    Args:
        ground: heights of the ground from arrays of x and y.
        boxes: (x, y, yaw, (length, width, height)) of each; they stand on the ground under their centres.
    """
    elevation = np.radians(np.linspace(-24.0, 6.0, beams))[:, None]
    azimuth = (np.arange(columns) + 0.37) * (2 * math.pi / columns)
    shape = (beams, columns)
    rays = np.stack(
        [
            np.broadcast_to(np.cos(elevation) * np.cos(azimuth), shape),
            np.broadcast_to(np.cos(elevation) * np.sin(azimuth), shape),
            np.broadcast_to(np.sin(elevation), shape),
        ],
        axis=2,
    ).reshape(-1, 3)
    distance, owner = _on_ground(ground, rays, height), np.full(len(rays), -1)
    for k, box in enumerate(boxes):
        base = float(ground(np.array([box[0]]), np.array([box[1]]))[0])
        hit = _on_box(box, base, rays, height)
        nearer = hit < distance
        distance[nearer], owner[nearer] = hit[nearer], k
    seen = np.isfinite(distance) & (distance < 95.0)
    distance = distance[seen] + np.random.default_rng(seed).normal(0, noise, int(seen.sum()))
    return rays[seen] * distance[:, None] + [0, 0, height], owner[seen]
