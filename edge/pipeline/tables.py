"""Tables keyed by device, joined into the vectors: when a device gets a lane, and when a table is replaced or grows too old."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from edge.features.device_table import DeviceTable
from edge.pipeline.lanes import Lanes


class TakesColumns(Protocol):
    """Rolling features, as far as tables go; a config that is only checked loads no kernel."""

    def set_columns(self, lane: int, table: str, values: npt.NDArray[np.float32] | None) -> None:
        """See edge.features.rolling."""


class JoinedTable(msgspec.Struct):
    """One table at work.

    Args:
        rows: as last read.
        order: columns of ``rows`` that the vector has, in its order; empty when no feature uses the table.
        defaults: float32, in the same order, for devices without a row; None: such a device makes no vectors.
        max_age_ns: rows of a file that has not changed for longer count as missing; 0: never.
        loads, failures: how often the file was read, and could not be.
        loaded_ns: Unix time of the last good read; 0: when the pipeline was built.
        is_old: beyond ``max_age_ns``.
    """

    rows: DeviceTable
    order: list[int]
    defaults: npt.NDArray[np.float32] | None = None
    max_age_ns: int = 0
    loads: int = 1
    failures: int = 0
    loaded_ns: int = 0
    is_old: bool = False

    def values(self, device: str) -> npt.NDArray[np.float32] | None:
        """What the device's vectors get, or None."""
        found = None if self.is_old else self.rows.row(device, self.order)
        return self.defaults if found is None else found


class TableJoin:
    """The tables of a pipeline.

    Args:
        features: take the values.
        lanes: the table of devices; tells of every device that gets a lane.
        tables: by name.
    """

    def __init__(self, features: TakesColumns, lanes: Lanes, tables: Mapping[str, JoinedTable]) -> None:
        self.tables = dict(tables)
        self._features, self._lanes = features, lanes
        lanes.on_assign = self._seat

    def replace(self, name: str, rows: DeviceTable, wall_ns: int) -> DeviceTable:
        """A new state of a file, good as a whole, for the next row of every device.

        Args:
            name: of the table.
            rows: with the same columns.
            wall_ns: Unix time.

        Returns:
            The old rows: giving up a large table takes milliseconds, which the caller may spend elsewhere.
        """
        table = self.tables[name]
        old = table.rows
        table.rows, table.loaded_ns = rows, wall_ns
        table.loads += 1
        table.is_old = self._is_old(table, wall_ns)
        self._join(name)
        return old

    def fail(self, name: str) -> None:
        """A new state of a file was no good; the old one stays."""
        self.tables[name].failures += 1

    def look(self, wall_ns: int) -> list[str]:
        """Names of tables that have become too old, or are no longer, since the last look."""
        turned = [name for name, table in self.tables.items() if table.is_old != self._is_old(table, wall_ns)]
        for name in turned:
            self.tables[name].is_old = not self.tables[name].is_old
            self._join(name)
        return turned

    def status(self, wall_ns: int) -> dict[str, Any]:
        """What is known of each table.

        Args:
            wall_ns: Unix time.
        """
        return {
            name: {
                "rows": len(table.rows.index),
                "loads": table.loads,
                "failures": table.failures,
                "age_s": round((wall_ns - table.rows.modified_ns) * 1e-9, 1),
                "loaded_s": round((wall_ns - table.loaded_ns) * 1e-9, 1) if table.loaded_ns else None,
                "is_old": table.is_old,
            }
            for name, table in self.tables.items()
        }

    def _join(self, name: str) -> None:
        table = self.tables[name]
        if table.order:
            for lane, device in enumerate(self._lanes.devices[: len(self._lanes)]):
                self._features.set_columns(lane, name, table.values(device))

    def _seat(self, lane: int, device: str) -> None:
        for name, table in self.tables.items():
            if table.order:
                self._features.set_columns(lane, name, table.values(device))

    @staticmethod
    def _is_old(table: JoinedTable, wall_ns: int) -> bool:
        return bool(table.max_age_ns) and wall_ns - table.rows.modified_ns > table.max_age_ns
