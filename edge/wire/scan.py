"""MessagePack scans, version 1: ``{v, seq, t, n, fields, x}``, metres in the sensor frame."""

import numpy as np

from edge.errors import Reason, Reject
from edge.messages import Scan
from edge.wire.telemetry import check_version, integer, unpack

_REQUIRED = ("x", "y", "z")
_MAX_FIELDS = 16


class ScanCodec:
    """Decodes the scans of one stream.

    Args:
        max_points: most points in a scan.
        max_bytes: largest payload.
    """

    def __init__(self, max_points: int, max_bytes: int) -> None:
        self._max_points = max_points
        self._max_bytes = max_bytes

    def decode(self, payload: bytes, received_ns: int) -> Scan:
        """A scan whose points are a read-only view of the payload's bytes.

        Raises:
            Reject: the message cannot be used.
        """
        message = unpack(payload, self._max_bytes)
        check_version(message)
        fields = _fields(message.get("fields"))
        points = message.get("x")
        if type(points) is not bytes:
            if points is None:
                raise Reject(Reason.MISSING_FIELD, "x")
            raise Reject(Reason.WRONG_TYPE, f"x is a {type(points).__name__}; bytes are due")
        n, rest = divmod(len(points), 4 * len(fields))
        if rest:
            raise Reject(Reason.WRONG_SIZE, f"x has {len(points)} bytes; a multiple of {4 * len(fields)} is due")
        if integer(message, "n", -1) != n:
            raise Reject(Reason.WRONG_SIZE, f"n is {message.get('n')}; x holds {n} points")
        if n > self._max_points:
            raise Reject(Reason.TOO_MANY_ROWS, f"{n} points; at most {self._max_points}")
        table = np.frombuffer(points, "<f4").reshape(n, len(fields))
        return Scan(table, fields, integer(message, "seq", -1), integer(message, "t", received_ns), received_ns)


def _fields(names: object) -> tuple[str, ...]:
    if names is None:
        raise Reject(Reason.MISSING_FIELD, "fields")
    if type(names) is not list or not all(type(name) is str for name in names):
        raise Reject(Reason.WRONG_TYPE, "fields must be a list of names")
    missing = [name for name in _REQUIRED if name not in names]
    if missing or len(set(names)) != len(names) or len(names) > _MAX_FIELDS:
        raise Reject(Reason.WRONG_VALUE, f"fields are {names}; x, y and z are due, each name once, at most {_MAX_FIELDS}")
    return tuple(names)
