"""One ONNX graph on one thread, bound once to arrays that stay where they are. Owns onnxruntime; decides nothing.

Measured, 32-64-32-2 MLP, 2 cores: ``run`` 4.7-7.7 us, with bound arrays 4.0 us, this class on top of it 0.4 us. With the memory arena
on 0.1-0.3 us slower; without the memory pattern no difference. A session must not live across a fork.
"""

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edge.errors import BundleError, InferenceFault
from edge.inference.manifest import Input, Output

_SILENT = 4  # only fatal messages
_TYPES = {"float32": "float", "float64": "double"}  # where onnxruntime's name is not numpy's


class Session:
    """A loaded graph with its input and output arrays.

    Not for use by two threads at once. Outputs with labels are computed into one flat array, in order.

    Args:
        model: an ONNX model that has been verified and is self-contained.
        where: its path, for messages.
        takes: the input, float32, fixed shape.
        gives: the outputs; those with labels are read.

    Raises:
        BundleError: onnxruntime refuses the model, or its tensors are not those described.
    """

    __slots__ = ("_binding", "_execute", "_input", "_output", "_where")

    def __init__(self, model: bytes, where: str, takes: Input, gives: Sequence[Output]) -> None:
        session = _open(model, where, [])
        batch = [given.shape[0] for given in session.get_inputs()[:1] if given.shape and isinstance(given.shape[0], str)]
        if batch and takes.shape[:1] == [1]:  # a batch size left open is closed, so that shapes are known when the graph is optimised
            session = _open(model, where, batch)
        _check(session.get_inputs(), [takes], "input", where)
        _check(session.get_outputs(), gives, "output", where)
        vector = np.zeros(math.prod(takes.shape), np.float32)
        scores = np.zeros(sum(len(output.labels) for output in gives), np.float32)
        self._binding = session.io_binding()
        self._binding.bind_input(takes.name, "cpu", 0, np.float32, takes.shape, vector.ctypes.data)
        first = 0
        for output in gives:
            if output.labels:
                self._binding.bind_output(output.name, "cpu", 0, np.float32, output.shape, scores[first:].ctypes.data)
                first += len(output.labels)
        # Assigning to a memoryview takes 105 ns where a slice of the array takes 190 ns, and refuses another dtype or size.
        self._input: Any = vector.data
        self._output: Any = scores.data
        self._execute = session.run_with_iobinding
        self._where = where

    def run(self, vector: npt.NDArray[np.float32]) -> list[float]:
        """Scores of one feature vector.

        Args:
            vector: float32 (F,), in manifest order.

        Returns:
            One value per label.

        Raises:
            InferenceFault: the graph failed, or a score is NaN or infinite.
            ValueError: the vector has another dtype or size.
        """
        self._input[:] = vector
        try:
            self._execute(self._binding)
        except RuntimeError as e:  # what run_with_iobinding raises for everything
            raise InferenceFault(f"{self._where}: {_first_line(e)}") from e
        scores: list[float] = self._output.tolist()
        if not math.isfinite(sum(scores)):  # float32 values cannot overflow a float64 sum
            raise InferenceFault(f"{self._where}: scores are {scores}; finite ones can be used")
        return scores

    def first_run(self, vector: npt.NDArray[np.float32], limit_s: float) -> None:
        """Run a graph of which it is not known that it ends, and stop it, between two nodes, after ``limit_s``.

        Args:
            vector: float32 (F,), in manifest order.
            limit_s: seconds.

        Raises:
            InferenceFault: it failed, or did not end in time.
        """
        options = ort.RunOptions()
        options.log_severity_level = _SILENT
        timer = threading.Timer(limit_s, setattr, (options, "terminate", True))
        timer.daemon = True
        self._input[:] = vector
        timer.start()
        try:
            self._execute(self._binding, options)
        except RuntimeError as e:
            late = f"did not end within {limit_s:g} s: " if options.terminate else ""
            raise InferenceFault(f"{self._where}: {late}{_first_line(e)}") from e
        finally:
            timer.cancel()


def bind_rows(
    model: bytes, where: str, takes: Input, gives: Output, rows: int
) -> tuple[Callable[[], None], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
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
    session = _open(model, where, [])
    found = session.get_inputs()[0]
    if not found.shape or not isinstance(found.shape[0], str):
        raise BundleError(
            f"{where}: input {found.name!r} has shape {found.shape}; its first dimension must be left open, to take {rows} rows"
        )
    session = _open(model, where, [found.shape[0]], rows)
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


def _open(model: bytes, where: str, batch: Sequence[str], rows: int = 1) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Otherwise bytes that look like the flatbuffer format are read as such, past the check for external data.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    for name in batch:
        options.add_free_dimension_override_by_name(name, rows)
    ort.set_default_logger_severity(_SILENT)
    try:
        return ort.InferenceSession(model, options, ["CPUExecutionProvider"], enable_fallback=0)  # the fallback prints to stdout
    except Exception as e:  # it raises its own types, UnicodeDecodeError and RuntimeError, without a common base
        raise BundleError(f"{where}: onnxruntime {ort.__version__} refuses it: {_first_line(e)}; export it again for this runtime") from e


def _check(found: Sequence[ort.NodeArg], wanted: Sequence[Input | Output], kind: str, where: str) -> None:
    by_name = {tensor.name: tensor for tensor in found}
    if sorted(by_name) != sorted(tensor.name for tensor in wanted):
        raise BundleError(
            f"{where}: the graph's {kind}s are {', '.join(sorted(by_name))}; "
            f"the manifest's {kind}s are {', '.join(tensor.name for tensor in wanted)}; they must be the same"
        )
    for tensor in wanted:
        node = by_name[tensor.name]
        dtype = f"tensor({_TYPES.get(tensor.dtype, tensor.dtype)})"
        if node.type != dtype:
            raise BundleError(f"{where}: {kind} {tensor.name!r} is {node.type}; the manifest says {dtype}")
        # A first dimension that is left open takes the 1 of the manifest. Any other open one could be of any size.
        shape = [1 if i == 0 and not isinstance(size, int) else size for i, size in enumerate(node.shape)]
        if shape != tensor.shape:
            raise BundleError(
                f"{where}: {kind} {tensor.name!r} has shape {node.shape}; the manifest says {tensor.shape} "
                "(all sizes must be fixed, only the first may be left open and is then 1)"
            )


def _first_line(e: Exception) -> str:
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:300]
