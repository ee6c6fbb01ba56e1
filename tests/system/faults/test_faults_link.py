"""Faults of the way to the broker."""

import time

import pytest

from tests.broker import needs_mosquitto

pytestmark = [needs_mosquitto, pytest.mark.timeout(240)]


@pytest.mark.fault("link", "broker killed, back after 3 s", "alerts wait and arrive; no command is sent late")
def test_broker_killed(site, broker, seen):
    one = site()
    broker.kill()
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
