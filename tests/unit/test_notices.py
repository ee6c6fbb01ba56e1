"""What an operator hears: once, with the likeliest cause, and then at most once a minute."""

import json
import logging

import pytest

from edge.build import load
from edge.daemon.notices import AGAIN_NS, Notices
from edge.messages import RawMessage
from edge.pipeline.status import status

MS = 1_000_000
S = 1000 * MS
TEXT = """
name = "p"
budget_ms = 500
[streams.s]
topic = "s/{device}"
format = "json"
rate_hz = 50
channels = { x = "1" }
fields = { x = "acc.x", t = "at" }
[streams.other]
topic = "o/{device}"
channels = { y = "1" }
[[features]]
stream = "s"
channels = ["x"]
window = "200ms"
stats = ["mean"]
"""
OTHER = '[[features]]\nstream = "other"\nchannels = ["y"]\nwindow = 2\nstats = ["mean"]\n'
ACTUATOR = """
[actuators.fan]
topic = "f/{device}"
unit = "1"
min = 0.0
max = 1.0
ttl_ms = 600
safe_value = 0.25
stale_ms = 300
rearm_ms = 0
"""


class Watched:
    def __init__(self, folder, caplog, text):
        (folder / "p.toml").write_text(text)
        self.pipeline = load(folder / "p.toml")
        self.notices, self.caplog, self.now_ns = Notices(self.pipeline), caplog, 10 * S

    def send(self, seq=None, at_ns=None, **changes):
        body = {"acc": {"x": 1.0}, "at": self.now_ns if at_ns is None else at_ns} | changes
        if seq is not None:
            body["seq"] = seq
        self.pipeline.step(RawMessage("s/d", json.dumps(body).encode(), self.now_ns))
        self.now_ns += 20 * MS

    def heard(self):
        self.caplog.clear()
        self.pipeline.tick(self.now_ns)
        self.notices.look(status(self.pipeline, 0), self.now_ns)
        return [record.getMessage() for record in self.caplog.records if record.levelno == logging.WARNING]


@pytest.fixture
def watch(tmp_path, caplog):
    return lambda text=TEXT: Watched(tmp_path, caplog, text)


def test_what_is_refused_is_told_once_and_again_after_a_minute(watch):
    watched = watch()
    for _ in range(3):
        watched.send(acc={"X": 1.0}, temp=3)
    assert watched.heard() == ["stream s: 3 not used, missing_field: the file looks for acc.x; the last one refused has acc.X, at, temp"]
    watched.send(acc=None)
    watched.now_ns += 2 * S
    assert watched.heard() == []
    watched.now_ns += AGAIN_NS
    assert watched.heard() == ["stream s: 1 not used, missing_field: the file looks for acc.x; the last one refused has acc, at"]


def test_a_seq_that_does_not_count_is_named(watch):
    watched = watch()
    for _ in range(20):
        watched.send(seq=7)
    assert watched.heard() == [
        "stream s: 19 not used, duplicate: nearly all: is the field of seq a counter, one more with every message?"
    ]  # fmt: skip


COARSE = "; stamp_unit is too coarse for the rate, or for a sender that catches up"


@pytest.mark.parametrize(("unit", "cause"), [("ms", f"ms{COARSE}"), ("s", f"s{COARSE}"), ("ns", "ns")])
def test_samples_that_share_a_stamp_are_told_from_a_clock_that_was_set_back(watch, unit, cause):
    watched = watch(TEXT.replace("rate_hz", f'stamp_unit = "{unit}"\nrate_hz'))
    for seq in range(6):
        watched.send(seq=seq, at_ns=100 + seq // 2)  # two by two
    watched.send(seq=6, at_ns=90)
    assert watched.heard()[0] == f"stream s: 4 not used, stamp_past: stamps that do not rise: two samples within one {cause}"
    watched.now_ns += 2 * AGAIN_NS
    for seq in range(7, 10):
        watched.send(seq=seq, at_ns=90)
    assert watched.heard()[0] == "stream s: 3 not used, stamp_past: two senders with one device name, or a clock that was set back"


def test_stamps_in_another_unit_are_named(watch):
    watched = watch()
    for i in range(40):
        watched.send(at_ns=1_700_000_000 + i * 20)
    assert "stream s: steps of 20 ns, expected 20 ms (rate_hz = 50): stamp_unit?" in watched.heard()


def test_a_sender_that_is_too_fast_for_its_windows_is_named(watch):
    watched = watch()
    for i in range(200):
        watched.send(at_ns=10 * S + i * 5 * MS)
    [text] = watched.heard()
    assert text.startswith("stream s: ")
    assert text.endswith("samples left their windows early: 200 Hz measured, rate_hz = 50")


def test_frames_without_decisions_are_told_with_what_is_waited_for(watch):
    watched = watch(TEXT + OTHER)
    told = []
    for _ in range(9):
        for _ in range(50):
            watched.send()
        told += watched.heard()
    [text] = told
    assert text.startswith("frames come, but no decision was made for 7 s: devices wait for a window (1 of other.y.mean.2)")
    assert watch().heard() == []


def test_an_output_that_latches_and_is_armed_again_is_told(watch):
    watched = watch(TEXT + ACTUATOR)
    for _ in range(30):
        watched.send()
    assert watched.heard() == []
    watched.now_ns += 2 * S
    assert watched.heard() == ["actuator fan of d is latched at its safe value 0.25: silence (1 such)"]
    for _ in range(100):
        watched.send()
    assert watched.heard() == ["actuator fan of d is no longer latched"]
