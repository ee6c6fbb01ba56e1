"""PCD version 0.7 (Point Cloud Library): ascii, binary and binary_compressed files as scans.

Trusts FIELDS, SIZE, TYPE, COUNT and POINTS, and these only as far as the bytes bear them out. Not WIDTH and HEIGHT: real drivers write 0.
Source: https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

import io
import itertools
import struct
from collections.abc import Iterator

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import Reason, Reject
from edge.kernels.lzf import unpack_lzf
from edge.messages import Scan
from edge.wire.point_table import MAX_BYTES, MAX_POINTS, check_count, check_size, scan_of, shown, wanted

_MAX_HEADER = 16_384  # bytes
_MAX_LINES = 64
_MAX_ENTRIES = 256  # of FIELDS, padding included
_MAX_STEP = 65_536  # bytes of one point
_MAX_RATIO = 88  # of LZF: three bytes stand for 264 at the most
_PADDING = "_"
_KINDS = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}
_DATA = ("ascii", "binary", "binary_compressed")


class _Entry(msgspec.Struct, frozen=True):
    """One entry of FIELDS: where it begins in a point, in bytes and in numbers, and how many numbers it has."""

    name: str
    kind: str
    offset: int
    column: int
    count: int


class _Header(msgspec.Struct, frozen=True):
    entries: tuple[_Entry, ...]
    step: int  # bytes of one point
    width: int  # numbers of one point
    points: int
    data: str
    size: int  # bytes of the header

    def columns(self) -> dict[str, tuple[_Entry, int]]:
        """Name to entry and number in it; what has several numbers becomes several columns."""
        found: dict[str, tuple[_Entry, int]] = {}
        names = [entry.name for entry in self.entries if entry.name != _PADDING and entry.count]
        wanted(names)  # names that come twice, before a dict hides them
        for entry in self.entries:
            if entry.name != _PADDING:
                for i in range(entry.count):
                    found[entry.name if entry.count == 1 else f"{entry.name}_{i}"] = entry, i
        return found


def decode_pcd(payload: bytes, max_points: int = MAX_POINTS, max_bytes: int = MAX_BYTES) -> Scan:
    """A scan from a PCD file; values that are not finite are kept, bytes after the last point are ignored.

    Args:
        payload: the file.
        max_points: most points in a scan.
        max_bytes: largest file, and most that a compressed one may hold.

    Raises:
        Reject: the file cannot be used.
    """
    check_size(len(payload), max_bytes)
    header = _read_header(payload)
    check_count(header.points, max_points)
    columns = header.columns()
    fields = wanted(tuple(columns))
    if not header.points:
        return scan_of({}, fields, 0)
    body = memoryview(payload)[header.size :]
    if header.data == "ascii":
        table = _ascii(body, header)
        return scan_of({name: table[:, columns[name][0].column + columns[name][1]] for name in fields}, fields, header.points)
    if header.data == "binary":
        base, by_point = body, True
    else:
        base, by_point = _unpacked(body, header, max_bytes), False
    if header.points * header.step > len(base):
        raise Reject(Reason.WRONG_SIZE, f"{len(base)} bytes of points; {header.points} of {header.step} bytes are due")
    views = {name: _view(base, header, *columns[name], by_point=by_point) for name in fields}
    return scan_of(views, fields, header.points)


def _view(base: memoryview, header: _Header, entry: _Entry, i: int, *, by_point: bool) -> npt.NDArray[np.generic]:
    """One column, where it lies: point after point, or (compressed) entry after entry."""
    kind = np.dtype(entry.kind)
    start = entry.offset if by_point else entry.offset * header.points
    step = header.step if by_point else entry.count * kind.itemsize
    return np.ndarray((header.points,), kind, base, start + i * kind.itemsize, (step,))


def _ascii(body: memoryview, header: _Header) -> npt.NDArray[np.float64]:
    numbers = header.points * header.width
    if numbers * 2 > len(body) + 1:  # a digit and what parts it from the next: before anything is allocated
        raise Reject(Reason.WRONG_SIZE, f"{len(body)} bytes of text; {numbers} numbers are due")
    try:
        table = np.fromiter(map(float, itertools.chain.from_iterable(_rows(body, header))), np.float64, numbers)
    except ValueError as fault:
        raise Reject(Reason.MALFORMED, shown(str(fault))) from None
    return table.reshape(header.points, header.width)


def _rows(body: memoryview, header: _Header) -> Iterator[list[bytes]]:
    """The words of each line with a point; a number too few in one of them must not shift those after it."""
    left = header.points
    for line in io.BytesIO(body):
        row = line.split(None, header.width)
        if not row:
            continue
        if len(row) != header.width:
            raise Reject(Reason.WRONG_SIZE, f"a line without its {header.width} numbers: {shown(line[:80].decode('ascii', 'replace'))}")
        yield row
        left -= 1
        if not left:
            return
    raise Reject(Reason.WRONG_SIZE, f"{header.points - left} lines of points; {header.points} are due")


def _unpacked(body: memoryview, header: _Header, max_bytes: int) -> memoryview:
    if len(body) < 8:
        raise Reject(Reason.WRONG_SIZE, "no sizes before the compressed points")
    packed_size, size = struct.unpack_from("<II", body)
    if size > max_bytes:
        raise Reject(Reason.TOO_LARGE, f"{size} bytes when unpacked; at most {max_bytes}")
    if size != header.points * header.step or packed_size > len(body) - 8:
        raise Reject(Reason.WRONG_SIZE, f"{packed_size} bytes for {size}; {header.points} points of {header.step} bytes are due")
    if size > packed_size * _MAX_RATIO:
        raise Reject(Reason.MALFORMED, f"{packed_size} bytes cannot hold {size}")  # before they are allocated
    out = np.empty(size, np.uint8)
    if unpack_lzf(np.array(body[8 : 8 + packed_size], np.uint8), out) != size:
        raise Reject(Reason.MALFORMED, "compressed points that cannot be unpacked")
    return out.data


def _read_header(payload: bytes) -> _Header:
    lines: dict[str, list[str]] = {}
    at = 0
    for _ in range(_MAX_LINES):
        end = payload.find(b"\n", at, _MAX_HEADER)
        if end < 0:
            break
        words = payload[at:end].decode("latin-1").split()
        at = end + 1
        if not words or words[0].startswith("#"):
            continue
        lines[words[0].upper()] = words[1:]
        if words[0].upper() == "DATA":
            return _checked(lines, at)
    raise Reject(Reason.MALFORMED, "no PCD header that ends with DATA")


def _checked(lines: dict[str, list[str]], size: int) -> _Header:
    names = lines.get("FIELDS") or lines.get("COLUMNS", [])
    if not 0 < len(names) <= _MAX_ENTRIES:
        raise Reject(Reason.MISSING_FIELD if not names else Reason.WRONG_VALUE, f"FIELDS has {len(names)} names")
    sizes = _integers(lines, "SIZE", len(names))
    kinds = lines.get("TYPE", [])
    counts = _integers(lines, "COUNT", len(names)) if "COUNT" in lines else [1] * len(names)
    if len(kinds) != len(names):
        raise Reject(Reason.WRONG_SIZE, f"{len(kinds)} entries in TYPE for {len(names)} FIELDS")
    entries: list[_Entry] = []
    step = width = 0
    for name, bytes_each, kind, count in zip(names, sizes, kinds, counts, strict=True):
        if bytes_each not in _KINDS.get(kind.upper(), ()):
            raise Reject(Reason.WRONG_VALUE, f"TYPE {shown(kind)} of SIZE {bytes_each}")
        entries.append(_Entry(name, f"<{kind.lower()}{bytes_each}", step, width, count))
        step += bytes_each * count
        width += count
        if step > _MAX_STEP:
            raise Reject(Reason.WRONG_VALUE, f"a point of more than {_MAX_STEP} bytes")
    data = " ".join(lines["DATA"]).lower()
    if data not in _DATA:
        raise Reject(Reason.WRONG_VALUE, f"DATA {shown(data)}; {', '.join(_DATA)} are known")
    return _Header(tuple(entries), step, width, _points(lines), data, size)


def _points(lines: dict[str, list[str]]) -> int:
    if "POINTS" in lines:
        return _integers(lines, "POINTS", 1)[0]
    return _integers(lines, "WIDTH", 1)[0] * _integers(lines, "HEIGHT", 1)[0]


def _integers(lines: dict[str, list[str]], key: str, n: int) -> list[int]:
    words = lines.get(key)
    if words is None:
        raise Reject(Reason.MISSING_FIELD, key)
    if len(words) != n:
        raise Reject(Reason.WRONG_SIZE, f"{len(words)} entries in {key}; {n} are due")
    if not all(word.isascii() and word.isdigit() and len(word) <= 12 for word in words):
        raise Reject(Reason.WRONG_VALUE, f"{key} {shown(' '.join(words))}")
    return [int(word) for word in words]
