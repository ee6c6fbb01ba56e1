"""Archives (tar, tar.gz, tar.zst, zip) to plain files in a folder, trusting nothing in them.

Names, kinds and counts are refused before a byte of the entry is written; sizes are measured, not believed.
"""

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

import zstandard

from edge.errors import BundleError
from edge.inference.manifest_check import is_inside
from edge.store.registry.files import write_all

MOST_FILES = 1024
MOST_BYTES = 1 << 30  # of all files together
MOST_DEPTH, MOST_NAME_BYTES = 16, 255
_CHUNK = 1 << 18
_MOST_DIRECTORY_BYTES = 1 << 20  # of a zip: 1,024 entries take about 100 kB
_GZIP, _ZSTD, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK"
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, zstandard.ZstdError, EOFError, NotImplementedError)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Measured:
    """A stream that ends with an error once more came out of it than allowed, or once more is asked for than a header needs."""

    def __init__(self, stream: _Readable, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= max(_CHUNK, tarfile.RECORDSIZE):
            raise BundleError("a header in it is too large")
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BundleError(f"unpacks to more than {MOST_BYTES} bytes")
        return data


def unpack(archive: Path, folder: Path, limit: int = MOST_BYTES) -> None:
    """Write the files of an archive.

    Args:
        archive: told by its first bytes, not by its name.
        folder: empty.
        limit: most bytes of all files.

    Raises:
        BundleError: not an archive, cut off, altered, or with an entry that is not allowed. The caller removes what was written.
        OSError: the folder cannot be written.
    """
    try:
        with archive.open("rb") as opened:
            head = opened.read(4)
            opened.seek(0)
            entries = _of_zip(opened) if head.startswith(_ZIP) else _of_tar(_plain(opened, head), limit)
            _write(entries, folder, limit)
    except BundleError as e:
        raise BundleError(f"{archive}: {e}; nothing was taken from it") from e
    except (*_BROKEN, ValueError, struct.error) as e:
        raise BundleError(f"{archive}: is cut off, altered, or no .tar, .tar.gz, .tar.zst or .zip ({e}); copy it again") from e


_Entry = tuple[str, IO[bytes]]


def _write(entries: Iterator[_Entry], folder: Path, limit: int) -> None:
    seen: set[str] = set()
    left = limit
    for name, stream in entries:
        if name.casefold() in seen:
            raise BundleError(f"holds {_shown(name)} twice")
        seen.add(name.casefold())
        target = folder / name
        os.makedirs(target.parent, 0o755, exist_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            while chunk := stream.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise BundleError(f"unpacks to more than {limit} bytes")
                write_all(handle, chunk)
        finally:
            os.close(handle)
    if not seen:
        raise BundleError("holds no files")


def _plain(opened: IO[bytes], head: bytes) -> _Readable:
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=opened, mode="rb")
    if head.startswith(_ZSTD):
        # The window is memory: a header may ask for gigabytes.
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(opened, read_across_frames=True)
    return opened


def _of_tar(stream: _Readable, limit: int) -> Iterator[_Entry]:
    overhead = MOST_FILES * 4 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE
    measured = _Measured(stream, limit + overhead)
    ended = False
    with tarfile.open(fileobj=measured, mode="r|", errorlevel=2) as tar:  # type: ignore[call-overload]
        for count, member in enumerate(tar):
            if count >= MOST_FILES:
                raise BundleError(f"holds more than {MOST_FILES} entries")
            if member.isdir():
                _check_name(member.name)
                continue
            if not member.isreg() or member.issparse():
                raise BundleError(f"{_shown(member.name)} is a link, a device or another special file; only plain files are allowed")
            _check_name(member.name)
            if member.size > limit:
                raise BundleError(f"unpacks to more than {limit} bytes")
            content = tar.extractfile(member)
            if content is not None:
                yield member.name.removeprefix("./"), content
        ended = True
    if ended:
        while measured.read(_CHUNK):  # what comes after: a cut-off or altered end of the compressed stream shows here
            pass


def _of_zip(opened: IO[bytes]) -> Iterator[_Entry]:
    opened.seek(0, os.SEEK_END)
    opened.seek(max(0, opened.tell() - 65_557))
    tail = opened.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or struct.unpack_from("<I", tail, at + 12)[0] > _MOST_DIRECTORY_BYTES:
        raise BundleError("the directory of the zip file is missing or too large")
    with zipfile.ZipFile(opened) as packed:
        infos = packed.infolist()
        if len(infos) > MOST_FILES:
            raise BundleError(f"holds more than {MOST_FILES} entries")
        for info in infos:
            _check_name(info.orig_filename.rstrip("/"))
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or info.flag_bits & 1:
                raise BundleError(f"{_shown(info.filename)} is a link, a device or encrypted; only plain files are allowed")
            if not info.is_dir():
                with packed.open(info) as content:
                    yield info.filename.removeprefix("./"), content


def _check_name(name: str) -> None:
    plain = name.removeprefix("./") if name != "." else ""
    parts = plain.split("/")
    is_manifest = parts[-1] == "manifest.toml" and (len(parts) == 1 or is_inside("/".join(parts[:-1])))
    sizes_fit = len(parts) <= MOST_DEPTH and all(len(part.encode("utf-8", "surrogateescape")) <= MOST_NAME_BYTES for part in parts)
    printable = name.isprintable() and not any(0xD800 <= ord(c) < 0xE000 for c in name)
    if plain and not (sizes_fit and printable and (is_manifest or is_inside(plain))):
        raise BundleError(f"{_shown(name)} is not a plain path inside the archive")


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 80 else f"{name[:80]}...")
