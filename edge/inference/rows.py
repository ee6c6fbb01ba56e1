"""A model that scores many rows in one call: the objects of a scan. Admitted like any other, then opened again for so many rows."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from edge.errors import BundleError, InferenceFault
from edge.inference.admission import admit, read_golden_of
from edge.inference.bundle import Bundle
from edge.inference.manifest import Input, Output
from edge.inference.session import open_session

_Table = npt.NDArray[np.float32]


class RowModel:
    """The preferred variant of a bundle, for up to ``rows`` rows at a time; the rest of a call costs as much as if it were used.

    Args:
        bundle: verified bytes; its graph leaves its first dimension open, and has one output with labels.
        names, feature_hash: of a row.
        rows: in one call.
        budget_ns: within which one row must be scored for the bundle to be admitted.

    Raises:
        BundleError: it is not admitted, or cannot take several rows.
    """

    def __init__(self, bundle: Bundle, names: Sequence[str], feature_hash: str, rows: int, budget_ns: int) -> None:
        model = admit(bundle, names, feature_hash, budget_ns)
        manifest = bundle.manifest
        variant = next(variant for variant in manifest.variants if variant.name == model.variants[0].name)
        self.name, self.version, self.labels = manifest.name, manifest.version, model.labels
        self._where = bundle.where(variant.file)
        given = [output for output in manifest.outputs if output.labels]
        if len(given) != 1:
            raise BundleError(f"{self._where}: has {len(given)} outputs with labels; a model of rows has one")
        self._execute, self._input, self._output = _bind_rows(bundle.files[variant.file], self._where, manifest.inputs[0], given[0], rows)
        golden = read_golden_of(bundle)
        for first in range(0, len(golden.inputs), rows):
            inputs, wanted = golden.inputs[first : first + rows], golden.outputs[variant.name][first : first + rows]
            off = np.abs(self.score(inputs, len(inputs)) - wanted) - (manifest.golden.atol + manifest.golden.rtol * np.abs(wanted))
            if not (off <= 0).all():
                row = first + int(off.max(axis=1).argmax())
                raise BundleError(f"{self._where}: several rows at once do not reproduce {manifest.golden.file}: row {row}")

    def score(self, table: _Table, n: int) -> _Table:
        """Scores of the first n rows.

        Args:
            table: float32 (>= n, F), in manifest order.
            n: at most ``rows``.

        Returns:
            float32 (n, labels), overwritten by the next call.

        Raises:
            InferenceFault: the graph failed, or a score is NaN or infinite.
        """
        self._input[:n] = table[:n]
        try:
            self._execute()
        except RuntimeError as e:
            raise InferenceFault(f"{self._where}: {e}") from e
        scores = self._output[:n]
        if n and not math.isfinite(float(scores.sum())):
            raise InferenceFault(f"{self._where}: scores are not finite", "not_finite")
        return scores


def _bind_rows(model: bytes, where: str, takes: Input, gives: Output, rows: int) -> tuple[Callable[[], None], _Table, _Table]:
    """A graph that leaves its first dimension open, bound for a fixed number of rows.

    Args:
        model: an ONNX model that has been verified and is self-contained.
        where: its path, for messages.
        takes, gives: input and output of one row.
        rows: in one call.

    Returns:
        What runs it, its input (rows, F) and its output (rows, labels), float32.

    Raises:
        BundleError: the graph takes one row only.
    """
    session = open_session(model, where, {})
    found = session.get_inputs()[0]
    if not found.shape or not isinstance(found.shape[0], str):
        raise BundleError(
            f"{where}: input {found.name!r} has shape {found.shape}; its first dimension must be left open, to take {rows} rows"
        )
    session = open_session(model, where, {found.shape[0]: rows})
    table = np.zeros((rows, math.prod(takes.shape)), np.float32)
    scores = np.zeros((rows, len(gives.labels)), np.float32)
    binding = session.io_binding()
    binding.bind_input(takes.name, "cpu", 0, np.float32, [rows, *takes.shape[1:]], table.ctypes.data)
    for output in session.get_outputs():
        if output.name == gives.name:
            binding.bind_output(gives.name, "cpu", 0, np.float32, [rows, *gives.shape[1:]], scores.ctypes.data)
        else:
            binding.bind_output(output.name, "cpu")
    return partial(session.run_with_iobinding, binding), table, scores
