"""MessagePack maps from senders that nobody vouches for: every size bounded, the cost of a message bounded by its bytes."""

from collections.abc import Collection
from typing import Never

import msgpack

from edge.errors import Reason, Reject

VERSION = 1
STAMP_MAX = (1 << 62) - 1  # ns; 2116 as Unix time. The sum of two stamps or offsets up to here fits int64.

_MAX_KEYS = 32
_MAX_ITEMS = 64
_MAX_TEXT = 64
# Up to here a message is decoded whole: 0.4 us when good, 30 us (511 nested headers) at the worst. Of 68 KB the same trick took
# 6 ms and 4.8 MB, so beyond only known fields are built; the rest is passed over at 1.7 ns a byte, and takes no memory.
_SMALL = 512


class MapReader:
    """Reads maps with text keys.

    Args:
        max_bytes: largest payload.
        known: keys whose values are wanted: numbers, text or bytes.
        known_list: a key whose value is a list of such, or empty.
    """

    def __init__(self, max_bytes: int, known: Collection[str], known_list: str = "") -> None:
        self._max_bytes = max_bytes
        self._known = frozenset(known)
        self._known_list = known_list

    def read(self, payload: bytes) -> dict[object, object]:
        """The fields of a message: all of a small one, the known ones of a large one. Of equal keys the last counts.

        Raises:
            Reject: empty, too large, not MessagePack, or not a map.
        """
        size = len(payload)
        if not 0 < size <= self._max_bytes:
            raise Reject(Reason.TOO_LARGE, f"{size} bytes; at most {self._max_bytes}") if size else Reject(Reason.EMPTY)
        try:
            if size > _SMALL:
                return self._known_fields(payload)
            message = msgpack.unpackb(
                payload,
                ext_hook=_refuse_extension,
                max_bin_len=_SMALL,
                max_str_len=_SMALL,
                max_map_len=_MAX_KEYS,
                max_array_len=_MAX_ITEMS,
                max_ext_len=0,
            )
        except (ValueError, msgpack.UnpackException) as fault:
            raise Reject(Reason.MALFORMED, str(fault)) from None
        if type(message) is not dict:
            raise Reject(Reason.WRONG_TYPE, f"a {type(message).__name__} where a map is due")
        return message

    def _known_fields(self, payload: bytes) -> dict[object, object]:
        size = len(payload)
        unpacker = msgpack.Unpacker(
            read_size=size,
            max_buffer_size=size,
            ext_hook=_refuse_extension,
            max_bin_len=size,
            max_str_len=_MAX_TEXT,
            max_map_len=0,
            max_array_len=0,
            max_ext_len=0,
        )
        unpacker.feed(payload)
        message: dict[object, object] = {}
        for _ in range(_at_most(unpacker.read_map_header(), _MAX_KEYS)):
            key = unpacker.unpack()
            if type(key) is not str:
                raise ValueError(f"a {type(key).__name__} as a key")
            if key in self._known:
                message[key] = unpacker.unpack()
            elif key == self._known_list:
                message[key] = [unpacker.unpack() for _ in range(_at_most(unpacker.read_array_header(), _MAX_ITEMS))]
            else:
                unpacker.skip()
        if unpacker.tell() != size:
            raise ValueError("bytes after the map")
        return message


def check_version(message: dict[object, object]) -> None:
    """Refuse any version but ours.

    Raises:
        Reject: ``v`` is missing or not 1.
    """
    version = message.get("v")
    if version is None:
        raise Reject(Reason.MISSING_FIELD, "v")
    if type(version) is not int:
        raise Reject(Reason.WRONG_VERSION, f"v is a {type(version).__name__}; {VERSION} is known")
    if version != VERSION:
        raise Reject(Reason.WRONG_VERSION, f"v is {version}; {VERSION} is known")


def integer(message: dict[object, object], key: str, default: int, low: int = 0) -> int:
    """An integer field within ``low`` and STAMP_MAX, or its default when it is absent or nil.

    Raises:
        Reject: another type, or out of bounds.
    """
    value = message.get(key)
    if value is None:
        return default
    if type(value) is not int:
        raise Reject(Reason.WRONG_TYPE, f"{key} is a {type(value).__name__}; an integer is due")
    if not low <= value <= STAMP_MAX:
        raise Reject(Reason.WRONG_VALUE, f"{key} is {value}; {low} to {STAMP_MAX} is possible")
    return value


def binary(message: dict[object, object], key: str) -> bytes:
    """A field of bytes.

    Raises:
        Reject: absent, or another type.
    """
    value = message.get(key)
    if value is None:
        raise Reject(Reason.MISSING_FIELD, key)
    if type(value) is not bytes:
        raise Reject(Reason.WRONG_TYPE, f"{key} is a {type(value).__name__}; bytes are due")
    return value


def _at_most(count: int, limit: int) -> int:
    if count > limit:
        raise ValueError(f"{count} entries; at most {limit}")
    return count


def _refuse_extension(code: int, data: bytes) -> Never:
    raise ValueError(f"extension type {code}, {len(data)} bytes")
