"""What rules said last: kept whatever the disk does, and told to whoever goes on."""

import sqlite3
import threading
import time

import msgspec
import pytest

from edge.store import outbox_journal, outbox_said
from edge.store.outbox_file import OutboxFile
from edge.store.outbox_journal import Journal
from tests.unit.test_store_outbox import make
from tests.unit.test_store_outbox_disk import TIMEOUT_S, deliver, open_box, stored, until

pytestmark = pytest.mark.timeout(60)


def say(box, number, state):
    alert = make(number)
    box.add(msgspec.structs.replace(alert, message=msgspec.structs.replace(alert.message, state=state)))


def reported(path):
    return Journal(path, "process").take_reported()


@pytest.mark.parametrize(("first", "second"), [("raised", "cleared"), ("cleared", "raised")])
def test_what_is_said_while_the_disk_fails_is_known_to_the_next_run(tmp_path, monkeypatch, first, second):
    monkeypatch.setattr(outbox_journal, "RETRY_S", (0.01, 0.02))
    box = open_box(tmp_path / "o")
    say(box, 1, first)
    stored(box)
    assert len(deliver(box)) == 1
    stored(box)

    def fail(*_args, **_options):
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(OutboxFile, "write", fail)
        say(box, 2, second)
        until(lambda: bool(box.journal.fault))
        assert len(deliver(box)) == 1, "late is worse than not stored"
    until(lambda: not box.journal.fault, box)
    assert box.close()
    assert reported(tmp_path / "o") == {("d0", "hot"): second}


def test_what_is_said_while_the_disk_is_far_behind_is_known_to_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_journal, "MOST_WAITING", 10)
    hold, write = threading.Event(), OutboxFile.write
    monkeypatch.setattr(OutboxFile, "write", lambda *args, **options: (hold.wait(TIMEOUT_S), write(*args, **options)))
    box = open_box(tmp_path / "o", 5)
    for number in range(30):
        say(box, number, "raised" if number < 29 else "cleared")
    hold.set()
    stored(box)
    until(lambda: not box.journal.needs_all, box)
    assert box.close()
    assert reported(tmp_path / "o") == {("d0", "hot"): "cleared"}


def test_what_was_said_before_comes_with_a_file_that_opens_late_and_what_this_run_said_counts_more(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_journal, "RETRY_S", (0.01, 0.02))
    before = open_box(tmp_path / "o")
    for number, device in enumerate(("d0", "d1")):
        before.add(make(number, device=device))
    stored(before)
    before.close()
    lock = sqlite3.connect(tmp_path / "o", isolation_level=None)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN EXCLUSIVE")
    box, found = open_box(tmp_path / "o"), []
    box.on_found = found.append
    assert box.said == {}
    say(box, 5, "cleared")
    lock.execute("COMMIT")
    lock.close()
    until(lambda: not box.journal.fault, box)
    assert found == [{"d1": {"hot": "raised"}}]
    assert box.said == {"d0": {"hot": "cleared"}, "d1": {"hot": "raised"}}
    assert box.close()
    assert reported(tmp_path / "o") == {("d0", "hot"): "cleared", ("d1", "hot"): "raised"}


def test_a_disk_that_hangs_holds_no_alert_back_for_long_and_is_noticed(tmp_path, monkeypatch):
    hold, write = threading.Event(), OutboxFile.write
    monkeypatch.setattr(OutboxFile, "write", lambda *args, **options: (hold.wait(TIMEOUT_S), write(*args, **options)))
    box = open_box(tmp_path / "o")
    box.add(make(0))
    assert box.ready() is None
    until(lambda: box.ready() is not None, box)
    assert deliver(box) == [b"a0"]
    assert box.journal.trouble
    hold.set()
    stored(box)
    assert not box.journal.trouble
    box.add(make(1))
    stored(box)
    assert box.close()


def test_a_disk_that_is_merely_busy_is_not_one_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_journal, "HANGS_NS", 200_000_000)
    box = open_box(tmp_path / "o")
    box.add(make(0))
    stored(box)
    time.sleep(0.3)  # nothing was looked at meanwhile
    monkeypatch.setattr(box.journal, "_operations", type("Nowhere", (), {"put": lambda *_: None})())
    box.add(make(1))
    assert not box.journal.trouble
    until(lambda: bool(box.journal.trouble))


def test_a_disk_that_hangs_at_the_start_does_not_keep_us_from_starting(tmp_path, monkeypatch):
    before = open_box(tmp_path / "o")
    before.add(make(0))
    stored(before)
    before.close()
    monkeypatch.setattr(outbox_journal, "OPEN_S", 0.1)
    hold, prepare = threading.Event(), OutboxFile._prepare
    monkeypatch.setattr(OutboxFile, "_prepare", lambda *args: (hold.wait(TIMEOUT_S), prepare(*args)))
    box = open_box(tmp_path / "o")
    assert box.journal.trouble
    box.add(make(1))
    assert box.ready().payload == b"a1"
    box.link_lost()
    hold.set()
    until(lambda: not box.journal.trouble, box)
    assert box.counts()["restored"] == 1
    assert box.said == {"d0": {"hot": "raised"}}
    stored(box)
    assert deliver(box) == [b"a0", b"a1"]
    assert box.close()
    assert len(open_box(tmp_path / "o")) == 0


def test_an_alert_that_is_not_what_was_written_costs_no_other(tmp_path):
    box = open_box(tmp_path / "o")
    for number in range(20):
        box.add(make(number))
    stored(box)
    box.close()
    db = sqlite3.connect(tmp_path / "o")
    db.execute("UPDATE alerts SET payload = x'00' WHERE number = 7")
    db.execute("UPDATE alerts SET level = 'high' WHERE number = 9")
    db.commit()
    db.close()
    for run in range(2):
        box = open_box(tmp_path / "o")
        assert len(box) == 18
        assert box.said == {"d0": {"hot": "raised"}}
        assert ("2 alerts" in box.journal.damaged) == (run == 0), "once"
        assert box.close()
    (aside,) = tmp_path.glob("o.damaged-*")
    db = sqlite3.connect(aside)
    assert db.execute("SELECT count(*) FROM alerts").fetchone() == (20,)
    db.close()
    box = open_box(tmp_path / "o")
    got = deliver(box)
    assert len(got) == 18
    assert b"a7" not in got
    box.close()


def test_devices_without_number_are_forgotten_the_silent_first_but_not_what_is_raised(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_said, "DEVICES", 3)
    box = open_box(tmp_path / "o", 5)
    for number, (device, state) in enumerate(
        (("d0", "raised"), ("d1", "cleared"), ("d2", "cleared"), ("d1", "cleared"), ("d3", "cleared"))
    ):
        alert = make(number, device=device)
        box.add(msgspec.structs.replace(alert, message=msgspec.structs.replace(alert.message, state=state)))
    assert list(box.said) == ["d0", "d1", "d3"]
    stored(box)
    assert box.close()
    assert {device for device, _rule in reported(tmp_path / "o")} == {"d0", "d1", "d3"}
