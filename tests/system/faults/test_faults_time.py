"""Faults in time: sensors that fall silent, stick or have wrong clocks, and a wall clock that is set."""

import json
import time

import pytest

from tests.broker import needs_mosquitto
from tests.system.faults.site import PIPELINE, SAFE, until
from tests.system.faults.tools import PERIOD_NS, STAMPED, counts, longest_gap_s, stamped, timed
from tests.system.faults.wall import Wall

pytestmark = [needs_mosquitto, pytest.mark.timeout(240)]
ALARMED = PIPELINE.replace("silent_ms = 1000", 'silent_ms = 1000\non_silence = "alert"')
STUCK = PIPELINE.replace("[streams.s.clean]", '[streams.s.clean]\nstuck = { ms = 500 }\nmissing = { policy = "reject" }')
PATIENT = PIPELINE.replace("silent_ms = 1000", "silent_ms = 20000")  # so that no silence is one of a busy machine
HOUR, TEN_YEARS = 3600, 10 * 365 * 86_400


def is_safe(one, since):
    """Whether the last three commands after the first ``since`` of them are the safe value."""
    values = [command["value"] for _, command in one.commands()[since:]]
    return len(values) >= 3 and set(values[-3:]) == {SAFE}


def silent_alerts(one):
    return [alert["state"] for alert in one.peer.json("guard/alerts") if alert["name"] == "silent.s"]


@pytest.mark.fault("time", "the sensor falls silent", "a state and an alert after silent_ms; the actuator is and stays safe after stale_ms")
def test_sensor_silent(site, seen):
    one = site(text=ALARMED)
    known, before = silent_alerts(one), len(one.commands())
    one.sensor.is_silent = True
    began = time.monotonic()
    until(lambda: is_safe(one, before), lambda: str(one.commands()[-5:]))
    seen["safe after, s"] = time.monotonic() - began
    until(lambda: one.health()["streams"]["s"]["state"] == "silent", lambda: str(one.health()))
    seen["told after, s"] = time.monotonic() - began
    until(lambda: silent_alerts(one)[len(known) :] == ["raised"], lambda: str(silent_alerts(one)))
    assert one.health()["state"] == "degraded"
    assert is_safe(one, before)
    one.sensor.is_silent = False
    seen["recovered, s"] = one.until_working()
    until(lambda: silent_alerts(one)[len(known) :] == ["raised", "cleared"], lambda: str(silent_alerts(one)))
    until(lambda: one.health()["streams"]["s"]["state"] == "ok", lambda: str(one.health()))
    counts(one)
    one.judge(seen)


@pytest.mark.fault("time", "the sensor speaks for 0.4 s and is silent for 1.5 s, three times", "safe in each silence, decides in between")
def test_sensor_intermittent(site, seen):
    one = site()
    safe_before = one.status()["streams"]["s"]["used"]
    for _ in range(3):
        before = len(one.commands())
        one.sensor.is_silent = True
        until(lambda before=before: is_safe(one, before), lambda: str(one.commands()[-5:]))
        time.sleep(1)
        one.sensor.is_silent = False
        one.until_working(n=1)
    assert one.told("streams", "s").count("silent") >= 3, one.told("streams", "s")
    one.until_working()
    found = counts(one)
    seen["times silent"], seen["missing rows, counted"] = one.told("streams", "s").count("silent"), found["lost_frames"]
    assert found["lost_frames"] > 3 * 100
    assert found["used"] > safe_before
    one.judge(seen)


@pytest.mark.fault("time", "the sensor is stuck at one value (clean.stuck)", "refused as stuck, the state says so, the actuator is safe")
def test_sensor_stuck(site, seen):
    one = site(text=STUCK)
    before = len(one.commands())
    began, good = time.monotonic(), one.sensor.make
    one.sensor.make = lambda seq: json.dumps({"x": 0.75, "seq": seq})
    until(lambda: one.health()["streams"]["s"]["state"] == "refused", lambda: str(one.health()))
    seen["told after, s"] = time.monotonic() - began
    until(lambda: is_safe(one, before), lambda: str(one.commands()[-5:]))
    seen["safe after, s"] = time.monotonic() - began
    one.sensor.make = good
    seen["recovered, s"] = one.until_working()
    found = counts(one)
    seen["stuck rows"] = found["invalid"]["stuck"]
    assert found["lost_frames"] == 0
    one.judge(seen)


@pytest.mark.fault("time", "a sensor's clock is an hour ahead (synced)", "refused as stamp_future, the state says so, the actuator is safe")
def test_sensor_ahead(site, seen):
    one = site(text=STAMPED, sensor=False)
    one.begin(make=stamped)
    before, made = len(one.commands()), time.time_ns
    one.sensor.make = lambda seq: json.dumps({"x": seq % 2, "seq": seq, "t": made() // 1_000_000 + HOUR * 1000})
    until(lambda: one.health()["streams"]["s"]["state"] == "refused", lambda: str(one.health()))
    until(lambda: is_safe(one, before), lambda: str(one.commands()[-5:]))
    one.sensor.make = stamped
    seen["recovered, s"] = one.until_working()
    found = counts(one)
    seen["refused"] = found["invalid"]["stamp_future"]
    assert seen["refused"] > 100
    one.judge(seen)


@pytest.mark.fault("time", "a sensor's own clock jumps back by an hour (free)", "believed after 32 rows that follow each other")
def test_sensor_clock_back(site, seen):
    one = site(sensor=False)
    hour = HOUR * 1_000_000_000 // PERIOD_NS
    one.begin(make=lambda seq: timed(seq, seq + hour))
    one.sensor.make = timed
    seen["recovered, s"] = one.until_working()
    found = counts(one)
    seen["refused"], seen["resyncs"] = sum(found["invalid"].values()) + found["late"], found["resyncs"]
    assert found["resyncs"] == 1
    assert 0 < seen["refused"] <= 64
    one.judge(seen)


@pytest.fixture
def wall(tmp_path, monkeypatch):
    """The daemon's wall clock; the broker and the sensor have the real one."""
    try:
        wall = Wall(tmp_path)
    except RuntimeError as fault:
        pytest.skip(str(fault))
    for name, value in wall.environment.items():
        monkeypatch.setenv(name, value)
    return wall


def step(one, wall, seen, seconds, state="stepped"):
    """Sets the clock and sets it right again; nothing but outgoing times may follow."""
    until(lambda: one.status()["health"]["clock"]["state"] == "ok", lambda: str(one.status()["health"]))
    silent = one.told("streams", "s").count("silent")
    wall.shift(seconds)
    until(lambda: one.health()["clock"]["state"] == state, lambda: str(one.health()))
    seen["gap of the watchdog, s"] = longest_gap_s(one, 1.5)
    seen["next alert, s"] = one.until_working()
    command = one.commands()[-1][1]
    off = command["expires_ns"] / 1e9 - time.time() - seconds
    assert abs(off) < 30, f"outgoing times follow the clock, but for {off} s"
    assert command["expires_ns"] - command["issued_ns"] == 400_000_000
    wall.shift(0)
    one.until_working()
    seen["false silences"] = one.told("streams", "s").count("silent") - silent
    seen["connections lost"] = one.health()["link"]["connects"] - 1
    found = counts(one)
    seen["rows refused"] = found["received"] - found["used"]
    assert seen["false silences"] == seen["connections lost"] == seen["rows refused"] == 0
    assert one.status()["alerts"]["evicted"] == 0
    one.judge(seen)


@pytest.mark.fault("clock", "the wall clock is set forward by an hour, and back", "a state says so; no false time-out, no alert expires")
def test_clock_forward(site, wall, seen):
    step(site(text=PATIENT), wall, seen, HOUR)


@pytest.mark.fault("clock", "the wall clock is set back by an hour, and forward", "a state says so; no false time-out, no alert expires")
def test_clock_back(site, wall, seen):
    step(site(text=PATIENT), wall, seen, -HOUR)


@pytest.mark.fault("clock", "the wall clock leaps by ten years, and back", "a state says so; no false time-out, no alert expires")
def test_clock_leaps(site, wall, seen):
    step(site(text=PATIENT), wall, seen, TEN_YEARS)


@pytest.mark.fault("clock", "the wall clock falls to 1970, and is set right", "the state is unset; no false time-out, no alert expires")
def test_clock_falls_to_1970(site, wall, seen):
    step(site(text=PATIENT), wall, seen, 1000 - time.time(), state="unset")


@pytest.mark.fault("clock", "it is 1970 when the daemon starts; the clock is set later", "works; the state is unset, then stepped")
def test_clock_unset_at_start(site, wall, seen):
    wall.shift(1000 - time.time())
    one = site()
    assert one.health()["clock"]["state"] == "unset"
    wall.shift(0)
    until(lambda: one.health()["clock"]["state"] == "stepped", lambda: str(one.health()))
    seen["next alert, s"] = one.until_working()
    found = counts(one)
    assert found["lost_frames"] == found["late"] == 0
    one.judge(seen)


@pytest.mark.fault("clock", "the wall clock leaps by ten years while alerts wait for the broker", "none expires; all arrive")
def test_clock_leaps_while_alerts_wait(site, wall, seen):
    one = site(proxied=True)
    one.proxy.is_deaf = True
    mark = one.sensor.seq
    until(lambda: one.sensor.seq > mark + 200, "the sensor stands")
    wall.shift(TEN_YEARS)
    time.sleep(0.5)
    one.kill()
    one.proxy.cut()
    one.proxy.is_deaf = False
    one.start()
    seen["recovered, s"] = one.until_working()
    until(lambda: one.status()["alerts"]["restored"] > 0, lambda: str(one.status()["alerts"]))
    seen["restored"], seen["expired"] = one.status()["alerts"]["restored"], one.status()["alerts"]["expired"]
    assert seen["expired"] == 0
    one.settle()
    one.judge(seen)
