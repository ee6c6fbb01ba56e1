import gzip
import json
from pathlib import Path

import pytest

from firmware_bridge.foreign import Mavlink, Nmea

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs recordings of receivers in {DATA.name}/ beside the checkout")


@needs_data
@pytest.mark.parametrize("name", ["ublox-8", "mt3339", "quectel", "nmea-rtk", "skytraq-fix"])
def test_fixes_are_those_that_gpsd_sees(name: str):
    folder = DATA / "gnss-serial"
    raw = (folder / f"{name}.log").read_bytes()
    truth = [
        json.loads(line)
        for line in gzip.decompress((folder / f"{name}.log.chk.gz").read_bytes()).decode().splitlines()
        if line.startswith('{"class":"TPV"')
    ]
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
def test_one_bad_checksum_and_a_depth():
    reader = Nmea()
    list(reader.feed((DATA / "gnss-serial" / "garmin-geko201.log").read_bytes()))
    assert reader.counts()["damaged"] == 1
    sounder = Nmea()
    found = list(sounder.feed((DATA / "gnss-serial" / "sounder.log").read_bytes()))
    assert {stream for stream, _ in found} >= {"depth"}


@needs_data
def test_a_flight_with_bytes_lost_is_followed():
    from pymavlink.dialects.v20 import ardupilotmega as dialect

    raw = gzip.decompress((DATA / "mavlink" / "flight.tlog.gz").read_bytes())
    line, at = bytearray(), 0
    while at + 10 <= len(raw) and len(line) < 400_000:  # each record: 8 bytes of time, then a frame as it came
        if raw[at + 8] != 0xFE:
            at += 1
            continue
        size = raw[at + 9] + 8
        line += raw[at + 8 : at + 8 + size]
        at += 8 + size
    parser = dialect.MAVLink(None)
    parser.robust_parsing = True
    kinds = [message.get_type() for message in parser.parse_buffer(bytes(line))]
    reader = Mavlink()
    found = [stream for start in range(0, len(line), 509) for stream, _ in reader.feed(bytes(line[start : start + 509]))]
    counts = reader.counts()
    assert found == [kind.lower() for kind in kinds if kind != "BAD_DATA" and not kind.startswith("UNKNOWN")]
    assert counts["used"] == len(found) > 5000
    assert counts["received"] == counts["used"] + counts["damaged"] + counts["other"]
    cut = Mavlink()
    damaged = bytearray(line[:50_000])
    damaged[1000], damaged[20_000] = damaged[1000] ^ 0x55, damaged[20_000] ^ 0x55
    assert sum(1 for _ in cut.feed(bytes(damaged))) >= sum(1 for _ in Mavlink().feed(bytes(line[:50_000]))) - 4
