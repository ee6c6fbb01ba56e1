"""KITTI, npz, PointCloud2 and Ouster packets; and the encoder of scans."""

import io
import json
import struct
import tracemalloc
import zipfile

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import Reason, Reject
from edge.messages import Scan
from edge.wire.kitti import decode_kitti
from edge.wire.ouster import OusterDecoder
from edge.wire.pointcloud2 import PointCloud2, PointField, decode_pointcloud2
from edge.wire.scan import ScanCodec, pack_scan
from edge.wire.scan_npz import decode_scan_npz

POINTS = np.array([[1, 2, 3, 10], [4, 5, 6, 20]], "<f4")


def refusal(decode, *arguments, **limits):
    with pytest.raises(Reject) as caught:
        decode(*arguments, **limits)
    return caught.value.reason


def npz(compress=True, **arrays):
    file = io.BytesIO()
    (np.savez_compressed if compress else np.savez)(file, **arrays)
    return file.getvalue()


def zipped(method=zipfile.ZIP_DEFLATED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(descr="'<f4'", order="False", shape="(1,)", body=bytes(4), version=b"\x01\x00"):
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(text)) + text + body


@settings(max_examples=50)
@given(st.integers(0, 5), st.integers(0, 1 << 40), st.integers(-1, 1000), st.sampled_from(["<f4", "<f8"]))
def test_a_packed_scan_is_decoded_to_itself(n, stamp_ns, seq, kind):
    points = np.arange(n * 4, dtype=kind).reshape(n, 4)[:, ::-1]
    scan = ScanCodec(10, 10_000).decode(pack_scan(Scan(points, ("z", "y", "x", "ring"), seq, stamp_ns, 0)), 7)
    assert scan.points.tolist() == points.tolist()
    assert (scan.fields, scan.seq, scan.stamp_ns, scan.received_ns) == (("z", "y", "x", "ring"), seq, stamp_ns, 7)


def test_kitti():
    scan = decode_kitti(POINTS.tobytes())
    assert scan.points.tolist() == POINTS.tolist()
    assert (scan.fields, scan.seq, scan.stamp_ns) == (("x", "y", "z", "intensity"), -1, 0)
    assert refusal(decode_kitti, b"") == Reason.EMPTY
    assert refusal(decode_kitti, bytes(31)) == Reason.WRONG_SIZE
    assert refusal(decode_kitti, bytes(32), max_points=1) == Reason.TOO_MANY_ROWS
    assert refusal(decode_kitti, bytes(32), max_bytes=31) == Reason.TOO_LARGE


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4", "<i2", "u1"])
def test_npz_of_a_table(compress, kind):
    scan = decode_scan_npz(npz(compress, points=np.asfortranarray(POINTS.astype(kind))))
    assert scan.points.tolist() == POINTS.tolist()
    assert scan.fields == ("x", "y", "z", "intensity")
    named = decode_scan_npz(npz(compress, points=POINTS.astype(kind), fields=np.array(["ring", "z", "y", "x"]), stamp_ns=5, seq=3))
    assert named.points.tolist() == POINTS[:, [3, 2, 1, 0]].tolist()
    assert (named.fields, named.seq, named.stamp_ns) == (("x", "y", "z", "ring"), 3, 5)
    assert decode_scan_npz(npz(points=np.zeros((0, 3)), fields=np.array([b"x", b"y", b"z"]))).points.shape == (0, 3)
    assert decode_scan_npz(npz(points=np.zeros((1, 20)))).fields[3:6] == ("intensity", "field_4", "field_5")


def test_npz_of_columns():
    x, y, z, i = POINTS.T
    scan = decode_scan_npz(npz(intensity=i.astype("u1"), z=z, y=y.astype("f8"), x=x, pose=np.eye(4), name=np.array("drive 3")))
    assert scan.points.tolist() == POINTS.tolist()
    assert scan.fields == ("x", "y", "z", "intensity")


BAD_NPZ = {
    "nothing": (b"", Reason.EMPTY),
    "no zip": (b"PK\x03\x04" + bytes(100), Reason.MALFORMED),
    "cut off": (npz(points=POINTS)[:-30], Reason.MALFORMED),
    "pickles": (npz(points=np.array([[{}, {}, {}]], object)), Reason.WRONG_TYPE),
    "records": (npz(points=np.zeros(2, [("x", "f4")])), Reason.WRONG_TYPE),
    "one dimension": (npz(points=np.zeros(6)), Reason.WRONG_TYPE),
    "complex numbers": (npz(points=np.zeros((2, 3), complex)), Reason.WRONG_TYPE),
    "times": (npz(points=np.zeros((2, 3), "M8[s]")), Reason.WRONG_TYPE),
    "two columns": (npz(points=np.zeros((2, 2))), Reason.MISSING_FIELD),
    "no points": (npz(ranges=np.zeros((2, 2))), Reason.MISSING_FIELD),
    "a field without a column": (npz(points=POINTS, fields=np.array(["x", "y", "z"])), Reason.WRONG_SIZE),
    "a field twice": (npz(points=POINTS, fields=np.array(["x", "y", "z", "x"])), Reason.WRONG_VALUE),
    "unequal columns": (npz(x=np.zeros(3), y=np.zeros(3), z=np.zeros(2)), Reason.WRONG_SIZE),
    "a counter of text": (npz(points=POINTS, seq=np.array("1")), Reason.WRONG_TYPE),
    "a stamp before time began": (npz(points=POINTS, stamp_ns=-1), Reason.WRONG_VALUE),
    "a shape that lies": (zipped(points=npy(shape="(1000000000, 3)")), Reason.WRONG_SIZE),
    "a shape beyond all": (zipped(points=npy(shape="(999999999999, 999999999999, 999999999999)")), Reason.WRONG_SIZE),
    "a type of no bytes": (zipped(x=npy("'<U0'")), Reason.WRONG_SIZE),
    "a type that is none": (zipped(x=npy("'<f7'")), Reason.WRONG_TYPE),
    "a header that is a program": (zipped(x=npy("__import__('os')")), Reason.WRONG_TYPE),
    "a header without end": (zipped(x=b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{"), Reason.WRONG_TYPE),
    "no array": (zipped(x=b"hello"), Reason.MALFORMED),
    "another compression": (zipped(zipfile.ZIP_BZIP2, x=npy()), Reason.MALFORMED),
    "many members": (b"PK\x01\x02" * 2000, Reason.MALFORMED),
}


@pytest.mark.parametrize("name", BAD_NPZ)
def test_a_bad_npz_is_refused_with_its_reason(name):
    payload, reason = BAD_NPZ[name]
    assert refusal(decode_scan_npz, payload) == reason


def test_a_zip_bomb_costs_no_more_than_its_limit():
    bomb = npz(points=np.zeros((2_000_000, 4), np.float32))
    assert len(bomb) < 100_000
    tracemalloc.start()
    assert refusal(decode_scan_npz, bomb, max_bytes=1_000_000) == Reason.TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()
    several = npz(**{name: np.zeros(200_000, np.float32) for name in "xyzabc"})
    assert refusal(decode_scan_npz, several, max_bytes=1_000_000) == Reason.TOO_LARGE
    assert refusal(decode_scan_npz, bomb, max_points=1_999_999) == Reason.TOO_MANY_ROWS


@settings(max_examples=200)
@given(
    st.sampled_from([npz(points=POINTS, fields=np.array(list("xyzi"))), zipped(zipfile.ZIP_STORED, x=npy(), y=npy(), z=npy())]), st.data()
)
def test_any_damage_to_an_npz_is_a_scan_or_a_refusal(payload, data):
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        scan = decode_scan_npz(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), 100, 10_000)
    except Reject:
        return
    assert scan.points.shape[1] == len(scan.fields) <= 16


def cloud(**changes):
    fields = tuple(PointField(name, 4 * i, 7) for i, name in enumerate(("x", "y", "z", "intensity")))
    whole = PointCloud2(fields=fields, data=POINTS.tobytes(), width=2, height=1, point_step=16, row_step=32)
    return msgspec.structs.replace(whole, **changes)


def test_pointcloud2():
    scan = decode_pointcloud2(cloud(stamp_ns=9))
    assert scan.points.tolist() == POINTS.tolist()
    assert (scan.fields, scan.stamp_ns) == (("x", "y", "z", "intensity"), 9)
    big = decode_pointcloud2(cloud(data=POINTS.astype(">f4").tobytes(), is_bigendian=True))
    assert big.points.tolist() == POINTS.tolist()
    rows = decode_pointcloud2(cloud(data=POINTS[:1].tobytes() + b"12345678" + POINTS[1:].tobytes(), width=1, height=2, row_step=24))
    assert rows.points.tolist() == POINTS.tolist()
    assert decode_pointcloud2(cloud(width=0, data=b"")).points.shape == (0, 4)


@pytest.mark.parametrize(("number", "kind"), list(enumerate(["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<f4", "<f8"], start=1)))
def test_pointcloud2_of_every_type(number, kind):
    values = np.array([[1, 2, 3], [4, 5, 100]], kind)
    size = values.itemsize
    fields = tuple(PointField(name, size * i, number, 0) for i, name in enumerate("xyz"))
    made = cloud(fields=fields, data=values.tobytes(), point_step=3 * size, row_step=6 * size)
    assert decode_pointcloud2(made).points.tolist() == values.tolist()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"width": 3}, Reason.WRONG_SIZE),
        ({"width": 1 << 31, "height": 1 << 31}, Reason.TOO_MANY_ROWS),
        ({"height": 2}, Reason.WRONG_SIZE),
        ({"row_step": 31}, Reason.WRONG_SIZE),
        ({"point_step": 12}, Reason.WRONG_SIZE),
        ({"point_step": 0}, Reason.WRONG_SIZE),
        ({"width": -1}, Reason.WRONG_VALUE),
        ({"row_step": 1.5}, Reason.WRONG_TYPE),
        ({"data": b""}, Reason.EMPTY),
        ({"fields": ()}, Reason.MISSING_FIELD),
        ({"fields": tuple(PointField(name, 0, 9) for name in "xyz")}, Reason.WRONG_VALUE),
        ({"fields": tuple(PointField(name, -4, 7) for name in "xyz")}, Reason.WRONG_SIZE),
        ({"fields": tuple(PointField(name, 0, 7, 1 << 30) for name in "xyz")}, Reason.WRONG_SIZE),
        ({"fields": tuple(PointField(name, 0, 7) for name in "xyzz")}, Reason.WRONG_VALUE),
        ({"fields": tuple(PointField(f"f{i}", 0, 7) for i in range(999))}, Reason.WRONG_VALUE),
    ],
)
def test_a_bad_pointcloud2_is_refused_with_its_reason(changes, reason):
    assert refusal(decode_pointcloud2, cloud(**changes)) == reason


sizes = st.integers(-1, 40) | st.integers(0, 1 << 32)


@settings(max_examples=200)
@given(sizes, sizes, sizes, sizes, st.lists(st.tuples(st.sampled_from("xyzab"), sizes, st.integers(0, 9), sizes), max_size=6))
def test_any_pointcloud2_is_a_scan_or_a_refusal(width, height, point_step, row_step, fields):
    made = cloud(width=width, height=height, point_step=point_step, row_step=row_step)
    for case in (made, msgspec.structs.replace(made, fields=tuple(PointField(*field) for field in fields))):
        try:
            scan = decode_pointcloud2(case, 1000, 1000)
        except Reject:
            continue
        assert scan.points.shape[1] == len(scan.fields)


def metadata(profile="RNG19_RFL8_SIG16_NIR16", **changes):
    form = {"pixels_per_column": 2, "columns_per_frame": 4, "columns_per_packet": 2, "udp_profile_lidar": profile}
    facts = {
        "beam_altitude_angles": [30.0, 0.0],
        "beam_azimuth_angles": [0.0, 0.0],
        "lidar_to_sensor_transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 100, 0, 0, 0, 1],
        "data_format": form,
    }
    return json.dumps(facts | changes).encode()


def packet(frame, first, ranges, status=1):
    """RNG19_RFL8_SIG16_NIR16, two columns of two pixels; field by field from the maker's manual."""
    out = struct.pack("<HH28x", 1, frame)
    for i, column in enumerate(ranges):
        out += struct.pack("<QHH", 1000 + first + i, first + i, status)
        out += b"".join(struct.pack("<IBxHHH", r | 0xFFF80000, 77, 1, 2, 0) for r in column)
    return out + bytes(32)


def test_ouster_columns_become_points_in_the_sensor_frame():
    decoder = OusterDecoder(metadata())
    assert decoder.take(bytes(48)) is None  # of the motion sensor
    assert decoder.take(packet(7, 0, [(0, 2000), (2000, 0)])) is None
    assert decoder.take(packet(7, 2, [(0, 2000), (0, 0)])) is None
    scan = decoder.take(packet(8, 0, [(0, 1), (0, 0)]))
    assert (scan.fields, scan.seq, scan.stamp_ns) == (("x", "y", "z", "intensity", "ring"), 7, 1000)
    expected = [[2, 0, 0.1, 77, 1], [0, -np.sqrt(3), 1.1, 77, 0], [-2, 0, 0.1, 77, 1]]  # clockwise, the sensor 0.1 m up
    assert np.allclose(scan.points, expected, atol=1e-6)
    assert len(decoder.finish().points) == 1
    assert decoder.finish() is None


def test_ouster_packets_out_of_order_and_columns_that_are_none():
    decoder = OusterDecoder(metadata())
    assert decoder.take(packet(0, 0, [(1, 1), (1, 1)])) is None
    assert decoder.take(packet(0xFFFF, 2, [(1, 1), (1, 1)])) is None  # of the frame before
    assert decoder.take(packet(0, 3, [(1, 1), (1, 1)])) is None  # column 4 of 4
    assert decoder.take(packet(0, 2, [(1, 1), (1, 1)], status=0)) is None
    assert decoder.skipped == 2
    assert len(decoder.finish().points) == 6
    assert decoder.take(packet(900, 0, [(1, 1), (1, 1)])) is None
    assert decoder.take(packet(0, 0, [(1, 1), (1, 1)])).seq == 900  # the sensor has started again


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"[]", Reason.MALFORMED),
        (b"[" * 5000, Reason.MALFORMED),
        (b" " * 2_000_000, Reason.TOO_LARGE),
        (metadata("FUSA_RNG15_RFL8_NIR8_DUAL"), Reason.WRONG_VALUE),
        (metadata(beam_altitude_angles=[1.0]), Reason.WRONG_SIZE),
        (metadata(beam_altitude_angles=[1e300, 0.0]), Reason.MALFORMED),
        (metadata(lidar_to_sensor_transform=[1] * 15), Reason.MALFORMED),
        (metadata(data_format=None), Reason.MALFORMED),
        (metadata(beam_intrinsics=5), Reason.MALFORMED),
        (metadata(data_format={"pixels_per_column": 2, "columns_per_frame": 10**9, "columns_per_packet": 2}), Reason.MALFORMED),
    ],
)
def test_ouster_metadata_that_cannot_be_used(text, reason):
    assert refusal(OusterDecoder, text) == reason


@settings(max_examples=100)
@given(
    st.lists(st.binary(min_size=136, max_size=136), max_size=4), st.sampled_from(["LEGACY", "RNG19_RFL8_SIG16_NIR16", "RNG15_RFL8_NIR8"])
)
def test_any_packets_are_scans(packets, profile):
    decoder = OusterDecoder(metadata(profile))
    for content in packets:
        decoder.take((content + bytes(200))[: decoder.packet_bytes])
    scan = decoder.finish()
    assert scan is None or (scan.points.shape[1] == 5 and len(scan.points) <= 8 and scan.stamp_ns >= 0)
