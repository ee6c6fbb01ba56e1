"""The registry: choosing and going back, bad state files, two writers, and the clock."""

import fcntl
import os
import threading

import pytest

from edge.errors import BundleError
from edge.inference.bundle import find_version, load_bundle
from edge.store.registry import Registry, history
from tests.unit.registry_bundles import NAME, bundle, unproved


@pytest.fixture
def registry(tmp_path):
    made = Registry(tmp_path / "device" / NAME, proof=unproved, wait_s=0.1)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        made.install(bundle(tmp_path / "source", version), "test")
    return made


def test_only_the_first_install_is_active_and_rollback_goes_to_what_ran_well(registry):
    assert registry.state().active == "1.0.0"
    registry.note_start()
    registry.note_settled()
    registry.activate("1.1.0", "test")
    registry.note_settled()
    registry.activate("1.2.0", "test")
    assert registry.rollback("daemon", "slow") == "1.1.0"
    assert registry.rollback("daemon", "slow too") == "1.0.0"
    assert registry.state().rejected == ["1.2.0", "1.1.0"]
    with pytest.raises(BundleError, match=r"no version but 1\.0\.0"):
        registry.rollback("daemon")
    registry.activate("1.2.0", "test")
    assert registry.state().rejected == ["1.1.0"]


def test_starts_are_counted_until_one_settles(registry):
    assert [registry.note_start().unsettled_starts for _ in range(3)] == [1, 2, 3]
    registry.note_stopped("1.1.0")  # not the active one any more: no crash, but nothing is known of 1.0.0
    assert (registry.state().unsettled_starts, registry.state().last_known_good) == (0, "")
    registry.note_stopped("1.0.0")
    assert registry.state().last_known_good == "1.0.0"


def test_a_pinned_version_stays(registry):
    registry.note_settled()
    registry.pin("1.1.0", "test")
    registry.set_candidate("1.2.0", "shadow")
    for change in (lambda: registry.activate("1.0.0", "test"), lambda: registry.rollback("daemon"), lambda: registry.promote("guard")):
        with pytest.raises(BundleError, match="pinned"):
            change()
    assert registry.rollback("test", force=True) == "1.0.0"
    assert registry.state().pinned == ""


def test_what_is_in_use_cannot_be_removed(registry):
    registry.note_settled()
    registry.activate("1.1.0", "test")
    registry.set_candidate("1.2.0", "canary", 0.2)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        with pytest.raises(BundleError, match="make another one that first"):
            registry.remove(version)
    registry.clear_candidate()
    registry.remove("1.2.0")
    assert registry.versions() == ["1.0.0", "1.1.0"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\0" * 300, b"\xff\xfe", b"[]", b'{"format": 2, "active": {"x": 1}}', b'{"format": 1, "active": "../.."}', b"[" * 99_999],
)
def test_a_state_file_that_cannot_be_read_stops_nothing(registry, data):
    registry.note_settled()
    registry.activate("1.1.0", "test")
    generation = registry.state().generation
    (registry.folder / "registry.json").write_bytes(data)
    state = registry.state()
    assert state.trouble
    assert (state.active, state.last_known_good) == ("1.1.0", "1.0.0")  # as the history says
    assert state.generation > generation
    assert find_version(registry.folder, "active").name == "1.1.0"
    (registry.folder / "history.jsonl").unlink()
    assert load_bundle(registry.folder, "active").manifest.version == "1.2.0"  # the highest that is complete
    registry.activate("1.0.0", "test")
    assert (registry.state().active, registry.state().trouble) == ("1.0.0", "")


def test_an_active_version_that_was_altered_gives_way_to_the_last_known_good(registry, caplog):
    registry.note_settled()
    registry.activate("1.1.0", "test")
    (registry.folder / "1.1.0" / "shape.onnx").write_bytes(b"altered")
    assert load_bundle(registry.folder, "active").manifest.version == "1.0.0"
    assert "1.0.0 is taken in its place" in caplog.text
    registry.install(registry.folder.parents[1] / "source" / "1.1.0", "test")  # heals it
    assert load_bundle(registry.folder, "active").manifest.version == "1.1.0"


def test_another_writer_is_waited_for_and_named(registry):
    with (registry.folder / ".lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(f"{os.getpid():<31}\n")
        other.flush()
        with pytest.raises(BundleError, match=rf"pid {os.getpid()}"):
            registry.note_start()
    registry.note_start()


def test_two_installs_at_once_give_one_whole_version(tmp_path):
    folder, source = tmp_path / NAME, bundle(tmp_path / "source", "1.0.0")
    errors: list[Exception] = []

    def install() -> None:
        try:
            Registry(folder, proof=unproved).install(source, "test")
        except BundleError as e:
            errors.append(e)

    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert load_bundle(folder, "active").manifest.version == "1.0.0"
    assert [entry.what for entry in Registry(folder).history()] == ["install"]


def test_a_version_never_changes_its_content(registry, tmp_path):
    with pytest.raises(BundleError, match="already with other content"):
        registry.install(bundle(tmp_path / "other", "1.1.0", note="other"), "test")


def test_the_history_is_in_order_whatever_the_clock_does(registry, monkeypatch):
    import edge.store.registry.registry as module

    class Clock:
        years = iter((2040, 1970, 2026, 1971))

        @classmethod
        def now(cls, zone):
            from datetime import datetime

            return datetime(next(cls.years), 1, 1, tzinfo=zone)

    monkeypatch.setattr(module, "datetime", Clock)
    for version in ("1.1.0", "1.2.0", "1.1.0", "1.0.0"):
        registry.activate(version, "test")
    last = registry.history()[-4:]
    assert [entry.version for entry in last] == ["1.1.0", "1.2.0", "1.1.0", "1.0.0"]
    assert [entry.number for entry in registry.history()] == [1, 2, 3, 4, 5, 6, 7]


def test_a_torn_line_is_repaired_and_the_lost_one_is_written_again(registry):
    path = registry.folder / "history.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    registry.activate("1.2.0", "test")
    assert [entry.number for entry in registry.history()] == [1, 2, 3, 4]
    assert path.read_bytes().startswith(data)


def test_the_history_is_bounded(registry, monkeypatch):
    monkeypatch.setattr(history, "_SLACK_BYTES", 1000)
    monkeypatch.setattr(history.append, "__defaults__", (10,))
    for i in range(30):
        registry.activate("1.1.0" if i % 2 else "1.2.0", "test")
    numbers = [entry.number for entry in registry.history()]
    assert 10 <= len(numbers) <= 12
    assert numbers == list(range(34 - len(numbers), 34))
