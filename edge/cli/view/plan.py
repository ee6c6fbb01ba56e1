"""What is drawn of a scan, in metres: which part of the ground, outlines, the path, free space. Knows no pixels and no colours."""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from edge.kernels.collision import MIN_SPEED, STRAIGHT, TIGHTEST
from edge.lidar.chain import Scene
from edge.lidar.channels import FIRST, channels
from edge.lidar.ego import Ego
from edge.lidar.settings import ScanSettings
from edge.lidar.vehicle import Vehicle

F64 = npt.NDArray[np.float64]

_STEP_M = 10.0  # of what fits, and of the range rings
_SHARE = 99.0  # percent of the points that fit: the last few are far reflections
_ARC = 16  # points of a sector's edge
_PATH_STEP_M = 0.5
_SURE = 2.0  # standard deviations that a speed must exceed, or it is not shown
_SLOW_MPS = 0.5


class Window(msgspec.Struct, frozen=True):
    """A rectangle of the ground, and where its points lie on a canvas: forward is up, left is left.

    Args:
        x_m, y_m: lowest and highest, vehicle frame.
        per_m: pixels per metre.
    """

    x_m: tuple[float, float]
    y_m: tuple[float, float]
    per_m: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the canvas."""
        return math.ceil((self.y_m[1] - self.y_m[0]) * self.per_m), math.ceil((self.x_m[1] - self.x_m[0]) * self.per_m)

    def place(self, xy: npt.ArrayLike) -> F64:
        """Metres (n, >= 2) to column and row (n, 2)."""
        points = np.asarray(xy, np.float64)
        return np.column_stack([self.y_m[1] - points[:, 1], self.x_m[1] - points[:, 0]]) * self.per_m


def reach(scene: Scene) -> float:
    """How far around the vehicle to look so that nearly all points of the region are seen, m; a multiple of 10."""
    points = scene.look.memory.cropped[: scene.look.n, :2]
    farthest = np.percentile(np.abs(points).max(axis=1), _SHARE) if len(points) else 0.0
    return _STEP_M * max(math.ceil(farthest / _STEP_M), 1)


def span(settings: ScanSettings, reach_m: float | None) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lowest and highest x and y of what is shown: the region, or the part of it within ``reach_m``."""
    if reach_m is None:
        return settings.x_m, settings.y_m
    (x0, x1), (y0, y1) = settings.x_m, settings.y_m
    return (max(x0, -reach_m), min(x1, reach_m)), (max(y0, -reach_m), min(y1, reach_m))


def rectangle(x_m: tuple[float, float], y_m: tuple[float, float]) -> F64:
    """Four corners."""
    return np.array([[x_m[0], y_m[0]], [x_m[1], y_m[0]], [x_m[1], y_m[1]], [x_m[0], y_m[1]]])


def outline(vehicle: Vehicle) -> F64:
    """Of the vehicle, four corners."""
    half = 0.5 * vehicle.width_m
    return rectangle((-vehicle.rear_m, vehicle.front_m), (-half, half))


def corners(boxes: npt.NDArray[np.float32]) -> F64:
    """The footprints of boxes (n, 8), (n, 4, 2)."""
    along, across = boxes[:, 3:4] * [0.5, 0.5, -0.5, -0.5], boxes[:, 4:5] * [0.5, -0.5, -0.5, 0.5]
    c, s = np.cos(boxes[:, 6:7]), np.sin(boxes[:, 6:7])
    return np.stack([boxes[:, 0:1] + c * along - s * across, boxes[:, 1:2] + s * along + c * across], axis=2).astype(np.float64)


def corridor(vehicle: Vehicle, ego: Ego, length_m: float) -> F64:
    """What the vehicle will pass over, from the front bumper on: a closed outline.

    Args:
        vehicle: its size.
        ego: its motion; without a speed the path is straight.
        length_m: of the path.
    """
    turn = ego.yaw_rate_radps if math.isfinite(ego.yaw_rate_radps) and math.isfinite(ego.speed_mps) else 0.0
    speed = ego.speed_mps if math.isfinite(ego.speed_mps) else 0.0
    bend = min(max(turn / max(abs(speed), MIN_SPEED), -TIGHTEST), TIGHTEST)
    along = np.arange(vehicle.front_m, max(length_m, vehicle.front_m) + _PATH_STEP_M, _PATH_STEP_M)
    if abs(bend) > STRAIGHT:
        along = along[np.abs(along * bend) < 0.5 * math.pi]
        angle = along * bend
        x, y = np.sin(angle) / bend, (1 - np.cos(angle)) / bend
    else:
        angle, x, y = np.zeros(len(along)), along, np.zeros(len(along))
    half = 0.5 * vehicle.width_m + vehicle.margin_m
    off = np.column_stack([-np.sin(angle), np.cos(angle)]) * half
    middle = np.column_stack([x, y])
    return np.concatenate([middle + off, (middle - off)[::-1]])


def free_space(scene: Scene, settings: ScanSettings) -> F64:
    """The outline of what is known to be free, sector by sector."""
    free = scene.row[len(FIRST) + settings.sectors :].astype(np.float64)
    wide = 2 * math.pi / settings.sectors
    angles = (np.arange(settings.sectors)[:, None] + np.linspace(-0.5, 0.5, _ARC)) * wide
    return np.stack([free[:, None] * np.cos(angles), free[:, None] * np.sin(angles)], axis=2).reshape(-1, 2)


def moving(scene: Scene) -> npt.NDArray[np.intp]:
    """The tracks that were seen in this scan and surely move."""
    tracks = scene.tracks
    speed = np.hypot(*tracks.velocity.T)
    return np.flatnonzero(tracks.is_confirmed & (tracks.misses == 0) & (speed > np.maximum(_SURE * tracks.velocity_sd, _SLOW_MPS)))


def facts(scene: Scene, settings: ScanSettings) -> dict[str, float]:
    """The row by its names."""
    return dict(zip(channels(settings.sectors), scene.row.tolist(), strict=True))


def ground_error(scene: Scene, within_m: float = 12.0) -> float:
    """How far the ground near the vehicle lies above where the mount says that it is, m; 0 where none was seen."""
    memory, n = scene.look.memory, scene.look.n
    points = memory.cropped[:n]
    near = (memory.kind[:n] == 0) & (np.hypot(points[:, 0], points[:, 1]) < within_m)
    return float(np.median(points[near, 2])) if near.any() else 0.0
