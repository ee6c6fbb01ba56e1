"""Faults of the order, the number and the age of what comes in."""

import json
import time

import pytest

from tests.broker import needs_mosquitto
from tests.system.faults.site import PIPELINE, until
from tests.system.faults.tools import PERIOD_NS, STAMPED, between, counts, misbehave, stamped, timed

pytestmark = [needs_mosquitto, pytest.mark.timeout(240)]
HELD = PIPELINE.replace("[streams.s.clean]", "[streams.s.clean]\nlateness_ms = 120")


@pytest.mark.fault("input", "every row arrives twice", "the second is counted as duplicate; decisions, alerts and commands once")
def test_every_row_twice(site, seen):
    one = site()
    twice = []

    def double(seq):
        twice.append(seq)
        return [one.sensor.row(seq)] * 2

    misbehave(one, double)
    found = counts(one)
    seen["duplicates"], seen["of"] = found["duplicate"], len(twice)
    assert found["duplicate"] == len(twice)
    assert one.status()["decisions"]["made"] + sum(one.status()["decisions"]["skipped"].values()) <= found["used"]
    one.judge(seen)


@pytest.mark.fault("input", "bursts of 20 rows in reverse order, lateness_ms = 120", "put in order: nothing late, nothing lost")
def test_reversed_bursts_are_put_in_order(site, seen):
    one = site(text=HELD, sensor=False)
    one.begin(make=timed)
    misbehave(one, _burst_reversed)
    found = counts(one)
    seen["late"], seen["missing"], seen["used"] = found["late"], found["lost_frames"], found["used"]
    assert found["received"] == found["used"] + found["duplicate"], found
    one.judge(seen)


@pytest.mark.fault("input", "bursts of 20 rows in reverse order, no lateness_ms", "older rows are counted late; no feature goes backwards")
def test_reversed_bursts_are_late(site, seen):
    one = site(text=PIPELINE, sensor=False)
    one.begin(make=timed)
    misbehave(one, _burst_reversed)
    found = counts(one)
    seen["late"], seen["used"] = found["late"], found["used"]
    assert found["late"] >= 19 * 8
    assert found["received"] == found["used"] + found["late"] + found["duplicate"], found
    one.judge(seen)


def _burst_reversed(seq):
    """Nothing, until 20 rows are due."""
    return [timed(n) for n in range(seq, seq - 20, -1)] if seq % 20 == 19 else None


@pytest.mark.fault("input", "the device reboots: counter and clock from 0 again", "believed after at most 32 rows that follow each other")
def test_device_reboots(site, seen):
    one = site(sensor=False)
    one.begin(make=timed)
    one.sensor.seq = 0
    seen["recovered, s"] = one.until_working()
    found = counts(one)
    seen["rows refused"], seen["resyncs"] = found["received"] - found["used"], found["resyncs"]
    assert 1 <= found["resyncs"] <= 2
    assert seen["rows refused"] <= 64
    one.judge(seen)


@pytest.mark.fault("input", "the counter wraps at 16 and at 32 bits", "no row is refused, no gap is counted")
def test_counters_wrap(site, seen):
    one = site(sensor=False)
    for bits in (16, 32):
        size = 1 << bits
        device = f"b{bits}"
        for n in range(-100, 100):
            one.peer.client.publish(f"d/{device}/s", json.dumps({"x": 0, "seq": n % size, "t": (n + 200) * PERIOD_NS}))
    until(lambda: one.status() and one.status()["streams"]["s"]["received"] == 400, lambda: str(one.status()))
    one.begin()
    found = counts(one)
    seen["late"], seen["missing"], seen["resyncs"] = found["late"], found["lost_frames"], found["resyncs"]
    assert found["late"] == found["lost_frames"] == found["resyncs"] == found["duplicate"] == 0
    one.judge(seen)


@pytest.mark.fault("input", "rows of an hour ago between the fresh ones", "dropped as stale; nothing is decided on them")
def test_old_rows(site, seen):
    one = site(text=STAMPED, sensor=False)
    one.begin(make=stamped)
    before = one.status()["streams"]["s"]["dropped"].get("stale", 0)
    old_ms = time.time_ns() // 1_000_000 - 3_600_000
    sent = between(one, [json.dumps({"x": 1, "t": old_ms + n}) for n in range(1000)], stamped)
    found = counts(one)
    seen["too old"], seen["of"] = found["dropped"]["stale"] - before, sent
    assert seen["too old"] >= sent
    status = one.status()["decisions"]
    assert status["made"] + sum(status["skipped"].values()) <= found["used"]
    one.judge(seen)


@pytest.mark.fault("input", "five times the rate for 5 s", "every row is accounted for; no late command; well again at once")
def test_five_times_the_rate(site, seen):
    one = site()
    mark, period = one.sensor.seq, one.sensor.period_s
    began = time.monotonic()
    one.sensor.period_s = period / 5
    time.sleep(5)
    one.sensor.period_s = period
    seen["rows/s"] = (one.sensor.seq - mark) / (time.monotonic() - began)
    seen["recovered, s"] = one.until_working()
    found = counts(one)
    seen["missed deadlines"] = one.status()["budget"]["missed"]
    assert found["lost_frames"] == 0
    one.judge(seen)
