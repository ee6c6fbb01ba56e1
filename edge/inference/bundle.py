"""A bundle on disk to verified bytes in memory. Owns paths, hashes and versions; nothing it returns is read from disk again.

What is hashed is what is used: every file is read once, and the bytes whose hash agreed are the bytes that are loaded.
"""

import difflib
import hashlib
import logging
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import msgspec

from edge.errors import BundleError
from edge.inference.choice import preferred, read_state
from edge.inference.graph import check_self_contained
from edge.inference.manifest import MANIFEST, Manifest
from edge.inference.manifest_check import parse

MAX_MANIFEST_BYTES = 16 << 20  # 150,528 features (an image of 224 x 224 x 3) take 6.2 MB, and 1.8 s to read
MAX_FILE_BYTES = 512 << 20

_log = logging.getLogger(__name__)

Report = Callable[[str, str], None]  # told of each check that held: its name, and what was found


class Bundle(msgspec.Struct, frozen=True):
    """One version of a model, verified: hashes hold, and every graph is self-contained.

    Args:
        folder: of the version.
        manifest: its manifest.
        files: the bytes of every file listed in the manifest.
        manifest_sha256: of the manifest's bytes; since it lists the hash of every file, of all that is used.
    """

    folder: Path
    manifest: Manifest
    files: dict[str, bytes]
    manifest_sha256: str

    def where(self, file: str) -> str:
        """Path of a file, for messages."""
        return str(self.folder / file)


def quiet(check: str, detail: str) -> None:
    """A report that goes nowhere."""


def load_bundle(folder: Path, version: str = "latest", report: Report = quiet) -> Bundle:
    """Read one version of a bundle.

    Args:
        folder: of the bundle, which holds one folder per version.
        version: a version's folder name, ``latest``, or ``active``: what the registry says or, if that version is missing or
            altered, the last known good one, then the highest that holds; the log says so.
        report: told of each check that held.

    Raises:
        BundleError: no such version, or anything in it that is missing, altered, contradictory or refers to something outside.
    """
    if version != "active":
        return _load(find_version(folder, version), report)
    complete = versions(folder)
    state = read_state(folder, complete)
    if state.trouble:
        _log.error("%s", state.trouble)
    order, told = preferred(state, complete), list[str]()
    for name in order:
        try:
            bundle = _load(find_version(folder, name), report)
        except BundleError as e:
            told.append(str(e))
            continue
        for trouble in told:
            _log.error("%s; version %s is taken in its place", trouble, name)
        return bundle
    raise BundleError("\n".join(told) or f"{folder}: {_there_is(folder, version)}; `edge models install` brings one")


def _load(home: Path, report: Report) -> Bundle:
    manifest, manifest_sha256 = _manifest(home)
    report("manifest", f"{manifest.name} {manifest.version}, {len(manifest.features)} features, labels {', '.join(manifest.labels)}")
    files = {file: read_hashed(home, file, sha256) for file, sha256 in manifest.files.items()}
    report("hashes", f"{len(files)} files, {sum(map(len, files.values()))} bytes")
    models = sorted({variant.file for variant in manifest.variants})
    tensors = sum(check_self_contained(files[file], str(home / file)) for file in models)
    report("self-contained", f"{tensors} tensors in {len(models)} graphs, none with external data")
    return Bundle(home, manifest, files, manifest_sha256)


def read_manifest(folder: Path, version: str = "latest") -> Manifest:
    """The manifest of one version of a bundle, checked; nothing else of the bundle is read.

    Raises:
        BundleError: no such version, or a manifest that cannot be used.
    """
    return _manifest(find_version(folder, version))[0]


def manifest_bytes(home: Path) -> bytes:
    """The manifest of a version's folder, as it is.

    Raises:
        BundleError: it cannot be read.
    """
    return _read(home, MANIFEST, MAX_MANIFEST_BYTES)


def _manifest(home: Path) -> tuple[Manifest, str]:
    path = home / MANIFEST
    data = _read(home, MANIFEST, MAX_MANIFEST_BYTES)
    manifest = parse(data, str(path))
    if manifest.version != home.resolve().name:
        raise BundleError(f"{path}: version is {manifest.version!r}, the folder says {home.resolve().name!r}; they must be equal")
    return manifest, hashlib.sha256(data).hexdigest()


def find_version(folder: Path, version: str) -> Path:
    """Folder of a version.

    ``active`` is what the registry says; without one, or where what it says is not there, see edge.inference.choice.
    ``latest`` is the highest by natural sort (1.10 after 1.9; 1.0-rc1 after 1.0) of those that hold a manifest. Links and hidden
    folders are other names for something, or not finished, so ``latest`` passes over them.

    Raises:
        BundleError: there is none.
    """
    if version == "active":
        version = read_state(folder, versions(folder)).active or "latest"
    if version != "latest":
        if version in ("", ".", "..") or any(c in version for c in "/\\\0"):
            raise BundleError(f"{folder}: {version!r} is not a version; write a folder name such as '1.0.0', 'latest' or 'active'")
        home = folder / version
        if not home.is_dir():
            raise BundleError(f"{folder}: no version {version!r}; {_there_is(folder, version)}")
        if home.resolve().parent != folder.resolve():
            raise BundleError(f"{home}: leads to {home.resolve()}, outside of the bundle; a version is a folder inside of it")
        return home
    found = versions(folder)
    if not found:
        raise BundleError(f"{folder}: {_there_is(folder, version)}; a version is a folder such as {folder.name}/1.0.0/ with a {MANIFEST}")
    return folder / found[-1]


def versions(folder: Path) -> list[str]:
    """Names of the complete versions of a bundle, lowest first."""
    try:
        entries = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
    except OSError:
        return []
    return sorted((name for name in entries if (folder / name / MANIFEST).is_file()), key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", name) if part]


def _there_is(folder: Path, version: str) -> str:
    if not folder.is_dir():
        return "there is no such folder"
    found = versions(folder)
    near = difflib.get_close_matches(version, found, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"it holds {', '.join(found)}{hint}" if found else "it holds no complete version"


def read_hashed(home: Path, file: str, sha256: str) -> bytes:
    """The bytes of a file of a version, which have the hash.

    Raises:
        BundleError: it cannot be read, or they have another one.
    """
    data = _read(home, file, MAX_FILE_BYTES)
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise BundleError(f"{home / file}: sha256 is {found}, the manifest says {sha256}; the file was altered or cut off, copy it again")
    return data


def _read(home: Path, file: str, limit: int) -> bytes:
    """The bytes of a regular file inside the bundle."""
    path = home / file
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(home.resolve()):
            raise BundleError(f"{path}: leads to {real}, outside of the bundle; put the file itself there")
        # O_NONBLOCK: a FIFO without a writer would otherwise block the start for ever.
        with open(os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
            status = os.fstat(opened.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"{path}: is not a regular file; put the file itself there")
            data = opened.read(min(status.st_size, limit) + 1)  # not limit + 1, so much is allocated first; one more tells that it grew
        if len(data) > limit:
            raise BundleError(f"{path}: holds {status.st_size} bytes; at most {limit} are read")
        return data
    except FileNotFoundError as e:
        what = "a bundle without it is not complete" if file == MANIFEST else "the manifest lists it"
        raise BundleError(f"{path}: is missing; {what}, copy the bundle again") from e
    except (OSError, ValueError, RuntimeError) as e:  # RuntimeError: pathlib's word for a loop of links
        raise BundleError(f"{path}: cannot be read: {e}; a regular file that this user may read is right") from e
