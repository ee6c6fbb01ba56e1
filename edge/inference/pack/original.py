"""An ONNX file as its toolkit wrote it: read, checked against this onnxruntime, and run. Changes nothing; what it says is the truth.

The expected outputs of a bundle come from here and not from the graph that was rewritten, so that they prove the rewriting.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edge.errors import BundleError
from edge.inference.bundle import MAX_FILE_BYTES

SEQUENCE = "sequence"
_LISTED = 6  # names in a message
_ADVICE = {
    "com.microsoft.extensions": "it is of onnxruntime-extensions: do that step before the model, and export the rest",
    "ai.onnx.contrib": "it is of onnxruntime-extensions: do that step before the model, and export the rest",
    "com.microsoft": "it is of another onnxruntime: export the model without optimising it first",
    "org.pytorch.aten": "the exporter found no ONNX operator for it: export with operator_export_type=ONNX, or write that layer otherwise",
    "aten": "the exporter found no ONNX operator for it: write that layer with operators that have one",
    "": "export with a lower opset (opset_version=17, target_opset=17)",
    "ai.onnx.ml": "export with a lower opset of ai.onnx.ml (target_opset={'': 17, 'ai.onnx.ml': 3})",
}

Array = npt.NDArray[Any]


class Tensor(msgspec.Struct, frozen=True):
    """An input or output of a graph.

    Args:
        name: its own.
        dtype: numpy's name, or ``sequence``.
        shape: sizes; None: left open.
        symbols: names of the sizes left open, "" where there is none.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    symbols: tuple[str, ...] = ()

    def __str__(self) -> str:
        sizes = ", ".join(str(size) if size is not None else self.symbols[i] or "?" for i, size in enumerate(self.shape))
        return f"{self.name} {self.dtype} [{sizes}]"


class Original:
    """A model file.

    Args:
        path: of the file; external data beside it is read too.

    Attributes:
        proto: onnx.ModelProto with all its tensors inside.
        inputs, outputs: what it takes and gives; weights that are inputs as well are not counted.

    Raises:
        BundleError: not an ONNX model, data that is missing, too large, or an operator that this onnxruntime does not have.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.where = path, str(path)
        self.proto = read_model(path)
        check_operators(self.proto, self.where)
        weights = {tensor.name for tensor in self.proto.graph.initializer}
        self.inputs = [_tensor(value) for value in self.proto.graph.input if value.name not in weights]
        self.outputs = [_tensor(value) for value in self.proto.graph.output]
        self.session = open_plainly(self.proto.SerializeToString(), self.where)

    def output(self, name: str) -> Tensor:
        """One output by its name."""
        return next(tensor for tensor in self.outputs if tensor.name == name)


def read_model(path: Path) -> Any:
    """An onnx.ModelProto, its external data inside of it.

    Raises:
        BundleError: cannot be read.
    """
    onnx = need_onnx()
    if not path.is_file():
        raise BundleError(f"{path}: there is no such file; give the path of an ONNX model")
    if (size := path.stat().st_size) > MAX_FILE_BYTES:
        raise BundleError(f"{path}: holds {size} bytes; at most {MAX_FILE_BYTES} are loaded on a device, export a smaller model")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as e:  # protobuf raises its own types, without a common base
        raise BundleError(f"{path}: is not an ONNX model ({first_line(e)}); give the file that the exporter wrote") from e
    if not model.graph.node or not model.graph.output:
        raise BundleError(f"{path}: holds no graph; is not an ONNX model, or was cut off: export it again")
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except Exception as e:  # as many types as there are ways to be missing
        raise BundleError(f"{path}: its weights are in another file that cannot be read: {first_line(e)}; put that file beside it") from e
    if (size := model.ByteSize()) > MAX_FILE_BYTES:
        raise BundleError(f"{path}: holds {size} bytes with its weights; at most {MAX_FILE_BYTES} are loaded on a device")
    return model


def need_onnx() -> Any:
    """The onnx package.

    Raises:
        BundleError: it is not installed.
    """
    try:
        import onnx
        import onnx.external_data_helper
    except ImportError as e:
        raise BundleError("packing needs the onnx package; install it with: pip install 'edge-runtime[pack]'") from e
    return onnx


def check_operators(model: Any, where: str) -> None:
    """Whether this onnxruntime knows every operator of a model, in subgraphs and functions too.

    Raises:
        BundleError: one that it does not know, with what to do about it.
    """
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    newest: dict[str, int] = {}
    first: dict[tuple[str, str], int] = {}
    for schema in get_all_operator_schema():
        newest[schema.domain] = max(newest.get(schema.domain, 0), schema.since_version)
        key = schema.domain, schema.name
        first[key] = min(first.get(key, schema.since_version), schema.since_version)
    opsets = {_domain(entry.domain): entry.version for entry in model.opset_import}
    own = {(_domain(function.domain), function.name) for function in model.functions}
    unknown = {}
    for node in nodes_of(model.graph, model.functions):
        domain, key = _domain(node.domain), (_domain(node.domain), node.op_type)
        if key not in own and (key not in first or first[key] > opsets.get(domain, 0)):
            unknown[key] = node.name
    if unknown:
        names = ", ".join(f"{kind} of domain {domain or 'ai.onnx'!r}" for domain, kind in sorted(unknown)[:_LISTED])
        domain = sorted(unknown)[0][0]
        advice = _ADVICE.get(domain, "operators of one's own are not loaded: write that layer with ONNX's operators and export it again")
        raise BundleError(f"{where}: onnxruntime {onnxruntime.__version__} has no operator {names} in opset {opsets.get(domain)}; {advice}")
    for domain, version in opsets.items():
        if domain in ("", "ai.onnx.ml") and version > newest[domain]:
            raise BundleError(
                f"{where}: uses opset {version} of {domain or 'ai.onnx'}; onnxruntime {onnxruntime.__version__} knows it up to "
                f"{newest[domain]}; {_ADVICE[domain]}"
            )


def nodes_of(graph: Any, functions: Sequence[Any] = ()) -> Iterator[Any]:
    """Every node, those of subgraphs and of the model's own functions as well."""
    pending = [graph, *functions]
    while pending:
        for node in pending.pop().node:
            yield node
            for attribute in node.attribute:
                pending += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def open_plainly(model: bytes, where: str) -> Any:
    """A session as a user would make it, but for one thread and its silence.

    Raises:
        BundleError: onnxruntime refuses the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(model, options, ["CPUExecutionProvider"], enable_fallback=0)
    except Exception as e:  # it raises its own types, without a common base
        raise BundleError(f"{where}: onnxruntime {ort.__version__} refuses it: {first_line(e)}; {_what_to_do(str(e))}") from e


def call(session: Any, where: str, outputs: Sequence[str], feeds: dict[str, Array]) -> list[Any]:
    """Run a session once.

    Raises:
        BundleError: the graph failed.
    """
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4
    try:
        found: list[Any] = session.run(list(outputs), feeds, options)
    except Exception as e:  # as above
        sizes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
        raise BundleError(f"{where}: does not run on the samples ({sizes}): {first_line(e)}") from e
    return found


def first_line(e: Exception) -> str:
    """An exception in one line."""
    return (str(e).strip().splitlines() or [type(e).__name__])[0][:300]


def quietly(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a function of another package whose warnings mean nothing to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


def _what_to_do(message: str) -> str:
    if "IR version" in message:
        return "export it with an older onnx package, or lower model.ir_version to 10 and save it again"
    if "NOT_IMPLEMENTED" in message or "Could not find an implementation" in message:
        return "this operator does not run on a CPU with that type of numbers: export with float32, or write that layer otherwise"
    return "export it again; onnx.checker.check_model(path, full_check=True) often says more"


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _tensor(value: Any) -> Tensor:
    onnx = need_onnx()
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return Tensor(value.name, SEQUENCE, ())
    tensor = value.type.tensor_type
    number = tensor.elem_type
    dtype = "string" if number == onnx.TensorProto.STRING else np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number)).name
    sizes = [dim.dim_value if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0 else None for dim in tensor.shape.dim]
    return Tensor(value.name, dtype, tuple(sizes), tuple(dim.dim_param for dim in tensor.shape.dim))
