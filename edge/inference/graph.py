"""Refuses models that need data or operators from outside. Reads the protobuf of an ONNX model just far enough; opens no second file.

A tensor may name a file in which its values are. onnxruntime follows that name, relative to the working directory when the model
comes from memory (CVE-2022-25882, CVE-2024-27318 and later ones are about it), so hashes would prove nothing. Being stricter than a
protobuf parser is safe here, being laxer is not: whatever is odd is refused.
"""

from collections.abc import Iterator

from edge.errors import BundleError

MAX_DEPTH = 64  # nested messages; a subgraph inside a subgraph costs three. protobuf's own limit is 100
_MAX_TAG_BYTES = 5  # a tag is 32 bits
_MAX_VARINT_BYTES = 10  # a value is 64 bits
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 (groups) are not used by ONNX

# Message kind -> field number -> kind, for every field through which a tensor can be reached. A test derives the same table from
# the onnx package's own descriptors. Source: onnx.proto, IR version 13.
NESTED: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto", 6: "GraphProto", 10: "TensorProto", 11: "GraphProto", 22: "SparseTensorProto", 23: "SparseTensorProto",
    },
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}  # fmt: skip
_GRAPH, _TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 7, 8, 13, 14
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")  # the last one has the operators of quantised graphs
_NAMED = {"NodeProto": (7, 4), "FunctionProto": (10, 1)}  # fields: domain, and type or name of the operator
_LONGEST_NAME = 200

_Name = tuple[bytes, bytes]
_Open = tuple[str, Iterator[tuple[int, int, int, int]], dict[int, bytes]]


def check_self_contained(model: bytes, where: str) -> int:
    """Refuse a model that refers to data or operators outside of itself, or that is not a well-formed model.

    An operator is known if its domain is one of DOMAINS, or if the model defines it as a function.

    Args:
        model: the file's bytes.
        where: its path, for messages.

    Returns:
        The number of tensors that were looked at.

    Raises:
        BundleError: external data anywhere, an operator that is not known, malformed protobuf, messages nested too deeply, or no graph.
    """
    tensors, has_graph = 0, False
    names: dict[str, set[_Name]] = {"NodeProto": set(), "FunctionProto": set()}
    # A stack of half-read messages, not a list of what is still to be read: memory is bounded by the depth, not by the file.
    open_messages: list[_Open] = [("ModelProto", _fields(model, 0, len(model), where), {})]
    while open_messages:
        kind, fields, texts = open_messages[-1]
        for number, wire, first, last in fields:
            inner = NESTED[kind].get(number)
            if inner is None:
                if number in _NAMED.get(kind, ()):
                    texts[number] = _text(model, wire, first, last, where)
                continue
            if wire != _BYTES:
                raise _malformed(where, last, f"field {number} of {kind} is not a message")
            has_graph |= kind == "ModelProto" and number == _GRAPH
            if inner == "TensorProto":
                _check_tensor(model, first, last, where)
                tensors += 1
                continue
            if len(open_messages) == MAX_DEPTH:
                raise BundleError(f"{where}: messages are nested more than {MAX_DEPTH} deep; a real model is not, export it again")
            open_messages.append((inner, _fields(model, first, last, where), {}))
            break
        else:
            open_messages.pop()
            if kind in names:
                names[kind].add((texts.get(_NAMED[kind][0], b""), texts.get(_NAMED[kind][1], b"")))
    _check_operators(names["NodeProto"] - names["FunctionProto"], where)
    if not has_graph:
        raise BundleError(f"{where}: holds no graph; an ONNX model (ModelProto) is right")
    return tensors


def _check_operators(used: set[_Name], where: str) -> None:
    foreign = sorted((domain, name) for domain, name in used if domain.decode("latin-1") not in DOMAINS)
    if foreign:
        named = ", ".join(f"{domain.decode('utf-8', 'replace')}::{name.decode('utf-8', 'replace')}" for domain, name in foreign[:5])
        raise BundleError(
            f"{where}: needs the operators {named}{' and others' if len(foreign) > 5 else ''}, which are not part of ONNX; "
            f"operators of {', '.join(domain for domain in DOMAINS if domain)} are right, or functions inside the model"
        )


def _text(model: bytes, wire: int, first: int, last: int, where: str) -> bytes:
    if wire != _BYTES or last - first > _LONGEST_NAME:
        raise _malformed(where, last, "the name of an operator is none")
    return model[first:last]


def _check_tensor(model: bytes, start: int, end: int, where: str) -> None:
    name, is_external = "", False
    for number, wire, first, last in _fields(model, start, end, where):
        if number == _TENSOR_NAME and wire == _BYTES:
            name = model[first : min(last, first + 80)].decode("utf-8", "replace")
        elif number == _EXTERNAL_DATA or (number == _DATA_LOCATION and (wire != _VARINT or model[first:last] != b"\0")):
            is_external = True
    if is_external:
        raise BundleError(
            f"{where}: tensor {name!r} has external data; only self-contained models are loaded, "
            "save it with all tensors inside (onnx.save(..., save_as_external_data=False))"
        )


def _fields(model: bytes, at: int, end: int, where: str) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type, and where the content begins and ends."""
    while at < end:
        tag, after = _varint(model, at, end, where, _MAX_TAG_BYTES)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag >> 32:
            raise _malformed(where, at, "field number out of range")
        if wire == _VARINT:
            _, at = _varint(model, after, end, where, _MAX_VARINT_BYTES)
            yield number, wire, after, at
            continue
        if wire == _BYTES:
            size, after = _varint(model, after, end, where, _MAX_VARINT_BYTES)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise _malformed(where, at, f"wire type {wire}")
        if size > end - after:
            raise _malformed(where, at, f"field {number} is longer than what contains it")
        at = after + size
        yield number, wire, after, at


def _varint(model: bytes, at: int, end: int, where: str, longest: int) -> tuple[int, int]:
    value = 0
    for i in range(longest):
        if at + i >= end:
            break
        byte = model[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise _malformed(where, at, "number cut off or too long")


def _malformed(where: str, at: int, what: str) -> BundleError:
    return BundleError(f"{where}: not a well-formed ONNX model at byte {at}: {what}; copy or export it again")
