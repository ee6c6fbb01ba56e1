"""Tables as TOML gives them to a RuntimeConfig, key by key, so that one wrong key does not hide the next.

Where a key is wrong or missing, a harmless value stands in for it and the key is marked: the checks of meaning run on the whole
config and say nothing that relies on such a key.
"""

import math
from typing import Any, Literal, get_args, get_origin

import msgspec

from edge.config.describe import is_table, members, plain, range_text, type_text
from edge.config.findings import Findings, join, near
from edge.config.types import RuntimeConfig

_SHOWN = 60  # characters of a value in a message
_SECRET = "password"  # noqa: S105 - the name of a key
_STAND_INS: dict[Any, Any] = {str: "", bool: False, int: 0, float: math.nan, list: [], dict: {}, tuple: (math.nan, math.nan)}


def typed(tables: dict[str, Any], found: Findings) -> RuntimeConfig:
    """Every key that can be typed, typed; every other one noted.

    Args:
        tables: what tomllib read.
        found: takes the problems.
    """
    config = _table(RuntimeConfig, tables, "", found)
    assert isinstance(config, RuntimeConfig)  # noqa: S101 - for the type checker
    return config


def _table(kind: Any, value: Any, path: str, found: Findings) -> Any:
    if not isinstance(value, dict):
        found.add(path, f"must be a table, not {_show(path, value)}")
        return _stand_in(kind)
    fields = msgspec.structs.fields(kind)
    names = [field.name for field in fields]
    for key in value:
        if key not in names:
            _unknown(key, fields, value, path, found)
    typed_values = {}
    for field in fields:
        where = join(path, field.name)
        if field.name in value:
            typed_values[field.name] = _value(field.type, value[field.name], where, found)
        elif field.required:
            found.add(where, f"is missing; write {_expected(field.type)}")
            typed_values[field.name] = _stand_in(field.type)
    return kind(**typed_values)


def _unknown(key: str, fields: tuple[msgspec.structs.FieldInfo, ...], table: dict[str, Any], path: str, found: Findings) -> None:
    names = [field.name for field in fields]
    deeper = [f"{field.name}.{key}" for field in fields if any(key in _keys(member) for member in members(field.type))]
    hint = deeper[0] if deeper else near(key, [name for name in names if name not in table])
    found.add(join(path, key), "unknown key", hint or near(key, names))
    if hint:  # what was meant is most likely there under the wrong name, so it is not missing as well
        found.distrust(join(path, hint))


def _keys(annotation: Any) -> tuple[str, ...]:
    base, _ = plain(annotation)
    return tuple(base.__struct_fields__) if is_table(base) else ()


def _value(annotation: Any, value: Any, path: str, found: Findings) -> Any:
    base, metas = plain(annotation)
    tables = [member for member in members(annotation) if is_table(plain(member)[0])]
    if tables and (isinstance(value, dict) or len(members(annotation)) == 1):
        return _table(plain(tables[0])[0], value, path, found)
    origin = get_origin(base)
    if origin is list and isinstance(value, list):
        if not value and any(meta.min_length for meta in metas):
            found.add(path, "must not be empty")
        return [_value(get_args(base)[0], item, f"{path}[{i}]", found) for i, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        if not value and any(meta.min_length for meta in metas):
            found.add(path, "must not be empty")
        return {key: _value(get_args(base)[1], item, join(path, key), found) for key, item in value.items()}
    return _leaf(annotation, value, path, found)


def _leaf(annotation: Any, value: Any, path: str, found: Findings) -> Any:
    try:
        leaf = msgspec.convert(value, annotation)
    except (msgspec.ValidationError, ValueError, OverflowError):
        base, _ = plain(annotation)
        choices = [choice for choice in get_args(base) if isinstance(choice, str)] if get_origin(base) is Literal else []
        hint = near(value, choices) if isinstance(value, str) else f"[[{path}]]" if _is_list_of_tables(base) else ""
        found.add(path, f"must be {_expected(annotation)}, not {_show(path, value)}", hint)
        return _stand_in(annotation)
    if isinstance(leaf, float) and not math.isfinite(leaf):
        found.add(path, f"must be a finite number, not {leaf}")
    if isinstance(leaf, tuple) and any(math.isnan(bound) for bound in leaf):
        found.add(path, "must not hold nan")
    return leaf


def _is_list_of_tables(base: Any) -> bool:
    return get_origin(base) is list and bool(_keys(get_args(base)[0]))


def _expected(annotation: Any) -> str:
    bounds = range_text(annotation)
    return type_text(annotation) + (f" ({bounds})" if bounds else "")


def _show(path: str, value: Any) -> str:
    if path.endswith(_SECRET):
        return "what is there"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number that long"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _stand_in(annotation: Any) -> Any:
    base, _ = plain(annotation)
    if is_table(base):
        return base(**{field.name: _stand_in(field.type) for field in msgspec.structs.fields(base) if field.required})
    if members(annotation) != [annotation]:
        return None if type(None) in get_args(base) else _stand_in(members(annotation)[0])
    if get_origin(base) is Literal:
        return get_args(base)[0]
    return _STAND_INS[get_origin(base) or base]
