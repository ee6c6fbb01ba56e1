import json

from firmware_bridge.foreign import Nmea

PLACE = "4717.11399,N,00833.91590,E"


def sentence(text: str) -> bytes:
    check = 0
    for byte in text.encode():
        check ^= byte
    return f"${text}*{check:02X}\r\n".encode()


def gga(clock: str, quality: int = 1) -> bytes:
    return sentence(f"GPGGA,{clock},{PLACE},{quality},08,1.01,499.6,M,48.0,M,,")


def rmc(clock: str, day: str) -> bytes:
    return sentence(f"GPRMC,{clock},A,{PLACE},0.004,77.52,{day},,,A")


def seconds(*sentences: bytes) -> list[float]:
    """After the first stamp."""
    stamps = [json.loads(payload)["t"] for _, payload in Nmea().feed(b"".join(sentences))]
    return [(stamp - stamps[0]) / 1e9 for stamp in stamps]


def test_a_fix_after_midnight_and_before_the_new_date_is_of_the_new_day():
    assert seconds(
        rmc("235959.00", "311202"), gga("235959.00"), gga("000000.00"), gga("000000.50"), rmc("000001.00", "010103"), gga("000001.00")
    ) == [0, 0, 1, 1.5, 2, 2]


def test_a_fix_before_midnight_and_after_the_new_date_is_of_the_old_day():
    assert seconds(rmc("000000.00", "010103"), gga("235959.00"), gga("000000.00")) == [0, -1, 0]


def test_days_pass_without_a_date_and_without_a_fix():
    hours = [f"{hour:02d}0000.00" for hour in (1, 7, 13, 19)] * 3
    told = [rmc("000000.00", "311202"), *(gga(clock, quality=k % 2) for k, clock in enumerate(hours))]
    assert seconds(*told) == [0, *(3600.0 * (24 * day + hour) for day in range(3) for hour in (7, 19))]
