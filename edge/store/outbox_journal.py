"""The thread that writes an outbox to disk, so that the loop never waits for one.

The loop posts what happened (an alert to keep, a number to forget) and goes on; the thread takes all that has gathered and commits it in
one transaction; SQLite gives up the interpreter's lock while it writes and syncs. When the disk fails, the outbox goes on in memory: the
file is closed, opened again after a while, and given everything anew. A commit that failed is never believed the second time.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from edge.store.outbox_aside import set_aside
from edge.store.outbox_batch import GivenUp, Operation, Snapshot, fold
from edge.store.outbox_file import Damaged, Durability, Entry, OutboxFile
from edge.store.outbox_said import Reported

_log = logging.getLogger(__name__)

BATCH = 256  # operations of one transaction
MOST_WAITING = 16_384  # operations that wait for a disk that hangs; beyond, everything is written anew once it is back
RETRY_S = (0.25, 5.0)  # first and longest wait before a disk that failed is tried again
CLOSE_S = 2.0
OPEN_S = 2.0  # the start waits no longer for a disk that hangs
HANGS_NS = 2_000_000_000  # operations wait and none is done for so long: the disk counts as failing


class Journal:
    """An outbox's file, as the loop sees it.

    Args:
        path: of the database.
        durability: see OutboxFile.

    Attributes:
        committed: alerts up to this number are on disk.
        fault: why alerts are kept in memory only, or "" while they are stored; see ``trouble``.
        is_late: the file could not be read at the start; what it holds comes with ``needs_all``, once it can.
        damaged: what was set aside and why, or ""; set to "" by who has told of it.
        wants_all: the file is open again and waits for ``write_all``.
        commits: transactions so far.
        on_commit: called from the thread whenever the loop has something to look at.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        self.path, self.durability = path, durability
        self.committed, self.commits = -1, 0
        self.fault = self.damaged = ""
        self.wants_all = False
        self.on_commit: Callable[[], None] = lambda: None
        self._file: OutboxFile | None = None
        self._found: list[Entry] = []
        self._reported: dict[tuple[str, str], str] = {}
        self._totals: dict[str, int] = {}
        self._was_read = self._is_behind = False
        self._operations: queue.SimpleQueue[Operation] = queue.SimpleQueue()
        self._posted = self._done = 0
        self._retry_s = RETRY_S[0]
        self._pulse = (0, 0)  # operations done, and since when no more are
        # Not by this thread: one that waits for a disk that hangs cannot be called back.
        self._opener = threading.Thread(target=self._open, name="outbox-open", daemon=True)
        self._opener.start()
        self._opener.join(OPEN_S)
        is_hanging = self._opener.is_alive()
        if is_hanging:
            self._complain("the disk does not answer")
        self.is_late = is_hanging or not self._was_read
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)  # a disk that hangs must not keep us from ending

    # -- the loop's side -----------------------------------------------------------------------------------------------------

    def start(self) -> list[Entry]:
        """Begin to write; gives what an earlier run left, in order."""
        found: list[Entry] = []
        if not self.is_late:
            found, self._found = self._found, []
        if found:
            self.committed = found[-1].number
        self._thread.start()
        return found

    @property
    def backlog(self) -> int:
        """Operations that are not on disk yet."""
        return self._posted - self._done

    @property
    def trouble(self) -> str:
        """Why alerts must be sent from memory, or "": the disk fails, or hangs. Look often: it hangs by how long nothing was done."""
        if self.fault:
            return self.fault
        done, now_ns = self._done, time.monotonic_ns()
        if done != self._pulse[0] or done == self._posted:
            self._pulse = (done, now_ns)
        return "the disk does not answer" if now_ns - self._pulse[1] > HANGS_NS else ""

    @property
    def done(self) -> int:
        """Operations that the thread has dealt with."""
        return self._done

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def needs_all(self) -> bool:
        """Whether ``write_all`` is due."""
        return self.wants_all or (self._is_behind and self.backlog == 0 and not self.fault)

    def post(self, operation: Entry | GivenUp | int | str) -> None:
        """Keep an alert; give one up; forget a number, or the rules of a device. Takes about a microsecond, whatever the disk does."""
        if self._is_behind or self.backlog >= MOST_WAITING:
            self._is_behind = True
            return
        if self._posted == self._done:
            self._pulse = (self._done, time.monotonic_ns())
        self._posted += 1
        self._operations.put(operation)

    def take_found(self) -> list[Entry]:
        """What an earlier run left in a file that could not be opened at the start, in order; before ``write_all``."""
        found, self._found = self._found, []
        return found

    def take_reported(self) -> dict[tuple[str, str], str]:
        """What each alert rule said last in an earlier run, by device and rule: raised or cleared."""
        return dict(self._reported)

    def take_totals(self) -> dict[str, int]:
        """What was counted in earlier runs: ``GIVEN_UP`` and ``TOLD``, as far as they are not 0."""
        return dict(self._totals)

    def write_all(self, entries: Iterable[Entry], last: int, said: Reported, totals: dict[str, int]) -> None:
        """Make the file hold these alerts and no others, and this as what rules said last and as its totals."""
        self.wants_all = self._is_behind = False
        self._pulse = (self._done, time.monotonic_ns())
        self._posted += 1
        self._operations.put(Snapshot(list(entries), last, said, dict(totals)))

    def close(self) -> bool:
        """Write what waits and close the file; gives up after ``CLOSE_S``.

        Returns:
            Whether everything is on disk.
        """
        self._operations.put(None)
        self._thread.join(CLOSE_S)
        return self._done >= self._posted and not self.fault and not self._is_behind  # closing the file adds nothing to it

    # -- the thread's side ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the file; one that is damaged is set aside, and a new one begun."""
        try:
            try:
                self._load()
            except Damaged as fault:
                aside = set_aside(self.path)
                self.damaged = f"{self.path} is damaged ({fault}): it was set aside as {aside.name}, and a new one begun"
                _log.error("outbox: %s", self.damaged)
                self._load()
        except (sqlite3.Error, OSError, Damaged) as fault:
            self._fail(fault)

    def _load(self) -> None:
        file = OutboxFile(self.path, self.durability)
        try:
            if not self._was_read:
                found, bad = file.read()
                if bad:
                    self._drop_bad(file, bad)
                self._found, self._reported, self._totals, self._was_read = found, file.reported(), file.totals(), True
        except BaseException:
            file.close()
            raise
        self._file = file

    def _drop_bad(self, file: OutboxFile, bad: list[int]) -> None:
        """Alerts that are not what was written: they go, the sound ones stay."""
        try:
            kept = f"a copy of the file was kept as {file.copy_aside().name}"
        except (sqlite3.Error, OSError) as fault:  # evidence is worth less than the alerts
            kept = f"no copy of the file could be kept: {fault}"
        file.write((), bad)
        self.damaged = f"{len(bad)} alerts in {self.path} are not what was written: they were dropped, and {kept}"
        _log.error("outbox: %s", self.damaged)

    def _run(self) -> None:
        is_over = False
        try:
            self._work()
            is_over = True
        finally:
            if not is_over:  # a mistake of ours: alerts are sent from memory from now on, and the operator hears of it
                self.fault = "the thread that stores them has ended"

    def _work(self) -> None:
        self._opener.join()
        is_late = self.is_late
        while True:
            if (self._file is None or is_late) and not self._come_back():
                return
            is_late = False
            batch = [self._operations.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < BATCH:
                    batch.append(self._operations.get_nowait())
            is_last = None in batch
            if self._file is not None:
                self._write(batch)
            self._done += len(batch)  # discarded ones as well: they come again in the next snapshot
            self.on_commit()
            if is_last:
                if self._file is not None:
                    self._file.close()
                return

    def _write(self, batch: list[Operation]) -> bool:
        work = fold(batch, self.committed)
        try:
            assert self._file is not None  # noqa: S101 - who calls has looked
            self._file.write(work.puts.values(), work.drops, work.forgotten, work.anew, work.totals)
        except (sqlite3.Error, ValueError, OverflowError) as fault:
            self._fail(fault)
            return False
        self.commits += 1
        self.committed = work.last
        if self.fault and work.anew is not None:
            _log.warning("outbox: alerts are stored in %s again", self.path)
            self.fault = ""
        self._retry_s = RETRY_S[0]
        return True

    def _fail(self, fault: Exception) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._complain(str(fault))

    def _complain(self, fault: str) -> None:
        if not self.fault:
            _log.error("outbox: %s: %s; alerts are kept in memory and sent, and would be lost with the process", self.path, fault)
        self.fault = fault

    def _come_back(self) -> bool:
        """Open the file again, however long it takes, and write all that is to be in it; false at the end."""
        while True:
            while self._file is None:
                if self._discard_until(time.monotonic() + self._retry_s) is None:
                    return False
                self._retry_s = min(self._retry_s * 2, RETRY_S[1])
                self._open()
            self.wants_all = True
            self.on_commit()
            snapshot = self._discard_until(None)
            if not isinstance(snapshot, Snapshot):
                return False
            is_written = self._write([snapshot])
            self._done += 1
            if is_written:
                self.on_commit()
                return True

    def _discard_until(self, end_s: float | None) -> Snapshot | bool | None:
        """Discard what is posted while there is no file: it comes again in the next snapshot.

        Args:
            end_s: wait no longer; None: until a snapshot comes.

        Returns:
            The snapshot, true when it is time, None at the end.
        """
        while True:
            try:
                operation = self._operations.get(timeout=None if end_s is None else max(end_s - time.monotonic(), 0))
            except queue.Empty:
                return True
            if operation is None:
                return None
            if isinstance(operation, Snapshot) and end_s is None:
                return operation
            self._done += 1
