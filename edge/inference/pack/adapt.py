"""A further model made to look like the first one: variants of a bundle share their inputs, outputs and states, names included."""

from typing import Any

import msgspec
import numpy as np

from edge.errors import BundleError
from edge.inference.pack.original import Original, need_onnx
from edge.inference.pack.rewrite import Rewritten
from edge.inference.pack.roles import Roles

_PREFIX = "smaller/"


def adapt(original: Original, rewritten: Rewritten, roles: Roles, first: Rewritten, first_roles: Roles) -> Rewritten:
    """Give a graph the inputs and outputs of another one.

    Args:
        original, rewritten, roles: of the further model.
        first, first_roles: of the model that it stands in for.

    Returns:
        The graph, with a note of what was renamed.

    Raises:
        BundleError: they do not mean the same: other numbers of scores, or other states.
    """
    onnx = need_onnx()
    if [state.shape for state in roles.states] != [state.shape for state in first_roles.states]:
        raise BundleError(f"{original.where}: --smaller: has other states than the first model; variants share their states")
    if len(roles.scores) != len(first_roles.scores) or roles.constants or first_roles.constants:
        raise BundleError(f"{original.where}: --smaller: has other outputs or constants than the first model; give it the same")
    renamed = {rewritten.input: first.input}
    renamed |= dict(zip(rewritten.outputs, first.outputs, strict=True))
    renamed |= {mine.input: theirs.input for mine, theirs in zip(roles.states, first_roles.states, strict=True)}
    for mine, theirs in zip(rewritten.outputs, first.outputs, strict=True):
        if np.prod(rewritten.outputs[mine][1]) != np.prod(first.outputs[theirs][1]):
            raise BundleError(
                f"{original.where}: --smaller: output {mine!r} has {np.prod(rewritten.outputs[mine][1])} values, {theirs!r} of the first "
                f"model {np.prod(first.outputs[theirs][1])}; variants have the same labels"
            )
    proto = onnx.compose.add_prefix(rewritten.proto, _PREFIX)
    graph = proto.graph
    inputs = {rewritten.input: (first.input, first.dtype, first.shape)}
    for state, its in zip(roles.states, first_roles.states, strict=True):
        inputs[state.input] = (its.input, its.dtype, its.shape)
    outputs = {mine: (theirs, *first.outputs[theirs]) for mine, theirs in zip(rewritten.outputs, first.outputs, strict=True)}
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    before: list[Any] = []
    for mine, (theirs, dtype, shape) in inputs.items():
        own = onnx.helper.tensor_dtype_to_np_dtype(types[_PREFIX + mine]).name
        was = rewritten.shape if mine == rewritten.input else shape
        before += _bridge(proto, theirs, _PREFIX + mine, (dtype, shape), (own, was))
    after: list[Any] = []
    for mine, (theirs, dtype, shape) in outputs.items():
        after += _bridge(proto, _PREFIX + mine, theirs, rewritten.outputs[mine], (dtype, shape))
    nodes = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*before, *nodes, *after])
    graph.input.extend(_info(*tensor) for tensor in inputs.values())
    graph.output.extend(_info(*tensor) for tensor in outputs.values())
    told = ", ".join(f"{mine} is {theirs}" for mine, theirs in renamed.items() if mine != theirs)
    notes = [*rewritten.notes, *([f"named as in the first model: {told}"] if told else [])]
    return msgspec.structs.replace(
        rewritten, proto=proto, input=first.input, dtype=first.dtype, shape=first.shape, outputs=dict(first.outputs), notes=notes
    )


def _info(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    onnx = need_onnx()
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def _bridge(proto: Any, source: str, target: str, given: tuple[str, tuple[int, ...]], wanted: tuple[str, tuple[int, ...]]) -> list[Any]:
    """Nodes from one tensor to another, of another type or shape perhaps."""
    onnx, nodes, at = need_onnx(), [], source
    if given[0] != wanted[0]:
        to = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(wanted[0]))
        nodes.append(onnx.helper.make_node("Cast", [at], [f"{target}/cast"], to=to))
        at = f"{target}/cast"
    if given[1] != wanted[1]:
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(wanted[1], np.int64), f"{target}/shape"))
        nodes.append(onnx.helper.make_node("Reshape", [at, f"{target}/shape"], [target]))
    else:
        nodes.append(onnx.helper.make_node("Identity", [at], [target]))
    if all(entry.domain not in ("", "ai.onnx") for entry in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("", 13))
    return nodes
