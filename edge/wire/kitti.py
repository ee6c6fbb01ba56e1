"""KITTI ``.bin`` files: float32 x, y, z, intensity, point after point, and nothing else."""

import numpy as np

from edge.errors import Reason, Reject
from edge.messages import Scan
from edge.wire.point_table import MAX_BYTES, MAX_POINTS, check_count, check_size

FIELDS = ("x", "y", "z", "intensity")
_POINT_BYTES = 16


def decode_kitti(payload: bytes, max_points: int = MAX_POINTS, max_bytes: int = MAX_BYTES) -> Scan:
    """A scan from a KITTI file; its points are read-only. Values that are not finite are kept.

    Args:
        payload: the file.
        max_points: most points in a scan.
        max_bytes: largest file.

    Raises:
        Reject: empty, too large, or bytes that do not divide into points.
    """
    check_size(len(payload), max_bytes)
    n, rest = divmod(len(payload), _POINT_BYTES)
    if rest:
        raise Reject(Reason.WRONG_SIZE, f"{len(payload)} bytes; a multiple of {_POINT_BYTES} is due")
    check_count(n, max_points)
    return Scan(np.frombuffer(payload, "<f4").reshape(n, len(FIELDS)), FIELDS, -1, 0, 0)
