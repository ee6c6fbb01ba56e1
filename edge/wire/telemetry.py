"""MessagePack telemetry, version 1: ``{v, seq, t, dt | ts, x}``.

The hot path of the wire: 1.2 us for one sample of eight channels, so fields are checked in line and numbers go straight into the
block's memory.
"""

import msgpack
import numpy as np

from edge.errors import Reason, Reject
from edge.messages import Block

VERSION = 1
# What a message may hold at the most. Checked by the decoder before it spends memory; unknown keys are ignored, so that fields can
# be added, but they stay small as well.
_MAX_KEYS = 32
_MAX_TEXT = 64
_MAX_ITEMS = 64
STAMP_MAX = 1 << 62  # ns; 2116 as Unix time. Sums of stamps and periods below it cannot overflow int64.


def unpack(payload: bytes, max_bytes: int) -> dict[object, object]:
    """Decode a map with every size bounded.

    Raises:
        Reject: empty, larger than ``max_bytes``, not MessagePack, or not a map.
    """
    if len(payload) > max_bytes:
        raise Reject(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {max_bytes}")
    if not payload:
        raise Reject(Reason.EMPTY)
    try:
        message = msgpack.unpackb(
            payload,
            max_bin_len=max_bytes,
            max_str_len=_MAX_TEXT,
            max_map_len=_MAX_KEYS,
            max_array_len=_MAX_ITEMS,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, TypeError, RecursionError, OverflowError, OSError) as fault:
        raise Reject(Reason.MALFORMED, str(fault)) from None
    if type(message) is not dict:
        raise Reject(Reason.WRONG_TYPE, f"a {type(message).__name__} where a map is due")
    return message


def check_version(message: dict[object, object]) -> None:
    """Refuse any version but ours.

    Raises:
        Reject: ``v`` is missing or not 1.
    """
    version = message.get("v")
    if version is None:
        raise Reject(Reason.MISSING_FIELD, "v")
    if version != VERSION or type(version) is not int:
        raise Reject(Reason.WRONG_VERSION, f"v is {version!r}; {VERSION} is known")


def integer(message: dict[object, object], key: str, default: int, low: int = 0) -> int:
    """An integer field within ``low`` and STAMP_MAX, or its default.

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


class TelemetryCodec:
    """Decodes telemetry of one stream.

    Args:
        channels: number of channels C.
        max_rows: most samples in a message.
        max_bytes: largest payload.
    """

    def __init__(self, channels: int, max_rows: int, max_bytes: int) -> None:
        self._row_bytes = 4 * channels
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._steps = np.arange(max_rows, dtype=np.int64)

    def decode(self, payload: bytes, block: Block) -> None:
        """Fill a block: rows, stamps, n and seq. Nothing of ``n`` and ``seq`` changes unless everything is right.

        Args:
            payload: the message body.
            block: ``received_ns`` is read when the message has no ``t``: it is then the stamp of the last row.

        Raises:
            Reject: the message cannot be used.
        """
        message = unpack(payload, self._max_bytes)
        check_version(message)
        rows = message.get("x")
        if type(rows) is not bytes:
            if rows is None:
                raise Reject(Reason.MISSING_FIELD, "x")
            raise Reject(Reason.WRONG_TYPE, f"x is a {type(rows).__name__}; bytes are due")
        n, rest = divmod(len(rows), self._row_bytes)
        if rest or not n:
            raise Reject(Reason.WRONG_SIZE, f"x has {len(rows)} bytes; a multiple of {self._row_bytes} is due")
        if n > self._max_rows:
            raise Reject(Reason.TOO_MANY_ROWS, f"{n} rows; at most {self._max_rows}")
        seq = integer(message, "seq", -1)
        first_ns = integer(message, "t", -1)
        if n == 1:
            integer(message, "dt", 0, 1)
            block.stamps_view[0] = first_ns if first_ns >= 0 else block.received_ns
        else:
            self._stamp(message, block, n, first_ns)
        block.rows_view[: len(rows)] = rows
        block.n = n
        block.seq = seq

    def _stamp(self, message: dict[object, object], block: Block, n: int, first_ns: int) -> None:
        offsets = message.get("ts")
        if offsets is None:
            period_ns = integer(message, "dt", 0, 1)
            if not period_ns:
                raise Reject(Reason.MISSING_FIELD, f"dt or ts, for {n} rows")
            if period_ns > STAMP_MAX // n:
                raise Reject(Reason.WRONG_VALUE, f"dt is {period_ns}")
            np.multiply(self._steps[:n], period_ns, out=block.stamps[:n])
        else:
            if type(offsets) is not bytes:
                raise Reject(Reason.WRONG_TYPE, f"ts is a {type(offsets).__name__}; bytes are due")
            if len(offsets) != 8 * n:
                raise Reject(Reason.WRONG_SIZE, f"ts has {len(offsets)} bytes; {8 * n} are due for {n} rows")
            steps = np.frombuffer(offsets, "<i8")
            if steps[0] < 0 or steps[-1] > STAMP_MAX or not (steps[1:] > steps[:-1]).all():
                raise Reject(Reason.WRONG_VALUE, "ts must rise from row to row, from 0 on")
            block.stamps[:n] = steps
        block.stamps[:n] += first_ns if first_ns >= 0 else block.received_ns - block.stamps_view[n - 1]
