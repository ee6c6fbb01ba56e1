"""Power cuts: every step of every change is cut at, and what was not synced is lost in several ways."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

import pytest

from edge.errors import BundleError
from edge.inference.bundle import load_bundle
from edge.store.registry import Registry
from tests.unit.registry_bundles import NAME, bundle, unproved

LOSSES = ("nothing", "data", "everything")


class Disk:
    """Counts the steps that change the disk; dies at one of them, in the middle of it for a write, and loses what was not synced.

    Args:
        root: only what is below counts.
        cut: number of the step at which to die; 0: never.
        lost: ``nothing`` that was not synced, its ``data`` (files half or empty), or ``everything``: names as well.
        spare: folder on the same file system for files that a lost rename or unlink brings back.
    """

    def __init__(self, root: Path, cut: int, lost: str, spare: Path) -> None:
        self.root, self.cut, self.lost, self.spare = str(root), cut, lost, spare
        self.steps = 0
        self.dirty: dict[int, int] = {}  # inode to the size that is safe
        self.undo: list[tuple[str, tuple]] = []  # folder whose sync makes it last, and what brings it back
        self.real = {
            name: getattr(os, name)
            for name in ("write", "pwrite", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "open", "ftruncate")
        }

    def install(self) -> None:
        for name in self.real:
            setattr(os, name, getattr(self, name))

    def _step(self, before_death=lambda: None) -> None:
        self.steps += 1
        if self.steps == self.cut:
            before_death()
            self._lose()
            os.kill(os.getpid(), signal.SIGKILL)

    def _lose(self) -> None:
        for name, function in self.real.items():
            setattr(os, name, function)
        if self.lost == "nothing":
            return
        for folder, _, files in os.walk(self.root):
            for file in files:
                path = os.path.join(folder, file)
                if (safe := self.dirty.get(os.stat(path).st_ino)) is not None:
                    os.truncate(path, safe + (os.stat(path).st_size - safe) // (2 if self.steps % 2 else 10**9))
        if self.lost == "everything":
            for _, (what, *paths) in reversed(self.undo):
                with contextlib.suppress(OSError):
                    if what == "made":
                        shutil.rmtree(paths[0]) if os.path.isdir(paths[0]) else self.real["unlink"](paths[0])
                    else:  # "moved" or "gone"
                        self.real["rename"](paths[1], paths[0])

    def _kept(self, path) -> str | None:
        if not os.path.isfile(path):
            return None
        spare = str(self.spare / str(self.steps))
        os.link(path, spare)
        return spare

    def _note(self, path, *undo) -> None:
        self.undo.append((os.path.dirname(os.path.abspath(path)), undo))

    def open(self, path, flags, mode=0o777):
        fresh = flags & os.O_CREAT and str(path).startswith(self.root) and not os.path.lexists(path)
        if fresh:
            self._step()
        handle = self.real["open"](path, flags, mode)
        if fresh:
            self._note(path, "made", str(path))
            self.dirty[os.fstat(handle).st_ino] = 0
        return handle

    def _write(self, handle, data, put) -> int:
        inode = os.fstat(handle).st_ino
        self.dirty.setdefault(inode, os.fstat(handle).st_size)
        self._step()
        self._step(lambda: put(data[: len(data) // 2]))
        return put(data)

    def write(self, handle, data) -> int:
        return self._write(handle, data, lambda part: self.real["write"](handle, part))

    def pwrite(self, handle, data, offset) -> int:
        return self._write(handle, data, lambda part: self.real["pwrite"](handle, part, offset))

    def ftruncate(self, handle, size) -> None:
        self._step()
        self.real["ftruncate"](handle, size)

    def fsync(self, handle) -> None:
        self._step()
        self.real["fsync"](handle)
        path = os.readlink(f"/proc/self/fd/{handle}")
        self.dirty.pop(os.fstat(handle).st_ino, None)
        self.undo = [entry for entry in self.undo if entry[0] != path]

    def _rename(self, a, b) -> None:
        self._step()
        kept = self._kept(b)
        self.real["replace"](a, b)
        if kept:
            self._note(b, "gone", str(b), kept)
        self._note(b, "moved", str(a), str(b))

    rename = replace = _rename

    def unlink(self, path, **more) -> None:
        self._step()
        kept = self._kept(path)
        self.real["unlink"](path, **more)
        if kept:
            self._note(path, "gone", str(path), kept)

    def mkdir(self, path, mode=0o777, **more) -> None:
        self._step()
        self.real["mkdir"](path, mode, **more)
        self._note(path, "made", str(path))

    def rmdir(self, path, **more) -> None:
        self._step()
        self.real["rmdir"](path, **more)


def _in_child(root: Path, change, cut: int, lost: str, spare: Path) -> int | None:
    """Run a change in a child. Returns its steps, or None if it died at the cut."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            disk = Disk(root, cut, lost, spare)
            disk.install()
            change(Registry(root, proof=unproved))
            disk.real["write"](writing, str(disk.steps).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert said, "the change failed"
    return int(said)


def _prepared(root: Path, source: Path) -> None:
    registry = Registry(root, proof=unproved)
    registry.install(bundle(source, "1.0.0"), "test")
    registry.note_settled()
    registry.install(bundle(source, "1.1.0"), "test")
    registry.activate("1.1.0", "test")
    registry.install(bundle(source, "0.9.0"), "test")


CHANGES = {
    "install": (lambda source: lambda registry: registry.install(source / "2.0.0", "test"), {"1.1.0"}),
    "activate": (lambda source: lambda registry: registry.activate("1.0.0", "test"), {"1.1.0", "1.0.0"}),
    "rollback": (lambda source: lambda registry: registry.rollback("test"), {"1.1.0", "1.0.0"}),
    "remove": (lambda source: lambda registry: registry.remove("0.9.0", "test"), {"1.1.0"}),
    "start": (lambda source: lambda registry: registry.note_start(), {"1.1.0"}),
    "settled": (lambda source: lambda registry: registry.note_settled(), {"1.1.0"}),
}


@pytest.mark.parametrize("lost", LOSSES)
@pytest.mark.parametrize("name", CHANGES)
def test_a_power_cut_at_any_step_leaves_the_old_or_the_new_version(tmp_path, name, lost):
    source = tmp_path / "source" / NAME
    first = tmp_path / "first" / NAME
    _prepared(first, source)
    bundle(source, "2.0.0")
    make, allowed = CHANGES[name]
    change, cut, steps = make(source), 0, None
    while steps is None:
        cut += 1
        root, spare = tmp_path / str(cut) / NAME, tmp_path / str(cut) / "spare"
        shutil.copytree(first, root)
        spare.mkdir()
        steps = _in_child(root, change, cut, lost, spare)
        registry = Registry(root, proof=unproved)
        state = registry.state()
        assert not state.trouble, f"step {cut}"
        assert state.active in allowed, f"step {cut}"
        assert load_bundle(root, "active").manifest.version == state.active, f"step {cut}"
        for version in registry.versions():
            load_bundle(root, version)  # none is there in part
        assert registry.install(source / "2.0.0", "test", f"after a cut at {cut}") == "2.0.0"
        numbers = [entry.number for entry in registry.history()]
        assert numbers == list(range(1, len(numbers) + 1)), f"step {cut}"
        assert not [entry for entry in os.listdir(root) if entry.startswith((".staging", ".trash"))], f"step {cut}"
        shutil.rmtree(root.parent)
    assert steps >= 8
    assert steps == cut - 1  # every step was cut at, then one run went through


@pytest.mark.parametrize("lost", LOSSES)
def test_a_power_cut_in_the_first_install_leaves_nothing_or_a_whole_version(tmp_path, lost):
    source, cut, steps = tmp_path / "source" / NAME, 0, None
    bundle(source, "1.0.0")
    while steps is None:
        cut += 1
        root, spare = tmp_path / str(cut) / NAME, tmp_path / f"{cut}-spare"
        spare.mkdir()
        steps = _in_child(root, lambda registry: registry.install(source / "1.0.0", "test"), cut, lost, spare)
        registry = Registry(root, proof=unproved)
        if registry.versions():
            assert load_bundle(root, "active").manifest.version == "1.0.0"
        else:
            with pytest.raises(BundleError, match=r"no complete version|no such folder"):
                load_bundle(root, "active")
        assert registry.install(source / "1.0.0", "test") == "1.0.0"
        assert registry.state().active == "1.0.0"
    assert steps == cut - 1 > 20
