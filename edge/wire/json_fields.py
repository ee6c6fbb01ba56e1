"""JSON telemetry as devices send it: numbers picked by dotted paths, so that a device's own JSON needs no change."""

from collections.abc import Mapping
from math import isfinite

import msgspec
import numpy as np

from edge.errors import Reason, Reject
from edge.messages import Block
from edge.wire.telemetry import STAMP_MAX

_FLOAT32_MAX = float(np.finfo(np.float32).max)


class JsonCodec:
    """Decodes JSON objects of one stream.

    A channel is a number, or a list of n numbers for n samples; ``t`` is then the stamp of the first, and ``dt`` the period.

    Args:
        channels: channel names in column order.
        fields: channel, ``seq``, ``t`` or ``dt`` to its dotted path; default: the same name at the top.
        stamp_unit_ns: nanoseconds in one unit of ``t`` and ``dt``.
        max_rows: most samples in a message.
        max_bytes: largest payload.
    """

    def __init__(self, channels: tuple[str, ...], fields: Mapping[str, str], stamp_unit_ns: int, max_rows: int, max_bytes: int) -> None:
        self._paths = [tuple(fields.get(channel, channel).split(".")) for channel in channels]
        self._seq, self._t, self._dt = (tuple(fields.get(name, name).split(".")) for name in ("seq", "t", "dt"))
        self._unit_ns = stamp_unit_ns
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._decoder = msgspec.json.Decoder()
        self._steps = np.arange(max_rows, dtype=np.int64)

    def decode(self, payload: bytes, block: Block) -> None:
        """Fill a block; see TelemetryCodec.decode.

        Raises:
            Reject: the message cannot be used.
        """
        message = self._unpack(payload)
        columns = [_numbers(_at(message, path), path) for path in self._paths]
        n = len(columns[0])
        if any(len(column) != n for column in columns):
            raise Reject(Reason.WRONG_SIZE, f"channels have {sorted({len(column) for column in columns})} samples; equally many are due")
        if not n:
            raise Reject(Reason.WRONG_SIZE, "no samples")
        if n > self._max_rows:
            raise Reject(Reason.TOO_MANY_ROWS, f"{n} samples; at most {self._max_rows}")
        seq = self._counter(_at(message, self._seq))
        first_ns = self._nanoseconds(_at(message, self._t), "t", 0)
        period_ns = self._nanoseconds(_at(message, self._dt), "dt", 1)
        if n > 1 and period_ns is None:
            raise Reject(Reason.MISSING_FIELD, f"dt, for {n} samples")
        if period_ns is not None and period_ns > STAMP_MAX // n:
            raise Reject(Reason.WRONG_VALUE, f"dt is {period_ns} ns for {n} samples")
        if n == 1:
            block.rows[0] = [column[0] for column in columns]
            block.stamps_view[0] = block.received_ns if first_ns is None else first_ns
        else:
            block.rows[:n] = np.array(columns, np.float64).T
            stamps = block.stamps[:n]
            np.multiply(self._steps[:n], period_ns or 0, out=stamps)
            stamps += block.received_ns - stamps[-1] if first_ns is None else first_ns
        block.n = n
        block.seq = seq

    def _unpack(self, payload: bytes) -> dict[str, object]:
        if len(payload) > self._max_bytes:
            raise Reject(Reason.TOO_LARGE, f"{len(payload)} bytes; at most {self._max_bytes}")
        if not payload:
            raise Reject(Reason.EMPTY)
        try:
            message = self._decoder.decode(payload)
        except (msgspec.DecodeError, RecursionError, ValueError) as fault:
            raise Reject(Reason.MALFORMED, str(fault)) from None
        if type(message) is not dict:
            raise Reject(Reason.WRONG_TYPE, f"a {type(message).__name__} where an object is due")
        return message

    def _counter(self, value: object) -> int:
        if value is None:
            return -1
        if type(value) is not int:
            raise Reject(Reason.WRONG_TYPE, f"{'.'.join(self._seq)} is a {type(value).__name__}; an integer is due")
        if not 0 <= value <= STAMP_MAX:
            raise Reject(Reason.WRONG_VALUE, f"{'.'.join(self._seq)} is {value}")
        return value

    def _nanoseconds(self, value: object, name: str, low: int) -> int | None:
        if value is None:
            return None
        if type(value) is int:
            ns = value * self._unit_ns
        elif type(value) is float:
            if not isfinite(value):
                raise Reject(Reason.WRONG_VALUE, f"{name} is not finite")
            ns = round(value * self._unit_ns)
        else:
            raise Reject(Reason.WRONG_TYPE, f"{name} is a {type(value).__name__}; a number is due")
        if not low <= ns <= STAMP_MAX:
            raise Reject(Reason.WRONG_VALUE, f"{name} is {value}")
        return ns


def _at(message: object, path: tuple[str, ...]) -> object:
    for name in path:
        if type(message) is not dict:
            return None
        message = message.get(name)
    return message


def _numbers(value: object, path: tuple[str, ...]) -> list[float]:
    if value is None:
        raise Reject(Reason.MISSING_FIELD, ".".join(path))
    values = value if type(value) is list else [value]
    return [_float32(number, path) for number in values]


def _float32(number: object, path: tuple[str, ...]) -> float:
    """A number that converts to float32 without a warning; beyond its range it is infinite, which the gate refuses."""
    if type(number) is int or type(number) is float:
        if -_FLOAT32_MAX <= number <= _FLOAT32_MAX:
            return number
        return float("inf") if number > 0 else float("-inf")
    raise Reject(Reason.WRONG_TYPE, f"{'.'.join(path)} is a {type(number).__name__}; a number is due")
