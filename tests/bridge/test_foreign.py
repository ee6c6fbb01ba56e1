import gzip
import json
from pathlib import Path

import pytest

from firmware_bridge.foreign import Mavlink, Nmea

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs recordings of receivers in {DATA.name}/ beside the checkout")


def recording(name: str) -> tuple[bytes, list[dict]]:
    """Bytes of a receiver, and what gpsd makes of them."""
    told = gzip.decompress((DATA / "gnss-serial" / f"{name}.log.chk.gz").read_bytes()).decode(errors="replace").splitlines()
    truth = [json.loads(line) for line in told if line.startswith('{"class":"TPV"')]
    return (DATA / "gnss-serial" / f"{name}.log").read_bytes(), truth


@needs_data
@pytest.mark.parametrize("name", ["ublox-8", "neo-m8n", "mt3339", "quectel", "nmea-rtk", "skytraq-fix", "hemi"])
def test_fixes_are_those_that_gpsd_sees(name: str):
    raw, truth = recording(name)
    places = [(fix["lat"], fix["lon"]) for fix in truth if "lat" in fix]
    reader = Nmea()
    found = [json.loads(payload) for at in range(0, len(raw), 61) for _, payload in reader.feed(raw[at : at + 61])]
    ours = [(entry["lat"], entry["lon"]) for entry in found if entry.get("lat") is not None]
    assert ours
    for lat, lon in ours:
        assert any(abs(lat - a) < 2e-5 and abs(lon - b) < 2e-5 for a, b in places), (lat, lon)
    counts = reader.counts()
    assert counts["received"] == sum(value for key, value in counts.items() if key != "received")


@needs_data
def test_a_position_without_a_satellite_is_no_fix():
    """Hemisphere: 15 GGA of quality 1 that are extrapolated from none; gpsd takes the 6 after them."""
    raw, truth = recording("hemi")
    reader = Nmea()
    found = [json.loads(payload) for stream, payload in reader.feed(raw) if stream == "fix"]
    assert [(fix["lat"], fix["lon"]) for fix in truth if "lat" in fix] == [
        (pytest.approx(entry["lat"]), pytest.approx(entry["lon"])) for entry in found
    ]
    assert reader.counts()["used"] == len(found) == 6


@needs_data
def test_a_demo_is_no_fix_and_one_checksum_is_bad():
    """Garmin Geko 201 in demo mode: gpsd marks the few positions that it passes on as simulated, too."""
    raw, truth = recording("garmin-geko201")
    assert {fix["status"] for fix in truth if "lat" in fix} == {8}
    reader = Nmea()
    assert list(reader.feed(raw)) == []
    counts = reader.counts()
    assert counts["damaged"] == 1
    assert counts["simulated"] == raw.count(b"$GPGGA") + raw.count(b"$GPRMC") == 36


@needs_data
def test_a_sounder_tells_depths():
    sounder = Nmea()
    found = list(sounder.feed((DATA / "gnss-serial" / "sounder.log").read_bytes()))
    assert {stream for stream, _ in found} >= {"depth"}


@needs_data
def test_a_whole_flight_with_bytes_lost_is_followed(tmp_path: Path):
    """76,791 messages, 1,314 of them damaged, as pymavlink's own reader of logs counts them."""
    from pymavlink import mavutil

    file = tmp_path / "flight.tlog"
    file.write_bytes(gzip.decompress((DATA / "mavlink" / "flight.tlog.gz").read_bytes()))
    log = mavutil.mavlink_connection(str(file))
    line, take = bytearray(), log.recv

    def recv(n=None):  # what the log's reader gives to its parser is what came from the line: the log without its time stamps
        data = take(n)
        line.extend(data)
        return data

    log.recv = recv
    kinds = [message.get_type() for message in iter(log.recv_msg, None)]
    log.close()
    assert (len(kinds), kinds.count("BAD_DATA")) == (76_791, 1_314)
    reader = Mavlink()
    found = [stream for at in range(0, len(line), 509) for stream, _ in reader.feed(bytes(line[at : at + 509]))]
    assert found == [kind.lower() for kind in kinds if kind != "BAD_DATA"]
    assert reader.counts() == {"received": 76_791, "used": 75_477, "damaged": 1_314, "other": 0}
    damaged = bytearray(line[:50_000])
    damaged[1000], damaged[20_000] = damaged[1000] ^ 0x55, damaged[20_000] ^ 0x55
    assert sum(1 for _ in Mavlink().feed(bytes(damaged))) >= sum(1 for _ in Mavlink().feed(bytes(line[:50_000]))) - 4
