"""What was done to a registry, one JSON line each: numbered, append-only, bounded. Owns the file; repairs a torn end."""

import os
from pathlib import Path

import msgspec

from edge.inference.choice import HISTORY_FILE, Entry
from edge.store.registry.files import replace_file, write_all

MOST_LINES = 10_000
_SLACK_BYTES = 256 * 1024  # rewritten when this much longer than what is kept, not at every line


def append(folder: Path, entry: Entry, most: int = MOST_LINES) -> None:
    """Add a line, unless it is there.

    Args:
        folder: of the registry; its lock is held.
        entry: numbered.
        most: lines kept, at least; older ones go now and then.

    Raises:
        OSError: the file cannot be written.
    """
    path = folder / HISTORY_FILE
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        size = _mend(handle)
        last = _last(handle, size)
        if last is not None and last.number >= entry.number:
            return
        os.lseek(handle, size, os.SEEK_SET)
        write_all(handle, msgspec.json.encode(entry) + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    if size > _SLACK_BYTES:
        _shorten(path, most)


def read(folder: Path) -> list[Entry]:
    """The history, oldest first, in the order of its numbers; lines that cannot be read are left out."""
    try:
        data = (folder / HISTORY_FILE).read_bytes()
    except OSError:
        return []
    entries: dict[int, Entry] = {}
    for line in data.split(b"\n"):
        try:
            entry = msgspec.json.decode(line, type=Entry)
        except ValueError:
            continue
        entries[entry.number] = entry
    return [entries[number] for number in sorted(entries)]


def _mend(handle: int) -> int:
    """Cut off a last line that has no end. Returns the size in bytes."""
    size = os.fstat(handle).st_size
    end, step = size, 4096
    while end > 0:
        begin = max(0, end - step)
        found = os.pread(handle, end - begin, begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end != size:
        os.ftruncate(handle, end)
    return end


def _last(handle: int, size: int) -> Entry | None:
    begin = max(0, size - (1 << 16))
    for line in reversed(os.pread(handle, size - begin, begin).split(b"\n")):
        try:
            return msgspec.json.decode(line, type=Entry)
        except ValueError:
            continue
    return None


def _shorten(path: Path, most: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) > most + most // 10:
        replace_file(path, b"".join(lines[-most:]))
