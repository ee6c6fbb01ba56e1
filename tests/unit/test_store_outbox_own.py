"""What an outbox says of itself: it outlasts the alerts that crowd it out, says the whole number, and survives a kill."""

import json
import shutil
import time

import pytest

import edge
from edge.daemon.outbox_watch import AGAIN_NS, OutboxWatch
from edge.store.outbox import Bounds, Outbox
from edge.store.outbox_file import GIVEN_UP, OutboxFile, boottime_ns
from edge.store.outbox_journal import Journal
from edge.store.outbox_refused import AGAIN_NS as RETRY_NS
from tests.unit.test_store_outbox import make

S = 1_000_000_000
CAPACITY = 20
PIPELINE = """
name = "guard"
budget_ms = 50

[streams.temp]
topic = "plant/{device}/temp"
format = "json"
channels = { celsius = "degC" }
"""


class Run:
    """One run of a daemon, as far as its outbox goes; the clock is ours."""

    def __init__(self, folder, pipeline, path="o", capacity=CAPACITY):
        self.box = Outbox(capacity, CAPACITY, Journal(folder / path, "process"))
        self.watch, self.pipeline, self.now = OutboxWatch(self.box), pipeline, 5 * S
        self.watch.topic = "own"
        self.token, self.seq = 0, 0

    def alerts(self, count):
        for _ in range(count):
            self.seq += 1
            self.box.add(make(self.seq, "critical", "d0"))
            self.look()

    def look(self, seconds=0.01):
        self.now += int(seconds * S)
        for one in self.watch.look(self.pipeline, self.now):
            self.box.add(one)

    def store(self):
        end = time.monotonic() + 20
        while self.box.journal.backlog:
            assert time.monotonic() < end
            time.sleep(0.002)

    def send(self):
        """What the window and the file let out now."""
        self.store()
        out = []
        while (message := self.box.ready()) is not None:
            self.token += 1
            self.box.sent(self.token)
            out.append((self.token, message))
        return out

    def deliver(self):
        """Everything, with what that makes the outbox say; gives its own words."""
        said = []
        while out := self.send():
            for token, message in out:
                self.box.acked(token)
                said += [json.loads(message.payload)] if message.topic == "own" else []
            self.look()
        return [(one["name"], one["state"], one["value"]) for one in said]

    def kill(self, folder, name):
        """What a kill at this moment leaves."""
        self.store()
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.box.journal.path}{suffix}", folder / f"{name}{suffix}")
        self.box.close()


@pytest.fixture
def pipeline(tmp_path):
    file = tmp_path / "guard.toml"
    file.write_text(PIPELINE)
    return edge.load(file, boot_id="b", wall_offset_ns=0)


def is_balanced(box):
    counts = box.counts()
    return counts["accepted"] == counts["delivered"] + counts["waiting"] + counts["in_flight"] + counts["evicted"]


def test_the_word_of_what_was_given_up_outlasts_it_and_the_total_follows_as_soon_as_it_is_heard(tmp_path, pipeline):
    run = Run(tmp_path, pipeline)
    run.alerts(CAPACITY + 66)  # within a minute
    assert run.box.counts()["waiting"] == CAPACITY + 1, "it takes no alert's room"
    run.look(2)
    said = run.deliver()
    assert said == [("outbox.evicted", "raised", 1.0), ("outbox.evicted", "raised", 66.0)]
    run.look(61)
    assert run.deliver() == [("outbox.evicted", "cleared", 66.0)]
    assert is_balanced(run.box)
    run.box.close()


def test_one_word_of_a_kind_waits_and_it_has_the_newest_value(tmp_path, pipeline):
    run = Run(tmp_path, pipeline)
    for _ in range(4):
        run.alerts(CAPACITY)
        run.look(AGAIN_NS / S)
    assert run.box.counts()["waiting"] == CAPACITY + 1
    assert is_balanced(run.box)
    assert run.deliver()[0] == ("outbox.evicted", "raised", 60.0)
    run.box.close()


def test_what_is_over_is_not_said_before_it_was_heard_of(tmp_path, pipeline):
    run = Run(tmp_path, pipeline)
    run.alerts(CAPACITY + 1)
    for _ in range(5):
        run.look(100)
    assert run.deliver() == [("outbox.evicted", "raised", 1.0), ("outbox.evicted", "cleared", 1.0)]
    run.box.close()


def test_the_total_survives_a_kill_and_is_told_by_the_next_run(tmp_path, pipeline):
    run = Run(tmp_path, pipeline)
    run.alerts(CAPACITY + 66)
    run.kill(tmp_path, "killed")
    run = Run(tmp_path, pipeline, "killed")
    run.look()
    run.alerts(3)
    run.look(2)
    said = run.deliver()
    assert said[-1] == ("outbox.evicted", "raised", 69.0)
    run.look(61)
    assert run.deliver() == [("outbox.evicted", "cleared", 69.0)]
    run.box.close()
    run = Run(tmp_path, pipeline, "killed")
    run.look()
    assert run.deliver() == [], "it was told, and is over"
    run.box.close()


def test_an_alert_and_the_count_of_it_go_in_one_transaction(tmp_path, pipeline, monkeypatch):
    sums, write = [], OutboxFile.write

    def check(file, *args):
        write(file, *args)
        sums.append((len(file.read()[0]), file.totals().get(GIVEN_UP, 0), file._db.execute("SELECT max(number) FROM alerts").fetchone()[0]))

    monkeypatch.setattr(OutboxFile, "write", check)
    run = Run(tmp_path, pipeline)
    run.watch.topic = ""
    for _ in range(100):
        run.alerts(7)
        time.sleep(0.001)
    run.store()
    run.box.close()
    assert len(sums) > 5
    assert all(waiting + given_up == last + 1 for waiting, given_up, last in sums), sums


def test_what_was_counted_while_the_file_could_not_be_read_is_added(tmp_path, pipeline):
    run = Run(tmp_path, pipeline)
    run.alerts(CAPACITY + 5)
    run.store()
    assert run.box.close()
    holder = OutboxFile(tmp_path / "o", "process")
    run = Run(tmp_path, pipeline)
    run.alerts(CAPACITY + 2)
    assert run.box.totals[GIVEN_UP] == 2
    holder.close()
    end = time.monotonic() + 20
    while run.box.journal.trouble or not run.box.counts()["restored"]:
        assert time.monotonic() < end
        run.look()
        time.sleep(0.01)
    assert run.box.totals[GIVEN_UP] == 5 + 2 + CAPACITY, "those of the earlier run, as the older, have no room"
    run.store()
    assert run.box.close()
    assert Journal(tmp_path / "o", "process").take_totals()[GIVEN_UP] == 7 + CAPACITY


def test_alerts_that_are_too_old_count_and_our_own_word_does_not_expire(tmp_path, pipeline, monkeypatch):
    run = Run(tmp_path, pipeline, capacity=Bounds(CAPACITY, age_ns=S))
    run.alerts(CAPACITY + 1)
    monkeypatch.setattr("edge.store.outbox.boottime_ns", lambda: boottime_ns() + 10 * S)
    run.look(2)
    run.look(2)
    assert run.box.counts()["waiting"] == 1
    assert run.deliver() == [("outbox.evicted", "raised", 1.0), ("outbox.evicted", "raised", 21.0)]
    run.box.close()


def test_refusals_are_told_with_what_the_broker_refuses_and_a_restart_takes_nothing_back(tmp_path, pipeline):
    run = Run(tmp_path, pipeline)
    run.alerts(3)
    for token, message in run.send():
        run.box.refused(token, "Not authorized")
        topic = message.topic
    run.look()
    (token, word), *_ = [one for one in run.send() if one[1].topic == "own"]
    assert json.loads(word.payload)["detail"] == f"the broker refuses alerts on {topic} (Not authorized)"
    run.box.acked(token)
    run.kill(tmp_path, "denied")

    run = Run(tmp_path, pipeline, "denied")
    run.look()
    assert {message.topic for _, message in run.send()} == {topic}, "nothing is known yet: not that it is over"
    run.box.link_lost()
    for token, _ in run.send():
        run.box.refused(token, "Not authorized")
    run.look()
    assert run.send() == []
    time.sleep(RETRY_NS / S + 0.1)
    run.look()
    assert run.deliver() == [("outbox.denied", "cleared", 0.0)]
    run.box.close()


def test_refusals_are_not_over_because_the_refused_were_given_up(tmp_path, pipeline):
    run = Run(tmp_path, pipeline)
    run.alerts(2)
    for token, _ in run.send():
        run.box.refused(token, "Not authorized")
    run.look()
    assert [message.topic for token, message in run.send() if run.box.acked(token) is None] == ["own"]
    run.alerts(CAPACITY)
    assert run.box.denied == 0
    assert run.box.counts()["evicted"] == 2
    assert all(json.loads(message.payload)["name"] == "outbox.evicted" for _, message in run.send() if message.topic == "own")
    run.box.close()


def test_a_disk_that_fails_is_told_in_its_own_words(tmp_path, pipeline):
    (tmp_path / "file").touch()
    box = Outbox(CAPACITY, CAPACITY, Journal(tmp_path / "file" / "o", "process"))
    watch = OutboxWatch(box)
    watch.topic = "own"
    (word,) = watch.look(pipeline, S)
    told = json.loads(word.payload)
    assert (told["name"], told["state"]) == ("outbox.not_stored", "raised")
    assert "File exists" in told["detail"]
    box.close()
