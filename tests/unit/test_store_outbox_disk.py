"""The outbox on disk: what a later run finds, and what it does when the disk or the file is not as it should be."""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from edge.store import outbox_journal
from edge.store.outbox import ENTRY_BYTES, Bounds, Outbox
from edge.store.outbox_aside import DAMAGED_KEPT
from edge.store.outbox_file import OutboxFile, boottime_ns
from edge.store.outbox_journal import Journal
from tests.unit.test_store_outbox import make

TIMEOUT_S = 20


def open_box(path: Path, capacity: int | Bounds = 100, window: int = 5) -> Outbox:
    return Outbox(capacity, window, Journal(path, "process"))


def until(condition, box: Outbox | None = None) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        if box is not None:
            box.tick()
        time.sleep(0.002)


def stored(box: Outbox) -> None:
    until(lambda: box.journal.backlog == 0, box)


def deliver(box: Outbox) -> list[bytes]:
    got = []
    while (message := box.ready()) is not None:
        got.append(message.payload)
        box.sent(1)
        box.acked(1)
    return got


def test_a_later_run_delivers_first_what_an_earlier_one_did_not(tmp_path):
    box = open_box(tmp_path / "o")
    for number in range(4):
        box.add(make(number))
    stored(box)
    box.ready()
    box.sent(7)
    box.acked(7)
    assert box.close()
    again = open_box(tmp_path / "o")
    again.add(make(9))
    stored(again)
    assert again.counts()["restored"] == 3
    assert deliver(again) == [b"a1", b"a2", b"a3", b"a9"]
    assert again.counts()["accepted"] == again.counts()["delivered"] == 4
    again.close()
    assert len(open_box(tmp_path / "o")) == 0


def test_nothing_is_offered_before_it_is_on_disk(tmp_path):
    box = open_box(tmp_path / "o")
    seen = []
    for number in range(50):
        box.add(make(number))
        message = box.ready()
        if message is not None:
            with sqlite3.connect(f"file:{tmp_path / 'o'}?mode=ro", uri=True):
                pass
            assert int(message.payload[1:]) <= box.journal.committed
            box.sent(1)
            box.acked(1)
            seen.append(message)
    stored(box)
    assert len(seen) + len(deliver(box)) == 50
    box.close()


def test_a_file_that_is_damaged_is_set_aside_and_a_new_one_begun(tmp_path):
    path = tmp_path / "o"
    for _ in range(DAMAGED_KEPT + 2):
        box = open_box(path)
        for number in range(30):
            box.add(make(number))
        stored(box)
        box.close()
        whole = bytearray(path.read_bytes())
        whole[4096:8192] = os.urandom(4096)
        path.write_bytes(whole)
        box = open_box(path)
        assert "damaged" in box.journal.damaged
        assert not box.journal.fault
        assert len(box) == 0
        box.close()
        path.unlink()
    assert len(list(tmp_path.glob("o.damaged-*"))) == DAMAGED_KEPT


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_outbox_is_set_aside(tmp_path, content):
    (tmp_path / "o").write_bytes(content)
    box = open_box(tmp_path / "o")
    assert box.journal.damaged
    assert not box.journal.fault
    box.close()


def test_a_file_of_a_later_version_is_set_aside(tmp_path):
    with sqlite3.connect(tmp_path / "o") as db:
        db.execute("CREATE TABLE x (y)")
        db.execute("PRAGMA user_version = 99")
    db.close()
    box = open_box(tmp_path / "o")
    assert "version 99" in box.journal.damaged
    box.close()


def test_cut_and_flipped_files_never_raise(tmp_path):
    box = open_box(tmp_path / "seed")
    for number in range(40):
        box.add(make(number))
    stored(box)
    box.close()
    whole = (tmp_path / "seed").read_bytes()
    for i in range(0, len(whole), max(len(whole) // 40, 1)):
        path = tmp_path / f"o{i}"
        path.write_bytes(whole[:i] if i % 2 else whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :])
        box = open_box(path)
        assert not box.journal.fault
        assert set(deliver(box)) <= {f"a{number}".encode() for number in range(40)}
        box.close()


def test_a_disk_that_is_not_there_at_the_start_is_waited_for_and_its_alerts_come_first(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_journal, "RETRY_S", (0.01, 0.02))
    before = open_box(tmp_path / "disk" / "o")
    for number in range(3):
        before.add(make(number))
    stored(before)
    before.close()
    (tmp_path / "disk").rename(tmp_path / "away")
    (tmp_path / "disk").write_text("a file where the folder should be")
    box = open_box(tmp_path / "disk" / "o")
    assert box.journal.fault
    assert box.add(make(7)) is None
    assert box.ready().payload == b"a7", "while the disk fails, alerts are sent from memory"
    box.link_lost()
    (tmp_path / "disk").unlink()
    (tmp_path / "away").rename(tmp_path / "disk")
    until(lambda: not box.journal.fault, box)
    assert box.counts()["restored"] == 3
    box.close()
    again = open_box(tmp_path / "disk" / "o")
    assert deliver(again) == [b"a0", b"a1", b"a2", b"a7"]
    again.close()


HOLDER = """
import sys
from pathlib import Path
from edge.store.outbox_file import OutboxFile
file = OutboxFile(Path(sys.argv[1]), "process")
print(flush=True)
input()
"""


def test_a_second_process_keeps_its_alerts_in_memory(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "o")], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        box = open_box(tmp_path / "o")
        assert "locked" in box.journal.fault
        box.add(make(0))
        assert deliver(box) == [b"a0"]
        other.communicate(b"\n", timeout=TIMEOUT_S)
        until(lambda: not box.journal.fault, box)
        box.close()
    finally:
        other.kill()
        other.communicate()


FULL = """
import resource, signal, sys, time
from pathlib import Path
from edge.store import outbox_journal
from edge.store.outbox import Outbox
from tests.unit.test_store_outbox import make
outbox_journal.RETRY_S = (0.01, 0.02)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        box.tick()
        time.sleep(0.002)
box = Outbox(100_000, 5, outbox_journal.Journal(Path(sys.argv[1]), "power"))
number = 0
while not box.journal.fault:  # to 200 kB: then no file of this process grows any more
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    box.add(make(number)); number += 1
    if number % 100 == 0: time.sleep(0.001)
for more in range(50):
    box.add(make(number)); number += 1
assert box.ready() is not None
box.link_lost()
time.sleep(0.2)
box.tick()
assert box.journal.fault
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
until(lambda: not box.journal.fault)
until(lambda: box.journal.backlog == 0)
print(number, len(box), flush=True)
import os; os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_full_disk_loses_nothing_once_there_is_room_again(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "o")], capture_output=True, timeout=60, check=False)
    assert done.stdout, done.stderr.decode()
    number, held = map(int, done.stdout.split())
    assert number == held
    box = open_box(tmp_path / "o", 100_000)
    got = []
    until(lambda: got.extend(deliver(box)) or len(got) == number)  # sending waits when what is delivered is not yet forgotten on disk
    assert got == [f"a{i}".encode() for i in range(number)]
    box.close()


def test_a_disk_that_hangs_costs_the_loop_nothing_and_all_is_written_once_it_works(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox_journal, "MOST_WAITING", 50)
    hold = threading.Event()
    write = OutboxFile.write

    def slow(self, *args, **options):
        hold.wait(TIMEOUT_S)
        write(self, *args, **options)

    monkeypatch.setattr(OutboxFile, "write", slow)
    box = open_box(tmp_path / "o", 1000)
    for number in range(500):
        box.add(make(number))
    assert box.journal.backlog <= 50
    hold.set()
    until(lambda: box.journal.committed == 499, box)
    stored(box)
    box.close()
    again = open_box(tmp_path / "o", 1000)
    assert len(again) == 500
    again.close()


def test_bounds_of_bytes_and_age(tmp_path):
    size = len(make(0).payload) + len("alerts") + ENTRY_BYTES
    box = Outbox(Bounds(100, 3 * size + 20), 1)
    for number in range(5):
        box.add(make(number))
    assert box.counts()["evicted"] == 2
    large = msgspec.structs.replace(make(7, "critical"), payload=b"x" * 10_000)
    assert box.add(large) is large, "larger than the box"
    assert deliver(box) == [b"a2", b"a3", b"a4"]
    aged = Outbox(Bounds(100, None, 1), 1)
    aged.add(make(0))
    time.sleep(0.001)
    aged.tick()
    assert aged.counts() | {"evicted": 1, "waiting": 0} == aged.counts()


@pytest.mark.parametrize(("kernel", "wall_ns", "age_s"), [("", -10, 10), ("", +3600, 0), ("", None, 0)])
def test_age_after_a_start_of_the_machine_is_by_a_wall_clock_that_was_set_or_begins_anew(tmp_path, kernel, wall_ns, age_s):
    box = open_box(tmp_path / "o")
    box.add(make(0))
    stored(box)
    box.close()
    made_ns = 5 if wall_ns is None else time.time_ns() + wall_ns * 10**9
    db = sqlite3.connect(tmp_path / "o")
    db.execute("UPDATE alerts SET kernel = 'another', born_ns = 1, wall_ns = ?", (made_ns,))
    db.commit()
    db.close()
    file = OutboxFile(tmp_path / "o", "process")
    (entry,), bad = file.read()
    assert not bad
    assert (boottime_ns() - entry.born_ns) // 10**9 in (age_s, age_s + 1)
    file.close()


def test_what_a_rule_said_last_is_stored_with_its_alert(tmp_path):
    box = open_box(tmp_path / "o")
    for number, state in enumerate(["raised", "cleared", "raised"]):
        alert = make(number)
        box.add(msgspec.structs.replace(alert, message=msgspec.structs.replace(alert.message, state=state)))
    stored(box)
    deliver(box)
    box.close()
    journal = Journal(tmp_path / "o", "process")
    assert journal.take_reported() == {("d0", "hot"): "raised"}
    box = Outbox(10, 1, journal)
    journal.post("d0")
    box.close()
    assert Journal(tmp_path / "o", "process").take_reported() == {}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_if_the_thread_ends_alerts_are_sent_from_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(OutboxFile, "write", lambda *_args, **_options: 1 / 0)
    box = open_box(tmp_path / "o")
    box.add(make(0))
    until(lambda: bool(box.journal.fault))
    assert deliver(box) == [b"a0"]
    assert not box.close()
