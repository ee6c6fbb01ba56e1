"""Files, folders, captures and recordings as scans, real ones whole; and `edge scans`."""

import gzip
import io
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.main import main
from edge.errors import EdgeError, TransportError
from edge.messages import RawMessage
from edge.store.pcap import datagrams
from edge.store.recording import RecordingWriter, info, read
from edge.store.scans import read_scans
from edge.wire.pcd import decode_pcd
from edge.wire.scan import ScanCodec

DATA = Path(__file__).parents[3] / "shared" / "data"
STAMP = 1_700_000_000_000_000_000
POINTS = np.array([[1, 2, 3, 10], [4, 5, 6, 20]], "<f4")
ASCII_PCD = b"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n1 2 3\n"
NEBULA = {
    "velodyne/vlp16": [14_673, 14_818, 14_916, 14_672, 14_820],
    "robosense/helios": [37_487, 37_466, 37_681, 37_693],
    "robosense/helios16P": [15_258, 15_795, 15_786, 15_708],
    "robosense/rubyplus": [46_255, 39_881, 36_796, 37_759, 37_328],
    "hesai/xt32m": [13_410, 37_012, 18_728, 32_592, 18_943],
}
OUSTER = ["OS-0-128-U1_v2.3.0_1024x10", "OS-1-128_v2.3.0_1024x10_lb_n3", "OS-1-32-G_v2.1.1_1024x10", "crc_test"]


def real(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"needs {name} in {DATA}; it is not part of the repository")
    return path


def ipv4(payload, port=2368, offset=0, more=False, number=1, protocol=17):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), number, offset // 8 | (0x2000 if more else 0), 64, protocol, 0)
    return bytes(12) + b"\x08\x00" + head + bytes(8) + payload if port else head + bytes(8) + payload


def udp(payload, port=2368):
    return struct.pack(">HHHH", port, port, 8 + len(payload), 0) + payload


def pcap(*packets, magic=b"\xd4\xc3\xb2\xa1", link=1):
    order = "<" if magic[0] in b"\xd4\x4d" else ">"
    out = magic + struct.pack(order + "HHiIII", 2, 4, 0, 0, 65535, link)
    return out + b"".join(struct.pack(order + "4I", 5, 7, len(p), len(p)) + p for p in packets)


def payloads(content):
    return [(d.stamp_ns, d.port, d.payload) for d in datagrams(io.BytesIO(content))]


@pytest.mark.parametrize("folder", NEBULA)
def test_every_frame_of_five_sensors(folder):
    path = real(f"lidar-nebula/{folder}")
    stamps = [int(entry.name.split(".")[0]) for entry in sorted(path.glob("1*.pcd.gz"))]
    scans = [scan for scan in read_scans(path) if scan.stamp_ns in stamps]
    assert [len(scan.points) for scan in scans] == NEBULA[folder]
    assert [scan.stamp_ns for scan in scans] == stamps
    for scan in scans:
        named = dict(zip(scan.fields, scan.points.T, strict=True))
        reach = np.linalg.norm(scan.points[:, :3], axis=1)
        if named["distance"].any():  # the Hesai driver wrote zeros
            assert np.abs(reach - named["distance"]).max() < 0.1  # the sensor's own range; beams do not start in its middle
        assert reach.max() < 155
        rings = named["ring" if "ring" in named else "channel"]
        assert set(rings) <= set(range(128))


def test_four_frames_with_padding_and_bytes_after_the_end():
    scans = list(read_scans(real("lidar-sustech/lidar")))
    assert len(scans[0].points) == 68_242
    assert all(66_781 <= len(scan.points) <= 68_242 for scan in scans)
    assert {scan.fields for scan in scans} == {("x", "y", "z", "intensity", "timestamp", "ring")}
    for scan in scans:
        reach = np.linalg.norm(scan.points[:, :3], axis=1)
        assert (reach.min() > 2.5, reach.max() < 210, scan.stamp_ns) == (True, True, 0)
        assert set(np.unique(scan.points[:, 3])) <= set(range(256))


@pytest.mark.parametrize("name", OUSTER)
def test_ouster_captures_are_what_the_makers_decoder_makes_of_them(name):
    scans = list(read_scans(real(f"lidar-ouster/{name}.pcap.gz")))
    with np.load(DATA / "lidar-ouster" / f"{name}.decoded.npz") as made:
        assert len(scans) == sum(key.startswith("range_mm") for key in made)
        for i, scan in enumerate(scans):
            hit = made[f"range_mm_{i}"].T > 0
            assert len(scan.points) == np.count_nonzero(hit)
            assert scan.seq == made[f"frame_id_{i}"]
            assert scan.stamp_ns == next(stamp for stamp in made[f"timestamp_ns_{i}"] if stamp)
            xyz = np.zeros((*hit.shape, 3), np.float32)
            xyz[hit] = scan.points[:, :3]
            assert np.abs(xyz[::64].transpose(1, 0, 2) - made[f"xyz_col0_{i}"]).max() < 5e-5
            assert np.array_equal(scan.points[:, 4], np.nonzero(hit)[1])


def test_the_whole_ouster_folder(caplog):
    assert len(list(read_scans(real("lidar-ouster")))) == 7
    assert caplog.text.count("passed over") == 4  # the reference decodes beside the captures


def test_velodyne_packets_give_the_scans_of_the_same_moments():
    scans = list(read_scans(real("lidar-nebula/velodyne/vlp16/packets.pcap.gz")))
    assert [len(scan.points) for scan in scans] == [14_981, 14_845, 14_868, 14_720]
    assert scans[0].fields == ("x", "y", "z", "intensity", "ring", "time")
    frame = decode_pcd(gzip.decompress((DATA / "lidar-nebula/velodyne/vlp16/1673400472138016708.pcd.gz").read_bytes()))
    some = scans[-1].points[::50, :3]
    nearest = [np.linalg.norm(frame.points[:, :3] - point, axis=1).min() for point in some]
    assert np.median(nearest) < 0.01
    assert abs(scans[-1].stamp_ns - 1_673_400_472_138_016_708) < 10_000_000


def test_velodyne_packets_without_the_decoder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "velodyne_decoder", None)
    (tmp_path / "a.pcap").write_bytes(pcap(ipv4(udp(bytes(1206)))))
    with pytest.raises(EdgeError, match=r"pip install 'edge-runtime\[lidar\]'$") as caught:
        list(read_scans(tmp_path / "a.pcap"))
    assert "\n" not in str(caught.value)


def test_names_that_are_stamps_and_compressed_files(tmp_path):
    (tmp_path / f"{STAMP + 1}.bin.gz").write_bytes(gzip.compress(POINTS.tobytes()))
    (tmp_path / f"{STAMP}.pcd").write_bytes(ASCII_PCD)
    (tmp_path / "000003.BIN").write_bytes(POINTS.tobytes())
    np.savez(tmp_path / "z.npz", points=POINTS, stamp_ns=STAMP + 2)
    np.savez(tmp_path / "labels.npz", boxes=POINTS)
    (tmp_path / "README.md").write_text("not a scan")
    (tmp_path / "deeper.pcd").mkdir()
    scans = list(read_scans(tmp_path))
    assert [scan.stamp_ns for scan in scans] == [0, STAMP, STAMP + 1, STAMP + 2]
    assert scans[2].points.tolist() == POINTS.tolist()


def test_files_that_cannot_be_used_are_named(tmp_path):
    for name, content in {
        "a.pcd": b"no header",
        "b.bin": bytes(17),
        "c.bin.gz": b"no gzip",
        "d.bin.gz": gzip.compress(bytes(1600))[:-12],
        "e.txt": b"",
        "f.pcap": b"\n\r\r\n" + bytes(40),
        "g.pcap": bytes(40),
        "h.pcap": pcap(),
        "i.mcap": b"no recording",
        "j.npz": b"",
        "k.pcap": pcap(ipv4(udp(b"\xff" * 1206))),
        "l.pcap": pcap(b"x", link=147),
        "m.pcap": pcap()[:24] + struct.pack("<4I", 0, 0, 1 << 31, 0),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TransportError, match=name) as caught:
            list(read_scans(tmp_path / name))
        assert "\n" not in str(caught.value)
    (tmp_path / "none").mkdir()
    for path in (tmp_path / "absent.pcd", tmp_path / "none"):
        with pytest.raises(TransportError, match=path.name):
            list(read_scans(path))
    with pytest.raises(TransportError, match=r"a\.pcd"):
        list(read_scans(tmp_path))


def test_a_compressed_bomb_is_read_no_further_than_its_limit(tmp_path):
    (tmp_path / "a.bin.gz").write_bytes(gzip.compress(bytes(16_000_000)))
    with pytest.raises(TransportError, match="too_large"):
        list(read_scans(tmp_path / "a.bin.gz", max_bytes=1_000_000))
    with pytest.raises(TransportError, match="too_many_rows"):
        list(read_scans(tmp_path / "a.bin.gz", max_points=1000))


def test_metadata_that_lie_elsewhere(tmp_path):
    shutil.copy(real("lidar-ouster/crc_test.pcap.gz"), tmp_path / "drive.pcap.gz")
    with pytest.raises(TransportError, match=r"metadata in drive\.json"):
        list(read_scans(tmp_path / "drive.pcap.gz"))
    assert len(list(read_scans(tmp_path / "drive.pcap.gz", metadata=DATA / "lidar-ouster/crc_test.json"))) == 2
    (tmp_path / "drive.json").write_text("{}")
    with pytest.raises(TransportError, match=r"drive\.pcap\.gz: malformed: metadata"):
        list(read_scans(tmp_path / "drive.pcap.gz"))
    shutil.copy(DATA / "lidar-ouster/OS-1-32-G_v2.1.1_1024x10.json", tmp_path / "drive.json")
    with pytest.raises(TransportError, match="no packets of the sensor"):
        list(read_scans(tmp_path / "drive.pcap.gz"))


@pytest.mark.parametrize(("magic", "stamp"), [(b"\xd4\xc3\xb2\xa1", 5_000_007_000), (b"\xa1\xb2\x3c\x4d", 5_000_000_007)])
def test_captures_of_either_byte_order_and_clock(magic, stamp):
    assert payloads(pcap(ipv4(udp(b"hello", 7502)), magic=magic)) == [(stamp, 7502, b"hello")]


def test_captures_of_every_link():
    inner = ipv4(udp(b"hello"), port=0)
    version6 = b"\x60" + bytes(5) + b"\x11" + bytes(33) + udp(b"hello")
    for link, packet in {
        101: inner,
        0: bytes(4) + inner,
        113: bytes(14) + b"\x08\x00" + inner,
        276: b"\x08\x00" + bytes(18) + inner,
        1: bytes(12) + b"\x81\x00\x00\x05\x08\x00" + inner,
    }.items():
        assert [d.payload for d in datagrams(io.BytesIO(pcap(packet, link=link)))] == [b"hello"]
    assert [d.payload for d in datagrams(io.BytesIO(pcap(version6, link=101)))] == [b"hello"]
    assert payloads(pcap(ipv4(b"x" * 30, protocol=6), b"", bytes(14), bytes(60))) == []


def test_fragments_are_put_together_whatever_their_order():
    whole = udp(bytes(range(64)))
    pieces = [ipv4(whole[:24], more=True), ipv4(whole[24:48], offset=24, more=True), ipv4(whole[48:], offset=48)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        assert [d.payload for d in datagrams(io.BytesIO(pcap(*(pieces[i] for i in order))))] == [bytes(range(64))]
    strays = [ipv4(whole[:24], more=True, number=i) for i in range(500)]
    assert payloads(pcap(*strays, ipv4(udp(b"on")))) == [(5_000_007_000, 2368, b"on")]


def test_a_capture_that_is_cut_off_gives_what_is_whole(caplog):
    content = pcap(ipv4(udp(b"one")), ipv4(udp(b"two")))
    for cut in (1, 30, len(ipv4(udp(b"two"))) + 3):
        caplog.clear()
        assert [payload for _, _, payload in payloads(content[:-cut])] == [b"one"]
        assert "cut off" in caplog.text


@settings(max_examples=200)
@given(
    st.lists(st.binary(max_size=80) | st.binary(max_size=60).map(lambda b: bytes(12) + b"\x08\x00\x45" + b)),
    st.sampled_from([0, 1, 101, 113, 276]),
)
def test_any_packets_are_survived(packets, link):
    for datagram in datagrams(io.BytesIO(pcap(*packets, link=link))):
        assert len(datagram.payload) <= 72


def scans_of(path):
    codec = ScanCodec(1_000_000, 64_000_000)
    return [codec.decode(raw.payload, raw.received_ns) for raw in read(path)]


def test_the_command_makes_a_recording(tmp_path, capsys):
    (tmp_path / f"{STAMP}.bin").write_bytes(POINTS.tobytes())
    (tmp_path / f"{STAMP + 100_000_000}.bin").write_bytes(POINTS.tobytes())
    (tmp_path / "x.pcd").write_bytes(ASCII_PCD)
    out = tmp_path / "out.mcap"
    assert main(["scans", str(tmp_path), "--out", str(out), "--topic", "car/7/lidar"]) == 0
    said = capsys.readouterr().out
    assert "3 scans, 5 points" in said
    assert f"a message of {max(len(raw.payload) for raw in read(out))} bytes" in said
    first, second, third = scans_of(out)
    assert [first.stamp_ns, second.stamp_ns, third.stamp_ns] == [STAMP, STAMP + 100_000_000, STAMP + 200_000_000]
    assert [first.seq, second.seq, third.seq] == [0, 1, 2]
    assert first.points.tolist() == POINTS.tolist()
    assert (info(out).topics, info(out).is_truncated, info(out).start_ns) == ({"car/7/lidar": 3}, False, STAMP)
    again = tmp_path / "again.mcap"  # a recording is read as well, and not only of scans
    with RecordingWriter(tmp_path / "mixed.mcap") as writer:
        writer.write(RawMessage("car/7/imu", b"\x81\xa1v\x01", 1))
        for raw in read(out):
            writer.write(raw)
    assert main(["scans", str(tmp_path / "mixed.mcap"), "-o", str(again), "--topic", "a", "--rate-hz", "20"]) == 0
    assert [scan.stamp_ns - STAMP for scan in scans_of(again)] == [0, 50_000_000, 100_000_000]


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, capsys):
    (tmp_path / "a.pcd").write_bytes(b"no header")
    (tmp_path / "b.bin").write_bytes(POINTS.tobytes())
    out = tmp_path / "out.mcap"
    assert main(["scans", str(tmp_path / "b.bin"), str(tmp_path / "a.pcd"), "--out", str(out), "--topic", "a"]) == 4
    error = capsys.readouterr().err
    assert (error.count("\n"), "a.pcd: malformed" in error) == (1, True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.pcd", "b.bin"]  # and nothing half done is left
    out.write_bytes(b"mine")
    assert main(["scans", str(tmp_path / "b.bin"), "--out", str(out), "--topic", "a"]) == 4
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert main(["scans", str(tmp_path / "b.bin"), "--out", str(out), "--topic", "a", "--force"]) == 0
    assert main(["scans", str(tmp_path / "b.bin"), "--out", str(out), "--topic", "a/+", "--force"]) == 2
    assert main(["scans", str(tmp_path / "b.bin"), "--out", str(tmp_path / "no" / "where"), "--topic", "a"]) == 4
    with RecordingWriter(tmp_path / "other.mcap") as writer:
        writer.write(RawMessage("car/7/imu", b"\x81\xa1v\x01", 1))
    assert main(["scans", str(tmp_path / "other.mcap"), "--out", str(tmp_path / "none.mcap"), "--topic", "a"]) == 4
    assert not (tmp_path / "none.mcap").exists()
