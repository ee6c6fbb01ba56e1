"""Archives that are cut off, hostile or too large, and disks that are full: a clear error, and nothing is changed."""

import contextlib
import gzip
import io
import os
import resource
import signal
import stat
import tarfile
import zipfile

import pytest
import zstandard

from edge.errors import BundleError
from edge.store.registry import Registry
from edge.store.registry import archive as archives
from tests.unit.registry_bundles import NAME, bundle, unproved


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / "device" / NAME, proof=unproved)
    made.install(bundle(tmp_path / "source", "1.0.0"), "test")
    bundle(tmp_path / "source", "1.1.0")
    yield made
    assert made.state().active == "1.0.0"
    assert not [name for name in os.listdir(made.folder) if name.startswith((".staging", ".trash"))]


def tar_of(folder, *odd: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.add(folder, folder.name)
        for member in odd:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return out.getvalue()


def zip_of(folder, *odd: zipfile.ZipInfo) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, f"{folder.name}/{path.name}")
        for member in odd:
            packed.writestr(member, "x")
    return out.getvalue()


KINDS = {
    "tar": tar_of,
    "tar.gz": lambda folder: gzip.compress(tar_of(folder)),
    "tar.zst": lambda folder: zstandard.compress(tar_of(folder)),
    "zip": zip_of,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_taken_whole_or_not_at_all(registry, tmp_path, kind):
    data = KINDS[kind](tmp_path / "source" / "1.1.0")
    path = tmp_path / "a"
    refused = 0
    last = len(data) if kind != "tar" else len(data.rstrip(b"\0"))  # a tar may end without its padding
    cuts = sorted({0, 1, 3, 4, 100, 511, 512, 513, *range(0, last - 1, max(1, last // 40)), last - 2})
    for cut in cuts:
        path.write_bytes(data[:cut])
        try:
            registry.install(path, "test")
        except BundleError:
            refused += 1
            assert registry.versions() == ["1.0.0"]
        else:
            registry.remove("1.1.0")
    assert refused == len(cuts)
    path.write_bytes(data)
    assert registry.install(path, "test") == "1.1.0"


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


@pytest.mark.parametrize(
    "odd",
    [
        member("../outside", size=1),
        member("/absolute", size=1),
        member("1.1.0/../../outside", size=1),
        member("1.1.0/a\\b", size=1),
        member("1.1.0/a\nb", size=1),
        member("1.1.0/" + "n" * 300, size=1),
        member("/".join("abcdefghijklmnopqrstu"), size=1),
        member("1.1.0/link", tarfile.SYMTYPE, link="/etc/passwd"),
        member("1.1.0/hard", tarfile.LNKTYPE, link="1.1.0/manifest.toml"),
        member("1.1.0/device", tarfile.CHRTYPE),
        member("1.1.0/pipe", tarfile.FIFOTYPE),
        member("1.1.0/manifest.toml", size=1),
        member("1.1.0/MANIFEST.toml", size=1),
    ],
    ids=lambda odd: ascii(odd.name)[:20],
)
def test_an_archive_with_an_odd_entry_is_refused(registry, tmp_path, odd):
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(tmp_path / "source" / "1.1.0", odd))
    with pytest.raises(BundleError, match="nothing was taken"):
        registry.install(path, "test")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize("name", ["../outside", "/absolute", "1.1.0/../../outside", "1.1.0\\..\\outside", "link"])
def test_a_zip_with_an_odd_entry_is_refused(registry, tmp_path, name):
    odd = zipfile.ZipInfo(name)
    if name == "link":
        odd.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of(tmp_path / "source" / "1.1.0", odd))
    with pytest.raises(BundleError, match="nothing was taken"):
        registry.install(path, "test")


def test_bombs_end_at_the_limit(tmp_path):
    limit = 1 << 20
    zeros = member("1.0.0/zeros", size=64 << 20)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        tar.addfile(zeros, io.BytesIO(bytes(zeros.size)))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(64 << 20))
    header = member("long", tarfile.XHDTYPE, size=1 << 33).tobuf()
    many = io.BytesIO()
    with tarfile.open(fileobj=many, mode="w") as tar:
        for i in range(archives.MOST_FILES + 1):
            tar.addfile(member(f"f{i}"))
    trailing = gzip.compress(tar_of(bundle(tmp_path / "s", "1.0.0")) + bytes(64 << 20))
    for i, data in enumerate((out.getvalue(), packed.getvalue(), header, many.getvalue(), trailing)):
        folder, path = tmp_path / f"out{i}", tmp_path / f"bomb{i}"
        folder.mkdir()
        path.write_bytes(data)
        with pytest.raises(BundleError, match=r"unpacks to more|too large|more than|cut off"):
            archives.unpack(path, folder, limit)
        assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= limit + (1 << 18)


@contextlib.contextmanager
def small_files(limit: int):
    """As on a full disk: no file may grow beyond the limit."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_in_the_middle_of_an_install_leaves_the_old_one(registry, tmp_path):
    with small_files(2300), pytest.raises(BundleError, match="no room"):  # golden.npz does not fit
        registry.install(tmp_path / "source" / "1.1.0", "test")
    assert registry.versions() == ["1.0.0"]
    assert registry.install(tmp_path / "source" / "1.1.0", "test") == "1.1.0"
