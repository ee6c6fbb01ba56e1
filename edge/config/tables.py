"""Tables of a config as the values that the store and the pipeline take."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.config.findings import join
from edge.config.types import RuntimeConfig, Table
from edge.errors import ConfigError, EdgeError, Problem
from edge.features.device_table import DeviceTable
from edge.pipeline.tables import JoinedTable
from edge.store.table import TableSpec, read_table


def spec_of(table: Table) -> TableSpec:
    """What there is to read."""
    return TableSpec(Path(table.path), table.key, tuple(table.columns), table.sql_table)


def read_tables(config: RuntimeConfig) -> dict[str, DeviceTable]:
    """Every table, read whole.

    Raises:
        ConfigError: a file has changed since the config was checked, and is no good any more.
    """
    found: dict[str, DeviceTable] = {}
    for name, table in config.tables.items():
        try:
            found[name] = read_table(spec_of(table))
        except EdgeError as fault:
            raise ConfigError([Problem(f"{join('tables', name)}.path", str(fault))]) from fault
    return found


def joined_tables(config: RuntimeConfig, rows: Mapping[str, DeviceTable]) -> dict[str, JoinedTable]:
    """How each table joins the vectors.

    Args:
        config: checked.
        rows: of every table.
    """
    found: dict[str, JoinedTable] = {}
    for name, table in config.tables.items():
        columns = [column for entry in config.features if entry.table == name for column in entry.columns]
        defaults = np.array([table.defaults[column] for column in columns], np.float32) if table.missing == "default" else None
        order = [rows[name].columns.index(column) for column in columns]
        found[name] = JoinedTable(rows[name], order, defaults, int((table.max_age_s or 0) * 1e9))
    return found
