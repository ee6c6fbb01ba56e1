"""MessagePack scans, version 1: ``{v, seq, t, n, fields, x}``, metres in the sensor frame."""

import msgpack
import numpy as np

from edge.errors import Reason, Reject
from edge.messages import Scan
from edge.wire.maps import VERSION, MapReader, binary, check_version, integer

_REQUIRED = ("x", "y", "z")
_MAX_FIELDS = 16
_MAX_SHOWN = 64  # characters of a sender's text that a refusal repeats


class ScanCodec:
    """Decodes the scans of one stream.

    Args:
        max_points: most points in a scan.
        max_bytes: largest payload.
    """

    def __init__(self, max_points: int, max_bytes: int) -> None:
        self._max_points = max_points
        self._read = MapReader(max_bytes, ("v", "seq", "t", "n", "x"), "fields").read

    def decode(self, payload: bytes, received_ns: int) -> Scan:
        """A scan; its points are read-only.

        Args:
            payload: the message body.
            received_ns: when it was read; the stamp of a scan without ``t``.

        Raises:
            Reject: the message cannot be used.
        """
        message = self._read(payload)
        check_version(message)
        fields = _fields(message.get("fields"))
        points = binary(message, "x")
        n, rest = divmod(len(points), 4 * len(fields))
        if rest:
            raise Reject(Reason.WRONG_SIZE, f"x has {len(points)} bytes; a multiple of {4 * len(fields)} is due")
        if integer(message, "n", -1) != n:
            raise Reject(Reason.WRONG_SIZE, f"n is not {n}, the points that x holds")
        if n > self._max_points:
            raise Reject(Reason.TOO_MANY_ROWS, f"{n} points; at most {self._max_points}")
        table = np.frombuffer(points, "<f4").reshape(n, len(fields))
        return Scan(table, fields, integer(message, "seq", -1), integer(message, "t", received_ns), received_ns)


def pack_scan(scan: Scan) -> bytes:
    """The message that a scan is decoded from; a counter of -1 is left out.

    Args:
        scan: with points of float32.
    """
    numbered = {"seq": scan.seq} if scan.seq >= 0 else {}
    points = np.ascontiguousarray(scan.points, "<f4")
    message = {"v": VERSION, "t": scan.stamp_ns, "n": len(points), "fields": list(scan.fields), "x": points.tobytes()}
    packed: bytes = msgpack.packb(numbered | message)
    return packed


def _fields(names: object) -> tuple[str, ...]:
    if names is None:
        raise Reject(Reason.MISSING_FIELD, "fields")
    if type(names) is not list or not all(type(name) is str for name in names):
        raise Reject(Reason.WRONG_TYPE, "fields must be a list of names")
    missing = [name for name in _REQUIRED if name not in names]
    if missing or len(set(names)) != len(names) or len(names) > _MAX_FIELDS:
        shown = ", ".join(names)[:_MAX_SHOWN]
        raise Reject(Reason.WRONG_VALUE, f"fields are {shown}; x, y and z are due, each name once, at most {_MAX_FIELDS}")
    return tuple(names)
