"""Reads a table keyed by device from Parquet, CSV or SQLite: whole, bounded, and every value checked, or not at all."""

import csv
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np

from edge.errors import EdgeError, TransportError
from edge.features.device_table import DeviceTable
from edge.features.rows import arrow

MAX_BYTES = 256 << 20
MAX_ROWS = 1_000_000
SUFFIXES = (".parquet", ".csv", ".sqlite", ".db")
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_PAUSE_ROWS = 32  # some 50 us: Python hands the interpreter to the hot thread on its own only after 5 ms
_Row = tuple[Any, ...]  # key, then the columns


class TableSpec(msgspec.Struct, frozen=True):
    """Where a table is and what is wanted of it.

    Args:
        path: of the file.
        key: column with the device.
        columns: with numbers.
        sql_table: its name in an SQLite file.
    """

    path: Path
    key: str
    columns: tuple[str, ...]
    sql_table: str | None = None


def version_of(path: Path) -> tuple[int, ...]:
    """What changes whenever the file does: times, sizes, and which file it is; empty without a file."""
    found: list[int] = []
    for name in (path, path.with_name(path.name + "-wal")):  # SQLite may keep new rows beside the file for long
        try:
            facts = name.stat()
        except OSError:
            continue
        found += [facts.st_mtime_ns, facts.st_size, facts.st_ino]
    return tuple(found)


def read_table(spec: TableSpec, pause: Callable[[], None] = lambda: None) -> DeviceTable:
    """A table, read whole.

    Args:
        spec: which.
        pause: called every few rows, so that another thread may run.

    Raises:
        TransportError: the file cannot be read, is too large, lacks a column, has a device twice, or a value that is no finite number.
        EdgeError: Parquet needs pyarrow, which is not installed.
    """
    try:
        version = version_of(spec.path)
        facts = spec.path.stat()
        if facts.st_size > MAX_BYTES:
            raise ValueError(f"has {facts.st_size} bytes; at most {MAX_BYTES} are read")
        rows = {".parquet": _parquet, ".csv": _csv}.get(spec.path.suffix.lower(), _sqlite)(spec)
        index, values = _checked(spec, rows, pause)
    except TransportError:
        raise
    except EdgeError:
        raise
    except OSError as fault:
        raise TransportError(f"{spec.path}: {fault.strerror or fault}") from fault
    except (ValueError, sqlite3.Error, csv.Error) as fault:
        raise TransportError(f"{spec.path}: {' '.join(str(fault).split())[:300]}") from fault
    return DeviceTable(index, values, spec.columns, facts.st_mtime_ns, version)


def _checked(spec: TableSpec, rows: Iterable[_Row], pause: Callable[[], None]) -> tuple[dict[str, int], Any]:
    index: dict[str, int] = {}
    found: list[list[float]] = []
    pieces = [np.empty((0, len(spec.columns)), np.float32)]
    for number, (key, *cells) in enumerate(rows):
        if number % _PAUSE_ROWS == 0:
            pieces.append(np.array(found, np.float32).reshape(-1, len(spec.columns)))
            found.clear()
            pause()
        if number >= MAX_ROWS:
            raise ValueError(f"has more than {MAX_ROWS} rows")
        device = str(key).strip() if key is not None and not isinstance(key, float) else ""
        if not device:
            raise ValueError(f"row {number + 1} has no device in column {spec.key!r}, but {key!r}")
        if device in index:
            raise ValueError(f"device {device!r} is there twice, in rows {index[device] + 1} and {number + 1}")
        index[device] = number
        found.append([_number(cell, column, device) for cell, column in zip(cells, spec.columns, strict=True)])
    if not index:
        raise ValueError("has no rows")
    pieces.append(np.array(found, np.float32).reshape(-1, len(spec.columns)))
    return index, np.concatenate(pieces)


def _number(cell: Any, column: str, device: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise ValueError(f"column {column!r} of device {device!r} is {cell!r}; a number is due") from None
    if not math.isfinite(value) or abs(value) > _FLOAT32_MAX:
        raise ValueError(f"column {column!r} of device {device!r} is {value}; a finite number is due")
    return value


def _require(spec: TableSpec, there: Iterable[str]) -> None:
    names = list(there)
    for name in (spec.key, *spec.columns):
        if name not in names:
            raise ValueError(f"has no column {name!r}; it has {', '.join(names[:20]) or 'none'}")


def _parquet(spec: TableSpec) -> Iterator[_Row]:
    pa = arrow()
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(spec.path)
        _require(spec, file.schema_arrow.names)
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"has more than {MAX_ROWS} rows")
        for batch in file.iter_batches(512, columns=[spec.key, *spec.columns]):
            columns = [batch.column(batch.schema.get_field_index(name)) for name in (spec.key, *spec.columns)]
            yield from zip(*(column.to_pylist() for column in columns), strict=True)
    except pa.ArrowException as fault:
        raise ValueError(str(fault)) from fault


def _csv(spec: TableSpec) -> Iterator[_Row]:
    with spec.path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        header = [name.strip() for name in next(rows, [])]
        _require(spec, header)
        places = [header.index(name) for name in (spec.key, *spec.columns)]
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(f"line {rows.line_num} has {len(row)} fields; the header has {len(header)}")
            yield tuple(row[place] for place in places)


def _sqlite(spec: TableSpec) -> Iterator[_Row]:
    connection = sqlite3.connect(f"file:{quote(str(spec.path.resolve()))}?mode=ro", uri=True, timeout=1.0)
    try:
        # An unknown name in double quotes is text to SQLite, so names are looked up first.
        _require(spec, (name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (spec.sql_table,))))
        names = ", ".join(_quoted(name) for name in (spec.key, *spec.columns))
        yield from connection.execute(f"SELECT {names} FROM {_quoted(spec.sql_table or '')}")  # noqa: S608 - quoted, and known to be there
    finally:
        connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
