"""Points in the layout of ROS ``sensor_msgs/PointCloud2``: records with named numbers at given offsets.

Knows the layout, not ROS: taking a message apart is the caller's.
Source: https://docs.ros2.org/latest/api/sensor_msgs/msg/PointCloud2.html
"""

import msgspec
import numpy as np

from edge.errors import Reason, Reject
from edge.messages import Scan
from edge.wire.point_table import MAX_BYTES, MAX_POINTS, check_count, check_size, scan_of, shown, wanted

_KINDS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
_LARGEST = (1 << 32) - 1  # of the message's own integers
_MAX_ENTRIES = 256


class PointField(msgspec.Struct, frozen=True):
    """Where a number of a point lies.

    Args:
        name: of the field.
        offset: bytes from the start of the point.
        datatype: 1 to 8: int8, uint8, int16, uint16, int32, uint32, float32, float64.
        count: how many numbers; 0 counts as 1, which some drivers write.
    """

    name: str
    offset: int
    datatype: int
    count: int = 1


class PointCloud2(msgspec.Struct, frozen=True, kw_only=True):
    """A message, as it was taken apart.

    Args:
        fields: of a point.
        data: ``height`` rows, ``row_step`` bytes each, of ``width`` points, ``point_step`` bytes each.
        width, height, point_step, row_step: as sent; nothing about them is trusted.
        is_bigendian: byte order of the numbers.
        stamp_ns: of the header, or 0.
    """

    fields: tuple[PointField, ...]
    data: bytes
    width: int
    height: int
    point_step: int
    row_step: int
    is_bigendian: bool = False
    stamp_ns: int = 0


def decode_pointcloud2(cloud: PointCloud2, max_points: int = MAX_POINTS, max_bytes: int = MAX_BYTES) -> Scan:
    """A scan from such a message; values that are not finite are kept.

    Args:
        cloud: the message.
        max_points: most points in a scan.
        max_bytes: largest ``data``.

    Raises:
        Reject: the message cannot be used.
    """
    for name in ("width", "height", "point_step", "row_step", "stamp_ns"):
        value = getattr(cloud, name)
        if type(value) is not int:
            raise Reject(Reason.WRONG_TYPE, f"{name} is a {type(value).__name__}; an integer is due")
        if not 0 <= value <= (_LARGEST if name != "stamp_ns" else (1 << 62) - 1):
            raise Reject(Reason.WRONG_VALUE, f"{name} is {value}")
    n = cloud.width * cloud.height
    if n:
        check_size(len(cloud.data), max_bytes)
    check_count(n, max_points)
    columns = _columns(cloud)
    fields = wanted(tuple(columns))
    if n and (cloud.row_step < cloud.width * cloud.point_step or len(cloud.data) < _due(cloud)):
        raise Reject(Reason.WRONG_SIZE, f"{len(cloud.data)} bytes; {_due(cloud)} are due, rows of {cloud.width} points in {cloud.row_step}")
    if not n:
        return scan_of({}, fields, 0, stamp_ns=cloud.stamp_ns)
    order = ">" if cloud.is_bigendian else "<"
    shape, steps = (cloud.height, cloud.width), (cloud.row_step, cloud.point_step)
    views = {name: np.ndarray(shape, order + columns[name][0], cloud.data, columns[name][1], steps) for name in fields}
    return scan_of(views, fields, n, stamp_ns=cloud.stamp_ns)


def _due(cloud: PointCloud2) -> int:
    """Bytes up to the last point; the padding of the last row may be absent."""
    return cloud.row_step * (cloud.height - 1) + cloud.width * cloud.point_step


def _columns(cloud: PointCloud2) -> dict[str, tuple[str, int]]:
    """Name to type and offset; a field of several numbers becomes several columns."""
    if len(cloud.fields) > _MAX_ENTRIES:
        raise Reject(Reason.WRONG_VALUE, f"{len(cloud.fields)} fields; at most {_MAX_ENTRIES}")
    wanted([field.name for field in cloud.fields])
    columns: dict[str, tuple[str, int]] = {}
    for field in cloud.fields:
        kind = _KINDS.get(field.datatype)
        if kind is None:
            raise Reject(Reason.WRONG_VALUE, f"datatype {field.datatype} of {shown(field.name)}; 1 to 8 are known")
        size, count = int(kind[1]), max(field.count, 1)
        if field.offset < 0 or field.offset + size * count > cloud.point_step:
            raise Reject(Reason.WRONG_SIZE, f"{shown(field.name)} at byte {field.offset} of a point of {cloud.point_step} bytes")
        for i in range(min(count, _MAX_ENTRIES)):
            columns[field.name if count == 1 else f"{field.name}_{i}"] = kind, field.offset + i * size
    return columns
