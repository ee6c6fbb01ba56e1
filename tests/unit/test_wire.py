"""Codecs against bytes that another hand built, and against senders that lie."""

import contextlib
import json
import math
import struct
import time
import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import Reason, Reject
from edge.messages import Alert, Block, Cause, Command, Prediction
from edge.wire.json_fields import JsonCodec
from edge.wire.outgoing import Encoder
from edge.wire.scan import ScanCodec
from edge.wire.telemetry import TelemetryCodec
from tests.fuzz import wire as fuzz

S = 1_000_000_000


def by_hand(seq, t, dt, values):
    """A telemetry message built from the MessagePack specification with struct alone."""
    x = struct.pack(f"<{len(values)}f", *values)
    return b"".join(
        [
            b"\x85",
            b"\xa1v\x01",
            b"\xa3seq\xce" + struct.pack(">I", seq),
            b"\xa1t\xcf" + struct.pack(">Q", t),
            b"\xa2dt\xce" + struct.pack(">I", dt),
            b"\xa1x\xc5" + struct.pack(">H", len(x)) + x,
        ]
    )


def telemetry(**fields):
    return msgpack.packb({"v": 1, "seq": 7, "t": 5 * S, "x": struct.pack("<2f", 1.5, -2), **fields})


def decoded(payload, codec=None, received_ns=9 * S):
    block = Block(2, 8)
    block.received_ns = received_ns
    (codec or TelemetryCodec(2, 8, 4096)).decode(payload, block)
    return block


def refusal(payload, codec=None):
    block = Block(2, 8)
    block.n, block.seq = 3, 99
    with pytest.raises(Reject) as caught:
        (codec or TelemetryCodec(2, 8, 4096)).decode(payload, block)
    assert (block.n, block.seq) == (3, 99), "a refused message changes nothing"
    return caught.value.reason


def test_bytes_built_by_hand_from_the_specification():
    block = decoded(by_hand(7, 5 * S, 1000, [1, 2, 3, 4, 5, 6]))
    assert (block.seq, block.n) == (7, 3)
    assert block.rows[:3].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert block.stamps[:3].tolist() == [5 * S, 5 * S + 1000, 5 * S + 2000]


@given(
    st.integers(0, 1 << 40),
    st.integers(0, 1 << 60),
    st.lists(st.tuples(*[st.floats(width=32, allow_nan=False)] * 2), min_size=1, max_size=8),
    st.booleans(),
)
def test_round_trip(seq, t, rows, as_offsets):
    n = len(rows)
    steps = {"ts": struct.pack(f"<{n}q", *(i * 10 for i in range(n)))} if as_offsets else {"dt": 10}
    block = decoded(telemetry(seq=seq, t=t, x=np.array(rows, "<f4").tobytes(), future_field="ignored", **steps))
    assert block.rows[:n].tolist() == [list(row) for row in rows]
    assert block.stamps[:n].tolist() == [t + 10 * i for i in range(n)]
    assert block.seq == seq


def test_without_a_stamp_the_receipt_is_the_newest_row():
    message = {"v": 1, "x": bytes(24), "dt": 100}
    assert decoded(msgpack.packb(message), received_ns=1000).stamps[:3].tolist() == [800, 900, 1000]
    assert decoded(msgpack.packb({"v": 1, "x": bytes(8)}), received_ns=1000).stamps[0] == 1000
    assert decoded(msgpack.packb({"v": 1, "x": bytes(8)})).seq == -1


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"\0" * 4097, Reason.TOO_LARGE),
        (telemetry()[:-1], Reason.MALFORMED),
        (telemetry() + b"\0", Reason.MALFORMED),
        (b"\xc1", Reason.MALFORMED),
        (b"\x91" * 4000, Reason.MALFORMED),
        (b"\xdf\xff\xff\xff\xff", Reason.MALFORMED),
        (b"\xdd\xff\xff\xff\xff", Reason.MALFORMED),
        (b"\xc6\xff\xff\xff\xff", Reason.MALFORMED),
        (b"\x81\xa1v\xc7\x04\x01abcd", Reason.MALFORMED),
        (b"\x82\x01\x02\xa1v\x01", Reason.MALFORMED),
        (b"\x81\xc3\x01", Reason.MALFORMED),
        (b"\x81\x91\x01\x01", Reason.MALFORMED),
        (b"\x81\xa1\xff\x01", Reason.MALFORMED),
        (msgpack.packb({str(i): i for i in range(40)}), Reason.MALFORMED),
        (msgpack.packb([1, 2]), Reason.WRONG_TYPE),
        (msgpack.packb("text"), Reason.WRONG_TYPE),
        (b'{"celsius": 20}', Reason.MALFORMED),
        (msgpack.packb({"x": bytes(8)}), Reason.MISSING_FIELD),
        (telemetry(v=2), Reason.WRONG_VERSION),
        (telemetry(v=1.0), Reason.WRONG_VERSION),
        (telemetry(v=True), Reason.WRONG_VERSION),
        (msgpack.packb({"v": 1, "seq": 1}), Reason.MISSING_FIELD),
        (telemetry(x=[1.0, 2.0]), Reason.WRONG_TYPE),
        (telemetry(x="12345678"), Reason.WRONG_TYPE),
        (telemetry(x=b""), Reason.WRONG_SIZE),
        (telemetry(x=bytes(12)), Reason.WRONG_SIZE),
        (telemetry(x=bytes(7)), Reason.WRONG_SIZE),
        (telemetry(x=bytes(8 * 9), dt=1), Reason.TOO_MANY_ROWS),
        (telemetry(seq=-1), Reason.WRONG_VALUE),
        (telemetry(seq=1.0), Reason.WRONG_TYPE),
        (telemetry(seq=True), Reason.WRONG_TYPE),
        (telemetry(seq="1"), Reason.WRONG_TYPE),
        (telemetry(seq=(1 << 64) - 1), Reason.WRONG_VALUE),
        (telemetry(t=-5), Reason.WRONG_VALUE),
        (telemetry(t=1.5), Reason.WRONG_TYPE),
        (telemetry(t=1 << 63), Reason.WRONG_VALUE),
        (telemetry(x=bytes(16)), Reason.MISSING_FIELD),
        (telemetry(x=bytes(16), dt=0), Reason.WRONG_VALUE),
        (telemetry(x=bytes(16), dt=-5), Reason.WRONG_VALUE),
        (telemetry(x=bytes(16), dt=1 << 62), Reason.WRONG_VALUE),
        (telemetry(x=bytes(16), ts=[0, 1]), Reason.WRONG_TYPE),
        (telemetry(x=bytes(16), ts=bytes(8)), Reason.WRONG_SIZE),
        (telemetry(x=bytes(16), ts=struct.pack("<2q", 5, 5)), Reason.WRONG_VALUE),
        (telemetry(x=bytes(16), ts=struct.pack("<2q", -1, 5)), Reason.WRONG_VALUE),
        (telemetry(x=bytes(16), ts=struct.pack("<2q", 0, (1 << 63) - 1)), Reason.WRONG_VALUE),
    ],
)
def test_telemetry_that_lies_is_refused_with_its_reason(payload, reason):
    assert refusal(payload) is reason


def test_a_hostile_payload_costs_little_more_than_a_good_one_and_no_memory():
    codec, block = TelemetryCodec(2, 8, 1 << 20), Block(2, 8)
    hostile = [b"\x91" * (1 << 20), b"\xdf\xff\xff\xff\xff" + bytes(1 << 19), b"\x80" * (1 << 20), b"\xdc\x00\x40" + b"\x80" * (1 << 20)]

    def attempt(payload):
        with contextlib.suppress(Reject):
            codec.decode(payload, block)

    def cost(payload):
        times = []
        for _ in range(20):
            began = time.perf_counter_ns()
            attempt(payload)
            times.append(time.perf_counter_ns() - began)
        return min(times)

    good = cost(telemetry())
    for payload in hostile:
        assert cost(payload) / good < 200, "60 us for a megabyte, 1.3 us for a good message"
        tracemalloc.start()
        attempt(payload)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * len(payload)


# -- JSON ----------------------------------------------------------------------------------------------------------------------


def json_codec(fields=None, unit=1, channels=("a", "b")):
    return JsonCodec(channels, fields or {}, unit, 8, 4096)


def test_json_of_a_device_needs_no_change():
    codec = json_codec({"a": "accel.x", "b": "accel.y", "seq": "meta.count", "t": "time"}, unit=1_000_000)
    block = decoded(b'{"accel": {"x": 1, "y": 2.5}, "meta": {"count": 4}, "time": 1700000000123}', codec)
    assert block.rows[0].tolist() == [1, 2.5]
    assert (block.seq, block.stamps[0]) == (4, 1_700_000_000_123_000_000)


def test_json_lists_are_samples():
    block = decoded(b'{"a": [1,2,3], "b": [4,5,6], "t": 1.5, "dt": 0.01}', json_codec(unit=S))
    assert block.rows[:3].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert block.stamps[:3].tolist() == [1_500_000_000, 1_510_000_000, 1_520_000_000]


def test_json_beyond_float32_is_infinite_for_the_gate_to_refuse():
    block = decoded(b'{"a": 1e39, "b": -1e300}', json_codec())
    assert block.rows[0].tolist() == [math.inf, -math.inf]
    with pytest.raises(Reject):
        decoded(b'{"a": 1e999, "b": 1}', json_codec())


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.EMPTY),
        (b" " * 4097, Reason.TOO_LARGE),
        (b"{", Reason.MALFORMED),
        (b"\xff\xfe", Reason.MALFORMED),
        (b'{"q":' + b"[" * 4000, Reason.MALFORMED),
        (b'{"q":' * 680, Reason.MALFORMED),
        (b'{"a": NaN, "b": 1}', Reason.MALFORMED),
        (b"[1,2]", Reason.WRONG_TYPE),
        (b"3", Reason.WRONG_TYPE),
        (b'{"a": 1}', Reason.MISSING_FIELD),
        (b'{"a": 1, "b": null}', Reason.MISSING_FIELD),
        (b'{"a": 1, "b": "2"}', Reason.WRONG_TYPE),
        (b'{"a": 1, "b": true}', Reason.WRONG_TYPE),
        (b'{"a": 1, "b": {"c": 1}}', Reason.WRONG_TYPE),
        (b'{"a": [1, [2]], "b": [1, 2], "dt": 1}', Reason.WRONG_TYPE),
        (b'{"a": [1,2], "b": [1], "dt": 1}', Reason.WRONG_SIZE),
        (b'{"a": [], "b": []}', Reason.WRONG_SIZE),
        (b'{"a": [1,2], "b": [1,2]}', Reason.MISSING_FIELD),
        (b'{"a": [1,2], "b": [1,2], "dt": 0}', Reason.WRONG_VALUE),
        (b'{"a": [1,2], "b": [1,2], "dt": "x"}', Reason.WRONG_TYPE),
        (b'{"a": [1,2], "b": [1,2], "dt": 4611686018427387904}', Reason.WRONG_VALUE),
        (b'{"a": [0,0,0,0,0,0,0,0,0], "b": [0,0,0,0,0,0,0,0,0], "dt": 1}', Reason.TOO_MANY_ROWS),
        (b'{"a": 1, "b": 1, "seq": 1.5}', Reason.WRONG_TYPE),
        (b'{"a": 1, "b": 1, "seq": -1}', Reason.WRONG_VALUE),
        (b'{"a": 1, "b": 1, "seq": 99999999999999999999999}', Reason.WRONG_VALUE),
        (b'{"a": 1, "b": 1, "t": "now"}', Reason.WRONG_TYPE),
        (b'{"a": 1, "b": 1, "t": -1}', Reason.WRONG_VALUE),
    ],
)
def test_json_that_lies_is_refused_with_its_reason(payload, reason):
    assert refusal(payload, json_codec()) is reason


# -- scans ---------------------------------------------------------------------------------------------------------------------


def scan(**fields):
    points = np.arange(12, dtype="<f4").reshape(3, 4)
    message = {"v": 1, "seq": 3, "t": 9, "n": 3, "fields": ["x", "y", "z", "intensity"], "x": points.tobytes(), **fields}
    return msgpack.packb({key: value for key, value in message.items() if value is not None})


def test_a_scan_is_a_view_of_its_bytes():
    got = ScanCodec(10, 4096).decode(scan(), 77)
    assert got.points.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert (got.fields, got.seq, got.stamp_ns, got.received_ns) == (("x", "y", "z", "intensity"), 3, 9, 77)
    assert ScanCodec(10, 4096).decode(scan(t=None), 77).stamp_ns == 77


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (scan(n=4), Reason.WRONG_SIZE),
        (scan(n=None), Reason.WRONG_SIZE),
        (scan(x=bytes(15)), Reason.WRONG_SIZE),
        (scan(x=bytes(16 * 11), n=11), Reason.TOO_MANY_ROWS),
        (scan(x=None), Reason.MISSING_FIELD),
        (scan(fields=None), Reason.MISSING_FIELD),
        (scan(fields=[]), Reason.WRONG_VALUE),
        (scan(fields=["x", "y", "z", "x"]), Reason.WRONG_VALUE),
        (scan(fields=["x", "y", "intensity"]), Reason.WRONG_VALUE),
        (scan(fields=["x", "y", "z", 4]), Reason.WRONG_TYPE),
        (scan(fields="xyz"), Reason.WRONG_TYPE),
        (scan(v=None), Reason.MISSING_FIELD),
        (scan()[:-3], Reason.MALFORMED),
    ],
)
def test_scans_that_lie_are_refused_with_their_reason(payload, reason):
    with pytest.raises(Reject) as caught:
        ScanCodec(10, 4096).decode(payload, 0)
    assert caught.value.reason is reason


# -- any bytes at all ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_decode_or_are_refused(payload, as_json):
    with contextlib.suppress(Reject):
        decoded(payload, json_codec() if as_json else None)


@pytest.mark.timeout(600)
def test_a_million_mutated_messages_decode_or_are_refused():
    counts = fuzz.run(1_000_000, seed=1)
    assert sum(counts.values()) == 1_000_000
    assert counts["used"] > 10_000
    assert len(counts) >= 8


# -- outgoing ------------------------------------------------------------------------------------------------------------------

CAUSE = Cause("hot", 0.9, "m", "1.0.0", "fp32")


@pytest.mark.parametrize(("encoding", "load"), [("json", json.loads), ("msgpack", msgpack.unpackb)])
def test_what_goes_out_says_who_when_why_and_until_when(encoding, load):
    encoder = Encoder(encoding, 5.0)
    command = load(encoder.command(Command("b-1", "dev", "b", 4, 10, 310, "fan", 0.5, "1", CAUSE, "t"), 1.23456, 1000))
    assert command == {
        "v": 1, "id": "b-1", "device": "dev", "boot_id": "b", "seq": 4, "issued_ns": 1010, "expires_ns": 1310, "name": "fan", "value": 0.5,
        "unit": "1", "cause": {"rule": "hot", "score": 0.9, "model": "m", "version": "1.0.0", "variant": "fp32", "deployment": ""},
        "age_ms": 1.235, "budget_ms": 5.0,
    }  # fmt: skip
    alert = load(encoder.alert(Alert("b-a1", "dev", "b", 1, 10, "hot", "raised", "warning", math.nan, CAUSE, 7, "t"), 2.0, 1000))
    assert alert["value"] is None
    assert (alert["issued_ns"], alert["stamp_ns"], alert["state"], alert["severity"]) == (1010, 7, "raised", "warning")
    features = np.array([1.5, np.inf], np.float32)
    prediction = load(encoder.prediction(Prediction("dev", 3, 7, 1, {"a": 0.25}, features, "m", "1", "v")))
    assert prediction == {
        "v": 1, "device": "dev", "seq": 3, "t": 7, "scores": {"a": 0.25}, "features": [1.5, None],
        "model": "m", "version": "1", "variant": "v", "deployment": "",
    }  # fmt: skip
