"""Tables keyed by device: keys that fit the kind of file, known units, defaults for every column, and a file that can be read."""

from pathlib import Path

from edge.config.check_streams import check_unit
from edge.config.findings import Findings, join, near
from edge.config.tables import spec_of
from edge.config.types import RuntimeConfig, Table
from edge.errors import EdgeError
from edge.store.table import SUFFIXES, read_table

_FLOAT32_MAX = 3.4028234663852886e38


def check_tables(config: RuntimeConfig, found: Findings) -> None:
    """Note what is wrong with the tables under ``tables``, their files included."""
    for name, table in config.tables.items():
        path = join("tables", name)
        if not name:
            found.add(path, "a table needs a name")
        _check_kind(table, path, found)
        for column, unit in table.columns.items():
            check_unit(unit, join(f"{path}.columns", column), found)
        if table.key in table.columns:
            found.add(join(f"{path}.columns", table.key), "is the key; a column of numbers is due")
        _check_defaults(table, path, found)
        if found.is_sound(path):
            try:
                read_table(spec_of(table))
            except EdgeError as fault:
                found.add(f"{path}.path", str(fault))


def _check_kind(table: Table, path: str, found: Findings) -> None:
    suffix = Path(table.path).suffix.lower()
    is_sqlite = suffix in SUFFIXES[2:]
    if suffix not in SUFFIXES:
        found.add(f"{path}.path", f"{table.path!r} is none of {', '.join(SUFFIXES)}")
    elif is_sqlite and table.sql_table is None:
        found.add(f"{path}.sql_table", "is missing; name the table in the SQLite file", needs=[f"{path}.path"])
    elif not is_sqlite and table.sql_table is not None:
        found.add(f"{path}.sql_table", f"belongs to SQLite; {suffix} files hold one table", needs=[f"{path}.path"])


def _check_defaults(table: Table, path: str, found: Findings) -> None:
    for column, value in table.defaults.items():
        where = join(f"{path}.defaults", column)
        if column not in table.columns:
            reason = f"there is no column {column!r}; there are {', '.join(table.columns)}"
            found.add(where, reason, near(column, table.columns), needs=[f"{path}.columns"])
        elif abs(value) > _FLOAT32_MAX:
            found.add(where, "does not fit into float32")
    if table.missing == "skip":
        if table.defaults:
            found.add(f"{path}.defaults", 'is used with missing = "default" only', needs=[f"{path}.missing"])
    elif lacking := [column for column in table.columns if column not in table.defaults]:
        found.add(f"{path}.defaults", f"has no value for {', '.join(lacking)}", needs=[f"{path}.columns"])
