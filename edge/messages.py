"""The values that travel along the line of a frame, from bytes in to bytes out.

Owns their shape and nothing else: no I/O, no clock, no policy. All times are int nanoseconds of CLOCK_MONOTONIC unless a
name says otherwise; ``stamp_ns`` is the sender's own clock.
"""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

Severity = Literal["info", "warning", "critical"]


class RawMessage(msgspec.Struct, frozen=True, gc=False):
    """Bytes as they came from a transport.

    Args:
        topic: address on the transport (MQTT topic).
        payload: the message body, at most the transport's size limit.
        received_ns: CLOCK_MONOTONIC when the bytes were read.
        is_retained: the broker sent a stored copy, so the age is unknown.
    """

    topic: str
    payload: bytes
    received_ns: int
    is_retained: bool = False


class Block:
    """n >= 1 samples of C channels of one stream and device, in buffers that are reused from message to message, never replaced.

    Args:
        channels: number of channels C.
        max_rows: capacity in rows.

    Attributes:
        rows: float32 (max_rows, C), C-contiguous; the first ``n`` rows are valid.
        stamps: int64 (max_rows,), ns on the sender's clock; the first ``n`` are valid.
        marks: int64 (max_rows,): bit c says that the value of channel c was filled in by cleaning, not measured.
        n: number of valid rows.
        seq: the sender's counter of this message, or -1 when it sends none.
        received_ns: CLOCK_MONOTONIC when the bytes were read.
        addresses: of rows, stamps and marks, for kernels.
        rows_view, stamps_view: the same memory as bytes and as int64, for codecs (a slice assignment costs 75 ns
            where ``numpy.frombuffer`` costs 430 ns).
    """

    __slots__ = ("addresses", "marks", "n", "received_ns", "rows", "rows_view", "seq", "stamps", "stamps_view")

    def __init__(self, channels: int, max_rows: int) -> None:
        self.rows: npt.NDArray[np.float32] = np.zeros((max_rows, channels), np.float32)
        self.stamps: npt.NDArray[np.int64] = np.zeros(max_rows, np.int64)
        self.marks: npt.NDArray[np.int64] = np.zeros(max_rows, np.int64)
        self.addresses = (self.rows.ctypes.data, self.stamps.ctypes.data, self.marks.ctypes.data)
        self.rows_view = self.rows.data.cast("B")
        self.stamps_view = self.stamps.data
        self.n = 0
        self.seq = -1
        self.received_ns = 0

    def copy(self) -> "Block":
        """An independent block that holds just the valid rows; used for frames that wait for an earlier one."""
        other = Block(self.rows.shape[1], max(self.n, 1))
        other.rows[: self.n] = self.rows[: self.n]
        other.stamps[: self.n] = self.stamps[: self.n]
        other.marks[: self.n] = self.marks[: self.n]
        other.n, other.seq, other.received_ns = self.n, self.seq, self.received_ns
        return other


class Scan(msgspec.Struct, gc=False):
    """One LIDAR turn.

    Args:
        points: float32 (n, k), metres in the sensor frame; column names in ``fields``.
        fields: names of the k columns, such as ``("x", "y", "z", "intensity")``.
        seq: the sender's counter, or -1.
        stamp_ns: the sender's time of the turn.
        received_ns: CLOCK_MONOTONIC when the bytes were read.
    """

    points: npt.NDArray[np.float32]
    fields: tuple[str, ...]
    seq: int
    stamp_ns: int
    received_ns: int


class Origin(msgspec.Struct, frozen=True, gc=False):
    """What computed scores: the model, its version and variant, and the deployment under which it was at work."""

    model: str = ""
    version: str = ""
    variant: str = ""
    deployment: str = ""


class Cause(msgspec.Struct, frozen=True, gc=False):
    """Why an alert or command exists: the rule, the score that fired it, and what computed the score (see Origin)."""

    rule: str
    score: float
    model: str = ""
    version: str = ""
    variant: str = ""
    deployment: str = ""


class Prediction(msgspec.Struct, gc=False):
    """Scores for one feature vector of one device.

    Args:
        device: lane name.
        seq: counter of the frame that completed the vector, or -1.
        stamp_ns: stamp of the row that completed the vector (sender's clock).
        received_ns: when that frame's bytes were read.
        scores: score name to value, in the model's label order; a pipeline without a model has none.
        features: float32 (F,) in manifest order when they are asked for, otherwise None.
        model, version, variant, deployment: what computed the scores, see Origin.
    """

    device: str
    seq: int
    stamp_ns: int
    received_ns: int
    scores: dict[str, float]
    features: npt.NDArray[np.float32] | None = None
    model: str = ""
    version: str = ""
    variant: str = ""
    deployment: str = ""


class Intent(msgspec.Struct, frozen=True, gc=False):
    """What policy asks an actuator to do. Only the envelope can turn it into a Command."""

    actuator: str
    value: float
    cause: Cause


class Alert(msgspec.Struct, frozen=True, gc=False):
    """Something a person or another system must know. Delivered at least once; ``id`` is stable across repeats.

    ``detail`` is the reason in words, where a rule and a score do not say it.
    """

    id: str
    device: str
    boot_id: str
    seq: int
    issued_ns: int
    name: str
    state: Literal["raised", "cleared"]
    severity: Severity
    value: float
    cause: Cause
    stamp_ns: int
    topic: str
    detail: str = ""


class Command(msgspec.Struct, frozen=True, gc=False):
    """What the envelope let out for an actuator. Never stored, never retained, never sent after ``expires_ns``."""

    id: str
    device: str
    boot_id: str
    seq: int
    issued_ns: int
    expires_ns: int
    name: str
    value: float
    unit: str
    cause: Cause
    topic: str


class Blocked(msgspec.Struct, frozen=True, gc=False):
    """An intent that the envelope refused, and why."""

    actuator: str
    reason: str


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One encoded message on its way to a sink.

    Args:
        kind: what it is; decides QoS, whether the broker keeps it (reports), and what happens when the link is down.
        topic, payload: address and bytes.
        message: the value that was encoded, for callers in the same process.
        not_after_ns: CLOCK_MONOTONIC after which it must not be handed over (commands), or 0.
        ttl_ns: life for the broker's message expiry (commands), or 0.
    """

    kind: Literal["prediction", "alert", "command", "status", "report"]
    topic: str
    payload: bytes
    message: Prediction | Alert | Command | None = None
    not_after_ns: int = 0
    ttl_ns: int = 0
