"""A graph made ready for a device: one row a call, every size fixed, tensors only, nothing computed that nobody reads.

Each step says what it did. Whether the graph still computes the same is not its to say: the golden vectors prove it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from edge.errors import BundleError
from edge.inference.pack.original import SEQUENCE, Original, call, need_onnx, nodes_of, open_plainly
from edge.inference.pack.roles import Roles
from edge.inference.pack.run import zero_states

VECTOR = "features"  # name of the input that takes the place of several
_RESHAPING = {"Reshape", "Expand"}


class Rewritten(msgspec.Struct, frozen=True):
    """A graph for a device.

    Args:
        proto: onnx.ModelProto.
        input: name of the input that takes the vector.
        dtype, shape: of that input.
        outputs: names of the scores, then of the states; each with its dtype and shape.
        classes: of outputs that were maps, their keys in order.
        notes: what was done, one line each.
    """

    proto: Any
    input: str
    dtype: str
    shape: tuple[int, ...]
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    classes: dict[str, list[Any]]
    notes: list[str]


def rewrite(original: Original, roles: Roles) -> Rewritten:
    """Make a graph ready.

    Raises:
        BundleError: an output that cannot be made a tensor, or a batch size that the graph depends on.
    """
    onnx = need_onnx()
    proto = onnx.ModelProto()
    proto.CopyFrom(original.proto)
    notes: list[str] = []
    classes = _unmap(proto, original, roles, notes)
    _drop(proto, roles, notes)
    _forget(proto, notes)
    name, shape, dtype = roles.features[0].name, roles.shapes[0], roles.features[0].dtype
    if len(roles.features) > 1:
        name, shape = _join(proto, roles, notes), (1, sum(roles.sizes))
    if roles.is_turned:
        shape = _turn(proto, name, shape, notes)
    _freeze_inputs(proto, roles, name, shape, notes)
    if roles.batch > 1:
        _unfix_batch(proto, roles.batch, notes)
    outputs = _freeze_outputs(proto, original, roles, {name: np.zeros(shape, dtype)})
    return Rewritten(proto, name, dtype, shape, outputs, classes, notes)


def class_names(original: Original) -> list[str]:
    """What a classifier in the graph calls its classes, if it says so."""
    for node in original.proto.graph.node:
        if node.domain == "ai.onnx.ml":
            for attribute in node.attribute:
                if attribute.name.startswith("classlabels") and (found := _keys(attribute)):
                    return [str(key) for key in found]
    return []


def _keys(attribute: Any) -> list[Any]:
    return [text.decode("utf-8", "replace") for text in attribute.strings] or list(attribute.ints)


def _unmap(proto: Any, original: Original, roles: Roles, notes: list[str]) -> dict[str, list[Any]]:
    """Take ZipMaps away: their output becomes the tensor that they made maps of."""
    onnx, classes = need_onnx(), {}
    made_by = {output: node for node in proto.graph.node for output in node.output}
    for name in roles.scores:
        if original.output(name).dtype != SEQUENCE:
            continue
        node = made_by.get(name)
        if node is None or node.op_type != "ZipMap":
            kind = node.op_type if node is not None else "nothing"
            raise BundleError(
                f"{original.where}: output {name!r} is a sequence made by {kind}, which is no tensor; only ZipMap can be taken away: "
                "export it as a tensor, or name the outputs that are wanted with --output"
            )
        classes[name] = next((_keys(attribute) for attribute in node.attribute if _keys(attribute)), [])
        source = node.input[0]
        proto.graph.node.remove(node)
        outer = {value.name for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer)}
        if source in outer or any(name in each.output for each in proto.graph.node):
            proto.graph.node.append(onnx.helper.make_node("Identity", [source], [name]))
        else:
            _rename(proto, source, name)
        notes.append(f"ZipMap taken away: output {name!r} is now the tensor with one value a class ({len(classes[name])})")
    return classes


def _rename(proto: Any, old: str, new: str) -> None:
    for node in nodes_of(proto.graph):
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new


def _drop(proto: Any, roles: Roles, notes: list[str]) -> None:
    """Take away outputs that nobody reads, and the nodes and weights that only they needed."""
    graph = proto.graph
    for output in [value for value in graph.output if value.name in roles.dropped]:
        graph.output.remove(output)
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(name for each in _with_inner(node) for name in each.input)
            needed.update(name for inner in _graphs_of(node) for name in (value.name for value in inner.output))
            kept.append(node)
    gone = len(graph.node) - len(kept)
    if gone:
        kept.reverse()
        copies = [_copy(node) for node in kept]
        del graph.node[:]
        graph.node.extend(copies)
    for values in (graph.initializer, graph.sparse_initializer):
        for tensor in [tensor for tensor in values if _name_of(tensor) not in needed]:
            values.remove(tensor)
    if roles.dropped:
        notes.append(f"outputs not needed for scores taken away: {', '.join(roles.dropped)}" + (f" ({gone} nodes less)" if gone else ""))


def _name_of(tensor: Any) -> str:
    name: str = tensor.name if hasattr(tensor, "name") else tensor.values.name
    return name


def _copy(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy


def _with_inner(node: Any) -> Iterable[Any]:
    yield node
    for graph in _graphs_of(node):
        yield from nodes_of(graph)


def _graphs_of(node: Any) -> list[Any]:
    return [g for attribute in node.attribute for g in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else []))]


def _forget(proto: Any, notes: list[str]) -> None:
    """Take away what exporters note of the machine they ran on, and shapes that hold no longer."""
    told = 0
    for node in nodes_of(proto.graph, proto.functions):
        told += bool(node.doc_string) + len(node.metadata_props)
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for values in (proto.graph.input, proto.graph.output, proto.graph.initializer):
        for value in values:
            value.ClearField("doc_string")
            del value.metadata_props[:]
    del proto.graph.value_info[:]
    del proto.graph.metadata_props[:]
    proto.graph.ClearField("doc_string")
    if told:
        notes.append(f"{told} remarks of the exporter taken away (source lines and paths of the machine that trained)")


def _join(proto: Any, roles: Roles, notes: list[str]) -> str:
    """One input for the vector in place of one a column."""
    onnx, graph = need_onnx(), proto.graph
    taken = {name for node in nodes_of(graph) for name in (*node.input, *node.output)} | {value.name for value in graph.initializer}
    name = VECTOR
    while name in taken:
        name = f"{name}_"
    for value in [value for value in graph.input if value.name in {tensor.name for tensor in roles.features}]:
        graph.input.remove(value)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(roles.features[0].dtype))
    graph.input.insert(0, onnx.helper.make_tensor_value_info(name, kind, [1, len(roles.features)]))
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if not opset:
        opset = 13
        proto.opset_import.append(onnx.helper.make_opsetid("", opset))
    outputs = [tensor.name for tensor in roles.features]
    if opset >= 13:
        sizes, extra = f"{name}_sizes", {}
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones(len(outputs), np.int64), sizes))
        inputs = [name, sizes]
    else:
        inputs, extra = [name], {"split": [1] * len(outputs)}
    graph.node.insert(0, onnx.helper.make_node("Split", inputs, outputs, axis=1, **extra))
    notes.append(f"inputs {', '.join(outputs)} are now columns of one input {name!r}, in this order")
    return name


def _turn(proto: Any, name: str, shape: tuple[int, ...], notes: list[str]) -> tuple[int, ...]:
    """The vector comes channel by channel where the graph takes time by time."""
    inner = f"{name}/turned"
    _rename(proto, name, inner)
    proto.graph.node.insert(0, need_onnx().helper.make_node("Transpose", [name], [inner], perm=[0, 2, 1]))
    notes.append(f"input {name!r} takes (channels, time) now and is turned to (time, channels) in the graph")
    return shape[0], shape[2], shape[1]


def _freeze_inputs(proto: Any, roles: Roles, name: str, shape: Sequence[int], notes: list[str]) -> None:
    """Give every input fixed sizes."""
    wanted = {state.input: state.shape for state in roles.states} | {key: value.shape for key, value in roles.constants.items()}
    wanted |= {name: tuple(shape)}
    for value in proto.graph.input:
        if value.name in wanted:
            was = _sizes(value)
            _set_shape(value, wanted[value.name])
            if was != _sizes(value):
                notes.append(f"input {value.name!r} {was} is now {_sizes(value)}")


def _sizes(value: Any) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"[{', '.join(str(dim.dim_value) if dim.dim_value > 0 else dim.dim_param or '?' for dim in dims)}]"


def _set_shape(value: Any, shape: Sequence[int]) -> None:
    tensor = value.type.tensor_type
    tensor.ClearField("shape")
    tensor.shape.SetInParent()
    for size in shape:
        tensor.shape.dim.add().dim_value = size


def _unfix_batch(proto: Any, batch: int, notes: list[str]) -> None:
    """A batch size that is written into the shapes of Reshape and Expand becomes 1; others are found out by running it."""
    onnx, graph = need_onnx(), proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    constants = {node.output[0]: attribute.t for node in graph.node for attribute in node.attribute[:1] if node.op_type == "Constant"}
    for node in graph.node:
        source = weights.get(node.input[1]) or constants.get(node.input[1]) if node.op_type in _RESHAPING and len(node.input) > 1 else None
        if source is None:
            continue
        sizes = onnx.numpy_helper.to_array(source).copy()
        if sizes.ndim == 1 and sizes.size and sizes[0] == batch:
            sizes[0] = 1
            source.CopyFrom(onnx.numpy_helper.from_array(sizes, source.name))
            notes.append(f"{node.op_type} {node.name or node.output[0]!r} made for a batch of {batch} is now for 1")


def _freeze_outputs(proto: Any, original: Original, roles: Roles, vector: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Run it once to know every output's type and shape, and write them down."""
    onnx, graph = need_onnx(), proto.graph
    names = [*roles.scores, *(state.output for state in roles.states)]
    order = {value.name: value for value in graph.output}
    del graph.output[:]
    for output in names:  # their types are not known yet where ZipMap was: onnxruntime works them out
        value = onnx.ValueInfoProto(name=output) if order[output].type.WhichOneof("value") == "sequence_type" else _copy(order[output])
        if value.type.WhichOneof("value") == "tensor_type":
            value.type.tensor_type.ClearField("shape")
        graph.output.append(value)
    feeds = roles.constants | vector | zero_states(roles)
    try:
        session = open_plainly(proto.SerializeToString(), original.where)
        values = call(session, original.where, names, feeds)
    except BundleError as e:
        built_in = f"; the batch of {roles.batch} is built into it, export it with a batch of 1" if roles.batch > 1 else ""
        raise BundleError(f"{e} (with one row a call{built_in})") from e
    found = {}
    for output, value in zip(names, values, strict=True):
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise BundleError(f"{original.where}: output {output!r} is {array.dtype}, not numbers; name another one with --output")
        found[output] = (array.dtype.name, array.shape)
    del graph.output[:]
    for output, (dtype, shape) in found.items():
        graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape))
    return found
