"""Reads changed table files in a helper thread; the loop swaps them in between two frames."""

import logging
import threading
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue

from edge.daemon.heartbeat import Heartbeat
from edge.errors import EdgeError
from edge.features.device_table import DeviceTable
from edge.pipeline.tables import TableJoin
from edge.store.table import TableSpec, read_table, version_of
from edge.threads import helper

_log = logging.getLogger(__name__)
_YIELD_S = 0.0002
_READ_S = 20.0  # longest that reading one file may take


class TableWatcher:
    """Watches the files of a pipeline's tables.

    Args:
        join: of the pipeline.
        files: table name to where it is, and how many seconds lie between two looks at it.

    Attributes:
        heartbeat: of its thread.
    """

    def __init__(self, join: TableJoin, files: Mapping[str, tuple[TableSpec, float]]) -> None:
        self._join, self._files = join, files
        self.heartbeat = Heartbeat("tables")
        self._seen = {name: join.tables[name].rows.version for name in files}
        self._found: SimpleQueue[tuple[str, DeviceTable | EdgeError]] = SimpleQueue()
        self._retired: SimpleQueue[DeviceTable] = SimpleQueue()  # given up by the thread
        self._closed = threading.Event()
        self._thread = helper("edge-tables", self._run)

    def take(self, wall_ns: int) -> None:
        """Swap in what was read since the last call; the first call starts the thread. From the loop's thread only.

        Args:
            wall_ns: Unix time.
        """
        if self._thread.ident is None:
            self._thread.start()
        while True:
            try:
                name, result = self._found.get_nowait()
            except Empty:
                break
            if isinstance(result, DeviceTable):
                self._retired.put(self._join.replace(name, result, wall_ns))
                _log.info("table %s: %d rows read again", name, len(result.index))
            else:
                self._join.fail(name)
                _log.error("table %s: the new file is refused, the old rows stay: %s", name, result)
        for name in self._join.look(wall_ns):
            is_old = self._join.tables[name].is_old
            _log.warning("table %s: %s", name, "unchanged for longer than max_age_s; its rows are not used" if is_old else "is fresh again")

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def _run(self) -> None:
        due = dict.fromkeys(self._files, 0.0)
        while not self._closed.wait(self._pause(min(due.values()))):
            while not self._retired.empty():
                self._retired.get()
            for name, (spec, refresh_s) in self._files.items():
                if due[name] <= time.monotonic():
                    self.heartbeat.expect(_READ_S, f"reading {name}")
                    self._look_at(name, spec)
                    due[name] = time.monotonic() + refresh_s

        self.heartbeat.rest()

    def _pause(self, until_s: float) -> float:
        wait_s = max(0.01, until_s - time.monotonic())
        self.heartbeat.expect(wait_s)
        return wait_s

    def _look_at(self, name: str, spec: TableSpec) -> None:
        version = version_of(spec.path)
        if version == self._seen[name]:
            return
        self._seen[name] = version
        result: DeviceTable | EdgeError
        try:
            result = read_table(spec, lambda: time.sleep(_YIELD_S))
        except EdgeError as fault:
            result = fault
        self._found.put((name, result))
