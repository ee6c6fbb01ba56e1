"""What the cleaning of a stream is made of, as plain values: the contract between a pipeline file and the kernels."""

from fractions import Fraction
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edge.kernels import clean_layout as k

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Policy = Literal["reject", "hold", "linear", "constant"]
MOST_COLUMNS = 63  # a row's marks are the bits of one int64
NARROWEST, WIDEST = 3, 255  # values in a spike window
_NS_PER_S = 1_000_000_000
_CYCLE_LIMIT = (1 << 63) - 1


class Grid(msgspec.Struct, frozen=True):
    """Where resampled rows are: stamp ``floor(i * cycle_ns / points)`` for every integer i.

    Args:
        cycle_ns, points: the grid has so many points in so many ns.
        max_gap_ns: between rows further apart there is nothing.
        holds: the row before instead of a line between two rows.
    """

    cycle_ns: int
    points: int
    max_gap_ns: int
    holds: bool = False

    @classmethod
    def at(cls, rate_hz: float, max_gap_ns: int, *, holds: bool = False) -> "Grid":
        """The grid of a rate: stamps are ``i * 10^9 // rate_hz``, exactly, for rates of up to three decimals.

        Raises:
            ValueError: the rate has more decimals, or too many digits.
        """
        rate = Fraction(rate_hz).limit_denominator(1000)
        if not rate or float(rate) != rate_hz or rate.numerator * rate.denominator * _NS_PER_S > _CYCLE_LIMIT:
            raise ValueError(
                f"{rate_hz!r} Hz is not a rate with a grid in whole nanoseconds; write at most three decimals, or a/b, b <= 1000"
            )
        return cls(rate.denominator * _NS_PER_S, rate.numerator, max_gap_ns, holds)


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is done to the values of a stream with C channels. Arrays have one number a channel; times are in ns, 0: off.

    Args:
        names: of the channels, in column order.
        low, high: float32, inclusive bounds of calibrated values, infinite where there is none.
        offset, scale, factor, shift: v = (x - offset) * scale * factor + shift; the matrices come before the factor.
        matrices: pairs of three columns and a 3 x 3 matrix that mixes them.
        max_rate: largest change a second, infinite where there is none.
        spike_window: values; 0: no spike filter.
        sigmas: how many standard deviations are a spike.
        floor: least standard deviation.
        watches_spikes, watches_stuck: bool, which channels.
        stuck_ns: a value equal for longer is bad.
        policy: what becomes of a missing value.
        age_ns: hold: oldest value held; linear: furthest neighbour, and longest wait.
        constants: constant: the values, NaN where there is none.
        waiting_rows: linear: most rows of one device that wait.
        gap_ns: a longer step of stamps restarts spike windows and stuck values.
        rate_hz: nominal, 0: not known; periods without a row lower the quality.
        derived: columns whose Euclidean norm is appended.
        grid: where rows are put; None: they stay.
        max_rows: most rows in one output block.
    """

    names: tuple[str, ...]
    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]
    offset: Floats
    scale: Floats
    factor: Floats
    shift: Floats
    max_rate: Floats
    floor: Floats
    constants: Floats
    watches_spikes: npt.NDArray[np.bool_]
    watches_stuck: npt.NDArray[np.bool_]
    matrices: tuple[tuple[tuple[int, ...], Floats], ...] = ()
    spike_window: int = 0
    sigmas: float = 0.0
    stuck_ns: int = 0
    policy: Policy = "reject"
    age_ns: int = 0
    waiting_rows: int = 0
    gap_ns: int = 0
    rate_hz: float = 0.0
    derived: tuple[tuple[int, ...], ...] = ()
    grid: Grid | None = None
    max_rows: int = 1024

    @classmethod
    def plain(cls, channels: int) -> "Steps":
        """Steps that change nothing, to be altered with ``msgspec.structs.replace``."""
        ones, nothing = np.ones(channels), np.zeros(channels)
        return cls(
            names=tuple(f"x{c}" for c in range(channels)),
            low=np.full(channels, -np.inf, np.float32),
            high=np.full(channels, np.inf, np.float32),
            offset=nothing,
            scale=ones,
            factor=ones,
            shift=nothing,
            max_rate=np.full(channels, np.inf),
            floor=nothing,
            constants=np.full(channels, np.nan),
            watches_spikes=np.zeros(channels, np.bool_),
            watches_stuck=np.zeros(channels, np.bool_),
        )

    @property
    def columns(self) -> int:
        """Columns of cleaned rows: channels, derived channels, quality."""
        return len(self.low) + len(self.derived) + 1

    @property
    def lane_bytes(self) -> int:
        """Memory of one device's state."""
        channels = len(self.names)
        return 8 * (k.floats(channels, self.spike_window, self.waiting_rows) + k.ints(channels, self.waiting_rows))

    def __post_init__(self) -> None:
        """Refuse what the kernels cannot hold.

        Raises:
            ValueError: says what.
        """
        channels = len(self.names)
        tables = (self.low, self.high, self.offset, self.scale, self.factor, self.shift, self.max_rate, self.floor, self.constants)
        if any(table.shape != (channels,) for table in (*tables, self.watches_spikes, self.watches_stuck)):
            raise ValueError("every table needs one number a channel")
        if channels < 1 or self.columns > MOST_COLUMNS:
            raise ValueError(f"{self.columns} columns; at most {MOST_COLUMNS} can be marked")
        if self.spike_window and not NARROWEST <= self.spike_window <= WIDEST:
            raise ValueError(f"a spike window has {NARROWEST} to {WIDEST} values, not {self.spike_window}")
        if self.watches_spikes.any() and not self.spike_window:
            raise ValueError("watching for spikes needs a window")
        if (self.policy == "linear") != (self.waiting_rows > 0):
            raise ValueError("rows wait for a linear fill, and for nothing else")
        members = [column for columns in (*(axes for axes, _ in self.matrices), *self.derived) for column in columns]
        if not all(0 <= column < channels for column in members):
            raise ValueError("a matrix or a derived channel names a column that is not there")

    def tables(self) -> tuple[Floats, Ints, Floats, Ints, Ints, Floats, Ints, Ints]:
        """Channel table, flags, matrices, their columns, settings, tuning, first members and members of the derived channels."""
        policy = ("reject", "hold", "linear", "constant").index(self.policy)
        channel_rows = (self.offset, self.scale, self.factor, self.shift, self.max_rate, self.floor, self.constants)
        return (
            np.array(channel_rows, np.float64).reshape(k.CHANNEL_ROWS, len(self.low)),
            np.array((self.watches_spikes, self.watches_stuck), np.int64).reshape(k.FLAG_ROWS, len(self.low)),
            np.array([matrix for _, matrix in self.matrices], np.float64).reshape(-1, 9),
            np.array([axes for axes, _ in self.matrices], np.int64).reshape(-1, 3),
            np.array((policy, self.age_ns, self.spike_window, self.stuck_ns, self.gap_ns, self.waiting_rows), np.int64),
            np.array((self.sigmas, self.rate_hz), np.float64),
            np.cumsum([0, *map(len, self.derived)], dtype=np.int64),
            np.array([column for columns in self.derived for column in columns] or [0], np.int64),
        )
