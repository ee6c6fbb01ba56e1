"""How a scan is looked at, as plain values in SI units. Defaults are the pipeline file's, see edge.config.lidar."""

import math

import msgspec
import numpy as np
import numpy.typing as npt

from edge.lidar.vehicle import Vehicle

MOST_CELLS = 4_000_000  # of the grid that clusters are found on: 16 MB
MOST_M = 1000.0  # no LIDAR reaches farther, and float32 is exact to 0.1 mm
MOST_REACH = 24  # cells that are looked through to every side, for every cell


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """Where the sensor sits: its place in the vehicle frame, and its axes, turned by roll about x, then pitch about y, then yaw about z.

    Args:
        x_m, y_m, z_m: from the vehicle's origin, which lies on the ground.
        roll_rad, pitch_rad, yaw_rad: right-handed; a positive pitch looks down.
    """

    x_m: float
    y_m: float
    z_m: float
    roll_rad: float
    pitch_rad: float
    yaw_rad: float

    def matrix(self) -> npt.NDArray[np.float32]:
        """Sensor frame to vehicle frame, float32 (3, 4)."""
        cr, sr = math.cos(self.roll_rad), math.sin(self.roll_rad)
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        cy, sy = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        roll = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
        pitch = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
        yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
        place = np.array([[self.x_m], [self.y_m], [self.z_m]])
        return np.ascontiguousarray(np.hstack([yaw @ pitch @ roll, place]), np.float32)


class ScanSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides what a scan becomes.

    Args:
        mount: of the sensor.
        vehicle: its size, and how far ahead it looks.
        x_m, y_m, z_m: the region, lowest and highest, vehicle frame.
        self_m: points within this distance of the vehicle's sides, front and rear are the vehicle's own.
        range_m: least and greatest distance from the sensor.
        intensity_min: points below are left out; unused without an intensity.
        slope_max: steepest ground, rise over run.
        ground_step_m: how uneven it may be from ring to ring.
        obstacle_m: points at least this high above the ground are obstacles.
        object_m: an object's top is at least this high above the ground.
        clearance_m: what is higher does not stand in the way.
        voxel_m: obstacles are thinned out to one point a cube of this edge.
        cell_m: cells of the grid that clusters are found on.
        gap_m, gap_per_m: what connects: so far at the sensor, and so much more per metre of distance.
        points_min: a smaller cluster is noise.
        objects_max: the nearest ones are kept.
        sectors: of free space.
        max_points: largest scan.

    Raises:
        ValueError: sizes that do not make sense together.
    """

    mount: Mount
    vehicle: Vehicle
    x_m: tuple[float, float]
    y_m: tuple[float, float]
    z_m: tuple[float, float]
    self_m: float
    range_m: tuple[float, float]
    intensity_min: float
    slope_max: float
    ground_step_m: float
    obstacle_m: float
    object_m: float
    clearance_m: float
    voxel_m: float
    cell_m: float
    gap_m: float
    gap_per_m: float
    points_min: int
    objects_max: int
    sectors: int
    max_points: int

    def __post_init__(self) -> None:
        for name in ("x_m", "y_m", "z_m", "range_m"):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ValueError(f"{name} is [{low:g}, {high:g}]; a lower and a higher number are due")
        if self.range_m[0] < 0 or self.range_m[1] > MOST_M:
            raise ValueError(f"range_m is [{self.range_m[0]:g}, {self.range_m[1]:g}]; 0 to {MOST_M:g} is possible")
        if self.x_m[1] <= self.vehicle.front_m:
            raise ValueError(
                f"x_m is [{self.x_m[0]:g}, {self.x_m[1]:g}]; it must reach beyond the front of the vehicle, {self.vehicle.front_m:g}"
            )
        reach = (self.gap_m + self.gap_per_m * self.range_m[1]) / self.cell_m
        if reach > MOST_REACH:
            raise ValueError(
                f"gap_m with gap_per_m is up to {reach:.0f} cells of {self.cell_m:g} m; at most {MOST_REACH}, or clusters take for ever"
            )
        cells = self.grid_shape[0] * self.grid_shape[1]
        if cells > MOST_CELLS:
            raise ValueError(
                f"the region has {cells} cells of {self.cell_m:g} m; at most {MOST_CELLS}: a smaller region or a larger cell_m"
            )
        if not self.obstacle_m <= self.object_m < self.clearance_m:
            raise ValueError(
                f"obstacle_m = {self.obstacle_m:g}, object_m = {self.object_m:g}, clearance_m = {self.clearance_m:g}; they must rise"
            )

    @property
    def grid_shape(self) -> tuple[int, int]:
        """Cells of the clusters' grid along x and y."""
        (x0, x1), (y0, y1) = self.x_m, self.y_m
        return int((x1 - x0) / self.cell_m) + 1, int((y1 - y0) / self.cell_m) + 1

    def reduced(self) -> "ScanSettings":
        """The cheaper look: half of the region to every side of the vehicle, coarser voxels and cells."""
        front, rear, side = self.vehicle.front_m, self.vehicle.rear_m, 0.5 * self.vehicle.width_m
        halved = {
            "x_m": (0.5 * (self.x_m[0] - rear), 0.5 * (self.x_m[1] + front)),
            "y_m": (0.5 * (self.y_m[0] - side), 0.5 * (self.y_m[1] + side)),
        }
        coarser = {"voxel_m": 2 * self.voxel_m, "cell_m": 1.5 * self.cell_m}
        reach = max(0.5 * self.range_m[1], 2 * self.range_m[0])
        return msgspec.structs.replace(self, **halved, **coarser, range_m=(self.range_m[0], reach))
