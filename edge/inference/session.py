"""One ONNX graph on one thread, bound once to arrays that stay where they are. Owns onnxruntime; decides nothing.

Measured, 32-64-32-2 MLP, 2 cores: ``run`` 4.7-7.7 us, with bound arrays 4.0 us, this class on top of it 0.4 us. With the memory arena
on 0.1-0.3 us slower; without the memory pattern no difference. A session must not live across a fork.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from edge.errors import BundleError, InferenceFault
from edge.inference.manifest import Constant, Input, Manifest, Output, State, range_of
from edge.inference.states import States

_SILENT = 4  # only fatal messages
_TYPES = {"float32": "float", "float64": "double"}  # where onnxruntime's name is not numpy's

Run = Callable[[npt.NDArray[np.float32], int], list[float]]


class _Tensor(NamedTuple):
    name: str
    dtype: str
    shape: list[int]


class Tensors(msgspec.Struct, frozen=True):
    """The tensors of a graph, as a manifest describes them.

    Args:
        takes: the feature vector.
        gives: every output but those of states; those with labels are read.
        states, constants: further inputs.
    """

    takes: Input
    gives: Sequence[Output]
    states: Sequence[State] = ()
    constants: Sequence[Constant] = ()

    @classmethod
    def of(cls, manifest: Manifest) -> "Tensors":
        """Those of a manifest."""
        return cls(manifest.inputs[0], manifest.outputs, manifest.states, manifest.constants)


class Session:
    """A loaded graph with its input and output arrays.

    Not for use by two threads at once. Scores are the values of the outputs with labels, in order.

    Args:
        model: an ONNX model that has been verified and is self-contained; or the path of one that nobody can change any more.
        where: its path, for messages.
        tensors: of the graph; all sizes are fixed.
        states: of every lane; None where the graph has none.

    Raises:
        BundleError: onnxruntime refuses the model, or its tensors are not those described.
    """

    __slots__ = (
        "_arrays",
        "_binding",
        "_execute",
        "_output",
        "_outputs",
        "_range",
        "_rounded",
        "_states",
        "_vector",
        "_view",
        "_where",
        "run",
    )

    def __init__(self, model: bytes | str, where: str, tensors: Tensors, states: States | None = None) -> None:
        session = open_session(model, where, {})
        if sizes := _sizes_leftopen_session(session, tensors):  # closed, so that shapes are known when the graph is optimised
            session = open_session(model, where, sizes)
        _check(session.get_inputs(), [*_inputs(tensors)], "input", where)
        _check(session.get_outputs(), [*_outputs(tensors)], "output", where)
        self._where, self._states = where, states
        self._binding = session.io_binding()
        self._arrays: list[npt.NDArray[Any]] = []  # what is bound must live as long as the binding
        takes = tensors.takes
        self._vector = self._bind_input(takes.name, np.zeros(takes.shape, takes.dtype)).reshape(-1)
        for constant in tensors.constants:
            self._bind_input(constant.name, constant.array())
        self._outputs = self._bind_scores(tensors)
        if states is not None:
            for i, state in enumerate(tensors.states):
                self._bind_input(state.input, states.taken[i])
                self._bind_output(state.output, states.given[i])
        # Assigning to a memoryview takes 105 ns where a slice of the array takes 190 ns, and refuses another dtype or size.
        self._view: Any = self._vector.data
        self._output: Any = self._outputs[0].data
        self._range = range_of(takes.dtype)
        self._rounded = np.zeros(self._vector.shape, np.float32)
        self._execute = session.run_with_iobinding
        is_plain = takes.dtype == "float32" and states is None and len(self._outputs) == 1 and self._outputs[0].dtype == np.float32
        self.run: Run = self._run_plain if is_plain else self._run_any

    def _run_plain(self, vector: npt.NDArray[np.float32], lane: int = 0) -> list[float]:
        """Scores of one feature vector.

        Args:
            vector: float32 (F,), in manifest order.
            lane: whose; only states need it.

        Returns:
            One value per label.

        Raises:
            InferenceFault: the graph failed, a score is NaN or infinite, or a feature is none that the graph takes.
            ValueError: the vector has another dtype or size.
        """
        del lane
        self._view[:] = vector
        try:
            self._execute(self._binding)
        except RuntimeError as e:  # what run_with_iobinding raises for everything
            raise InferenceFault(f"{self._where}: {_first_line(e)}", "failed") from e
        scores: list[float] = self._output.tolist()
        if not math.isfinite(sum(scores)):  # float32 values cannot overflow a float64 sum
            raise InferenceFault(f"{self._where}: scores are {scores}; finite ones can be used", "not_finite")
        return scores

    def _run_any(self, vector: npt.NDArray[np.float32], lane: int = 0) -> list[float]:
        """See ``_run_plain``: with a cast to another type, with states, or with several outputs."""
        self._fill(vector)
        states = self._states
        if states is not None:
            states.take(lane)
        try:
            self._execute(self._binding)
        except RuntimeError as e:
            raise InferenceFault(f"{self._where}: {_first_line(e)}", "failed") from e
        scores = self._read()
        if not math.isfinite(sum(scores)) and not all(map(math.isfinite, scores)):
            raise InferenceFault(f"{self._where}: scores are {scores}; finite ones can be used", "not_finite")
        if states is not None and not states.keep(lane):
            raise InferenceFault(f"{self._where}: a state is NaN or infinite; it is not kept", "not_finite")
        return scores

    def _read(self) -> list[float]:
        if len(self._outputs) == 1:
            values: list[float] = self._outputs[0].tolist()
            return values if self._outputs[0].dtype.kind == "f" else list(map(float, values))
        return [float(value) for output in self._outputs for value in output.tolist()]

    def _fill(self, vector: npt.NDArray[np.float32]) -> None:
        if self._range is None:
            if self._vector.dtype == np.float32:
                self._view[:] = vector
                return
            self._check_shape(vector)
            np.copyto(self._vector, vector, casting="unsafe")
            return
        self._check_shape(vector)
        low, high = self._range
        values = vector if self._vector.dtype.kind == "f" else np.rint(vector, self._rounded)
        # Compared as Python's numbers, which is exact: as float32, the largest int64 is one more than it is. NaN is in no range.
        is_inside = low <= float(np.minimum.reduce(values)) and float(np.maximum.reduce(values)) <= high
        if not is_inside and (self._vector.dtype.kind != "f" or (np.abs(values) > high).any()):  # NaN may mean something to a float16 graph
            raise InferenceFault(f"{self._where}: a feature is not in the range of {self._vector.dtype}", "not_finite")
        np.copyto(self._vector, values, casting="unsafe")

    def _check_shape(self, vector: npt.NDArray[np.float32]) -> None:
        if vector.shape != self._vector.shape or vector.dtype != np.float32:
            raise ValueError(f"{self._where}: the vector is {vector.dtype} {vector.shape}; float32 {self._vector.shape} is right")

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
        self._fill(vector)
        timer.start()
        try:
            self._execute(self._binding, options)
        except RuntimeError as e:
            late = f"did not end within {limit_s:g} s: " if options.terminate else ""
            raise InferenceFault(f"{self._where}: {late}{_first_line(e)}", "failed") from e
        finally:
            timer.cancel()

    def _bind_scores(self, tensors: Tensors) -> list[npt.NDArray[Any]]:
        """Outputs with labels of one type lie in one flat array, so that a single read takes them all."""
        given = [output for output in tensors.gives if output.labels]
        if len({output.dtype for output in given}) > 1:
            return [self._bind_output(output.name, np.zeros(output.shape, output.dtype)).reshape(-1) for output in given]
        flat, first = np.zeros(sum(len(output.labels) for output in given), given[0].dtype), 0
        for output in given:
            self._bind_output(output.name, flat[first : first + len(output.labels)].reshape(output.shape))
            first += len(output.labels)
        return [flat]

    def _bind_input(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
        self._arrays.append(array)
        return array

    def _bind_output(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._binding.bind_output(name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data)
        self._arrays.append(array)
        return array


def open_session(model: bytes | str, where: str, sizes: Mapping[str, int]) -> ort.InferenceSession:
    """Open a graph for one thread, on the processor alone.

    Args:
        model: an ONNX model that has been verified and is self-contained; or the path of one that nobody can change any more.
        where: its path, for messages.
        sizes: that the graph leaves open, by name.

    Raises:
        BundleError: onnxruntime refuses it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = _SILENT
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Otherwise bytes that look like the flatbuffer format are read as such, past the check for external data.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    ort.set_default_logger_severity(_SILENT)
    try:
        return ort.InferenceSession(model, options, ["CPUExecutionProvider"], enable_fallback=0)  # the fallback prints to stdout
    except Exception as e:  # it raises its own types, UnicodeDecodeError and RuntimeError, without a common base
        raise BundleError(f"{where}: onnxruntime {ort.__version__} refuses it: {_first_line(e)}; export it again for this runtime") from e


def _inputs(tensors: Tensors) -> list[_Tensor]:
    found = [_Tensor(tensors.takes.name, tensors.takes.dtype, tensors.takes.shape)]
    found += [_Tensor(constant.name, constant.dtype, constant.shape) for constant in tensors.constants]
    return found + [_Tensor(state.input, state.dtype, state.shape) for state in tensors.states]


def _outputs(tensors: Tensors) -> list[_Tensor]:
    found = [_Tensor(output.name, output.dtype, output.shape) for output in tensors.gives]
    return found + [_Tensor(state.output, state.dtype, state.shape) for state in tensors.states]


def _sizes_leftopen_session(session: ort.InferenceSession, tensors: Tensors) -> dict[str, int]:
    """Named sizes of the inputs, where the manifest says what they are: the batch of the vector, and any of a state."""
    vector, *others = _inputs(tensors)
    may_be_open = {vector.name: vector.shape[:1] if vector.shape[:1] == [1] else []} | {other.name: other.shape for other in others}
    return {
        name: size
        for node in session.get_inputs()
        for name, size in zip(node.shape, may_be_open.get(node.name, []), strict=False)
        if isinstance(name, str)
    }


def _check(found: Sequence[ort.NodeArg], wanted: Sequence[_Tensor], kind: str, where: str) -> None:
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
