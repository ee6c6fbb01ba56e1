"""The database file of an outbox: its schema, its check at start, and what one transaction does. Knows no thread and no alert's meaning.

One connection, which holds the file alone (``locking_mode = EXCLUSIVE``), reads, writes and checkpoints. SQLite before 3.51.3 can damage
a file in WAL mode when a second connection writes or checkpoints while the log is reset (sqlite.org/wal.html#walresetbug); with one
connection that cannot happen, and without a shared index in memory a full disk cannot end the process with SIGBUS either.
"""

import contextlib
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edge.messages import Alert, Outgoing
from edge.store.outbox_aside import delete_old, name_aside

_log = logging.getLogger(__name__)

Durability = Literal["process", "power"]

VERSION = 1
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SCHEMA = f"""
CREATE TABLE alerts (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, level INTEGER NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
  born_ns INTEGER NOT NULL, kernel TEXT NOT NULL, wall_ns INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE reported (
  device TEXT NOT NULL, rule TEXT NOT NULL, state TEXT NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (device, rule)) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
_PUT = "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_TYPES = (int, int, str, bytes, int, str, int, int)
_REPORT = "INSERT OR REPLACE INTO reported VALUES (?, ?, ?, ?)"
# In the same table, of no device, so that versions that know only ``raised`` and ``cleared`` pass over them.
GIVEN_UP, TOLD = "outbox.given_up", "outbox.told"  # alerts given up in the life of the file, and how many of them were told
_SANE_NS = 1_577_836_800_000_000_000  # 2020: a wall clock before it was not set yet


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One alert in an outbox.

    Args:
        number: order of acceptance; those of an earlier run are lower.
        level: index of the severity, 0 the least severe.
        message: what is sent.
        born_ns: CLOCK_BOOTTIME when it was accepted; earlier runs included, as far as their clocks can be compared with ours.
    """

    number: int
    level: int
    message: Outgoing
    born_ns: int = 0


class Damaged(Exception):
    """The file is no outbox, or not a sound one."""


class OutboxFile:
    """An open database.

    Args:
        path: of the file; its folder is made.
        durability: ``process``: a committed alert survives the process; ``power``: loss of power as well.

    Raises:
        sqlite3.Error: the file cannot be opened, is held by another process, or the disk fails.
        OSError: its folder cannot be made.
        Damaged: see there.
    """

    def __init__(self, path: Path, durability: Durability) -> None:
        make_folder(path.parent)
        if durability == "power":
            _sync_left(path)
        self.kernel = kernel_id()
        # Opened by the thread that builds the daemon, used by the one that writes: never by two at once.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        self._db.text_factory = lambda raw: raw.decode(errors="replace")  # damaged text is found by its sum, not by an exception
        try:
            self._prepare(durability)
            self._path, self._is = path, _identity(path)
        except BaseException:
            self.close()
            raise

    def _prepare(self, durability: Durability) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._has_log = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal"
            self._db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
            self._db.execute("PRAGMA journal_size_limit = 8388608")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            tables = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if version == 0 and tables == 0:
                self._db.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute("COMMIT")
            elif version != VERSION:
                raise Damaged(f"it has version {version} of the outbox's schema, and {VERSION} is known here")
            found = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise Damaged(str(found).replace("\n", " "))
        except UnicodeDecodeError as fault:  # out of the names in the schema
            raise Damaged(str(fault)) from fault
        except sqlite3.DatabaseError as fault:
            if is_damage(fault):
                raise Damaged(str(fault)) from fault
            raise

    def read(self) -> tuple[list[Entry], list[int]]:
        """All alerts, in order; and the numbers of those that are not what was written, which SQLite does not see.

        The age of one from before the machine started anew is only known when the wall clock was set both times; otherwise it begins now.

        Raises:
            sqlite3.Error: the disk fails.
        """
        now_ns, wall_ns = boottime_ns(), time.time_ns()
        entries, bad = [], []
        for row in self._db.execute("SELECT number, level, topic, payload, born_ns, kernel, wall_ns, crc FROM alerts ORDER BY number"):
            number, level, topic, payload, born_ns, kernel, made_ns, crc = row
            if tuple(map(type, row)) != _TYPES or crc != _crc(topic, payload):
                bad.append(number)
                continue
            if kernel != self.kernel or not kernel:
                is_known = _SANE_NS < made_ns <= wall_ns
                born_ns = now_ns - (wall_ns - made_ns if is_known else 0)
            entries.append(Entry(number, level, Outgoing("alert", topic, payload), born_ns))
        return entries, bad

    def reported(self) -> dict[tuple[str, str], str]:
        """What each alert rule said last, by device and rule: raised or cleared."""
        rows = self._db.execute("SELECT device, rule, state FROM reported WHERE state IN ('raised', 'cleared')")
        return {(device, rule): state for device, rule, state in rows}

    def totals(self) -> dict[str, int]:
        """``GIVEN_UP`` and ``TOLD``, as far as they are not 0."""
        rows = self._db.execute("SELECT rule, state FROM reported WHERE device = '' AND rule IN (?, ?)", (GIVEN_UP, TOLD))
        return {rule: int(state) for rule, state in rows if state.isdecimal()}

    def write(
        self,
        puts: Iterable[Entry],
        drops: Sequence[int],
        forgotten: Sequence[str] = (),
        anew: Mapping[tuple[str, str], str] | None = None,
        totals: Mapping[str, int] | None = None,
    ) -> None:
        """One transaction: all or nothing.

        Args:
            puts: alerts to keep; with each goes what its rule said.
            drops: numbers to forget.
            forgotten: devices whose rules are forgotten.
            anew: nothing else is in the file afterwards, and this is all that rules said last, by device and rule; None: all that is
                in the file stays.
            totals: those that have changed; with ``anew``, all.

        Raises:
            sqlite3.Error: nothing was written, or what was is in a file that somebody deleted; close it, and do not trust it to write
                again.
        """
        wall_ns = time.time_ns()
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        if anew is not None:
            db.execute("DELETE FROM alerts")
            db.execute("DELETE FROM reported")
            db.executemany(_REPORT, [(device, rule, state, -1) for (device, rule), state in anew.items()])
        for entry in puts:
            message, alert = entry.message, entry.message.message
            name = alert.id if isinstance(alert, Alert) else ""
            checked = _crc(message.topic, message.payload)
            db.execute(
                _PUT, (entry.number, name, entry.level, message.topic, message.payload, entry.born_ns, self.kernel, wall_ns, checked)
            )
            if anew is None and isinstance(alert, Alert) and alert.device:
                db.execute(_REPORT, (alert.device, alert.name, alert.state, entry.number))
        db.executemany("DELETE FROM alerts WHERE number = ?", [(number,) for number in drops])
        db.executemany("DELETE FROM reported WHERE device = ?", [(device,) for device in forgotten])
        db.executemany(_REPORT, [("", name, str(total), -1) for name, total in (totals or {}).items()])
        db.execute("COMMIT")
        # A file that was deleted, or replaced, takes every write and keeps nothing.
        if _identity(self._path) != self._is or (self._has_log and not os.path.exists(f"{self._path}-wal")):
            raise sqlite3.OperationalError("the file is not there any more")

    def copy_aside(self) -> Path:
        """Copy what is in the file, for whoever wants to know what happened to it; the oldest copies are deleted.

        Not file by file: to close another handle of it would give up SQLite's lock.

        Raises:
            sqlite3.Error, OSError: it cannot be copied.
        """
        aside = name_aside(self._path)
        copy = sqlite3.connect(aside)
        try:
            self._db.backup(copy)
        finally:
            copy.close()
        delete_old(self._path)
        return aside

    def close(self) -> None:
        """Give the file back; what is not committed is not in it."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file has this name now; None: none that can be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive loss of power: SQLite syncs what is in a folder, not the folder's own name.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync_left(path: Path) -> None:
    """What an earlier run wrote counts as stored from now on, but a run that was killed had not synced its last write.

    Only before the file is opened here: closing any handle of it would give up SQLite's lock.
    """
    for suffix in ("", "-wal", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            _sync(Path(f"{path}{suffix}"))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _crc(topic: str, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(topic.encode()))


def is_damage(fault: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged, not that the disk or another process is in the way."""
    return (getattr(fault, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


def boottime_ns() -> int:
    """Time since the machine started, time asleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()


def kernel_id() -> str:
    """Names this start of the machine; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
