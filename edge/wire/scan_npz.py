"""npz files as scans: ``points`` (n, k) with or without ``fields``, or one array for each field; also ``seq`` and ``stamp_ns``.

Not with ``numpy.load``: it allocates what a header claims before it looks at the data, and evaluates the header as Python.
"""

import io
import math
import re
import zipfile
import zlib

import numpy as np
import numpy.typing as npt

from edge.errors import Reason, Reject
from edge.messages import Scan
from edge.wire.maps import STAMP_MAX
from edge.wire.point_table import MAX_BYTES, MAX_FIELDS, MAX_POINTS, POSITION, check_count, check_size, scan_of, shown, wanted

_MAX_MEMBERS = 1024
_MAX_NAME = 64
_DEFAULT = (*POSITION, "intensity")
_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=][fiubUS]\d{1,4})',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(((?:\d{1,12},?\s*){0,3})\),?\s*\}\s*"
)
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError, OverflowError)


def decode_scan_npz(payload: bytes, max_points: int = MAX_POINTS, max_bytes: int = MAX_BYTES) -> Scan:
    """A scan from an npz file; values that are not finite are kept.

    Args:
        payload: the file.
        max_points: most points in a scan.
        max_bytes: largest file, and most that all its arrays together may hold.

    Raises:
        Reject: the file cannot be used.
    """
    check_size(len(payload), max_bytes)
    if payload.count(b"PK\x01\x02") > _MAX_MEMBERS:  # before the directory is built, which takes ten times its bytes
        raise Reject(Reason.MALFORMED, f"more than {_MAX_MEMBERS} arrays")
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            arrays = _arrays(archive, max_bytes)
    except _FAULTS as fault:
        raise Reject(Reason.MALFORMED, shown(str(fault))) from None
    seq, stamp_ns = _integer(arrays, "seq", -1), _integer(arrays, "stamp_ns", 0)
    columns = _columns(arrays)
    fields = wanted(tuple(columns))
    n = len(columns["x"])
    check_count(n, max_points)
    if any(columns[name].shape != (n,) for name in fields):
        raise Reject(Reason.WRONG_SIZE, "arrays of unequal length")
    return scan_of(columns, fields, n, seq, stamp_ns)


def _columns(arrays: dict[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.generic]]:
    points, names = arrays.pop("points", None), arrays.pop("fields", None)
    if points is None:
        return {name: array for name, array in arrays.items() if array.ndim == 1 and array.dtype.kind in "fiub"}
    if points.ndim != 2 or points.dtype.kind not in "fiub":
        raise Reject(Reason.WRONG_TYPE, f"points are {points.ndim}-dimensional {points.dtype}; a table of numbers is due")
    width = points.shape[1]
    if names is None:
        fields = [*_DEFAULT, *(f"field_{i}" for i in range(len(_DEFAULT), width))][: min(width, MAX_FIELDS)]
    elif names.ndim != 1 or names.dtype.kind not in "US" or len(names) != width:
        raise Reject(Reason.WRONG_SIZE, f"fields do not name the {width} columns of points")
    else:
        fields = [name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in names[:_MAX_MEMBERS].tolist()]
    wanted(fields)
    return {name: points[:, at] for at, name in enumerate(fields)}


def _arrays(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, npt.NDArray[np.generic]]:
    found: dict[str, npt.NDArray[np.generic]] = {}
    room = max_bytes
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name == member.filename or len(name) > _MAX_NAME:
            continue
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Reject(Reason.MALFORMED, "a compression that numpy does not write")  # LZMA may ask for gigabytes
        with archive.open(member) as file:
            content = file.read(room + 1)
        if len(content) > room:
            raise Reject(Reason.TOO_LARGE, f"more than {max_bytes} bytes when unpacked")
        room -= len(content)
        found[name] = _array(content, name)
    return found


def _array(content: bytes, name: str) -> npt.NDArray[np.generic]:
    """An array from an npy file.

    Raises:
        Reject: no npy file, not of numbers or text, or not as long as its header says.
    """
    wide = content[6:7] in (b"\x02", b"\x03")
    start = 12 if wide else 10
    if content[:6] != _MAGIC or len(content) < start:
        raise Reject(Reason.MALFORMED, f"{shown(name)} is no npy array")
    end = start + int.from_bytes(content[8:start], "little")
    header = _HEADER.fullmatch(content[start:end]) if end - start <= 4096 else None
    if header is None:
        raise Reject(Reason.WRONG_TYPE, f"{shown(name)} is no plain array of numbers or text")
    try:
        kind = np.dtype(header[1].decode())
    except TypeError:
        raise Reject(Reason.WRONG_TYPE, f"{shown(name)} has type {shown(header[1].decode())}") from None
    shape = tuple(int(number) for number in re.findall(rb"\d+", header[3]))
    if not kind.itemsize or math.prod(shape) * kind.itemsize != len(content) - end:
        raise Reject(Reason.WRONG_SIZE, f"{shown(name)} has {len(content) - end} bytes; its header says {shape} of {kind}")
    return np.ndarray(shape, kind, content, end, order="F" if header[2] == b"True" else "C")


def _integer(arrays: dict[str, npt.NDArray[np.generic]], name: str, default: int) -> int:
    array = arrays.pop(name, None)
    if array is None:
        return default
    if array.size != 1 or array.dtype.kind not in "iu":
        raise Reject(Reason.WRONG_TYPE, f"{name} is not one integer")
    value = int(array.reshape(()).item())
    if not default <= value <= STAMP_MAX:
        raise Reject(Reason.WRONG_VALUE, f"{name} is {value}; {default} to {STAMP_MAX} is possible")
    return value
