"""The recipe of a scan: look, classify, follow, sum up. Reads top to bottom like a list; does no input or output and reads no clock."""

import math
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from edge.kernels.lidar_rectangle import B_X, BOX_SIZE
from edge.lidar.channels import channels
from edge.lidar.ego import Ego
from edge.lidar.look import Look, Points
from edge.lidar.settings import ScanSettings
from edge.lidar.shape import LABELS
from edge.lidar.summary import OTHER, Summary
from edge.lidar.tracks import Tracker, Tracks, TrackSettings
from edge.messages import Scan

F32 = npt.NDArray[np.float32]
Classify = Callable[[F32, int], F32]


class Scene(msgspec.Struct, gc=False):
    """What a scan was found to be; views of memory that the next scan overwrites.

    Args:
        look: points, kinds, clusters, boxes and shapes.
        boxes: float32 (m, 8): x, y, z of the centre, length, width, height (m), yaw (rad), distance from the vehicle (m).
        probabilities: float32 (m, 3): vehicle, vulnerable, other.
        classes: (m,), the likeliest.
        tracks: the objects that are followed.
        row: float32 (C,), see edge.lidar.summary.
    """

    look: Look
    boxes: F32
    probabilities: F32
    classes: npt.NDArray[np.intp]
    tracks: Tracks
    row: F32


class ScanChain:
    """From scans to objects, for any number of lanes.

    Args:
        settings: what is looked for.
        lanes: devices whose tracks are kept.
        classify: shapes float32 (objects_max, F) and how many count, to probabilities float32 (>= n, 3); None: everything is "other".

    Attributes:
        channels: names and units of a row.
    """

    def __init__(self, settings: ScanSettings, lanes: int, classify: Classify | None = None) -> None:
        self.settings = settings
        self.channels = channels(settings.sectors)
        memory = Points(settings.max_points)
        # Every second point: the points that are read are what a cheaper look must save, they take half of the time.
        self._full, self._reduced = Look(settings, memory), Look(settings.reduced(), memory, stride=2, full=settings)
        self._classify = classify
        self._unknown = np.zeros((settings.objects_max, len(LABELS)), np.float32)
        self._unknown[:, OTHER] = 1.0
        mount = settings.mount
        follow = TrackSettings(sensor_x_m=mount.x_m, sensor_y_m=mount.y_m)
        self.tracker = Tracker(lanes, settings.objects_max, settings.objects_max, follow, settings.vehicle)
        self._tracked = np.zeros((settings.objects_max, BOX_SIZE), np.float32)
        self._summary = Summary(settings)

    def run(self, scan: Scan, lane: int, ego: Ego, *, is_reduced: bool = False) -> Scene:
        """Take a scan all the way.

        Args:
            scan: admitted; at most ``max_points`` points.
            lane: whose.
            ego: the vehicle's motion.
            is_reduced: look at half of the points in half of the region, with coarser voxels.
        """
        look, summary = self._reduced if is_reduced else self._full, self._summary
        n = look.take(scan)
        boxes = look.boxes[:n]
        probabilities = (self._unknown if self._classify is None else self._classify(look.shapes, n))[:n]
        classes = probabilities.argmax(axis=1)
        # A structure is no object that moves: it is met point by point, and has no track.
        self._tracked[:n] = boxes
        self._tracked[:n, B_X][look.structure[:n] > 0] = np.nan
        tracks = self.tracker.update(lane, self._tracked, probabilities, n, scan.stamp_ns, ego.speed_mps, ego.yaw_rate_radps)
        memory = look.memory
        tracks.path.meet(memory.voxels, memory.cluster, memory.object_of, look.structure, look.thinned)
        look.sectors(summary.nearest, summary.free)
        summary.fill(boxes, classes, tracks, (look.n, look.ground_points, look.found), is_ego_known=math.isfinite(ego.speed_mps))
        return Scene(look, boxes, probabilities, classes, tracks, summary.row)

    @property
    def dropped(self) -> int:
        """Objects for which there was no place, since the start."""
        return self._full.dropped + self._reduced.dropped

    def reset(self, lane: int) -> None:
        """Forget the objects of a lane."""
        self.tracker.reset(lane)
