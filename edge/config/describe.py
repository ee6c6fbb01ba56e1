"""A key's type and range in words, from the annotations of edge.config.types. Messages and the reference say the same."""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

_NAMES = {str: "text", bool: "true or false", int: "whole number", float: "number"}


def plain(annotation: Any) -> tuple[Any, list[msgspec.Meta]]:
    """The annotation without its Meta, and the Meta."""
    metas: list[msgspec.Meta] = []
    while get_origin(annotation) is Annotated:
        annotation, *found = get_args(annotation)
        metas += [meta for meta in found if isinstance(meta, msgspec.Meta)]
    return annotation, metas


def members(annotation: Any) -> list[Any]:
    """The alternatives of a union but None, or the annotation itself."""
    base, _ = plain(annotation)
    if get_origin(base) in (Union, types.UnionType):
        return [member for member in get_args(base) if member is not type(None)]
    return [annotation]


def is_table(annotation: Any) -> bool:
    """Whether it is one of our tables."""
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def type_text(annotation: Any) -> str:
    """Such as ``number``, ``list of text`` or ``"a" or "b"``."""
    return " or ".join(_one(member) for member in members(annotation))


def _one(annotation: Any) -> str:
    base, _ = plain(annotation)
    if is_table(base):
        return "{ " + ", ".join(field.name for field in msgspec.structs.fields(base)) + " }"
    origin, arguments = get_origin(base), get_args(base)
    if origin is Literal:
        return " or ".join(toml_value(value) for value in arguments)
    if origin is tuple:
        return "list of two numbers"
    if origin is list:
        inner = plain(arguments[0])[0]
        return "list of " + (f"({type_text(inner)})" if get_origin(inner) is Literal else type_text(inner))
    if origin is dict:
        return f"table of name = {type_text(arguments[1])}"
    return _NAMES[base]


def range_text(annotation: Any) -> str:
    """Such as ``> 0, <= 60000``; empty when anything goes."""
    texts: list[str] = []
    _, metas = plain(annotation)
    for meta in metas + [meta for member in members(annotation) if member is not annotation for meta in plain(member)[1]]:
        bounds = ((">", meta.gt), (">=", meta.ge), ("<", meta.lt), ("<=", meta.le))
        texts += [f"{sign} {bound:g}" if abs(bound) < 1e5 else f"{sign} {int(bound):_}" for sign, bound in bounds if bound is not None]
        texts += ["not empty"] if meta.min_length else []
        texts += [f"matches {meta.pattern}"] if meta.pattern else []
    return ", ".join(texts)


def meaning(annotation: Any) -> str:
    """The description of a key."""
    return " ".join(meta.description for meta in plain(annotation)[1] if meta.description)


def toml_value(value: Any) -> str:
    """A value as TOML: text, booleans, numbers, and lists and inline tables of them.

    Args:
        value: str, bool, int, float, list, tuple, dict or Struct; None inside of a table is left out.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        entries = ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in value.items() if item is not None)
        return f"{{ {entries} }}" if entries else "{}"
    return repr(value)


def toml_key(key: str) -> str:
    """A key as TOML: quoted only when it must be."""
    is_bare = key.isascii() and bool(key) and all(c.isalnum() or c in "_-" for c in key)
    return key if is_bare else _quoted(key)


def _quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(c, c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}") for c in text) + '"'
