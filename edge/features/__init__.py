"""Frames to one float32 vector in manifest order. Owns windows, the plan and the names of features; never guesses a missing value."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from edge.features.offline import Vectors
    from edge.features.rows import Columns

__all__ = ["compute"]


class _Computes(Protocol):
    def compute(self, data: Any, *, stream: str | None, device: str | None, columns: "Columns", rate_hz: float | None) -> "Vectors": ...


def compute(
    pipeline: _Computes,
    data: Any,
    *,
    stream: str | None = None,
    device: str | None = None,
    columns: Mapping[str, str] | None = None,
    stamps: str = "t",
    stamp_unit: Literal["ns", "us", "ms", "s"] = "ns",
    rate_hz: float | None = None,
) -> "Vectors":
    """Feature vectors of stored data, bit for bit those that the pipeline would make live; cleaning included.

    Every row counts as a message of its own; where the table has a column ``seq``, rows that share its value are one message. A column
    ``device`` says whose rows they are. What cleaning refuses is
    counted, not an error: see ``counts`` of the result. The pipeline's own state is neither used nor changed.

    Args:
        pipeline: from ``edge.load`` or ``edge.load_features``.
        data: one of the following, or a dict of stream name to one of them (then merged by stamp, for each device):
            (stamps int64 (n,) in ns, rows (n, C) in the stream's channel order);
            rows (n, C) alone, stamped by the rate;
            a pandas, polars or Arrow table with a column for each channel and one of stamps.
        stream: which stream the data are of; needed when the pipeline has several and ``data`` is no dict.
        device: whose data, instead of the device column; default without one: the pipeline's name.
        columns: where the names differ: channel, or ``seq`` or ``device``, to the name of its column.
        stamps: column of stamps: integers, dates with a time, or, with another unit than ns, numbers.
        stamp_unit: of stamps that are numbers.
        rate_hz: of rows without stamps; default: the stream's.

    Returns:
        stamps int64 (m,), values float32 (m, F), names, units, device (m,), hash, counts; ``to_arrow()``.

    Raises:
        ValueError: an unknown stream, a missing column (with the nearest name), a wrong type or shape, a stamp that is none.
        EdgeError: a table needs pyarrow, which is not installed.
    """
    from edge.features.rows import STAMP_NS, Columns

    if stamp_unit not in STAMP_NS:
        raise ValueError(f"stamp_unit {stamp_unit!r} is none of {', '.join(STAMP_NS)}")
    return pipeline.compute(data, stream=stream, device=device, columns=Columns(columns or {}, stamps, stamp_unit), rate_hz=rate_hz)
