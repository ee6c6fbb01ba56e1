"""Golden vectors: inputs with the outputs that a variant must reproduce. Owns their file, an npz without pickle."""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError

MAX_ROWS = 256  # each is run at every start, for every variant
_MAX_UNPACKED_BYTES = 64 << 20

_LABELS = "labels"

_Array = npt.NDArray[np.float32]


class GoldenVectors(msgspec.Struct, frozen=True):
    """Inputs (N, F) and, per variant, outputs (N, labels), float32 and finite; and the labels, in the order of the columns.

    Without labels (as earlier versions wrote it) a manifest that lists them in another order cannot be told from an honest one.
    """

    inputs: _Array
    outputs: dict[str, _Array]
    labels: Sequence[str] = ()

    def encode(self) -> bytes:
        """The bytes of the npz file."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {f"outputs.{variant}": outputs for variant, outputs in self.outputs.items()}
        if self.labels:
            arrays[_LABELS] = np.array(list(self.labels), np.str_)
        np.savez(buffer, inputs=self.inputs, **arrays)
        return buffer.getvalue()

    def compare(self, variant: str, run: Callable[[_Array, int], list[float]], labels: Sequence[str], rtol: float, atol: float) -> str:
        """Run every input through a variant, in order: with states, they are one sequence of lane 0.

        Returns:
            The first value that is too far off, as text; empty if all agree.
        """
        for i, (vector, wanted) in enumerate(zip(self.inputs, self.outputs[variant], strict=True)):
            for label, got, want in zip(labels, run(vector, 0), wanted.tolist(), strict=True):
                allowed = atol + rtol * abs(want)
                if not abs(got - want) <= allowed:
                    return f"row {i}, {label}: {got:.9g} instead of {want:.9g}, off by {abs(got - want):.3g} where {allowed:.3g} is allowed"
        return ""


def read_golden(data: bytes, where: str, features: int, labels: Sequence[str], variants: Sequence[str]) -> GoldenVectors:
    """Read golden vectors.

    Args:
        data: the file's bytes.
        where: its path, for messages.
        features: their number.
        labels: of the scores, in order.
        variants: each must have outputs.

    Raises:
        BundleError: not such a file, or arrays that are missing, of another type or shape, empty or not finite; labels in another order.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _MAX_UNPACKED_BYTES:
            raise BundleError(f"{where}: unpacks to {unpacked} bytes; at most {_MAX_UNPACKED_BYTES} are read")
        with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
            arrays = {name: np.asarray(loaded[name]) for name in loaded.files}
    except BundleError:
        raise
    except Exception as e:  # zipfile, zlib and numpy raise a dozen types for a damaged file
        raise BundleError(f"{where}: not readable as npz without pickle: {e}; write it with BundleWriter or numpy.savez") from e
    inputs = _take(arrays, "inputs", None, features, where)
    if not 1 <= len(inputs) <= MAX_ROWS:
        raise BundleError(f"{where}: inputs has {len(inputs)} rows; 1 to {MAX_ROWS} are right")
    outputs = {variant: _take(arrays, f"outputs.{variant}", len(inputs), len(labels), where) for variant in variants}
    named = arrays.get(_LABELS)
    if named is not None and (named.dtype.kind != "U" or named.tolist() != list(labels)):
        listed = ", ".join(map(str, named.ravel().tolist()[:8]))
        raise BundleError(
            f"{where}: its columns are {listed[:300]}; the manifest's labels are {', '.join(labels)[:300]}; they must be the same"
        )
    return GoldenVectors(inputs, outputs, tuple(labels) if named is not None else ())


def _take(arrays: Mapping[str, npt.NDArray[np.generic]], name: str, rows: int | None, columns: int, where: str) -> _Array:
    right = f"float32 ({'N' if rows is None else rows}, {columns}) is right"
    array = arrays.get(name)
    if array is None:
        raise BundleError(f"{where}: has no {name!r}, only {', '.join(sorted(arrays)) or 'nothing'}; {right}")
    shape = (len(array) if rows is None and array.ndim else rows, columns)
    if array.dtype != np.float32 or array.shape != shape:
        raise BundleError(f"{where}: {name!r} is {array.dtype} {array.shape}; {right}")
    if not np.isfinite(array).all():
        raise BundleError(f"{where}: {name!r} holds NaN or infinity; finite values are right")
    return np.ascontiguousarray(array, np.float32)
