"""Sample data from files: vectors as the model will get them. Refuses what is not finite, and what float32 cannot hold."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError

_KEYS = ("samples", "x", "X", "inputs", "features")  # of an npz with several arrays
_LISTED = 4
_EXACT = 1 << 24  # whole numbers up to here are float32 numbers

Array = npt.NDArray[Any]


class Samples(msgspec.Struct, frozen=True):
    """Sample data.

    Args:
        rows: float32 (all, F), finite.
        row: shape of one sample.
        lengths: rows of each sequence; one sequence unless the file has several.
    """

    rows: npt.NDArray[np.float32]
    row: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def sequences(self) -> list[npt.NDArray[np.float32]]:
        """Each sequence, float32 (n, F)."""
        return [part for part in np.split(self.rows, np.cumsum(self.lengths)[:-1]) if len(part)]


def read_samples(path: Path, names: Sequence[str], inputs: Sequence[str]) -> Samples:
    """Read sample data.

    Args:
        path: npz, npy, csv or parquet. Arrays are (N, F), (N, ...) in the input's own shape, or (sequences, N, F).
        names: of the F features; columns of tables are found by them.
        inputs: names of the graph's inputs; an array of an npz may bear one.

    Raises:
        BundleError: cannot be read, is of another width, or has values that are not finite.
    """
    readers = {".npz": _npz, ".npy": _npz, ".csv": _csv, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise BundleError(f"{path}: samples are read from {', '.join(readers)} files")
    if not path.is_file():
        raise BundleError(f"{path}: there is no such file; give sample data as {', '.join(readers)}")
    try:
        array = reader(path, names, inputs)
    except BundleError:
        raise
    except Exception as e:  # zipfile, numpy, csv and pyarrow raise a dozen types for a damaged file
        said = str(e).strip().splitlines()
        raise BundleError(f"{path}: cannot be read as samples: {said[0] if said else type(e).__name__}") from e
    return _checked(path, array, names)


def _checked(path: Path, array: Array, names: Sequence[str]) -> Samples:
    width = len(names)
    if array.dtype.kind not in "fiub":
        raise BundleError(f"{path}: the samples are {array.dtype}; numbers are right")
    array = array.reshape(1, -1) if array.ndim == 1 and array.size == width else array.reshape(-1, 1) if array.ndim == 1 else array
    sequences = 0
    if not array.size:
        raise BundleError(f"{path}: holds no sample; some hundred of real data are best")
    if np.prod(array.shape[1:]) != width:
        if array.ndim < 3 or np.prod(array.shape[2:]) != width:
            raise BundleError(
                f"{path}: samples of shape {array.shape} have {int(np.prod(array.shape[1:]))} values each; {width} features are named "
                f"({_some(names)}); one value for each is right"
            )
        sequences = array.shape[0]
    row = array.shape[2:] if sequences else array.shape[1:]
    flat = array.reshape(-1, width)
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(flat, np.float32)
    if not np.isfinite(rows).all():
        i, j = (int(x) for x in np.argwhere(~np.isfinite(rows))[0])
        count = int((~np.isfinite(rows)).any(axis=1).sum())
        raise BundleError(
            f"{path}: row {i}, {names[j]} is {flat[i, j]}; {count} of {len(rows)} rows have values that float32 cannot hold or that are no "
            "numbers; the runtime gives a model finite values only, take those rows out"
        )
    if flat.dtype.kind in "iu" and (np.abs(flat.astype(np.float64)) > _EXACT).any():
        raise BundleError(f"{path}: whole numbers beyond {_EXACT} lose digits as float32, which vectors are; scale that feature")
    return Samples(rows, row, (array.shape[1],) * sequences if sequences else (len(rows),))


def _npz(path: Path, names: Sequence[str], inputs: Sequence[str]) -> Array:  # noqa: ARG001 - one signature for all readers
    with path.open("rb") as file:  # given a path, numpy leaves the file open when it is damaged
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        for key in (*inputs, *_KEYS, *(loaded.files if len(loaded.files) == 1 else ())):
            if key in loaded.files:
                return np.asarray(loaded[key])
        raise BundleError(
            f"{path}: holds {', '.join(loaded.files) or 'nothing'}; name the array of samples 'samples', or as the model's input: "
            f"{', '.join(inputs)}"
        )


def _csv(path: Path, names: Sequence[str], inputs: Sequence[str]) -> Array:  # noqa: ARG001 - see _npz
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        return np.empty((0, len(names)))
    if all(_is_number(field) for field in lines[0]):
        header, columns = [], range(len(lines[0]))
    else:
        header = [field.strip() for field in lines.pop(0)]
        columns = _columns(path, header, names)  # type: ignore[assignment]
    rows = []
    for number, line in enumerate(lines, 1 + bool(header)):
        try:
            rows.append([float(line[column].strip() or "nan") for column in columns])
        except (ValueError, IndexError) as e:
            raise BundleError(f"{path}: line {number}: {e}; {len(columns)} numbers are right") from e
    return np.array(rows, np.float64).reshape(len(rows), -1)


def _parquet(path: Path, names: Sequence[str], inputs: Sequence[str]) -> Array:  # noqa: ARG001 - see _npz
    try:
        import pyarrow.parquet as parquet
    except ImportError as e:
        raise BundleError(f"{path}: reading Parquet needs pyarrow; install it with: pip install 'edge-runtime[offline]'") from e
    header = list(parquet.read_schema(path).names)
    table = parquet.read_table(path, columns=[header[column] for column in _columns(path, header, names)])
    return np.stack([column.to_numpy().astype(np.float64) for column in table.columns], axis=1)


def _columns(path: Path, header: list[str], names: Sequence[str]) -> list[int]:
    where = {name: i for i, name in enumerate(header)}
    if missing := [name for name in names if name not in where]:
        raise BundleError(f"{path}: has no column {_some(missing)}; its columns are {_some(header)}; one named as each feature is right")
    return [where[name] for name in names]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text.strip()
    return True
