"""Stamps, counters and numbers at their limits, and paths into a device's own JSON."""

import json
import math
import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError, Reason, Reject
from edge.messages import Block
from edge.wire.json_fields import JsonCodec
from edge.wire.maps import STAMP_MAX
from edge.wire.telemetry import TelemetryCodec

S = 1_000_000_000


def decoded(codec, payload, received_ns=9 * S):
    block = Block(2, 8)
    block.received_ns = received_ns
    codec.decode(payload, block)
    return block


def refusal(codec, payload):
    block = Block(2, 8)
    block.rows[:], block.stamps[:], block.n, block.seq = 7, 7, 3, 99
    with pytest.raises(Reject) as caught:
        codec.decode(payload, block)
    assert (block.n, block.seq) == (3, 99)
    assert (block.rows == 7).all()
    assert (block.stamps == 7).all()
    return caught.value.reason


def telemetry(**fields):
    return msgpack.packb({"v": 1, "x": bytes(8), **fields})


def offsets(*values):
    return struct.pack(f"<{len(values)}q", *values)


BINARY = TelemetryCodec(2, 8, 4096)


# -- MessagePack telemetry ------------------------------------------------------------------------------------------------------


def test_one_sample_heeds_its_offset_and_its_period():
    assert decoded(BINARY, telemetry(t=100, ts=offsets(5))).stamps[0] == 105
    assert decoded(BINARY, telemetry(t=100, dt=5)).stamps[0] == 100
    assert decoded(BINARY, telemetry(ts=offsets(5)), received_ns=1000).stamps[0] == 1000


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"ts": b""}, Reason.WRONG_SIZE),
        ({"ts": offsets(1, 2)}, Reason.WRONG_SIZE),
        ({"ts": offsets(-1)}, Reason.WRONG_VALUE),
        ({"ts": [0]}, Reason.WRONG_TYPE),
        ({"dt": 0}, Reason.WRONG_VALUE),
        ({"dt": 1.0}, Reason.WRONG_TYPE),
        ({"dt": True}, Reason.WRONG_TYPE),
        ({"dt": 0, "ts": offsets(0)}, Reason.WRONG_VALUE),
        ({"t": STAMP_MAX + 1}, Reason.WRONG_VALUE),
        ({"t": False}, Reason.WRONG_TYPE),
        ({"seq": STAMP_MAX + 1}, Reason.WRONG_VALUE),
        ({"x": bytes(24), "ts": offsets(0, 2, 1)}, Reason.WRONG_VALUE),
        ({"x": bytes(24), "ts": offsets(0, 2, 2)}, Reason.WRONG_VALUE),
        ({"x": bytes(24), "ts": offsets(0, 1, STAMP_MAX + 1)}, Reason.WRONG_VALUE),
        ({"x": bytes(24), "dt": STAMP_MAX // 3 + 1}, Reason.WRONG_VALUE),
        ({"x": bytes(24), "dt": (1 << 64) - 1}, Reason.WRONG_VALUE),
        ({"x": bytearray(8).decode()}, Reason.WRONG_TYPE),
        ({"x": bytes(32)[:30], "dt": 1}, Reason.WRONG_SIZE),
    ],
)
def test_what_is_wrong_with_one_field_is_refused_and_changes_nothing(fields, reason):
    assert refusal(BINARY, telemetry(**fields)) is reason


def test_the_largest_stamps_do_not_overflow():
    assert decoded(BINARY, telemetry(t=STAMP_MAX, ts=offsets(STAMP_MAX))).stamps[0] == 2 * STAMP_MAX > 0
    block = decoded(BINARY, telemetry(x=bytes(16), t=STAMP_MAX, ts=offsets(0, STAMP_MAX)))
    assert block.stamps[:2].tolist() == [STAMP_MAX, 2 * STAMP_MAX]
    block = decoded(BINARY, telemetry(x=bytes(16), t=STAMP_MAX, dt=STAMP_MAX // 2))
    assert block.stamps[:2].tolist() == [STAMP_MAX, STAMP_MAX + STAMP_MAX // 2]


def test_nil_is_absent():
    block = decoded(BINARY, telemetry(seq=None, t=None, dt=None, ts=None), received_ns=1000)
    assert (block.seq, block.stamps[0]) == (-1, 1000)
    assert refusal(BINARY, telemetry(x=None)) is Reason.MISSING_FIELD
    assert refusal(BINARY, telemetry(v=None)) is Reason.MISSING_FIELD


def test_every_bit_of_a_float_arrives():
    bits = [0x7F800000, 0xFF800000, 0x7FC00001, 0x00000001, 0x80000000, 0x7F7FFFFF, 0x3F800000, 0xDEADBEEF]
    block = decoded(BINARY, telemetry(x=struct.pack("<8I", *bits), dt=1))
    assert block.rows[:4].view(np.uint32).ravel().tolist() == bits


def test_of_equal_keys_the_last_counts():
    twice = b"\x84\xa1v\x01\xa3seq\x01\xa3seq\x02\xa1x\xc4\x08" + bytes(8)
    assert decoded(BINARY, twice).seq == 2
    assert decoded(BINARY, b"\x85\xa1p\xc5\x02\x58" + bytes(600) + twice[1:]).seq == 2


# -- JSON -----------------------------------------------------------------------------------------------------------------------


def object_codec(fields=None, unit=1, channels=("a", "b")):
    return JsonCodec(channels, fields or {}, unit, 8, 4096)


@given(st.integers(0, 1 << 62), st.sampled_from([1, 1000, 1_000_000, S]))
def test_an_integer_stamp_is_exact(stamp, unit):
    payload = json.dumps({"a": 1, "b": 2, "t": stamp}).encode()
    if stamp * unit <= STAMP_MAX:
        assert decoded(object_codec(unit=unit), payload).stamps[0] == stamp * unit
    else:
        assert refusal(object_codec(unit=unit), payload) is Reason.WRONG_VALUE


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1, 1000, 1_000_000, S]))
def test_any_fraction_as_a_stamp_is_rounded_or_refused(stamp, unit):
    payload = json.dumps({"a": 1, "b": 2, "t": stamp}).encode()
    if stamp >= 0 and stamp * unit <= STAMP_MAX:
        assert decoded(object_codec(unit=unit), payload).stamps[0] == round(stamp * unit)
    else:
        assert refusal(object_codec(unit=unit), payload) is Reason.WRONG_VALUE


@pytest.mark.parametrize("text", ["1e300", "1.7976931348623157e308", "1e999", "-1e300", "9" * 40, "9" * 4000, "-1", "-0.1"])
@pytest.mark.parametrize("key", ["t", "dt"])
def test_a_stamp_beyond_reason_is_refused_in_every_unit(text, key):
    for unit in (1, S):
        assert refusal(object_codec(unit=unit), b'{"a":1,"b":1,"%s":%s}' % (key.encode(), text.encode())) is Reason.WRONG_VALUE


@given(st.lists(st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2), min_size=1, max_size=8))
def test_numbers_become_the_nearest_float32_or_infinite(rows):
    message = {"a": [a for a, _ in rows], "b": [b for _, b in rows], "dt": 1}
    with np.errstate(over="ignore"):
        expected = np.array(rows).astype(np.float32)
    block = decoded(object_codec(), json.dumps(message).encode())
    assert (block.rows[: len(rows)] == expected).all()
    one = decoded(object_codec(), json.dumps({"a": rows[0][0], "b": rows[0][1]}).encode())
    beyond = np.abs(rows[0]) > np.finfo(np.float32).max  # by half a step, numpy still rounds down
    assert (beyond | (one.rows[0] == expected[0])).all()


def test_an_integer_of_any_length_is_infinite_or_refused():
    block = decoded(object_codec(), b'{"a": 1%s, "b": -1%s}' % (b"0" * 50, b"0" * 50))
    assert block.rows[0].tolist() == [math.inf, -math.inf]
    assert refusal(object_codec(), b'{"a": 1%s, "b": 1}' % (b"0" * 500)) is Reason.WRONG_VALUE


def test_paths_may_share_branches_and_numbers():
    fields = {"a": "imu.accel.x", "b": "imu.clock", "seq": "imu.n", "t": "imu.clock", "dt": "every"}
    codec = object_codec(fields, unit=1_000_000)
    block = decoded(codec, b'{"imu": {"n": 3, "clock": 250, "accel": {"x": 2, "y": 9}, "more": [1]}, "more": {}}')
    assert (block.rows[0].tolist(), block.stamps[0], block.seq) == ([2, 250], 250_000_000, 3)
    assert refusal(codec, b'{"imu": {"clock": 1%s, "accel": {"x": 2}}}' % (b"0" * 400)) is Reason.WRONG_VALUE


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{}", Reason.MISSING_FIELD),
        (b'{"imu": null}', Reason.MISSING_FIELD),
        (b'{"imu": {}}', Reason.MISSING_FIELD),
        (b'{"imu": {"a": 1}}', Reason.MISSING_FIELD),
        (b'{"imu": {"a": 1, "b": null}}', Reason.MISSING_FIELD),
        (b'{"imu": 5}', Reason.WRONG_TYPE),
        (b'{"imu": [1, 2]}', Reason.WRONG_TYPE),
        (b'{"imu": "1, 2"}', Reason.WRONG_TYPE),
        (b'{"imu": {"a": {}, "b": 1}}', Reason.WRONG_TYPE),
        (b'{"imu": {"a": 1, "b": 1}, "meta": {"n": "4"}}', Reason.WRONG_TYPE),
    ],
)
def test_what_is_not_at_the_end_of_a_path_is_refused(payload, reason):
    assert refusal(object_codec({"a": "imu.a", "b": "imu.b", "seq": "meta.n"}), payload) is reason


@pytest.mark.parametrize("meta", [b"", b', "meta": null', b', "meta": {}', b', "meta": {"n": null}'])
def test_a_branch_that_holds_nothing_needed_may_be_absent(meta):
    block = decoded(object_codec({"seq": "meta.n", "t": "meta.t"}), b'{"a": 1, "b": 2%s}' % meta, received_ns=1000)
    assert (block.seq, block.stamps[0], block.rows[0].tolist()) == (-1, 1000, [1, 2])


def test_a_path_through_a_number_is_a_defect_of_the_file():
    with pytest.raises(ConfigError, match=r"'p' cannot be a number"):
        object_codec({"a": "p", "b": "p.x"})


@pytest.mark.parametrize("name", ["class", "a-b", "ü", "1", "__init__", "f0", " ", "$", "x/y"])
def test_any_name_can_be_a_path(name):
    payload = json.dumps({name: {name: 3}, "b": 4}).encode()
    assert decoded(object_codec({"a": f"{name}.{name}"}), payload).rows[0].tolist() == [3, 4]


def test_lists_without_a_stamp_end_at_the_receipt():
    block = decoded(object_codec(unit=1000), b'{"a": [1, 2, 3], "b": [4, 5, 6], "dt": 2}', received_ns=10_000)
    assert block.stamps[:3].tolist() == [6000, 8000, 10_000]
