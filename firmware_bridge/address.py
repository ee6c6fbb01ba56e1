"""Addresses of serial lines: ``serial:///dev/ttyUSB0?baud=921600&flow=rtscts``. Owns what can be said about a line."""

from typing import Literal, get_args
from urllib.parse import parse_qsl, urlsplit

import msgspec

from firmware_bridge.errors import LinkError

Protocol = Literal["edge", "nmea", "mavlink"]
Flow = Literal["none", "rtscts", "xonxoff"]
_KEYS = ("baud", "flow", "parity", "stop", "protocol")


class Address(msgspec.Struct, frozen=True):
    """A serial line.

    Args:
        path: of the device.
        baud: bits a second.
        flow: who may stop whom.
        parity: N, E or O.
        stop: bits.
        protocol: what the other side speaks.
    """

    path: str
    baud: int = 115_200
    flow: Flow = "none"
    parity: Literal["N", "E", "O"] = "N"
    stop: Literal[1, 2] = 1
    protocol: Protocol = "edge"


def parse(url: str) -> Address:
    """Address of a text; a bare path is one, too.

    Raises:
        LinkError: it is none.
    """
    parts = urlsplit(url if "://" in url else f"serial://{url}")
    example = "write serial:///dev/ttyUSB0?baud=921600"
    if parts.scheme != "serial" or parts.netloc or not parts.path.startswith("/"):
        raise LinkError(f"{url!r} is no serial line; {example}")
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key in said:
        if key not in _KEYS:
            raise LinkError(f"{url!r}: unknown option {key!r}; known are {', '.join(_KEYS)}")
    baud, stop = said.get("baud", "115200"), said.get("stop", "1")
    if not (baud.isascii() and baud.isdigit() and 50 <= int(baud) <= 20_000_000):
        raise LinkError(f"{url!r}: baud must be a number from 50 to 20000000, not {baud!r}")
    if stop not in ("1", "2"):
        raise LinkError(f"{url!r}: stop must be 1 or 2, not {stop!r}")
    chosen = {
        "flow": _one_of(url, said, "flow", get_args(Flow)),
        "parity": _one_of(url, {"parity": said.get("parity", "N").upper()}, "parity", ("N", "E", "O")),
        "protocol": _one_of(url, said, "protocol", get_args(Protocol)),
    }
    return msgspec.convert({"path": parts.path, "baud": int(baud), "stop": int(stop), **chosen}, Address)


def _one_of(url: str, said: dict[str, str], key: str, known: tuple[str, ...]) -> str:
    value = said.get(key, known[0])
    if value not in known:
        raise LinkError(f"{url!r}: {key} must be {' or '.join(known)}, not {value!r}")
    return value
