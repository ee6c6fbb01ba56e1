"""The windows of all lanes: memory laid out by a plan, moved by one kernel call a message."""

from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from edge.features.layout import scratch_of
from edge.features.plan import FeaturePlan
from edge.kernels import layout as k
from edge.kernels.window import reset_stream, update_windows
from edge.messages import Block

_LATEST = 33  # stamps that tell how fast a sender is
_STATE_VERSION = b"edge-windows-1\n"


class RollingFeatures:
    """Rolling features of every stream and lane.

    Args:
        plan: what to compute.
        lanes: devices whose state is kept.

    Attributes:
        vectors: float32 (max_rows, F): after ``update``, the emitted vectors.
        vector_rows: int64 (max_rows,): the row of the block that completed each of them.
    """

    def __init__(self, plan: FeaturePlan, lanes: int) -> None:
        self.plan = plan
        layout = plan.layout
        f32, f64, i64 = layout.state_sizes
        features, groups, chunk = len(plan.names), len(plan.groups), layout.chunk
        self._f32 = np.zeros((lanes, f32), np.float32)
        self._f64 = np.zeros((lanes, f64), np.float64)
        self._i64 = np.zeros((lanes, i64), np.int64)
        trigger_rows = plan.streams[plan.stream_index[plan.trigger]].max_rows if plan.trigger else 1
        self._shapes = [(stream.max_rows, len(stream.channels)) for stream in plan.streams]
        self.vectors: npt.NDArray[np.float32] = np.zeros((trigger_rows + layout.chunk, features), np.float32)
        self.vector_rows: npt.NDArray[np.int64] = np.zeros(trigger_rows, np.int64)
        self.vector_rows_view = self.vector_rows.data
        numbers = [np.zeros(n, np.int64) for n in (chunk, chunk, max(groups, 1) * chunk, max(groups, 1))]
        self._scratch: list[npt.NDArray[Any]] = [
            np.zeros((chunk, features), np.float32),
            *numbers,
            np.zeros(8 * k.CHUNK),
            np.zeros(10 * k.CHUNK),
            *scratch_of(layout),
        ]
        self._desk = self._make_desk(trigger_rows)
        self._evicted = np.zeros((len(plan.streams), 2), np.int64)
        self._evicted_lane = np.zeros(2, np.int64)
        for lane in range(lanes):
            self._i64[lane, k.L_TABLES] = len(plan.tables)
            for stream in range(len(plan.streams)):
                reset_stream(self._desk, stream, lane)

    def _make_desk(self, trigger_rows: int) -> npt.NDArray[np.int64]:
        """Addresses of everything that the kernel works on; all of it lives as long as this object and is never made anew."""
        layout = self.plan.layout
        values, heads, mids, due, dues, parts, work, samples, view, times, twiddles = self._scratch
        desk = np.zeros(k.DESK_SIZE, np.int64)
        tables: tuple[npt.NDArray[Any], ...] = (layout.streams, layout.groups, layout.jobs, layout.entries, layout.numbers, layout.lists)
        for place, table in zip(range(k.D_STREAMS, k.D_F32, 2), tables, strict=True):
            desk[place : place + 2] = table.ctypes.data, len(table)
        states: tuple[npt.NDArray[Any], ...] = (self._f32, self._f64, self._i64)
        for place, state in zip(range(k.D_F32, k.D_VALUES, 2), states, strict=True):
            desk[place : place + 2] = state.ctypes.data, state.shape[1]
        places = (k.D_VALUES, k.D_HEADS, k.D_MIDS, k.D_DUE, k.D_DUES, k.D_PARTS, k.D_WORK)
        for place, array in zip(places, (values, heads, mids, due, dues, parts, work), strict=True):
            desk[place] = array.ctypes.data
        desk[k.D_CHUNK] = layout.chunk
        desk[[k.D_SCRATCH, k.D_SCRATCH_SIZE, k.D_X, k.D_T]] = samples.ctypes.data, len(samples), view.ctypes.data, times.ctypes.data
        desk[[k.D_TWIDDLES, k.D_N_TWIDDLES]] = twiddles.ctypes.data, len(twiddles)
        desk[[k.D_VECTORS, k.D_VECTOR_ROWS]] = self.vectors.ctypes.data, self.vector_rows.ctypes.data
        desk[[k.D_MAX_VECTORS, k.D_FEATURES]] = trigger_rows, len(self.plan.names)
        desk[[k.D_AGES, k.D_N_AGES]] = layout.ages
        return desk

    @property
    def nbytes(self) -> int:
        """Memory of all lanes."""
        return self._f32.nbytes + self._f64.nbytes + self._i64.nbytes

    def update(self, stream: int, lane: int, block: Block, start: int = 0, stop: int | None = None) -> int:
        """Push rows of a block and return how many vectors they completed.

        Args:
            stream: row in the plan's stream table.
            lane: whose windows.
            block: finite rows with strictly rising stamps, later than any before.
            start, stop: which rows; default: all valid ones.

        Raises:
            ValueError: more rows than the stream's ``max_rows``, another number of channels, or a lane or stream that does not exist.
        """
        if stop is None:
            stop = block.n
        # The kernel works by address: what is beyond its arrays must be caught here.
        if not (0 <= stream < len(self._shapes) and 0 <= lane < len(self._i64) and 0 <= start <= stop <= len(block.stamps)):
            raise ValueError(f"rows {start} to {stop} of stream {stream}, lane {lane}; there are {len(self._i64)} lanes")
        most, channels = self._shapes[stream]
        if stop - start > most or block.rows.shape[1] != channels:
            shape = (stop - start, block.rows.shape[1])
            raise ValueError(f"{self.plan.streams[stream].name}: rows of shape {shape}; at most ({most}, {channels}) are possible")
        rows_at, stamps_at, marks_at = block.addresses
        emitted: int = update_windows(self._desk, stream, lane, rows_at, stamps_at, marks_at, start, stop)
        return emitted

    def set_columns(self, lane: int, table: str, values: npt.NDArray[np.float32] | None) -> None:
        """Give a lane its row of a table; without one, the lane completes no vectors.

        Args:
            lane: whose.
            table: name of one of ``plan.tables``.
            values: float32, the table's columns in the order of the vector; None: the table has no row for this device.
        """
        bit = 1 << list(self.plan.tables).index(table)
        if values is None:
            self._i64[lane, k.L_TABLES] |= bit
        else:
            self._i64[lane, k.L_TABLES] &= ~bit
            at = 0
            for first, last in self.plan.tables[table]:
                self._f32[lane, first:last] = values[at : at + last - first]
                at += last - first

    def reset(self, lane: int) -> None:
        """Forget everything about a lane; its gap and overflow counts stay in the totals."""
        for stream in range(len(self.plan.streams)):
            self._evicted[stream] += self._counters(stream, slice(lane, lane + 1))
        self._evicted_lane += self._i64[lane, k.L_UNJOINED : k.L_UNALIGNED + 1]
        self._i64[lane] = 0
        self._i64[lane, k.L_TABLES] = (1 << len(self.plan.tables)) - 1
        for stream in range(len(self.plan.streams)):
            reset_stream(self._desk, stream, lane)

    def save(self, lane: int) -> bytes:
        """The state of a lane: a version, the layout's digest, three arrays."""
        rows: tuple[npt.NDArray[Any], ...] = (self._f32[lane], self._f64[lane], self._i64[lane])
        state = b"".join(row.tobytes() for row in rows)
        return _STATE_VERSION + self.plan.layout.digest + crc32(state).to_bytes(4, "little") + state

    def restore(self, lane: int, state: bytes) -> None:
        """Put back what ``save`` gave, into any lane; what follows has the same bits as if nothing had happened.

        Raises:
            ValueError: another version, another plan, or damaged.
        """
        header = _STATE_VERSION + self.plan.layout.digest
        if not state.startswith(header):
            raise ValueError("this state belongs to another plan or version of the windows")
        at = len(header) + 4
        if len(state) != at + self.plan.lane_bytes:
            raise ValueError(f"this state has {len(state)} bytes; expected {at + self.plan.lane_bytes}")
        if crc32(state[at:]) != int.from_bytes(state[at - 4 : at], "little"):  # the kernel relies on what it wrote
            raise ValueError("this state is damaged")
        rows: tuple[npt.NDArray[Any], ...] = (self._f32[lane], self._f64[lane], self._i64[lane])
        for row in rows:
            row[:] = np.frombuffer(state, row.dtype, len(row), at)
            at += row.nbytes

    def waiting(self, used: int) -> dict[str, int]:
        """Of the lanes in use, how many lack which window before they can have a vector; each named by the window's first feature.

        Args:
            used: number of lanes in use, which are the first ones.
        """
        groups = self.plan.layout.groups
        cold = (self._i64[:used, groups[:, k.G_STATE] + k.H_WARM] == 0).sum(axis=0)
        return {self.plan.names[groups[g, k.G_FEATURES]]: int(cold[g]) for g in np.flatnonzero(cold)}

    def step_ns(self, stream: int, used: int) -> int:
        """The usual step between the latest stamps of a stream, of the device whose stamps are the latest; 0 while it is not known."""
        ring, capacity, state = (int(self.plan.layout.streams[stream, column]) for column in (k.S_STAMPS, k.S_CAPACITY, k.S_STATE))
        tails = self._i64[:used, state + k.T_TAIL]
        if not used or tails.max() < 2:
            return 0
        lane = int(np.where(tails > 1, self._i64[:used, state + k.T_LAST_STAMP], -1).argmax())
        tail = int(tails[lane])
        places = ring + (np.arange(max(tail - _LATEST, tail - capacity, 0), tail) & (capacity - 1))
        steps = np.sort(np.diff(self._i64[lane, places]))
        return int(steps[len(steps) // 2])

    def tallies(self, stream: int, used: int) -> tuple[int, int]:
        """Gaps and overflows of a stream at once; see ``gaps`` and ``overflows``."""
        gaps, overflows = (self._evicted[stream] + self._counters(stream, slice(used))).tolist()
        return gaps, overflows

    def gaps(self, stream: int) -> int:
        """Gaps seen in a stream, over all lanes."""
        return int(self._evicted[stream, 0] + self._counters(stream, slice(None))[0])

    def overflows(self, stream: int) -> int:
        """Rows that left a time window early because the sender is more than 1.5 times as fast as ``rate_hz`` says."""
        return int(self._evicted[stream, 1] + self._counters(stream, slice(None))[1])

    @property
    def unjoined(self) -> int:
        """Vectors that were not made because a table had no row for the device."""
        return int(self._evicted_lane[0] + self._i64[:, k.L_UNJOINED].sum())

    @property
    def unaligned(self) -> int:
        """Vectors that were not made because another stream's newest row was older than its ``asof_max_ms``."""
        return int(self._evicted_lane[1] + self._i64[:, k.L_UNALIGNED].sum())

    def _counters(self, stream: int, lanes: slice) -> npt.NDArray[np.int64]:
        state = self.plan.layout.streams[stream, k.S_STATE]
        counters: npt.NDArray[np.int64] = self._i64[lanes, state + k.T_GAPS : state + k.T_OVERFLOW + 1].sum(axis=0)
        return counters
