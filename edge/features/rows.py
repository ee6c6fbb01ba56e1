"""Tables of other programs as rows of a stream: numpy, and whatever speaks the Arrow C interfaces (pandas, polars, pyarrow).

Owns what a column must look like. It judges no value: that is the gate's work, as it is live.
"""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError
from edge.features.plan import StreamShape

STAMP_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_FARTHEST_NS = 1 << 62
_CHUNK = 65_536
_COMPARED = 5000  # names that are tried as a hint


class Rows(msgspec.Struct):
    """Rows of one stream of one device.

    Args:
        device: whose.
        stamps: int64 (n,), ns on the sender's clock, in the order of arrival.
        values: float32 (n, C) in the stream's channel order; NaN where nothing was measured.
        seq: int64 (n,), the sender's counter of the message that each row came in, or None.
    """

    device: str
    stamps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    seq: npt.NDArray[np.int64] | None = None


class Columns(msgspec.Struct, frozen=True):
    """Which column of a table is what.

    Args:
        names: channel, ``seq`` or ``device`` to column; default: the same name. ``seq`` and ``device`` are used when they are there.
        stamps: the column of stamps: integers, dates with a time, or, with another unit than ns, numbers.
        unit: of stamps that are numbers.
    """

    names: Mapping[str, str] = {}
    stamps: str = "t"
    unit: str = "ns"

    def optional(self, name: str, stream: StreamShape, there: list[str]) -> str:
        """The column of ``seq`` or ``device``, empty without one."""
        column = self.names.get(name, name)
        is_free = name not in stream.channels and column not in (self.names.get(channel, channel) for channel in stream.channels)
        return column if is_free and column in there else ""


def arrow() -> Any:
    """The pyarrow module.

    Raises:
        EdgeError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as fault:
        raise EdgeError("tables need pyarrow, which is not installed: pip install 'edge-runtime[offline]'") from fault
    return pyarrow


def rows_of(
    data: Any, stream: StreamShape, columns: Columns, *, device: str | None, default_device: str, rate_hz: float | None
) -> Iterator[Rows]:
    """The rows of a table, in its order, a chunk and a device at a time.

    Args:
        data: (stamps, rows), rows alone as an array (n, C), or an Arrow table of any library.
        stream: what the rows are of.
        columns: which column is what (Arrow).
        device: whose rows, whatever the table says.
        default_device: whose rows, where the table does not say.
        rate_hz: of rows without stamps; default: that of the stream.

    Raises:
        ValueError: the table does not fit the stream; says what is missing or wrong, with the nearest name.
    """
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        yield from _from_arrow(data, stream, columns, device, default_device)
        return
    if isinstance(data, tuple) and len(data) == 2:
        stamps, values = data
        times = _integers(np.asarray(stamps), f"{stream.name}: stamps", columns.unit)
        table = _matrix(values, stream)
        if times.shape != (len(table),):
            raise ValueError(f"{stream.name}: stamps have shape {times.shape}; expected ({len(table)},)")
    elif hasattr(data, "__array__") or isinstance(data, list):
        table = _matrix(data, stream)
        times = _made_stamps(len(table), rate_hz or stream.rate_hz, stream.name)
    else:
        raise ValueError(
            f"{stream.name}: {type(data).__name__} is no table; give (stamps, rows), an array, or a pandas, polars or Arrow table"
        )
    for at in range(0, len(table), _CHUNK):
        yield Rows(device or default_device, times[at : at + _CHUNK], _float32(table[at : at + _CHUNK]))


def batch_rows(
    batch: Any,
    stream: StreamShape,
    columns: Columns,
    device: str | None,
    default_device: str,
    made: tuple[int, float] | None = None,
) -> Iterator[Rows]:
    """The rows of one Arrow record batch, one device after the other; see rows_of.

    Args:
        batch, stream, columns, device, default_device: see rows_of.
        made: there are no stamps: how many rows came before, and the rate in Hz.
    """
    wanted = {channel: columns.names.get(channel, channel) for channel in stream.channels}
    check_columns(batch.schema.names, stream, columns, has_stamps=made is None)
    values = np.empty((batch.num_rows, len(wanted)), np.float32)
    for c, name in enumerate(wanted.values()):
        values[:, c] = _float32(_numbers(_column(batch, name), f"{stream.name}: column {name!r}"))
    if made is None:
        stamps = _stamps(_column(batch, columns.stamps), f"{stream.name}: column {columns.stamps!r}", columns.unit)
    else:
        stamps = _made_stamps(batch.num_rows, made[1], stream.name, made[0])
    seq = None
    if name := columns.optional("seq", stream, batch.schema.names):
        seq = _integers(_whole(_column(batch, name), f"column {name!r}"), f"column {name!r}", "ns")
    owner = columns.optional("device", stream, batch.schema.names)
    if made is not None and device is None and owner:
        raise ValueError(f"{stream.name}: rows of several devices (column {owner!r}) need stamps of their own")
    if device is not None or not owner:
        yield Rows(device or default_device, stamps, values, seq)
        return
    for name, mask in _by_device(_column(batch, owner), owner):
        if mask is None:
            yield Rows(name, stamps, values, seq)
        else:
            yield Rows(name, stamps[mask], values[mask], None if seq is None else seq[mask])


def check_columns(there: list[str], stream: StreamShape, columns: Columns, *, has_stamps: bool = True) -> None:
    """Refuse a table without the columns that the stream needs.

    Raises:
        ValueError: names the column, and the one that was probably meant.
    """
    wanted = {channel: columns.names.get(channel, channel) for channel in stream.channels}
    for channel, name in (wanted | {"": columns.stamps} if has_stamps else wanted).items():
        if there.count(name) > 1:
            raise ValueError(f"{stream.name}: the table has {there.count(name)} columns {name!r}")
        if name not in there:
            alike = _near(name, there)
            hint = f"did you mean {alike!r}?" if alike else f"it has {', '.join(there[:12]) or 'none'}"
            what = f"for channel {channel!r}" if channel else "of stamps"
            raise ValueError(f"{stream.name}: the table has no column {name!r} {what} ({hint})")
    for name, column in columns.names.items():
        if name not in stream.channels and name not in ("seq", "device"):
            alike = _near(name, list(stream.channels))
            hint = f" (did you mean {alike!r}?)" if alike else ""
            raise ValueError(f"{stream.name} has no channel {name!r}; it has {', '.join(stream.channels)}{hint}")
        if column not in there:
            raise ValueError(f"{stream.name}: the table has no column {column!r} for {name!r}")


def _near(name: str, valid: list[str]) -> str:
    low = {other.lower(): other for other in valid[:_COMPARED]}
    return next((low[other] for other in difflib.get_close_matches(name.lower(), low, n=1, cutoff=0.5)), "")


def _from_arrow(data: Any, stream: StreamShape, columns: Columns, device: str | None, default_device: str) -> Iterator[Rows]:
    pa = arrow()
    try:
        if hasattr(data, "__arrow_c_stream__"):
            batches = pa.RecordBatchReader.from_stream(data)
            check_columns(batches.schema.names, stream, columns)
        else:
            batches = [pa.record_batch(data)]
        for batch in batches:
            yield from batch_rows(batch, stream, columns, device, default_device)
    except pa.ArrowException as fault:
        raise ValueError(f"{stream.name}: {fault}") from fault


def _column(batch: Any, name: str) -> Any:
    return batch.column(batch.schema.get_field_index(name))


def _by_device(column: Any, name: str) -> Iterator[tuple[str, npt.NDArray[np.bool_] | None]]:
    pa = arrow()
    if column.null_count:
        raise ValueError(f"column {name!r} has {column.null_count} rows without a device")
    if not (pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type)):
        column = column.cast(pa.string()).dictionary_encode()
    codes = column.indices.to_numpy(zero_copy_only=False)
    names = column.dictionary.to_pylist()
    present, firsts = np.unique(codes, return_index=True)
    for code in present[np.argsort(firsts)].tolist():
        if not names[code]:
            raise ValueError(f"column {name!r} has rows whose device is empty text")
        yield names[code], codes == code if len(present) > 1 else None


def _numbers(column: Any, what: str) -> npt.NDArray[Any]:
    types = arrow().types
    kind = column.type
    if not (types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind)):
        raise ValueError(f"{what} holds {kind}; numbers are due")
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind):
        column = column.cast(arrow().uint8())
    numbers: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return numbers


def _stamps(column: Any, what: str, unit: str) -> npt.NDArray[np.int64]:
    pa = arrow()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        column = _parsed(column, what)
        kind = column.type
    if pa.types.is_timestamp(kind):
        column = _whole(column, what, is_array=False).cast(pa.timestamp("ns")).cast(pa.int64())
        return _integers(column.to_numpy(zero_copy_only=False), what, "ns")
    return _integers(_whole(column, what), what, unit)


def _parsed(column: Any, what: str) -> Any:
    """Text, as CSV has it: whole numbers, numbers, or dates."""
    pa = arrow()
    for kind in (pa.int64(), pa.float64(), pa.timestamp("ns")):
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    raise ValueError(f"{what} holds text that is no stamp, such as {next((t for t in column.to_pylist() if t), '')[:40]!r}")


def _whole(column: Any, what: str, *, is_array: bool = True) -> Any:
    if column.null_count:
        raise ValueError(f"{what} is empty in {column.null_count} rows")
    return column.to_numpy(zero_copy_only=False) if is_array else column


def _integers(numbers: npt.NDArray[Any], what: str, unit: str) -> npt.NDArray[np.int64]:
    """Stamps in ns: whole numbers exactly, others rounded as the JSON codec rounds them."""
    kind, scale = numbers.dtype.kind, STAMP_NS[unit]
    if kind == "M":
        whole: npt.NDArray[np.int64] = numbers.astype("datetime64[ns]").astype(np.int64)
        return whole
    if kind not in "iuf" or (kind == "f" and scale == 1 and len(numbers)):
        fix = "; say what their unit is, such as stamp_unit='s'" if kind == "f" else ""
        raise ValueError(f"{what}: stamps are {numbers.dtype}; whole ns or dates are due{fix}")
    limit = _FARTHEST_NS // scale
    if kind == "f" and not np.isfinite(numbers).all():
        raise ValueError(f"{what}: {int((~np.isfinite(numbers)).sum())} stamps are not finite")
    if len(numbers) and (numbers.max() > limit or (kind != "u" and numbers.min() < -limit)):
        raise ValueError(f"{what}: stamps reach beyond {limit} {unit}; is the unit right?")
    if kind == "f":
        return np.rint(numbers.astype(np.float64) * scale).astype(np.int64)
    return numbers.astype(np.int64, copy=False) * scale if scale > 1 else numbers.astype(np.int64, copy=False)


def _matrix(values: Any, stream: StreamShape) -> npt.NDArray[Any]:
    table = np.asarray(values)
    if table.ndim == 1 and len(stream.channels) == 1:
        table = table[:, None]
    if table.dtype.kind not in "iufb":
        raise ValueError(f"{stream.name}: rows are {table.dtype}; numbers are due")
    if table.ndim != 2 or table.shape[1] != len(stream.channels):
        names = ", ".join(stream.channels)
        raise ValueError(f"{stream.name}: rows have shape {table.shape}; expected (n, {len(stream.channels)}), one column each for {names}")
    return table


def _made_stamps(n: int, rate_hz: float | None, name: str, before: int = 0) -> npt.NDArray[np.int64]:
    """The stamps that ``Pipeline.push`` gives to rows without any."""
    if rate_hz is None or not rate_hz > 0:
        raise ValueError(f"{name}: rows without stamps need rate_hz, here or in the pipeline file")
    stamps: npt.NDArray[np.int64] = np.rint(np.arange(before + 1, before + n + 1) * (1e9 / rate_hz)).astype(np.int64)
    return stamps


def _float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # beyond its range they become infinite, which the gate refuses
        return values.astype(np.float32, copy=False)
