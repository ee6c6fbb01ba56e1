"""What is made of the scans of a LIDAR: the keys under ``streams.NAME.scan``, every default and range once; and as plain settings."""

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edge.lidar.settings import Mount, ScanSettings
from edge.lidar.vehicle import Vehicle

_Angle = Annotated[float, Meta(ge=-180, le=180)]
_Place = Annotated[float, Meta(ge=-1000, le=1000)]
_Span = tuple[float, float]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tables here: immutable, keyword only, unknown keys refused."""


class LidarMount(_Part, frozen=True, kw_only=True):
    """Where the sensor sits in the vehicle frame: x forward, y to the left, z up, origin on the ground under the rear axle."""

    x_m: Annotated[_Place, Meta(description="in front of the rear axle")] = 0.0
    y_m: Annotated[_Place, Meta(description="to the left of the middle")] = 0.0
    z_m: Annotated[_Place, Meta(description="above the ground; half a metre of error is found and taken out")] = 1.8
    roll_deg: Annotated[_Angle, Meta(description="about x; positive lowers the right side")] = 0.0
    pitch_deg: Annotated[_Angle, Meta(description="about y; positive looks down")] = 0.0
    yaw_deg: Annotated[_Angle, Meta(description="about z; positive turns to the left")] = 0.0


class LidarVehicle(_Part, frozen=True, kw_only=True):
    """The size of the vehicle, and how it moves: what is on it is not an obstacle, what is on its path is."""

    front_m: Annotated[float, Meta(gt=0, le=100, description="from the rear axle to the front bumper")] = 3.8
    rear_m: Annotated[float, Meta(ge=0, le=100, description="from the rear axle to the rear bumper")] = 1.0
    width_m: Annotated[float, Meta(gt=0, le=20, description="over all, mirrors included")] = 1.9
    margin_m: Annotated[float, Meta(ge=0, le=10, description="kept free on either side of the path")] = 0.25
    self_m: Annotated[float, Meta(ge=0, le=10, description="points this near to the vehicle's own outline are its own")] = 0.1
    horizon_s: Annotated[float, Meta(gt=0, le=60, description="longest time to collision; also the value of none")] = 5.0
    speed: Annotated[
        str | None, Meta(description="`stream.channel` with the vehicle's speed in m/s, negative in reverse; default: not known")
    ] = None
    yaw_rate: Annotated[
        str | None, Meta(description="`stream.channel` with its yaw rate in rad/s, positive to the left; default: straight")
    ] = None
    max_age_ms: Annotated[float, Meta(gt=0, le=60_000, description="an older speed or yaw rate is not known any more")] = 500.0


class Lidar(_Part, frozen=True, kw_only=True):
    """What is looked for in a scan, see docs/lidar.md."""

    mount: Annotated[LidarMount, Meta(description="of the sensor")] = LidarMount()
    vehicle: Annotated[LidarVehicle, Meta(description="its size and motion")] = LidarVehicle()
    x_m: Annotated[_Span, Meta(description="region that is looked at, lowest and highest, vehicle frame")] = (-30.0, 80.0)
    y_m: Annotated[_Span, Meta(description="the same, to the left")] = (-40.0, 40.0)
    z_m: Annotated[_Span, Meta(description="the same, upwards")] = (-8.0, 10.0)
    range_m: Annotated[_Span, Meta(description="nearest and farthest distance from the sensor")] = (0.5, 100.0)
    intensity_min: Annotated[float, Meta(ge=0, description="weaker points are left out, where a scan has an intensity")] = 0.0
    slope_max: Annotated[float, Meta(gt=0, le=1, description="steepest ground, rise over run")] = 0.2
    ground_step_m: Annotated[float, Meta(gt=0, le=1, description="unevenness of the ground")] = 0.12
    obstacle_m: Annotated[float, Meta(gt=0, le=10, description="points this high above the ground belong to obstacles")] = 0.3
    object_m: Annotated[float, Meta(gt=0, le=10, description="an object reaches at least this high; a kerb does not")] = 0.5
    clearance_m: Annotated[float, Meta(gt=0, le=100, description="what is higher above the ground is passed under")] = 2.6
    voxel_m: Annotated[float, Meta(ge=0.02, le=2, description="obstacles are thinned out to one point a cube of this edge")] = 0.1
    cell_m: Annotated[float, Meta(ge=0.02, le=5, description="cells that are joined to clusters")] = 0.2
    gap_m: Annotated[float, Meta(ge=0, le=5, description="cells this far apart belong together, near the sensor")] = 0.35
    gap_per_m: Annotated[float, Meta(ge=0, le=0.1, description="and so much more per metre of distance")] = 0.008
    points_min: Annotated[int, Meta(ge=1, le=10_000, description="a cluster of fewer points is noise")] = 5
    objects_max: Annotated[int, Meta(ge=1, le=1024, description="of more objects the nearest are kept")] = 256
    sectors: Annotated[int, Meta(ge=1, le=180, description="of free space around the vehicle; the first is straight ahead")] = 12
    coverage_min_deg: Annotated[
        float, Meta(ge=0, le=360, description="a scan that covers less of the turn is cut off; 0: not looked at")
    ] = 0.0
    returns_min: Annotated[
        int, Meta(ge=1, le=4_000_000, description="a scan with fewer points that are finite and not at the origin is refused")
    ] = 1
    on_cut_off: Annotated[
        Literal["reject", "complete"],
        Meta(description="a scan that is cut off is refused, or the directions that it lacks are filled from the last whole one"),
    ] = "reject"
    complete_ms: Annotated[float, Meta(gt=0, le=10_000, description="`complete`: how much older the last whole scan may be")] = 150.0
    classifier: Annotated[
        str | None, Meta(description='folder of a bundle that tells objects apart, such as models/lidar-objects; default: all are "other"')
    ] = None
    classifier_version: Annotated[str, Meta(description="a version's folder name, or `latest`")] = "latest"


def scan_settings(scan: Lidar, max_points: int) -> ScanSettings:
    """The table as plain values.

    Args:
        scan: checked or not.
        max_points: of the stream.

    Raises:
        ValueError: values that do not make sense together.
    """
    mount, vehicle = scan.mount, scan.vehicle
    return ScanSettings(
        mount=Mount(
            x_m=mount.x_m,
            y_m=mount.y_m,
            z_m=mount.z_m,
            roll_rad=math.radians(mount.roll_deg),
            pitch_rad=math.radians(mount.pitch_deg),
            yaw_rad=math.radians(mount.yaw_deg),
        ),
        vehicle=Vehicle(
            front_m=vehicle.front_m,
            rear_m=vehicle.rear_m,
            width_m=vehicle.width_m,
            margin_m=vehicle.margin_m,
            horizon_s=vehicle.horizon_s,
            range_m=scan.range_m[1],
        ),
        self_m=vehicle.self_m,
        max_points=max_points,
        **{name: getattr(scan, name) for name in _SAME},
    )


_SAME = tuple(name for name in ScanSettings.__struct_fields__ if name in Lidar.__struct_fields__ and name not in ("mount", "vehicle"))
