"""What all readers of point files share: which columns a scan keeps and in what order, and limits on its size."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edge.errors import Reason, Reject
from edge.messages import Scan

MAX_POINTS = 4_000_000  # what a stream may allow at most
MAX_BYTES = 256_000_000  # of a file, and of what is unpacked from it
MAX_FIELDS = 16  # what a scan on the wire can carry
POSITION = ("x", "y", "z")
_MAX_SHOWN = 64  # characters of a file's text that a refusal repeats


def check_size(size: int, max_bytes: int) -> None:
    """Refuse nothing and too much.

    Raises:
        Reject: empty, or more than ``max_bytes``.
    """
    if not size:
        raise Reject(Reason.EMPTY)
    if size > max_bytes:
        raise Reject(Reason.TOO_LARGE, f"{size} bytes; at most {max_bytes}")


def check_count(n: int, max_points: int) -> None:
    """Refuse too many points.

    Raises:
        Reject: more than ``max_points``.
    """
    if n > max_points:
        raise Reject(Reason.TOO_MANY_ROWS, f"{n} points; at most {max_points}")


def wanted(names: Sequence[str]) -> tuple[str, ...]:
    """The columns that are kept: x, y, z first, the others in their order, sixteen in all.

    Args:
        names: of all columns.

    Raises:
        Reject: no x, y or z, or a name that comes twice.
    """
    missing = [name for name in POSITION if name not in names]
    if missing:
        raise Reject(Reason.MISSING_FIELD, f"{', '.join(missing)} of {shown(', '.join(names))}")
    if len(set(names)) != len(names):
        raise Reject(Reason.WRONG_VALUE, f"a field that comes twice: {shown(', '.join(names))}")
    return (*POSITION, *(name for name in names if name not in POSITION))[:MAX_FIELDS]


def scan_of(columns: Mapping[str, npt.NDArray[np.generic]], fields: tuple[str, ...], n: int, seq: int = -1, stamp_ns: int = 0) -> Scan:
    """A scan from one array of numbers for each field; what float32 cannot hold becomes infinite, as on the wire.

    Args:
        columns: name to n numbers of any type and layout.
        fields: which of them, in the scan's order.
        n: number of points.
        seq: the sender's counter, or -1.
        stamp_ns: the sender's time, or 0.
    """
    points = np.empty((n, len(fields)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for at, name in enumerate(fields if n else ()):
            points[:, at] = columns[name].reshape(n)
    return Scan(points, fields, seq, stamp_ns, 0)


def shown(text: str) -> str:
    """A stranger's text, short and printable, for a refusal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_MAX_SHOWN])
