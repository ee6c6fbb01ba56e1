"""A RuntimeConfig back to TOML, every default written out. What has no default and was not given is left out."""

from typing import Any

import msgspec

from edge.config.describe import is_table, toml_key, toml_value
from edge.config.findings import join
from edge.config.types import Ramp, RuntimeConfig

HIDDEN = "***"


def to_toml(config: RuntimeConfig, *, hide: bool = True) -> str:
    """The file that this config is: it loads to an equal one.

    Args:
        config: typed.
        hide: the password is written as ``***``.
    """
    if hide and config.broker.password is not None:
        config = msgspec.structs.replace(config, broker=msgspec.structs.replace(config.broker, password=HIDDEN))
    lines: list[str] = []
    _write(config, "", lines)
    return "\n".join(lines).strip("\n") + "\n"


def _write(table: Any, path: str, lines: list[str]) -> None:
    values = {name: value for name, value in msgspec.structs.asdict(table).items() if value is not None}
    for name, value in values.items():
        if not _has_tables(value):
            lines.append(f"{toml_key(name)} = {toml_value(value)}")
    for name, value in values.items():
        where = join(path, name)
        if _has_tables(value):
            _write_tables(value, where, lines)


def _write_tables(value: Any, path: str, lines: list[str]) -> None:
    if isinstance(value, list):
        for item in value:
            lines += ["", f"[[{path}]]"]
            _write(item, path, lines)
        return
    tables = {join(path, name): item for name, item in value.items()} if isinstance(value, dict) else {path: value}
    for where, table in tables.items():
        lines += ["", f"[{where}]"]
        _write(table, where, lines)


def _has_tables(value: Any) -> bool:
    """Whether it needs a header of its own; a ramp fits on its line."""
    if isinstance(value, list | dict):
        items = list(value.values()) if isinstance(value, dict) else value
        return bool(items) and is_table(type(items[0]))
    return is_table(type(value)) and not isinstance(value, Ramp)
