"""Faults of the way to the broker."""

import json
import time

import pytest

from tests.broker import needs_mosquitto
from tests.system.faults.site import until
from tests.system.faults.tools import BROKER, QUICK, STAMPED, longest_gap_s, most_unacked, rss_mb, stamped

pytestmark = [needs_mosquitto, pytest.mark.timeout(240)]


@pytest.mark.fault("link", "broker killed, back after 3 s", "alerts wait and arrive; no command is sent late")
def test_broker_killed(site, broker, seen):
    one = site()
    one.kill_broker()
    time.sleep(3)
    broker.start()
    back = time.monotonic()
    one.until_working()
    seen["recovered, s"] = time.monotonic() - back
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "every connection reset in the middle of packets, ten times", "half a packet is never believed; nothing lost")
def test_connection_reset(site, seen):
    one = site(proxied=True)
    took = []
    for _ in range(10):
        one.proxy.cut()
        took.append(one.until_working())
    seen["recovered, s, worst"] = max(took)
    one.settle()
    one.judge(seen)
    invalid = one.status()["streams"]["s"]["invalid"]
    assert not any(invalid.values()), invalid


@pytest.mark.fault("link", "broker frozen (SIGSTOP) for longer than 1.5 keepalives", "noticed by its silence, not by TCP; found again")
def test_broker_frozen(site, broker, seen):
    one = site(text=QUICK)
    frozen = time.monotonic()
    broker.pause()
    try:
        one.until_said("silent for 7.5 s")
    finally:
        broker.resume()
    seen["noticed, s"] = time.monotonic() - frozen
    seen["recovered, s"] = one.until_working()
    assert one.health()["link"]["connects"] >= 2
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "link", "a hole swallows both directions for longer than 1.5 keepalives", "noticed by silence; works again once it is mended"
)
def test_blackhole(site, seen):
    one = site(text=QUICK, proxied=True)
    began = time.monotonic()
    one.proxy.is_held = True
    one.until_said("silent for 7.5 s")
    seen["noticed, s"] = time.monotonic() - began
    one.until_said("no CONNACK in time")
    one.proxy.is_held = False
    seen["recovered, s"] = one.until_working()
    one.settle()
    one.judge(seen)


@pytest.mark.fault(
    "link", "a hole for 3 s, then all that was held arrives at once", "what is older than max_age_ms is dropped and called a flood"
)
def test_flood_after_a_hole(site, seen):
    one = site(text=STAMPED, proxied=True, sensor=False)
    one.begin(make=stamped)
    before = one.status()["streams"]["s"]["dropped"].get("stale", 0)
    one.proxy.is_held = True
    time.sleep(3)
    one.proxy.is_held = False
    seen["recovered, s"] = one.until_working()
    until(lambda: "flood" in one.told("flood"), lambda: str(one.health()))
    until(lambda: one.health()["flood"]["state"] == "ok", lambda: str(one.health()))
    seen["too old, dropped"] = one.status()["streams"]["s"]["dropped"]["stale"] - before
    assert one.health()["link"]["connects"] == 1, "it was no reason to let go of the connection"
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "broker killed and back at once, knows nobody", "subscribes anew; what it had not acknowledged is sent again")
def test_session_gone(site, broker, seen):
    one = site(text=QUICK, proxied=True)
    one.proxy.is_held = True  # what is on its way now will not be acknowledged
    time.sleep(0.3)
    one.proxy.close()
    broker.kill()
    broker.start()
    one.until_heard()
    one.proxy.open()
    seen["recovered, s"] = one.until_working()
    assert one.health()["link"]["connects"] >= 2
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "more than 100 alerts wait when the link comes back", "at most 20 of them are unacknowledged at any time")
def test_many_alerts_wait(site, seen):
    one = site(text=QUICK.replace("every_s = 0.1", "every_s = 1"), proxied=True)
    one.proxy.is_deaf = True  # the input goes on, so alerts are made
    one.sensor.make = lambda seq: json.dumps({"x": seq % 2, "seq": seq})
    mark = one.sensor.seq
    until(lambda: one.sensor.seq > mark + 400, "the sensor stands")
    one.sensor.make = one.sensor.row
    began, resumed, arrived = len(one.proxy.passed), time.monotonic(), len({alert["id"] for alert in one.alerts()})
    one.proxy.cut()
    one.proxy.is_deaf = False
    one.until_working()
    until(lambda: one.status() and one.status()["alerts"]["waiting"] == 0, lambda: str(one.status()))
    seen["all delivered after, s"] = time.monotonic() - resumed
    seen["waited"] = len({alert["id"] for alert in one.alerts()}) - arrived
    assert seen["waited"] > 100
    seen["most unacknowledged"] = most_unacked(one.proxy.passed[began:])
    assert 2 <= seen["most unacknowledged"] <= 21, "20, and the word online"
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "a link of 8 kB/s", "alerts arrive, commands are withheld rather than late, the loop is not held up")
def test_thin_link(site, seen):
    one = site(text=QUICK.replace("every_s = 0.1", "every_s = 0.5"), proxied=True, sensor=False)
    one.begin(rate_hz=50)
    one.proxy.narrow(8000)
    one.until_working(n=2)
    sent, withheld = (one.status()["commands"][name] for name in ("sent", "withheld"))
    seen["gap of the watchdog, s"] = longest_gap_s(one, 4)
    assert seen["gap of the watchdog, s"] < 3
    before = len(one.alerts())
    until(lambda: len(one.alerts()) >= before + 4, lambda: str(one.status()))
    one.proxy.bytes_per_s = None
    seen["recovered, s"] = one.until_working()
    status = one.status()["commands"]
    seen["commands withheld"] = sum(status["withheld"].values()) - sum(withheld.values())
    assert status["sent"] >= sent
    one.settle()
    one.judge(seen)


@pytest.mark.fault("link", "a peer that never reads, input goes on", "commands are withheld, memory is bounded, the loop goes on")
def test_peer_never_reads(site, seen):
    one = site(text=QUICK.replace(BROKER, "keepalive_s = 30"), proxied=True)
    one.proxy.narrow(None)
    one.until_working()
    before, made = rss_mb(one.edge.process.pid), one.status()["decisions"]["made"]
    one.proxy.is_deaf = True
    gap = longest_gap_s(one, 5)
    one.proxy.is_deaf = False
    seen["RSS, MB more"] = rss_mb(one.edge.process.pid) - before
    seen["gap of the watchdog, s"] = gap
    seen["recovered, s"] = one.until_working()
    status = one.status()
    seen["commands withheld"] = status["commands"]["withheld"].get("link_stalled", 0)
    assert seen["commands withheld"] > 0
    assert seen["RSS, MB more"] < 16
    assert status["decisions"]["made"] > made + 50
    one.settle()
    one.judge(seen)
