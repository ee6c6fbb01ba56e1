"""External data must be found wherever a tensor can hide, and nothing malformed may pass."""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inference_models import info, linear, model_of, slow, tensor
from onnx import TensorProto, helper

from edge.errors import BundleError
from edge.inference.graph import MAX_DEPTH, NESTED, check_self_contained

KINDS = set(NESTED)


def external(name: str = "hidden", location: str = "../../secret.bin") -> TensorProto:
    hidden = TensorProto(name=name, dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    hidden.external_data.add(key="location", value=location)
    return hidden


def subgraph(node: onnx.NodeProto | None = None) -> onnx.GraphProto:
    nodes = [node] if node is not None else []
    return helper.make_graph(nodes, "inner", [], [info("x", [1])], [] if nodes else [external()])


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(external())


def in_sparse_values(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(external())


def in_sparse_indices(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(external())


def in_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=external()))


def in_attribute_list(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(external())


def in_sparse_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSOR).sparse_tensor.values.CopyFrom(external())


def in_sparse_attribute_list(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSORS).sparse_tensors.add().indices.CopyFrom(external())


def in_subgraph(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=subgraph(), else_branch=subgraph()))


def in_subgraph_of_subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_node("If", ["c"], ["y"], then_branch=subgraph(), else_branch=subgraph())
    model.graph.node.append(helper.make_node("Loop", ["", "c"], ["y"], body=subgraph(inner)))


def in_subgraph_list(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.add(name="g", type=onnx.AttributeProto.GRAPHS).graphs.append(subgraph())


def in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["y"], value=external())
    model.functions.append(helper.make_function("local", "f", [], ["y"], [node], [helper.make_opsetid("", 17)]))


def in_function_default(model: onnx.ModelProto) -> None:
    default = helper.make_attribute("value", external())
    function = helper.make_function("local", "f", [], ["y"], [], [helper.make_opsetid("", 17)], attribute_protos=[default])
    model.functions.append(function)


def in_training_start(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.CopyFrom(subgraph())


def in_training_algorithm(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.CopyFrom(subgraph())


PLACES = [
    in_initializer, in_sparse_values, in_sparse_indices, in_attribute, in_attribute_list, in_sparse_attribute, in_sparse_attribute_list,
    in_subgraph, in_subgraph_of_subgraph, in_subgraph_list, in_function, in_function_default, in_training_start, in_training_algorithm,
]  # fmt: skip


@pytest.mark.parametrize("hide", PLACES, ids=lambda hide: hide.__name__)
def test_external_data_is_found_wherever_it_hides(hide: Callable[[onnx.ModelProto], None]) -> None:
    model = linear()
    check_self_contained(model.SerializeToString(), "m.onnx")
    hide(model)
    with pytest.raises(BundleError, match=r"^m\.onnx: tensor 'hidden' has external data; .*self-contained"):
        check_self_contained(model.SerializeToString(), "m.onnx")


@pytest.mark.parametrize(
    "location", ["../x", "/etc/passwd", "weights.bin", "", "*/_ORT_MEM_ADDR_/*", "file:///etc/passwd", "\\\\server\\share", "a/../../b"]
)
def test_every_location_is_refused(location: str) -> None:
    model = model_of([], [external(location=location)])
    with pytest.raises(BundleError, match="external data"):
        check_self_contained(model.SerializeToString(), "m")


def test_either_sign_of_external_data_is_enough() -> None:
    only_flag = TensorProto(name="t", data_location=TensorProto.EXTERNAL)
    only_entry = TensorProto(name="t")
    only_entry.external_data.add(key="location", value="x")
    for hidden in (only_flag, only_entry):
        with pytest.raises(BundleError, match="external data"):
            check_self_contained(model_of([], [hidden]).SerializeToString(), "m")
    inline = TensorProto(name="t", data_location=TensorProto.DEFAULT)
    assert check_self_contained(model_of([], [inline]).SerializeToString(), "m") == 1


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def wrap(*tensor_fields: bytes) -> bytes:
    return field(7, field(5, b"".join(tensor_fields)))


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(varint(14 << 3) + varint(1), id="plain"),
        pytest.param(varint(14 << 3) + varint(1 + (1 << 32)), id="a parser keeps the low 32 bits"),
        pytest.param(varint(14 << 3) + b"\x81\x80\x80\x80\x00", id="number in more bytes than needed"),
        pytest.param(b"\xf0\x80\x80\x00" + varint(1), id="tag in more bytes than needed"),
        pytest.param(varint(14 << 3 | 2) + b"\x01\x01", id="as bytes"),
        pytest.param(varint(14 << 3 | 5) + b"\x01\0\0\0", id="as fixed32"),
        pytest.param(varint(14 << 3) + varint(0) + varint(14 << 3) + varint(1), id="said twice"),
        pytest.param(varint(13 << 3) + varint(1), id="entry of another type"),
        pytest.param(field(13, b""), id="empty entry"),
    ],
)
def test_no_way_of_writing_it_gets_past(sign: bytes) -> None:
    with pytest.raises(BundleError, match="external data"):
        check_self_contained(wrap(field(8, b"t"), sign), "m")


def test_a_second_graph_field_is_merged_by_parsers_and_read_here() -> None:
    with pytest.raises(BundleError, match="external data"):
        check_self_contained(linear().SerializeToString() + wrap(varint(14 << 3), varint(1)), "m")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "holds no graph"),
        (b"\x08\x09", "holds no graph"),
        (field(7, b"") + b"\x80", "cut off or too long"),
        (field(7, b"") + b"\x08" + b"\xff" * 10 + b"\x01", "cut off or too long"),
        (field(7, b"") + b"\xff" * 5 + b"\x01", "cut off or too long"),
        (field(7, b"") + b"\x00\x01", "field number out of range"),
        (field(7, b"") + b"\xf8\xff\xff\xff\x7f\x00", "field number out of range"),
        (field(7, b"") + varint(3 << 3 | 3), "wire type 3"),
        (field(7, b"") + varint(3 << 3 | 7), "wire type 7"),
        (b"\x3a\x05\x00", "longer than what contains it"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "longer than what contains it"),
        (field(7, b"") + b"\x0d\x00\x00", "longer than what contains it"),
        (b"\x38\x01", "is not a message"),
        (field(7, field(5, b"\x42\x05a")), "longer than what contains it"),
    ],
)
def test_malformed_protobuf_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(BundleError, match=rf"^m\.onnx: .*{what}"):
        check_self_contained(data, "m.onnx")


def nested(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


def test_depth_is_bounded() -> None:
    deepest = (MAX_DEPTH - 2) // 3
    assert check_self_contained(nested(deepest), "m") == 0
    for depth in (deepest + 1, 2000):
        with pytest.raises(BundleError, match="nested more than 64 deep"):
            check_self_contained(nested(depth), "m")


def test_real_models_pass_and_tensors_are_counted() -> None:
    assert check_self_contained(linear().SerializeToString(), "m") == 2
    assert check_self_contained(slow(size=8).SerializeToString(), "m") == 10
    assert check_self_contained(model_of([], [tensor("i", [1, 2])]).SerializeToString(), "m") == 1


def test_the_table_covers_every_path_to_a_tensor_that_onnx_knows() -> None:
    """Derived from the descriptors of the installed onnx: a field that a later version adds fails here."""
    found: dict[str, dict[int, str]] = {}
    pending = [onnx.ModelProto.DESCRIPTOR]
    while pending:
        message = pending.pop()
        if message.name in found:
            continue
        found[message.name] = {f.number: f.message_type.name for f in message.fields if f.message_type is not None}
        pending += [f.message_type for f in message.fields if f.message_type is not None]
    reaches = {"TensorProto"}
    while grown := {kind for kind, fields in found.items() if reaches & set(fields.values())} - reaches:
        reaches |= grown
    wanted = {kind: {n: inner for n, inner in found[kind].items() if inner in reaches} for kind in reaches}
    assert wanted == NESTED


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_read(data: bytes) -> None:
    with contextlib.suppress(BundleError):  # anything else fails the test
        check_self_contained(data, "m")


def tensors_of(message: Any) -> Iterator[TensorProto]:
    if isinstance(message, TensorProto):
        yield message
    for kind, value in message.ListFields():
        if kind.message_type is not None:
            for inner in value if hasattr(value, "append") else [value]:
                yield from tensors_of(inner)


def test_damaged_models_are_refused_or_read_and_never_hide_external_data() -> None:
    """Whatever the onnx package reads as external in a damaged model is refused here."""
    rng = random.Random(11)
    model = linear()
    in_subgraph_of_subgraph(model)
    healthy = model.SerializeToString()
    refused = 0
    for _ in range(3000):
        data = bytearray(healthy)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            check_self_contained(bytes(data), "m")
        except BundleError:
            refused += 1
            continue
        try:
            damaged = onnx.ModelProto.FromString(bytes(data))
        except Exception:  # noqa: BLE001, S112 - protobuf's own error type depends on its backend
            continue
        assert not any(t.external_data or t.data_location for t in tensors_of(damaged))
    assert refused > 2000
