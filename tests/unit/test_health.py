"""States with since-when on a clock of ours: sources, clock, helpers, and what may feed the watchdog."""

import json
import threading
import time

import msgspec
import pytest

import edge
from edge.build.health import health_terms
from edge.config.load import loads
from edge.daemon.health import STUCK_NS, Health
from edge.daemon.heartbeat import LEAST_NS, Heartbeat, Progress
from edge.daemon.helpers import of_heartbeat, of_outbox
from edge.daemon.outbox_watch import OutboxWatch
from edge.daemon.plan import Plan
from edge.messages import Outgoing, RawMessage
from edge.store.outbox import Outbox
from edge.store.outbox_journal import Journal
from tests.unit.config_files import found

MS = 1_000_000
WALL_NS = 1_790_000_000_000_000_000

PIPELINE = """
name = "guard"
budget_ms = 50
lanes = 4

[streams.temp]
topic = "plant/{device}/temp"
format = "json"
channels = { celsius = "degC" }
rate_hz = 10
on_silence = "alert"

[streams.temp.clean]
range = { celsius = [-50, 200] }

[streams.rare]
topic = "plant/{device}/rare"
format = "json"
channels = { x = "1" }
"""


class Link:
    is_up, fault, state, connects = True, "", "connected to mqtt://127.0.0.1:1883 (MQTT 5)", 1
    heard_ns = unread = 0


class Rig:
    def __init__(self, folder):
        file = folder / "guard.toml"
        file.write_text(PIPELINE)
        self.now = 1_000_000 * MS
        self.pipeline = edge.load(file, boot_id="b", wall_offset_ns=WALL_NS)
        self.link = Link()
        self.health = Health(self.link, self.now)
        self.health.watch(self.pipeline, health_terms(loads(PIPELINE, folder)), self.now)

    def send(self, stream="temp", device="a", **fields):
        fields = fields or {"celsius": 20}
        self.pipeline.step(RawMessage(f"plant/{device}/{stream}", json.dumps(fields).encode(), self.now))

    def look(self, ms=0.0):
        self.now += int(ms * MS)
        return self.health.look(self.now)

    def state(self, name="temp"):
        entry = self.health.report(self.now)["streams"][name]
        return entry["state"], self.now + WALL_NS - entry["since_ns"]


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def test_a_stream_is_silent_from_its_last_word_on_after_ten_periods(rig):
    assert rig.state() == ("silent", 0)
    rig.send()
    rig.look(10)
    assert rig.state() == ("ok", 0)
    rig.look(995)
    assert rig.state()[0] == "ok"
    rig.look(20)
    assert rig.state() == ("silent", 1015 * MS)
    rig.send()
    rig.look()
    assert rig.state() == ("ok", 0)


def test_a_stream_without_a_rate_may_always_be_silent_once_it_has_spoken(rig):
    assert rig.state("rare")[0] == "silent"
    rig.send("rare", x=1)
    rig.look(10)
    rig.look(3_600_000)
    assert rig.state("rare")[0] == "ok"


def test_a_sender_of_blocks_is_given_the_time_of_some_blocks(rig):
    rig.pipeline.intakes[0].block.n = 1
    source = rig.health._sources.sources["temp"]
    assert source.limit_ns == 1000 * MS
    rig.pipeline.intakes[0].block.n = 40  # four seconds of rows in one message
    assert source.limit_ns == 12_000 * MS


def test_a_stream_that_sends_what_is_refused_or_late_says_so(rig):
    rig.send(celsius=20, seq=10)
    rig.look(10)
    for i in range(12):
        rig.send(celsius=999, seq=11 + i)
        rig.look(100)
    assert rig.state()[0] == "refused"
    for _ in range(12):
        rig.send(celsius=20, seq=8)
        rig.look(100)
    assert rig.state()[0] == "late"
    rig.send(celsius=20, seq=23)
    rig.look(100)
    assert rig.state()[0] == "ok"


def test_devices_that_fell_silent_are_named(tmp_path):
    rig = Rig(tmp_path)
    rig.health.watch(
        rig.pipeline, health_terms(loads(PIPELINE.replace("[streams.rare]", "[streams.rare]\nrate_hz = 100"), tmp_path)), rig.now
    )
    rig.send(device="a")
    rig.send(device="b")
    rig.look(600)
    assert "names" not in rig.health.report(rig.now)["devices"]
    for _ in range(4):
        rig.send(device="b")
        rig.look(400)
    devices = rig.health.report(rig.now)["devices"]
    assert list(devices["names"]) == ["a"]
    assert devices["state"] == "silent"


def test_silence_is_an_alert_once_and_cleared_once(rig):
    def alerts(out):
        return [one.message.state for one in out if one.kind == "alert"]

    assert alerts(rig.look(900)) == []
    assert alerts(rig.look(200)) == ["raised"], "it never spoke"
    assert alerts(rig.look(200)) == []
    rig.send()
    assert alerts(rig.look(10)) == ["cleared"]
    told = [rig.look(500) for _ in range(4)]
    assert [state for out in told for state in alerts(out)] == ["raised"]
    (alert,) = [one for out in told for one in out if one.kind == "alert"]
    assert alert.topic == "edge/guard/alerts"
    assert json.loads(alert.payload)["name"] == "silent.temp"


def test_the_message_goes_out_when_something_changed_and_whenever_the_link_is_new(rig):
    def reports(out):
        return [json.loads(one.payload) for one in out if one.kind == "report"]

    (first,) = reports(rig.look())
    assert (first["state"], first["link"]["state"], first["streams"]["temp"]["state"]) == ("degraded", "up", "silent")
    assert reports(rig.look(300)) == []
    rig.link.is_up, rig.link.fault = False, "silent"
    rig.send()
    rig.send("rare", x=1)
    assert reports(rig.look(300)) == [], "there is nobody to tell"
    rig.look(300)
    rig.link.is_up, rig.link.fault, rig.link.connects = True, "", 2
    (again,) = reports(rig.look(300))
    assert (again["state"], again["link"]["state"], again["link"]["connects"]) == ("ok", "up", 2)
    rig.link.connects = 3
    assert len(reports(rig.look(300))) == 1


@pytest.mark.parametrize(("is_safe", "why"), [(True, "edge run --safe: no model, no rule, no command"), (False, "no model is fit to act")])
def test_safe_mode_is_a_state_with_its_beginning_named_first_and_the_watchdog_is_fed_as_ever(tmp_path, is_safe, why):
    rig = Rig(tmp_path)
    plan = Plan(rig.pipeline, None, [], "", 1.0, 20)
    rig.health.helpers = plan.helpers()
    rig.send()
    rig.send("rare", x=1)
    rig.look(10)
    report = rig.health.report(rig.now)
    assert (report["state"], report["mode"]["state"]) == ("ok", "ok")
    plan.is_safe, rig.pipeline.decisions.host.is_off = is_safe, not is_safe
    (told,) = [one for one in rig.look(300) if one.kind == "report"]
    rig.link.is_up, rig.link.fault = False, "closed"
    rig.look(3000)
    report = rig.health.report(rig.now)
    assert json.loads(told.payload)["state"] == report["state"] == "safe mode"
    assert report["mode"] == {"state": "safe", "since_ns": rig.now + WALL_NS - 3000 * MS, "why": why}
    assert "mode" not in report["helpers"]
    assert rig.health.problems(rig.now)[0] == f"safe mode ({why}) for 3 s"
    assert f"; safe mode ({why}) for 3 s" in rig.health.line(rig.now)
    assert rig.health.is_working(rig.now)
    plan.is_safe = rig.pipeline.decisions.host.is_off = False
    rig.look(10)
    assert rig.health.report(rig.now)["mode"]["state"] == "ok"


@pytest.mark.parametrize(("fault", "state"), [("", "dialling"), ("silent", "silent"), ("refused", "refused"), ("closed", "closed")])
def test_a_link_that_is_down_says_how(rig, fault, state):
    rig.look()
    rig.link.is_up, rig.link.fault = False, fault
    rig.look(50)
    rig.look(1000)
    link = rig.health.report(rig.now)["link"]
    assert (link["state"], rig.now + WALL_NS - link["since_ns"]) == (state, 1000 * MS)


def test_a_wall_clock_that_is_set_is_a_state_for_a_minute_and_moves_no_since_when(rig):
    rig.send()
    rig.look(10)
    rig.pipeline.decisions.wall_offset_ns += 3_600_000 * MS
    rig.look(100)
    clock = rig.health.report(rig.now)["clock"]
    assert (clock["state"], clock["why"]) == ("stepped", "by +3600.000 s")
    source = rig.health.report(rig.now)["streams"]["temp"]
    assert rig.now + WALL_NS + 3_600_000 * MS - source["since_ns"] == 100 * MS
    rig.look(60_001)
    assert rig.health.report(rig.now)["clock"]["state"] == "ok"
    rig.pipeline.decisions.wall_offset_ns = 0
    rig.look(1)
    assert rig.health.report(rig.now)["clock"]["state"] == "unset"


def test_the_watchdog_is_fed_while_frames_come_and_while_none_come_but_not_while_they_wait_unread(rig):
    health, link = rig.health, rig.link
    for _ in range(5):
        rig.look(1000)
        assert health.is_working(rig.now), "silence is no reason to restart"
    link.unread = 100
    for i in range(5):
        rig.look(1000)
        link.heard_ns = i
        assert health.is_working(rig.now), "it is read as it comes"
    rig.look(1)
    assert health.is_working(rig.now)
    rig.look(STUCK_NS / MS + 1)
    assert not health.is_working(rig.now), "it waits and nobody reads it"
    link.heard_ns += 1
    assert health.is_working(rig.now)


def test_a_heartbeat_is_late_after_three_periods_and_never_before_250_ms():
    beat = Heartbeat("h")
    now = time.monotonic_ns()
    assert not beat.is_late(now + 10**12), "nothing is expected of it yet"
    beat.expect(0.01)
    assert not beat.is_late(now + LEAST_NS - 1)
    assert beat.is_late(time.monotonic_ns() + LEAST_NS + 1)
    beat.expect(2.0, "proving")
    assert not beat.is_late(now + 5_900 * MS)
    assert of_heartbeat(beat)(time.monotonic_ns() + 6_001 * MS) == ("h", "stuck", "proving")
    beat.rest()
    assert not beat.is_late(now + 10**12)


def test_who_waits_for_work_is_not_stuck_and_who_has_some_and_does_none_is():
    progress = Progress("p")
    assert not progress.is_stuck(3, is_waiting=False, now_ns=0)
    now = 2 * 10**12
    assert not progress.is_stuck(4, is_waiting=True, now_ns=now)
    assert not progress.is_stuck(4, is_waiting=True, now_ns=now + LEAST_NS)
    assert progress.is_stuck(4, is_waiting=True, now_ns=now + LEAST_NS + 1)
    assert not progress.is_stuck(5, is_waiting=True, now_ns=now + LEAST_NS + 2)


def test_an_outbox_writer_that_hangs_is_seen_and_is_well_again_when_it_goes_on(rig, tmp_path):
    journal = Journal(tmp_path / "guard.outbox", "process")
    outbox = Outbox(100, 20, journal)
    rig.health.helpers = [of_outbox(outbox)]
    gate, write = threading.Event(), journal._file.write
    journal._file.write = lambda *a, **k: (gate.wait(60), write(*a, **k))[1]

    def helper():
        rig.health.look(time.monotonic_ns())
        return rig.health.report(time.monotonic_ns())["helpers"]["outbox"]

    try:
        assert helper()["state"] == "ok"
        outbox.add(Outgoing("alert", "t", b"x"))
        end = time.monotonic() + 60
        while helper()["state"] != "stuck":
            assert time.monotonic() < end
            time.sleep(0.02)
        assert helper()["why"] == "writing alerts to disk"
        assert any("outbox stuck (writing alerts to disk)" in text for text in rig.health.problems(time.monotonic_ns()))
        gate.set()
        while helper()["state"] != "ok":
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        gate.set()
        outbox.close()


def test_what_is_wrong_with_a_recording_is_found_with_its_key(tmp_path):
    text = PIPELINE + '[recording]\npath = "r"\nkeep_mb = 10\nmax_mb = 8\ntopics = ["a/#/b"]\nbuffer_mb = 0.1\n'
    wrong = found(text, tmp_path)
    assert set(wrong) == {"recording.keep_mb", "recording.topics[0]", "recording.buffer_mb"}
    assert "twice max_mb (8)" in wrong["recording.keep_mb"]
    twice = PIPELINE + '[health]\ntopic = "edge/guard/status"\n'
    assert "is the topic of publish.status.topic too" in found(twice, tmp_path)["health.topic"]
    neither = PIPELINE + '[recording]\npath = "r"\ninputs = false\noutputs = false\n'
    assert set(found(neither, tmp_path)) == {"recording.inputs"}
    assert loads(PIPELINE + '[recording]\npath = "r"\n', tmp_path).recording.path == str(tmp_path / "r")


def test_silence_that_an_earlier_run_raised_is_not_raised_again_and_is_cleared(tmp_path):
    said = {}
    told = []
    for speaks in (
        lambda i: i < 10,
        lambda _i: False,
        lambda _i: True,
    ):  # falls silent; silent in the next run; speaks in the last
        rig = Rig(tmp_path)
        terms = msgspec.structs.replace(health_terms(loads(PIPELINE, tmp_path)), said=said)
        rig.health.watch(rig.pipeline, terms, rig.now)
        for i in range(100):
            if speaks(i):
                rig.send()
            told += [json.loads(one.payload)["state"] for one in rig.look(50) if one.kind == "alert"]
        told.append("killed")
    assert told == ["raised", "killed", "killed", "cleared", "killed"]


def test_troubles_of_the_outbox_that_an_earlier_run_raised_are_cleared(tmp_path):
    rig, told = Rig(tmp_path), []
    for run in range(3):
        box = Outbox(3, 1, Journal(tmp_path / "box", "process"))
        watch = OutboxWatch(box)
        watch.topic = "t"
        for number in range(6 if run == 0 else 0):
            box.add(Outgoing("alert", "t", f"{number}".encode()))
        if run == 0:
            box.journal.fault = "as by a disk that fails"
        else:  # what is over is told to who heard of it
            while box.ready() is not None:
                box.sent(1)
                box.acked(1)
        for one in (one for _ in range(3) for one in watch.look(rig.pipeline, rig.now)):
            told.append((run, one.message.name, one.message.state))
            box.add(one)
        box.journal.fault = ""
        assert box.close()
    assert [one for one in told if one[0] == 0] == [(0, "outbox.evicted", "raised"), (0, "outbox.not_stored", "raised")]
    assert [one for one in told if one[0] == 1] == [(1, "outbox.evicted", "cleared"), (1, "outbox.not_stored", "cleared")]
    assert not [one for one in told if one[0] == 2]
