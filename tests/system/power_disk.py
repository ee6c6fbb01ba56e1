"""A disk that was told what a process did to its files, and what may be on it after a loss of power.

What was synced is there. Of each write and cut since, any may be there, be missing, or be there in some of its 512-byte sectors. Names
(created, renamed, unlinked) last once their folder was synced; of those since, a folder keeps the first few, as file systems with a journal
do.
"""

import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

SECTOR = 512
_HEAD = struct.Struct("<ciiqII")

Mode = Literal["none", "all", "some"]  # of what was not synced


class Step(msgspec.Struct, frozen=True):
    """One call; see power_shim.c."""

    kind: str
    process: int
    handle: int
    offset: int
    path: str
    data: bytes


class Kept:
    """A file: what lasts, and what was done since."""

    def __init__(self) -> None:
        self.lasting = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []  # where and what; without bytes: the new size

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.lasting, offset, data)
        self.pending.clear()

    def after(self, mode: Mode, rng: random.Random) -> bytearray:
        """What it may be."""
        content = bytearray(self.lasting)
        likely = rng.choice((0.02, 0.3, 0.7, 0.98))
        for offset, data in self.pending if mode != "none" else ():
            if mode == "all" or rng.random() < likely:
                _apply(content, offset, data)
            elif data is not None and rng.random() < 0.5:
                for part_at, part in _sectors(offset, data):
                    if rng.random() < 0.5:
                        _apply(content, part_at, part)
        return content


class Disk:
    """Files below one folder, by what was done to them.

    Args:
        skips: a path whose syncs the disk does not obey; for proving that the checks find it.
    """

    def __init__(self, skips: str | None = None) -> None:
        self._names: dict[str, Kept | None] = {"": None}  # None: a folder
        self._lasting: dict[str, Kept | None] = {"": None}
        self._pending: dict[str, list[tuple[str, str, str, Kept | None]]] = {}  # by folder
        self._open: dict[tuple[int, int], str | Kept] = {}
        self._skips = skips
        self._paths: dict[int, str] = {}

    def take(self, step: Step) -> None:
        """Follow one call."""
        handle = step.process, step.handle
        if step.kind == "c":
            self._name("put", step.path, "", Kept())
        if step.kind in "co":
            found = self._names[step.path]
            self._open[handle] = step.path if found is None else found
            self._paths[id(found)] = step.path
        elif step.kind in "wf":
            file = self._open[handle]
            assert isinstance(file, Kept)
            file.pending.append((step.offset, step.data if step.kind == "w" else None))
        elif step.kind == "s":
            self._sync(self._open[handle])
        elif step.kind == "m":
            self._name("put", step.path, "", None)
        elif step.kind == "r":
            self._name("rename", step.path, step.data.decode(), None)
        elif step.kind == "u":
            self._name("unlink", step.path, "", None)

    def write(self, folder: Path, mode: Mode, rng: random.Random) -> None:
        """Lay out what may be there after a loss of power."""
        names = dict(self._lasting)
        for changes in self._pending.values():
            some = rng.randint(0, len(changes))
            for change in changes[: {"none": 0, "all": len(changes), "some": some}[mode]]:
                _rename(names, *change)
        for path in sorted(names):
            file = names[path]
            if any(str(parent) not in names for parent in Path(path).parents if str(parent) != "."):
                continue  # its folder is not there
            if file is None:
                (folder / path).mkdir(exist_ok=True)
            else:
                (folder / path).write_bytes(file.after(mode, rng))

    def _name(self, *change: "str | Kept | None") -> None:
        _rename(self._names, *change)  # type: ignore[arg-type]
        self._pending.setdefault(os.path.dirname(str(change[1])), []).append(change)  # type: ignore[arg-type]

    def _sync(self, file: str | Kept) -> None:
        if isinstance(file, str):
            for change in self._pending.pop(file, ()):
                _rename(self._lasting, *change)
        elif self._skips is None or self._paths[id(file)] != self._skips:
            file.sync()


def _rename(names: dict[str, Kept | None], kind: str, path: str, to: str, file: Kept | None) -> None:
    if kind == "put":
        names[path] = file
    elif kind == "unlink":
        names.pop(path, None)
    elif path in names:
        names[to] = names.pop(path)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    else:
        content.extend(bytes(max(offset - len(content), 0)))
        content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        size = SECTOR - (offset + at) % SECTOR
        yield offset + at, data[at : at + size]
        at += size


def steps(log: Path) -> list[Step]:
    """What was noted."""
    data, at, found = log.read_bytes(), 0, []
    while at < len(data):
        kind, process, handle, offset, path_bytes, data_bytes = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        path, at = data[at : at + path_bytes].decode(), at + path_bytes
        found.append(Step(kind.decode(), process, handle, offset, path, data[at : at + data_bytes]))
        at += data_bytes
    return found
