"""PCD files: what real drivers write, and what nobody should."""

import gzip
import itertools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import Reason, Reject
from edge.kernels.lzf import unpack_lzf
from edge.wire.pcd import decode_pcd

DATA = Path(__file__).parents[3] / "shared" / "data"
KINDS = [(kind, size) for kind, sizes in (("F", (4, 8)), ("I", (1, 2, 4, 8)), ("U", (1, 2, 4, 8))) for size in sizes]


def header(fields="x y z", size="4 4 4", kind="F F F", count="1 1 1", points="2", data="binary", more=""):
    lines = ["# .PCD v0.7", "VERSION 0.7", f"FIELDS {fields}", f"SIZE {size}", f"TYPE {kind}", f"COUNT {count}", "WIDTH 0", "HEIGHT 0"]
    return "\n".join([*lines, "VIEWPOINT 0 0 0 1 0 0 0", f"POINTS {points}", *([more] if more else []), f"DATA {data}", ""]).encode()


POINTS = np.array([[1, 2, 3], [4, 5, 6]], "<f4")


def literals(plain):
    return b"".join(bytes([len(part) - 1]) + part for part in (plain[i : i + 32] for i in range(0, len(plain), 32)))


def packed(plain, block=None, claimed=None):
    block = literals(plain) if block is None else block
    return struct.pack("<II", len(block), len(plain) if claimed is None else claimed) + block


def refusal(payload, **limits):
    with pytest.raises(Reject) as caught:
        decode_pcd(payload, **limits)
    return caught.value.reason


@pytest.mark.parametrize(
    "payload",
    [
        header() + POINTS.tobytes(),
        header() + POINTS.tobytes() + b"whatever follows",
        header().replace(b"\n", b"\r\n") + POINTS.tobytes(),
        header(data="ascii") + b"1 2 3\n4 5 6",
        header(data="ascii") + b"1 2 3\n\n  4e0\t5.0 6 \r\n7 8 9\n",
        header(data="binary_compressed") + packed(POINTS.T.tobytes()),
        header().replace(b"COUNT 1 1 1\n", b"") + POINTS.tobytes(),
        header(points="1").replace(b"POINTS 1\n", b"").replace(b"WIDTH 0\nHEIGHT 0", b"WIDTH 1\nHEIGHT 2") + POINTS.tobytes(),
    ],
)
def test_the_same_points_in_every_encoding(payload):
    scan = decode_pcd(payload)
    assert scan.points.tolist() == POINTS.tolist()
    assert scan.points.dtype == np.float32
    assert (scan.fields, scan.seq, scan.stamp_ns) == (("x", "y", "z"), -1, 0)


@pytest.mark.parametrize(("kind", "size"), KINDS)
@pytest.mark.parametrize("data", ["binary", "binary_compressed", "ascii"])
def test_every_type_and_size_becomes_float32(kind, size, data):
    values = np.array([0, 1, 100] if kind == "U" else [0, 1, -100], f"<{kind.lower()}{size}")
    table = np.zeros(3, [("pad", "u1", 3), ("x", values.dtype), ("y", values.dtype), ("z", values.dtype), ("i", values.dtype)])
    for name in "xyzi":
        table[name] = values
    columns = b"".join(np.ascontiguousarray(table[name]).tobytes() for name in table.dtype.names)
    text = "\n".join(f"0 0 0 {v} {v} {v} {v}" for v in values.tolist()).encode()
    body = {"binary": table.tobytes(), "binary_compressed": packed(columns), "ascii": text}[data]
    payload = header("_ x y z i", f"1 {f'{size} ' * 4}", f"U {f'{kind} ' * 4}", "3 1 1 1 1", "3", data) + body
    assert decode_pcd(payload).points.tolist() == [[v] * 4 for v in values.tolist()]


def test_padding_counts_and_columns():
    kind = np.dtype([("z", "<f4"), ("a", "u1", 4), ("n", "<f8", 2), ("y", "<f4"), ("ring", "<u2"), ("x", "<f4")])
    row = np.zeros(1, kind)
    row["x"], row["y"], row["z"], row["ring"], row["n"] = 1, 2, 3, 40, [0.5, -0.5]
    payload = header("z _ n _ y ring x", "4 1 8 1 4 2 4", "F U F U F U F", "1 4 2 0 1 1 1", "1") + row.tobytes()
    scan = decode_pcd(payload)
    assert scan.fields == ("x", "y", "z", "n_0", "n_1", "ring")
    assert scan.points.tolist() == [[1, 2, 3, 0.5, -0.5, 40]]


def test_no_more_than_sixteen_fields_are_kept():
    names = [*(f"f{i}" for i in range(20)), "x", "y", "z"]
    ones = " ".join("1" * 23)
    payload = header(" ".join(names), ones, " ".join("U" * 23), ones, "1") + bytes(range(23))
    scan = decode_pcd(payload)
    assert scan.fields == ("x", "y", "z", *names[:13])
    assert scan.points.tolist() == [[20, 21, 22, *range(13)]]


def test_what_is_not_finite_is_kept_and_what_float32_cannot_hold_is_infinite():
    body = b"nan inf 1\n1e300 -Inf 2\n"
    assert np.array_equal(
        decode_pcd(header(data="ascii") + body).points, np.array([[np.nan, np.inf, 1], [np.inf, -np.inf, 2]]), equal_nan=True
    )
    assert decode_pcd(header(size="8 4 4", points="1") + struct.pack("<dff", 1e300, 1, 2)).points[0].tolist() == [np.inf, 1, 2]


def test_no_points_are_a_scan_for_the_gate_to_refuse():
    for data in ("ascii", "binary", "binary_compressed"):
        assert decode_pcd(header(points="0", data=data)).points.shape == (0, 3)


BAD = {
    "nothing": (b"", Reason.EMPTY),
    "no header": (b"\x00" * 100, Reason.MALFORMED),
    "a header without end": (b"#" * 100_000, Reason.MALFORMED),
    "a header cut off": (header()[:60], Reason.MALFORMED),
    "too many lines": (b"# x\n" * 100 + header() + POINTS.tobytes(), Reason.MALFORMED),
    "points cut off": (header() + POINTS.tobytes()[:-1], Reason.WRONG_SIZE),
    "a count that lies": (header(points="3") + POINTS.tobytes(), Reason.WRONG_SIZE),
    "a count that lies, ascii": (header(points="3", data="ascii") + b"1 2 3\n4 5 6\n", Reason.WRONG_SIZE),
    "a count that lies, many short lines": (header(points="3", data="ascii") + b"1 2 3\n4 5 6\n" + b"\n" * 20, Reason.WRONG_SIZE),
    "a count that lies, packed": (header(points="3", data="binary_compressed") + packed(POINTS.tobytes()), Reason.WRONG_SIZE),
    "four billion points": (header(points="4000000000") + POINTS.tobytes(), Reason.TOO_MANY_ROWS),
    "a count of forty digits": (header(points="9" * 40) + POINTS.tobytes(), Reason.WRONG_VALUE),
    "a negative count": (header(points="-1") + POINTS.tobytes(), Reason.WRONG_VALUE),
    "a count in other digits": (header(points="\N{FULLWIDTH DIGIT TWO}") + POINTS.tobytes(), Reason.WRONG_VALUE),
    "no count": (header().replace(b"POINTS", b"PINTS").replace(b"WIDTH", b"W") + POINTS.tobytes(), Reason.MISSING_FIELD),
    "no fields": (header("").replace(b"FIELDS ", b"") + POINTS.tobytes(), Reason.MISSING_FIELD),
    "no z": (header("x y w") + POINTS.tobytes(), Reason.MISSING_FIELD),
    "x of no numbers": (header(count="0 1 1") + POINTS.tobytes(), Reason.MISSING_FIELD),
    "x twice": (header("x y z x", "4 4 4 4", "F F F F", "1 1 1 1", "1") + bytes(16), Reason.WRONG_VALUE),
    "sizes missing": (header(size="4 4") + POINTS.tobytes(), Reason.WRONG_SIZE),
    "types missing": (header(kind="F F") + POINTS.tobytes(), Reason.WRONG_SIZE),
    "a float of two bytes": (header(size="2 4 4") + POINTS.tobytes(), Reason.WRONG_VALUE),
    "an unknown type": (header(kind="Q F F") + POINTS.tobytes(), Reason.WRONG_VALUE),
    "a point of a gigabyte": (header(count="999999999 1 1") + POINTS.tobytes(), Reason.WRONG_VALUE),
    "unknown data": (header(data="zip") + POINTS.tobytes(), Reason.WRONG_VALUE),
    "a word in the text": (header(data="ascii") + b"1 2 3\n4 five 6\n", Reason.MALFORMED),
    "a short line": (header(data="ascii") + b"1 2 3\n4 5\n6 7 8\n", Reason.WRONG_SIZE),
    "a long line": (header(data="ascii") + b"1 2 3\n4 5 6 7\n", Reason.WRONG_SIZE),
    "no sizes": (header(data="binary_compressed") + b"\0\0\0", Reason.WRONG_SIZE),
    "a packed size beyond the end": (header(data="binary_compressed") + struct.pack("<II", 99, 24) + bytes(20), Reason.WRONG_SIZE),
    "a bomb": (header(points="1000000", data="binary_compressed") + packed(b"", b"\0", 4_000_000_000), Reason.TOO_LARGE),
    "packed garbage": (header(data="binary_compressed") + packed(bytes(24), b"\xff" * 20), Reason.MALFORMED),
    "packed too short": (header(data="binary_compressed") + packed(bytes(24), literals(bytes(23))), Reason.MALFORMED),
    "packed too long": (header(data="binary_compressed") + packed(bytes(24), literals(bytes(25))), Reason.MALFORMED),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_reason(name):
    payload, reason = BAD[name]
    assert refusal(payload) == reason


def test_limits():
    payload = header() + POINTS.tobytes()
    assert refusal(payload, max_points=1) == Reason.TOO_MANY_ROWS
    assert refusal(payload, max_bytes=len(payload) - 1) == Reason.TOO_LARGE
    assert len(decode_pcd(payload, max_points=2, max_bytes=len(payload)).points) == 2


words = st.sampled_from(["x", "y", "z", "_", "0", "1", "4", "8", "-1", "F", "U", "I", "99999999999", "nan", "ascii", "binary", "intensity"])
lines = st.tuples(
    st.sampled_from(["FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "POINTS", "DATA", "#", ""]), st.lists(words, max_size=5)
).map(lambda line: f"{line[0]} {' '.join(line[1])}\n".encode())


@settings(max_examples=200)
@given(st.lists(lines, max_size=12), st.sampled_from(["binary", "ascii", "binary_compressed"]), st.binary(max_size=80))
def test_any_header_is_a_scan_or_a_refusal(parts, data, body):
    decode(b"".join(parts) + f"DATA {data}\n".encode() + body)


@settings(max_examples=200)
@given(st.sampled_from(sorted(BAD)), st.data())
def test_any_damage_is_a_scan_or_a_refusal(name, data):
    payload = bytearray(BAD[name][0][:2000] or header())
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    decode(bytes(payload))


def decode(payload):
    try:
        scan = decode_pcd(payload, max_points=1000, max_bytes=10_000)
    except Reject:
        return
    assert scan.points.dtype == np.float32
    assert scan.fields[:3] == ("x", "y", "z")
    assert scan.points.shape[1] == len(scan.fields) <= 16


def test_a_header_that_claims_much_allocates_little():
    claims = [
        header(points="4000000") + POINTS.tobytes(),
        header(points="4000000", data="ascii") + b"1 2 3\n",
        header(points="4000000", data="binary_compressed") + packed(bytes(24), claimed=48_000_000),
        header(data="ascii") + b"1 " * 500_000,
    ]
    refusal(claims[0])
    for payload in claims:
        tracemalloc.start()
        refusal(payload)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100_000 + 4 * len(payload)


def test_lzf_copies_that_overlap_themselves():
    out = np.zeros(10, np.uint8)
    block = np.frombuffer(bytearray(b"\x01ab" + bytes([6 << 5, 1])), np.uint8)  # two literals, then eight bytes from two back
    assert unpack_lzf(block, out) == 10
    assert out.tobytes() == b"ababababab"
    long = np.frombuffer(bytearray(b"\x00a" + bytes([7 << 5, 91, 0])), np.uint8)
    out = np.zeros(101, np.uint8)
    assert unpack_lzf(long, out) == 101
    assert out.tobytes() == b"a" * 101


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 50))
def test_lzf_stays_within_its_buffers(block, size):
    guarded = np.full(size + 20, 0xA5, np.uint8)
    got = unpack_lzf(np.frombuffer(bytearray(block), np.uint8), guarded[:size])
    assert -1 <= got <= size
    assert (guarded[size:] == 0xA5).all()


def test_a_real_file_survives_compression():
    """The columns of a real scan, packed as PCL would pack them, are those of the file."""
    path = next(iter(sorted((DATA / "lidar-nebula" / "hesai" / "xt32m").glob("*.pcd.gz"))), None)
    if path is None:
        pytest.skip(f"needs the scans of lidar-nebula in {DATA}; they are not part of the repository")
    payload = gzip.decompress(path.read_bytes())
    at = payload.index(b"DATA binary\n") + len(b"DATA binary\n")
    scan = decode_pcd(payload)
    starts = np.cumsum([0, 4, 4, 4, 4, 2, 4, 4, 1, 8])
    records = np.frombuffer(payload, np.uint8, len(scan.points) * 35, at).reshape(len(scan.points), 35)
    columns = b"".join(records[:, a:b].tobytes() for a, b in itertools.pairwise(starts))
    again = payload[: at - len(b"binary\n")] + b"binary_compressed\n" + packed(columns)
    assert decode_pcd(again).points.tobytes() == scan.points.tobytes()
