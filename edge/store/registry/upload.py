"""One bundle archive that arrives in pieces: in any order, twice, altered, with pauses and restarts. Knows no socket.

A piece is on the disk and synced before it is in the journal, so what the journal lists is there after a power cut. The whole is
verified against the offer's hash before anything is unpacked.
"""

import hashlib
import os
import time
import zlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from edge.errors import BundleError
from edge.store.registry.files import explained, remove_tree, replace_file, sync_folder, write_all

INCOMING = ".incoming"
MOST_BYTES = 1 << 30
MOST_AT_ONCE = 4  # offers that are kept, also between runs
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender wants to bring.

    Args:
        id: of the request; names what is kept, so that a sender that comes back goes on where it was.
        name, version: of the bundle; for people, the archive's manifest decides.
        bytes: size of the archive.
        sha256: of the archive.
        chunk_bytes: size of every piece but the last.
        who, why: for the history.
    """

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{16,64}$")]
    name: Annotated[str, Meta(pattern=_NAME)]
    version: Annotated[str, Meta(pattern=_NAME)]
    bytes: Annotated[int, Meta(ge=1, le=1 << 53)]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    chunk_bytes: Annotated[int, Meta(ge=1024, le=1 << 20)]
    who: Annotated[str, Meta(min_length=1, max_length=1000)]
    why: Annotated[str, Meta(max_length=1000)] = ""

    @property
    def pieces(self) -> int:
        """How many pieces there are."""
        return -(-self.bytes // self.chunk_bytes)


class Upload:
    """What has come of one offer, kept in a folder of its own.

    Args:
        folder: of the registry.
        offer: of the sender; an earlier one with the same id and the same content is continued.

    Raises:
        BundleError: too large, too many others, another offer has this id, or no room.
    """

    def __init__(self, folder: Path, offer: Offer, limit: int = MOST_BYTES) -> None:
        if offer.bytes > limit:
            raise BundleError(f"{offer.bytes} bytes are offered; at most {limit} are taken")
        self.offer = offer
        self.home = folder / INCOMING / offer.id
        self._journal, self.archive = self.home / "journal", self.home / "archive"
        with explained(folder):
            os.makedirs(folder / INCOMING, 0o755, exist_ok=True)
            others = [name for name in os.listdir(folder / INCOMING) if name != offer.id]
            if len(others) >= MOST_AT_ONCE:
                raise BundleError(f"{len(others)} other installs are under way; wait until they end or expire")
            room = os.statvfs(folder)
            if not self.home.is_dir() and room.f_bavail * room.f_frsize < 3 * offer.bytes:  # archive, unpacked, published
                raise BundleError(f"no room: {offer.bytes} bytes are offered, {room.f_bavail * room.f_frsize} are free")
            os.makedirs(self.home, 0o755, exist_ok=True)
            self.have = self._read_journal()
            os.utime(self.home)

    def add(self, number: int, crc: int, data: bytes) -> bool:
        """Take a piece, unless it is there.

        Returns:
            Whether it is kept now; False if it was altered on its way.

        Raises:
            BundleError: no room.
        """
        size = min(self.offer.chunk_bytes, self.offer.bytes - number * self.offer.chunk_bytes)
        if not 0 <= number < self.offer.pieces or len(data) != size or zlib.crc32(data) != crc:
            return False
        if number in self.have:
            return True
        with explained(self.home):
            handle = os.open(self.archive, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
            try:
                os.lseek(handle, number * self.offer.chunk_bytes, os.SEEK_SET)
                write_all(handle, data)
                os.fsync(handle)
            finally:
                os.close(handle)
            handle = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                write_all(handle, b"%d\n" % number)
            finally:
                os.close(handle)
        self.have.add(number)
        return True

    def missing(self, most: int) -> list[int]:
        """The lowest pieces that are not there."""
        found = []
        for number in range(self.offer.pieces):
            if number not in self.have:
                found.append(number)
                if len(found) == most:
                    break
        return found

    def verified(self) -> Path:
        """The whole archive.

        Raises:
            BundleError: its hash is not the offer's; it is thrown away.
        """
        digest = hashlib.sha256()
        with explained(self.home), self.archive.open("rb") as opened:
            while data := opened.read(1 << 20):
                digest.update(data)
        if digest.hexdigest() != self.offer.sha256:
            self.drop()
            raise BundleError(f"sha256 of what came is {digest.hexdigest()}, the offer says {self.offer.sha256}; send it again")
        return self.archive

    def drop(self) -> None:
        """Free the room."""
        if self.home.is_dir():
            remove_tree(self.home)

    def _read_journal(self) -> set[int]:
        try:
            first, *lines = self._journal.read_bytes().split(b"\n")
            kept = msgspec.json.decode(first, type=Offer)
        except (FileNotFoundError, ValueError):
            replace_file(self._journal, msgspec.json.encode(self.offer) + b"\n")
            self.archive.unlink(missing_ok=True)
            sync_folder(self.home)
            return set()
        if msgspec.structs.replace(kept, who="-", why="") != msgspec.structs.replace(self.offer, who="-", why=""):
            raise BundleError("another offer has this id; choose a new one")
        # The last line may be torn: "1" of "12". Only lines with an end count.
        found = {int(line) for line in lines[:-1] if line.isdigit()}
        if lines and lines[-1]:
            os.truncate(self._journal, self._journal.stat().st_size - len(lines[-1]))
        return {number for number in found if number < self.offer.pieces} if self.archive.is_file() else set()


def expire(folder: Path, older_s: float, keep: Any = ()) -> list[str]:
    """Throw away what senders that vanished have left.

    Args:
        folder: of the registry.
        older_s: since anything was taken.
        keep: ids that are in use.

    Returns:
        The ids.
    """
    gone = []
    try:
        names = os.listdir(folder / INCOMING)
    except OSError:
        return []
    for name in names:
        home = folder / INCOMING / name
        journal = home / "journal"  # written with every piece
        age_s = time.time() - (journal if journal.is_file() else home).stat().st_mtime
        if name not in keep and not -older_s < age_s < older_s:  # a clock that jumped must not keep it for ever
            remove_tree(home)
            gone.append(name)
    return gone
