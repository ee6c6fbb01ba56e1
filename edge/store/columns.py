"""Tables in files, a piece at a time: CSV (also gzipped), Parquet and npz. Owns what a file must look like, and nothing of what it means.

A file is what its first bytes say, not what its name says.
"""

import gzip
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.errors import TransportError
from edge.features.rows import arrow

CHUNK_ROWS = 65_536
_CSV_BYTES = 4 << 20  # of one piece; arrow takes no longer line than that
_HEAD_BYTES = 1 << 20
_MAGIC = {b"\x89MCAP0\r\n": "mcap", b"PAR1": "parquet", b"PK\x03\x04": "npz", b"\x1f\x8b": "csv", b"SQLite format 3\0": "sqlite"}

Kind = Literal["mcap", "parquet", "npz", "csv", "sqlite"]
Roles = dict[str, Literal["number", "stamp", "text", "counter"]]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Every failure to read a file as one line that names it.

    Raises:
        TransportError: instead of what the libraries raise.
    """
    pa = arrow()
    try:
        yield
    except OSError as fault:  # arrow's are too: their whole text is the reason
        raise TransportError(f"{path}: {fault.strerror or _line(fault)}") from fault
    except (pa.ArrowException, ValueError, EOFError, zlib.error, zipfile.BadZipFile, KeyError) as fault:
        raise TransportError(f"{path}: {_line(fault)}") from fault


def kind_of(path: Path) -> Kind:
    """What a file is.

    Raises:
        TransportError: it cannot be read, is empty, or is none of these.
    """
    with reading(path):
        if path.is_dir():
            raise ValueError("is a folder; name the files in it")
        with path.open("rb") as file:
            head = file.read(4096)
        if not head:
            raise ValueError("is empty")
        for magic, kind in _MAGIC.items():
            if head.startswith(magic):
                return kind  # type: ignore[return-value]  # mypy widens the values of a dict
        if b"\0" in head or path.suffix in (".mcap", ".parquet", ".npz", ".gz"):
            raise ValueError("is no recording (MCAP) and no table (CSV, CSV.gz, Parquet, npz)")
    return "csv"


class TableFile:
    """A table in a file.

    Args:
        path: of the file.

    Attributes:
        names: of its columns. A two-dimensional array of an npz file is ``name[0]``, ``name[1]`` and so on.
        done: how much of it has been taken, 0 to 1.

    Raises:
        TransportError: it cannot be read, or is no table.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.done = path, 0.0
        self.kind = kind_of(path)
        with reading(path):
            if self.kind == "parquet":
                self.names = _parquet(path).schema_arrow.names
            elif self.kind == "npz":
                self._arrays = _arrays(path)
                self.names = list(self._arrays)
            elif self.kind == "csv":
                self.names, self._delimiter, self._extra = _header(path)
            else:
                raise ValueError(f"is a {self.kind} file, not a table")

    def batches(self, roles: Roles) -> Iterator[Any]:
        """Record batches of some columns, in order. Equal files give equal batches.

        Args:
            roles: column to what it holds, for formats that do not say; each must be there.

        Raises:
            TransportError: damaged, cut, or a value that is not what its column should hold.
        """
        with reading(self.path):
            if self.kind == "parquet":
                yield from self._parquet_batches(list(roles))
            elif self.kind == "npz":
                yield from self._npz_batches(list(roles))
            else:
                yield from self._csv_batches(roles)

    def _parquet_batches(self, names: list[str]) -> Iterator[Any]:
        file = _parquet(self.path)
        taken = 0
        for batch in file.iter_batches(CHUNK_ROWS, columns=names):
            taken += batch.num_rows
            self.done = taken / max(file.metadata.num_rows, 1)
            yield batch

    def _npz_batches(self, names: list[str]) -> Iterator[Any]:
        pa = arrow()
        lengths = {name: len(self._arrays[name]) for name in names}
        if len(set(lengths.values())) > 1:
            raise ValueError("arrays differ in length: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
        table = pa.table({name: np.ascontiguousarray(self._arrays[name]) for name in names})
        for at in range(0, len(table), CHUNK_ROWS):
            self.done = min(1.0, (at + CHUNK_ROWS) / len(table))
            yield from table.slice(at, CHUNK_ROWS).combine_chunks().to_batches()

    def _csv_batches(self, roles: Roles) -> Iterator[Any]:
        pa = arrow()
        import pyarrow.csv as csv

        kinds = {"number": pa.float64(), "stamp": pa.string(), "text": pa.string(), "counter": pa.int64()}
        size = self.path.stat().st_size
        with self.path.open("rb") as raw:
            stream = pa.CompressedInputStream(raw, "gzip") if _is_gzip(self.path) else raw
            reader = csv.open_csv(
                stream,
                csv.ReadOptions(use_threads=False, block_size=_CSV_BYTES, column_names=[*self.names, *self._extra], skip_rows=1),
                csv.ParseOptions(delimiter=self._delimiter),
                csv.ConvertOptions(
                    column_types={name: kinds[role] for name, role in roles.items()}, include_columns=list(roles), strings_can_be_null=True
                ),
            )
            for batch in reader:
                self.done = raw.tell() / max(size, 1)
                yield _trimmed(batch)


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def _arrays(path: Path) -> dict[str, Any]:
    """One-dimensional columns of an npz file; arrays of objects would run code of whoever made the file, and are refused by numpy."""
    found: dict[str, Any] = {}
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        for name in file.files:
            array = file[name]
            if array.ndim == 1:
                found[name] = array
            elif array.ndim == 2:
                found |= {f"{name}[{column}]": array[:, column] for column in range(array.shape[1])}
    return found


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _header(path: Path) -> tuple[list[str], str, list[str]]:
    """Names, delimiter, and a name for the column that a comma at the end of every row makes."""
    with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
        lines = [file.readline(_HEAD_BYTES) for _ in range(2)]
    if not lines[0].endswith(b"\n"):
        raise ValueError("has a header and no rows" if lines[0].strip() else "has no header")
    try:
        header, row = (line.decode("utf-8-sig").strip("\r\n") for line in lines)
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None
    delimiter = max(",;\t", key=header.count)
    names = [name.strip().strip('"') for name in header.split(delimiter)]
    if len(names) > 1 and names[-1] == "":  # the header has it too
        return names[:-1], delimiter, [""]
    extra = row.count(delimiter) + 1 - len(names) if row.endswith(delimiter) and '"' not in row else 0
    return names, delimiter, [""] if extra == 1 else []


def _trimmed(batch: Any) -> Any:
    """Text without the blanks around it; numbers need no help."""
    pa = arrow()
    import pyarrow.compute as pc

    columns: Sequence[Any] = [pc.utf8_trim_whitespace(column) if pa.types.is_string(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _line(fault: BaseException) -> str:
    text = str(fault.args[0] if isinstance(fault, KeyError) and fault.args else fault)
    return " ".join(text.split())[:300] or type(fault).__name__
