"""One look at a scan, from points to boxes: crop, ground, obstacles, voxels, clusters, shapes. Owns the memory; allocates none per scan."""

import numpy as np
import numpy.typing as npt

from edge.kernels.lidar_boxes import SHAPE_SIZE, describe_clusters
from edge.kernels.lidar_clusters import FREE, connect_cells
from edge.kernels.lidar_crop import G_INTENSITY_MIN, G_RANGE_MIN, G_SELF_X_MIN, G_SIZE, G_X_MIN, RINGS, SECTORS, crop_points
from edge.kernels.lidar_ground import NOISE, S_SIZE, estimate_ground, split_points
from edge.kernels.lidar_rectangle import BOX_SIZE
from edge.kernels.lidar_sectors import sector_distances
from edge.kernels.voxels import EMPTY, voxel_downsample
from edge.lidar.settings import ScanSettings
from edge.messages import Scan

_BELOW_M = 1.0  # what is farther below the ground is a reflection, not ground
_TALL_M = 10.0  # the vehicle's own points end here
_INTENSITY = "intensity"
# Rain and dust, in edges of a voxel: drops come one at a time, and near the sensor there are enough of them to be joined to walls. A
# surface gives a voxel two points up to 70 edges away, and more than one up to 120, from columns that are 0.4 degrees apart, which is
# coarse. Where drops end (15 m), that rule ends.
_LONELY, _RAINY = 70, 150

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]


class _Unlocked:
    """Points of a message, which are read-only, for kernels, which are compiled for arrays that are not and do not write to them."""

    def __init__(self, points: F32) -> None:
        self._kept = points
        self.__array_interface__ = {**points.__array_interface__, "data": (points.ctypes.data, False)}


class Points:
    """Memory for the points of the largest scan; shared by looks that are taken one after the other.

    Args:
        most: points.
    """

    def __init__(self, most: int) -> None:
        cells = SECTORS * RINGS
        self.cropped, self.obstacles, self.voxels = (
            np.empty((most, 3), np.float32),
            np.empty((most, 4), np.float32),
            np.empty((most, 4), np.float32),
        )
        self.height, self.near = np.empty(most, np.float32), np.empty(most, np.float32)
        self.kind = np.empty(most, np.uint8)
        self.source, self.cell, self.place, self.of, self.counts = (np.empty(most, np.int32) for _ in range(5))
        self.used, self.parent, self.cluster, self.order, self.object_of = (np.empty(most, np.int32) for _ in range(5))
        self.first = np.empty(most + 1, np.int32)
        self.keys = np.full(1 << (2 * most).bit_length(), EMPTY, np.int64)
        self.values = np.empty(len(self.keys), np.int32)
        self.lowest, self.walked, self.ground = np.empty((2, cells), np.float32), np.empty(cells, np.float32), np.empty(cells, np.float32)
        self.evidence = np.empty(cells, np.uint8)


class Look:
    """From a scan to boxes, with one set of settings.

    Args:
        settings: what is looked for.
        memory: for the points.
        stride: 2 looks at every second point.
        full: what "nothing" is called after, and how far rain is told apart, where this is the cheaper of two looks.

    Attributes:
        n, found, thinned, clusters, objects: points in the region, obstacle points, voxels, clusters and objects of the last scan.
        boxes: float32 (objects_max, 8), see edge.kernels.lidar_boxes.
        shapes: float32 (objects_max, F), see edge.lidar.shape.
        structure: uint8 (objects_max,): 1 for walls and the like, whose boxes say nothing of where they are.
        dropped: objects for which there was no place, since the start.
    """

    def __init__(self, settings: ScanSettings, memory: Points, stride: int = 1, full: ScanSettings | None = None) -> None:
        self.settings, self.memory, self._stride = settings, memory, stride
        full = full or settings
        self.mount = settings.mount.matrix()
        self.scale = np.float32(RINGS / settings.range_m[1] ** 0.5)
        self.n = self.found = self.thinned = self.clusters = self.objects = 0
        most = settings.objects_max
        self.boxes: F32 = np.zeros((most, BOX_SIZE), np.float32)
        self.structure = np.zeros(most, np.uint8)
        self.dropped = 0
        self.shapes: F32 = np.zeros((most, SHAPE_SIZE), np.float32)
        vehicle, own = settings.vehicle, settings.self_m
        half = 0.5 * vehicle.width_m
        self._gates = np.zeros(G_SIZE, np.float32)
        self._gates[G_RANGE_MIN : G_RANGE_MIN + 2] = settings.range_m
        self._gates[G_INTENSITY_MIN] = settings.intensity_min
        self._gates[G_X_MIN : G_X_MIN + 6] = (*settings.x_m, *settings.y_m, *settings.z_m)
        self._gates[G_SELF_X_MIN : G_SELF_X_MIN + 6] = (
            *(-vehicle.rear_m - own, vehicle.front_m + own),
            *(-half - own, half + own),
            *(-_TALL_M, _TALL_M),
        )
        self._ground = np.zeros(S_SIZE, np.float32)
        self._ground[:] = (settings.slope_max, settings.ground_step_m, _BELOW_M, settings.obstacle_m, settings.clearance_m)
        self._outline = np.array([-vehicle.rear_m, vehicle.front_m, -half, half], np.float32)
        self._limits = np.array([settings.object_m, settings.voxel_m], np.float32)
        self._grid_shape = settings.grid_shape
        self._grid = np.full(self._grid_shape[0] * self._grid_shape[1], FREE, np.int32)
        axis_x, axis_y = self.mount[0, 3], self.mount[1, 3]
        corner = (settings.x_m[0], settings.y_m[0], 1 / settings.cell_m)
        rain = (_LONELY * full.voxel_m, _RAINY * full.voxel_m, stride)
        self._grid_of = np.array([*corner, settings.gap_m, settings.gap_per_m, axis_x, axis_y, *rain], np.float32)
        self._least = max(settings.points_min // stride, min(settings.points_min, 2))
        self._place = np.array([axis_x, axis_y, full.range_m[1]], np.float32)
        self._columns = np.zeros(4, np.int64)
        self._fields: tuple[str, ...] = ()

    def take(self, scan: Scan) -> int:
        """Look at a scan.

        Args:
            scan: at most ``max_points`` points, float32, C-contiguous; columns x, y, z, and intensity if there is one.

        Returns:
            How many objects there are; their boxes and shapes are in the first rows.

        Raises:
            ValueError: more points than there is memory for.
        """
        memory, settings = self.memory, self.settings
        points = np.ascontiguousarray(scan.points, np.float32)  # which they are, but for scans that came past the gate
        if not points.flags.writeable:
            points = np.asarray(_Unlocked(points))
        if len(points) > len(memory.kind):
            raise ValueError(f"{len(points)} points; there is memory for {len(memory.kind)}")
        if scan.fields != self._fields:
            self._columns[:] = [scan.fields.index(name) for name in ("x", "y", "z")] + [
                scan.fields.index(_INTENSITY) if _INTENSITY in scan.fields and settings.intensity_min > 0 else -1
            ]
            self._fields = scan.fields
        m, axis_x, axis_y = memory, self._place[0], self._place[1]
        self.n = crop_points(
            points, len(points), self._stride, self._columns, self.mount, self._gates, self.scale, m.cropped, m.source, m.cell, m.lowest
        )
        estimate_ground(m.lowest, self.scale, self._ground, m.walked, m.ground, m.evidence)
        self.found = split_points(
            m.cropped, m.cell, self.n, m.ground, self.scale, axis_x, axis_y, self._ground, m.height, m.kind, m.obstacles, m.place
        )
        edge_m = np.float32(settings.voxel_m)
        self.thinned = voxel_downsample(m.obstacles, self.found, edge_m, m.keys, m.values, m.used, m.voxels, m.counts, m.of)
        least, (nx, ny) = self._least, self._grid_shape
        self.clusters = connect_cells(
            m.voxels, m.counts, self.thinned, self._grid_of, nx, ny, least, self._grid, m.used, m.parent, m.first, m.cluster, m.order
        )
        self.objects = describe_clusters(
            m.voxels,
            m.order,
            m.first,
            self.clusters,
            self._outline,
            self._limits,
            len(self.boxes),
            m.near,
            self.boxes,
            self.shapes,
            self.structure,
            m.object_of,
        )
        self.dropped += int(np.count_nonzero(m.near[: self.clusters] >= 0)) - self.objects
        return self.objects

    def sectors(self, nearest: F32, free: F32) -> None:
        """Distances around the vehicle after ``take``; see edge.kernels.lidar_sectors."""
        m = self.memory
        sector_distances(m.voxels, m.cluster, m.object_of, self.thinned, m.evidence, self.scale, self._place, nearest, free)

    @property
    def ground_points(self) -> int:
        """How many points of the region were on the ground."""
        return self.n - int(np.count_nonzero(self.memory.kind[: self.n]))

    def owners(self) -> I32:
        """The object of every point of the region, int32 (n,), -1 for none; what belongs to no cluster is marked as noise.

        Not for the hot path.
        """
        m = self.memory
        owner = np.full(self.n, -1, np.int32)
        cluster = m.cluster[m.of[: self.found]]
        rows = m.place[: self.found]
        is_clustered = cluster >= 0
        owner[rows[is_clustered]] = m.object_of[cluster[is_clustered]]
        m.kind[rows[~is_clustered]] = NOISE
        return owner
