"""The error tree of the runtime, and the reasons a message can be refused for.

    EdgeError
    +-- ConfigError      a pipeline file is wrong: every problem, with its key path
    +-- BundleError      a model bundle is missing, altered, or does not fit
    +-- InferenceFault   one model output cannot be used: counted, never fatal
    +-- TransportError   a broker, socket or recording could not be used
    `-- Reject           one message is refused: counted, never fatal

Errors are caught by kind. Exceptions of libraries become one of these at the boundary where they arise.
"""

import enum
from typing import Literal

import msgspec


class EdgeError(Exception):
    """Base of everything this package raises on purpose."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with a pipeline file.

    Args:
        path: key path such as ``streams.imu.rate_hz``.
        reason: what is wrong and what would be right.
        hint: nearest valid name, or empty.
    """

    path: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" (did you mean {self.hint!r}?)" if self.hint else ""
        return f"{self.path}: {self.reason}{hint}"


class ConfigError(EdgeError):
    """A pipeline file or object is wrong; ``problems`` lists everything found in one go.

    Args:
        problems: at least one.
        file: stands before each in the text, where it is known.
    """

    def __init__(self, problems: list[Problem], file: str = "") -> None:
        self.problems = problems
        super().__init__("\n".join(f"{file}: {problem}" if file not in ("", problem.path) else str(problem) for problem in problems))


class BundleError(EdgeError):
    """A model bundle cannot be admitted; the message names the file and what would be right."""


class TooSlowError(BundleError):
    """Everything about a bundle holds but its speed on this device, now."""


class InferenceFault(EdgeError):
    """A model ran and its output cannot be used. Counted per frame, never fatal.

    Args:
        message: what happened, and in which file.
        kind: ``not_finite`` (NaN or infinity) or ``failed`` (the graph itself).
    """

    def __init__(self, message: str, kind: Literal["failed", "not_finite"] = "failed") -> None:
        super().__init__(message)
        self.kind = kind


class TransportError(EdgeError):
    """Bytes could not be read or written: address, credentials, socket, or recording file."""


class Reason(enum.StrEnum):
    """Why a message or a row was not used. The values are the names under which they are exported."""

    EMPTY = "empty"  # zero bytes
    TOO_LARGE = "too_large"  # more bytes than the stream's max_bytes
    MALFORMED = "malformed"  # not decodable in the stream's format: truncated, random, nested or huge
    WRONG_VERSION = "wrong_version"  # "v" is not 1
    WRONG_TYPE = "wrong_type"  # a field has the wrong type
    MISSING_FIELD = "missing_field"  # a required field or channel is absent
    WRONG_SIZE = "wrong_size"  # bytes do not divide into rows of the declared channels
    TOO_MANY_ROWS = "too_many_rows"  # more rows than the stream's max_rows
    WRONG_VALUE = "wrong_value"  # a field has the right type and an impossible value, such as dt = 0
    NOT_FINITE = "not_finite"  # NaN or infinity
    OUT_OF_RANGE = "out_of_range"  # outside clean.range
    RATE = "rate"  # a change faster than clean.max_rate
    STUCK = "stuck"  # unchanged for longer than clean.stuck allows
    MISSING = "missing"  # a missing value could not be filled the way clean.missing says
    NO_RETURNS = "no_returns"  # a scan whose every point lies at the origin
    ALL_EQUAL = "all_equal"  # a scan whose points all lie at one place
    TOO_FEW_POINTS = "too_few_points"  # a scan with fewer returns than its gate asks for
    CUT_OFF = "cut_off"  # a scan that covers less of the azimuth than its gate asks for
    STAMP_PAST = "stamp_past"  # stamp not after the previous one although seq is
    STAMP_FUTURE = "stamp_future"  # stamp implausibly far ahead
    STALE = "stale"  # older than clean.max_age_ms on arrival (synced clocks)
    RETAINED = "retained"  # a stored copy from the broker, of unknown age
    OVERRUN = "overrun"  # a scan whose budget was gone before it could be looked at
    SUPERSEDED = "superseded"  # a newer scan came before this one was started
    SHUTDOWN = "shutdown"  # came after the pipeline had stopped
    EVICTED = "evicted"  # still held for reordering when its lane was given to another device


class Reject(EdgeError):
    """One message is refused. Raised by codecs and gates, counted by the pipeline, costs microseconds."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
