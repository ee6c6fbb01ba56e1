"""A folder of recordings: their names, their order, how much room they may take. Owns the files whose names begin with the pipeline's.

``NAME-000042-20260131T120000Z.mcap``; while it is being written ``.part`` comes after that. The number rises with every file, whatever
the wall clock does. Only one process at a time writes to a folder under one name.
"""

import fcntl
import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

from edge.errors import TransportError

PART = ".part"
_LEAST_BYTES = 512  # a recording without a message is smaller


class Folder:
    """One folder.

    Args:
        path: made if it is not there.
        name: of the pipeline.
        keep_bytes: of all files together.
        free_bytes: that the disk must have left.

    Attributes:
        nbytes, files: what is there, when it was last looked at.

    Raises:
        TransportError: it cannot be made, or another process writes there.
    """

    def __init__(self, path: Path, name: str, keep_bytes: int, free_bytes: int) -> None:
        self._path, self._name, self._keep, self._free = path, name, keep_bytes, free_bytes
        self._mine = re.compile(rf"{re.escape(name)}-(\d{{6,12}})-\d{{8}}T\d{{6}}Z\.mcap({re.escape(PART)})?")
        self.nbytes = self.files = 0
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / f".{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as fault:
                os.close(self._lock)
                raise TransportError(f"{path}: another process records {name} there") from fault
            self._recover()
        except OSError as fault:
            raise TransportError(f"{path}: {fault.strerror}") from fault

    def begin(self, reserve: int) -> Path:
        """A name for a new file, for which the oldest have made room.

        Args:
            reserve: bytes that the new one may take.

        Raises:
            TransportError: the disk is too full, or the folder cannot be read.
        """
        try:
            found = self._prune(reserve)
        except OSError as fault:
            raise TransportError(f"{self._path}: {fault.strerror}") from fault
        self.check_room()
        number = max((number for number, _ in found), default=0) + 1
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return self._path / f"{self._name}-{number:06d}-{now}.mcap{PART}"

    def check_room(self) -> None:
        """Look whether the disk has room.

        Raises:
            TransportError: it has less than it must have left.
        """
        try:
            free = shutil.disk_usage(self._path).free
        except OSError as fault:
            raise TransportError(f"{self._path}: {fault.strerror}") from fault
        if free < self._free:
            raise TransportError(f"{self._path}: the disk has {free / 1e6:.0f} MB left, and recording.free_mb is {self._free / 1e6:g}")

    def finish(self, part: Path) -> None:
        """Give a file its final name once it is on the disk; one without a message is removed.

        Raises:
            TransportError: the disk fails.
        """
        try:
            if part.stat().st_size < _LEAST_BYTES:
                part.unlink()
                return
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.rename(part.with_name(part.name.removesuffix(PART)))
            folder = os.open(self._path, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._look()
        except OSError as fault:
            raise TransportError(f"{part}: {fault.strerror}") from fault

    def close(self) -> None:
        """Let others write there."""
        os.close(self._lock)

    def _recover(self) -> None:
        """Files that an earlier process did not close are read as far as they are sound; they keep their messages under a final name."""
        for _, path in self._look():
            if path.name.endswith(PART):
                with suppress(TransportError):
                    self.finish(path)

    def _look(self) -> list[tuple[int, Path]]:
        """All files, oldest first."""
        found = [(int(match[1]), path) for path in self._path.iterdir() if (match := self._mine.fullmatch(path.name))]
        self.nbytes = sum(path.stat().st_size for _, path in found)
        self.files = len(found)
        return sorted(found)

    def _prune(self, reserve: int) -> list[tuple[int, Path]]:
        found = self._look()
        for _, path in found[:]:
            if self.nbytes + reserve <= self._keep:
                break
            size = path.stat().st_size
            path.unlink()
            self.nbytes -= size
            self.files -= 1
        return found
