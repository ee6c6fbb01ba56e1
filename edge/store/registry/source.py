"""From what a user points at - a folder or an archive - to the verified folder of one version in a staging folder."""

import os
from pathlib import Path

from edge.errors import BundleError
from edge.inference.bundle import find_version, load_bundle, manifest_bytes, read_manifest
from edge.inference.manifest import MANIFEST, Manifest
from edge.inference.manifest_check import parse
from edge.store.registry.archive import unpack
from edge.store.registry.files import sync_folder, write_new


def stage(source: Path, home: Path) -> Manifest:
    """Put the files that the manifest of a source lists, verified, under ``home/new/<version>``, synced, the manifest last.

    Args:
        source: folder of one version, folder of versions (the highest is taken), or an archive of either.
        home: staging folder.

    Returns:
        The manifest.

    Raises:
        BundleError: not a bundle, or anything in it that is missing, altered or not allowed.
        OSError: the staging folder cannot be written.
    """
    if not source.exists():
        raise BundleError(f"{source}: there is no such file or folder; give the folder of a version, or an archive of it")
    found = _version_folder(source) if source.is_dir() else _unpacked(source, home)
    data = manifest_bytes(found)
    bundle = load_bundle(found.parent, found.name)
    target = home / "new" / found.name
    os.makedirs(target, 0o755)
    for file, content in bundle.files.items():
        os.makedirs((target / file).parent, 0o755, exist_ok=True)
        write_new(target / file, content)
    for folder, _, _ in os.walk(target, topdown=False):
        sync_folder(Path(folder))
    write_new(target / MANIFEST, data)
    sync_folder(target)
    return bundle.manifest


def _version_folder(source: Path) -> Path:
    found = source.resolve() if (source / MANIFEST).is_file() else find_version(source.resolve(), "latest")
    version = parse(manifest_bytes(found), str(found / MANIFEST)).version
    if found.name != version:
        raise BundleError(f"{found / MANIFEST}: version is {version!r}, the folder says {found.name!r}; they must be equal")
    return found


def _unpacked(archive: Path, home: Path) -> Path:
    """The version's folder in an archive, unpacked and named after its version."""
    raw = home / "raw"
    os.mkdir(raw, 0o755)
    unpack(archive, raw)
    found = sorted((len(path.parts), path.parent) for path in raw.rglob(MANIFEST))
    if not found:
        raise BundleError(f"{archive}: holds no {MANIFEST}; an archive of one version's folder is right")
    if len(found) > 1 and found[0][0] == found[1][0]:
        raise BundleError(f"{archive}: holds several versions; an archive of one version's folder is right")
    version = parse(manifest_bytes(found[0][1]), f"{archive}: {MANIFEST}").version
    named = home / "raw.named" / version
    os.mkdir(named.parent, 0o755)
    os.rename(found[0][1], named)
    return named


def must_be_called(folder: Path, name: str, others: list[str]) -> None:
    """A registry holds versions of one model.

    Raises:
        BundleError: the first of the other versions that can be read has another name.
    """
    for other in others:
        try:
            found = read_manifest(folder, other).name
        except BundleError:
            continue
        if found != name:
            raise BundleError(f"{folder}: is the registry of {found!r}; the bundle is of {name!r}, give it a folder of its own")
        return


def holds(folder: Path, version: str, wanted: bytes) -> bool:
    """Whether the version that is there is the one with this manifest; a damaged one is not, and may be replaced.

    Raises:
        BundleError: it is a whole one with another manifest.
    """
    try:
        load_bundle(folder, version)
    except BundleError:
        return False
    if manifest_bytes(folder / version) == wanted:
        return True
    raise BundleError(f"{folder / version}: is there already with other content; give the new bundle a version of its own")
