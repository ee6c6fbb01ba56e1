"""Faults of what comes in: bytes, values, order, rate and addresses that no sound sensor sends."""

import json
import struct
import time

import msgpack
import pytest

from tests.broker import needs_mosquitto
from tests.system.faults.site import FLIP, PIPELINE, until
from tests.system.faults.stub import Stub, publish
from tests.system.faults.tools import QUICK, between, counts, misbehave, rss_mb

pytestmark = [needs_mosquitto, pytest.mark.timeout(240)]
MSGPACK = PIPELINE.replace('format = "json"\n', "") + '\n[publish.predictions]\ntopic = "d/{device}/pred"\nfeatures = true\n'


def packed(seq, value=None, **extra):
    x = struct.pack("<f", seq // FLIP % 2 if value is None else value)
    return msgpack.packb({"v": 1, "seq": seq, "x": x, **extra})


@pytest.mark.fault("input", "broken, empty and wrongly typed JSON between the rows", "each is counted; no good row is lost")
def test_broken_json(site, seen):
    one = site()
    bad = [b"", b"{", b"[]", b"null", b'{"x": "hot"}', b'{"x": null}', b'{"y": 1}', b'{"x": 1e999}', b'{"x": NaN}', b'{"x": 1, "seq": -1}']
    bad += [b'{"x": 1, "seq": 1.5}', b'{"x": 1, "t": -5}', b'{"x": [1, 2]}', b'{"x": true}', b"\xff\xfe", b'{"x": 1}}', b'\x00{"x": 1}']
    sent = between(one, bad, one.sensor.row)
    found = counts(one)
    seen["refused"], seen["of"] = sum(found["invalid"].values()), sent
    assert seen["refused"] == sent, found["invalid"]
    assert found["lost_frames"] == 0
    one.judge(seen)


@pytest.mark.fault("input", "cut, random and wrongly typed MessagePack between the rows", "each is counted; no good row is lost")
def test_broken_msgpack(site, seen):
    one = site(text=MSGPACK, sensor=False)
    one.begin(make=packed)
    whole = packed(1)
    bad = [whole[:n] for n in range(len(whole))] + [b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc1", b"\x91" * 500]
    bad += [msgpack.packb(m) for m in ({"v": 2, "x": b"0000"}, {"v": 1}, {"v": 1, "x": b"12345"}, {"v": 1, "x": [1.0]}, [], 7, "x")]
    bad += [msgpack.packb({"v": 1, "x": b"0000", "seq": seq}) for seq in (-1, 1 << 63, "1", 1.0)]
    sent = between(one, bad, packed)
    found = counts(one)
    seen["refused"], seen["of"] = sum(found["invalid"].values()), sent
    assert seen["refused"] == sent, found["invalid"]
    assert found["lost_frames"] == 0
    one.judge(seen)


@pytest.mark.fault("input", "NaN, infinity and values out of range between the rows", "refused by name; no window ever holds one")
def test_values_that_poison(site, seen):
    one = site(text=MSGPACK, sensor=False)
    one.begin(make=packed)
    values = [float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 101.0]
    sent = between(one, [msgpack.packb({"v": 1, "x": struct.pack("<f", value)}) for value in values], packed)
    found = counts(one)
    seen["not finite"], seen["out of range"] = found["invalid"]["not_finite"], found["invalid"]["out_of_range"]
    assert seen["not finite"] + seen["out of range"] == sent
    windows = [value for prediction in one.peer.json("/pred") for value in prediction["features"]]
    seen["features looked at"] = len(windows)
    assert len(windows) > 300
    assert all(0 <= value <= 1 for value in windows), "of zeros and ones: last, mean and standard deviation"
    one.judge(seen)


@pytest.mark.fault("input", "rows of 500 devices that nobody knows", "16 lanes are used, the longest idle gives way, the working one stays")
def test_many_devices(site, seen):
    one = site()
    before = rss_mb(one.edge.process.pid)
    misbehave(one, _stray(one))
    found = counts(one)
    lanes = one.status()["lanes"]
    seen["lanes"], seen["evictions"] = lanes["used"], lanes["evictions"]
    seen["RSS, MB more"] = one.status()["rss_mb"] - before
    assert lanes["used"] == lanes["of"] == 16
    assert lanes["evictions"] >= 480
    assert found["lost_frames"] == 0
    assert seen["RSS, MB more"] < 16
    one.judge(seen)


def _stray(one):
    """A maker of good rows that sends three of three other devices each time."""

    def make(seq):
        for n in range(3):
            one.peer.client.publish(f"d/stray-{seq}-{n}/s", json.dumps({"x": 0, "seq": 0}))
        return one.sensor.row(seq)

    return make


@pytest.mark.fault("input", "device names of 60 kB, of Unicode, of blanks, and none", "served or refused; memory is bounded")
def test_odd_device_names(site, seen):
    one = site()
    before = rss_mb(one.edge.process.pid)
    names = ["", " ", "ü" * 1000, "😀", "..", "a b", "%s", "{device}", '"', "x" * 60_000]
    for n in range(50):
        for name in names:
            one.peer.client.publish(f"d/{name}{n if name else ''}/s", json.dumps({"x": n % 2, "seq": n}))
        time.sleep(0.02)
    one.until_working()
    found = counts(one)
    seen["received"] = found["received"]
    seen["RSS, MB more"] = one.status()["rss_mb"] - before
    assert seen["RSS, MB more"] < 32
    one.judge(seen)


@pytest.mark.fault("input", "payloads of 10 MB and 60,000 levels of nesting", "refused before memory grows; the rows between are used")
def test_huge_and_nested(site, seen):
    one = site()
    before = rss_mb(one.edge.process.pid, "VmHWM")
    huge = [
        b'{"x": ' + b" " * 10_000_000 + b"1}",
        b"[" * 60_000,
        b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"x": ' + b"1" * 60_000 + b"}",
    ]
    huge.append(b'{"x": [' + b"1," * 30_000 + b"1]}")
    for payload in huge * 3:
        one.peer.client.publish("d/a/s", payload)
        time.sleep(0.1)
    one.until_working()
    seen["RSS, MB more at most"] = rss_mb(one.edge.process.pid, "VmHWM") - before
    found = counts(one)
    seen["refused"], seen["of"] = sum(found["invalid"].values()), 3 * len(huge)
    assert seen["refused"] == 3 * len(huge), found["invalid"]
    assert found["lost_frames"] == 0
    assert seen["RSS, MB more at most"] < 16
    one.judge(seen)


@pytest.mark.fault("input", "the broker hands over topics that nobody asked for", "counted as unrouted; nothing is decided on them")
def test_unknown_topics(site, seen):
    one = site(text=QUICK, proxied=True)
    row = one.sensor.row(FLIP).encode()
    topics = ["x", "d/a", "d/a/b/s", "D/a/s", "d/a/S", "/d/a/s", "$SYS/broker", "edge/guard/status", "d/a/cmd/fan", "d/a/alerts", "é"]
    stub = Stub([[publish(topic, row) for topic in topics]])
    try:
        before = one.status()["unrouted"]
        one.proxy.lead_to(stub.port)
        until(lambda: stub.served, one.said)
        time.sleep(0.2)
    finally:
        one.proxy.lead_to(one.broker.port)
        stub.close()
    seen["recovered, s"] = one.until_working()
    seen["unrouted"] = one.status()["unrouted"] - before
    assert seen["unrouted"] == len(topics)
    counts(one)
    one.judge(seen)


@pytest.mark.fault("input", "the broker keeps old telemetry (retained) when the daemon starts", "it is no input: no alert, no command")
def test_retained_telemetry(site, seen):
    one = site()
    one.sensor.close()
    one.kill()
    for device in ("a", "b"):
        one.peer.client.publish(f"d/{device}/s", json.dumps({"x": 1, "seq": 1 << 30}), qos=1, retain=True).wait_for_publish(10)
    known = len(one.alerts()), len(one.commands())
    one.start()
    boot = one.boot()
    until(lambda: one.status()["boot_id"] == boot, one.said)
    time.sleep(0.5)
    stream = one.status()["streams"]["s"]
    seen["taken for input"] = stream["used"]
    assert stream["used"] == 0
    assert [c for _, c in one.commands()[known[1] :] if c["boot_id"] == boot] == []
    assert [a for a in one.alerts()[known[0] :] if a["boot_id"] == boot] == []
    one.begin()
    counts(one)
    one.judge(seen)
